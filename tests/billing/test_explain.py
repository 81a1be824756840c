"""What a customer is told about a charge: the whole text, as it is read.

Texts stand here in full, since what matters is how they read together.
"""

import json
import re
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from billing import corrections, cycle, item_changes
from billing.explain import UnknownKey, explain
from billing.models import CallRecord, Customer, LedgerEntry, QuarantinedCall
from tests.billing.at_once import real_commits
from tests.factories import (
    key_of,
    make_call,
    make_call_charge,
    make_customer,
    make_deck,
    make_entry,
    make_free_call,
    make_item,
    make_partner,
    make_quarantined_call,
    make_rate,
)

pytestmark = real_commits

ASTRID = "Astrid Holm"
EVENING = datetime(2026, 3, 29, 17, 30, tzinfo=UTC)  # half past seven in Berlin: summer time has begun that day
MOMENT = r"\w+day \d+ \w+ \d{4} at \d\d:\d\d:\d\d"


def told(key: str) -> list[str]:
    """The steps, with <now> for the moment at which something was posted."""
    today = timezone.now()
    days = "|".join(
        f"{day.day} {day:%B} {day.year}" for day in (today - timedelta(days=1), today + timedelta(days=1), today)
    )
    return [re.sub(rf"\w+day ({days}) at \d\d:\d\d:\d\d", "<now>", step) for step in explain(key).steps]


def bill(at: datetime | None = None) -> Any:
    return cycle.run_cycle(by=ASTRID, at=at or timezone.now())


def lindqvist(**fields: Any) -> Customer:
    return make_customer(
        **{"name": "Café Lindqvist", "account": "10001", "currency": "EUR", "timezone": "Europe/Berlin"} | fields
    )


def make_evening_call(customer: Customer | None, **fields: Any) -> CallRecord:
    return make_call(
        **{
            "customer": customer,
            "call_id": "leg-17",
            "from_number": "4930901820001",
            "to_number": "447700900123",
            "started_at": EVENING,
            "seconds": 61,
        }
        | fields
    )


