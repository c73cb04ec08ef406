"""scikit-learn: a training without steps, of a model without parameters."""

from dataclasses import dataclass
from itertools import islice

import torch
from sklearn.ensemble import HistGradientBoostingClassifier
from torch import nn

from bench import Method


class Trees(nn.Module):
    """The log-probabilities of the first `count` rounds. Its state is their number: the data give the trees again."""

    def __init__(self):
        super().__init__()
        self.estimator = HistGradientBoostingClassifier(warm_start=True, early_stopping=False, random_state=0)
        self.register_buffer("count", torch.tensor(0))

    def forward(self, x):
        stages = self.estimator.staged_predict_proba(x.flatten(1).cpu().numpy())
        return torch.as_tensor(next(islice(stages, int(self.count) - 1, None)), device=x.device).log().float()


@dataclass
class Boosting(Method):
    """Gradient boosting with histograms: five rounds in each epoch."""

    differentiable = False

    def restart(self):
        self.model = Trees().to(self.task.device)

    def fit(self, task, meter):
        self.begin(task)
        for epoch in meter.epochs(self):
            self.grow(5 * (epoch + 1))
        return self.evaluated()

    def grow(self, count):
        given = next(self.task.train.in_order(len(self.task.train)))
        self.model.estimator.set_params(max_iter=count).fit(given.x.flatten(1).cpu().numpy(), given.y.cpu().numpy())
        self.model.count.fill_(count)

    def load_state_dict(self, state):
        super().load_state_dict(state)
        self.grow(int(self.model.count))
