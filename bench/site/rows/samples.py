"""The worst test samples of a row, and the training samples with the largest weights. Nothing here imports torch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.columns.run import Run
from bench.records.run import rule_name
from bench.records.selections import TEST
from bench.records.sidecar import Sidecar
from bench.site.rows.pictured import Pictured, Pictures
from bench.site.text import table, text
from bench.store.predicted import check_predictions, sets_predicted
from bench.store.weighted import Weights, extremes
from bench.text import join_first

MOST = 8
"""So many samples are shown of each kind."""
IMAGE = '<img class="sample" src="{}" alt="" width="40" height="40">'
"""What it shows stands beside it."""


@dataclass(frozen=True)
class Predicted:
    """Predictions of a run for its test samples.

    Attributes:
        places: of the samples that are shown, the one with the smallest probability of its label first.
        index: [n], the positions of all samples in the data set.
        y, group: [n], their classes and groups.
        probabilities: [n, classes].
        rule: by which the model was selected.
    """

    places: Sequence[int]
    index: NDArray[np.int64]
    y: NDArray[np.int64]
    group: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    rule: str

    @classmethod
    def of(cls, run: Run, beside: Sidecar) -> "Predicted | None":
        """Those under the first selection rule of a run; None where there are none, or they are not its own.

        Args:
            run: the run.
            beside: what lies beside its record.
        """
        if f"{TEST}/y" not in beside.arrays:  # nor is the record read where nothing could be read beside it
            return None
        record = run.record
        if TEST not in sets_predicted(record, beside) or check_predictions(record, beside):
            return None
        rule = next(iter(record.selected.epochs))
        index, y, group = (beside.arrays[f"{TEST}/{part}"].astype(np.int64) for part in ("index", "y", "group"))
        if not len(y):
            return None
        powers = np.exp(beside.arrays[f"{TEST}/{rule}"].astype(np.float64))  # of logits whose largest is 0
        probabilities = powers / powers.sum(-1, keepdims=True)
        of_label = probabilities[np.arange(len(y)), y]
        places = np.lexsort((index, of_label))[:MOST]
        return cls(places.tolist(), index, y, group, probabilities, rule)


def samples(run: Run, beside: Sidecar, weights: Weights | None, pictures: Pictures | None) -> Iterator[str]:
    """Tables of the worst test samples of a run and of its training samples with the largest weights.

    Args:
        run: the run.
        beside: what lies beside its record.
        weights: those of its training samples; None where all are equal, or they are not stored.
        pictures: finds the images of samples; None: no images are shown.

    Returns:
        HTML; nothing where neither predictions nor weights are stored.
    """
    predicted = Predicted.of(run, beside)
    heaviest = _heaviest(weights) if weights else []
    if predicted is None and not heaviest:
        return
    found = pictures(run, beside, predicted.places if predicted else [], heaviest) if pictures else Pictured()
    if predicted:
        yield _worst(run, predicted, found.test)
    if weights and heaviest:
        yield _heavy(run, weights, heaviest, found.train)
    if found.why:
        yield f"<p>No images: {text(found.why)}.</p>"
    elif found.told:
        yield f"<p><b>The images:</b> {' '.join(map(text, found.told))}</p>"


def _heaviest(weights: Weights) -> list[int]:
    """The places of the given samples with the largest weights."""
    places: list[int] = extremes(np.where(weights.given, weights.relative, np.nan), MOST)[0].tolist()
    return places


def _worst(run: Run, predicted: Predicted, images: Sequence[str]) -> str:
    """Those test samples whose label has the smallest probability."""
    classes = run.about.classes
    lines = []
    for place in predicted.places:
        of_classes = predicted.probabilities[place]
        label, guess = int(predicted.y[place]), int(of_classes.argmax())
        cells = [str(predicted.index[place]), text(classes[label]), text(classes[guess])]
        cells += [_percent(of_classes[guess]), _percent(of_classes[label])]
        lines.append([*cells, *_group(run, predicted.group[place])])
    title = f"Worst test samples: {rule_name(predicted.rule)}, seed {run.spec.seed}"
    heads = ["Test sample", "Label", "Predicted", "Probability", "Label’s probability", *_group_head(run)]
    return _table(title, heads, lines, images)


def _heavy(run: Run, weights: Weights, places: Sequence[int], images: Sequence[str]) -> str:
    """Those training samples that have the largest weights. Where all of them share their weight with others, as under
    weights of classes, they are counted by class instead.
    """
    classes = run.about.classes
    title = f"Largest weights in training: last epoch, seed {run.spec.seed}"
    largest = weights.given & (weights.relative >= weights.relative[places[-1]])
    if largest.sum() > len(places) and weights.relative[places[0]] == weights.relative[places[-1]]:
        return f"<div><h4>{text(title)}</h4><p>{_shared(weights, largest, classes)}</p></div>"
    lines = []
    for place in places:
        label, true = int(weights.y[place]), int(weights.true[place])
        wrong = f", is {classes[true]}" if 0 <= true != label else ""
        cells = [str(place), f"{weights.relative[place]:.3g} ×", text(classes[label] + wrong)]
        lines.append([*cells, *_group(run, weights.group[place])])
    alike = int((weights.known >= weights.relative[places[-1]]).sum())
    told = f"<p>{alike:,} samples have a weight as large as the last one.</p>" if alike > len(places) else ""
    return _table(title, ["Training sample", "Weight / mean", "Label", *_group_head(run)], lines, images) + told


def _shared(weights: Weights, largest: "NDArray[np.bool_]", classes: Sequence[str]) -> str:
    """How many samples of which class share the largest weight."""
    counts = np.bincount(weights.y[largest], minlength=len(classes))
    named = [f"{count:,} of {classes[place]}" for place, count in enumerate(counts) if count]
    weight = f"{weights.relative[largest].max():.3g} × the mean"
    return text(f"{largest.sum():,} samples share the largest weight, {weight}: {join_first(named, MOST)}.")


def _table(title: str, heads: Sequence[str], lines: Sequence[Sequence[str]], images: Sequence[str]) -> str:
    if images:
        heads = ["Image", *heads]
        lines = [[IMAGE.format(image), *line] for image, line in zip(images, lines, strict=True)]
    return f"<div><h4>{text(title)}</h4>{table(heads, lines, 'samples')}</div>"


def _group_head(run: Run) -> list[str]:
    return [] if _is_by_class(run) else ["Group"]


def _group(run: Run, group: Any) -> list[str]:
    """The name of a group, where groups are not classes."""
    groups = run.about.groups
    return [] if _is_by_class(run) else [text(groups[group] if group < len(groups) else str(group))]


def _is_by_class(run: Run) -> bool:
    return len(run.about.groups) < 2 or run.about.groups == run.about.classes


def _percent(share: float) -> str:
    """A probability, of which very small and very large ones are not shown as certain."""
    if share < 0.001:
        return "&lt; 0.1 %"
    return "&gt; 99.9 %" if share > 0.999 else f"{100 * share:.1f} %"
