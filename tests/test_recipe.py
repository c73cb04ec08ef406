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
        ({"gamma": -1, "milestones": (0.5,)}, "recipe.gamma must be above 0, not -1"),
        ({"gamma": 0.5}, "recipe.gamma has no effect with recipe.milestones=(empty)"),
        ({"milestones": (0.0, 0.5)}, "recipe.milestones must be in (0, 1), not 0"),
        ({"milestones": (0.5, 1)}, "recipe.milestones must be in (0, 1), not 1"),
        ({"milestones": (0.6, 0.3)}, "recipe.milestones must ascend, each entry once, not 0.6,0.3"),
        ({"milestones": (0.3, 0.3)}, "recipe.milestones must ascend, each entry once, not 0.3,0.3"),
        ({"milestones": (0.5, 0.99)}, "the training of 30 epochs does not reach recipe.milestones=0.5,0.99"),
        ({"optimizer": "sgd", "momentum": 2}, "recipe.momentum must be in [0, 1), not 2"),
        ({"optimizer": "sgd", "momentum": 1}, "recipe.momentum must be in [0, 1), not 1"),
        ({"momentum": 0.9}, "recipe.momentum has no effect with recipe.optimizer=adam"),
        ({"optimizer": "sgd", "nesterov": True}, "recipe.nesterov=true needs recipe.momentum above 0, not 0"),
        ({"lr": 0}, "recipe.lr must be above 0, not 0"),
        ({"lr": -1}, "recipe.lr must be above 0, not -1"),
        ({"lr": "1e-400"}, "recipe.lr must be above 0, not 0"),
        ({"weight_decay": -0.1}, "recipe.weight_decay must be at least 0, not -0.1"),
        ({"val_size": -1}, "recipe.val_size must be at least 0, not -1"),
        ({"test_size": -1}, "recipe.test_size must be at least 0, not -1"),
        ({"evaluate_at": (31,)}, "the training of 30 epochs does not reach recipe.evaluate_at=31"),
        ({"evaluate_at": (3, 3)}, "recipe.evaluate_at must ascend, each entry once, not 3,3"),
        ({"epochs": 5, "evaluate_at": (1, 6)}, "the training of 5 epochs does not reach recipe.evaluate_at=1,6"),
        (
            {"average_from": 0.99, "average_lr": 0.1},
            "the training of 30 epochs does not reach recipe.average_lr=0.1 and recipe.average_from=0.99",
        ),
        ({**CYCLICAL, "cycle": 60}, "the training of 30 epochs does not reach recipe.max_lr=0.01 and recipe.cycle=60"),
        ({"epochs": "none"}, "the recipe has no budget: set recipe.epochs or recipe.steps"),
        ({"epochs": 3, "steps": 3}, "the recipe's budget is recipe.epochs or recipe.steps, not both"),
    ],
)
def test_values_of_the_recipe_that_do_not_fit_are_refused(options, message, tmp_path):
    given = {f"recipe.{name}": value for name, value in options.items()}
    with pytest.raises(OptionError) as error:
        resolve(Request("digits", "erm", options=given), Files(tmp_path))
    assert str(error.value) == message
