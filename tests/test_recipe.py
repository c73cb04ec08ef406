"""What a recipe refuses, told by the names that options have on the command line."""

import pytest

from bench import Files, OptionError
from bench.runs.experiment import Request
from bench.runs.resolve import resolve

CYCLICAL = {"schedule": "cyclical", "max_lr": 0.01}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_lr": 0.1}, "recipe.max_lr has no effect with recipe.schedule=steps"),
        ({"cycle": 4}, "recipe.cycle has no effect with recipe.schedule=steps"),
        ({"average_lr": 0.1}, "recipe.average_lr has no effect with recipe.average_from=none"),
        ({"schedule": "cyclical"}, "recipe.schedule=cyclical needs recipe.max_lr above recipe.lr=0.001, not none"),
        ({**CYCLICAL, "max_lr": 1e-3}, "recipe.schedule=cyclical needs recipe.max_lr above recipe.lr=0.001, not 0.001"),
        ({**CYCLICAL, "milestones": (0.5,)}, "recipe.milestones has no effect with recipe.schedule=cyclical"),
        ({**CYCLICAL, "gamma": 0.5}, "recipe.gamma has no effect with recipe.schedule=cyclical"),
        ({**CYCLICAL, "cycle": 0}, "recipe.cycle must be above 0, not 0"),
        ({"batch_size": 0}, "recipe.batch_size must be at least 1, not 0"),
        ({"evaluate_at": (3, 0)}, "recipe.evaluate_at must be at least 1, not 0"),
        ({"average_from": 1}, "recipe.average_from must be in [0, 1), not 1"),
        ({"average_from": -0.5}, "recipe.average_from must be in [0, 1), not -0.5"),
        ({"average_from": 0.5, "average_lr": 0}, "recipe.average_lr must be above 0, not 0"),
    ],
)
def test_values_of_the_recipe_that_do_not_fit_are_refused(options, message, tmp_path):
    given = {f"recipe.{name}": value for name, value in options.items()}
    with pytest.raises(OptionError) as error:
        resolve(Request("digits", "erm", options=given), Files(tmp_path))
    assert str(error.value) == message
