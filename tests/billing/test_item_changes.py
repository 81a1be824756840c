"""Items that change while they run: another amount, a pause, an end, and what is given back for it."""

import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection, transaction

from billing import corrections, cycle, item_changes
from billing.item_changes import Change, ItemNotChangeable
from billing.models import (
    BillingItem,
    Customer,
    CustomerBalance,
    ItemKind,
    ItemPause,
    ItemPriceChange,
    LedgerEntry,
    Process,
)
from billing.preview import preview
from billing.reconcile import checks
from tests.billing.at_once import at_once, locked_balances, meanwhile, real_commits
from tests.factories import make_customer, make_item
from tests.faults.processes import another_connection, wait_until

ASTRID = "Astrid Holm"
MARCH_15 = date(2026, 3, 15)
APRIL_1 = date(2026, 4, 1)
APRIL_11 = date(2026, 4, 11)
APRIL_21 = date(2026, 4, 21)
MAY_1 = date(2026, 5, 1)
JUNE_1 = date(2026, 6, 1)
JULY_1 = date(2026, 7, 1)


def run(month: int, day: int, **options: Any) -> Any:
    return cycle.run_cycle(
        by=ASTRID, at=datetime(2026, month, day, 12, tzinfo=UTC), processes=[Process.ITEMS], **options
    )


def is_deleted_past_the_orm(item: BillingItem) -> bool:
    """Try to delete the item as a psql session does: nothing is looked up beforehand."""
    try:
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM billing_billingitem WHERE id = %s", [item.pk])
    except IntegrityError:
        return False
    return True


def charges_of(item: BillingItem) -> list[tuple[str, str, str]]:
    """Start, end and price of the item's charges, in the order of posting."""
    entries = LedgerEntry.objects.filter(key__startswith=f"item:{item.reference}:").order_by("pk")
    return [(f"{one.period_start:%m-%d}", f"{one.period_end:%m-%d}", f"{-one.amount:.2f}") for one in entries]


def balance_of(item: BillingItem) -> Decimal:
    return CustomerBalance.objects.get(customer=item.customer).balance


def change_amount(item: BillingItem, amount: str | int, from_date: date) -> Change:
    return item_changes.change_amount(item.reference, Decimal(amount), from_date=from_date, by=ASTRID)


def pause(item: BillingItem, from_date: date) -> Change:
    return item_changes.pause(item.reference, from_date=from_date, by=ASTRID)


def resume(item: BillingItem, from_date: date) -> Change:
    return item_changes.resume(item.reference, from_date=from_date, by=ASTRID)


def end(item: BillingItem, on: date, *, with_credit: bool = False) -> Change:
    return item_changes.end(item.reference, on=on, by=ASTRID, with_credit=with_credit)


def pauses_of(item: BillingItem) -> list[tuple[date, date | None]]:
    return list(item.pauses.order_by("starts_on").values_list("starts_on", "ends_on"))


