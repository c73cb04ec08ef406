"""Virtual steps: where a gradient would move the parameters, and the derivative of the moved parameters.

Every step here treats each element of a parameter by itself. The derivative of the moved parameters with respect to the
gradient is therefore a diagonal matrix, and its diagonal is called the slope. The steps are differentiable in the
gradient, and tests compare the slope with double backward through them. Nothing here waits for the device.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from bench.errors import MetaStepError

Slope = float | list[Tensor]
"""d moved / d gradient, element by element: one number for all parameters, or for each a tensor that broadcasts to its
shape.
"""
VirtualStep = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[list[Tensor], Slope]]
"""(parameters, gradient) -> the moved parameters as new tensors, and the slope."""


def gradient_step(lr: float) -> VirtualStep:
    """The plain virtual step theta - lr * g.

    Args:
        lr: the size of the step. With a negative size the step ascends.

    Returns:
        The step, whose slope is -lr.

    Source: the look-ahead of L2RW (Ren et al. 2018, Algorithm 1, line 7), of Meta-Weight-Net (Shu et al. 2019, equation
    3) and of FORML (Yan et al. 2022, Algorithm 1, line 7).
    """

    def step(parameters: Sequence[Tensor], gradient: Sequence[Tensor]) -> tuple[list[Tensor], Slope]:
        return list(torch._foreach_add(list(parameters), list(gradient), alpha=-lr)), -lr

    return step


def optimizer_step(optimizer: torch.optim.Optimizer) -> VirtualStep:
    """The step that an optimiser would make next. The optimiser and its state are not changed.

    Args:
        optimizer: SGD with momentum, Nesterov's momentum and weight decay, or Adam or AdamW, whose second moment
            depends on the gradient too. It holds the trained parameters of the model, in the model's order.

    Returns:
        The step. It reads the optimiser's options and state at each call.

    Raises:
        MetaStepError: for another kind of optimiser, and for AMSGrad.
    """
    rule = _RULES.get(type(optimizer))
    if rule is None or any(group.get("amsgrad") for group in optimizer.param_groups):
        raise MetaStepError(
            f"no virtual step is known for {type(optimizer).__name__}"
            f"{' with amsgrad' if rule else ''}: take SGD, Adam or AdamW without amsgrad, or a plain gradient step"
        )

    def step(parameters: Sequence[Tensor], gradient: Sequence[Tensor]) -> tuple[list[Tensor], Slope]:
        keys = [(key, group) for group in optimizer.param_groups for key in group["params"]]  # keys of its state
        moved, slopes = [], []
        for (key, group), p, g in zip(keys, parameters, gradient, strict=True):
            value, slope = rule(p, -g if group["maximize"] else g, group, optimizer.state.get(key, {}))
            moved.append(value)
            slopes.append((-slope if group["maximize"] else slope).detach())
        return moved, slopes

    return step


def virtual_step(kind: Literal["gradient", "optimizer"], optimizer: torch.optim.Optimizer) -> VirtualStep:
    """The virtual step that an option such as `look_ahead=optimizer` of a method names.

    Args:
        kind: `gradient` for a plain step with the learning rate that the optimiser has now, or `optimizer` for the step
            that the optimiser would make.
        optimizer: the optimiser of the model.

    Returns:
        The step.

    Raises:
        MetaStepError: as `optimizer_step` does.
    """
    return optimizer_step(optimizer) if kind == "optimizer" else gradient_step(optimizer.param_groups[0]["lr"])


Rule = Callable[[Tensor, Tensor, Mapping[str, Any], Mapping[str, Any]], tuple[Tensor, Tensor]]
"""(parameter, gradient, the options of the optimiser's group, the parameter's state) -> the moved parameter and the
slope.
"""


def _sgd(p: Tensor, g: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """torch.optim.SGD's rule; `rate` is d step / d g."""
    g, rate, momentum = g + group["weight_decay"] * p, 1.0, group["momentum"]
    if momentum:
        velocity = g
        if (buffer := state.get("momentum_buffer")) is not None:
            rate = 1 - group["dampening"]
            velocity = momentum * buffer + rate * g
        if group["nesterov"]:
            g, rate = g + momentum * velocity, 1 + momentum * rate
        else:
            g = velocity
    return p - group["lr"] * g, p.new_ones(()) * (-group["lr"] * rate)


def _adam(p: Tensor, g: Tensor, group: Mapping[str, Any], state: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """Adam (Kingma and Ba 2015), Algorithm 1, and AdamW. Where the second moment is 0 its root has no derivative, but
    the step has one, that of g / (|g| + eps) at g = 0.
    """
    lr, (beta1, beta2), eps, decay = group["lr"], group["betas"], group["eps"], group["weight_decay"]
    if group["decoupled_weight_decay"]:
        p = p - lr * decay * p
    else:
        g = g + decay * p
    steps = state["step"].double() + 1 if state else 1.0
    m, v = state.get("exp_avg", torch.zeros_like(g)), state.get("exp_avg_sq", torch.zeros_like(g))
    correct1, correct2 = 1 - beta1**steps, 1 - beta2**steps
    mean, square = beta1 * m + (1 - beta1) * g, beta2 * v + (1 - beta2) * g * g
    moved = square > 0
    root = (square.where(moved, 1.0) / correct2).sqrt().where(moved, 0.0)
    # root (root d_mean - mean d_root), where the g^2 cancel; computed as it stands, the first step's is rounding error
    turn = ((1 - beta1) * beta2 * v - beta1 * (1 - beta2) * m * g) / correct2
    slope = -lr / correct1 * ((1 - beta1) * eps + (turn / root).where(moved, 0.0)) / (root + eps) ** 2
    return p - lr / correct1 * mean / (root + eps), slope


_RULES: Mapping[type[torch.optim.Optimizer], Rule] = {
    torch.optim.SGD: _sgd,
    torch.optim.Adam: _adam,
    torch.optim.AdamW: _adam,
}
