"""Whether this process is to end soon. Work that takes long asks between two chunks, and between two mails.

So that a stop neither waits for an hour of billing, nor cuts off a mail in the middle of its hand-over.
"""

from collections.abc import Callable

_ends: list[Callable[[], bool]] = []


def end_when(is_asked: Callable[[], bool]) -> None:
    """From now on, this process is to end once `is_asked()`."""
    _ends.append(is_asked)


def may_go_on() -> bool:
    """False once the process is to end: what is in hand is finished, nothing more is begun."""
    return not any(is_asked() for is_asked in _ends)
