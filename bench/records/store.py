"""Records of runs, one JSON file each. Nothing here imports torch: tables are made from records alone."""

import json
import math
import os
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.records.spec import RunSpec, canonical, digest

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

FORMAT = 1
LAST = "last"
"""The selection rule of the last epoch."""
NOT_APPLICABLE = "not applicable"
"""The status of a method that cannot use the data set, model or recipe; no failure."""


def best_val(metric: str) -> str:
    """The selection rule of the epoch with the best validation value of a metric."""
    return f"best_val_{metric}"


def rule_name(rule: str) -> str:
    """A selection rule in words."""
    return "last epoch" if rule == LAST else rule.replace(best_val(""), "best validation ")


@dataclass(frozen=True)
class RunResult:
    """All that is known of one run.

    Attributes:
        status: `ok`, or the kind of failure: `diverged`, `out of memory`, `plugin error`; or NOT_APPLICABLE.
            `error`: its message.
        command: the exact command. off_recipe: what differs from the data set's published recipe.
        about: what tables need to know: metrics (the ranking one first), groups, classes, whether the method uses
            validation data and groups, whether it is the baseline, the selection rule's metric.
        resolved: the whole recipe and all options, defaults included.
        history: columns with one entry for each evaluation: epoch, step, train/..., val/..., test/... .
        selected: rule -> epoch and metrics by set. `last` always; `best_val_<metric>` unless validation was trained on.
        data: revision, sizes, unofficial files. costs: measured. environment: versions, device, plugin, git state.
    """

    spec: RunSpec
    status: str
    command: str
    off_recipe: list[str]
    about: dict[str, Any]
    resolved: dict[str, Any]
    data: dict[str, Any]
    history: dict[str, list[float]] = field(default_factory=dict)
    selected: dict[str, dict[str, Any]] = field(default_factory=dict)
    costs: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, Any] = field(default_factory=dict)
    error: str = ""

    @property
    def ok(self) -> bool:
        return self.status == "ok"

    @property
    def unfit(self) -> bool:
        """Whether the method cannot be applied; `error` says why."""
        return self.status == NOT_APPLICABLE

    def class_counts(self, part: str) -> list[int]:
        """Samples of each class in a part of the data; nothing in records of earlier versions."""
        return [sum(of_class) for of_class in zip(*self.data.get("counts", {}).get(part, []), strict=True)]

    def reproducible(self) -> dict[str, Any]:
        """What equal seeds give again to the bit on one machine's CPU: all but the costs and the environment. NaN is
        None, as in the record: it is equal to itself.

        Stacked runs agree with single ones up to rounding.
        """
        return {k: v for k, v in _plain(asdict(self)).items() if k not in ("costs", "environment")}

    def to_json(self) -> str:
        """One line for each field, so that a record can be read and compared. NaN becomes null."""
        values = {"format": FORMAT, "key": self.spec.key} | _plain(asdict(self))
        values["digest"] = digest(values)
        lines = (f"{json.dumps(name)}: {json.dumps(value, allow_nan=False)}" for name, value in values.items())
        return "{\n" + ",\n".join(lines) + "\n}\n"

    @classmethod
    def from_json(cls, text: str) -> "RunResult":
        """Raises ValueError when the text is not a whole record of this format, or was changed."""
        try:
            values = json.loads(text)
            form, key = values.pop("format"), values.pop("key")
            if form != FORMAT:
                raise ValueError(f"format {form}, expected {FORMAT}")
            if (found := values.pop("digest")) != digest(values | {"format": form, "key": key}):
                raise ValueError(f"its content does not have its digest {found}")
            return cls(**values | {"spec": RunSpec(**values["spec"])})
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a record: {error}") from error


@dataclass(frozen=True)
class SeedRuns:
    """The finished runs that differ in nothing but the seed, by seed."""

    runs: Mapping[int, RunResult]

    @property
    def any(self) -> RunResult:
        """That of the smallest seed, for what they have in common."""
        return self.runs[min(self.runs)]


