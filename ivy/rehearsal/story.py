"""The night of 2019, act by act: first as it was, then with Ivy."""

import csv
import io
import json
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg
import redis

from ivy.rehearsal.old_way import OldWay
from ivy.rehearsal.stage import Stage

Say = Callable[[str], None]
LOW = 30
ALL = 120
PASSES = 10
STAFF = "night.shift@ivy.example"
LONGEST_GATHERING_SECONDS = 45  # of a second or third mail to staff within an hour, and some more


@dataclass
class Outcome:
    """What came of it. `old_way_errant`: mails beyond the first of each customer; Ivy's figures likewise."""

    low_customers: int = LOW
    old_way_mails: int = 0
    old_way_errant: int = 0
    ivy_mails: int = 0
    ivy_duplicates: int = 0
    ivy_missing: int = 0
    ivy_uncertain: int = 0
    breaker_held: int = 0
    breaker_let_through: int = 0
    alarm_raised: bool = False
    alarm_mails: int = 0
    billed_during_halt: bool = False
    sent_during_halt: int = 0
    seconds: float = 0.0

    @property
    def halted_ok(self) -> bool:
        return self.billed_during_halt and self.sent_during_halt == 0

    @property
    def ivy_held(self) -> bool:
        """Whether Ivy did what it promises, and the old way did not."""
        return (
            self.old_way_errant > 0
            and not self.ivy_duplicates
            and not self.ivy_missing
            and self.breaker_let_through == 0
            and self.alarm_raised
            and self.alarm_mails == 1
            and self.halted_ok
        )


def play(stage: Stage, say: Say) -> Outcome:
    """Play all of it; a minute or so."""
    began = time.monotonic()
    outcome = Outcome()
    _prepare(stage, say)
    _the_old_way(stage, outcome, say)
    _ivy(stage, outcome, say)
    _the_burst(stage, outcome, say)
    _the_switch(stage, outcome, say)
    outcome.seconds = round(time.monotonic() - began, 1)
    return outcome


def _address(number: int) -> str:
    return f"c{number}@example.net"


def _prepare(stage: Stage, say: Say) -> None:
    say(f"A carrier with {ALL} customers, 20 EUR each; they are to hear when they fall below 10.")
    _must(stage, "migrate", "-v0")
    _file(stage, "import_partners", [{"slug": "quayside", "name": "Quayside", "sender": "billing@quayside.example",
                                      "currency": "EUR", "timezone": "UTC"}])  # fmt: skip
    customers = [
        {"account": f"C{number}", "partner": "quayside", "name": f"Customer {number}", "email": _address(number),
         "opening_balance": "20", "low_balance_threshold": "10"}
        for number in range(1, ALL + 1)
    ]  # fmt: skip
    _file(stage, "import_customers", customers)
    _run(stage, "-c", f"from django.contrib.auth import get_user_model as g; g().objects.create_superuser({STAFF!r},"
                      " 'ivy climbs quietly', name='Night Shift')")  # fmt: skip
    _tell(stage)
    say(f"Calls and fees take {LOW} of them below 10 EUR.")
    _charge(stage, range(1, LOW + 1), "fee")
    say("And Redis stops taking writes: reads still work.\n")
    redis.Redis.from_url(stage.redis_url).config_set("maxmemory", 1)


def _the_old_way(stage: Stage, outcome: Outcome, say: Say) -> None:
    say("THE OLD WAY: a flag in the cache says who was told.")
    old = OldWay(stage.redis_url, stage.mailbox.port)
    low = [_address(number) for number in range(1, LOW + 1)]
    for number in range(1, PASSES + 1):
        before = len(stage.mailbox.taken)
        old.one_pass(low)
        if number in {1, 2, PASSES}:
            say(f"  pass {number}: {len(stage.mailbox.taken) - before} mails")
    mails = Counter(_customers(stage.mailbox.taken))
    outcome.old_way_mails = mails.total()
    outcome.old_way_errant = sum(count - 1 for count in mails.values())
    say(f"  {outcome.old_way_mails} mails to {len(mails)} people: {outcome.old_way_errant} errant ones.")
    say(f"  The cache had refused {len(old.failures)} writes (“{old.failures[0] if old.failures else ''}”).\n")
    stage.mailbox.taken.clear()


