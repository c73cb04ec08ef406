import pytest
import torch
from bench_log_loss import bench_metrics, log_loss
from sklearn import metrics

from bench.predictions import Predictions, confusion
from bench.testing import check_metric


def test_it_keeps_the_contract_of_a_metric():
    check_metric(bench_metrics()["log_loss"])


def test_it_is_that_of_scikit_learn():
    logits, y = torch.randn(50, 3), torch.arange(50) % 3
    p = Predictions(logits, y, group=y, groups=3)
    expected = metrics.log_loss(y, logits.double().softmax(-1))
    assert log_loss(p, confusion(p)).item() == pytest.approx(expected, rel=1e-9)
