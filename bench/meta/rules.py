"""Forward-mode derivatives of single functions, where the general one would compute more than it needs.

A rule is called after its function, with the function's arguments (tensors as `Value`s) and its output. It keeps what
the derivative needs, and returns the derivative: from the tangents of the inputs (None: zero) to that of the output.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


class Value(NamedTuple):
    """An input: the tensor, and its place on the tape where it depends on the parameters."""

    tensor: Tensor
    place: int | None


Tangent = Callable[[int | None], Tensor | None]
"""The tangent at a place; None where it is zero."""
Derivative = Callable[[Tangent], Any]
Keep = Callable[[Value], Tensor]
"""The primal value, detached; that it does not change until the derivative is taken is checked."""
Rule = Callable[..., Derivative | None]


def linear(keep: Keep, out: Tensor, input: Value, weight: Value, bias: Value | None = None) -> Derivative:
    """The derivative of a linear layer."""
    return _affine(keep, F.linear, input, weight, bias)


def conv2d(
    keep: Keep, out: Tensor, input: Value, weight: Value, bias: Value | None = None, *window: Any, **named: Any
) -> Derivative:
    """The derivative of a convolution."""
    return _affine(keep, lambda x, w, b=None: F.conv2d(x, w, b, *window, **named), input, weight, bias)


def _affine(keep: Keep, f: Callable[..., Tensor], x: Value, weight: Value, bias: Value | None) -> Derivative:
    """y = f(x, w, b), linear in x and in (w, b)."""
    kept_x, kept_w = keep(x), keep(weight)
    at_b = bias.place if bias else None

    def derivative(tangent: Tangent) -> Tensor | None:
        dx, dw, db = tangent(x.place), tangent(weight.place), tangent(at_b)
        if dw is None and db is not None:
            dw = torch.zeros_like(kept_w)
        of_layer = None if dw is None else f(kept_x, dw, db)
        of_input = None if dx is None else f(dx, kept_w)
        return of_input if of_layer is None else of_layer if of_input is None else of_layer.add_(of_input)

    return derivative


def relu(keep: Keep, out: Tensor, input: Value, inplace: bool = False) -> Derivative:
    """The derivative of a rectifier."""
    y, place = keep(Value(out, None)), input.place
    return lambda tangent: aten.threshold_backward(tangent(place), y, 0)


def native_dropout(keep: Keep, out: tuple[Tensor, Tensor], x: Value, p: float, train: bool) -> Derivative:
    """The derivative of dropout, with the mask of the pass that was captured."""
    mask, place, scale = out[1], x.place, 0.0 if p == 1 else 1 / (1 - p)

    def derivative(tangent: Tangent) -> tuple[Tensor | None, None]:
        t = tangent(place)
        return None if t is None else t * mask * scale, None

    return derivative


def add(keep: Keep, out: Tensor, input: Value | float, other: Value | float, *, alpha: float = 1) -> Derivative:
    """The derivative of a sum, whose second term may be multiplied by a number."""
    shape, dtype = out.shape, out.dtype
    at_x, at_y = (v.place if isinstance(v, Value) else None for v in (input, other))

    def derivative(tangent: Tangent) -> Tensor | None:
        dx, dy = tangent(at_x), tangent(at_y)
        if dx is not None and dy is not None:
            return torch.add(dx, dy, alpha=alpha).to(dtype)
        one = dx if dy is None else dy * alpha
        return None if one is None else one.to(dtype).expand(shape)

    return derivative


def batch_norm(
    keep: Keep,
    out: Tensor,
    x: Value,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Value | None = None,
    bias: Value | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Derivative | None:
    """Per channel, the Jacobian of x -> y in training mode, gamma included, is symmetric, so that its product with a
    tangent is what backward gives for that tangent as gradient: one kernel.
    """
    if not training:
        return None
    kept_x, kept_w = keep(x), keep(weight) if weight else None
    at_w, at_b = (v.place if v else None for v in (weight, bias))
    mean, scale = _statistics(out, kept_x, eps)

    def derivative(tangent: Tangent) -> Tensor | None:
        dx, dw, db = tangent(x.place), tangent(at_w), tangent(at_b)
        dy = None
        if dx is not None:
            wanted = [True, False, False]
            dy = aten.native_batch_norm_backward(dx, kept_x, kept_w, None, None, mean, scale, True, eps, wanted)[0]
        if dw is None and db is None:
            return dy
        of_layer = _normalised(kept_x, mean, scale, torch.zeros_like(mean) if dw is None else dw, db)
        return of_layer if dy is None else of_layer.add_(dy)

    return derivative


def _normalised(x: Tensor, mean: Tensor, scale: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(x - mean) * scale * weight + bias, per channel.

    `F.batch_norm` of torch 2.10 and 2.11 refuses an epsilon of 0, which its operator takes in every version.
    """
    return torch.batch_norm(x, weight, bias, mean, scale**-2, False, 0.0, 0.0, torch.backends.cudnn.enabled)


