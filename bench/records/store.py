"""Records of runs, one JSON file each. Nothing here imports torch: tables are made from records alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bench.errors import StoreError
from bench.records.files import check_writable, keep_aside, write_whole
from bench.records.json_file import load
from bench.records.run import RunResult
from bench.records.spec import RunSpec, canonical

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd


OPTION_COLUMNS = ("dataset_options", "protocol_options", "model_options", "recipe")
"""Fields of a spec that are columns of `ResultStore.frame`, beside `options`, those of the method."""


@dataclass(frozen=True)
class ResultStore:
    """A folder of records, `dataset.method.seed.key.json`, with the predictions of a run beside its record (.npz)."""

    folder: Path

    def path(self, spec: RunSpec) -> Path:
        """The file of the record of a spec."""
        return self.folder / spec.path

    def get(self, spec: RunSpec) -> RunResult | None:
        """The record of a finished run, or None (also where it is a failure or damaged: then it may be run again)."""
        try:
            result = RunResult.from_json(self.path(spec).read_text("utf-8"))
        except (OSError, ValueError):
            return None
        return result if result.ok else None

    def check_writable(self) -> None:
        """Make the folder if it does not exist. Raises StoreError now rather than after hours of training."""
        check_writable(self.folder)

    def put(self, result: RunResult, predictions: "Mapping[str, np.ndarray[Any, Any]] | None" = None) -> Path:
        """Write a record, whole or not at all. Raises StoreError, leaving what was there.

        A finished record of the same key with other numbers or of other code is kept in the folder SUPERSEDED.

        predictions: arrays to keep beside it. They are written first: a record never lacks its predictions.
        """
        path = self.path(result.spec)
        before = self.get(result.spec)
        if before and (before.code != result.code or before.numbers() != result.numbers()):
            keep_aside(path)
        if predictions:
            import numpy as np

            write_whole(path.with_suffix(".npz"), lambda file: np.savez_compressed(file, **predictions))  # type: ignore[arg-type]
        try:
            result.save(self.folder)
        except StoreError:
            if predictions and not path.exists():  # they would be of no record
                path.with_suffix(".npz").unlink(missing_ok=True)
            raise
        return path

    def load(self) -> tuple[list[RunResult], dict[Path, str]]:
        """All records by file name, and the damaged files with the reason. Nothing is deleted."""
        return load(self.folder, RunResult)

    def frame(self) -> "pd.DataFrame":
        """One row for each finished run, selection rule, set and metric, for analysis with pandas.

        Options are JSON texts of what differs from the defaults: rows with other options of the protocol or of the data
        set are of other tasks.
        """
        import pandas as pd

        rows = [
            {"key": r.spec.key, "protocol": r.spec.protocol, "dataset": r.spec.dataset, "method": r.spec.method}
            | {"options": canonical(r.spec.options), "model": r.spec.model, "off_recipe": ",".join(r.off_recipe)}
            | {name: canonical(getattr(r.spec, name)) for name in OPTION_COLUMNS}
            | {"validation": r.spec.validation, "seed": r.spec.seed, "rule": rule, "epoch": selected.epoch}
            | {"set": name, "metric": metric, "value": math.nan if value is None else value}
            for r in self.load()[0]
            if r.ok
            for rule, selected in r.selected.items()
            for name, metrics in selected.metrics.items()
            for metric, value in metrics.items()
        ]
        return pd.DataFrame(rows)
