"""Records with a history, for pictures."""

import dataclasses

import pytest

from bench.records.sidecar import Sidecar


@pytest.fixture
def record(make_result):
    """A record of two classes with a history of three evaluations."""

    def make(
        method="erm", seed=0, fraction=(0.5, 0.4, 0.3), parameters=10, counts=((30, 10),), groups=2, epochs=(1, 2, 4),
        **fields,
    ):  # fmt: skip
        measured = {"accuracy": 0.9, "fraction_positive": fraction[-1]} | fields.pop("measured", {})
        result = make_result(method, seed, test=measured, **fields)
        options = {"factor": 100.0, **result.resolved.protocol_options}
        return dataclasses.replace(
            result,
            resolved=dataclasses.replace(result.resolved, protocol_options=options),
            about=dataclasses.replace(result.about, classes=["cat", "dog"], groups=["cat", "dog"][:groups]),
            data=dataclasses.replace(
                result.data, sizes={"train": 40, "test": 20}, counts={"train": counts, "test": ((5, 15),)}
            ),
            beside=Sidecar(
                {"epoch": list(epochs), "test/fraction_positive": list(fraction), "train/gradient_norm": [3, 2, None]}
                | {"test/accuracy": list(fraction)}
            ),
            costs=dataclasses.replace(result.costs, parameters=parameters),
        )

    return make
