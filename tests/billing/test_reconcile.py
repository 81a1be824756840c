"""What must always hold, broken behind the database's back, is found by the name of the rule."""

import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

import pytest
from django.core.management import call_command
from django.db import ProgrammingError, connection, transaction

from billing import cycle, episodes, reconcile
from billing.models import (
    ArrivalBatch,
    BalanceAlert,
    Customer,
    CustomerBalance,
    CustomerToJudge,
    LedgerEntry,
)
from notifications import reconcile as notifications_reconcile
from tests.billing.at_once import real_commits
from tests.factories import (
    harbour,
    key_of,
    make_alert,
    make_batch,
    make_call,
    make_closing,
    make_customer,
    make_delivery,
    make_entry,
    make_item,
    make_period,
    make_quarantined_call,
    make_rate,
    make_reversal,
    make_source,
    make_statement,
    make_sum,
)

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)


@contextmanager
def nobody_looking() -> Iterator[None]:
    """Triggers hold nothing within the block: as after a restore that went wrong, or a superuser's night."""
    with connection.cursor() as cursor:
        try:
            with transaction.atomic():
                cursor.execute("SET session_replication_role = replica")
            undo = ["SET session_replication_role = DEFAULT"]
        except ProgrammingError:  # no superuser: the owner of a table may still switch off its triggers
            cursor.execute("SELECT DISTINCT tgrelid::regclass FROM pg_trigger WHERE NOT tgisinternal")
            tables = [row[0] for row in cursor.fetchall()]
            for table in tables:
                cursor.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER")
            undo = [f"ALTER TABLE {table} ENABLE TRIGGER USER" for table in tables]
        try:
            yield
        finally:
            for statement in undo:
                cursor.execute(statement)


def sql(statement: str, *values: object) -> None:
    """Change what nobody may change."""
    with nobody_looking(), connection.cursor() as cursor:
        cursor.execute(statement, values)
        assert cursor.rowcount > 0


class World:
    """A small world in which everything has happened once, and everything holds."""

    def __init__(self) -> None:
        partner = harbour()
        self.rate = make_rate(price_per_minute=Decimal("0.30"))
        partner.rate_deck = self.rate.deck
        partner.save()
        self.lindqvist = make_customer(account="10001", balance=Decimal(50))
        self.okafor = make_customer(account="10002", balance=Decimal(-5))
        make_alert(customer=self.lindqvist, threshold=45)
        self.trunk = make_item(reference="trunk-7", customer=self.lindqvist)
        self.usage = make_item(reference="usage-7", customer=self.okafor, timing="arrears")

        self.delivery = make_delivery(read_count=6, accepted_count=5, quarantined_count=1, file_name="march.csv")
        batch = make_batch(delivery=self.delivery, call_count=5)

        def call(call_id: str, **fields: Any) -> Any:
            return make_call(batch=batch, call_id=call_id, **{"customer": self.lindqvist} | fields)

        self.charged = call("leg-1", seconds=61)
        self.odd = call("odd: #2 of 100%23 %25")
        self.missed = call("leg-2", is_answered=False, seconds=0)
        self.nobodys = call("leg-3", customer=None, is_internal=True)
        self.no_rate = call("leg-4", to_number="99")
        stopped = call("leg-1", seconds=62)  # the same id with other content: waits beside the first
        make_quarantined_call(stopped, reason="conflicting_duplicate")
        self.waiting = make_call(customer=self.okafor, call_id="leg-5", source=make_source(name="pbx-north-2"))
        make_quarantined_call(self.waiting, reason="no_customer")
        ArrivalBatch.objects.filter(pk=self.waiting.batch_id).update(closed_at=NOON)
        self.waiting.batch.delivery._meta.model.objects.filter(pk=self.waiting.batch.delivery_id).update(
            read_count=1, quarantined_count=1
        )

        self.run = cycle.run_cycle(by="Astrid Holm", at=NOON)
        assert (self.run.state, self.run.calls_billed, self.run.item_charges) == ("done", 2, 1)

        again = make_reversal(LedgerEntry.objects.get(key=key_of(self.odd)))
        make_entry(
            customer=self.lindqvist,
            kind="call",
            key=f"{again.reverses}#2",
            charge_number=2,
            amount=Decimal("-0.30"),
            rate_id=self.rate.pk,
            billed_seconds=60,
            occurred_at=self.odd.started_at,
        )
        make_reversal(LedgerEntry.objects.get(key="item:trunk-7:2026-03-01"))
        episodes.judge(at=NOON)


