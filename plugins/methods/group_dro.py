"""Group DRO: distributionally robust optimisation over known groups."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from bench import Batch, Checks, Method, hookimpl
from bench.training.groups import group_means, label_counts, require_two
from bench.training.weights import drawn_order, label_balanced


@dataclass
class GroupDRO(Method):
    """Group DRO: the groups' losses are weighted by a distribution that moves towards the group with the largest loss.

    The distribution is q. The method solves min over theta, max over q of sum_g q_g E_g[loss] (equation 7). In one step
    q_g becomes q_g exp(eta_q l_g), renormalised, where l_g is the mean loss of the batch's samples of group g. Then the
    recipe's optimiser takes a step on sum_g q_g l_g with the new q. q starts uniform and is stored as its logarithm, so
    that no group is lost to underflow. The weight of a sample is q_g times the batch size over the batch's number of
    samples of its group.

    Source: Sagawa, Koh, Hashimoto, Liang, Distributionally Robust Neural Networks for Group Shifts, 2020, Algorithm 1.

    What the paper leaves open is an option, or is decided here:

    - Algorithm 1 takes one sample of one group a step. The batches that the paper trains with (section 5) update all
      groups that they hold at once. A group that is absent from a batch keeps its q_g but for the renormalisation and
      adds nothing to the objective, so that the weights of that batch sum to less than their number.
    - Groups without training samples have q_g = 0 throughout.
    - The strong regularisation that the paper recommends (section 3.2) is the recipe's `weight_decay` or `epochs`.

    Options:
        eta_q: step size of q. The paper gives no value. Default: 0.01, as in its authors' code.
        adjustment: C of the group adjustment (equation 5): C / sqrt(n_g) is added to each group's loss in the step on
            q, with n_g training samples. The paper searches 0 to 5. Default: 0.
        by: what the groups are, `group` (the sensitive attribute, the default) or `class`.
        sampling: `shuffled` (the default): the same batches as for all methods. `uniform`: samples of each group with
            the same probability, drawn with replacement, which is how Algorithm 1 samples.

    Raises:
        NotApplicableError: where fewer than two groups (classes) have training samples.
    """

    name = "group_dro"
    stackable = True
    capturable = True
    uses_groups = True

    eta_q: float = 0.01
    adjustment: float = 0.0
    by: Literal["group", "class"] = "group"
    sampling: Literal["shuffled", "uniform"] = "shuffled"

    def __post_init__(self) -> None:
        Checks(self).at_least(0, "eta_q", "adjustment")
        self.uses_groups = self.by == "group"

    def setup(self) -> None:
        count = label_counts(self.task, self.by)
        require_two(self.name, count, "classes" if self.by == "class" else "groups")
        self.margin = self.adjustment / count.clamp_min(1).sqrt()
        self.log_q = (count > 0).float().log().log_softmax(-1)

    def batches(self, epoch: int) -> Iterator[Batch]:
        if self.sampling == "shuffled":
            return super().batches(epoch)
        label, _ = self.task.labels(self.by)
        return self.task.batches(epoch, drawn_order(label_balanced(label), self.task.streams, epoch))

    def weights(self, batch: Batch, losses: Tensor) -> Tensor:
        """The weights of the batch, [.., B]; their mean is the sum of q over the groups in the batch."""
        group = batch.label(self.by)
        mean, count = group_means(losses.detach(), group, self.log_q.shape[-1])
        ascent = (self.eta_q * (mean + self.margin)).where(count > 0, 0.0)
        self.log_q.copy_((self.log_q + ascent).log_softmax(-1))
        return losses.shape[-1] * (self.log_q.exp() / count.clamp_min(1)).gather(-1, group)

    def diagnostics(self) -> dict[str, Tensor]:
        return {"largest_q": self.log_q.exp().amax(-1)}


@hookimpl
def bench_methods() -> Mapping[str, type[Method]]:
    return {GroupDRO.name: GroupDRO}
