"""The logarithmic loss of probabilities."""

from bench import Metric, hookimpl


def log_loss(p, counts):
    """Mean negative log-likelihood of the classes under the softmax of the logits."""
    log_probabilities = p.logits.double().log_softmax(-1)  # [.., N, C]
    return -log_probabilities.gather(-1, p.y.unsqueeze(-1)).mean((-2, -1))


@hookimpl
def bench_metrics():
    reference = "Good 1952, Rational Decisions, section 8"
    return {"log_loss": Metric(log_loss, higher_is_better=False, unit="nats", reference=reference)}