def found() -> dict[str, list[str]]:
    """The rules that something breaks, with the keys of what breaks them."""
    broken = {}
    with connection.cursor() as cursor:
        for rule in reconcile.RULES:
            cursor.execute(f"SELECT key, what FROM ({rule.finds}) found (key, what)")
            if rows := cursor.fetchall():
                broken[rule.name] = [row[0] for row in rows]
                assert all(row[1] for row in rows)
    return broken


class Break(NamedTuple):
    rule: str
    because: str
    breaks: Callable[[World], str]
    also: tuple[str, ...] = ()  # what cannot hold either, then


def entry(world: World, **fields: Any) -> str:
    """An entry that no trigger has seen; its key."""
    with nobody_looking():
        return make_entry(**{"customer": world.lindqvist, "occurred_at": NOON} | fields).key


def moved_by_hand(world: World) -> str:
    sql("UPDATE billing_customerbalance SET balance = balance + 0.000001 WHERE customer_id = %s", world.lindqvist.pk)
    return world.lindqvist.account


def posted_past_the_balance(world: World) -> str:
    entry(world, amount=Decimal("0.01"))
    return world.lindqvist.account


def deleted_from_the_ledger(world: World) -> str:
    sql("DELETE FROM billing_ledgerentry WHERE key = 'opening:10002'")
    return world.okafor.account


def without_a_balance(world: World) -> str:
    rossi = make_customer(account="10003")
    sql("DELETE FROM billing_customerbalance WHERE customer_id = %s", rossi.pk)
    return "10003"


def of_nobody(world: World) -> str:
    return entry(world, customer=Customer(pk=0, currency="GBP"))


def in_euros(world: World) -> str:
    return entry(world, currency="EUR")


def lost_its_charge(world: World) -> str:
    sql("DELETE FROM billing_ledgerentry WHERE key = %s", key_of(world.charged))
    return key_of(world.charged)


def free_and_charged(world: World) -> str:
    sql(
        "INSERT INTO billing_freecall (call_key, reason, run_id) VALUES (%s, 'zero_rate', 1)",
        key_of(world.charged),
    )
    return key_of(world.charged)


def batch_closed_too_early(world: World) -> str:
    call = make_call(customer=world.lindqvist)
    sql("UPDATE billing_delivery SET read_count = 1, accepted_count = 1 WHERE id = %s", call.batch.delivery_id)
    sql("UPDATE billing_arrivalbatch SET closed_at = now() WHERE id = %s", call.batch_id)
    return key_of(call)


def settled_without_an_outcome(world: World) -> str:
    sql("UPDATE billing_quarantinedcall SET state = 'settled' WHERE call_key = %s", key_of(world.waiting))
    return key_of(world.waiting)


def charged_without_a_record(world: World) -> str:
    return entry(world, kind="call", key="call:pbx-north:leg-9", amount=Decimal(0) - 1, rate_id=1, billed_seconds=1)


def charged_for_another_source(world: World) -> str:
    return entry(world, kind="call", key="call:pbx-north-2:leg-1", amount=Decimal(-1), rate_id=1, billed_seconds=1)


def free_without_a_record(world: World) -> str:
    sql("INSERT INTO billing_freecall (call_key, reason, run_id) VALUES ('call:pbx-north:leg-9', 'zero_rate', 1)")
    return "call:pbx-north:leg-9"