def _ivy(stage: Stage, outcome: Outcome, say: Say) -> None:
    say("IVY, with the same broken Redis; besides, the mail server hangs up on one mail after taking it,")
    say("and one worker is killed with SIGKILL in the middle of a hand-over.")
    stage.mailbox.hangs_up_after.add(_address(7))
    stage.mailbox.holds(_address(3))
    worker = stage.start("run_notifications", "--json")
    stage.mailbox.is_waiting.wait(60)
    os.kill(worker.pid, signal.SIGKILL)
    worker.communicate()
    stage.mailbox.let_go()
    say(f"  pass 1: killed after {len(stage.mailbox.taken)} mails. (Its leases of two minutes run out now, for us.)")
    with psycopg.connect(stage.database_url, autocommit=True) as database:
        database.execute("UPDATE notifications_notificationlog SET lease_until = now() WHERE lease_until IS NOT NULL")
    for number in range(2, PASSES + 1):
        before = len(stage.mailbox.taken)
        _, answer = _json(stage, "run_notifications")
        if number in {2, 3, PASSES}:
            say(f"  pass {number}: {len(stage.mailbox.taken) - before} mails, {answer['uncertain']} newly uncertain")
    mails = Counter(_customers(stage.mailbox.taken))
    outcome.ivy_mails = mails.total()
    outcome.ivy_duplicates = sum(count - 1 for count in mails.values())
    outcome.ivy_missing = LOW - len(mails)
    log = _log(stage)
    outcome.ivy_uncertain = sum(row["state"] == "uncertain" for row in log)
    say(f"  {outcome.ivy_mails} mails to {len(mails)} people; {outcome.ivy_duplicates} twice,"
        f" {outcome.ivy_missing} left out.")  # fmt: skip
    say(f"  {outcome.ivy_uncertain} mails are uncertain: not sent again by themselves, shown to staff. One of them:")
    one = next(row["key"] for row in log if row["state"] == "uncertain")
    say("".join(f"    {line}\n" for line in stage.manage("notification", one)[1].splitlines()))


def _the_burst(stage: Stage, outcome: Outcome, say: Say) -> None:
    burst = range(LOW + 1, ALL + 1)
    say(f"A BURST NOBODY MEANT: a wrong fee takes {len(burst)} more customers below their threshold at once.")
    before = len(stage.mailbox.taken)
    _charge(stage, burst, "wrong-fee")
    _tell(stage)
    # Staff had a mail a moment ago: on a quick machine the next one gathers for some seconds first.
    deadline = time.monotonic() + LONGEST_GATHERING_SECONDS
    while not _alarms(stage, before) and time.monotonic() < deadline:
        time.sleep(1)
        _tell(stage)
    _tell(stage)
    told = stage.mailbox.taken[before:]
    outcome.breaker_let_through = len(_customers(told))
    outcome.alarm_mails = _alarms(stage, before)
    outcome.breaker_held = sum(row["state"] == "held" for row in _log(stage))
    _, status = _json(stage, "status")
    alarms = [alarm for alarm in status["alarms"] if alarm["key"] == "breaker"]
    outcome.alarm_raised = bool(alarms)
    say(f"  {outcome.breaker_let_through} customers mailed, {outcome.breaker_held} mails held.")
    if alarms:
        say(f"  ALARM to staff, {outcome.alarm_mails} mail: {alarms[0]['words']}\n")


