"""Charging calls again after a price list was wrong: each call once, at the price of today, and nothing else."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from billing import corrections, cycle, halting, rerating
from billing.models import (
    CallRecord,
    Customer,
    CustomerBalance,
    FreeCall,
    LedgerEntry,
    Process,
    Rate,
    RateDeck,
    Rerating,
    Rounding,
)
from billing.reconcile import checks
from billing.rerating import Outcome, Scope
from tests.billing.at_once import at_once, locked_balances, real_commits
from tests.factories import (
    MORNING,
    harbour,
    key_of,
    make_call,
    make_customer,
    make_deck,
    make_partner,
    make_rate,
    standard_deck,
)

DAY = Scope(MORNING - timedelta(hours=12), MORNING + timedelta(hours=12))
NOON = datetime(2026, 5, 15, 12, tzinfo=UTC)
SOMEBODY = {"reason": "The new deck charged mobiles as landlines.", "by": "astrid.holm@example.com"}


def bill() -> None:
    assert cycle.run_cycle(by="tests", at=NOON).errors == []


def rerate(scope: Scope = DAY) -> Outcome:
    return rerating.rerate(scope, **SOMEBODY)


def on_deck(price: str = "0.03", **fields: Any) -> Customer:
    """A customer with a deck of its own, on which British mobiles cost so much a minute."""
    deck = make_deck()
    make_rate(deck=deck, price_per_minute=Decimal(price))
    return make_customer(rate_deck=deck, **fields)


def call_of(customer: Customer, **fields: Any) -> CallRecord:
    return make_call(**{"customer": customer, "to_number": "447700900123"} | fields)


def correct(customer: Customer, price: str, prefix: str = "44770") -> None:
    """A longer prefix, valid all the time, that says what the deck should have said."""
    assert customer.rate_deck is not None
    make_rate(deck=customer.rate_deck, prefix=prefix, price_per_minute=Decimal(price))


def entries(call: CallRecord) -> list[tuple[str, Decimal]]:
    """The call's entries in the order of posting: the kind, and how much they took."""
    key = key_of(call)
    found = LedgerEntry.objects.filter(key__contains=key).order_by("pk").values_list("kind", "amount")
    return [(kind, -amount) for kind, amount in found]


def drift() -> list[str]:
    """What `reconcile` finds, save that calls made by hand were not counted on arrival."""
    return [
        f"{rule.name}: {found}"
        for rule, count, found in checks()
        if count and rule.name != "deliveries_count_what_is_stored"
    ]


def balance(customer: Customer) -> Decimal:
    return CustomerBalance.objects.get(customer=customer).balance


@real_commits
class TestACallChargedWrong:
    def test_is_reversed_and_charged_again_once(self) -> None:
        okafor = on_deck("0.03", balance=Decimal(10))
        call = call_of(okafor)
        bill()
        correct(okafor, "0.05")
        done = rerate()
        assert (done.looked_at, done.reversed, done.charged, done.amount) == (1, 1, 1, {"GBP": Decimal("0.02")})
        assert entries(call) == [
            ("call", Decimal("0.03")),
            ("reversal", Decimal("-0.03")),
            ("call", Decimal("0.05")),
        ]
        assert balance(okafor) == Decimal("9.95")
        again = rerate()
        assert (again.looked_at, again.reversed, again.charged, again.amount) == (1, 0, 0, {})
        bill()
        assert balance(okafor) == Decimal("9.95")
        assert drift() == []

    def test_keeps_when_it_was_and_says_who_decided_and_why(self) -> None:
        okafor = on_deck()
        call = call_of(okafor)
        bill()
        correct(okafor, "0.05")
        rerate()
        entered = Rerating.objects.get()
        for entry in LedgerEntry.objects.filter(rerating_id=entered.pk):
            assert (entry.occurred_at, entry.booked_month) == (call.started_at, call.booked_month)
            assert entry.reason == f"Re-rating {entered.pk}: {SOMEBODY['reason']}"
            assert entry.entered_by == SOMEBODY["by"]
        charged = LedgerEntry.objects.get(key=f"{key_of(call)}#2")
        rate = Rate.objects.get(prefix="44770")
        assert (charged.charge_number, charged.rate_id, charged.billed_seconds) == (2, rate.pk, 60)
        assert (entered.reversed_count, entered.charged_count, entered.amount) == (1, 1, {"GBP": "0.020000"})
        assert entered.ended_at is not None

    def test_may_be_wrong_again(self) -> None:
        okafor = on_deck()
        call = call_of(okafor)
        bill()
        for number, price in ((2, "0.05"), (3, "0.01")):
            correct(okafor, price, prefix="4477009"[: 3 + number])
            rerate()
            assert LedgerEntry.objects.filter(key=f"{key_of(call)}#{number}").exists()
        assert balance(okafor) == Decimal("-0.01")
        assert drift() == []

    def test_is_judged_by_the_balance_that_follows(self) -> None:
        okafor = on_deck("0.03", balance=Decimal(10))
        okafor.alerts.update(threshold=Decimal("9.96"))
        call_of(okafor)
        bill()
        correct(okafor, "0.05")
        rerate()
        assert cycle.run_cycle(by="tests", at=NOON).episodes_opened == 1

    def test_may_have_an_id_with_signs_of_keys_in_it(self) -> None:
        okafor = on_deck()
        calls = [call_of(okafor, call_id=name) for name in ("leg#2", "leg", "leg#1#3", "leg%23")]
        bill()
        correct(okafor, "0.05")
        assert rerate().charged == 4
        for call in calls:
            assert LedgerEntry.objects.filter(key=f"{key_of(call)}#2").exists()
        assert rerate().charged == 0
        assert drift() == []


