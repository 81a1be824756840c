"""Two months of the demo world, day by day, its first days included: the breaker has nothing to say."""

import io
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, time, timedelta

import pytest
from django.core.mail import EmailMultiAlternatives
from django.core.management import call_command

from billing import cycle
from billing.imports import calls
from billing.imports.payments import import_payments
from billing.models import Episode, RunState, Source
from ivy.demo.switches import CallFile
from ivy.demo.world import World, build
from ivy.management.commands import load_demo
from notifications import cycle as notifications_cycle
from notifications.models import BreakerTrip, NotificationLog, State
from tests.flows.test_demo_world import AUTUMN_DAY

DAYS = 30  # of each delivery
WITHOUT_HEADER = ("asterisk",)


def slices(file: CallFile, has_header: bool) -> Iterator[bytes]:
    """The file as it would have come day by day: about the same number of calls in each part."""
    header, *lines = file.lines() if has_header else ("", *file.lines())
    for day in range(DAYS):
        part = lines[len(lines) * day // DAYS : len(lines) * (day + 1) // DAYS]
        yield (header + "".join(part)).encode()


def payments_by_day(world: World) -> dict[str, str]:
    header, *lines = world.payments.splitlines(keepends=True)
    at = header.strip().split(",").index("received_at")
    by_day: dict[str, str] = {}
    for line in lines:
        day = line.split(",")[at][:10]
        by_day[day] = by_day.get(day, header) + line
    return by_day


@pytest.mark.django_db(transaction=True, available_apps=["billing", "notifications", "ivy", "ivy.accounts"])
def test_trips_no_breaker_and_tells_each_fall_once(
    mailoutbox: list[EmailMultiAlternatives], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = build(AUTUMN_DAY)
    by_day = payments_by_day(world)
    files = {file.name: file for file in world.call_files}
    bare = replace(world, payments=world.payments.splitlines(keepends=True)[0], call_files=())
    monkeypatch.setattr(load_demo, "build", lambda _today: bare)
    call_command("load_demo", "--today", AUTUMN_DAY.isoformat(), "--json", stdout=io.StringIO())
    parts = {}
    for name, file in files.items():
        source = Source.objects.get(name=file.source)
        parts[name] = (source, list(slices(file, source.format not in WITHOUT_HEADER)))
    for number in range(DAYS * 2):
        day = world.opening_on + timedelta(days=number)
        at = datetime.combine(day, time(23), UTC)
        if (paid := by_day.get(day.isoformat())) is not None:
            assert import_payments(paid.encode(), at=at, payment_source="bank").errors == ()
        for name, (source, days) in parts.items():
            if name.endswith("-1.csv") == (number < DAYS):
                found = calls.read(io.BytesIO(days[number % DAYS]), source=source)
                calls.take_in(found, source=source, file_name=f"{name} {number}")
        run = cycle.run_cycle(by="tests", at=at)
        assert run.state == RunState.DONE, run.errors
        done = notifications_cycle.run_pass(at=at)
        assert (done.failed, done.uncertain, done.held, done.is_halted) == (0, 0, 0, False), (day, done)
    assert not BreakerTrip.objects.exists()
    told = NotificationLog.objects.filter(state=State.SENT)
    assert told.count() == len(mailoutbox) > 20
    assert told.values("episode", "kind", "recipient_hash").distinct().count() == told.count()
    assert Episode.objects.filter(told_at__isnull=False, is_silent=True).count() == 0
