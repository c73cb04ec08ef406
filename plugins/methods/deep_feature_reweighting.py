"""Deep feature reweighting (DFR)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from bench import Checks, Method, NotApplicableError, hookimpl
from bench.models.heads import features, head_of


def regression(x: Tensor, y: Tensor, classes: int, strength: float) -> Tensor:
    """Logistic regression with an L1 penalty: the weights and biases of a last layer, [C, D + 1].

    Of two classes the result is that of the second, beside zeros for the first; of more, each is told from the rest.

    Args:
        x: features [n, D], on the CPU.
        y: classes [n], on the CPU.
        classes: number of classes C.
        strength: scikit-learn's C, the inverse strength of the penalty.
    """
    from sklearn.linear_model import LogisticRegression

    layer = torch.zeros(classes, x.shape[1] + 1, dtype=torch.float64)
    for k in range(1 if classes == 2 else 0, classes):
        model = LogisticRegression(C=strength, l1_ratio=1.0, solver="liblinear", max_iter=1000, random_state=0)
        model.fit(x.numpy(), (y == k).numpy())
        layer[k, :-1], layer[k, -1] = torch.from_numpy(model.coef_[0]), float(model.intercept_[0])
    return layer


@dataclass
class DeepFeatureReweighting(Method):
    """DFR: ERM, then a logistic regression on group-balanced validation data becomes the last layer.

    After the whole recipe of ERM, the features of the validation data, which are the inputs of the last linear layer,
    are standardised. Logistic regressions with an L1 penalty are fitted on random subsets with as many samples of each
    group. Their mean, with the standardisation undone, becomes the last layer. The strength of the penalty is chosen
    before: a regression on one balanced subset of one half of the validation data is judged by the accuracy of the
    worst group in the other half. Ties go to the candidate that comes first.

    Source: Kirichenko, Izmailov, Wilson, Last Layer Re-Training is Sufficient for Robustness to Spurious Correlations,
    2023, DFR on validation data.

    Departures, and what the paper leaves open:

    - A group is here a class in a group of the task. That is class and attribute, as in the paper, where the task's
      groups are those of the attribute.
    - The halves are drawn within each group, so that both have samples of all groups. The paper halves the whole.
    - The mean and standard deviation are those of the whole half, or of all validation data, not of the balanced
      subset.
    - liblinear makes the regressions, which penalises the bias too. Of more than two classes each is told from the
      rest.
    - All epochs of the recipe but the last are preparation: only the model with the new layer is evaluated.

    Options:
        repeats: number of regressions that the mean is taken of, each on a subset of its own. Default: 10.
        strengths: candidates for scikit-learn's C, the inverse strength of the penalty. Default: 1, 0.7, 0.3, 0.1,
            0.07, 0.03 and 0.01.

    Raises:
        NotApplicableError: for a model whose logits do not come from its last linear layer or that has no bias there,
            with `recipe.average_from`, and for validation data that lack a class or have a single sample of a class in
            a group.
    """

    name = "deep_feature_reweighting"
    uses_val = True

    repeats: int = 10
    strengths: tuple[float, ...] = (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)

    def __post_init__(self) -> None:
        check = Checks(self)
        check.at_least(1, "repeats")
        check.above(0, "strengths")
        check.not_empty("strengths")
        check.distinct("strengths")

    def setup(self) -> None:
        if self.task.recipe.average_from is not None:
            raise NotApplicableError(
                "deep_feature_reweighting fits the last layer of one model, not of an average of models: "
                "it cannot be used with recipe.average_from"
            )
        self.preparation_epochs = self.task.epochs - 1
        self.training_epochs = 1
        self.head = head_of(self.model, self.task.val)
        if self.head.bias is None:
            raise NotApplicableError("deep_feature_reweighting needs a last layer with a bias")
        lacking = len(self.task.classes) - len(self.task.val.y.unique())
        if lacking or min(map(len, self.cells())) < 2:
            raise NotApplicableError(
                "deep_feature_reweighting needs validation samples of every class, two or more where a group has any"
            )
        self.strength = torch.zeros(())

    def recipe_epoch(self, epoch: int) -> int:
        return epoch + self.preparation_epochs

    def end_epoch(self, epoch: int) -> None:
        if epoch < 0:
            return
        x = features(self.model, self.head, self.task.val, self.task.recipe.eval_batch_size).double().cpu()
        if not x.isfinite().all():
            return  # training has diverged, which the loss tells
        strength = self.chosen_strength(x)
        layer = self.layer(x, self.cells(), strength, self.repeats)
        assert self.head.bias is not None, "`setup` has looked"
        with torch.no_grad():
            outputs = len(self.head.weight)  # one where the logits are (0, z)
            self.head.weight.copy_(layer[-outputs:, :-1])
            self.head.bias.copy_(layer[-outputs:, -1])
        self.strength.fill_(strength)

    def cells(self) -> list[Tensor]:
        """Positions of the validation samples of each class in each group, for those pairs that have any."""
        val = self.task.val
        cell = (val.group * len(self.task.classes) + val.y).cpu()
        return [(cell == c).nonzero().squeeze(1) for c in cell.unique()]

    def chosen_strength(self, x: Tensor) -> float:
        """The strength that is best for the worst group, by the features x [N, D] of the validation data."""
        generator = self.task.streams.generators("method", "halves")[0]
        y = self.task.val.y.cpu()
        halves = [cell[torch.randperm(len(cell), generator=generator)].tensor_split(2) for cell in self.cells()]

        def worst_accuracy(strength: float) -> float:
            layer = self.layer(x, [fitted for fitted, _ in halves], strength)
            right = (x @ layer[:, :-1].T + layer[:, -1]).argmax(-1) == y
            return min(right[judged].double().mean().item() for _, judged in halves)

        return max(self.strengths, key=worst_accuracy)

    def layer(self, x: Tensor, cells: Sequence[Tensor], strength: float, repeats: int = 1) -> Tensor:
        """The mean [C, D + 1] of regressions on balanced subsets of the cells, for features x [N, D] as they are."""
        from sklearn.preprocessing import StandardScaler

        generator = self.task.streams.generators("method", "subsets")[0]
        y = self.task.val.y.cpu()
        scaler = StandardScaler().fit(x[torch.cat([*cells])].numpy())
        mean = torch.from_numpy(scaler.mean_)
        scale = torch.from_numpy(scaler.scale_)
        standard = (x - mean) / scale
        size = min(map(len, cells))
        layers = []
        for _ in range(repeats):
            subset = torch.cat([cell[torch.randperm(len(cell), generator=generator)[:size]] for cell in cells])
            layers.append(regression(standard[subset], y[subset], len(self.task.classes), strength))
        weight, bias = torch.stack(layers).mean(0).tensor_split([x.shape[1]], -1)
        weight = weight / scale
        return torch.cat([weight, bias - weight @ mean.unsqueeze(-1)], -1)

    def diagnostics(self) -> dict[str, Tensor]:
        """The strength (scikit-learn's C) that was chosen."""
        return {"strength": self.strength}


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {DeepFeatureReweighting.name: DeepFeatureReweighting}