@real_commits
class TestACallThatCostsNothingToday:
    def test_is_reversed_and_charged_again_when_it_does_cost_something(self) -> None:
        okafor = on_deck()
        call = call_of(okafor)
        bill()
        correct(okafor, "0")
        done = rerate()
        assert (done.reversed, done.charged, done.amount) == (1, 0, {"GBP": Decimal("-0.03")})
        assert rerate().reversed == 0
        assert balance(okafor) == 0
        correct(okafor, "0.04", prefix="447700")
        assert rerate().amount == {"GBP": Decimal("0.04")}
        assert [amount for _, amount in entries(call)] == [Decimal("0.03"), Decimal("-0.03"), Decimal("0.04")]
        assert drift() == []

    def test_was_free_by_its_rate_and_is_charged_when_the_rate_was_wrong(self) -> None:
        okafor = on_deck("0")
        call = call_of(okafor)
        bill()
        assert FreeCall.objects.get().reason == "zero_rate"
        correct(okafor, "0.05")
        assert rerate().charged == 1
        assert entries(call) == [("call", Decimal("0.05"))]
        assert not FreeCall.objects.exists()
        bill()
        assert drift() == []


@pytest.mark.django_db
class TestLeftAlone:
    @pytest.mark.parametrize("price", ["0.03", "0.03001"])
    def test_is_what_costs_the_same(self, price: str) -> None:
        okafor = on_deck()
        call_of(okafor)
        bill()
        correct(okafor, price)
        done = rerate()
        assert (done.looked_at, done.reversed, done.charged) == (1, 0, 0)

    def test_is_what_a_person_has_reversed(self) -> None:
        okafor = on_deck()
        call = call_of(okafor)
        bill()
        corrections.reverse(key_of(call), **SOMEBODY)
        correct(okafor, "0.05")
        assert rerate().charged == 0
        assert balance(okafor) == 0

    @pytest.mark.parametrize(
        "fields",
        [
            {"is_answered": False, "answered_at": None, "seconds": 0},
            {"is_internal": True},
            {"direction": "inbound", "from_number": "447700900123"},
        ],
        ids=["not answered", "internal", "inbound"],
    )
    def test_is_what_was_free_by_another_rule(self, fields: dict[str, Any]) -> None:
        okafor = on_deck()
        call_of(okafor, **fields)
        bill()
        assert FreeCall.objects.count() == 1
        if "direction" in fields:
            Customer.objects.filter(pk=okafor.pk).update(inbound_deck=okafor.rate_deck)
        assert rerate().charged == 0
        assert FreeCall.objects.count() == 1

    def test_is_what_has_no_price_today_and_it_says_so(self) -> None:
        okafor = on_deck()
        call_of(okafor)
        bill()
        other = make_deck()
        make_rate(deck=other, prefix="1")
        Customer.objects.filter(pk=okafor.pk).update(rate_deck=other)
        done = rerate()
        assert (done.reversed, done.left) == (0, {"no_rate": 1})
        assert balance(okafor) == Decimal("-0.03")

    def test_is_what_waits_in_quarantine_or_was_not_billed_yet(self) -> None:
        okafor = on_deck()
        call_of(okafor, to_number="999")
        bill()
        call_of(okafor)
        correct(okafor, "0.05")
        assert rerate().looked_at == 0
        bill()
        assert balance(okafor) == Decimal("-0.05")

    def test_is_what_was_answered_before_or_at_the_end(self) -> None:
        okafor = on_deck()
        for seconds in (0, 1, 3599, 3600):
            at = MORNING + timedelta(seconds=seconds)
            call_of(okafor, started_at=at - timedelta(days=1), answered_at=at)
        bill()
        correct(okafor, "0.05")
        within = Scope(MORNING + timedelta(seconds=1), MORNING + timedelta(hours=1))
        assert rerate(within).charged == 2

    def test_is_what_belongs_to_others(self) -> None:
        okafor, lindqvist = on_deck(), on_deck()
        for customer in (okafor, lindqvist):
            call_of(customer)
        bill()
        for customer in (okafor, lindqvist):
            correct(customer, "0.05")
        assert rerate(Scope(DAY.since, DAY.until, customer=okafor)).charged == 1
        assert rerate(Scope(DAY.since, DAY.until, deck=okafor.rate_deck)).looked_at == 1
        assert (balance(okafor), balance(lindqvist)) == (Decimal("-0.05"), Decimal("-0.03"))