def charged_and_waiting(world: World) -> str:
    make_quarantined_call(world.charged)
    return key_of(world.charged)


def free_and_dismissed(world: World) -> str:
    make_quarantined_call(world.missed, state="dismissed", dismissed_by="Mei Tanaka", dismissed_because="A test.")
    return key_of(world.missed)


def charged_to_somebody_else(world: World) -> str:
    sql("UPDATE billing_ledgerentry SET customer_id = %s WHERE key = %s", world.okafor.pk, key_of(world.charged))
    return key_of(world.charged)


def charged_in_another_month(world: World) -> str:
    sql(
        "UPDATE billing_ledgerentry SET occurred_at = %s, booked_month = '2026-04-01' WHERE key = %s",
        datetime(2026, 4, 1, tzinfo=UTC),
        key_of(world.charged),
    )
    return key_of(world.charged)


def charged_at_another_price(world: World) -> str:
    sql("UPDATE billing_ledgerentry SET amount = amount - 0.0001 WHERE key = %s", key_of(world.charged))
    return key_of(world.charged)


def charged_at_no_rate(world: World) -> str:
    sql("UPDATE billing_ledgerentry SET rate_id = 0 WHERE key = %s", key_of(world.charged))
    return key_of(world.charged)


def period_without_an_entry(world: World) -> str:
    with nobody_looking():
        return make_period(item=world.usage).entry_key


def entry_without_a_period(world: World) -> str:
    return entry(world, kind="one_off", key="item:port-7:2026-03-02", amount=Decimal(-5))


def charged_to_another_customer(world: World) -> str:
    sql("UPDATE billing_billingitem SET customer_id = %s WHERE id = %s", world.okafor.pk, world.trunk.pk)
    return "item:trunk-7:2026-03-01"


def charged_for_other_days(world: World) -> str:
    sql("UPDATE billing_ledgerentry SET period_end = '2026-03-31' WHERE key = 'item:trunk-7:2026-03-01'")
    return "item:trunk-7:2026-03-01"


def charged_twice(world: World) -> str:
    key = "item:trunk-7:2026-03-15"
    days = {"period_start": "2026-03-15", "period_end": "2026-04-15"}
    return entry(world, kind="recurring", key=key, amount=Decimal(-10), **days)


def charged_through_too_much(world: World) -> str:
    sql("UPDATE billing_billingitem SET charged_through = '2026-05-01' WHERE id = %s", world.trunk.pk)
    return "trunk-7"


def charged_through_and_never_charged(world: World) -> str:
    sql("UPDATE billing_billingitem SET charged_through = '2026-04-01' WHERE id = %s", world.usage.pk)
    return "usage-7"


def reversed_by_half(world: World) -> str:
    key = "reversal:item:trunk-7:2026-03-01"
    sql("UPDATE billing_ledgerentry SET amount = amount / 2 WHERE key = %s", key)
    return key


def reversed_what_never_was(world: World) -> str:
    correction = {"kind": "reversal", "reason": "A mistake.", "entered_by": "Mei"}
    return entry(world, key="reversal:payment:bank:9", reverses="payment:bank:9", **correction)


def charged_again_without_a_reversal(world: World) -> str:
    return entry(
        world,
        kind="call",
        key=f"{key_of(world.charged)}#2",
        charge_number=2,
        amount=Decimal("-0.30"),
        rate_id=world.rate.pk,
        billed_seconds=60,
    )


def charged_a_third_time(world: World) -> str:
    return entry(
        world,
        kind="call",
        key=f"{key_of(world.odd).removesuffix('#2')}#3",
        charge_number=3,
        amount=Decimal("-0.30"),
        rate_id=world.rate.pk,
        billed_seconds=60,
    )


def counted_one_too_many(world: World) -> str:
    sql("UPDATE billing_delivery SET read_count = 7, accepted_count = 6 WHERE id = %s", world.delivery.pk)
    return "pbx-north march.csv"


