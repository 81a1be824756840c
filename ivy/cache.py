"""The only door to Redis. It makes things quicker and decides nothing: whatever is kept there is right without it.

Nothing here raises because of Redis. A failure is classified, counted and logged (at the first of its kind, then summed
up once a minute), and the cache is left alone for some seconds, so that whoever works pays for one time-out and not for
hundreds. Connections are dropped with it: a primary that was demoted would otherwise be spoken to for ever. After those
seconds the next call tries again, which is all that healing takes.

`ivy.probing` writes the counts to PostgreSQL, and wakes up by `attention` when something failed.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, TypeVar

from django.core.cache import caches
from redis import exceptions

logger = logging.getLogger(__name__)
T = TypeVar("T")

ALIAS = "redis"
SKIP_SECONDS = 10.0
SUMMARY_SECONDS = 60.0
SLOW_SECONDS = 1.0  # for what takes a millisecond; time-outs bound each answer, and a new connection needs several
LONGEST_WORDS = 300
_NOTHING: Any = object()


class Kind(StrEnum):
    """What is wrong with Redis. Reads go on with the first four: that is why a read proves nothing."""

    READ_ONLY = "read-only"
    OUT_OF_MEMORY = "out-of-memory"
    FAILED_SNAPSHOT = "failed-snapshot"
    TOO_FEW_REPLICAS = "too-few-replicas"
    REFUSED = "refused"
    LOADING = "loading"
    FROZEN = "frozen"
    LOG_IN = "log-in"
    POOL = "pool"
    TOO_MANY_CLIENTS = "too-many-clients"
    LOST_CONNECTION = "lost-connection"
    FORGETFUL = "forgetful"
    OTHER = "other"


# With these the server still answers what only asks.
ANSWERING = frozenset(
    {
        Kind.READ_ONLY,
        Kind.OUT_OF_MEMORY,
        Kind.FAILED_SNAPSHOT,
        Kind.TOO_FEW_REPLICAS,
        Kind.FORGETFUL,
    }
)


@dataclass
class Failures:
    """Failures of one kind that were not written to PostgreSQL yet; moments of the monotonic clock."""

    kind: Kind
    count: int
    first: float
    last: float
    words: str


class NotKept(Exception):
    """Redis took a value, and did not give it back a moment later."""


class _Memory:
    """What this process knows of the cache."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.skipped_until = 0.0
        self.failing_since: float | None = None
        self.to_count: dict[Kind, Failures] = {}
        self.to_sum_up: dict[Kind, int] = {}
        self.told_at: dict[Kind, float] = {}


_memory = _Memory()
attention = threading.Event()


def _forget() -> None:
    """A forked process has failures of its own, and must not count its parent's again."""
    global _memory, attention  # noqa: PLW0603
    _memory = _Memory()
    attention = threading.Event()


os.register_at_fork(after_in_child=_forget)


def get(key: str, default: Any = None) -> Any:
    """What is kept under the key; `default` where there is nothing, or no cache."""
    return _try(lambda redis: redis.get(key, default), default, is_proof=False)


def set(key: str, value: Any, *, seconds: float) -> None:  # noqa: A001 - as every cache calls it
    """Keep it for so long, if that works. Nobody may rely on it."""
    _try(lambda redis: redis.set(key, value, timeout=seconds), None, is_proof=True)


def get_or_make(key: str, make: Callable[[], T], *, seconds: float) -> T:
    """What is kept under the key, or what `make` returns, which is then kept for so long.

    Raises what `make` raises, and nothing else. Without Redis, or just after it failed, it is `make()`.
    """
    found = get(key, _NOTHING)
    if found is not _NOTHING:
        return found
    made = make()
    set(key, made, seconds=seconds)
    return made


def is_skipped() -> bool:
    """Whether the cache failed a moment ago, and is left alone."""
    return time.monotonic() < _memory.skipped_until


def raw_client() -> Any:
    """redis-py's own client for writing, on the connections that `get` and `set` use. For probes alone: it raises."""
    redis: Any = caches[ALIAS]
    return redis.client.get_client(write=True)


@contextmanager
def in_time() -> Iterator[None]:
    """Raises TimeoutError when what was done within took too long: a server that drips is as good as a frozen one."""
    began = time.monotonic()
    yield
    if (took := time.monotonic() - began) > SLOW_SECONDS:
        raise TimeoutError(f"it answered, but after {took:.1f} s")