@real_commits
class TestADeck:
    def test_may_be_the_one_that_charged_or_the_one_that_would_charge_now(self) -> None:
        okafor = on_deck("0.03")
        call_of(okafor)
        bill()
        wrong, right = okafor.rate_deck, make_deck(rounding=Rounding.UP, decimals=2)
        assert wrong is not None
        make_rate(deck=right, price_per_minute=Decimal("0.041"))
        Customer.objects.filter(pk=okafor.pk).update(rate_deck=right)
        for deck in (wrong, right):
            assert rerating.preview(Scope(DAY.since, DAY.until, deck=deck), at=NOON).amount == {"GBP": Decimal("0.02")}
        assert rerating.preview(Scope(DAY.since, DAY.until, deck=make_deck()), at=NOON).looked_at == 0
        assert rerate(Scope(DAY.since, DAY.until, deck=wrong)).charged == 1
        assert balance(okafor) == Decimal("-0.05")
        assert drift() == []

    def test_changed_at_midnight_prices_the_calls_of_each_day_by_its_rates(self) -> None:
        deck = standard_deck()
        midnight = datetime(2026, 3, 2, tzinfo=UTC)
        make_rate(price_per_minute=Decimal("0.03"))
        okafor = make_customer(rate_deck=deck)
        for second in (-1, 0):
            call_of(okafor, started_at=midnight - timedelta(hours=1), answered_at=midnight + timedelta(seconds=second))
        bill()
        make_rate(prefix="4477", price_per_minute=Decimal("0.05"), valid_from=midnight)
        assert rerate(Scope(midnight - timedelta(days=1), midnight + timedelta(days=1))).amount == {
            "GBP": Decimal("0.02")
        }


@real_commits
class TestAPreview:
    def test_tells_just_what_the_rerating_does(self) -> None:
        customers = [on_deck(f"{(n + 1) / 100}") for n in range(12)]
        for n, customer in enumerate(customers):
            for _ in range(n + 1):
                call_of(customer)
        bill()
        for customer in customers:
            correct(customer, "0.04")
        said = rerating.preview(DAY, at=NOON)
        assert not Rerating.objects.exists()
        done = rerate()
        assert said.top_customers == done.top_customers
        assert len(said.top_customers) == rerating.TOP_CUSTOMERS
        assert said.top_customers[0] == (customers[11].account, "GBP", Decimal("-0.96"))
        for name in ("looked_at", "reversed", "charged", "customers", "amount", "left"):
            assert getattr(said, name) == getattr(done, name), name
        assert (done.looked_at, done.reversed) == (78, 74)  # four cost four pence before


@real_commits
class TestHalted:
    def test_for_everyone_writes_nothing(self) -> None:
        okafor = on_deck()
        call_of(okafor)
        bill()
        correct(okafor, "0.05")
        halting.halt(Process.CALLS, **SOMEBODY)
        with pytest.raises(halting.ProcessHalted):
            rerate()
        assert not Rerating.objects.exists()
        assert rerating.preview(DAY, at=NOON).charged == 1

    def test_for_a_partner_leaves_its_customers_for_later(self) -> None:
        okafor, lindqvist = on_deck(), on_deck(partner=make_partner(slug="fjord"))
        for customer in (okafor, lindqvist):
            call_of(customer)
        bill()
        for customer in (okafor, lindqvist):
            correct(customer, "0.05")
        halting.halt(Process.CALLS, partner=harbour(), **SOMEBODY)
        done = rerate()
        assert (done.charged, done.halted) == (1, ["harbour"])
        halting.resume(Process.CALLS, partner=harbour(), **SOMEBODY)
        later = rerate()
        assert (later.rerating, later.charged) == (done.rerating, 1)
        entered = Rerating.objects.get()
        assert (entered.charged_count, entered.amount) == (2, {"GBP": "0.040000"})
        assert balance(okafor) == balance(lindqvist) == Decimal("-0.05")


