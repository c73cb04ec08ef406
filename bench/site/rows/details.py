"""What else is known of a row: its command, its options, the values of its seeds, rates and code. Nothing here imports
torch.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress

from bench.columns.run import Run
from bench.errors import StoreError
from bench.options import show
from bench.records.known_code import CORE
from bench.records.run import rule_name
from bench.records.sidecar import Sidecar
from bench.records.spec import SHARED
from bench.site.rows.curves import curve_picture
from bench.site.rows.histogram import weight_histogram
from bench.site.rows.pictured import Pictures
from bench.site.rows.rates import rates
from bench.site.rows.samples import samples
from bench.site.text import breakable, place, table, text
from bench.store.beside import sidecar_of_file
from bench.store.weighted import Weights
from bench.tables.context import own_floor
from bench.tables.names import Names
from bench.tables.rows import Row, scale_of
from bench.tables.wording import listed

RECORDS = "../results"
"""The folder of the records, as a link from a page of the site."""
SEEDS = 50
"""So many seeds have a line of their own."""
READ = 3
"""Of so many seeds what lies beside the record is read, which takes milliseconds for each."""


def row_details(
    row: Row,
    names: Names,
    rules: Sequence[str],
    with_files: bool,
    pictures: Pictures | None = None,
    shared: Sequence[str] = (),
) -> str:
    """What else is known of a row, folded.

    Args:
        row: the row.
        names: of the rows of the page.
        rules: the selection rules of the page.
        with_files: whether its records and what lies beside them are read, for rates, curves, weights and samples.
        pictures: finds the images of samples; None: no images are shown.
        shared: what is said of its code elsewhere (`code_of`).
    """
    seeds = _seeds(row, [rule for rule in rules if row.values(row.ranked_by, rule)])
    of_files = _of_files(row, pictures) if with_files else []
    parts = "\n".join(f"<div>{part}</div>" for part in [seeds, *of_files] if part)
    body = "\n".join(
        [
            *_made(row),
            f'<div class="parts">{parts}</div>',
            code_list([line for line in code_of(row) if line not in shared]),
        ]
    )
    name = names.plain(row) + (f", {row.variant}" if row.variant else "")
    return f'<details class="row" id="r{row.first.key}">\n<summary>{breakable(name)}</summary>\n{body}\n</details>'


def _of_files(row: Row, pictures: Pictures | None) -> Iterator[str]:
    """What the records and the files beside them say."""
    besides = {seed: _beside(row.runs[seed]) for seed in sorted(row.runs)[:READ]}
    about = row.first.about
    weights = {seed: Weights.of(one.arrays, len(about.classes), len(about.groups)) for seed, one in besides.items()}
    first = min(besides)
    yield rates(row)
    yield curve_picture(row, besides)
    yield weight_histogram({seed: one for seed, one in weights.items() if one}, len(row.runs))
    yield from samples(row.runs[first], besides[first], weights[first], pictures)


def _beside(run: Run) -> Sidecar:
    """What lies beside the record of a run; nothing where that is damaged: `bench verify-store` says so."""
    if run.beside is not None:
        return run.beside
    with suppress(StoreError, OSError, ValueError):
        return sidecar_of_file(run.record, run.columns.file(run.row))
    return Sidecar()


def _made(row: Row) -> Iterator[str]:
    """The command, the options and the noise floors."""
    yield f'<p><code class="command">{text(row.command)}</code></p>'
    spec = row.first.spec
    changed = [f"{name}={show(value)}" for name, value in spec.changed.items()]
    changed += [f"validation={spec.validation}"] if spec.validation != SHARED else []
    yield f"<p><b>Changed options:</b> {breakable(', '.join(changed)) or 'none'}</p>"
    if row.first.resolved.options:
        yield f"<p><b>All options of the method:</b> {breakable(listed(row.first.resolved.options, '{}'))}</p>"
    if used := row.first.about.used:
        told = "; ".join(f"{name}: {value}" for name, value in used.items())
        yield f"<p><b>Trained with something else than the recipe says:</b> {text(told)}</p>"
    floors = {metric: own_floor(row, metric, row.first.about.rule) for metric in row.first.about.metrics}
    if known := {metric: floor for metric, floor in floors.items() if not math.isnan(floor)}:
        told = ", ".join(f"{name} {_value(floor, row.unit(name))} {row.unit(name)}" for name, floor in known.items())
        yield f"<p><b>By chance alone, were all groups alike at the rate of this row:</b> {text(told)}</p>"


def _seeds(row: Row, rules: Sequence[str]) -> str:
    """The value of each metric for each seed, with a link to its record."""
    metrics = row.first.about.metrics
    columns = [(rule, metric, row.values(metric, rule)) for rule in rules for metric in metrics]
    heads = ["Seed", *(text(metric) for _, metric, _ in columns)]
    above = [("", 1), *((text(rule_name(rule)), len(metrics)) for rule in rules)]
    seeds = sorted(row.rows)
    lines = [
        [_record(row, seed), *(_value(values.get(seed), row.unit(metric)) for _, metric, values in columns)]
        for seed in seeds[:SEEDS]
    ]
    more = f"<p>{len(seeds) - SEEDS:,} more seeds are in <code>bench export</code>.</p>" if len(seeds) > SEEDS else ""
    return table(heads, lines, "small", above) + more


def _record(row: Row, seed: int) -> str:
    """A link to the record of a seed."""
    files: list[bytes] = row.columns.listed("file")
    path = place(files[row.rows[seed]] or row.paths[seed])
    return f'<a href="{RECORDS}/{path}">{seed}</a>'


def _value(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{scale_of(unit) * value:.2f}" if math.isfinite(value) else "undefined"


def code_of(row: Row) -> list[str]:
    """The versions of the code, where it ran, and the hash of each plugin, a line each.

    Args:
        row: the row.
    """
    lines = [*sorted(row.versions), *sorted({run.environment.device for run in row.runs.values()})]
    return lines + [f"code of the {use}: {one}" for use, one in row.first.code_by_use.items() if use != CORE]


def code_list(lines: Sequence[str]) -> str:
    """Such lines as a list; empty for none.

    Args:
        lines: of any origin.
    """
    return f'<ul class="code">{"".join(f"<li>{text(line)}" for line in lines)}</ul>' if lines else ""
