"""cleanlab: training data without what seem to be wrong labels."""

from dataclasses import dataclass

import torch
from cleanlab.filter import find_label_issues
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from bench import Method


@dataclass
class Cleaned(Method):
    """Confident learning (Northcutt et al. 2021): the samples with wrong labels are found and left out."""

    def training_data(self, task):
        given = next(task.train.in_order(len(task.train)))
        x, y = given.x.flatten(1).cpu().numpy(), given.y.cpu().numpy()
        probabilities = cross_val_predict(LogisticRegression(), x, y, method="predict_proba")
        kept = torch.as_tensor(~find_label_issues(y, probabilities, n_jobs=1)).nonzero().squeeze(1)
        return task.train.select(kept).with_origin(kept)