@real_commits
class TestSeveralAtOnce:
    def test_correct_each_call_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rerating, "CALLS_AT_A_TIME", 3)
        customers = [on_deck() for _ in range(5)]
        for customer in customers:
            for _ in range(4):
                call_of(customer)
        bill()
        for customer in customers:
            correct(customer, "0.05")
        done = at_once(*[rerate] * 3)
        assert sum(one.charged for one in done) == 20
        assert {balance(customer) for customer in customers} == {Decimal("-0.20")}
        assert drift() == []

    def test_go_on_where_one_was_interrupted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rerating, "CALLS_AT_A_TIME", 1)
        okafor = on_deck()
        for _ in range(5):
            call_of(okafor)
        bill()
        correct(okafor, "0.05")

        def pull_the_plug(calls: int) -> None:
            if LedgerEntry.objects.filter(charge_number=2).count() == 3:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            rerating.rerate(DAY, **SOMEBODY, progress=pull_the_plug)
        interrupted = Rerating.objects.get()
        assert (interrupted.ended_at, interrupted.charged_count) == (None, 3)
        assert (rerate().rerating, balance(okafor)) == (interrupted.pk, Decimal("-0.25"))
        interrupted.refresh_from_db()
        assert (interrupted.charged_count, interrupted.reversed_count) == (5, 5)
        assert rerate().rerating != interrupted.pk

    def test_give_up_on_customers_that_stay_busy(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rerating, "TRIES", 1)
        okafor = on_deck()
        call_of(okafor)
        bill()
        correct(okafor, "0.05")
        with locked_balances(okafor.pk), pytest.raises(rerating.CallsBusy):
            rerate()
        assert rerate().charged == 1


@real_commits
class TestTheCommand:
    def test_answers_with_what_was_corrected(self, capsys: pytest.CaptureFixture[str]) -> None:
        okafor = on_deck(account="10001")
        call_of(okafor)
        bill()
        correct(okafor, "0.05")
        said = command("--account=10001", "--dry-run", capsys=capsys)
        done = command("--account=10001", "--reason=Wrong deck.", capsys=capsys)
        foretold = {
            "charges": [{"kind": "call", "count": 1, "amount": {"GBP": "0.02"}}],
            "episodes_to_open": 0,  # it is open already, and its mail is owed
            "mails": 1,
        }
        assert said == {**done, **foretold, "rerating": None}
        assert done == {
            "rerating": Rerating.objects.get().pk,
            "calls": 1,
            "customers": 1,
            "reversed": 1,
            "charged": 1,
            "amount": {"GBP": "0.02"},
            "left": {},
            "halted": [],
            "top_customers": [{"account": "10001", "amount": {"GBP": "0.02"}}],
        }

    def test_exits_with_3_while_calls_are_halted(self, capsys: pytest.CaptureFixture[str]) -> None:
        halting.halt(Process.CALLS, **SOMEBODY)
        with pytest.raises(SystemExit) as left:
            command(capsys=capsys)
        assert left.value.code == 3
        assert "halted" in json.loads(capsys.readouterr().out)["error"]

    @pytest.mark.parametrize(
        ("words", "complaint"),
        [
            (["--from=2026-03-03"], "is not before"),
            (["--from=yesterday"], "is no time"),
            (["--account=nobody"], "There is no customer"),
            (["--deck=nothing"], "There is no rate deck"),
        ],
    )
    def test_refuses_what_it_does_not_know(
        self, words: list[str], complaint: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(CommandError, match=complaint) as refused:
            command(*words, capsys=capsys)
        assert refused.value.returncode == 2

    def test_tells_a_person_in_sentences(self, capsys: pytest.CaptureFixture[str]) -> None:
        okafor = on_deck(account="10001")
        call_of(okafor)
        call_of(okafor, to_number="447800900123")
        bill()
        correct(okafor, "0.05")
        RateDeck.objects.filter(pk=okafor.rate_deck_id).update(decimals=4)
        call_command("rerate", "--from=2026-03-01", "--to=2026-03-05", "--dry-run")
        assert capsys.readouterr().out.splitlines() == [
            "A re-rating: 2 calls, 1 charges would be reversed, 1 would be posted.",
            "Charged more than before (negative: less): 0.02 GBP, for 1 customers.",
            "  10001: 0.02 GBP",
            "0 episodes would open, and 1 mails go out.",
        ]


def command(*words: str, capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    capsys.readouterr()
    call_command("rerate", "--from=2026-03-01", "--to=2026-03-03", *words, "--json")
    answer: dict[str, Any] = json.loads(capsys.readouterr().out)
    return answer
