"""Virtual steps: where the parameters would go with a gradient, and how that depends on it.

Each acts on every element by itself, so the derivative of the moved parameters by the gradient is a diagonal, the slope.
The functions are differentiable in the gradient: double backward through them is the truth they are tested with.
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from bench.errors import MetaStepError

Slope = float | list[Tensor]
VirtualStep = Callable[[Sequence[Tensor], Sequence[Tensor]], tuple[list[Tensor], Slope]]
"""(parameters, gradient) -> the moved parameters as new tensors, and d moved / d gradient, element by element."""


def gradient_step(lr: float) -> VirtualStep:
    """theta - lr * g, the look-ahead of L2RW (Ren et al. 2018, equation 4), Meta-Weight-Net (Shu et al. 2019, equation 3) and
    FORML (Yan et al. 2022, Algorithm 1, line 7). With a negative lr the step ascends.
    """

    def step(parameters: Sequence[Tensor], gradient: Sequence[Tensor]) -> tuple[list[Tensor], Slope]:
        return list(torch._foreach_add(list(parameters), list(gradient), alpha=-lr)), -lr

    return step


def optimizer_step(optimizer: torch.optim.Optimizer) -> VirtualStep:
    """What this optimiser's next step would do, with its state as it is: SGD with momentum, Nesterov and weight decay, and Adam
    and AdamW with the second moment's dependence on the gradient. The state is not changed.

    The optimiser holds the parameters in the order of the model, all of them trained.
    Raises MetaStepError for another kind of optimiser, and for AMSGrad.
    """
    if isinstance(optimizer, torch.optim.SGD):
        one: Callable[..., tuple[Tensor, Any]] = _sgd
    elif isinstance(optimizer, torch.optim.Adam) and not any(g["amsgrad"] for g in optimizer.param_groups):
        one = _adam  # AdamW is one, with decoupled weight decay
    else:
        raise MetaStepError(
            f"no virtual step is known for {type(optimizer).__name__}: SGD, Adam or AdamW without amsgrad, or a plain "
            f"gradient step"
        )

    def step(parameters: Sequence[Tensor], gradient: Sequence[Tensor]) -> tuple[list[Tensor], Slope]:
        held = [(p, group) for group in optimizer.param_groups for p in group["params"]]
        moved, slopes = [], []
        for (own, group), p, g in zip(held, parameters, gradient, strict=True):
            value, slope = one(p, -g if group["maximize"] else g, group, optimizer.state.get(own, {}))
            moved.append(value)
            slopes.append((-slope if group["maximize"] else slope) * torch.ones_like(p))
        return moved, slopes

    return step


def _sgd(p: Tensor, g: Tensor, group: dict[str, Any], state: dict[str, Any]) -> tuple[Tensor, float]:
    """torch.optim.SGD's own rule, in its order of operations."""
    g, scale, momentum = g + group["weight_decay"] * p, 1.0, group["momentum"]
    if momentum:
        buffer = state.get("momentum_buffer")
        scale = 1.0 if buffer is None else 1 - group["dampening"]
        velocity = g if buffer is None else momentum * buffer + scale * g
        if group["nesterov"]:
            g, scale = g + momentum * velocity, 1 + momentum * scale
        else:
            g = velocity
    return p - group["lr"] * g, -group["lr"] * scale


def _adam(p: Tensor, g: Tensor, group: dict[str, Any], state: dict[str, Any]) -> tuple[Tensor, Tensor]:
    """Adam (Kingma and Ba 2015), Algorithm 1, and AdamW. Of g = 0 at the first step, where the root has no derivative, the
    slope is that of a constant root.
    """
    lr, (beta1, beta2), eps, decay = group["lr"], group["betas"], group["eps"], group["weight_decay"]
    if group["decoupled_weight_decay"]:
        p = p - lr * decay * p
    else:
        g = g + decay * p
    steps = float(state["step"]) + 1 if state else 1.0
    mean = beta1 * state["exp_avg"] + (1 - beta1) * g if state else (1 - beta1) * g
    square = beta2 * state["exp_avg_sq"] + (1 - beta2) * g * g if state else (1 - beta2) * g * g
    correct1, correct2 = 1 - beta1**steps, 1 - beta2**steps
    root = (square / correct2).sqrt()
    d_root = ((1 - beta2) * g / correct2 / root).where(root > 0, 0)
    slope = -lr / correct1 * ((1 - beta1) / (root + eps) - mean * d_root / (root + eps) ** 2)
    return p - lr * (mean / correct1) / (root + eps), slope.detach()
