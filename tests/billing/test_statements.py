"""Statements by month: what is in which, when a month closes, and that it never changes then, whoever posts."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction
from django.utils import timezone

from billing import cycle, halting, reconcile, statements
from billing.corrections import adjust, reverse
from billing.models import (
    BillingRun,
    Customer,
    CustomerBalance,
    EntryKind,
    LedgerEntry,
    MonthClosing,
    Partner,
    Process,
    Statement,
)
from billing.statements import Line, Sheet
from tests.billing.at_once import at_once, real_commits
from tests.factories import make_customer, make_entry, make_item, make_partner, make_reversal, make_run
from tests.faults.processes import another_connection

pytestmark = real_commits

SEPTEMBER, OCTOBER, NOVEMBER, DECEMBER = (date(2025, month, 1) for month in (9, 10, 11, 12))
SEPTEMBER_END = datetime(2025, 9, 30, 22, tzinfo=UTC)  # midnight in Berlin
OCTOBER_END = datetime(2025, 10, 31, 23, tzinfo=UTC)
NOVEMBER_END = datetime(2025, 11, 30, 23, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@pytest.fixture
def fjord() -> Partner:
    """A partner in Berlin, since September 2025."""
    return make_partner(
        slug="fjord", timezone="Europe/Berlin", currency="EUR", created_at=datetime(2025, 9, 3, tzinfo=UTC)
    )


@pytest.fixture
def lindqvist(fjord: Partner) -> Customer:
    return came_early(fjord, account="10001")


def came_early(partner: Partner, **fields: Any) -> Customer:
    return make_customer(partner=partner, created_at=datetime(2025, 9, 3, tzinfo=UTC), **fields)


def cycle_at(at: datetime, **fields: Any) -> BillingRun:
    """A complete billing run that began at that time."""
    return make_run(started_at=at, business_at=at, **fields)


def close_at(at: datetime, **fields: Any) -> list[MonthClosing]:
    return statements.close_months(cycle_at(at, **fields))


def months(closings: list[MonthClosing]) -> list[date]:
    return [closing.month for closing in closings]


def sheet(customer: Customer, month: date) -> Sheet:
    found = statements.sheet_of(customer, month)
    assert found is not None
    return found


def lines(customer: Customer, month: date, **which: Any) -> list[Line]:
    return list(statements.lines_of([sheet(customer, month)], **which))


def keys(customer: Customer, month: date) -> list[str]:
    return [line.key for line in lines(customer, month)]


def drift() -> list[reconcile.Drift]:
    about_statements = [rule for rule in reconcile.RULES if "statement" in rule.finds or "posted" in rule.name]
    assert len(about_statements) == 3
    return [drift for _, _, found in reconcile.checks(about_statements) for drift in found]


def post_by(other: psycopg.Connection[Any], customer: Customer, key: str, amount: int, posted_at: datetime) -> None:
    """Post on another connection, in the transaction that is open there."""
    other.execute(
        "INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, posted_at,"
        " booked_month, charge_number, description, reason, entered_by)"
        " VALUES (%s, %s, 'payment', %s, %s, %s, %s, date_trunc('month', %s AT TIME ZONE 'UTC'), 1, '', '', '')",
        [key, customer.pk, amount, customer.currency, posted_at, posted_at, posted_at],
    )


class TestAMonth:
    def test_holds_what_was_posted_in_it_by_the_partners_calendar(self, lindqvist: Customer) -> None:
        for key, posted_at in [
            ("payment:bank:1", SEPTEMBER_END - SECOND),
            ("payment:bank:2", SEPTEMBER_END),
            ("payment:bank:3", OCTOBER_END - SECOND),
            ("payment:bank:4", OCTOBER_END),
        ]:
            make_entry(customer=lindqvist, key=key, occurred_at=posted_at, posted_at=posted_at)
        assert months(close_at(OCTOBER_END + SECOND)) == [SEPTEMBER, OCTOBER]

        assert keys(lindqvist, SEPTEMBER) == ["payment:bank:1"]
        assert keys(lindqvist, OCTOBER) == ["payment:bank:2", "payment:bank:3"]
        assert keys(lindqvist, NOVEMBER) == ["payment:bank:4"]
        assert [sheet.month.first for sheet in statements.sheets_of(lindqvist)][-3:] == [NOVEMBER, OCTOBER, SEPTEMBER]
        assert drift() == []

    def test_adds_up_by_kind_from_its_opening_to_its_closing_balance(self, lindqvist: Customer) -> None:
        at = {"customer": lindqvist, "occurred_at": SEPTEMBER_END - SECOND, "posted_at": SEPTEMBER_END - SECOND}
        make_entry(**at, amount=100)
        close_at(SEPTEMBER_END + SECOND)
        at |= {"occurred_at": SEPTEMBER_END, "posted_at": SEPTEMBER_END}
        call = {"kind": "call", "rate_id": 1, "billed_seconds": 60}
        make_entry(**at, **call, key="call:pbx:1", amount=Decimal("-0.000001"))
        trunk = make_entry(**at, kind="recurring", key="item:trunk:2025-10-01", amount=-30)
        make_entry(**at, amount=50)
        make_reversal(trunk, posted_at=SEPTEMBER_END)
        close_at(OCTOBER_END + SECOND)

        october = sheet(lindqvist, OCTOBER)
        assert october.month.is_closed
        assert (october.opening_balance, october.closing_balance) == (100, Decimal("149.999999"))
        assert october.totals == {
            EntryKind.CALL: Decimal("-0.000001"),
            EntryKind.RECURRING: -30,
            EntryKind.PAYMENT: 50,
            EntryKind.REVERSAL: 30,
        }
        balances = [line.balance for line in lines(lindqvist, OCTOBER)]
        assert balances == [Decimal("99.999999"), Decimal("69.999999"), Decimal("119.999999"), Decimal("149.999999")]
        assert [line.balance for line in lines(lindqvist, OCTOBER, kind=EntryKind.PAYMENT)] == [Decimal("119.999999")]
        november = sheet(lindqvist, NOVEMBER)
        assert (november.opening_balance, november.totals) == (october.closing_balance, {})

    def test_says_of_late_lines_which_month_they_belong_to(self, lindqvist: Customer) -> None:
        make_entry(customer=lindqvist, key="payment:bank:1", occurred_at=SEPTEMBER_END - SECOND, posted_at=OCTOBER_END)
        close_at(OCTOBER_END + SECOND)
        wrong = reverse("payment:bank:1", reason="Somebody else's.", by="Mei Tanaka").entry
        LedgerEntry.objects.get(pk=wrong.pk)

        (late,) = lines(lindqvist, NOVEMBER)
        assert (late.belongs_to, late.committed_late) == (SEPTEMBER, False)
        this_month = statements.sheets_of(lindqvist)[0]
        (taken_back,) = statements.lines_of([this_month])
        assert (taken_back.belongs_to, taken_back.reverses) == (SEPTEMBER, "payment:bank:1")

    def test_that_is_open_is_shown_up_to_now(self, lindqvist: Customer) -> None:
        adjust("10001", Decimal(7), reference="A", reason="Thanks.", by="Mei", at=timezone.now())
        now = statements.sheets_of(lindqvist)[0]
        assert not now.month.is_closed
        assert (now.closing_balance, now.entry_count) == (7, 1)
        adjust("10001", Decimal(1), reference="B", reason="Thanks.", by="Mei", at=timezone.now())
        assert statements.sheets_of(lindqvist)[0].closing_balance == 8

    def test_that_has_ended_and_waits_is_open_beside_the_one_under_way(self, lindqvist: Customer) -> None:
        make_entry(customer=lindqvist, posted_at=SEPTEMBER_END - SECOND)
        make_entry(customer=lindqvist, posted_at=SEPTEMBER_END)
        september, october = sheet(lindqvist, SEPTEMBER), sheet(lindqvist, OCTOBER)
        assert not september.month.is_closed
        assert (september.closing_balance, september.entry_count) == (10, 1)
        assert (october.opening_balance, october.closing_balance, october.entry_count) == (10, 20, 1)
        assert len(lines(lindqvist, OCTOBER)) == 1
        assert statements.sheet_of(lindqvist, date(2025, 8, 1)) is None
        assert statements.sheet_of(lindqvist, date(2100, 1, 1)) is None

    def test_without_entries_that_began_with_nothing_has_no_statement(self, lindqvist: Customer) -> None:
        make_entry(customer=lindqvist, posted_at=OCTOBER_END - SECOND)
        close_at(NOVEMBER_END + SECOND)
        assert list(Statement.objects.order_by("month").values_list("month", "entry_count", "closing_balance")) == [
            (OCTOBER, 1, 10),
            (NOVEMBER, 0, 10),
        ]
        assert statements.sheet_of(lindqvist, SEPTEMBER) is None


class TestClosing:
    def test_happens_behind_the_first_complete_cycle_and_once(self, lindqvist: Customer) -> None:
        make_entry(customer=lindqvist, posted_at=SEPTEMBER_END - SECOND)
        assert close_at(SEPTEMBER_END - SECOND) == []
        assert months(close_at(SEPTEMBER_END)) == [SEPTEMBER]
        assert close_at(SEPTEMBER_END + SECOND) == []
        assert Statement.objects.count() == 1

    @pytest.mark.parametrize(
        "incomplete",
        [
            {"processes": ["calls"]},
            {"max_periods": 1},
            {"state": "failed"},
            {"state": "halted", "halted": [{"process": "calls", "partner": None}]},
            {"state": "partial", "halted": [{"process": "items", "partner": None}]},
            {"state": "partial", "halted": [{"process": "items", "partner": "fjord"}]},
            {"state": "partial", "errors": [{"kind": "calls", "key": "customers 1 to 9", "error": "busy elsewhere"}]},
            {"state": "partial", "ended_because": "left undone"},
            {"business_at": SEPTEMBER_END - SECOND},
        ],
        ids=str,
    )
    def test_waits_for_a_cycle_that_left_nothing(self, fjord: Partner, incomplete: dict[str, Any]) -> None:
        run = make_run(**{"started_at": SEPTEMBER_END, "business_at": SEPTEMBER_END} | incomplete)
        assert statements.close_months(run) == []
        assert months(close_at(SEPTEMBER_END)) == [SEPTEMBER]

    def test_waits_for_a_cycle_of_everybody(self, fjord: Partner) -> None:
        assert close_at(SEPTEMBER_END, partner=fjord) == []

    def test_does_not_wait_for_other_partners_nor_for_a_broken_record(self, fjord: Partner) -> None:
        others = make_partner(slug="quayside", created_at=datetime(2025, 9, 1, tzinfo=UTC))
        halted = [{"process": "calls", "partner": "quayside"}]
        errors = [{"kind": "item", "key": "trunk-7", "error": "amount out of range"}]
        closed = close_at(SEPTEMBER_END + timedelta(hours=3), state="partial", halted=halted, errors=errors)
        assert [closing.partner for closing in closed] == [fjord]
        assert [closing.partner for closing in close_at(SEPTEMBER_END + timedelta(hours=3))] == [others]

    def test_comes_at_the_end_of_the_cycle_itself_and_after_a_halt(self, fjord: Partner, lindqvist: Customer) -> None:
        make_item(customer=lindqvist, kind="one_off", starts_on=date(2025, 9, 5))
        halting.halt(Process.ITEMS, reason="The new prices.", by="Mei Tanaka", partner=fjord)
        cycle.run_cycle(by="Mei Tanaka", at=timezone.now())
        assert not MonthClosing.objects.exists()
        halting.resume(Process.ITEMS, reason="Right after all.", by="Mei Tanaka", partner=fjord)
        for _ in range(2):
            cycle.run_cycle(by="Mei Tanaka", at=timezone.now())
        assert set(MonthClosing.objects.values_list("month", flat=True)) >= {SEPTEMBER, OCTOBER, NOVEMBER}
        now = statements.sheets_of(lindqvist)[0]
        (charge,) = statements.lines_of([now])
        assert (charge.kind, charge.belongs_to) == (EntryKind.ONE_OFF, SEPTEMBER)
        assert drift() == []

    def test_leaves_what_commits_later_to_the_next_month(self, lindqvist: Customer) -> None:
        with another_connection() as other, other.transaction():
            post_by(other, lindqvist, "payment:bank:open", 5, SEPTEMBER_END - SECOND)
        with another_connection() as other:
            with other.transaction():
                post_by(other, lindqvist, "payment:bank:late", 7, SEPTEMBER_END - SECOND)
                assert months(close_at(SEPTEMBER_END)) == [SEPTEMBER]
            assert keys(lindqvist, SEPTEMBER) == ["payment:bank:open"]
            with other.transaction():
                post_by(other, lindqvist, "payment:bank:later", 11, SEPTEMBER_END - 2 * SECOND)
        for _ in range(2):  # open, and closed
            october = lines(lindqvist, OCTOBER)
            assert [(line.key, line.committed_late) for line in october] == [
                ("payment:bank:late", True),
                ("payment:bank:later", True),
            ]
            assert [line.balance for line in october] == [12, 23]
            assert sheet(lindqvist, OCTOBER).entry_count == 2
            close_at(OCTOBER_END)
        assert keys(lindqvist, SEPTEMBER) == ["payment:bank:open"]
        assert drift() == []

    def test_leaves_what_is_still_open_when_the_next_month_closes_too(self, lindqvist: Customer) -> None:
        make_entry(customer=lindqvist, posted_at=SEPTEMBER_END - SECOND)
        okafor = came_early(lindqvist.partner, account="10002")
        with another_connection() as other, other.transaction():
            post_by(other, lindqvist, "payment:bank:late", 7, SEPTEMBER_END - SECOND)
            make_entry(customer=okafor, posted_at=SEPTEMBER_END - SECOND)  # a later one, which is there by then
            close_at(SEPTEMBER_END)
            close_at(OCTOBER_END)
        assert sheet(lindqvist, NOVEMBER).closing_balance == 17
        assert keys(lindqvist, NOVEMBER) == ["payment:bank:late"]
        close_at(NOVEMBER_END)
        assert keys(lindqvist, NOVEMBER) == ["payment:bank:late"]
        assert drift() == []

    def test_may_be_interrupted_while_statements_are_written(
        self, fjord: Partner, lindqvist: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(statements, "CUSTOMERS_AT_A_TIME", 1)
        customers = [lindqvist, *(came_early(fjord) for _ in range(3))]
        for customer in customers:
            make_entry(customer=customer, posted_at=SEPTEMBER_END - SECOND)
        asked = iter([True, True, True, False])
        run = cycle_at(SEPTEMBER_END)
        (closing,) = statements.close_months(run, may_go_on=lambda: next(asked, False))
        assert Statement.objects.count() == 1
        make_entry(customer=customers[-1], posted_at=SEPTEMBER_END - SECOND)  # too late for September, closed or not

        (month,) = [month for month in statements.months_of(fjord) if month.first == SEPTEMBER]
        assert not month.is_closed, "until every statement of it is written"
        assert [sheet(customer, SEPTEMBER).month.is_closed for customer in customers] == [True, False, False, False]
        at_once(*[lambda: statements.close_months(run)] * 2)
        closing.refresh_from_db()
        assert closing.written_at is not None
        assert [sheet(customer, SEPTEMBER).entry_count for customer in customers] == [1, 1, 1, 1]
        assert drift() == []

    def test_counts_each_entry_once_of_a_customer_that_changes_its_partner(
        self, fjord: Partner, lindqvist: Customer
    ) -> None:
        west = make_partner(slug="west", timezone="America/New_York", created_at=datetime(2025, 9, 3, tzinfo=UTC))
        make_entry(customer=lindqvist, posted_at=SEPTEMBER_END - SECOND)
        close_at(SEPTEMBER_END)
        Customer.objects.filter(pk=lindqvist.pk).update(partner=west)
        lindqvist.refresh_from_db()
        make_entry(customer=lindqvist, posted_at=SEPTEMBER_END + SECOND)
        close_at(SEPTEMBER_END + timedelta(hours=7))
        close_at(OCTOBER_END + timedelta(hours=7))
        assert [sheet(lindqvist, month).entry_count for month in (SEPTEMBER, OCTOBER)] == [1, 1]
        assert drift() == []

    def test_is_exact_while_several_workers_post(self, fjord: Partner) -> None:
        customers = [came_early(fjord) for _ in range(4)]
        ends = [SEPTEMBER_END, OCTOBER_END, NOVEMBER_END]

        def post(worker: int) -> None:
            dice = random.Random(worker)
            with another_connection() as other:
                for number in range(15):
                    with other.transaction():
                        chosen = sorted(dice.sample(customers, 2), key=lambda customer: customer.pk)
                        for customer in chosen:
                            at = dice.choice(ends) + dice.choice([-1, 1]) * SECOND
                            post_by(other, customer, f"payment:{worker}:{number}:{customer.pk}", 1, at)

        def close() -> None:
            for at in ends:
                statements.close_months(cycle_at(at))

        with ThreadPoolExecutor(4) as pool:
            posting = [pool.submit(post, worker) for worker in range(3)]
            pool.submit(lambda: (close(), connection.close())).result(timeout=60)
            for future in posting:
                future.result(timeout=60)
        assert MonthClosing.objects.filter(partner=fjord).count() == 3
        assert_all_is_told(customers)


def assert_all_is_told(customers: list[Customer]) -> None:
    """Every entry is a line of exactly one statement, sums are those of the lines, and each goes on from the last."""
    told: list[str] = []
    for customer in customers:
        sheets = statements.sheets_of(customer)[::-1]
        for before, after in pairwise(sheets):
            assert before.closing_balance == after.opening_balance
        assert sheets[-1].closing_balance == CustomerBalance.objects.get(customer=customer).balance
        for one in sheets:
            posted = list(statements.lines_of([one]))
            assert len(posted) == one.entry_count
            totals = {kind: sum(line.amount for line in posted if line.kind == kind) for kind in EntryKind}
            assert {kind: total for kind, total in totals.items() if total} == one.totals
            assert (posted[-1].balance if posted else one.opening_balance) == one.closing_balance
            told += [line.key for line in posted]
    assert sorted(told) == sorted(LedgerEntry.objects.filter(customer__in=customers).values_list("key", flat=True))
    assert drift() == []


class TestAnyWorld:
    @pytest.mark.parametrize("seed", range(4))
    def test_is_told_whole_by_its_statements(self, fjord: Partner, seed: int) -> None:
        dice = random.Random(seed)
        customers = [came_early(fjord, currency=dice.choice(["EUR", "USD"])) for _ in range(5)]
        began = datetime(2025, 9, 4, tzinfo=UTC)
        with ExitStack() as stack:
            posters = [stack.enter_context(another_connection()) for _ in range(2)]
            for number, end in enumerate([SEPTEMBER_END, OCTOBER_END, NOVEMBER_END]):
                open_transactions = ExitStack()
                for poster in posters:
                    open_transactions.enter_context(poster.transaction())
                for place in range(30):
                    customer = dice.choice(customers[: 3 + number])
                    at = began + (end + timedelta(days=5) - began) * dice.random()
                    amount = Decimal(dice.randint(-(10**7), 10**7) or 1) / 10**6
                    occurred_at = at - timedelta(days=dice.choice([0, 0, 40]))
                    make_entry(customer=customer, amount=amount, posted_at=at, occurred_at=occurred_at)
                    if place % 10 == 0:  # a customer of its own: a poster has it locked
                        apart = came_early(fjord)
                        customers.append(apart)
                        make_entry(customer=apart, posted_at=end - SECOND)
                        post_by(dice.choice(posters), apart, f"payment:open:{apart.pk}", 3, end - SECOND)
                if dice.random() < 0.5:
                    open_transactions.close()
                close_at(end)
                open_transactions.close()
        assert_all_is_told(customers)
        assert_partner_is_the_sum(fjord)


def assert_partner_is_the_sum(partner: Partner) -> None:
    for month in statements.months_of(partner):
        sheets = statements.sheets_in(partner, month)
        for total in statements.totals_of(partner, month):
            of_currency = [one for one in sheets if one.currency == total.currency]
            assert total.opening_balance == sum(one.opening_balance for one in of_currency)
            assert total.closing_balance == sum(one.closing_balance for one in of_currency)
            assert total.entry_count == sum(one.entry_count for one in of_currency)
            assert sum(total.totals.values()) == total.closing_balance - total.opening_balance
        balances = [one.closing_balance for one in sheets]
        told = list(statements.lines_of(sheets))
        assert len(told) == sum(one.entry_count for one in sheets)
        assert sum(line.amount for line in told) == sum(balances) - sum(one.opening_balance for one in sheets)


class TestAPage:
    def test_goes_on_where_the_last_one_ended(self, lindqvist: Customer) -> None:
        for number in range(5):
            make_entry(customer=lindqvist, key=f"payment:bank:{number}", posted_at=SEPTEMBER_END - SECOND)
        for _ in range(2):
            whole = lines(lindqvist, SEPTEMBER)
            first = lines(lindqvist, SEPTEMBER, limit=3)
            rest = lines(lindqvist, SEPTEMBER, after=first[-1].entry_id, limit=3)
            assert [*first, *rest] == whole
            assert [line.balance for line in whole] == [10, 20, 30, 40, 50]
            close_at(SEPTEMBER_END)

    def test_of_the_partners_customers_goes_by_their_id(self, fjord: Partner, lindqvist: Customer) -> None:
        okafor = came_early(fjord)
        for customer in (lindqvist, okafor):
            make_entry(customer=customer, posted_at=SEPTEMBER_END - SECOND)
        for _ in range(2):
            (month,) = [month for month in statements.months_of(fjord) if month.first == SEPTEMBER]
            assert [one.customer for one in statements.sheets_in(fjord, month, limit=1)] == [lindqvist]
            rest = statements.sheets_in(fjord, month, after=lindqvist.pk)
            assert [one.customer for one in rest] == [okafor]
            close_at(SEPTEMBER_END)

    def test_of_an_open_month_holds_what_was_posted_in_a_server_that_it_was_restored_from(
        self, lindqvist: Customer
    ) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("ALTER TABLE billing_ledgerentry ALTER COLUMN posted_in SET DEFAULT '900000000000'")
            make_entry(customer=lindqvist)
            cursor.execute("ALTER TABLE billing_ledgerentry ALTER COLUMN posted_in SET DEFAULT pg_current_xact_id()")
        (told,) = [one for one in statements.sheets_of(lindqvist) if one.entry_count]
        assert (told.closing_balance, len(list(statements.lines_of([told])))) == (10, 1)

    def test_of_an_open_month_names_nobody_who_came_after_it(self, fjord: Partner, lindqvist: Customer) -> None:
        newcomer = make_customer(partner=fjord)
        (month,) = [month for month in statements.months_of(fjord) if month.first == SEPTEMBER]
        assert [one.customer for one in statements.sheets_in(fjord, month)] == [lindqvist]
        assert statements.totals_of(fjord, month)[0].customer_count == 1
        assert statements.sheet_of(newcomer, SEPTEMBER) is None

    @pytest.mark.parametrize("reaches_back", [True, False])
    def test_of_an_open_month_is_of_one_moment_whoever_posts_meanwhile(
        self, fjord: Partner, lindqvist: Customer, reaches_back: bool
    ) -> None:
        if not reaches_back:
            close_at(SEPTEMBER_END)
        make_entry(customer=lindqvist)
        month = statements.months_of(fjord)[0]
        (told,) = statements.sheets_in(fjord, month)
        make_entry(customer=lindqvist)
        (total,) = statements.totals_of(fjord, month)
        listed = list(statements.lines_of([told]))
        assert told.entry_count == total.entry_count == len(listed) == 1
        assert told.closing_balance == total.closing_balance == listed[-1].balance == 10
        assert sheet(lindqvist, month.first).closing_balance == 20

    def test_asks_the_same_few_questions_for_many_customers(
        self, fjord: Partner, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(10):
            make_entry(customer=came_early(fjord), posted_at=SEPTEMBER_END - SECOND)
        for _ in range(2):
            (month,) = [month for month in statements.months_of(fjord) if month.first == SEPTEMBER]
            with django_assert_max_num_queries(4):
                assert len(statements.sheets_in(fjord, month)) == 10
            close_at(SEPTEMBER_END)
