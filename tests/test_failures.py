"""What a plugin raises, in one line."""

import signal

import pytest

from bench.errors import DataError, PluginFailureError
from bench.failures import LONGEST, Interrupts, Part, message, one_line, plugin_code
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