def by_seed(results: Iterable[RunResult]) -> list[dict[int, RunResult]]:
    """The finished runs of each spec, whose seeds alone differ, by seed, in the order in which they are met."""
    found: dict[str, dict[int, RunResult]] = defaultdict(dict)
    for result in results:
        if result.ok:
            found[canonical(asdict(replace(result.spec, seed=0)))][result.spec.seed] = result
    return list(found.values())


@dataclass(frozen=True)
class ResultStore:
    """A folder of records, `dataset.method.seed.key.json`, with the predictions of a run beside its record (.npz)."""

    folder: Path

    def path(self, spec: RunSpec) -> Path:
        name = f"{spec.dataset}.{spec.method}.{spec.seed}.{spec.key}".replace("/", "-")
        return self.folder / f"{name}.json"

    def get(self, spec: RunSpec) -> RunResult | None:
        """The record of a finished run, or None (also where it is a failure or damaged: then it may be run again)."""
        try:
            result = RunResult.from_json(self.path(spec).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return result if result.ok else None

    def check_writable(self) -> None:
        """Raise StoreError now rather than after hours of training."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            tempfile.TemporaryFile(dir=self.folder).close()
        except OSError as error:
            raise StoreError(
                f"cannot write to {self.folder}: {error.strerror}; name another folder with --out"
            ) from error

    def put(self, result: RunResult, predictions: "Mapping[str, np.ndarray[Any, Any]] | None" = None) -> Path:
        """Write a record, whole or not at all. Raises StoreError, leaving what was there.

        predictions: arrays to keep beside it. They are written first: a record never lacks its predictions.
        """
        path = self.path(result.spec)
        if predictions:
            import numpy as np

            write_whole(path.with_suffix(".npz"), lambda file: np.savez_compressed(file, **predictions))  # type: ignore[arg-type]
        try:
            write_whole(path, result.to_json().encode())
        except StoreError:
            if predictions and not path.exists():  # they would be of no record
                path.with_suffix(".npz").unlink(missing_ok=True)
            raise
        return path

    def load(self) -> tuple[list[RunResult], dict[Path, str]]:
        """All records by file name, and the damaged files with the reason. Nothing is deleted."""
        results, damaged = [], {}
        for path in sorted(self.folder.glob("*.json")):
            try:
                results.append(RunResult.from_json(path.read_text("utf-8")))
            except (OSError, ValueError) as error:
                damaged[path] = str(error)
        return results, damaged

    def frame(self) -> "pd.DataFrame":
        """One row for each finished run, selection rule, set and metric, for analysis with pandas."""
        import pandas as pd

        rows = [
            {"key": r.spec.key, "protocol": r.spec.protocol, "dataset": r.spec.dataset, "method": r.spec.method}
            | {"options": canonical(r.spec.options), "model": r.spec.model, "off_recipe": ",".join(r.off_recipe)}
            | {"validation": r.spec.validation, "seed": r.spec.seed, "rule": rule, "epoch": chosen["epoch"]}
            | {"set": name, "metric": metric, "value": math.nan if value is None else value}
            for r in self.load()[0]
            if r.ok
            for rule, chosen in r.selected.items()
            for name, metrics in chosen["metrics"].items()
            for metric, value in metrics.items()
        ]
        return pd.DataFrame(rows)


def write_whole(path: Path, content: "bytes | Callable[[IO[bytes]], object]") -> None:
    """Write a file, from bytes or by a function, whole or not at all. Raises StoreError, leaving what was there."""
    part = None
    try:
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
            part = file.name
            file.write(content) if isinstance(content, bytes) else content(file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException as error:
        if part:
            Path(part).unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise StoreError(f"cannot write {path}: {error.strerror}; nothing was changed there") from error
        raise


def _plain(value: Any) -> Any:
    """JSON has no NaN and no infinity."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return value
