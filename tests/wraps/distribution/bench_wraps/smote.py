"""imbalanced-learn: training data that are made."""

from dataclasses import dataclass

import torch
from imblearn.over_sampling import SMOTE

from bench import Method, Split


@dataclass
class Smote(Method):
    """Synthetic samples (Chawla et al. 2002), until every group of every class is as large as the largest."""

    neighbors: int = 5
    uses_groups = True

    def training_data(self, task):
        given = next(task.train.in_order(len(task.train)))
        cell = given.y * len(task.groups) + given.group
        sampler = SMOTE(k_neighbors=self.neighbors, random_state=task.streams.seed("method") % 2**32)
        x, cell = sampler.fit_resample(given.x.flatten(1).cpu().numpy(), cell.cpu().numpy())
        x = torch.as_tensor(x, device=task.device).unflatten(1, given.x.shape[1:])
        cell = torch.as_tensor(cell, device=task.device)
        origin = torch.arange(len(cell))
        origin[len(given.y) :] = -1  # these were made; they come after those that were given
        return Split(x, cell // len(task.groups), cell % len(task.groups)).with_origin(origin)
