"""Trimmed risk: train on the samples of each batch with the smaller losses."""

from dataclasses import dataclass

from bench import Method, hookimpl


@dataclass
class Trimmed(Method):
    """Trimmed risk minimisation (Shen and Sanghavi 2019): only the fraction `keep` with the smaller losses counts."""

    stackable = True  # False unless declared; `bench.testing.find_out` tells
    keep: float = 0.8  # an option: bench run -o keep=0.7

    def weights(self, batch, losses):
        cut = losses.detach().quantile(self.keep, dim=-1, keepdim=True)
        return (losses <= cut).float() / self.keep


@hookimpl
def bench_methods():
    return {"trimmed": Trimmed}
