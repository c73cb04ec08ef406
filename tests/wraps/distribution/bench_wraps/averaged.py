"""torch_ema: another model is evaluated than the one that is trained."""

import copy
from dataclasses import dataclass

from torch_ema import ExponentialMovingAverage

from bench import Method


@dataclass
class Averaged(Method):
    """An exponential moving average of the parameters is evaluated."""

    decay: float = 0.9

    def setup(self):
        self.average = copy.deepcopy(self.model)
        self.ema = ExponentialMovingAverage(self.model.parameters(), self.decay)

    def update(self, batch):
        made = super().update(batch)
        self.ema.update()
        return made

    def end_epoch(self, epoch):
        self.average.load_state_dict(self.model.state_dict())  # buffers too
        self.ema.copy_to(self.average.parameters())

    def evaluated(self):
        return self.average
