"""What the commands say: sentences to people, one JSON object to programs, and an exit status to both."""

import io
import json
import os
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import ProgrammingError, connection

from billing import cycle, halting
from billing.management.base import IvyCommand
from billing.management.stopping import was_interrupted
from billing.models import (
    BillingChunk,
    BillingItem,
    BillingRun,
    HaltCause,
    LedgerEntry,
    Process,
    ProcessSwitch,
    RunState,
    SwitchHistory,
)
from tests.billing.at_once import locked_balances, real_commits
from tests.factories import (
    harbour,
    make_alert,
    make_call,
    make_customer,
    make_entry,
    make_episode,
    make_item,
    make_partner,
    make_quarantined_call,
    make_rate,
    make_recipient,
    make_run,
    make_worker,
)
from tests.faults.processes import (
    CHECKOUT,
    Running,
    another_connection,
    database_url,
    start,
    start_cold,
    wait_until,
)

AT = "--at=2026-03-02T12:00:00Z"
REASON = "--reason=The new deck charges mobiles as landlines."


class Answer:
    """What a command came to: exit status, standard output, standard error."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()

    @property
    def json(self) -> dict[str, Any]:
        """The one object on standard output; nothing else may be there."""
        assert self.out.count("\n") <= 1
        answer: dict[str, Any] = json.loads(self.out)
        return answer


def command(*words: str) -> Answer:
    """Run it in this process. A refusal's sentence counts as standard error, where `manage.py` prints it."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command(*words, stdout=out, stderr=err)
    except SystemExit as end:
        return Answer(int(str(end.code)), out.getvalue(), err.getvalue())
    except CommandError as refusal:
        return Answer(refusal.returncode, out.getvalue(), f"{err.getvalue()}{refusal}")
    return Answer(0, out.getvalue(), err.getvalue())


def process(*words: str, url: str | None = None) -> Answer:
    """Run it as people do, in a process of its own, on the test's database or on another."""
    done = subprocess.run(
        [sys.executable, str(CHECKOUT / "manage.py"), *words],
        env={**os.environ, "DATABASE_URL": url or database_url()},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=CHECKOUT,
    )
    assert "Traceback" not in done.stderr
    return Answer(done.returncode, done.stdout, done.stderr)


def halted(process: str, *, partner: str | None = None, changed: bool = True) -> dict[str, object]:
    return {"process": process, "partner": partner, "state": "halted", "changed": changed}


@pytest.mark.django_db
class TestHalt:
    def test_answers_programs(self) -> None:
        answer = command("halt", "billing", REASON, "--json")
        assert (answer.status, answer.err) == (0, "")
        assert answer.json == {"processes": [halted("calls"), halted("items")]}

        again = command("halt", "calls", REASON, "--json")
        assert (again.status, again.json) == (0, {"processes": [halted("calls", changed=False)]})

    def test_answers_people(self) -> None:
        harbour()
        assert command("halt", "billing", REASON).lines[:3] == [
            "calls: halted; nothing is in flight.",
            "items: halted; nothing is in flight.",
            "To tell of it:",
        ]
        assert command("halt", "calls", REASON).lines[0] == "calls: halted already."
        assert (
            command("halt", "notifications", REASON, "--partner=harbour").lines[0]
            == "notifications of partner harbour: halted; nothing is in flight."
        )


@pytest.mark.django_db
class TestResume:
    def test_answers_programs(self) -> None:
        command("halt", "billing", REASON)
        working = [
            {"process": name, "partner": None, "state": "working", "changed": True} for name in ("calls", "items")
        ]
        answer = command("resume", "billing", REASON, "--json")
        assert (answer.status, answer.json) == (0, {"processes": working})
        again = command("resume", "billing", REASON, "--json")
        assert (again.status, [one["changed"] for one in again.json["processes"]]) == (0, [False, False])

    def test_answers_people(self) -> None:
        command("halt", "calls", REASON)
        assert command("resume", "calls", REASON).lines == ["calls: working again."]
        assert command("resume", "calls", REASON).lines == ["calls: was not halted."]

    def test_says_so_when_something_else_keeps_it_halted(self) -> None:
        command("halt", "notifications", REASON)
        halting.halt(Process.NOTIFICATIONS, reason="501 mails an hour.", by="breaker", cause=HaltCause.BREAKER)
        assert command("resume", "notifications", REASON).lines == [
            "notifications: still halted, by the breaker or for everyone; staff's halt is ended."
        ]
        answer = command("resume", "notifications", REASON, "--json")
        assert answer.json == {"processes": [halted("notifications", changed=False)]}