def _statistics(out: Tensor, x: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """Mean and 1 / std of each channel: those that the graph keeps. To compute them again takes most of the time."""
    node: Any = out.grad_fn
    if hasattr(node, "_saved_result1") and hasattr(node, "_saved_result2"):
        return node._saved_result1, node._saved_result2
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    _, mean, scale = torch.native_batch_norm(exact, None, None, None, None, True, 0.0, eps)
    return mean, scale


def layer_norm(
    keep: Keep,
    out: Tensor,
    x: Value,
    shape: list[int],
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Derivative:
    """As `batch_norm`; here gamma differs within what is normalised, so that it multiplies outside."""

    def back(dx: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Any:
        return aten.native_layer_norm_backward(dx, x, shape, mean, rstd, None, None, [True, False, False])[0]

    def norm(x: Tensor, dw: Tensor | None, db: Tensor | None) -> Any:
        scale = x.new_zeros(shape) if dw is None else dw
        return aten.native_layer_norm(x, shape, scale, db, eps)

    return _sample_norm(keep, out, x, weight, bias, norm, back, tuple(shape))


def group_norm(
    keep: Keep,
    out: Tensor,
    x: Value,
    groups: int,
    weight: Value | None = None,
    bias: Value | None = None,
    eps: float = 1e-5,
) -> Derivative:
    """As `layer_norm`."""
    channels = out.shape[1]
    sizes = (len(out), channels, out[0, 0].numel(), groups)

    def back(dx: Tensor, x: Tensor, mean: Tensor, rstd: Tensor) -> Any:
        return aten.native_group_norm_backward(dx, x, mean, rstd, None, *sizes, [True, False, False])[0]

    def norm(x: Tensor, dw: Tensor | None, db: Tensor | None) -> Any:
        return aten.native_group_norm(x, x.new_zeros(channels) if dw is None else dw, db, *sizes, eps)

    return _sample_norm(keep, out, x, weight, bias, norm, back, (channels, *[1] * (out.dim() - 2)))


def _sample_norm(
    keep: Keep,
    out: Tensor,
    x: Value,
    weight: Value | None,
    bias: Value | None,
    norm: Callable[..., Any],
    back: Callable[..., Any],
    shape: tuple[int, ...],
) -> Derivative:
    """norm: (x, gamma, beta) -> y, mean, 1 / std. back: the Jacobian for gamma = 1. shape: of gamma beside x."""
    kept_x, kept_w = keep(x), keep(weight) if weight else None
    at_w, at_b, dtype = weight.place if weight else None, bias.place if bias else None, out.dtype
    exact = torch.promote_types(dtype, torch.float32)  # the kernels do not mix precisions

    def derivative(tangent: Tangent) -> Tensor:
        dx, dw, db = (t if t is None else t.to(exact) for t in (tangent(x.place), tangent(at_w), tangent(at_b)))
        primal = kept_x.to(exact).contiguous()
        dy, mean, scale = norm(primal, dw, db)
        if dx is not None:
            of_input = back(dx.contiguous(), primal, mean, scale)
            dy = dy + (of_input if kept_w is None else of_input * kept_w.view(shape))
        return dy.to(dtype)  # type: ignore[no-any-return]

    return derivative


RULES: dict[Any, Rule] = {
    F.linear: linear,
    F.conv2d: conv2d,
    F.relu: relu,
    torch.relu: relu,
    torch.relu_: relu,
    Tensor.relu: relu,
    Tensor.relu_: relu,
    torch.native_dropout: native_dropout,
    torch.add: add,
    Tensor.add: add,
    Tensor.add_: add,
    F.batch_norm: batch_norm,
    F.layer_norm: layer_norm,
    F.group_norm: group_norm,
}
"""By the function as `torch.overrides` sees it. A rule may return None: the general one then."""
