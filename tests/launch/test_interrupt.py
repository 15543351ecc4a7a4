"""The first signal is a wish, the second an order."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from elucidiff.launch.interrupt import Interrupt


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Interrupt() as interrupt:
        assert interrupt.received is None
        os.kill(os.getpid(), number)
        assert interrupt.received == number.name
    assert signal.getsignal(number) is before


def test_the_second_one_acts_as_usual() -> None:
    with Interrupt() as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert interrupt.received == "SIGINT"


def test_an_echo_is_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    """A launcher passes on what the terminal has sent to all; later it is an order again."""
    now = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    with Interrupt(echoes=True) as interrupt:
        os.kill(os.getpid(), signal.SIGINT)
        now[0] = 109.9
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert interrupt.received == "SIGINT"
        now[0] = 110.1
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_other_threads_do_without() -> None:
    received: list[str | None] = []

    def run() -> None:
        with Interrupt() as interrupt:
            received.append(interrupt.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert received == [None]
