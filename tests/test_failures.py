"""What a plugin raises, in one line."""

import copy
import functools
import signal

import pytest
from torch import nn

from bench.errors import DataError, PluginError, PluginFailureError
from bench.failures import LONGEST, Interrupts, message, one_line, plugin_code
from bench.parts import Part
from bench.registry import Plugin


class Offered:
    def fails(self):
        raise TypeError("no\n  number")


PART = Part("method", "trimmed", Plugin("acme", "acme", "0.1", __name__), Offered)


def test_the_line_has_the_plugin_the_kind_and_the_place():
    line = Offered.fails.__code__.co_firstlineno + 1
    with pytest.raises(PluginFailureError) as caught, plugin_code(PART):
        Offered().fails()
    assert (
        str(caught.value) == f"acme 0.1: method trimmed: TypeError in fails, tests/test_failures.py:{line}: no number"
    )
    assert isinstance(caught.value.__cause__, TypeError)


@pytest.mark.parametrize("error", [SystemExit(0), GeneratorExit(), KeyboardInterrupt(), BaseException("odd")])
def test_whatever_a_plugin_raises_is_its_failure(error):
    with pytest.raises(PluginFailureError, match=f"method trimmed: {type(error).__name__} in "), plugin_code(PART):
        raise error


def test_errors_of_the_user_and_interrupts_pass():
    with pytest.raises(DataError), plugin_code(PART):
        raise DataError("no file")
    with pytest.raises(KeyboardInterrupt), plugin_code(PART):
        signal.raise_signal(signal.SIGINT)


def test_an_interrupt_that_was_swallowed_is_known():
    with Interrupts() as interrupts:
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert interrupts.are_why(RuntimeError())
        with pytest.raises(KeyboardInterrupt):
            interrupts.check()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_message_that_cannot_be_shown_and_a_long_one():
    class BrokenError(Exception):
        def __str__(self):
            raise ValueError

    assert message(BrokenError()) == "its message cannot be shown (ValueError)"
    assert len(message(Exception("x" * 9999))) == LONGEST
    assert one_line(BrokenError(), []).startswith("BrokenError")


SAME_FILE = Plugin("acme", "acme", "0.1", __name__)


class Net(nn.Module):
    def forward(self, x):
        raise TypeError("no forward")


class Running:
    """What methods and protocols have in common."""

    def __init__(self, model=None):
        self.model = model

    def does(self, what):
        return what()


class Owner(Running):
    pass


class Protocol(Running):
    pass


def factory(shape, classes):
    return helper()


def helper():
    raise TypeError("no\n  number")


def metric(predictions, counts):
    return helper()


def loader():
    def augment(x, generator):
        return helper()

    return augment


AUGMENT = loader()
PARTS = [
    Part("method", "trimmed", SAME_FILE, Owner),
    Part("model", "net", SAME_FILE, factory),
    Part("protocol", "rare", SAME_FILE, Protocol),
    Part("data set", "blobs", SAME_FILE, (AUGMENT, None)),
    Part("metric", "loss", SAME_FILE, functools.partial(metric)),
]


def trains(module):
    """A method whose model is a module."""
    return lambda: Owner(module).does(lambda: module(1))


@pytest.mark.parametrize(
    ("does", "whose"),
    [
        (lambda: Owner().does(helper), "method trimmed"),
        (lambda: Protocol().does(helper), "protocol rare"),
        (lambda: factory((2,), 2), "model net"),
        (lambda: AUGMENT(1, 2), "data set blobs"),
        (lambda: metric(1, 2), "metric loss"),
        (lambda: Net()(1), "model net"),
        (trains(Net()), "model net"),
        (trains(nn.Sequential(nn.Identity(), Net())), "model net"),
        (lambda: Owner(Net()).does(lambda: copy.deepcopy(Net())(1)), "model net"),
        (lambda: Owner(nn.Linear(1, 1)).does(lambda: nn.Sequential(Net())(1)), "method trimmed"),
        (lambda: Protocol().does(trains(Net())), "model net"),
        (lambda: Protocol().does(lambda: Owner().does(helper)), "method trimmed"),
        (lambda: Owner().does(lambda: metric(1, 2)), "metric loss"),
    ],
)
def test_the_part_is_the_one_whose_code_ran_though_all_are_of_one_file(does, whose):
    with pytest.raises(TypeError) as raised:
        does()
    for parts in (PARTS, PARTS[::-1]):
        assert one_line(raised.value, parts).startswith(f"acme 0.1: {whose}: TypeError in ")


def test_an_error_that_the_core_knows_whose_it_is_names_that_part():
    assert one_line(PluginError.of("model", "it returns a tuple"), PARTS) == "acme 0.1: model net: it returns a tuple"
