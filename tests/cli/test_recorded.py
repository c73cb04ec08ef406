"""Which inputs are those of the training samples of a record."""

import numpy as np
import torch

from bench.cli.store.recorded import training_inputs
from bench.data.split import Split, Splits


def split(*values: int) -> Split:
    """Samples of one feature."""
    return Split(torch.tensor(values, dtype=torch.float32).unsqueeze(1), *torch.zeros(2, len(values)).long())


SPLITS = Splits(split(10, 11, 12, 13), split(20, 21), {})


def inputs(*places: int, **stored: list[int]) -> list[float]:
    arrays = {f"train/{name}": np.array(values) for name, values in stored.items()}
    return training_inputs(SPLITS, arrays, places).flatten().tolist()


def test_inputs_are_those_of_the_split():
    assert inputs(3, 0) == [13, 10]


def test_inputs_that_a_protocol_has_chosen_anew_are_of_the_training_and_the_validation_data():
    assert inputs(1, 0, position=[4, 2]) == [12, 20]


def test_inputs_that_a_method_has_made_are_those_that_they_were_made_of():
    assert inputs(2, 0, origin=[3, 3, 1]) == [11, 13]


def test_a_method_makes_its_data_of_those_that_the_protocol_has_chosen():
    """The sample 1 was made of the chosen one 0, which is the first of the validation data."""
    assert inputs(1, origin=[1, 0], position=[4, 2]) == [20]
