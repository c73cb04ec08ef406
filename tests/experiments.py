"""A small experiment, and what tests of whole runs share."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from bench.data.dataset import Dataset
from bench.protocol import Protocol
from bench.recipe import Recipe
from bench.records.run import RunResult
from bench.registry import Plugin
from bench.runs.experiment import OPTION_PREFIXES, Experiment
from bench.runs.runner import run
from bench.store.results import ResultStore
from bench.testing import toy_split
from bench.training.method import Method

CPU = torch.device("cpu")
CPU_AND_GPU = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")),
]
"""Devices of a benchmark."""
FEW: dict[str, dict[str, Any]] = {
    "moew": {"rounds": 2, "per_round": 1},
    "tuned_erm": {"trials": 2},
    "classifier_retraining": {"epochs": 1},
    "deep_feature_reweighting": {"repeats": 1},
    "deep_augment": {"autoencoder_epochs": 1, "channels": 4},
    "deep_augment_augmix": {"autoencoder_epochs": 1, "channels": 4},
}
"""Options that make methods short which train many times."""


class Plain(Method):
    """Empirical risk minimisation, which says that it can be stacked."""

    stackable = True


def tiny_mlp(shape: tuple[int, ...], classes: int, *, hidden: int = 6) -> nn.Module:
    return nn.Sequential(nn.Linear(shape[0], hidden), nn.Tanh(), nn.Linear(hidden, classes))


def toy_experiment(
    own: Recipe,
    protocol: Protocol,
    method: type[Method],
    validation: str,
    recipe: Mapping[str, Any],
    changed: Mapping[str, Any],
    groups: tuple[str, ...] = (),
) -> Experiment:
    """200 samples of two classes; `own` is their recipe, and `recipe` what is changed of it."""
    own = replace(own, select=own.select or protocol.select)
    return Experiment(
        dataset=Dataset("toy", toy_split(200, 0), None, ("no", "yes"), own, groups, mean=(0.5,) * 3, std=(0.3,) * 3),
        dataset_options={},
        own_recipe=own,
        protocol=protocol,
        method_name=method.__name__.lower(),
        method=method,
        options={},
        model_name="tiny",
        model=tiny_mlp,
        model_options={"hidden": 6},
        recipe=replace(own, **recipe),
        changed={where: {} for where in OPTION_PREFIXES} | {"recipe": recipe} | changed,
        validation=validation,
        plugins={"method": Plugin("toy", "toy", "1")},
    )


def one(experiment: Experiment, store: ResultStore, seed: int = 0, **more: Any) -> RunResult:
    """Of a run with one seed."""
    (result,) = run(experiment, [seed], store, CPU, **more)
    return result


def kept_arrays(result: RunResult, store: ResultStore) -> dict[str, Any]:
    """What is stored beside a record."""
    return dict(store.sidecar(replace(result, beside=None)).arrays)