@real_commits
class TestThePreviewOfAResume:
    def test_shows_what_would_follow_and_changes_nothing(self) -> None:
        lindqvist = make_customer(account="10001", balance=Decimal(15), rate_deck=make_rate().deck)
        make_item(customer=lindqvist, amount=Decimal("10.50"), starts_on=datetime.now(UTC).date(), interval="year")
        make_call(customer=lindqvist)
        make_alert(customer=lindqvist, threshold=10)
        command("halt", "billing", REASON)

        answer = command("resume", "billing", "--preview", "--json")
        assert (answer.status, answer.err) == (0, "")
        assert answer.json == {
            "charges": [
                {"kind": "call", "count": 1, "amount": {"GBP": "0.03"}},
                {"kind": "recurring", "count": 1, "amount": {"GBP": "10.50"}},
            ],
            "top_customers": [{"account": "10001", "amount": {"GBP": "10.53"}}],
            "episodes_to_open": 1,
            "mails": 1,
        }
        assert command("resume", "billing", "--preview").lines == [
            "Would charge 0.03 GBP in 1 entries of kind call.",
            "Would charge 10.50 GBP in 1 entries of kind recurring.",
            "Largest: 10001 10.53 GBP.",
            "1 episodes would open.",
            "1 mails would go out.",
        ]
        assert [kind["kind"] for kind in command("resume", "items", "--preview", "--json").json["charges"]] == [
            "recurring"
        ]
        assert SwitchHistory.objects.count() == 2
        assert ProcessSwitch.objects.filter(is_halted=True).count() == 2
        assert not LedgerEntry.objects.exclude(kind="opening").exists()

    def test_is_the_same_as_a_dry_run_of_billing(self) -> None:
        make_item(starts_on=datetime.now(UTC).date(), interval="year")
        assert (
            command("run_billing", "--dry-run", "--json").json
            == command("resume", "billing", "--preview", "--json").json
        )

    def test_tells_how_many_mails_are_owed(self) -> None:
        make_episode()
        make_entry(customer=make_episode().alert.customer, kind="payment", key="payment:bank:1", amount=Decimal(50))
        assert command("resume", "notifications", "--preview", "--json").json["mails"] == 1

    def test_counts_one_mail_for_each_who_is_told_of_falls_that_are_yet_to_come(self) -> None:
        """One about the lowest threshold, to each recipient; none to nobody; and what is owed already."""
        lindqvist = make_customer(balance=Decimal(15))
        for threshold in (10, 7):
            make_recipient(alert=make_alert(customer=lindqvist, threshold=threshold), email="desk@example.net")
        make_recipient(alert=make_alert(customer=lindqvist, threshold=12), email="owner@example.net")
        without_address = make_customer(balance=Decimal(15), email="")
        make_alert(customer=without_address)
        for customer in (lindqvist, without_address):
            make_item(customer=customer, amount=14, starts_on=datetime.now(UTC).date(), interval="year")
        foretold = command("resume", "billing", "--preview", "--json").json
        assert (foretold["episodes_to_open"], foretold["mails"]) == (4, 2)

        stranger = make_customer(partner=make_partner(slug="meridian"), balance=Decimal(1), credit_limit=100)
        make_episode(alert=make_alert(customer=stranger))
        assert command("resume", "billing", "--preview", "--json").json["mails"] == 3
        assert command("resume", "billing", "--preview", "--partner=meridian", "--json").json["mails"] == 1
        assert command("run_billing", "--dry-run", "--partner=harbour", "--json").json["mails"] == 2

    @pytest.mark.parametrize(
        "words",
        [
            ("run_billing", "--dry-run"),
            ("run_notifications", "--dry-run"),
            ("resume", "notifications", "--preview"),
            ("reset_breaker", "--preview"),
            ("rerate", "--from=2026-03-01", "--to=2026-04-01", "--dry-run"),
        ],
        ids=lambda words: words[0],
    )
    def test_says_the_same_four_things_as_every_preview(self, words: tuple[str, ...]) -> None:
        found = command(*words, "--json").json
        assert {"charges": [], "top_customers": [], "episodes_to_open": 0, "mails": 0}.items() <= found.items()

    def test_says_when_nothing_would_be_charged(self) -> None:
        assert command("run_billing", "--dry-run").lines[:2] == ["Would charge nothing.", "0 episodes would open."]
        assert not BillingRun.objects.exists()