class TestACharge:
    def test_is_told_from_the_call_to_the_balance(self) -> None:
        deck = make_deck(name="gold", currency="EUR")
        mobile = {"price_per_minute": Decimal("0.02"), "connect_fee": Decimal("0.05"), "first_increment": 30}
        make_rate(deck=deck, **mobile, increment=6)
        make_rate(deck=deck, prefix="44", destination="United Kingdom")
        make_rate(deck=deck, prefix="4", destination="")
        make_rate(deck=deck, prefix="4477", destination="ended the day before", valid_to=EVENING - timedelta(days=1))
        make_rate(deck=deck, prefix="33", destination="France")
        make_evening_call(lindqvist(rate_deck=deck))
        assert bill().calls_billed == 1

        assert told("call:pbx-north:leg-17") == [
            (
                "4930901820001 called 447700900123 on Sunday 29 March 2026 at 19:30:00 (Europe/Berlin), a call by Café"
                " Lindqvist (account 10001)."
            ),
            "It was answered at 19:30:05 and lasted 61 seconds (1:01); the switch pbx-north reported it as leg-17.",
            "Its price comes from the price list “gold”: the customer's own.",
            (
                "447700900123 begins with 447 (United Kingdom, mobile), the longest prefix in it that was valid"
                " when the call was answered. Shorter ones that would fit: 44 (United Kingdom), 4."
            ),
            "61 seconds (1:01) are billed as 66 seconds: at least 30, then in steps of 6.",
            "Price: 0.05 connection fee + 0.02 a minute × 66 / 60 = 0.072 EUR.",
            "Rounded once, to 4 decimals, half up: 0.072 EUR (nothing to round).",
            "On <now> it took 0.072 EUR from the balance of account 10001.",
        ]

    def test_tells_of_the_minimum_charge_and_of_rounding(self) -> None:
        deck = make_deck(name="gold", currency="EUR", decimals=2, rounding="up")
        make_rate(deck=deck, minimum_charge=Decimal("0.025"), price_per_minute=Decimal("0.02"))
        make_evening_call(lindqvist(rate_deck=deck))
        bill()
        assert told("call:pbx-north:leg-17")[4:8] == [
            "61 seconds (1:01) are billed as 61 seconds: second by second.",
            "Price: 0.02 a minute × 61 / 60 = 0.02033333… EUR.",
            "A call costs at least 0.025 EUR: so this one does.",
            "Rounded once, to 2 decimals, always up: 0.03 EUR.",
        ]

    def test_tells_that_the_minimum_was_reached(self) -> None:
        deck = make_deck(currency="EUR")
        make_rate(deck=deck, minimum_charge=Decimal("0.01"), first_increment=60, increment=60)
        make_evening_call(lindqvist(rate_deck=deck))
        bill()
        assert told("call:pbx-north:leg-17")[4:7] == [
            "61 seconds (1:01) are billed as 120 seconds: in steps of 60.",
            "Price: 0.03 a minute × 120 / 60 = 0.06 EUR.",
            "That is not below the minimum charge of 0.01 EUR.",
        ]

    def test_tells_whose_price_list_it_was(self) -> None:
        wholesale = make_deck(name="wholesale", currency="EUR")
        make_rate(deck=wholesale)
        fjord = make_partner(slug="fjord", name="Fjord", currency="EUR", rate_deck=wholesale)
        customer = lindqvist(partner=fjord)
        make_evening_call(customer)
        bill()
        key = "call:pbx-north:leg-17"
        assert told(key)[2] == (
            "Its price comes from the price list “wholesale”: that of Fjord, since the customer has none of its own."
        )

        Customer.objects.filter(pk=customer.pk).update(rate_deck=make_deck(name="gold", currency="EUR"))
        assert told(key)[2].endswith("“wholesale”: that of Fjord, as the customer then had none.")

        type(fjord).objects.filter(pk=fjord.pk).update(rate_deck=None)
        assert told(key)[2].endswith(
            "“wholesale”: the one that held for the customer when the call was billed; now it is another."
        )

    def test_of_an_incoming_call_goes_by_the_list_for_incoming_calls(self) -> None:
        deck = make_deck(name="freephone", currency="EUR")
        make_rate(deck=deck, prefix="49800", destination="Freephone")
        customer = lindqvist(inbound_deck=deck)
        make_evening_call(customer, direction="inbound", from_number="442079460001", to_number="4980012345")
        bill()
        steps = told("call:pbx-north:leg-17")
        assert steps[0].startswith("442079460001 called 4980012345")
        assert steps[0].endswith("(Europe/Berlin), an incoming call to Café Lindqvist (account 10001).")
        assert steps[2].endswith("“freephone”: the customer's own for incoming calls.")

    def test_says_that_a_longer_prefix_came_too_late(self) -> None:
        deck = make_deck(currency="EUR")
        make_rate(deck=deck)
        make_evening_call(lindqvist(rate_deck=deck))
        bill()
        make_rate(deck=deck, prefix="44770")
        assert told("call:pbx-north:leg-17")[3].endswith("(44770 was entered only after the call was billed.)")

    def test_says_that_it_was_taken_back_and_why(self) -> None:
        deck = make_deck(currency="EUR")
        make_rate(deck=deck)
        call = make_evening_call(lindqvist(rate_deck=deck))
        bill()
        key = "call:pbx-north:leg-17"
        corrections.reverse(key, reason="Nobody spoke", by=ASTRID)
        assert told(key)[-1] == f"Astrid Holm took it back on <now>: Nobody spoke. (reversal:{key})"
        assert told(f"reversal:{key}") == [
            (
                f"This takes back {key} (outbound call, 447700900123, United Kingdom, mobile), which took 0.0305"
                " EUR from the balance on <now>."
            ),
            "Astrid Holm decided so on <now>: Nobody spoke.",
            "On <now> it added 0.0305 EUR to the balance of account 10001.",
        ]

        first = LedgerEntry.objects.get(key=key)
        make_call_charge(
            call, key=f"{key}#2", amount=Decimal("-0.0305"), charge_number=2, rate_id=first.rate_id, billed_seconds=61
        )
        assert told(key)[-1] == f"It was charged again, 0.0305 EUR: {key}#2."
        again = told(f"{key}#2")
        assert again[:7] == told(key)[:7]
        assert again[-1] == "This is charge number 2 of the same cause: the one before was taken back."

    def test_tells_of_others_with_the_same_id(self) -> None:
        deck = make_deck(currency="EUR")
        make_rate(deck=deck)
        customer = lindqvist(rate_deck=deck)
        call = make_evening_call(customer)
        make_quarantined_call(
            make_evening_call(customer, seconds=3600, batch=call.batch), reason="conflicting_duplicate"
        )
        bill()
        assert told(key_of(call))[7] == (
            "Another record with the same id and other content is in quarantine (waiting): it was not charged."
        )
        assert explain(key_of(call)).outcome == "call"

    def test_does_without_what_is_gone(self) -> None:
        call = make_evening_call(lindqvist())
        make_call_charge(call, rate_id=0, description="outbound call, 447700900123")
        assert told(key_of(call))[0] == (
            "Outbound call, 447700900123. Its call record or its rate is not there any more."
        )