def summed_without_an_entry(world: World) -> str:
    make_sum(partner=world.lindqvist.partner)
    return "harbour GBP"


def closed_before_it_opened(world: World) -> str:
    sql(
        "UPDATE billing_episode SET closed_at = opened_at - interval '1 second'"
        " WHERE alert_id = (SELECT id FROM billing_balancealert WHERE customer_id = %s AND kind = 'exhausted')",
        world.okafor.pk,
    )
    CustomerToJudge.objects.create(customer=world.okafor)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 'episode ' || id FROM billing_episode WHERE closed_at < opened_at")
        return str(cursor.fetchone()[0])


def below_and_nobody_knows(world: World) -> str:
    sql("DELETE FROM billing_episode WHERE opened_balance = -5")
    return "10002"


def left_out_of_its_month(world: World) -> str:
    """An entry that February holds, in a statement that says there was none."""
    last = make_entry(customer=world.okafor, posted_at=datetime(2026, 2, 3, tzinfo=UTC))
    closing = make_closing(last_entry_id=last.pk)
    make_statement(customer=world.okafor, closing=closing, opening_balance=0, closing_balance=0)
    return "2026-02 of 10002"


def opened_with_a_penny(world: World) -> str:
    make_statement(customer=world.okafor, opening_balance=Decimal("0.01"), closing_balance=Decimal("0.01"))
    return "2026-02 of 10002"


def posted_in_the_future(world: World) -> str:
    sql("UPDATE billing_ledgerentry SET posted_in = '4611686018427387904' WHERE key = %s", key_of(world.charged))
    return key_of(world.charged)