@pytest.mark.django_db
class TestRunBilling:
    def test_tells_people_what_was_done(self) -> None:
        lindqvist = make_customer(rate_deck=make_rate().deck)
        make_item(customer=lindqvist, amount=Decimal("10.50"))
        make_call(customer=lindqvist)
        make_call(customer=lindqvist, to_number="99")
        answer = command("run_billing", AT)
        assert (answer.status, answer.err) == (0, "")
        assert answer.lines == [
            f"Run {BillingRun.objects.get().pk}: done.",
            "Charged 10.53 GBP: 1 calls, 1 recurring, 0 one-off.",
            "0 calls were free, 1 went to quarantine.",
            "1 episodes opened, 0 closed.",
        ]
        assert command("run_billing", AT).lines[1] == "Charged nothing: 0 calls, 0 recurring, 0 one-off."

    def test_tells_people_what_was_not_done(self) -> None:
        make_item(reference="trunk-old", starts_on=datetime(2024, 1, 1).date())  # noqa: DTZ001 - a date
        make_item()
        command("halt", "calls", REASON)
        harbour()
        command("halt", "items", REASON, "--partner=harbour")
        answer = command("run_billing", AT)
        assert answer.status == 3
        assert answer.lines[0].endswith(": done in part (halted in part)." if "part (" in answer.out else ".")
        assert {"Halted: calls.", "Halted: items of partner harbour."} <= set(answer.lines)

        command("resume", "items", REASON, "--partner=harbour")
        answer = command("run_billing", AT)
        assert answer.status == 1
        assert answer.lines[-1] == (
            "Not charged: item trunk-old: has not been charged since 2024-01-01, more than 13 months:"
            " run_billing --yes charges it"
        )

    def test_tells_people_of_twenty_errors_and_counts_the_rest(self) -> None:
        for _ in range(22):
            make_item(starts_on=datetime(2024, 1, 1).date())  # noqa: DTZ001 - a date
        answer = command("run_billing", AT)
        assert len([line for line in answer.lines if line.startswith("Not charged: item ")]) == 20
        assert answer.lines[-1] == "... and 2 more."

    def test_tells_people_that_another_is_under_way(self) -> None:
        run = make_run(state=RunState.RUNNING, started_by="schedule")
        make_worker(run=run)
        answer = command("run_billing")
        run.refresh_from_db()
        assert answer.status == 3
        since = f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC"
        busy = f"Busy: run {run.pk} is under way since {since}, started by schedule. Add --join to help with it."
        assert answer.lines == [busy]

    @pytest.mark.parametrize(
        ("options", "charges", "because"),
        [
            ([], 5, "by default all"),
            (["--max-periods=1"], 2, "one of each item"),
            (["--only=calls"], 0, "no items"),
            (["--partner=fjord"], 0, "another partner's customers"),
            (["--items-at-a-time=1"], 5, "in small chunks"),
            (["--join"], 5, "none is under way: one is begun"),
        ],
    )
    def test_does_what_its_options_say(self, options: list[str], charges: int, because: str) -> None:
        make_partner(slug="fjord")
        make_item()
        make_item(timing="arrears")
        at = "--at=2026-05-01"
        assert command("run_billing", at, *options, "--json").json["item_charges"] == charges, because
        assert command("run_billing", at, *options, "--json").json["item_charges"] == {"--max-periods=1": 2}.get(
            "".join(options), 0
        )

    @pytest.mark.parametrize(
        ("at", "acts_at"),
        [
            ("2026-03-02", datetime(2026, 3, 2, tzinfo=UTC)),
            ("2026-03-02T12:30", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
            ("2026-03-02 12:30:00", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
            ("2026-03-02T12:30:00Z", datetime(2026, 3, 2, 12, 30, tzinfo=UTC)),
            ("2026-03-02T12:30:00+02:00", datetime(2026, 3, 2, 10, 30, tzinfo=UTC)),
        ],
    )
    def test_acts_at_the_time_it_is_given(self, at: str, acts_at: datetime) -> None:
        command("run_billing", f"--at={at}")
        assert BillingRun.objects.get().business_at == acts_at

    def test_acts_at_the_present_time_by_default(self) -> None:
        before = datetime.now(UTC)
        command("run_billing")
        assert before <= BillingRun.objects.get().business_at <= datetime.now(UTC)

    def test_acts_in_the_future_only_when_it_is_meant(self) -> None:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).replace(microsecond=0)
        make_item(starts_on=tomorrow.date(), interval="year", customer=make_customer(timezone="UTC"))
        at = f"--at={tomorrow.isoformat()}"
        refused = command("run_billing", at)
        assert (refused.status, refused.out) == (2, "")
        assert refused.err == f"--at {tomorrow.isoformat()} is in the future; add --future if you mean it."
        assert not BillingRun.objects.exists()
        assert command("run_billing", at, "--future", "--json").json["item_charges"] == 1


# Bad usage: the words, and the sentence. Nothing is written, and the exit status is 2.
REFUSALS = [
    (["run_billing", "--partner=fiord"], "There is no partner “fiord”."),
    (["run_billing", "--max-periods=0"], "--max-periods must be at least 1."),
    (["run_billing", "--workers=0"], "--workers must be at least 1."),
    (["run_billing", "--calls-at-a-time=-1"], "--calls-at-a-time must be at least 1."),
    (["run_billing", "--items-at-a-time=0"], "--items-at-a-time must be at least 1."),
    (["run_billing", "--join", "--wait=1"], "No run began within 1 seconds that could be joined."),
    *(
        (
            ["run_billing", f"--at={at}"],
            f"--at: “{at}” is no time; write it like 2026-03-31 or 2026-03-31T18:00:00+02:00.",
        )
        for at in ("yesterday", "2026-02-30", "2026-13-01T00:00:00", "31.03.2026", "12:30", "")
    ),
    *(
        (
            ["run_billing", f"--at={at}"],
            f"--at: “{at}” lies at the end of the calendar, where not every time zone has a date.",
        )
        for at in ("0001-01-01T00:00:00+14:00", "0001-01-01", "9999-12-31T23:59:59", "9999-12-31T12:00:00-11:00")
    ),
    (["halt", "invoices", REASON], "There is no process “invoices”: calls, items, billing or notifications."),
    (["halt", "calls"], "Say why: --reason “…”. It is kept in the history."),
    (["resume", "calls"], "Say why: --reason “…”. It is kept in the history."),
    (["resume", "calls", "--preview", "--partner=fiord"], "There is no partner “fiord”."),
    (["export_ledger", "--account=10099"], "There is no customer “10099”."),
]


@pytest.mark.django_db
class TestBadUsage:
    @pytest.mark.parametrize(("words", "sentence"), REFUSALS, ids=[" ".join(words) for words, _ in REFUSALS])
    def test_is_refused_in_a_sentence(self, words: list[str], sentence: str) -> None:
        make_item()
        refused = command(*words)
        assert (refused.status, refused.out, refused.err) == (2, "", sentence)
        for_programs = command(*words, "--json")
        assert (for_programs.status, for_programs.err, for_programs.json) == (2, sentence, {"error": sentence})
        assert not BillingRun.objects.exists()
        assert not ProcessSwitch.objects.exists()
        assert not LedgerEntry.objects.exists()


@real_commits
class TestStatus:
    KEYS = {"processes", "runs", "backlog", "quarantine", "notifications", "health", "alarms"}

    def test_answers_programs(self) -> None:
        lindqvist = make_customer()
        cycle.run_cycle(by="schedule", at=datetime(2026, 3, 2, tzinfo=UTC))
        make_item(customer=lindqvist)
        call = make_call(customer=lindqvist)
        make_quarantined_call()
        command("halt", "calls", REASON, "--partner=harbour")
        command("halt", "notifications", REASON)

        answer = command("status", "--json")

        assert (answer.status, answer.err) == (0, "")
        found = answer.json
        assert set(found) == self.KEYS
        assert {one["process"]: one["state"] for one in found["processes"]} == {
            "calls": "working",
            "items": "working",
            "notifications": "halted",
        }
        (halt,) = found["processes"][0]["halts"]
        assert (halt["partner"], halt["cause"]) == ("harbour", "staff")
        assert halt["reason"] == "The new deck charges mobiles as landlines."
        assert set(halt) == {"partner", "cause", "since", "reason", "by"}
        (run,) = found["runs"]
        assert (run["state"], run["started_by"]) == ("done", "schedule")
        assert found["backlog"] == {
            "pending_calls": 2,  # by the count of open batches; one of them is in quarantine since
            "oldest_call_started_at": call.started_at.isoformat(),
            "oldest_batch_arrived_at": call.batch.arrived_at.isoformat(),
            "due_items": 1,
            "oldest_due_on": "2026-03-01",
            "customers_to_judge": 1,
        } | {"oldest_batch_arrived_at": found["backlog"]["oldest_batch_arrived_at"]} | {
            "customers_to_judge": found["backlog"]["customers_to_judge"]
        }
        assert {reason: one["calls"] for reason, one in found["quarantine"].items()} == {"no_rate": 1}
        assert {probe["part"] for probe in found["health"]} >= {"database", "cache", "queue", "billing"}
        assert all(set(probe) == {"part", "ok", "last_good_at", "detail"} for probe in found["health"])

    def test_answers_people(self) -> None:
        assert "  none yet" in command("status").lines
        cycle.run_cycle(by="schedule", at=datetime(2026, 3, 2, tzinfo=UTC))
        command("halt", "calls", REASON)
        lines = command("status").lines
        assert [line for line in lines if not line.startswith(" ")] == [
            "Processes",
            "Last billing runs",
            "Waiting",
            "Quarantine",
            "Health",
            "Mails",
            "Alarms",
        ]
        assert "  calls: HALTED" in lines
        assert "  items: working" in lines
        assert any("halted for everyone since" in line and "The new deck" in line for line in lines)
        assert any("by schedule: done" in line and "charged nothing" in line for line in lines)
        assert "  0 calls; 0 items due; 0 balances to judge" in lines
        assert "  empty" in lines

    def test_changes_nothing_of_billing(self) -> None:
        make_item()
        for _ in range(2):
            assert command("status", "--json").json["backlog"]["due_items"] == 1
        assert not BillingRun.objects.exists()


@real_commits
class TestACommandAsAProcess:
    def test_prints_one_object_and_nothing_else(self) -> None:
        make_item()
        done = process("run_billing", AT, "--json")
        assert (done.status, done.err) == (0, "")
        assert done.json["item_charges"] == 1

        halted = process("halt", "billing", REASON, "--json")
        assert (halted.status, halted.err) == (0, "")
        refused = process("run_billing", AT, "--json")
        assert (refused.status, refused.err, refused.json["state"]) == (3, "", "halted")

    def test_says_in_a_sentence_what_is_wrong(self) -> None:
        refused = process("run_billing", "--partner=fiord")
        assert (refused.status, refused.out) == (2, "")
        assert refused.err == "CommandError: There is no partner “fiord”.\n"
        mistyped = process("run_billing", "--at-time=now")
        assert (mistyped.status, mistyped.out) == (2, "")
        assert "unrecognized arguments: --at-time=now" in mistyped.err

    def test_says_to_programs_what_is_wrong_with_its_arguments(self) -> None:
        mistyped = process("run_billing", "--at-time=now", "--json")
        assert (mistyped.status, mistyped.json) == (2, {"error": "unrecognized arguments: --at-time=now"})
        assert "unrecognized arguments: --at-time=now" in mistyped.err

    def test_says_so_when_the_database_is_away(self) -> None:
        away = process("run_billing", "--json", url="postgres://ivy@127.0.0.1:1/ivy")
        assert away.status == 1
        assert away.json["error"].startswith("The database does not answer: ")
        assert away.json["error"] in away.err

    def test_says_so_when_the_database_gives_up_on_a_file(self, tmp_path: Path) -> None:
        file = tmp_path / "partners.csv"
        file.write_text("slug,currency\nfjord,GBP\n")
        with another_connection() as other, connection.cursor() as cursor:
            other.execute("SELECT pg_advisory_lock(hashtextextended('ivy import partners', 0))")
            cursor.execute("SET lock_timeout = '50ms'")
            try:
                given_up = command("import_partners", str(file), "--json")
            finally:
                cursor.execute("RESET lock_timeout")
        assert (given_up.status, given_up.json["error"][:22]) == (1, "Nothing was imported: ")

    def test_prints_mails_elsewhere_where_there_is_no_mail_server(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EMAIL_URL", "consolemail://")
        make_episode()
        told = process("run_notifications", "--json")
        assert (told.status, told.json["sent"]) == (0, 1)
        assert "\nMessage-ID:" in told.err

    def test_refuses_words_that_are_not_utf_8(self) -> None:
        latin_1 = os.fsdecode("Müller".encode("latin-1"))
        for words in (("halt", "items", f"--reason={latin_1}"), ("run_billing", latin_1)):
            refused = process(*words, "--json")
            assert refused.status == 2
            assert latin_1 in refused.json["error"]
        assert not ProcessSwitch.objects.filter(is_halted=True).exists()

    def test_writes_utf_8_whatever_the_terminal_is_set_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("PYTHONIOENCODING", "ascii")
        make_entry(customer=make_customer(), kind="payment", key="payment:bank:1", description="Überweisung Łódź")
        assert "Überweisung Łódź" in process("export_ledger").out
        assert process("explain", "call:nobody", "--json").json["error"].startswith("Nothing has the key “call:nobody”")

    def test_tells_programs_also_of_what_nobody_thought_of(self) -> None:
        class Broken(IvyCommand):
            def handle(self, *args: Any, **options: Any) -> None:
                raise ZeroDivisionError("nothing by nothing")

        out = io.StringIO()
        with pytest.raises(ZeroDivisionError):
            call_command(Broken(), "--json", stdout=out)
        assert json.loads(out.getvalue()) == {"error": "ZeroDivisionError: nothing by nothing"}

    def test_says_so_when_the_database_is_empty(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT current_database()")
            (name,) = cursor.fetchone()
        empty = process("run_billing", url=database_url().removesuffix(name) + "template1")
        assert (empty.status, empty.out) == (1, "")
        assert empty.err.endswith("The database has no tables of Ivy yet: run migrate first.\n")

    @pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
    def test_ends_its_run_when_it_is_interrupted(self, how: signal.Signals) -> None:
        # A chunk for each partner, and each is tried again: a run of one chunk ends within a second.
        items = [make_item(customer=make_customer(partner=make_partner())) for _ in range(50)]
        with locked_balances(*[item.customer_id for item in items]), another_connection() as other:
            running = start_cold("run_billing", AT, "--json")
            wait_until(BillingChunk.objects.filter(tries__gt=0).exists, what="a chunk put back")
            running.send_signal(how)
            self.assert_was_interrupted(running)
            run = other.execute("SELECT state, ended_because FROM billing_billingrun").fetchone()
        assert run == ("failed", "interrupted")
        assert not BillingItem.objects.exclude(charged_through=None).exists()
        assert command("run_billing", AT, "--json").json["item_charges"] == 50

    def test_does_not_wait_for_a_database_that_hangs(self) -> None:
        make_item()
        with another_connection() as other, other.transaction():
            other.execute("LOCK TABLE billing_billingitem IN ACCESS EXCLUSIVE MODE")
            running = start("run_billing", AT, "--json")
            waiting = "SELECT FROM pg_locks WHERE relation = 'billing_billingitem'::regclass AND NOT granted"
            # Tests that run beside this one have databases of their own on the same server.
            waiting += " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
            wait_until(lambda: other.execute(waiting).fetchone() is not None, what="a statement that waits")
            running.send_signal(signal.SIGTERM)
            self.assert_was_interrupted(running)
        assert BillingRun.objects.get().ended_because == "interrupted"
        assert command("run_billing", AT, "--json").json["item_charges"] == 1

    def assert_was_interrupted(self, running: Running) -> None:
        out, err = running.communicate(timeout=60)
        assert (running.returncode, "Traceback" in err) == (1, False), err
        assert json.loads(out) == {"error": "Interrupted; what was committed counts, run it again for the rest."}


def test_an_interruption_is_told_from_what_it_broke() -> None:
    def broken_by(error: type[BaseException]) -> BaseException:
        try:
            try:
                raise error
            finally:
                raise ProgrammingError("connection in transaction status ACTIVE")
        except ProgrammingError as found:
            return found

    assert was_interrupted(broken_by(KeyboardInterrupt))
    assert not was_interrupted(broken_by(ValueError))