class TestAFreeCall:
    @pytest.mark.parametrize(
        ("reason", "why"),
        [
            ("not_answered", "nobody answered, and only answered calls cost something."),
            ("zero_seconds", "it lasted no second; then not even a connection fee is due."),
            ("internal", "it is an internal leg of the switch, not a call to anybody."),
            ("inbound", "incoming calls cost this customer nothing, as there is no price list for them."),
        ],
    )
    def test_says_why(self, reason: str, why: str) -> None:
        free = make_free_call(make_evening_call(lindqvist(), seconds=0, is_answered=False), reason=reason)
        assert explain(free.call_key).outcome == "free"
        assert told(free.call_key)[1:] == [
            "Nobody answered; the switch pbx-north reported it as leg-17.",
            f"The call is free: {why}",
        ]

    @pytest.mark.parametrize(
        ("price", "why"),
        [
            ("0", "the price list says zero for this destination."),
            ("0.00001", "its price is so small that it rounds to zero."),
        ],
    )
    def test_by_its_price_shows_how_that_is_made(self, price: str, why: str) -> None:
        deck = make_deck(currency="EUR")
        make_rate(deck=deck, price_per_minute=Decimal(price))
        make_evening_call(lindqvist(rate_deck=deck))
        assert bill().calls_free == 1
        steps = told("call:pbx-north:leg-17")
        assert steps[4] == "61 seconds (1:01) are billed as 61 seconds: second by second."
        assert steps[6].startswith("Rounded once, to 4 decimals, half up: 0.00 EUR")
        assert steps[-1] == f"The call is free: {why}"


class TestACallInQuarantine:
    def test_says_why_and_what_to_do(self) -> None:
        deck = make_deck(name="gold", currency="EUR")
        make_evening_call(lindqvist(rate_deck=deck))
        assert bill().calls_quarantined == 1
        assert told("call:pbx-north:leg-17")[2:] == [
            (
                "The call was not charged. The price list “gold” has no prefix for 447700900123 that was valid at"
                " the time of the call."
            ),
            "It has waited in quarantine since <now>.",
            "What to do: add a rate for it, valid at that time; the call then comes back by itself with the next run.",
        ]

        make_rate(deck=deck)
        bill()
        assert told("call:pbx-north:leg-17")[-2:] == [
            "Before, it had waited in quarantine since <now>: no rate.",
            "On <now> it took 0.0305 EUR from the balance of account 10001.",
        ]

    def test_says_what_exactly_is_wrong(self) -> None:
        call = make_evening_call(None)
        make_quarantined_call(call, reason="contradictory", detail="it ends before it starts")
        steps = told(key_of(call))
        assert steps[0] == (
            "4930901820001 called 447700900123 on Sunday 29 March 2026 at 17:30:00 (UTC), a call by nobody we know of."
        )
        assert steps[2] == ("The call was not charged. Its record contradicts itself. It ends before it starts.")
        assert steps[4].startswith("What to do: compare it with the switch. If it is to be charged as it stands,")

    def test_says_who_put_it_away(self) -> None:
        row = make_quarantined_call(state="dismissed", dismissed_by=ASTRID, dismissed_because="a test of the installer")
        assert told(row.call_key)[-1] == (
            "Astrid Holm put it away for good: A test of the installer. It is never charged."
        )

    @pytest.mark.parametrize("reason", [reason for reason, _ in QuarantinedCall._meta.get_field("reason").flatchoices])
    def test_has_words_for_every_reason(self, reason: str) -> None:
        row = make_quarantined_call(make_evening_call(lindqvist()), reason=reason, detail="")
        assert explain(row.call_key).outcome == "quarantine"
        assert told(row.call_key)[-1].startswith("What to do: ")

    def test_that_was_never_looked_at_waits_for_the_next_run(self) -> None:
        call = make_evening_call(lindqvist())
        assert explain(key_of(call)).outcome == "pending"
        assert told(key_of(call))[-1] == "It has not been billed yet: the next run does."