BREAKS = [
    Break("balance_is_the_sum_of_entries", "moved by a millionth", moved_by_hand),
    Break("balance_is_the_sum_of_entries", "an entry that did not move it", posted_past_the_balance),
    Break("balance_is_the_sum_of_entries", "an entry is gone", deleted_from_the_ledger),
    Break("every_customer_has_a_balance", "the balance is gone", without_a_balance),
    Break("every_customer_has_a_balance", "an entry of nobody", of_nobody),
    Break("entries_have_their_customers_currency", "euros", in_euros, ("balance_is_the_sum_of_entries",)),
    Break(
        "every_call_record_has_one_outcome_or_lies_in_an_open_batch",
        "the charge is gone",
        lost_its_charge,
        ("balance_is_the_sum_of_entries",),
    ),
    Break("every_call_record_has_one_outcome_or_lies_in_an_open_batch", "two outcomes", free_and_charged),
    Break("every_call_record_has_one_outcome_or_lies_in_an_open_batch", "forgotten", batch_closed_too_early),
    Break("every_call_record_has_one_outcome_or_lies_in_an_open_batch", "settled by what?", settled_without_an_outcome),
    Break(
        "every_call_charge_has_its_call_record",
        "a charge out of thin air",
        charged_without_a_record,
        ("balance_is_the_sum_of_entries", "call_charges_are_what_their_rate_says"),
    ),
    Break(
        "every_call_charge_has_its_call_record",
        "the call id of another source",
        charged_for_another_source,
        ("balance_is_the_sum_of_entries", "call_charges_are_what_their_rate_says"),
    ),
    Break("every_call_charge_has_its_call_record", "free, out of thin air", free_without_a_record),
    Break("every_call_charge_has_its_call_record", "charged, and in quarantine", charged_and_waiting),
    Break("every_call_charge_has_its_call_record", "free, and put away", free_and_dismissed),
    Break(
        "call_charges_are_for_the_customer_and_time_of_the_call",
        "charged to another",
        charged_to_somebody_else,
        ("balance_is_the_sum_of_entries",),
    ),
    Break("call_charges_are_for_the_customer_and_time_of_the_call", "in another month", charged_in_another_month),
    Break(
        "call_charges_are_what_their_rate_says",
        "a hundredth of a penny more",
        charged_at_another_price,
        ("balance_is_the_sum_of_entries",),
    ),
    Break("call_charges_are_what_their_rate_says", "nobody can explain it", charged_at_no_rate),
    Break("every_charged_period_has_its_entry", "charged, or not?", period_without_an_entry),
    Break(
        "every_charged_period_has_its_entry",
        "a charge for no days",
        entry_without_a_period,
        ("balance_is_the_sum_of_entries",),
    ),
    Break("entries_of_items_are_for_their_customer_and_period", "somebody else's item", charged_to_another_customer),
    Break("entries_of_items_are_for_their_customer_and_period", "a day less", charged_for_other_days),
    Break(
        "no_period_is_charged_twice_under_another_key",
        "half of March again",
        charged_twice,
        ("balance_is_the_sum_of_entries", "every_charged_period_has_its_entry"),
    ),
    Break("items_are_charged_through_their_last_period", "a month would be left out", charged_through_too_much),
    Break("items_are_charged_through_their_last_period", "a month was left out", charged_through_and_never_charged),
    Break(
        "reversals_are_the_opposite_entry",
        "half of it came back",
        reversed_by_half,
        ("balance_is_the_sum_of_entries",),
    ),
    Break(
        "reversals_are_the_opposite_entry",
        "of nothing",
        reversed_what_never_was,
        ("balance_is_the_sum_of_entries",),
    ),
    Break(
        "charging_again_needs_a_reversal",
        "the first charge still stands",
        charged_again_without_a_reversal,
        ("balance_is_the_sum_of_entries",),
    ),
    Break(
        "charging_again_needs_a_reversal",
        "the second charge still stands",
        charged_a_third_time,
        ("balance_is_the_sum_of_entries",),
    ),
    Break("deliveries_count_what_is_stored", "one call is gone", counted_one_too_many),
    Break("open_episodes_are_about_their_alert", "closed before it opened", closed_before_it_opened),
    Break("open_episodes_are_about_their_alert", "silently left out", below_and_nobody_knows),
    Break("sums_are_those_of_the_ledger", "of entries that are not there", summed_without_an_entry),
    Break("each_entry_is_in_the_first_statement_whose_month_holds_it", "left out", left_out_of_its_month),
    Break("statements_open_with_what_the_last_one_closed_with", "a penny from nowhere", opened_with_a_penny),
    Break("entries_were_posted_by_transactions_that_were", "restored elsewhere", posted_in_the_future),
]


@pytest.mark.django_db
class TestReconciling:
    def test_finds_nothing_in_a_healthy_world(self) -> None:
        World()
        assert found() == {}

    @pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.rule}: {case.because}") for case in BREAKS])
    def test_finds_what_was_broken(self, case: Break) -> None:
        world = World()
        key = case.breaks(world)
        broken = found()
        assert broken.pop(case.rule) == [key]
        assert broken.keys() == set(case.also)

    def test_knows_every_rule_by_a_broken_example(self) -> None:
        assert {case.rule for case in BREAKS} == {rule.name for rule in reconcile.RULES}
        assert len({rule.name for rule in reconcile.RULES}) == len(reconcile.RULES)

    def test_takes_a_customer_who_is_yet_to_be_judged_for_healthy(self) -> None:
        make_customer(balance=Decimal(-5))
        assert found() == {}

    def test_takes_a_call_that_comes_back_from_quarantine_for_healthy(self) -> None:
        world = World()
        batch = make_batch(kind="release")
        sql(
            "UPDATE billing_quarantinedcall SET state = 'released', release_batch_id = %s WHERE call_key = %s",
            batch.pk,
            key_of(world.waiting),
        )
        assert found() == {}

    def test_takes_an_alert_that_was_switched_off_or_whose_customer_is_suspended_for_healthy(self) -> None:
        World()
        BalanceAlert.objects.update(is_active=False)
        episodes.judge(at=NOON)
        BalanceAlert.objects.update(is_active=True)
        Customer.objects.update(status="suspended")
        episodes.judge(at=NOON + timedelta(days=1))
        assert not CustomerToJudge.objects.exists()
        assert found() == {}


