"""Values that `bench run` refuses, with exit code 2, a line that says why, and before anything is created."""

import pytest
from click.testing import CliRunner

from bench.cli import main

DIGITS = ["--dataset", "digits"]
"""1797 images: 300 for validation, 360 for testing and 1137 for training, and no augmentation."""
MOONS = ["--dataset", "moons"]
"""Two classes, with validation and test data of its own."""
NUMBERS = [
    [flag, text]
    for flag in ("--seeds", "--seed", "--epochs", "--train-size", "--batch-size", "--threads")
    for text in ("1_0", " 1 ", "１", "1e1", "0x1", "-1", "1.0", str(10**20))
]


@pytest.mark.parametrize("words", [*NUMBERS, ["--seed", str(2**70)], ["--seed", str(2**32)], ["--seeds", "10001"]])
def test_a_number_is_written_in_ascii_digits_and_within_its_range(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["run", "--method", "erm", *DIGITS, *words], catch_exceptions=False)
    assert (result.exit_code, result.stdout) == (2, "")
    assert f"Invalid value for '{words[0]}'" in result.stderr.replace("\n", " ")
    assert not [*tmp_path.iterdir()]


NOISE = [*DIGITS, "--protocol", "label_noise"]
ROBUST = [*DIGITS, "--protocol", "robustness"]
REFUSED = [
    (NOISE, ["protocol.kind=pair", "protocol.target=3"], "protocol.target has no effect with protocol.kind=pair"),
    (ROBUST, ["protocol.severities=1,1"], "protocol.severities must have no entry twice"),
    (ROBUST, ["protocol.corruptions=snow,snow"], "protocol.corruptions must have no entry twice"),
    (ROBUST, ["protocol.eps=0", "protocol.attack_steps=3"], "protocol.attack_steps has no effect with protocol.eps=0"),
    ([*DIGITS, "--method", "deep_feature_reweighting"], ["deep_feature_reweighting.strengths=1,1"], "no entry twice"),
    ([*DIGITS, "--method", "tuned_erm"], ["tuned_erm.weight_decays=0.1,0.1"], "must have no entry twice"),
    (DIGITS, ["recipe.batch_size=1138"], "recipe.batch_size must be at most 1137, the number of training samples"),
    (DIGITS, ["recipe.val_batch_size=301"], "recipe.val_batch_size must be at most 300, the number of validation"),
    (DIGITS, ["recipe.eval_batch_size=361"], "recipe.eval_batch_size must be at most 360, the number of samples of"),
    (DIGITS, ["recipe.min_per_group=100"], "hold out more (recipe.val_size) or lower recipe.min_per_group"),
    (DIGITS, ["recipe.train_size=1138"], "fewer than recipe.train_size=1138"),
    (DIGITS, [f"recipe.train_size={10**20}"], f"option train_size={10**20} of the recipe: expected int or none"),
    (
        DIGITS,
        ["recipe.steps=72", "recipe.evaluate_at=3"],
        "the training of 2 epochs does not reach recipe.evaluate_at=3",
    ),
    (DIGITS, ["recipe.augment=false"], "recipe.augment has no effect: digits has no augmentation"),
    (MOONS, ["recipe.val_size=10"], "recipe.val_size has no effect: moons has validation data of its own"),
    (MOONS, ["recipe.test_size=10"], "recipe.test_size has no effect: moons has test data of its own"),
    (MOONS, ["recipe.select=fraction_positive"], "of this metric neither high nor low values are better"),
    (DIGITS, ["recipe.select=fraction_positive"], "of this metric neither high nor low values are better"),
    (DIGITS, ["recipe.select=test/accuracy"], "unknown metric 'test/accuracy'"),
    (MOONS, ["recipe.gamma=0.5"], "recipe.gamma has no effect with recipe.milestones=(empty)"),
]


@pytest.mark.parametrize(("data", "options", "said"), REFUSED)
def test_what_does_not_fit_the_data_is_refused_before_anything_is_created(data, options, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = [word for option in options for word in ("-o", option)]
    result = CliRunner().invoke(main, ["run", "--method", "erm", *data, *words], catch_exceptions=False)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert said in result.stderr
    assert not [*tmp_path.iterdir()]


def test_the_greatest_values_that_fit_are_accepted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sizes = ["batch_size=1137", "val_batch_size=300", "eval_batch_size=360", "steps=2", "evaluate_at=1,2"]
    words = [word for option in sizes for word in ("-o", f"recipe.{option}")]
    result = CliRunner().invoke(main, ["run", "--method", "erm", *DIGITS, *words], catch_exceptions=False)
    assert result.exit_code == 0


def test_a_metric_that_is_undefined_on_the_validation_data_selects_no_epoch(tmp_path, monkeypatch):
    """With one sample there is one group with positive samples, and no second one to compare it with."""
    monkeypatch.chdir(tmp_path)
    sizes = ["recipe.val_size=1", "recipe.select=tprd"]
    words = [word for option in sizes for word in ("-o", option)]
    result = CliRunner().invoke(main, ["run", "--method", "erm", *DIGITS, *words], catch_exceptions=False)
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "recipe.select=tprd is undefined on the validation data" in result.stderr


@pytest.mark.parametrize("seconds", ["nan", "inf", "-inf", "0", "-1"])
def test_a_timeout_is_a_finite_number_of_seconds(seconds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["run", "--method", "erm", *DIGITS, f"--timeout={seconds}"]
    result = CliRunner().invoke(main, words, catch_exceptions=False)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (2, "", 1)
    assert "--timeout" in result.stderr and not [*tmp_path.iterdir()]
