"""The contract of a metric."""

import torch
from torch import Tensor

from bench.metrics import Metric, evaluate
from bench.predictions import Predictions, confusion, stored_logits
from bench.testing.common import usable


def check_metric(metric: Metric) -> None:
    """All contracts of a metric, on random predictions of two classes in two groups."""
    assert isinstance(metric, Metric), f"it is a {type(metric).__name__}, not a bench.Metric"
    usable("metrics", metric)
    assert metric.summary, "its function needs a docstring; the first line is shown beside tables"
    g = torch.Generator().manual_seed(0)
    logits = stored_logits(torch.randn(3, 90, 2, generator=g)).float()
    y, group = torch.randint(0, 2, (2, 3, 90), generator=g)
    stacked = _measured(metric, logits, y, group)
    one_by_one = torch.stack([_measured(metric, *of) for of in zip(logits, y, group, strict=True)])
    assert torch.allclose(stacked, one_by_one, equal_nan=True), "stacked runs have other values than each by itself"
    order = torch.randperm(90, generator=g)
    mixed = _measured(metric, logits[:, order], y[:, order], group[:, order])
    assert torch.allclose(stacked, mixed, equal_nan=True), "it depends on the order of the samples"
    if not metric.needs_labels:
        other = _measured(metric, logits, 1 - y, 1 - group)
        assert torch.allclose(stacked, other, equal_nan=True), "it declares needs_labels = False, and looks at labels"
    right, wrong = ((torch.nn.functional.one_hot(of, 2) - 1) * 20.0 for of in (y, 1 - y))
    best, worst = (_measured(metric, values, y, group) for values in (right, wrong))
    if metric.unit == "%":
        values = torch.cat([stacked, best, worst]).nan_to_num(0.0)
        assert ((values >= 0) & (values <= 1)).all(), "its unit is %, and its values are not in [0, 1]"
    if metric.higher_is_better is not None:
        sign = 1 if metric.higher_is_better else -1
        lost = sign * (best - worst) < -1e-9  # of rounding
        assert not lost.any(), "predictions that are all right are worse than those that are all wrong"
    _measured(metric, logits, y * 0, group * 0)  # no sample of a class and of a group: NaN, no error


def _measured(metric: Metric, logits: Tensor, y: Tensor, group: Tensor) -> Tensor:
    """[..] float64, with what is measured left as it was."""
    p = Predictions(logits.clone(), y.clone(), group.clone(), groups=2)
    counts = confusion(p)
    before = counts.clone()
    metric.function(p, counts)
    unchanged = torch.equal(p.logits, logits) and torch.equal(p.y, y) and torch.equal(p.group, group)
    assert unchanged, "it changes the predictions"
    assert torch.equal(counts, before), "it changes the confusion tensor"
    return evaluate(p, metrics={"it": metric})["it"]