def run_reconcile(*options: str) -> tuple[int, str, str]:
    """The command in this process: exit status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    try:
        call_command("reconcile", *options, stdout=out, stderr=err)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


EVERY_RULE = [*reconcile.RULES, *notifications_reconcile.RULES]


@real_commits
class TestTheCommand:
    def test_answers_programs(self) -> None:
        world = World()
        checked = len(EVERY_RULE)
        status, out, err = run_reconcile("--json")
        assert (status, json.loads(out), err) == (0, {"ok": True, "checked": checked, "drift": []}, "")

        moved_by_hand(world)
        status, out, err = run_reconcile("--json")
        balance = CustomerBalance.objects.get(customer=world.lindqvist).balance
        assert (status, err) == (1, "")
        assert json.loads(out) == {
            "ok": False,
            "checked": checked,
            "drift": [
                {
                    "rule": "balance_is_the_sum_of_entries",
                    "key": "10001",
                    "found": f"balance {balance}, entries {balance - Decimal('0.000001')}",
                }
            ],
        }

    def test_answers_people_and_shows_the_first_hundred(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO billing_customer
                    (account, partner_id, name, email, currency, timezone, status, credit_limit)
                SELECT 'C' || n, %s, '', '', 'GBP', 'UTC', 'active', 0 FROM generate_series(1, 101) n
                """,
                [harbour().pk],
            )
        status, out, err = run_reconcile()
        assert (status, out) == (0, f"{len(EVERY_RULE)} rules checked, no drift.\n")
        assert err.splitlines() == [f"ok    {rule.name}" for rule in EVERY_RULE]

        sql("UPDATE billing_customerbalance SET balance = 1")
        status, out, err = run_reconcile()
        assert status == 1
        lines = out.splitlines()
        assert len([line for line in lines if line.startswith("balance_is_the_sum_of_entries: C")]) == 100
        assert lines[-2:] == [
            "balance_is_the_sum_of_entries: ... and 1 more.",
            f"{len(EVERY_RULE)} rules checked, 101 drift.",
        ]
        assert err.splitlines()[0] == "DRIFT balance_is_the_sum_of_entries"

        (rule, broken, examples), *others = reconcile.checks()
        assert (rule.name, broken, len(examples)) == ("balance_is_the_sum_of_entries", 101, 100)
        assert all(broken == 0 for _, broken, _ in others)

    def test_holds_at_one_instant(self) -> None:
        """A change between two rules is seen by neither."""
        world = World()
        checks = reconcile.checks()
        next(checks)
        with pytest.raises(Exception, match="read-only transaction"):
            make_entry(customer=world.lindqvist)
        checks.close()
        assert LedgerEntry.objects.filter(kind="payment").count() == 0

    def test_tells_the_planner_first_of_tables_that_grew(self) -> None:
        """Else a reconcile right after a large import would take hours instead of seconds."""
        source = make_source()
        batch = make_batch(delivery=make_delivery(source=source))
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE billing_callsbyhour SET (autovacuum_enabled = off)")
            cursor.execute("ANALYZE billing_callsbyhour")
            cursor.execute(
                """
                INSERT INTO billing_callsbyhour (source_id, batch_id, hour, arrived_at, call_count)
                SELECT %s, %s, now() - make_interval(hours => n), now(), 1 FROM generate_series(1, 10001) n
                """,
                [source.pk, batch.pk],
            )
            cursor.execute("SELECT pg_stat_force_next_flush()")
            list(reconcile.checks([]))
            cursor.execute("SELECT reltuples FROM pg_class WHERE relname = 'billing_callsbyhour'")
            assert cursor.fetchone() == (10001,)
            cursor.execute("ALTER TABLE billing_callsbyhour RESET (autovacuum_enabled)")
