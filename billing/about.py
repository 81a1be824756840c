"""What is being worked on just now, for those who log: the run, the customer, the key. Numbers and keys, no names."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import MappingProxyType

_NOTHING: Mapping[str, object] = MappingProxyType({})
_facts: ContextVar[Mapping[str, object]] = ContextVar("facts", default=_NOTHING)


@contextmanager
def about(**facts: object) -> Iterator[None]:
    """Everything logged inside is about this: run=…, customer=…, account=…, key=…. May be nested; of this thread."""
    token = _facts.set({**_facts.get(), **facts})
    try:
        yield
    finally:
        _facts.reset(token)


def facts() -> Mapping[str, object]:
    """What is being worked on here and now; empty when nobody said."""
    return _facts.get()
