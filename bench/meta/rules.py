"""Forward-mode derivatives of single functions, where the general derivative would compute more than it needs.

A rule belongs to one torch function and is called right after it, in the training pass:

    rule(keep, out, *arguments) -> derivative

`keep` gives the primal value of an input and has it watched for changes, `out` is the output of the function, and the
remaining arguments are those of the function itself, with each tensor as a `Value`. The rule keeps what the derivative
needs and returns the derivative: a function from the tangents of the inputs (None stands for zero) to the tangent of
the output, in the output's shape. A rule that cannot treat a call returns None, and the tape then uses the general
derivative.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

aten = torch.ops.aten


class Value(NamedTuple):
    """An input of a function on the tape.

    Attributes:
        tensor: the tensor.
        place: its number on the tape (`bench.meta.tape`); None where it does not depend on the parameters.
    """

    tensor: Tensor
    place: int | None


Tangent = Callable[[int | None], Tensor | None]
"""A function from a place on the tape to the tangent there; None where the tangent is zero."""
Derivative = Callable[[Tangent], Any]
Keep = Callable[[Value], Tensor]
"""A function from an input to its primal value, detached. When the derivative is taken, the tape checks that this value
has not been changed since.
"""
Rule = Callable[..., Derivative | None]


def linear(keep: Keep, out: Tensor, input: Value, weight: Value, bias: Value | None = None) -> Derivative:
    """The derivative of `F.linear`: dy = dx w^T + x dw^T + db.

    Args:
        input: [.., features].
        weight, bias: [outputs, features] and [outputs]; the bias is None where the layer has none.
    """
    return _affine(keep, F.linear, input, weight, bias)


def conv2d(
    keep: Keep, out: Tensor, input: Value, weight: Value, bias: Value | None = None, *window: Any, **named: Any
) -> Derivative:
    """The derivative of `F.conv2d`, which is linear in its input and in its parameters, as `linear` is.

    Args:
        input: [B, channels, height, width].
        weight, bias: [outputs, channels / groups, height, width] and [outputs]; the bias is None where there is none.
        window, named: stride, padding, dilation and groups, as `F.conv2d` takes them.
    """
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
    """The derivative of a rectifier: the tangent of the input where the output is positive, and 0 elsewhere.

    Only the output is kept, so that it makes no difference whether the function wrote over its input (`inplace`).
    """
    y, place = keep(Value(out, None)), input.place
    return lambda tangent: aten.threshold_backward(tangent(place), y, 0)


def native_dropout(keep: Keep, out: tuple[Tensor, Tensor], x: Value, p: float, train: bool) -> Derivative:
    """The derivative of dropout, with the mask that the training pass drew.

    Args:
        out: the output and its mask, which is True where a value was kept.
        x: the input, of any shape, of which values are set to zero with probability `p`.
        train: whether dropout is active; without it the output is the input.

    Returns:
        The tangent of the output, and None for that of the mask.
    """
    mask, place = out[1], x.place
    scale = 1.0 if train is False else 0.0 if p == 1 else 1 / (1 - p)

    def derivative(tangent: Tangent) -> tuple[Tensor | None, None]:
        t = tangent(place)
        return None if t is None else t * mask * scale, None

    return derivative


def add(keep: Keep, out: Tensor, input: Value | float, other: Value | float, *, alpha: float = 1) -> Derivative:
    """The derivative of `input + alpha * other`, in the output's dtype.

    Args:
        input, other: the terms, tensors or numbers, which broadcast to the shape of the output.
        alpha: the factor of the second term.
    """
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
    """The derivative of batch normalisation in training mode, through the statistics of the batch.

    For each channel the Jacobian of x -> y, gamma included, is symmetric. Its product with a tangent is therefore what
    the backward kernel gives for that tangent in the place of a gradient: one kernel, and no Jacobian is formed.

    Args:
        x: [B, channels, ...].
        weight, bias: gamma and beta, [channels]; None where the layer has none.
        training: whether the statistics are those of the batch.
        eps: what is added to the variance.

    Returns:
        The derivative; None in evaluation mode, where the general derivative of the affine map is used.
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
    """The derivative of layer normalisation: as `batch_norm`, but gamma differs within what is normalised together, so
    the backward kernel is called for a gamma of 1, and its result is multiplied by gamma. It computes in float32 at
    least, because the kernels do not mix precisions.

    Args:
        x: [.., *shape].
        shape: the last dimensions of x, over which is normalised.
        weight, bias: gamma and beta, in that shape; None where the layer has none.
    """

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
    """The derivative of group normalisation, computed as that of `layer_norm`.

    Args:
        x: [B, channels, ...], whose channels are normalised in so many `groups`.
        weight, bias: gamma and beta, [channels]; None where the layer has none.
    """
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
"""Function -> rule, by the function as `torch.overrides` sees it. Functions without a rule, and calls for which a rule
returns None, get the general derivative of `bench.meta.tape`.
"""
