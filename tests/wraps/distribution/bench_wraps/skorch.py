"""skorch: the library leads through the training, and calls back."""

from dataclasses import dataclass

import torch
from skorch import NeuralNet
from skorch.callbacks import Callback

from bench import Method


class Epochs(Callback):
    """Makes each of skorch's epochs one of the meter's."""

    def __init__(self, method, meter):
        self.method, self.meter, self.epochs = method, meter, meter.epochs(method)
        self.epoch = next(self.epochs, method.training_epochs)  # there is none left if all were trained before

    def __iter__(self):
        for batch in self.method.batches(self.epoch):
            self.batch = batch
            yield batch.x, batch.y

    def on_batch_end(self, net, y_pred, **_):
        losses = self.method.task.loss(y_pred.detach(), self.batch.y)
        self.meter.step(self.batch, losses, torch.ones_like(losses))

    def on_epoch_end(self, net, **_):
        self.epoch = next(self.epochs, None)


@dataclass
class Skorch(Method):
    """`NeuralNet.fit` on the recipe's batches, with its loss and its optimiser."""

    def fit(self, task, meter):
        self.begin(task)
        epochs = Epochs(self, meter)
        net = NeuralNet(self.model, lambda: lambda logits, y: task.loss(logits, y).mean(), device=task.device)
        net.set_params(optimizer=lambda *_, **__: self.optimizer, iterator_train=lambda *_, **__: epochs)
        net.set_params(max_epochs=self.training_epochs - epochs.epoch, callbacks=[epochs], train_split=None, verbose=0)
        net.fit(task.train.x, task.train.y)
        return self.evaluated()