class TestAnItem:
    def test_is_told_from_its_days_to_the_balance(self) -> None:
        make_item(
            customer=lindqvist(),
            reference="trunk-7",
            amount=Decimal("9.99"),
            quantity=3,
            starts_on=date(2026, 3, 11),
            bill_cycle_day=1,
        )
        bill(datetime(2026, 3, 20, tzinfo=UTC))
        entry = LedgerEntry.objects.get()
        late = (entry.posted_at.astimezone(ZoneInfo(entry.customer.timezone)).date() - date(2026, 3, 11)).days
        assert told(entry.key) == [
            "SIP trunk (item trunk-7) of Café Lindqvist, account 10001: charged every month, in advance.",
            (
                "From 11 March 2026 to 31 March 2026: the days from the item's start to its first billing date, 1"
                " April 2026."
            ),
            "These are 21 of the 31 days of a whole period.",
            "Price: 9.99 × 3 × 21 / 31 = 20.30225806… EUR.",
            "Rounded once, to 2 decimals, half up: 20.30 EUR.",
            f"It was due on its first day, 11 March 2026, and caught up with {late} days later.",
            "On <now> it took 20.30 EUR from the balance of account 10001.",
        ]

    @pytest.mark.parametrize(
        ("fields", "at", "step", "text"),
        [
            ({}, (3, 2), 1, "From 1 March 2026 to 31 March 2026: a whole period of one month."),
            ({"interval_count": 2}, (3, 2), 0, "every 2 months, in advance."),
            ({"interval_count": 2}, (3, 2), 1, "to 30 April 2026: a whole period of 2 months."),
            ({"ends_on": date(2026, 3, 11)}, (3, 2), 1, "from its last billing date to its end on 11 March 2026."),
            (
                {"bill_cycle_day": 20, "ends_on": date(2026, 3, 11)},
                (3, 2),
                1,
                "all its days, since it ended before its first billing date.",
            ),
            ({"ends_on": date(2026, 3, 11), "proration": "fixed_30"}, (3, 2), 2, "these are 10 of 30."),
            ({"ends_on": date(2026, 3, 11), "proration": "none"}, (3, 2), 2, "this one is charged in full."),
            (
                {"starts_on": date(2026, 2, 28), "bill_cycle_day": 31, "ends_on": date(2026, 3, 30)},
                (3, 2),
                2,
                "These are 30 days, and 28 of them are charged: no parts of a period cost more than a whole one, which",
            ),
            ({"timing": "arrears"}, (4, 2), 3, "It was due when its last day was over, on 1 April 2026, and caught"),
            ({"amount": 10}, (3, 2), 2, "Price: 10.00 = 10.00 GBP."),
            ({"kind": "one_off"}, (3, 2), 0, "charged once, on 1 March 2026."),
            ({"kind": "one_off", "quantity": Decimal("2.5")}, (3, 2), 1, "Price: 10.00 × 2.5 = 25.00 GBP."),
            ({"kind": "one_off"}, (3, 2), 2, "It was due on 1 March 2026, and caught up with"),
            ({"amount": -5}, (3, 2), 4, "it added 5.00 GBP to the balance"),
            ({"amount": 0}, (3, 2), 4, "it left the balance of account"),
        ],
    )
    def test_is_told_by_its_kind(self, fields: dict[str, Any], at: tuple[int, int], step: int, text: str) -> None:
        item = make_item(reference="trunk-7", **fields)
        bill(datetime(2026, *at, 12, tzinfo=UTC))
        assert text in told(f"item:trunk-7:{item.starts_on}")[step]

    def test_tells_since_when_it_costs_so_much_and_of_pauses(self) -> None:
        make_item(reference="trunk-7", customer=lindqvist())
        item_changes.change_amount("trunk-7", Decimal(12), from_date=date(2026, 4, 1), by=ASTRID)
        item_changes.pause("trunk-7", from_date=date(2026, 4, 11), by=ASTRID)
        item_changes.resume("trunk-7", from_date=date(2026, 4, 21), by=ASTRID)
        bill(datetime(2026, 4, 22, tzinfo=UTC))
        assert told("item:trunk-7:2026-04-01")[1:4] == [
            (
                "From 1 April 2026 to 10 April 2026: a part of a period; it was paused from 11 April 2026 to 20"
                " April 2026."
            ),
            "These are 10 of the 30 days of a whole period.",
            "It costs 12.00 EUR since 1 April 2026.",
        ]

    def test_that_ended_tells_what_was_given_back(self) -> None:
        make_item(reference="trunk-7", customer=lindqvist(), amount=31)
        bill(datetime(2026, 3, 20, tzinfo=UTC))
        item_changes.end("trunk-7", on=date(2026, 3, 15), by=ASTRID, with_credit=True)
        assert told("credit:item:trunk-7:2026-03-15") == [
            "Something is given back to Café Lindqvist, account 10001: SIP trunk: ended on 2026-03-15.",
            "2026-03-01 to 2026-03-31 was charged 31.00, and costs 14.00 until 2026-03-15.",
            "Astrid Holm ended it on <now>.",
            "On <now> it added 17.00 EUR to the balance of account 10001.",
        ]


