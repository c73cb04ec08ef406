"""scikit-learn: a training without steps, of a model without parameters."""

import pickle
from dataclasses import dataclass

import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

from bench import Method


class Trees(nn.Module):
    """The log-probabilities of an estimator, which is its state."""

    def __init__(self):
        super().__init__()
        self.estimator = HistGradientBoostingClassifier(warm_start=True, early_stopping=False, random_state=0)

    def forward(self, x):
        probabilities = self.estimator.predict_proba(x.flatten(1).cpu().numpy())
        return torch.as_tensor(probabilities, device=x.device).log().float()

    def get_extra_state(self):
        return pickle.dumps(self.estimator).hex()

    def set_extra_state(self, state):
        self.estimator = pickle.loads(bytes.fromhex(state))


@dataclass
class Boosting(Method):
    """Gradient boosting with histograms: five rounds in each epoch."""

    differentiable = False

    def restart(self):
        self.model = Trees()

    def fit(self, task, meter):
        self.begin(task)
        given = next(self.task.train.in_order(len(self.task.train)))
        x, y = given.x.flatten(1).cpu().numpy(), given.y.cpu().numpy()
        for epoch in meter.epochs(self):
            self.model.estimator.set_params(max_iter=5 * (epoch + 1)).fit(x, y)
        return self.evaluated()
