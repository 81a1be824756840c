"""Being asked to stop: Ctrl-C, SIGTERM, or a terminal that was closed.

The handlers only note that somebody asked; whoever waits looks. So no signal ever strikes between the start of a
process and its record, nor while everything is being stopped: a second Ctrl-C changes nothing.
"""

import signal
import time


class Stopped(BaseException):
    """Somebody asked us to stop."""


_signals_received: list[int] = []


def listen() -> None:
    """From now on note signals instead of dying of them; one that `nohup` told us to ignore stays ignored."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _note)


def check() -> None:
    """Raise Stopped if somebody asked us to stop."""
    if _signals_received:
        raise Stopped


def sleep(seconds: float) -> None:
    """Wait a little; raises Stopped, before or after, if somebody asked us to stop."""
    check()
    time.sleep(seconds)
    check()


def _note(number: int, frame: object) -> None:
    _signals_received.append(number)