class TestEveryOtherEntry:
    @pytest.mark.parametrize(
        ("fields", "text"),
        [
            (
                {"key": "payment:bank:4711 %23a", "description": "standing order"},
                [
                    (
                        "A payment of 10.00 EUR by Café Lindqvist, account 10001, received on Monday 2 March 2026"
                        " at 10:30:00 (bank 4711 #a)."
                    ),
                    "Standing order.",
                ],
            ),
            (
                {"key": "payment:bank:4712", "kind": "refund", "amount": Decimal("-10")},
                [
                    (
                        "A refund of 10.00 EUR to Café Lindqvist, account 10001, paid on Monday 2 March 2026 at"
                        " 10:30:00 (bank 4712)."
                    )
                ],
            ),
            (
                {"key": "opening:10001", "kind": "opening"},
                ["The balance that Café Lindqvist, account 10001, brought along when the account came to Ivy."],
            ),
        ],
    )
    def test_says_what_it_is(self, fields: dict[str, Any], text: list[str]) -> None:
        entry = make_entry(customer=lindqvist(), **fields)
        assert told(entry.key)[:-1] == text

    def test_that_somebody_posted_says_who_and_why(self) -> None:
        at = datetime(2026, 3, 2, 9, 30, tzinfo=UTC)
        lindqvist()
        for amount, whose in (("5.00", "in favour of"), ("-5.00", "owed by")):
            entry = corrections.adjust(
                "10001", Decimal(amount), reference=f"T-{amount}", reason="Goodwill", by=ASTRID, at=at
            ).entry
            assert told(entry.key)[:-1] == [
                f"An adjustment of 5.00 EUR {whose} Café Lindqvist, account 10001 (T-{amount}).",
                f"Adjustment T-{amount}.",
                "Astrid Holm posted it on <now>: Goodwill.",
            ]


class TestTheCommand:
    def test_tells_people_in_numbered_steps_and_programs_in_json(self, capsys: pytest.CaptureFixture[str]) -> None:
        make_entry(customer=lindqvist(), key="opening:10001", kind="opening")
        call_command("explain", "opening:10001")
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == "opening:10001"
        assert lines[1].startswith(" 1. The balance that Café Lindqvist")
        call_command("explain", "opening:10001", "--json")
        answer = json.loads(capsys.readouterr().out)
        assert (answer["key"], answer["outcome"]) == ("opening:10001", "opening")
        assert len(answer["steps"]) == len(lines) - 1

    @pytest.mark.parametrize("key", ["", "call:pbx-north:leg-0", "call:", "item:trunk-7:2026-03-01", "nonsense", "%#"])
    def test_refuses_an_unknown_key(self, key: str) -> None:
        with pytest.raises(UnknownKey):
            explain(key)
        with pytest.raises(CommandError, match="Nothing has the key") as refusal:
            call_command("explain", key)
        assert refusal.value.returncode == 2
