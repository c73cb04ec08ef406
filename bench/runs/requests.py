"""From the texts of a command to experiments: one for each method and each combination of values of `--each`."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.data.dataset import Dataset
from bench.data.files import Files
from bench.errors import OptionError
from bench.options import named_value, named_values, options_of
from bench.records.spec import SHARED, canonical
from bench.registry import Registry
from bench.runs.experiment import OPTION_PREFIXES, Experiment, Request
from bench.runs.resolve import resolve
from bench.runs.sizes import check_sizes

EXAMPLE = "weight_lr=10 or model.hidden=50"


@dataclass(frozen=True)
class RequestTexts:
    """The arguments and options of a command, as the user wrote them.

    Attributes:
        dataset: name of the data set.
        methods: names of the methods.
        model: name of the model; None: the one that the data set's recipe names.
        protocol: name of the protocol; None: the one that the data set's recipe names.
        options: texts NAME=VALUE. A name may begin with `METHOD.` or with one of OPTION_PREFIXES and a dot.
        each: texts NAME=VALUE too. A name may stand in several of them, and each of its values makes experiments of its
            own.
        validation: as in `Request`.
        stacked: whether all seeds are trained at once, as one stack.
    """

    dataset: str
    methods: Sequence[str]
    model: str | None = None
    protocol: str | None = None
    options: Sequence[str] = ()
    each: Sequence[str] = ()
    validation: str = SHARED
    stacked: bool = False


def experiments_of(asked: RequestTexts, files: Files, registry: Registry) -> list[Experiment]:
    """Make the experiments of a command. Data that several of them share are loaded once.

    Args:
        asked: the arguments and options of the command.
        files: the data files.
        registry: the plugins.

    Returns:
        The experiments in the order of `requests_of`, each one once.

    Raises:
        BenchError: for whatever cannot be run as the command says.
    """
    experiments: list[Experiment] = []
    loaded: dict[str, Dataset] = {}
    for request in requests_of(asked, registry):
        task = {name: v for name, v in request.options.items() if name.startswith(("dataset.", "protocol."))}
        experiment = resolve(request, files, registry, loaded.get(canonical(task)))
        loaded[canonical(task)] = experiment.dataset
        experiments.append(experiment)
    unstackable = dict.fromkeys(experiment.unstackable for experiment in experiments if experiment.unstackable)
    if asked.stacked and unstackable:
        raise OptionError(f"{', '.join(unstackable)} cannot train stacked runs: leave out --stack, or what cannot")
    check_sizes(experiments)
    by_key = {experiment.spec(0).key: experiment for experiment in experiments}  # 10 and 10.0 are one value
    return list(by_key.values())


def requests_of(asked: RequestTexts, registry: Registry) -> list[Request]:
    """Make a request for each combination of the values of `--each` and each method.

    Args:
        asked: the arguments and options of the command.
        registry: the plugins.

    Returns:
        The requests: of the first combination for all methods, then of the next one.

    Raises:
        OptionError: for an option that is malformed, is given twice, could mean two things, or is an option of some of
            the methods only.
    """
    methods = list(dict.fromkeys(asked.methods))
    requests = []
    for values in _combinations(asked.each):
        given = named_values([*asked.options, *values], example=EXAMPLE)
        for method, options in _options_by_method(given, methods, registry).items():
            request = Request(asked.dataset, method, asked.model, asked.protocol, options, asked.validation)
            requests.append(request)
    return requests


def _combinations(each: Sequence[str]) -> list[tuple[str, ...]]:
    """One text of each name, in every way. Raises OptionError for a value given twice."""
    by_name: dict[str, list[str]] = {}
    for text in each:
        name, _ = named_value(text, example=EXAMPLE)
        texts = by_name.setdefault(name, [])
        if text in texts:
            raise OptionError(f"--each {text} is given twice")
        texts.append(text)
    return list(itertools.product(*by_name.values()))


def _options_by_method(
    given: Mapping[str, str], methods: Sequence[str], registry: Registry
) -> dict[str, dict[str, str]]:
    """Method -> its options. Those with the method's name as prefix replace those without a prefix.

    Raises OptionError for an option that could mean two things, is given twice, or is an option of some of the methods
    only.
    """
    common: dict[str, str] = {}
    special: dict[str, dict[str, str]] = {method: {} for method in methods}
    for name, value in given.items():
        prefix, _, rest = name.rpartition(".")
        if prefix in special and prefix in OPTION_PREFIXES:
            raise OptionError(
                f"option {name!r} is unclear: {prefix!r} is a method here, and a prefix: run this method alone and "
                f"give its options without a prefix"
            )
        if prefix in special:
            special[prefix][rest] = value
            continue
        plain = name.removeprefix("method.")
        if plain in common:
            raise OptionError(f"option {name} is given twice")
        common[plain] = value
    for name, value in common.items():
        _require_of_all(name, value, methods, registry)
    return {method: common | special[method] for method in methods}


def _require_of_all(name: str, value: str, methods: Sequence[str], registry: Registry) -> None:
    """Raises OptionError for an option that some of the methods have and others do not."""
    having = [method for method in methods if name in options_of(registry.find("methods", method).value)]
    lacking = [method for method in methods if method not in having]
    if having and lacking:
        raise OptionError(
            f"{', '.join(lacking)}: no option {name}; give it to one method, as {having[0]}.{name}={value}"
        )
