"""SIGTERM and Ctrl-C, heard between two pieces of work instead of in the middle of one.

An exception that comes in the middle of a statement can leave the connection in a state in which the way out fails as
well, with an error of its own: that one looked like a broken record, and the command went on.
"""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

SECONDS_TO_STOP = 5.0


class PatienceIsOver(KeyboardInterrupt):
    """What goes on although somebody asked to stop is broken off; whatever is half done is rolled back."""


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Tells whether SIGTERM or Ctrl-C has come. A second one is not held back any more.

    Raises PatienceIsOver when it has not stopped after five seconds, as when a database hangs.
    """
    is_asked = False
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGALRM)}

    def stop(*_: object) -> None:
        nonlocal is_asked
        is_asked = True
        signal.signal(signal.SIGTERM, before[signal.SIGTERM])
        signal.signal(signal.SIGINT, before[signal.SIGINT])
        signal.setitimer(signal.ITIMER_REAL, SECONDS_TO_STOP)

    def break_off(*_: object) -> None:
        raise PatienceIsOver

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGALRM, break_off)
    try:
        yield lambda: is_asked
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)


def was_interrupted(error: BaseException | None) -> bool:
    """Whether an interruption is what this error began with."""
    while error is not None:
        if isinstance(error, KeyboardInterrupt):
            return True
        error = error.__context__
    return False
