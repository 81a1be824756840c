"""How the parts around Ivy are, as seen from this process: tried, not asked. A ping or a read would prove nothing."""

import secrets
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import caches
from django.utils import timezone
from redis.exceptions import RedisError

from billing.models import BillingRun, RunState
from ivy import pulses

QUEUE_PATIENCE = timedelta(minutes=3)
CYCLE_PATIENCE = timedelta(minutes=5)


@dataclass(frozen=True)
class Probe:
    """What was found of one part. `detail` is a sentence for people."""

    part: str
    ok: bool
    detail: str
    last_good_at: datetime | None = None


def probes() -> list[Probe]:
    """Look at every part. Raises nothing but database errors: without the database there is nothing to tell."""
    return [_database(), _cache(), _queue(), _billing()]


def _database() -> Probe:
    pulses.beat("status")
    return Probe("database", True, "accepts writes", pulses.database_now())


def _cache() -> Probe:
    """Write a nonce and read it back, on the raw client: reads alone go on working when writes fail."""
    nonce = secrets.token_hex(8)
    try:
        redis: Any = caches["redis"]
        client = redis.client.get_client(write=True)
        client.set("ivy:probe", nonce, px=10_000)
        found = client.get("ivy:probe")
    except RedisError as error:
        return Probe("cache", False, f"{type(error).__name__}: {error}; billing goes on without it")
    if found is None or found.decode() != nonce:
        return Probe("cache", False, "did not give back what was written; billing goes on without it")
    return Probe("cache", True, "accepts writes", timezone.now())


def _queue() -> Probe:
    beat = pulses.last_beats(pulses.QUEUE_CANARY).get(pulses.QUEUE_CANARY)
    if beat is None:
        return Probe("queue", False, "no task was ever completed")
    silent = pulses.database_now() - beat
    return Probe("queue", silent < QUEUE_PATIENCE, f"a task was completed {silent.total_seconds():.0f} s ago", beat)


def _billing() -> Probe:
    last = BillingRun.objects.exclude(state__in=[RunState.RUNNING, RunState.FAILED]).order_by("-started_at").first()
    if last is None or last.ended_at is None:
        return Probe("billing", False, "no run has been completed yet")
    age = pulses.database_now() - last.ended_at
    return Probe("billing", age < CYCLE_PATIENCE, f"a run was completed {age.total_seconds():.0f} s ago", last.ended_at)