def _the_switch(stage: Stage, outcome: Outcome, say: Say) -> None:
    say("THE SWITCH: staff halt notifications, and only them.")
    say(_indented(stage.manage("halt", "notifications", "--reason", "looking into the wrong fee")[1]))
    before = len(stage.mailbox.taken)
    _, run = _charge(stage, range(1, 4), "seat")
    outcome.billed_during_halt = run["one_off_charges"] == 3
    _json(stage, "run_notifications")
    outcome.sent_during_halt = len(_customers(stage.mailbox.taken[before:]))
    say(f"  Meanwhile billing charged {run['one_off_charges']} fees; {outcome.sent_during_halt} mails went out.")
    say("  Before anything goes on, staff look at what would follow:")
    say(_indented(stage.manage("reset_breaker", "--preview")[1]))
    for command in (
        ["reset_breaker", "--reason", "the fee was right after all"],
        ["resume", "notifications", "--reason", "the fee was right after all"],
    ):
        say(_indented(stage.manage(*command)[1]))
    time.sleep(3)
    _json(stage, "run_notifications")
    say(f"  {len(stage.mailbox.taken) - before} of them are out after the first seconds; the others follow.\n")


def summary(outcome: Outcome) -> list[str]:
    """The table in the end."""
    rows = [
        ("", "the old way", "Ivy"),
        ("customers who were low", f"{outcome.low_customers}", f"{outcome.low_customers}"),
        ("mails they got", f"{outcome.old_way_mails}", f"{outcome.ivy_mails}"),
        ("errant mails", f"{outcome.old_way_errant}", f"{outcome.ivy_duplicates}"),
        ("customers left out", "0", f"{outcome.ivy_missing}"),
        ("a burst of 90 nobody meant", "all of them", f"{outcome.breaker_let_through} mailed, the rest held"),
        ("staff alarmed", "no", f"{'yes' if outcome.alarm_raised else 'NO'}, {outcome.alarm_mails} mail"),
        ("mails halted, billing going on", "no such switch", "yes" if outcome.halted_ok else "NO"),
    ]
    lines = [f"{what:32}{old:>16}{ivy:>28}" for what, old, ivy in rows]
    return [*lines, f"{outcome.seconds} seconds. Ivy held." if outcome.ivy_held else "IVY DID NOT HOLD."]


def _charge(stage: Stage, numbers: range, what: str) -> tuple[int, dict[str, Any]]:
    today = datetime.now(UTC).date().isoformat()
    items = [
        {"reference": f"{what}-{number}", "account": f"C{number}", "description": what, "kind": "one_off",
         "amount": "12", "starts_on": today}
        for number in numbers
    ]  # fmt: skip
    _file(stage, "import_items", items)
    return _json(stage, "run_billing")


def _customers(taken: list[tuple[str, str]]) -> list[str]:
    """The customers among those who got these mails, once for each mail: staff hear of alarms meanwhile."""
    return [to for to, _ in taken if to != STAFF]


def _alarms(stage: Stage, before: int) -> int:
    """How many mails of the breaker's staff have got since so many mails."""
    return sum(to == STAFF and "ALARM: breaker" in mail for to, mail in stage.mailbox.taken[before:])


def _tell(stage: Stage) -> None:
    """As the queue does every minute: a pass, and a look at what staff must know."""
    _run(stage, "-c", "from ivy.tasks import notifications_pass; notifications_pass()")


def _log(stage: Stage) -> list[dict[str, Any]]:
    return list(csv.DictReader(io.StringIO(stage.manage("export_notifications")[1])))


def _file(stage: Stage, command: str, rows: list[dict[str, str]]) -> None:
    path = stage.folder / f"{command}.csv"
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    _must(stage, command, str(path))


def _run(stage: Stage, *arguments: str) -> None:
    _must(stage, "shell", *arguments)


def _must(stage: Stage, *arguments: str) -> None:
    status, out = stage.manage(*arguments)
    if status:
        raise RuntimeError(f"{arguments[0]} failed: {out}")


def _json(stage: Stage, *arguments: str) -> tuple[int, dict[str, Any]]:
    status, out = stage.manage(*arguments, "--json")
    answer: dict[str, Any] = json.loads(out)
    return status, answer


def _indented(text: str) -> str:
    return "\n".join(f"  > {line}" for line in text.strip().splitlines())
