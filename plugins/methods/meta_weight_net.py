"""Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor, nn

from bench import Batch, Checks, Method, hookimpl
from bench.meta import virtual_step
from bench.models.initial import initial_perceptron
from bench.training.weights import mean_one


@dataclass
class MetaWeightNet(Method):
    """Meta-Weight-Net: a small network, learned on validation data, maps the loss of each sample to its weight.

    The network V has the layers 1-100-1 with ReLU and a sigmoid. It sees the value of the loss alone, and no gradient
    goes through what it sees. One step consists of

    - a virtual step on the weighted losses of the batch (equation 3),
    - a step on the parameters Theta of V by the gradient of the mean loss of a validation batch, through the virtual
      step (4),
    - and the real step, with the recipe's optimiser, with weights from the new V (5).

    Source: Shu, Xie, Yi, Zhao, Zhou, Xu, Meng, Meta-Weight-Net: Learning an Explicit Mapping For Sample Weighting,
    2019, Algorithm 1.

    What the paper leaves open is an option, or is decided here:

    - The initial Theta are drawn as torch draws those of `nn.Linear`, as in the authors' codes.
    - The validation pass has BatchNorm in training mode and moves no running statistic. Its batch has `min_per_group`
      samples of each group (the recipe's) and no augmentation; the authors' codes have that of training.
    - The authors' code for class imbalance lets the gradient of its virtual step go through V's input as well. Equation
      3 does not, nor do their other codes, and that is not offered.

    Options:
        meta_optimizer: optimiser of Theta. `adam` (the default): as in the authors' current code and in the code that
            FORML's Table 11 takes its baseline from. `sgd`: equation 4. The authors' older codes have SGD with
            momentum.
        meta_lr, meta_weight_decay: learning rate and weight decay of that optimiser. Defaults: 1e-3 and 1e-4, those of
            the authors' current code. FORML does not give its own; the code that it takes has 1e-5 and 0 by default,
            and these ones for label noise.
        normalize: whether to divide the weights by their sum over the batch, in both steps, as the authors' older codes
            do, with the guard of L2RW for a sum of 0. Default: no, as in equations 3 and 5 and in the current code: the
            weights then are below 1, near 1/2 at the start, and so is the step size relative to ERM under SGD.
        hidden: width of V's hidden layer. Default: 100.
        look_ahead: the virtual step. `gradient` (the default): a plain step with the model's current learning rate
            (equation 3 and the authors' codes). `optimizer`: what the recipe's optimiser would do, as in the code that
            FORML takes.
    """

    name = "meta_weight_net"
    uses_val = True
    stackable = True
    capturable = True

    meta_optimizer: Literal["adam", "sgd"] = "adam"
    meta_lr: float = 1e-3
    meta_weight_decay: float = 1e-4
    normalize: bool = False
    hidden: int = 100
    look_ahead: Literal["gradient", "optimizer"] = "gradient"

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(0, "meta_lr", "meta_weight_decay")
        check.at_least(1, "hidden")

    def setup(self) -> None:
        self.val = self.task.val_batches()
        self.engine = self.task.look_ahead(self.model)
        theta = self.task.streams.draw(self.initial_theta, "method").to(self.task.device)
        parts = theta.split([self.hidden, self.hidden, self.hidden, 1], -1)
        self.theta = nn.ParameterList(part.clone() for part in parts)  # fused optimisers take memory as contiguous
        kind = torch.optim.Adam if self.meta_optimizer == "adam" else torch.optim.SGD
        self.theta_optimizer = kind(self.theta, self.meta_lr, weight_decay=self.meta_weight_decay, fused=True)

    def losses(self, batch: Batch) -> Tensor:
        return self.engine.outputs(batch.x, lambda logits: self.task.loss(logits, batch.y))

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """Take one step on Theta by the meta-gradient; returns the weights of the batch with the new Theta."""
        val = next(self.val)
        gradients = self.engine.gradient(
            lambda value, theta: (self.sample_weights(value.detach(), theta) * value).mean(-1),
            list(self.theta),
            lambda net: self.task.loss(net(val.x), val.y).mean(-1),
            virtual_step(self.look_ahead, self.optimizer),
        )
        for parameter, gradient in zip(self.theta, gradients, strict=True):
            parameter.grad = gradient.contiguous()
        self.theta_optimizer.step()
        with torch.no_grad():
            return self.sample_weights(losses, list(self.theta))

    def initial_theta(self, generator: Generator) -> Tensor:
        """[3 hidden + 1]: weights and biases of the hidden layer, then of the output, uniform in +-1 / sqrt(inputs)."""
        return initial_perceptron(self.hidden, generator)

    def sample_weights(self, losses: Tensor, theta: Sequence[Tensor]) -> Tensor:
        """V of the losses, [.., B], normalised to mean 1 where the option `normalize` says so.

        Args:
            losses: [.., B].
            theta: weights and biases of the hidden layer and weights of the output, [.., hidden] each, and its bias
                [.., 1].
        """
        hidden_weight, hidden_bias, weight, bias = theta
        hidden = (losses.unsqueeze(-1) * hidden_weight.unsqueeze(-2) + hidden_bias.unsqueeze(-2)).relu()
        v = ((hidden * weight.unsqueeze(-2)).sum(-1) + bias).sigmoid()
        return mean_one(v) if self.normalize else v


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {MetaWeightNet.name: MetaWeightNet}