def kind_of(error: BaseException) -> Kind:
    """Which trouble this exception tells of."""
    words = str(error)
    by_class: list[tuple[type[Exception] | tuple[type[Exception], ...], Kind]] = [
        (NotKept, Kind.FORGETFUL),
        (exceptions.ReadOnlyError, Kind.READ_ONLY),
        (exceptions.OutOfMemoryError, Kind.OUT_OF_MEMORY),
        (exceptions.BusyLoadingError, Kind.LOADING),
        (exceptions.MaxConnectionsError, Kind.POOL),
        (
            (
                exceptions.AuthenticationError,
                exceptions.AuthorizationError,
                exceptions.AuthenticationWrongNumberOfArgsError,
                exceptions.NoPermissionError,
            ),
            Kind.LOG_IN,
        ),
        ((exceptions.TimeoutError, TimeoutError), Kind.FROZEN),
    ]
    by_words = [
        ("MISCONF", Kind.FAILED_SNAPSHOT),
        ("NOREPLICAS", Kind.TOO_FEW_REPLICAS),
        ("Not enough good replicas", Kind.TOO_FEW_REPLICAS),
        ("MASTERDOWN", Kind.READ_ONLY),
        ("max number of clients", Kind.TOO_MANY_CLIENTS),
        ("NOAUTH", Kind.LOG_IN),
        ("WRONGPASS", Kind.LOG_IN),
        ("connecting to", Kind.REFUSED),  # refused, no such host, no way there: nothing answers at that address
        ("Connection refused", Kind.REFUSED),
    ]
    for kinds, kind in by_class:
        if isinstance(error, kinds):
            return kind
    for part, kind in by_words:
        if part in words:
            return kind
    return Kind.LOST_CONNECTION if isinstance(error, (exceptions.ConnectionError, OSError)) else Kind.OTHER


def in_words(error: BaseException) -> str:
    """The exception on one line, without a full stop."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:LONGEST_WORDS].rstrip(".")


def note_failure(error: BaseException, *, wakes_prober: bool = True) -> Kind:
    """Count and log a failure, leave the cache alone for a while, and drop its connections. Returns its kind."""
    kind = kind_of(error)
    words = in_words(error)
    now = time.monotonic()
    with _memory.lock:
        _memory.skipped_until = now + SKIP_SECONDS
        if _memory.failing_since is None:
            _memory.failing_since = now
        _count(Failures(kind, 1, now, now, words))
        is_to_be_told = now - _memory.told_at.get(kind, float("-inf")) >= SUMMARY_SECONDS
        others = _memory.to_sum_up.pop(kind, 0) if is_to_be_told else 0
        if is_to_be_told:
            _memory.told_at[kind] = now
        else:
            _memory.to_sum_up[kind] = _memory.to_sum_up.get(kind, 0) + 1
    if is_to_be_told:
        before = f", and {others} times since this was told last" if others else ""
        logger.warning("The cache fails (%s%s): %s. Ivy goes on without it.", kind.value, before, words)
    _drop_connections()
    if wakes_prober:
        attention.set()
    return kind


def note_success() -> None:
    """Something was written: the cache may be used again at once."""
    with _memory.lock:
        since, _memory.failing_since = _memory.failing_since, None
        _memory.skipped_until = 0.0
        if since is None:
            return
        _memory.to_sum_up.clear()
        _memory.told_at.clear()
    logger.warning("The cache works again, after %.0f s.", time.monotonic() - since)


def take_failures() -> list[Failures]:
    """The failures that were not taken yet, by kind; the caller writes them down, or gives them back."""
    with _memory.lock:
        taken, _memory.to_count = list(_memory.to_count.values()), {}
    return taken


def give_back(failures: list[Failures]) -> None:
    """What could not be written down is to be taken again."""
    with _memory.lock:
        for one in failures:
            _count(one)


def _count(new: Failures) -> None:
    """To be called with the lock held."""
    old = _memory.to_count.get(new.kind)
    if old is None:
        _memory.to_count[new.kind] = new
        return
    latest = max(old, new, key=lambda one: one.last)
    _memory.to_count[new.kind] = Failures(
        new.kind, old.count + new.count, min(old.first, new.first), latest.last, latest.words
    )


def _try(use: Callable[[Any], T], instead: T, *, is_proof: bool) -> T:
    """What `use` returns, or `instead`. `is_proof`: success proves that the cache is well, which no read does."""
    if is_skipped():
        return instead
    try:
        with in_time():
            found = use(caches[ALIAS])
    except (exceptions.RedisError, OSError) as error:
        note_failure(error)
        return instead
    except Exception as error:  # noqa: BLE001 - what an earlier version of Ivy has kept may raise anything when read
        logger.warning("What the cache keeps could not be used: %s: %s", type(error).__name__, error)
        return instead
    if is_proof and _memory.failing_since is not None:
        note_success()
    return found


def _drop_connections() -> None:
    """Close the connections that nobody is using; those in use find out for themselves."""
    try:
        raw_client().connection_pool.disconnect(inuse_connections=False)
    except Exception as error:  # noqa: BLE001 - the cache may not break anything, not even here
        logger.debug("Connections to Redis could not be dropped: %s", error)
