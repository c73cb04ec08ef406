"""Records of format 1, which hold their history themselves, as entries of the format of today. Nothing here imports
torch.
"""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

from bench.errors import StoreError
from bench.metrics import metric_of
from bench.records.files import content_of_file
from bench.records.possible import Column, check_beside, check_history
from bench.records.selections import VAL, Selected, Selections, shown_metrics
from bench.records.shape import check_shape, check_values
from bench.records.sidecar import TRAIN, Sidecar, digest_of
from bench.records.spec import SHARED, digest
from bench.records.written import as_written

if TYPE_CHECKING:
    import numpy as np

PLANE = "grid"
"""The name of the one probe of points of a plane that a record could have when records did not yet name their planes.
"""


def upgraded(values: Mapping[str, Any], last: str, ok: str) -> dict[str, Any]:
    """The entries of a record.

    What lay beside it then has no digest of today's kind, so the record has none either.

    Args:
        values: the entries of its file, without the digest.
        last: the selection rule that takes the last epoch.
        ok: the status of a finished run.

    Raises:
        ValueError: for a history that cannot be true, or that does not give what was selected.
    """
    entries = dict(values)
    history = entries.pop("history")
    entries.pop("arrays", None)
    check_shape(history, dict[str, list[float | None]], "history")
    check_history(history)
    data = entries["data"]
    entries["data"] = {"planes": [name for name in data["sizes"] if name == PLANE]} | data
    about = entries["about"]
    selected = {rule: Selected(choice["epoch"], choice["metrics"]) for rule, choice in entries["selected"].items()}
    selections = Selections.of(selected, shown_metrics(about["metrics"], about["select"]))
    if entries["status"] == ok:
        best = f"{VAL}/{about['select']}" if entries["spec"].get("validation", SHARED) == SHARED else ""
        _check_selected(selected, history, best)
        of_val = {metric for choice in selected.values() for metric in choice.metrics.get(VAL, {})}
        check_beside(Selections.of(selected, of_val), history, last, about["select"])
    entries["selected"] = as_written(selections)
    if "code" in entries:
        loaded = {name: digest(sorted(hashes.items())) for name, hashes in entries["code"]["loaded"].items()}
        entries["code"] = entries["code"] | {"loaded": loaded}
    return entries


def _check_selected(selected: Mapping[str, Selected], history: Mapping[str, Column], best: str) -> None:
    """Check that there is what a finished run has selected.

    Args:
        selected, history: of the record.
        best: the column that epochs are selected by; empty where the validation data were trained on.

    Raises:
        ValueError: for a rule or a metric that is missing, and for values that metrics do not have.
    """
    if len(selected) < 2 and any(value is not None for value in history.get(best, [])):
        raise ValueError(f"it has selected by {', '.join(selected) or 'nothing'}, and {best} has a best epoch")
    columns = [column for column in history if "/" in column and not column.startswith(TRAIN)]
    for rule, choice in selected.items():
        values = {f"{name}/{metric}": value for name, of in choice.metrics.items() for metric, value in of.items()}
        for column in columns:
            if column not in values:
                raise ValueError(f"selected.{rule}.{column} is missing")
        for column, value in values.items():
            check_values(f"selected.{rule}.{column}", metric_of(column), [value])


def sidecar_of(values: Mapping[str, Any], arrays: Path) -> Sidecar:
    """What lies beside a record.

    Args:
        values: the entries of its file.
        arrays: the .npz file of its arrays; it need not exist if the record does not say that there are some.

    Raises:
        StoreError: if the arrays cannot be read, or are those of another record.
    """
    digest_of_arrays = values.get("arrays", "")
    beside = read_arrays(arrays, digest_of_arrays) if digest_of_arrays or arrays.exists() else {}
    return Sidecar(values["history"], beside)


def read_arrays(path: Path, digest: str) -> "dict[str, np.ndarray[Any, Any]]":
    """Read the arrays beside a record.

    Args:
        path: the .npz file.
        digest: that of the arrays, as their record has it; empty where it has none, and then any arrays are taken.

    Returns:
        Name -> array.

    Raises:
        StoreError: if the file cannot be read, or holds the arrays of another record.
    """
    import numpy as np

    try:
        with np.load(BytesIO(content_of_file(path))) as file:
            arrays = dict(file)
    except FileNotFoundError as error:
        raise StoreError(f"{path} is missing") from error
    except (OSError, ValueError, EOFError, BadZipFile) as error:
        raise StoreError(f"{path} cannot be read: {error}") from error
    if digest and digest_of(arrays) != digest:
        raise StoreError(f"{path} does not hold the arrays of its record: their digest is not {digest}")
    return arrays