def somebody_waits() -> bool:
    """Whether a transaction waits for another one to let go of a row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()"
        )
        return bool(cursor.fetchone()[0])


def drift() -> list[str]:
    return [f"{rule.name}: {found}" for rule, count, found in checks() if count]


@real_commits
class TestANewAmount:
    @pytest.mark.parametrize(
        ("timing", "from_date", "prices", "because"),
        [
            ("advance", APRIL_1, ["10.00", "12.00", "12.00"], "from the first period that begins on that day"),
            ("advance", date(2026, 4, 2), ["10.00", "10.00", "12.00"], "April began before: it keeps its amount"),
            ("advance", date(2025, 1, 1), ["10.00", "12.00", "12.00"], "March was charged: from the next one on"),
            ("arrears", MARCH_15, ["10.00", "12.00"], "March began before, though it is charged afterwards"),
            ("arrears", date(2026, 3, 1), ["12.00", "12.00"], "March is not charged yet"),
        ],
    )
    def test_holds_for_uncharged_periods_that_begin_on_its_day_or_later(
        self, timing: str, from_date: date, prices: list[str], because: str
    ) -> None:
        trunk = make_item(timing=timing)
        run(3, 2)
        assert change_amount(trunk, 12, from_date).changed
        run(5, 2)
        assert [price for *_, price in charges_of(trunk)] == prices, because

    def test_is_what_the_period_was_charged_with(self) -> None:
        trunk = make_item(ends_on=APRIL_11)
        change_amount(trunk, 12, APRIL_1)
        run(4, 2)
        assert [period.amount for period in trunk.periods.order_by("start_on")] == [10, 12]
        assert charges_of(trunk)[-1] == ("04-01", "04-11", "4.00")
        assert drift() == []

    def test_gives_way_to_the_next(self) -> None:
        trunk = make_item()
        for amount, day in (("14", JUNE_1), ("12", APRIL_1), ("13", MAY_1)):  # in whatever order they were entered
            change_amount(trunk, amount, day)
        run(6, 2)
        assert [price for *_, price in charges_of(trunk)] == ["10.00", "12.00", "13.00", "14.00"]

    def test_is_told_by_a_preview(self) -> None:
        trunk = make_item()
        change_amount(trunk, 12, APRIL_1)
        pause(trunk, MAY_1)
        at = datetime(2026, 6, 2, tzinfo=UTC)
        assert preview(at=at).charges["recurring"].amount == {"GBP": Decimal(22)}
        assert run(6, 2).amount == {"GBP": "22.00"}

    def test_again_changes_nothing(self) -> None:
        trunk = make_item()
        run(3, 2)
        answers = [change_amount(trunk, amount, MARCH_15) for amount in (12, "12.00", 12)]
        assert [answer.changed for answer in answers] == [True, False, False]
        assert {answer.holds_from for answer in answers} == {APRIL_1}
        run(4, 2)
        assert not change_amount(trunk, 12, MARCH_15).changed
        assert ItemPriceChange.objects.count() == 1

    def test_of_the_same_day_takes_the_place_of_the_first(self) -> None:
        trunk = make_item()
        assert change_amount(trunk, 12, APRIL_1).changed
        assert change_amount(trunk, 13, APRIL_1).changed
        run(4, 2)
        assert [price for *_, price in charges_of(trunk)] == ["10.00", "13.00"]

    def test_holds_for_an_item_charged_once_until_it_was(self) -> None:
        porting = make_item(kind=ItemKind.ONE_OFF, starts_on=APRIL_11)
        assert change_amount(porting, 12, MARCH_15).changed
        with pytest.raises(ItemNotChangeable, match="is charged once, on 2026-04-11: too late"):
            change_amount(porting, 13, MAY_1)
        run(4, 12)
        assert charges_of(porting) == [("04-11", "04-12", "12.00")]
        with pytest.raises(ItemNotChangeable, match="too late"):
            change_amount(porting, 13, MARCH_15)

    @pytest.mark.parametrize(
        ("amount", "from_date", "sentence"),
        [
            ("NaN", APRIL_1, "no amount"),
            ("1e12", APRIL_1, "no amount"),
            ("0.0000001", APRIL_1, "more than six decimals"),
            ("999999999999", APRIL_1, "times 2 is more than the ledger can hold"),
            ("12", JUNE_1, "ends on 2026-06-01: nothing is charged from 2026-06-01 on"),
        ],
    )
    def test_that_makes_no_sense_is_refused(self, amount: str, from_date: date, sentence: str) -> None:
        trunk = make_item(ends_on=JUNE_1, quantity=2)
        with pytest.raises(ItemNotChangeable, match=sentence):
            change_amount(trunk, amount, from_date)
        assert ItemPriceChange.objects.count() == 0


@real_commits
class TestAPause:
    def test_skips_whole_and_part_periods_until_the_item_is_resumed(self) -> None:
        trunk = make_item(amount=30)
        run(3, 2)
        assert pause(trunk, APRIL_11).changed
        assert run(4, 2).item_charges == 1
        assert run(6, 15).item_charges == 0
        trunk.refresh_from_db()
        assert trunk.next_due_on is None

        assert resume(trunk, date(2026, 6, 21)).changed
        trunk.refresh_from_db()
        assert trunk.next_due_on == APRIL_11  # looked at again
        assert run(7, 2).item_charges == 2
        assert charges_of(trunk) == [
            ("03-01", "04-01", "30.00"),
            ("04-01", "04-11", "10.00"),
            ("06-21", "07-01", "10.00"),
            ("07-01", "08-01", "30.00"),
        ]
        assert drift() == []

    def test_begins_after_what_was_charged(self) -> None:
        trunk = make_item()
        run(3, 2)
        assert pause(trunk, MARCH_15) == Change(True, APRIL_1)
        run(6, 2)
        assert charges_of(trunk) == [("03-01", "04-01", "10.00")]

    def test_again_changes_nothing(self) -> None:
        trunk = make_item()
        run(3, 2)
        assert [pause(trunk, day).changed for day in (MARCH_15, MARCH_15, MAY_1)] == [True, False, False]
        assert [resume(trunk, day).changed for day in (JUNE_1, JUNE_1)] == [True, False]
        run(6, 2)
        assert [resume(trunk, day).changed for day in (JUNE_1, JULY_1)] == [False, False]
        assert pauses_of(trunk) == [(APRIL_1, JUNE_1)]

    def test_that_was_to_begin_later_begins_earlier(self) -> None:
        trunk = make_item()
        assert [pause(trunk, day).changed for day in (JUNE_1, MAY_1)] == [True, True]
        assert pauses_of(trunk) == [(MAY_1, None)]

    def test_may_follow_another(self) -> None:
        trunk = make_item(amount=30)
        for change, day in ((pause, APRIL_11), (resume, APRIL_21), (pause, MAY_1), (resume, JUNE_1)):
            assert change(trunk, day).changed
        run(6, 2)
        assert charges_of(trunk) == [
            ("03-01", "04-01", "30.00"),
            ("04-01", "04-11", "10.00"),
            ("04-21", "05-01", "10.00"),
            ("06-01", "07-01", "30.00"),
        ]

    def test_before_a_planned_one_has_to_wait_until_that_is_taken_back(self) -> None:
        trunk = make_item()
        pause(trunk, JUNE_1)
        resume(trunk, JULY_1)
        with pytest.raises(ItemNotChangeable, match="is to be paused from 2026-06-01 to 2026-07-01 already"):
            pause(trunk, MAY_1)
        assert resume(trunk, JUNE_1).changed
        assert pause(trunk, MAY_1).changed
        assert pauses_of(trunk) == [(MAY_1, None)]

    def test_is_taken_back_by_resuming_before_it_begins(self) -> None:
        trunk = make_item()
        pause(trunk, MAY_1)
        assert [resume(trunk, day).changed for day in (APRIL_1, APRIL_1)] == [True, False]
        assert pauses_of(trunk) == []
        run(6, 2)
        assert len(charges_of(trunk)) == 4

    def test_later_than_the_resumption_stays_when_that_is_said_again(self) -> None:
        trunk = make_item()
        for change, day in ((pause, APRIL_1), (resume, MAY_1), (pause, JUNE_1)):
            change(trunk, day)
        assert not resume(trunk, MAY_1).changed
        assert pauses_of(trunk) == [(APRIL_1, MAY_1), (JUNE_1, None)]

    def test_that_is_over_and_charged_after_stays_as_it_was(self) -> None:
        trunk = make_item()
        pause(trunk, APRIL_1)
        resume(trunk, JUNE_1)
        run(6, 2)
        with pytest.raises(ItemNotChangeable, match="was charged through 2026-07-01 already, from 2026-06-01 on"):
            resume(trunk, MAY_1)

    def test_may_be_shortened_afterwards_as_long_as_nothing_was_charged_since(self) -> None:
        trunk = make_item()
        pause(trunk, APRIL_1)
        run(6, 2)
        assert resume(trunk, MAY_1).changed
        run(6, 2)
        assert charges_of(trunk)[1:] == [("05-01", "06-01", "10.00"), ("06-01", "07-01", "10.00")]

    def test_keeps_no_long_overdue_item_waiting_for_staff(self) -> None:
        """Paused for two years and resumed, it is not thirteen months behind."""
        trunk = make_item(starts_on=date(2024, 1, 1))
        run(1, 2, charges_long_overdue=True, max_periods=1)
        pause(trunk, date(2024, 2, 1))
        resume(trunk, MAY_1)
        done = run(5, 2)
        assert (done.state, done.item_charges) == ("done", 1)

    def test_of_an_item_charged_once_is_refused(self) -> None:
        porting = make_item(kind=ItemKind.ONE_OFF)
        for change in (pause, resume):
            with pytest.raises(ItemNotChangeable, match="is charged once"):
                change(porting, MAY_1)

    def test_after_the_end_is_refused(self) -> None:
        with pytest.raises(ItemNotChangeable, match="ends on 2026-05-01"):
            pause(make_item(ends_on=MAY_1), MAY_1)


@real_commits
class TestAnEnd:
    def test_is_the_first_day_that_is_not_charged(self) -> None:
        trunk = make_item(amount=30)
        assert [end(trunk, APRIL_11).changed for _ in range(2)] == [True, False]
        run(6, 2)
        assert charges_of(trunk) == [("03-01", "04-01", "30.00"), ("04-01", "04-11", "10.00")]

    def test_gives_back_what_was_charged_beyond_it_when_asked(self) -> None:
        trunk = make_item(reference="trunk-7", amount=31, quantity=2)
        run(3, 2)

        done = end(trunk, MARCH_15, with_credit=True)

        assert done.changed
        entry = done.credit
        assert entry is not None
        assert (entry.key, entry.kind, entry.amount) == ("credit:item:trunk-7:2026-03-15", "credit", Decimal(34))
        assert (entry.occurred_at, entry.period_start, entry.period_end) == (
            datetime(2026, 3, 15, tzinfo=UTC),
            MARCH_15,
            APRIL_1,
        )
        assert entry.reason == "2026-03-01 to 2026-03-31 was charged 62.00, and costs 28.00 until 2026-03-15"
        assert (entry.description, entry.entered_by) == ("SIP trunk: ended on 2026-03-15", ASTRID)
        assert balance_of(trunk) == -28
        assert run(6, 2).item_charges == 0
        assert drift() == []

    def test_gives_nothing_back_unless_asked(self) -> None:
        trunk = make_item()
        run(3, 2)
        assert end(trunk, MARCH_15).credit is None
        assert balance_of(trunk) == -10

    def test_gives_back_once(self) -> None:
        trunk = make_item(amount=31)
        run(3, 2)
        assert end(trunk, MARCH_15).changed
        assert [end(trunk, MARCH_15, with_credit=True).changed for _ in range(3)] == [True, False, False]
        assert balance_of(trunk) == -14

    def test_that_is_moved_nearer_gives_back_the_rest(self) -> None:
        trunk = make_item(amount=31)
        run(3, 2)
        end(trunk, date(2026, 3, 21), with_credit=True)
        assert balance_of(trunk) == -20
        again = end(trunk, MARCH_15, with_credit=True)
        assert again.credit is not None
        assert again.credit.reason.endswith("; 11.00 was given back before")
        assert balance_of(trunk) == -14

    def test_that_was_credited_cannot_be_moved_away(self) -> None:
        trunk = make_item(amount=31)
        run(3, 2)
        end(trunk, MARCH_15, with_credit=True)
        with pytest.raises(ItemNotChangeable, match="ended on 2026-03-15, and what was charged beyond was given back"):
            end(trunk, APRIL_11)

    def test_without_a_credit_may_be_moved_away(self) -> None:
        trunk = make_item(amount=30)
        end(trunk, APRIL_11)
        run(4, 12)
        assert end(trunk, APRIL_21).changed
        run(6, 2)
        assert charges_of(trunk)[1:] == [("04-01", "04-11", "10.00"), ("04-11", "04-21", "10.00")]

    @pytest.mark.parametrize(
        ("fields", "charged_on", "on", "given_back", "because"),
        [
            ({}, (3, 2), APRIL_1, 0, "it ends where it was charged through"),
            ({}, (3, 2), date(2026, 3, 1), 31, "all of it: it ends as it begins"),
            ({"timing": "arrears"}, (4, 2), APRIL_11, 0, "nothing beyond was charged"),
            ({"proration": "none"}, (3, 2), MARCH_15, 0, "parts are charged in full"),
            ({"proration": "fixed_30"}, (3, 2), MARCH_15, Decimal("16.53"), "14 days of thirty stay: 14.47"),
            ({"interval": "day"}, (3, 20), MARCH_15, 186, "six whole periods"),
            ({"bill_cycle_day": 21}, (3, 2), MARCH_15, Decimal("6.64"), "a stub of 20 days of 28 becomes one of 14"),
            ({"amount": -31}, (3, 2), MARCH_15, -17, "a credit, given too long, is taken back"),
            ({"interval": "quarter"}, (3, 2), APRIL_1, Decimal("20.55"), "31 of 92 days stay: 10.45"),
        ],
    )
    def test_gives_back_by_the_rules_of_stubs(
        self,
        fields: dict[str, Any],
        charged_on: tuple[int, int],
        on: date,
        given_back: Decimal | int,
        because: str,
    ) -> None:
        trunk = make_item(**{"amount": 31} | fields)
        run(*charged_on)
        charged = balance_of(trunk)
        done = end(trunk, on, with_credit=True)
        assert balance_of(trunk) - charged == given_back, because
        assert (done.credit is not None) == bool(given_back)
        assert drift() == []

    def test_gives_back_a_part_between_pauses(self) -> None:
        trunk = make_item(amount=30)
        for change, day in ((pause, APRIL_11), (resume, APRIL_21)):
            change(trunk, day)
        run(4, 22)
        assert charges_of(trunk)[1:] == [("04-01", "04-11", "10.00"), ("04-21", "05-01", "10.00")]
        end(trunk, date(2026, 4, 26), with_credit=True)
        assert balance_of(trunk) == -45

    def test_gives_back_at_the_amount_that_was_charged(self) -> None:
        trunk = make_item(amount=31)
        run(3, 2)
        change_amount(trunk, 60, APRIL_1)
        run(4, 2)
        end(trunk, date(2026, 4, 16), with_credit=True)
        assert balance_of(trunk) == -31 - 30

    def test_gives_nothing_back_of_what_was_reversed(self) -> None:
        trunk = make_item(reference="trunk-7", amount=31)
        run(4, 2)
        corrections.reverse("item:trunk-7:2026-04-01", reason="Never ordered.", by=ASTRID)
        assert end(trunk, APRIL_11, with_credit=True).credit is None
        assert end(trunk, MARCH_15, with_credit=True).credit is not None
        assert balance_of(trunk) == -14

    def test_cancels_an_item_charged_once_before_its_date(self) -> None:
        porting = make_item(kind=ItemKind.ONE_OFF, starts_on=APRIL_11)
        with pytest.raises(ItemNotChangeable, match="ending it on that day cancels it"):
            end(porting, MAY_1)
        assert end(porting, APRIL_11).changed
        assert run(5, 2).one_off_charges == 0

    def test_of_an_item_that_was_charged_once_is_refused(self) -> None:
        porting = make_item(kind=ItemKind.ONE_OFF, reference="port-7")
        run(3, 2)
        with pytest.raises(ItemNotChangeable, match="reverse item:port-7:2026-03-01"):
            end(porting, date(2026, 3, 1))

    def test_before_the_start_is_refused(self) -> None:
        with pytest.raises(ItemNotChangeable, match="would end on 2026-02-28, before it starts on 2026-03-01"):
            end(make_item(), date(2026, 2, 28))

    def test_beyond_the_day_on_which_the_customer_was_closed_is_refused(self) -> None:
        item = make_item()
        closed_at = datetime(2026, 3, 15, tzinfo=UTC)
        Customer.objects.filter(pk=item.customer_id).update(status="closed", closed_at=closed_at)
        with pytest.raises(ItemNotChangeable, match="was closed on 2026-03-15, and its items with it"):
            end(item, APRIL_1)
        assert end(item, MARCH_15) == Change(False, MARCH_15)


class TestAnItemNobodyKnows:
    @pytest.mark.django_db
    @pytest.mark.parametrize(
        "verb",
        [
            lambda: item_changes.change_amount("trunk-0", Decimal(1), from_date=MAY_1, by=ASTRID),
            lambda: item_changes.pause("trunk-0", from_date=MAY_1, by=ASTRID),
            lambda: item_changes.resume("trunk-0", from_date=MAY_1, by=ASTRID),
            lambda: item_changes.end("trunk-0", on=MAY_1, by=ASTRID),
        ],
    )
    def test_is_refused(self, verb: Callable[[], Change]) -> None:
        with pytest.raises(ItemNotChangeable, match="There is no item “trunk-0”"):
            verb()


@real_commits
class TestAtTheSameMoment:
    def test_two_ends_give_back_once(self) -> None:
        trunk = make_item(amount=31)
        run(3, 2)
        answers = at_once(*[lambda: end(trunk, MARCH_15, with_credit=True) for _ in range(4)])
        assert sorted(answer.changed for answer in answers) == [False, False, False, True]
        assert balance_of(trunk) == -14

    def test_two_changes_make_one(self) -> None:
        trunk = make_item()
        for change in (
            lambda: change_amount(trunk, 12, APRIL_1),
            lambda: pause(trunk, MAY_1),
            lambda: resume(trunk, JUNE_1),
        ):
            answers = at_once(*[change for _ in range(4)])
            assert sorted(answer.changed for answer in answers) == [False, False, False, True]

    def test_a_run_leaves_an_item_alone_that_is_being_paused(self) -> None:
        trunk = make_item()
        with another_connection() as other, other.transaction():
            other.execute(
                "INSERT INTO billing_itempause (item_id, starts_on, changed_by) VALUES (%s, %s, 'psql')",
                [trunk.pk, MARCH_15],
            )
            assert run(4, 2).item_charges == 0
        run(4, 2)
        assert charges_of(trunk) == [("03-01", "03-15", "4.52")]

    def test_an_end_with_a_credit_waits_for_whoever_has_the_balance(self) -> None:
        trunk = make_item(amount=31)
        run(3, 2)
        with ExitStack() as held:
            held.enter_context(locked_balances(trunk.customer_id))
            with meanwhile(lambda: end(trunk, MARCH_15, with_credit=True)) as ending:
                wait_until(somebody_waits)
                assert not ending.done()
                held.close()
        assert balance_of(trunk) == -14

    def test_an_item_is_not_deleted_while_somebody_writes_a_period_of_it(self) -> None:
        trunk = make_item()
        with ExitStack() as held:
            other = held.enter_context(another_connection())
            held.enter_context(other.transaction())
            other.execute(
                "INSERT INTO billing_itemperiod (item_id, is_one_off, start_on, end_on, kind, days, whole_days, amount,"
                " quantity) VALUES (%s, false, '2026-03-01', '2026-04-01', 'whole', 31, 31, 10, 1)",
                [trunk.pk],
            )
            with meanwhile(lambda: is_deleted_past_the_orm(trunk)) as deleting:
                wait_until(somebody_waits)
                held.close()
        assert not deleting.result()
        assert trunk.periods.count() == 1


@pytest.mark.django_db
class TestTheDatabase:
    """Whoever walks past the verbs."""

    @pytest.mark.parametrize(
        ("rule", "breach"),
        [
            ("charged_amounts_stay", lambda item: item.price_changes.create(from_date=MARCH_15, amount=1)),
            ("charged_amounts_stay", lambda item: item.price_changes.update(from_date=MARCH_15)),
            ("one_amount_of_an_item_from_a_date", lambda item: item.price_changes.create(from_date=JUNE_1, amount=1)),
            ("amounts_with_dates_change_by_date", lambda item: BillingItem.objects.filter(pk=item.pk).update(amount=1)),
            ("charged_days_stay_charged", lambda item: item.pauses.create(starts_on=MARCH_15, ends_on=APRIL_1)),
            ("charged_days_stay_charged", lambda item: item.pauses.update(starts_on=MARCH_15)),
            ("pauses_of_an_item_never_overlap", lambda item: item.pauses.create(starts_on=JULY_1)),
            ("pauses_of_an_item_never_overlap", lambda item: item.pauses.create(starts_on=MAY_1, ends_on=JULY_1)),
            ("pause_has_days", lambda item: item.pauses.update(ends_on=JUNE_1)),
            (
                "only_recurring_items_are_paused",
                lambda item: make_item(kind=ItemKind.ONE_OFF).pauses.create(starts_on=JUNE_1),
            ),
        ],
    )
    def test_refuses(self, rule: str, breach: Callable[[BillingItem], object]) -> None:
        trunk = make_item()
        run(3, 2)
        change_amount(trunk, 12, JUNE_1)
        pause(trunk, JUNE_1)
        with pytest.raises(IntegrityError) as refusal, transaction.atomic():
            breach(trunk)
        assert refusal.value.__cause__.diag.constraint_name == rule  # type: ignore[union-attr]

    def test_lets_no_days_be_resumed_after_which_was_charged(self) -> None:
        trunk = make_item()
        pause(trunk, APRIL_1)
        resume(trunk, JUNE_1)
        run(6, 2)
        for breach in (lambda: trunk.pauses.update(ends_on=MAY_1), lambda: trunk.pauses.all().delete()):
            with pytest.raises(IntegrityError, match="was charged through 2026-07-01"), transaction.atomic():
                breach()

    def test_lets_no_credited_end_be_taken_back(self) -> None:
        trunk = make_item(amount=31)
        run(3, 2)
        entry = end(trunk, MARCH_15, with_credit=True).credit
        assert entry is not None
        for ends_on in (None, APRIL_1):
            with pytest.raises(IntegrityError, match="was given a credit: begin another"), transaction.atomic():
                BillingItem.objects.filter(pk=trunk.pk).update(ends_on=ends_on)
        corrections.reverse(entry.key, reason="It stays after all.", by=ASTRID)
        assert BillingItem.objects.filter(pk=trunk.pk).update(ends_on=None)

    def test_lets_an_item_that_was_never_charged_go_with_its_changes(self) -> None:
        trunk = make_item()
        change_amount(trunk, 12, JUNE_1)
        pause(trunk, JUNE_1)
        trunk.delete()
        assert not ItemPause.objects.exists()


@pytest.mark.django_db
class TestTheCommands:
    def test_tell_whether_anything_changed(self, capsys: pytest.CaptureFixture[str]) -> None:
        make_item(reference="trunk-7", amount=31)
        run(3, 2)
        for name, *arguments in (
            ("change_item", "trunk-7", "--amount", "12.50", "--from", "2026-05-01"),
            ("pause_item", "trunk-7", "--from", "2026-06-01"),
            ("resume_item", "trunk-7", "--from", "2026-07-01"),
            ("end_item", "trunk-7", "--on", "2026-08-01"),
            ("end_item", "trunk-7", "--on", "2026-03-15", "--credit"),
        ):
            for changed in (True, False):
                call_command(name, *arguments, "--json")
                assert json.loads(capsys.readouterr().out) == {"changed": changed}
            call_command(name, *arguments)
            assert "trunk-7: so already; nothing changed." in capsys.readouterr().out

    def test_tell_people_from_when_it_holds(self, capsys: pytest.CaptureFixture[str]) -> None:
        make_item(reference="trunk-7", amount=31)
        run(3, 2)
        call_command("change_item", "trunk-7", "--amount", "-12.5", "--from", "2026-03-15")
        call_command("pause_item", "trunk-7", "--from", "2026-03-15")
        call_command("resume_item", "trunk-7", "--from", "2026-05-01")
        call_command("end_item", "trunk-7", "--on", "2026-04-11", "--credit")
        call_command("end_item", "trunk-7", "--on", "2026-03-15", "--credit")
        assert capsys.readouterr().out.splitlines() == [
            "trunk-7: -12.50 for periods that begin on 2026-04-01 or later.",
            "trunk-7: paused from 2026-04-01 on.",
            "trunk-7: charged again from 2026-05-01 on.",
            "trunk-7: ends on 2026-04-11; nothing to give back.",
            "trunk-7: ends on 2026-03-15; 17.00 GBP given back, as credit:item:trunk-7:2026-03-15.",
        ]

    @pytest.mark.parametrize(
        ("arguments", "sentence"),
        [
            (["pause_item", "trunk-0", "--from", "2026-06-01"], "There is no item"),
            (["pause_item", "trunk-7", "--from", "next week"], "“next week” is no date"),
            (["pause_item", "trunk-7", "--from", "2026-02-30"], "“2026-02-30” is no date"),
            (["change_item", "trunk-7", "--amount", "ten", "--from", "2026-06-01"], "“ten” is no amount"),
            (["end_item", "trunk-7", "--on", "2026-02-01"], "before it starts"),
        ],
    )
    def test_refuse_what_makes_no_sense(self, arguments: list[str], sentence: str) -> None:
        make_item(reference="trunk-7", customer=make_customer())
        with pytest.raises(CommandError, match=sentence) as refusal:
            call_command(*arguments)
        assert refusal.value.returncode == 2
