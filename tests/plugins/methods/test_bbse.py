"""Black box shift estimation, against the equation solved by hand and the shift that was made."""

from dataclasses import replace

import pytest
import torch

from bench import Method, NotApplicableError, Split
from bench.testing import toy_task, train
from bench_plugins.methods.bbse import BBSE
from tests.trainings import check_resumed, same, trainings


def by_hand(predicted: list[int], y: list[int], of_target: list[int]) -> list[float]:
    """Of two classes, by Cramer's rule."""
    c = [[sum(p == i and t == j for p, t in zip(predicted, y, strict=True)) / len(y) for j in (0, 1)] for i in (0, 1)]
    mu = [of_target.count(i) / len(of_target) for i in (0, 1)]
    determinant = c[0][0] * c[1][1] - c[0][1] * c[1][0]
    w = (mu[0] * c[1][1] - mu[1] * c[0][1], mu[1] * c[0][0] - mu[0] * c[1][0])
    return [max(v / determinant, 0) for v in w]


def test_the_weights_solve_the_papers_equation():
    task = toy_task(epochs=10, lr=0.1)
    learnable = {name: replace(s, y=(s.x[:, 0] > 0.3).long()) for name, s in (("train", task.train), ("val", task.val))}
    method, task = BBSE(), replace(task, **learnable)
    first, _ = trainings(method, task)
    model = task.new_model()
    model.load_state_dict(first)
    predicted, of_target = (model(split.x).argmax(-1).tolist() for split in (task.val, task.target))
    assert method.class_weight.tolist() == pytest.approx(by_hand(predicted, task.val.y.tolist(), of_target), rel=1e-5)
    batch = task.train.batch(torch.arange(10))
    assert method.weights(batch, torch.zeros(10)).tolist() == [method.class_weight[c].item() for c in batch.y.tolist()]


def perfect(shift: list[int]) -> BBSE:
    """After a first model that is always right, where the target has so many samples of each class."""
    method = BBSE()
    method.begin(toy_task())
    y = torch.tensor([0] * 30 + [1] * 30)
    method.task.val.y.copy_(y)
    target = torch.repeat_interleave(torch.arange(2), torch.tensor(shift))
    answers = iter([torch.eye(2)[y], torch.eye(2)[target]])
    method.predict = lambda split: next(answers)  # type: ignore[method-assign]
    method.end_trial(0)
    return method


@pytest.mark.parametrize("shift", [[30, 10], [20, 20], [0, 40]])
def test_a_first_model_that_is_right_gives_the_true_ratio(shift):
    assert perfect(shift).class_weight.tolist() == pytest.approx([n / 40 / 0.5 for n in shift])


def test_negative_solutions_become_zero():
    assert by_hand([0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1], [1] * 9) == pytest.approx([0, 2])  # -0 to begin with
    method = BBSE()
    method.begin(toy_task())
    val = method.task.val.y.copy_(torch.tensor([0] * 30 + [1] * 30))
    predicted = val.clone()
    predicted[:6] = 1  # a fifth of class 0 is missed: the target, all 0, has fewer 1 than that
    answers = iter([torch.eye(2)[predicted], torch.eye(2)[torch.zeros(40, dtype=torch.int64)]])
    method.predict = lambda split: next(answers)  # type: ignore[method-assign]
    method.end_trial(0)
    assert method.class_weight.tolist() == pytest.approx([2.5, 0])


def test_both_trainings_start_alike_and_the_first_is_plain():
    task = toy_task(epochs=2)
    first, last = trainings(BBSE(), task)
    plain = Method()
    train(plain, task)
    assert same(first, plain.model.state_dict())
    assert not same(first, last)


def test_without_a_target_it_is_not_applicable():
    with pytest.raises(NotApplicableError, match="protocol label_shift"):
        BBSE().begin(replace(toy_task(), target=None))


def test_resumed(tmp_path):
    check_resumed(BBSE, 1, tmp_path)


def test_unlabelled_samples_have_no_labels():
    split = Split(torch.zeros(3, 2), torch.tensor([1, 0, 1]), torch.tensor([2, 1, 0]))
    assert not split.unlabelled().y.any() and not split.unlabelled().group.any()
