"""Every rule that the database holds by name, broken once; and a list of all its rules, so that none goes untested.

A breach is tried as anybody could try it: by the ORM, by `bulk_create`, by `update()`, by SQL. What must appear is the
rule's name, since that is what the person on call sees at night.
"""

import uuid
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any, NamedTuple

import psycopg
import pytest
from django.db import DataError, IntegrityError, connection, models, transaction

from billing.models import (
    BalanceAlert,
    BatchKind,
    BillingItem,
    CallsByHour,
    Customer,
    CustomerBalance,
    CustomerToJudge,
    HaltCause,
    IdentityKind,
    ItemKind,
    ItemPause,
    LedgerEntry,
    LedgerSum,
    LedgerSumMark,
    MendedCause,
    Process,
    QuarantineState,
    RateDeck,
    Rerating,
    RunState,
    SwitchHistory,
)
from tests.billing.at_once import at_once, real_commits
from tests.factories import (
    MARCH_BEGIN,
    MARCH_END,
    MORNING,
    harbour,
    make_alert,
    make_batch,
    make_call,
    make_call_charge,
    make_chunk,
    make_closing,
    make_customer,
    make_deck,
    make_default_alert,
    make_delivery,
    make_entry,
    make_episode,
    make_free_call,
    make_identity,
    make_item,
    make_partner,
    make_pause,
    make_period,
    make_price_change,
    make_quarantined_call,
    make_rate,
    make_recipient,
    make_reversal,
    make_run,
    make_source,
    make_statement,
    make_sum,
    make_sum_mark,
    make_switch,
    make_unparsable_line,
    make_worker,
    standard_deck,
)
from tests.faults.processes import another_connection

pytestmark = pytest.mark.django_db

MARCH_MIDDLE = date(2026, 3, 15)
FAR_AHEAD = datetime(2126, 1, 1, tzinfo=UTC)
LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)


def sql(statement: str, *values: object) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def update(row: models.Model, **fields: Any) -> None:
    """Change the row as `update()` does: past `save()`, `clean()` and every validator."""
    changed = type(row)._default_manager.filter(pk=row.pk).update(**fields)
    assert changed == 1


def without_triggers(statement: str, *values: object) -> None:
    """Run the statement as a restore does; what is left are the rules of the rows themselves."""
    sql("SET LOCAL session_replication_role = replica")
    sql(statement, *values)


def committed(breach: Callable[[], object]) -> None:
    """Try the breach as far as a commit would come, rules included that are looked at only then."""
    with transaction.atomic():
        breach()
        sql("SET CONSTRAINTS ALL IMMEDIATE")


def broken_rule(breach: Callable[[], object]) -> str | None:
    """The name of the rule that the database says the breach broke."""
    with pytest.raises(IntegrityError) as refusal:
        committed(breach)
    assert refusal.value.__cause__ is not None
    name: str | None = refusal.value.__cause__.diag.constraint_name  # type: ignore[attr-defined]
    return name


class Breach(NamedTuple):
    rule: str
    because: str
    breach: Callable[[], object]


# The smallest pieces that several breaches are made of.


def charge_of_march() -> LedgerEntry:
    """A recurring charge, as a run writes it."""
    item = make_item()
    period = make_period(item=item)
    return make_entry(customer=item.customer, kind="recurring", key=period.entry_key, amount=Decimal(-10))


def charge_again(entry: LedgerEntry, number: int, **fields: Any) -> LedgerEntry:
    return make_entry(
        customer=entry.customer,
        **{"kind": entry.kind, "key": f"{entry.key}#{number}", "amount": entry.amount, "charge_number": number}
        | fields,
    )


def charge_march_around(pause: ItemPause) -> ItemPause:
    """The period of March, of which nine days were charged."""
    make_period(item=pause.item, days=9, whole_days=31, kind="partial")
    return pause


def ended_with_a_credit() -> BillingItem:
    """Its March was charged, and the second half of it given back."""
    item = make_period().item
    update(item, ends_on=date(2026, 3, 16))
    make_entry(customer=item.customer, kind="credit", key=f"credit:item:{item.reference}:2026-03-16", amount=Decimal(5))
    return item


def reverse_for_somebody_else() -> None:
    entry = make_entry()
    make_reversal(LedgerEntry(key=entry.key, amount=entry.amount, customer=make_customer(), occurred_at=MORNING))


def close(customer: Customer) -> Customer:
    update(customer, status="closed", closed_at=MORNING)
    return customer


def twice(make: Callable[..., object], **fields: Any) -> None:
    make(**fields)
    make(**fields)


LEDGER = [
    Breach("one_entry_per_key", "a cause is charged once", lambda: twice(make_entry, key="payment:bank:7")),
    Breach("entry_kind_is_known", "a kind that nobody exports", lambda: make_entry(kind="gift")),
    Breach("only_items_may_cost_nothing", "a payment of nothing", lambda: make_entry(amount=0)),
    Breach(
        "call_charges_have_a_rate_and_seconds",
        "explained by nothing",
        lambda: make_call_charge(make_call(), rate_id=None),
    ),
    Breach(
        "call_charges_have_a_rate_and_seconds",
        "no seconds cost nothing",
        lambda: make_call_charge(make_call(), billed_seconds=0),
    ),
    Breach(
        "call_charges_have_a_rate_and_seconds",
        "a call that costs nothing is free, with a reason, and no charge",
        lambda: make_call_charge(make_call(), amount=Decimal(0)),
    ),
    Breach(
        "call_charges_have_a_rate_and_seconds",
        "a call never pays the customer",
        lambda: make_call_charge(make_call(), amount=Decimal("0.03")),
    ),
    Breach(
        "corrections_have_a_reason_and_a_name",
        "an adjustment without a reason",
        lambda: make_entry(kind="adjustment", entered_by="astrid.holm@example.com"),
    ),
    Breach(
        "corrections_have_a_reason_and_a_name",
        "a reversal that nobody entered",
        lambda: make_reversal(make_entry(), entered_by=""),
    ),
    Breach(
        "charges_are_numbered_from_one",
        "the first charge is number one",
        lambda: charge_again(charge_of_march(), 0),
    ),
    Breach(
        "billing_ledgerentry_charge_number_check", "and none before it", lambda: charge_again(charge_of_march(), -1)
    ),
    Breach(
        "booked_month_is_the_month_it_occurred",
        "booked in April what occurred in March",
        lambda: make_entry(occurred_at=MORNING, booked_month=MARCH_END),
    ),
    Breach(
        "booked_month_is_the_month_it_occurred",
        "half past midnight in Berlin is still March in UTC",
        lambda: make_entry(occurred_at=datetime(2026, 3, 31, 22, 30, tzinfo=UTC), booked_month=MARCH_END),
    ),
    Breach(
        "entries_move_a_balance_of_their_currency",
        "euros for a customer who pays in pounds",
        lambda: make_entry(currency="EUR"),
    ),
    Breach(
        "entries_move_a_balance_of_their_currency",
        "one in euros among others in pounds: none is posted",
        lambda: LedgerEntry.objects.bulk_create(
            LedgerEntry(
                customer=make_customer(),
                key=f"payment:bank:{number}",
                kind="payment",
                amount=5,
                currency=currency,
                occurred_at=MORNING,
                booked_month=MARCH_BEGIN,
            )
            for number, currency in enumerate(["GBP", "EUR", "GBP"])
        ),
    ),
    Breach(
        "entries_move_a_balance_of_their_currency",
        "an entry of nobody",
        lambda: make_entry(customer=Customer(pk=0, currency="GBP")),
    ),
    Breach(
        "reversals_and_only_they_reverse",
        "a reversal of nothing in particular",
        lambda: make_reversal(make_entry(), reverses=None),
    ),
    Breach(
        "reversals_and_only_they_reverse",
        "a payment is no reversal",
        lambda: make_entry(reverses=make_entry().key),
    ),
    Breach(
        "reversals_are_the_opposite_entry",
        "half of it",
        lambda: make_reversal(make_entry(amount=10), amount=Decimal(-5)),
    ),
    Breach(
        "reversals_are_the_opposite_entry",
        "the same again instead of the opposite",
        lambda: make_reversal(make_entry(amount=10), amount=Decimal(10)),
    ),
    Breach(
        "reversals_are_the_opposite_entry",
        "of an entry that was never posted",
        lambda: make_reversal(make_entry(), reverses="payment:bank:never"),
    ),
    Breach("reversals_are_the_opposite_entry", "of somebody else's entry", reverse_for_somebody_else),
    Breach(
        "reversals_are_the_opposite_entry",
        "a reversal is final",
        lambda: make_reversal(make_reversal(make_entry())),
    ),
    Breach(
        "one_reversal_per_entry",
        "the money would come back twice",
        lambda: [make_reversal(entry, key=f"reversal:{n}") for entry in [make_entry()] for n in range(2)],
    ),
    Breach(
        "charging_again_needs_a_reversal",
        "the first charge still stands",
        lambda: charge_again(charge_of_march(), 2),
    ),
    Breach(
        "charging_again_needs_a_reversal",
        "the third time needs the reversal of the second",
        lambda: [(make_reversal(entry), charge_again(entry, 3)) for entry in [charge_of_march()]],
    ),
    Breach(
        "charging_again_needs_a_reversal",
        "the number is not the one in the key",
        lambda: [(make_reversal(entry), charge_again(entry, 2, key=f"{entry.key}#3")) for entry in [charge_of_march()]],
    ),
    Breach(
        "balances_move_only_with_the_ledger",
        "a balance without entries",
        lambda: update(make_customer().balance_row, balance=1_000),
    ),
    Breach(
        "balances_move_only_with_the_ledger",
        "a balance in another currency",
        lambda: update(make_customer().balance_row, currency="EUR"),
    ),
    Breach(
        "balances_move_only_with_the_ledger",
        "even where the amount stays the same",
        lambda: sql("UPDATE billing_customerbalance SET balance = balance"),
    ),
]

CUSTOMERS = [
    Breach("billing_customer_account_key", "an account is one customer's", lambda: twice(make_customer, account="C1")),
    Breach("customer_status_is_known", "a status without a rule", lambda: make_customer(status="dormant")),
    Breach("credit_limit_is_not_negative", "a limit above zero", lambda: make_customer(credit_limit=-1)),
    Breach(
        "closed_customers_and_only_they_have_a_closing_time",
        "closed, but when?",
        lambda: without_triggers("UPDATE billing_customer SET status = 'closed' WHERE id = %s", make_customer().pk),
    ),
    Breach(
        "closed_customers_and_only_they_have_a_closing_time",
        "active, but closed",
        lambda: without_triggers("UPDATE billing_customer SET closed_at = now() WHERE id = %s", make_customer().pk),
    ),
    Breach(
        "balance_has_the_customers_currency",
        "what is owed in pounds is not owed in euros",
        lambda: update(make_customer(), currency="EUR"),
    ),
    Breach(
        "balance_has_the_customers_currency",
        "a customer who has a balance stays",
        lambda: sql("DELETE FROM billing_customer WHERE id = %s", make_customer().pk),
    ),
    Breach(
        "deck_has_the_customers_currency",
        "prices in euros for a customer who pays in pounds",
        lambda: make_customer(rate_deck=make_deck(currency="EUR")),
    ),
    Breach(
        "deck_has_the_customers_currency",
        "the deck's currency is fixed once somebody uses it",
        lambda: update(make_customer(rate_deck=standard_deck()).rate_deck, currency="EUR"),  # type: ignore[arg-type]
    ),
    Breach(
        "inbound_deck_has_the_customers_currency",
        "inbound prices in euros",
        lambda: make_customer(inbound_deck=make_deck(currency="EUR")),
    ),
    Breach(
        "deck_has_the_partners_currency",
        "the partner's deck in euros",
        lambda: make_partner(rate_deck=make_deck(currency="EUR")),
    ),
    Breach("billing_partner_slug_key", "a slug is one partner's", lambda: twice(make_partner, slug="fjord")),
    Breach(
        "balances_are_never_deleted",
        "as the ORM deletes",
        lambda: CustomerBalance.objects.filter(customer=make_customer()).delete(),
    ),
]

ALERTS = [
    Breach("alert_kind_is_known", "a kind nobody mails", lambda: make_alert(kind="high_balance")),
    Breach("margin_is_not_negative", "it would close before it recovered", lambda: make_alert(rearm_margin=-1)),
    Breach("reminders_are_days_apart", "a reminder at every pass", lambda: make_alert(remind_every_days=0)),
    Breach("billing_balancealert_remind_every_days_check", "before the fall", lambda: make_alert(remind_every_days=-1)),
    Breach("billing_balancealert_remind_at_most_check", "less than none", lambda: make_alert(remind_at_most=-1)),
    Breach(
        "billing_partneralert_remind_every_days_check",
        "before the fall",
        lambda: make_default_alert(remind_every_days=-1),
    ),
    Breach(
        "billing_partneralert_remind_at_most_check", "less than none", lambda: make_default_alert(remind_at_most=-1)
    ),
    Breach(
        "default_margin_is_not_negative",
        "no customer could be made any more",
        lambda: make_default_alert(rearm_margin=-1),
    ),
    Breach(
        "default_reminders_are_days_apart",
        "nor with reminders all the time",
        lambda: make_default_alert(remind_every_days=0),
    ),
    Breach(
        "one_default_alert_a_threshold",
        "a customer has one alert at a threshold",
        lambda: twice(make_default_alert, threshold=25),
    ),
    Breach(
        "one_recipient_once_an_alert",
        "in other letters, and still one reader",
        lambda: make_recipient(
            alert=make_recipient(email="boss@lindqvist.example").alert, email="Boss@Lindqvist.example"
        ),
    ),
    Breach(
        "one_exhausted_alert_per_customer",
        "the built-in one is there already",
        lambda: make_alert(kind="exhausted"),
    ),
    Breach(
        "one_alert_per_customer_and_threshold",
        "two alerts at one threshold, two mails for one fall",
        lambda: twice(make_alert, customer=make_customer(), threshold=5),
    ),
    Breach(
        "one_open_episode_per_alert",
        "one fall, one episode",
        lambda: twice(make_episode, alert=make_alert()),
    ),
    Breach(
        "episodes_open_strictly_below",
        "at the threshold is not below it",
        lambda: make_episode(opened_threshold=10, opened_balance=10),
    ),
]

IDENTITIES = [
    Breach("identity_kind_is_known", "a kind no call carries", lambda: make_identity(kind="fax")),
    Breach("identity_is_not_empty", "it would match every call", lambda: make_identity(kind="code", value="")),
    Breach("number_identity_is_digits", "numbers are compared as digits", lambda: make_identity(value="+442079460001")),
    Breach(
        "identities_never_overlap",
        "two customers of one number",
        lambda: twice(make_identity, value="442079460001"),
    ),
    Breach(
        "identities_never_overlap",
        "the second begins a second before the first ends",
        lambda: [
            make_identity(kind="peer", value="301", valid_to=MORNING),
            make_identity(kind="peer", value="301", valid_from=MORNING - timedelta(seconds=1)),
        ],
    ),
    Breach(
        "identities_never_overlap",
        "of one source",
        lambda: twice(make_identity, kind="peer", value="301", source=make_source()),
    ),
]

SOURCES = [
    Breach("billing_source_name_key", "registered once", lambda: twice(make_source, name="pbx-south")),
    Breach(
        "sources_keep_their_name",
        "keys of charges hold the name",
        lambda: update(make_source(), name="pbx-west"),
    ),
    Breach(
        "every_line_read_has_one_fate",
        "read three, told of two",
        lambda: make_delivery(read_count=3, accepted_count=1, duplicate_count=1),
    ),
    Breach(
        "arrivals_belong_to_a_delivery",
        "an arrival from nowhere",
        lambda: update(make_batch(), delivery=None),
    ),
    Breach(
        "arrivals_belong_to_a_delivery",
        "a release was not delivered",
        lambda: make_batch(kind=BatchKind.RELEASE, delivery=make_delivery()),
    ),
    Breach("billing_arrivalbatch_call_count_check", "less than none", lambda: make_batch(call_count=-1)),
    Breach(
        "billing_callsbyhour_call_count_check",
        "less than none",
        lambda: CallsByHour.objects.create(source_id=1, batch=make_batch(), hour=LONG_AGO, call_count=-1),
    ),
    Breach(
        "billing_batchprogress_outcome_count_check",
        "less than none",
        lambda: make_batch().progress.create(outcome_count=-1),
    ),
    Breach(
        "one_row_per_unparsable_line_of_a_source",
        "the same line again is a duplicate",
        lambda: twice(make_unparsable_line, delivery=make_delivery(), content_hash=uuid.UUID(int=7)),
    ),
    Breach(
        "arrival_batches_are_never_deleted",
        "as the ORM deletes",
        lambda: make_batch().delete(),
    ),
]

CALLS = [
    Breach("direction_is_known", "calls go out or come in", lambda: make_call(direction="sideways")),
    Breach(
        "one_record_per_source_and_content",
        "the same record again is counted and ignored",
        lambda: twice(make_call, content_hash=uuid.UUID(int=7)),
    ),
    Breach(
        "booked_month_is_the_month_the_call_started",
        "booked in April what started in March",
        lambda: make_call(started_at=MORNING, booked_month=MARCH_END),
    ),
    Breach(
        "calls_are_free_for_a_known_reason",
        "no call is free because something was missing",
        lambda: make_free_call(reason="no_rate"),
    ),
    Breach(
        "billing_freecall_call_key_key",
        "one outcome",
        lambda: twice(make_free_call, call=make_call(seconds=0)),
    ),
    Breach("quarantine_reason_is_known", "a reason nobody can mend", lambda: make_quarantined_call(reason="odd")),
    Breach("quarantine_state_is_known", "a state nobody leaves", lambda: make_quarantined_call(state="lost")),
    Breach(
        "one_quarantine_row_per_call_record",
        "one outcome",
        lambda: twice(make_quarantined_call, call=make_call()),
    ),
    Breach(
        "released_calls_lie_in_a_batch",
        "released to nowhere: never billed again",
        lambda: make_quarantined_call(state=QuarantineState.RELEASED),
    ),
    Breach(
        "dismissed_by_a_person_with_a_reason",
        "by nobody",
        lambda: make_quarantined_call(state=QuarantineState.DISMISSED, dismissed_because="A test call."),
    ),
    Breach(
        "dismissed_by_a_person_with_a_reason",
        "without a reason",
        lambda: make_quarantined_call(state=QuarantineState.DISMISSED, dismissed_by="astrid.holm@example.com"),
    ),
]

PRICES = [
    Breach("billing_ratedeck_name_key", "a name is one deck's", lambda: twice(make_deck, name="gold")),
    Breach("prices_have_at_most_six_decimals", "the ledger keeps six", lambda: make_deck(decimals=7)),
    Breach("billing_ratedeck_decimals_check", "less than whole pounds", lambda: make_deck(decimals=-1)),
    Breach("rounding_is_known", "a rounding without a rule", lambda: make_deck(rounding="down")),
    Breach("prefix_is_one_to_fifteen_digits", "everything would match", lambda: make_rate(prefix="")),
    Breach("prefix_is_one_to_fifteen_digits", "prefixes are digits", lambda: make_rate(prefix="+44")),
    Breach("prefix_is_one_to_fifteen_digits", "longer than any number", lambda: make_rate(prefix="4" * 16)),
    Breach("prices_are_not_negative", "a call never pays", lambda: make_rate(price_per_minute=Decimal("-0.01"))),
    Breach("prices_are_not_negative", "nor does its connection", lambda: make_rate(connect_fee=Decimal("-0.01"))),
    Breach("prices_are_at_most_a_million", "a typing error", lambda: make_rate(minimum_charge=1_000_001)),
    Breach("increments_are_between_a_second_and_a_day", "no steps at all", lambda: make_rate(increment=0)),
    Breach("increments_are_between_a_second_and_a_day", "more than a day", lambda: make_rate(first_increment=86_401)),
    Breach("billing_rate_increment_check", "backwards", lambda: make_rate(increment=-1)),
    Breach("billing_rate_first_increment_check", "backwards", lambda: make_rate(first_increment=-1)),
    Breach(
        "rate_ends_after_it_begins",
        "in force for no time at all",
        lambda: make_rate(valid_from=FAR_AHEAD, valid_to=FAR_AHEAD),
    ),
    Breach("rates_of_a_prefix_never_overlap", "two prices for one call", lambda: twice(make_rate)),
    Breach(
        "rates_of_a_prefix_never_overlap",
        "the later one begins before the earlier ends",
        lambda: [
            make_rate(valid_to=FAR_AHEAD),
            make_rate(valid_from=FAR_AHEAD - timedelta(microseconds=1), price_per_minute=1),
        ],
    ),
    Breach(
        "rates_in_force_are_not_edited",
        "calls were charged by it",
        lambda: update(make_rate(), price_per_minute=Decimal("0.04")),
    ),
    Breach(
        "rates_in_force_are_not_edited",
        "nor moved to another prefix",
        lambda: update(make_rate(valid_from=LONG_AGO), prefix="448"),
    ),
    Breach(
        "rates_in_force_are_not_edited",
        "nor begun at another time",
        lambda: update(make_rate(valid_from=LONG_AGO), valid_from=FAR_AHEAD),
    ),
    Breach("rates_in_force_are_not_edited", "nor deleted", lambda: make_rate().delete()),
]

ITEMS = [
    Breach("billing_billingitem_reference_key", "keys hold it", lambda: twice(make_item, reference="trunk-7")),
    Breach("item_kind_is_known", "charged by no rule", lambda: make_item(kind="usage", interval="")),
    Breach(
        "recurring_items_and_only_they_have_an_interval",
        "recurring, but how often?",
        lambda: make_item(interval=""),
    ),
    Breach(
        "recurring_items_and_only_they_have_an_interval",
        "an unknown interval",
        lambda: make_item(interval="hour"),
    ),
    Breach(
        "recurring_items_and_only_they_have_an_interval",
        "once, every month",
        lambda: make_item(kind=ItemKind.ONE_OFF, interval="month"),
    ),
    Breach("timing_is_known", "due never", lambda: make_item(timing="whenever")),
    Breach("proration_is_known", "priced by no rule", lambda: make_item(proration="hours")),
    Breach("intervals_have_a_length", "every no months", lambda: make_item(interval_count=0)),
    Breach("billing_billingitem_interval_count_check", "backwards", lambda: make_item(interval_count=-1)),
    Breach("bill_cycle_day_is_a_day_of_a_month", "the day before the first", lambda: make_item(bill_cycle_day=0)),
    Breach("bill_cycle_day_is_a_day_of_a_month", "no month has it", lambda: make_item(bill_cycle_day=32)),
    Breach(
        "bill_cycle_day_is_a_day_of_a_month",
        "weeks know no day of the month",
        lambda: make_item(interval="week", bill_cycle_day=1),
    ),
    Breach("fixed_30_needs_months", "days are days", lambda: make_item(interval="day", proration="fixed_30")),
    Breach(
        "item_does_not_end_before_it_starts",
        "a day too early",
        lambda: make_item(ends_on=MARCH_BEGIN - timedelta(days=1)),
    ),
    Breach("quantity_is_not_negative", "a credit is a negative amount", lambda: make_item(quantity=-1)),
    Breach(
        "closed_customers_get_no_new_items",
        "nobody would pay for it",
        lambda: make_item(customer=close(make_customer())),
    ),
    Breach(
        "items_of_closed_customers_stay_ended",
        "nobody would pay for it, either",
        lambda: update(make_item(), customer=close(make_customer())),
    ),
    Breach("pause_has_days", "no days to leave out", lambda: make_pause(ends_on=MARCH_END)),
    Breach("pauses_of_an_item_never_overlap", "paused already", lambda: twice(make_pause, item=make_item())),
    Breach(
        "only_recurring_items_are_paused",
        "it is charged once",
        lambda: make_pause(item=make_item(kind=ItemKind.ONE_OFF, interval="")),
    ),
    Breach(
        "charged_days_stay_charged",
        "March was charged whole",
        lambda: make_pause(item=make_period().item, starts_on=MARCH_END - timedelta(days=1)),
    ),
    Breach(
        "charged_days_stay_charged",
        "what was charged around a pause would be charged within it",
        lambda: charge_march_around(make_pause(starts_on=MARCH_BEGIN + timedelta(days=9))).delete(),
    ),
    Breach(
        "one_amount_of_an_item_from_a_date",
        "ten or twelve?",
        lambda: twice(make_price_change, item=make_item()),
    ),
    Breach(
        "charged_amounts_stay",
        "March was charged at ten",
        lambda: make_price_change(item=make_period().item, from_date=MARCH_BEGIN),
    ),
    Breach(
        "amounts_with_dates_change_by_date",
        "it would change what holds until then",
        lambda: update(make_price_change().item, amount=11),
    ),
    Breach(
        "credited_items_stay_ended",
        "days given back would never be charged again",
        lambda: update(ended_with_a_credit(), ends_on=None),
    ),
    Breach(
        "rerating_has_a_range",
        "no calls are answered in no time",
        lambda: Rerating.objects.create(since=MORNING, until=MORNING, entered_by="astrid.holm@example.com"),
    ),
    Breach("period_has_days", "no days to charge", lambda: make_period(end_on=MARCH_BEGIN, days=0, whole_days=1)),
    Breach("never_more_than_a_whole_amount", "32 days of 31", lambda: make_period(days=32, whole_days=31)),
    Breach("never_more_than_a_whole_amount", "a part of nothing", lambda: make_period(days=0, whole_days=0)),
    Breach("billing_itemperiod_days_check", "less than none", lambda: make_period(days=-1, whole_days=31)),
    Breach("billing_itemperiod_whole_days_check", "less than none", lambda: make_period(days=0, whole_days=-1)),
    Breach(
        "periods_are_of_an_item",
        "one among others is of an item that never was",
        lambda: sql(
            "INSERT INTO billing_itemperiod (item_id, is_one_off, start_on, end_on, kind, days, whole_days, amount,"
            " quantity) SELECT id, false, '2026-03-01', '2026-04-01', 'whole', 31, 31, 10, 1"
            " FROM unnest(ARRAY[%s, 0]) AS item (id)",
            make_item().pk,
        ),
    ),
    Breach(
        "charged_items_are_never_deleted",
        "nobody could tell what was charged",
        lambda: sql("DELETE FROM billing_billingitem WHERE id = %s", make_period().item_id),
    ),
    Breach(
        "charged_items_are_never_deleted",
        "not moved on, but charged all the same",
        lambda: [
            (update(item, charged_through=None), sql("DELETE FROM billing_billingitem WHERE id = %s", item.pk))
            for item in [make_period().item]
        ],
    ),
    Breach(
        "charged_items_are_never_deleted",
        "periods would be another's",
        lambda: sql("UPDATE billing_billingitem SET id = 0 WHERE id = %s", make_period().item_id),
    ),
    Breach(
        "items_are_never_truncated",
        "nor all of them at once",
        lambda: (
            sql("SELECT set_config('ivy.allow_truncate', '', true)"),
            sql("TRUNCATE billing_billingitem CASCADE"),
        ),
    ),
    Breach(
        "periods_begin_after_those_before",
        "half of March would be charged twice",
        lambda: make_period(item=make_period().item, start_on=MARCH_MIDDLE, end_on=date(2026, 4, 15)),
    ),
    Breach(
        "charged_periods_of_an_item_never_overlap",
        "an item has one first period",
        lambda: make_period(item=make_period().item, previous_end=None, start_on=MARCH_MIDDLE),
    ),
    Breach(
        "charged_periods_of_an_item_never_overlap",
        "and one after each",
        lambda: [
            make_period(item=item, previous_end=MARCH_END, start_on=start_on, end_on=date(2026, 6, 1))
            for item in [make_period().item]
            for start_on in (MARCH_END, date(2026, 5, 1))
        ],
    ),
    Breach(
        "periods_follow_one_that_is_there",
        "no period ended in the middle of March",
        lambda: make_period(
            item=make_period().item, previous_end=MARCH_MIDDLE, start_on=MARCH_MIDDLE, end_on=date(2026, 4, 15)
        ),
    ),
    Breach(
        "periods_follow_one_that_is_there",
        "there is none at all",
        lambda: make_period(previous_end=MARCH_BEGIN),
    ),
    Breach(
        "periods_follow_one_that_is_there",
        "that of another item is another's",
        lambda: [
            make_period(
                item=make_item(), previous_end=make_period().end_on, start_on=MARCH_END, end_on=FAR_AHEAD.date()
            )
        ],
    ),
    Breach(
        "periods_follow_one_that_is_there",
        "two that came together, of which one begins within the other",
        lambda: sql(
            "INSERT INTO billing_itemperiod (item_id, is_one_off, previous_end, start_on, end_on, kind, days,"
            " whole_days, amount, quantity) SELECT %s, false, follows, begins, begins + 31, 'whole', 31, 31, 10, 1"
            " FROM (VALUES (NULL, date '2026-03-01'), (date '2026-03-15', '2026-03-15')) AS two (follows, begins)",
            make_item().pk,
        ),
    ),
    Breach(
        "one_charge_per_one_off_item",
        "once is once, on whatever day",
        lambda: [
            make_period(item=item, is_one_off=True, start_on=date(2026, 3, day), end_on=date(2026, 3, day + 1))
            for item in [make_item(kind=ItemKind.ONE_OFF)]
            for day in (1, 2)
        ],
    ),
]

RUNS = [
    Breach("one_running_billing_run", "one at a time", lambda: twice(make_run, state=RunState.RUNNING)),
    Breach("run_state_is_known", "neither done nor failed", lambda: make_run(state="lost")),
    Breach("runs_have_ended_unless_running", "done, but when?", lambda: make_run(ended_at=None)),
    Breach(
        "runs_have_ended_unless_running",
        "running, but ended",
        lambda: make_run(state=RunState.RUNNING, ended_at=MORNING),
    ),
    Breach("billing_billingrun_max_periods_check", "less than none", lambda: make_run(max_periods=-1)),
    Breach(
        "billing_billingworker_token_key", "a token is one worker's", lambda: twice(make_worker, token=uuid.uuid4())
    ),
    Breach("billing_billingchunk_tries_check", "less than none", lambda: make_chunk(tries=-1)),
]

SWITCHES = [
    Breach("process_is_known", "nothing would stop", lambda: make_switch(process="billing")),
    Breach("halt_cause_is_known", "nobody could end it", lambda: make_switch(cause="weather")),
    Breach("switching_needs_a_reason", "and in a year nobody knows", lambda: make_switch(reason="")),
    Breach(
        "one_switch_per_process_partner_and_cause",
        "for everyone: no partner equals no partner",
        lambda: twice(make_switch),
    ),
    Breach(
        "one_switch_per_process_partner_and_cause",
        "for one partner",
        lambda: twice(make_switch, partner=harbour()),
    ),
]

SUMS = [
    Breach("one_sum_per_quarter_and_kind", "half of it would be looked for twice", lambda: twice(make_sum)),
    Breach("sum_marks_move_forward", "entries would be counted twice", lambda: make_sum_mark(after_id=8)),
]

STATEMENTS = [
    Breach("a_month_closes_once", "two ends of one month", lambda: twice(make_closing, last_entry_id=7)),
    Breach("months_are_named_by_their_first_day", "the second", lambda: make_closing(month=date(2026, 2, 2))),
    Breach("months_close_behind_their_end", "not over yet", lambda: make_closing(ends_at=FAR_AHEAD)),
    Breach("statements_add_up", "a penny from nowhere", lambda: make_statement(call=Decimal("0.01"))),
    Breach(
        "one_statement_per_customer_and_month",
        "two for February",
        lambda: twice(make_statement, customer=make_customer(), closing=make_closing()),
    ),
    Breach(
        "one_statement_per_customer_and_closing",
        "another month's closing",
        lambda: [
            make_statement(customer=customer, closing=closing, month=month)
            for customer, closing in [(make_customer(), make_closing())]
            for month in (date(2026, 1, 1), date(2026, 2, 1))
        ],
    ),
]

BREACHES = [
    *LEDGER,
    *CUSTOMERS,
    *ALERTS,
    *IDENTITIES,
    *SOURCES,
    *CALLS,
    *PRICES,
    *ITEMS,
    *RUNS,
    *SWITCHES,
    *SUMS,
    *STATEMENTS,
]

# Tables that only grow, with how to make a row of each, and what any trigger of theirs refuses.
ONLY_GROWING: dict[str, tuple[str, Callable[[], models.Model]]] = {
    "ledger_only_grows": ("billing_ledgerentry", make_entry),
    "call_records_only_grow": ("billing_callrecord", make_call),
    "switch_history_only_grows": ("billing_switchhistory", make_switch),
    "charged_periods_only_grow": ("billing_itemperiod", make_period),
    "unparsable_lines_only_grow": ("billing_unparsableline", make_unparsable_line),
    "statements_only_grow": ("billing_statement", make_statement),
}
UNDELETABLE: dict[str, tuple[str, Callable[[], models.Model]]] = {
    "balances_are_never_deleted": ("billing_customerbalance", make_customer),
    "switches_are_never_deleted": ("billing_processswitch", make_switch),
    "arrival_batches_are_never_deleted": ("billing_arrivalbatch", make_batch),
    "deliveries_are_never_deleted": ("billing_delivery", make_delivery),
    "closed_months_never_change": ("billing_monthclosing", make_closing),
}

FIXED_ONCE_CHARGED: dict[str, object] = {
    "customer_id": 0,  # replaced by somebody else's
    "reference": "trunk-under-another-name",
    "kind": "one_off",
    "starts_on": date(2026, 2, 1),
    "interval": "quarter",
    "interval_count": 2,
    "bill_cycle_day": 15,
    "timing": "arrears",
    "proration": "none",
}

FIXED_ONCE_CLOSED: dict[str, object] = {
    "partner_id": 0,  # replaced by somebody else's
    "month": date(2026, 1, 1),
    "timezone": "UTC",
    "ends_at": LONG_AGO,
    "closed_at": FAR_AHEAD,
    "run_id": 2,
    "last_entry_id": 99,
    "snapshot": "10:10:",
}

# Rules that nothing can break while another one, checked before them, holds.
UNBREAKABLE = {
    "customers_by_currency": "the id alone is unique; it is there for foreign keys to refer to",
    "decks_by_currency": "the id alone is unique; it is there for foreign keys to refer to",
    "billing_billingitem_bill_cycle_day_check": "bill_cycle_day_is_a_day_of_a_month is checked before it",
}

# What triggers say instead of their own name.
SAID_BY_TRIGGERS = {
    "entries_move_a_balance_of_their_currency": "entries_move_the_balance",
    "reversals_are_the_opposite_entry": "entries_move_the_balance",
    "charging_again_needs_a_reversal": "entries_move_the_balance",
    "closed_customers_get_no_new_items": "charged_items_keep_their_dates",
    "only_recurring_items_are_paused": "pauses_make_items_due_again",
    "charged_days_stay_charged": "pauses_make_items_due_again",
    "periods_follow_one_that_is_there": "periods_are_of_an_item",
}


class TestTheDatabase:
    @pytest.mark.parametrize("case", [pytest.param(case, id=f"{case.rule}: {case.because}") for case in BREACHES])
    def test_refuses_a_breach_by_the_name_of_the_rule(self, case: Breach) -> None:
        assert broken_rule(case.breach) == case.rule

    @pytest.mark.parametrize("rule", ONLY_GROWING)
    def test_lets_nobody_update_what_only_grows(self, rule: str) -> None:
        table, make = ONLY_GROWING[rule]
        make()
        assert broken_rule(lambda: sql(f"UPDATE {table} SET id = id")) == rule

    @pytest.mark.parametrize("rule", [*ONLY_GROWING, *UNDELETABLE])
    def test_lets_nobody_delete_what_tells_the_past(self, rule: str) -> None:
        table, make = (ONLY_GROWING | UNDELETABLE)[rule]
        make()
        assert broken_rule(lambda: sql(f"DELETE FROM {table}")) == rule

    @pytest.mark.parametrize("rule", [*ONLY_GROWING, *UNDELETABLE])
    @pytest.mark.parametrize("setting", ["off", ""])
    def test_lets_nobody_truncate_it_where_the_test_setting_is_missing(self, rule: str, setting: str) -> None:
        table, make = (ONLY_GROWING | UNDELETABLE)[rule]
        make()
        sql("SET CONSTRAINTS ALL IMMEDIATE")
        sql("SELECT set_config('ivy.allow_truncate', %s, true)", setting)
        assert broken_rule(lambda: sql(f"TRUNCATE {table} CASCADE")) == rule

    @pytest.mark.parametrize("field", FIXED_ONCE_CHARGED)
    def test_keeps_what_is_fixed_once_an_item_was_charged(self, field: str) -> None:
        item = make_item()
        value = make_customer().pk if field == "customer_id" else FIXED_ONCE_CHARGED[field]
        changes = {field: value, **({"interval": ""} if field == "kind" else {})}
        update(make_item(), **changes)  # not charged yet: as you like

        make_period(item=item)
        assert broken_rule(lambda: update(item, **changes)) == "charged_items_keep_their_dates"

    def test_takes_amount_quantity_description_and_end_of_a_charged_item(self) -> None:
        item = make_item()
        make_period(item=item)
        update(item, amount=12, quantity=3, description="SIP trunk, thirty channels", ends_on=date(2026, 6, 1))

    def test_does_not_know_a_time_zone_that_postgres_does_not_know(self) -> None:
        with pytest.raises((DataError, IntegrityError), match="Europe/Atlantis"), transaction.atomic():
            make_customer(timezone="Europe/Atlantis")

    def test_knows_the_time_zone_of_a_partner(self) -> None:
        with pytest.raises((DataError, IntegrityError), match="Europe/Atlantis"), transaction.atomic():
            make_partner(timezone="Europe/Atlantis")

    @pytest.mark.parametrize("field", FIXED_ONCE_CLOSED)
    def test_keeps_what_a_month_was_closed_with(self, field: str) -> None:
        closing = make_closing()
        update(closing, written_through=7, written_at=MORNING)
        value = make_partner().pk if field == "partner_id" else FIXED_ONCE_CLOSED[field]
        assert broken_rule(lambda: update(closing, **{field: value})) == "closed_months_never_change"

    def test_gives_a_charged_cause_its_second_and_third_charge_only_after_reversals(self) -> None:
        first = charge_of_march()
        make_reversal(first)
        second = charge_again(first, 2)
        make_reversal(second)
        charge_again(first, 3)
        assert broken_rule(lambda: charge_again(first, 3)) == "one_entry_per_key"
        assert broken_rule(lambda: charge_again(first, 4)) == "charging_again_needs_a_reversal"

    def test_lets_what_touches_stand_side_by_side(self) -> None:
        item = make_item()
        make_period(item=item)
        make_period(item=item, start_on=MARCH_END, end_on=date(2026, 5, 1))
        make_rate(valid_to=FAR_AHEAD)
        make_rate(valid_from=FAR_AHEAD)
        make_identity(value="442079460001", valid_to=FAR_AHEAD)
        make_identity(value="442079460001", valid_from=FAR_AHEAD)
        make_identity(value="442079460001", kind=IdentityKind.CODE)
        make_identity(value="442079460001", source=make_source())
        make_run(state=RunState.RUNNING)
        make_run()
        make_episode(alert=make_episode(closed_at=MORNING).alert)

    def test_keeps_a_source_whose_calls_are_stored(self) -> None:
        call = make_call()
        assert broken_rule(lambda: sql("DELETE FROM billing_source WHERE id = %s", call.source_id))

    def test_lets_a_rate_be_ended_or_edited_before_it_is_in_force(self) -> None:
        update(make_rate(), valid_to=FAR_AHEAD, destination="United Kingdom, mobile (old)")
        later = make_rate(valid_from=FAR_AHEAD)
        update(later, price_per_minute=Decimal("0.04"))
        later.delete()


CHARGED = (
    "INSERT INTO billing_itemperiod (item_id, is_one_off, previous_end, start_on, end_on, kind, days, whole_days,"
    " amount, quantity) VALUES (%s, false, %s, %s, %s, 'whole', 30, 30, 10, 1)"
)


@real_commits
class TestPeriodsChargedAtTheSameTime:
    """Whatever two transactions see of each other, and whichever began first."""

    @pytest.mark.parametrize("isolation", ["read committed", "repeatable read", "serializable"])
    @pytest.mark.parametrize(
        ("previous_end", "start_on"),
        [
            pytest.param(None, MARCH_BEGIN, id="the same one"),
            pytest.param(None, MARCH_MIDDLE, id="half of it again"),
            pytest.param(MARCH_MIDDLE, MARCH_MIDDLE, id="after an end that is none"),
            pytest.param(MARCH_END, MARCH_MIDDLE, id="after its end, but begun before"),
        ],
    )
    def test_never_overlap_though_one_began_before_the_other_was_there(
        self, isolation: str, previous_end: date | None, start_on: date
    ) -> None:
        item = make_item()
        with another_connection() as other:
            other.execute(f"BEGIN ISOLATION LEVEL {isolation}")
            other.execute("SELECT count(*) FROM billing_itemperiod")  # what it sees from here on
            make_period(item=item)
            with pytest.raises((psycopg.IntegrityError, psycopg.errors.SerializationFailure)):
                other.execute(CHARGED, [item.pk, previous_end, start_on, date(2026, 5, 1)])
            other.execute("ROLLBACK")
        assert item.periods.count() == 1

    def test_wait_for_each_other_and_one_is_charged(self) -> None:
        item = make_item()

        def charge(start_on: date) -> bool:
            try:
                make_period(item=item, previous_end=None, start_on=start_on, end_on=date(2026, 5, 1))
            except IntegrityError:
                return False
            return True

        answers = at_once(*[partial(charge, MARCH_BEGIN + timedelta(days=days)) for days in range(4)])
        assert sorted(answers) == [False, False, False, True]
        assert item.periods.count() == 1

    def test_follow_no_period_that_is_not_committed(self) -> None:
        item = make_item()
        with another_connection() as other:
            other.execute("BEGIN")
            other.execute(CHARGED, [item.pk, None, MARCH_BEGIN, MARCH_END])
            with pytest.raises(IntegrityError, match="no period of item"):
                make_period(item=item, previous_end=MARCH_END, start_on=MARCH_END, end_on=date(2026, 5, 1))
            other.execute("ROLLBACK")
        assert not item.periods.exists()


def causes_noted_by(verb: Callable[[], object]) -> list[str]:
    """What the verb noted as a cause that may have been mended, for calls in quarantine."""
    MendedCause.objects.all().delete()
    verb()
    return list(MendedCause.objects.values_list("kind", flat=True))


class TestTriggers:
    """What follows by itself; each test is named for the trigger."""

    def test_entries_move_the_balance(self) -> None:
        lindqvist = make_customer(balance=100)
        make_entry(customer=lindqvist, amount=Decimal("-0.000001"))
        assert CustomerBalance.objects.get(customer=lindqvist).balance == Decimal("99.999999")

    @real_commits
    def test_transactions_have_a_number_before_entries_have(self) -> None:
        lindqvist = make_customer()
        sql(
            "INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, booked_month,"
            " charge_number, description, reason, entered_by)"
            " SELECT 'payment:bank:1', %s, 'payment', 1, 'GBP', now(), date_trunc('month', now() AT TIME ZONE 'UTC'),"
            " 1, coalesce(pg_current_xact_id_if_assigned()::text, 'none'), '', ''",
            lindqvist.pk,
        )
        assert LedgerEntry.objects.get().description != "none"

    def test_customers_have_a_balance(self) -> None:
        lindqvist, okafor = Customer.objects.bulk_create(
            Customer(account=account, partner=harbour(), currency="GBP", timezone="UTC", credit_limit=limit)
            for account, limit in [("10001", 0), ("10002", 50)]
        )
        assert CustomerBalance.objects.filter(customer__in=[lindqvist, okafor], balance=0, currency="GBP").count() == 2
        assert BalanceAlert.objects.get(customer=lindqvist, kind="exhausted").threshold == 0
        assert BalanceAlert.objects.get(customer=okafor, kind="exhausted").threshold == -50

    def test_alerts_and_items_follow_the_customer(self) -> None:
        lindqvist = make_customer()
        running = make_item(customer=lindqvist)
        ends_sooner = make_item(customer=lindqvist, ends_on=date(2026, 3, 1))
        begins_later = make_item(customer=lindqvist, starts_on=date(2026, 5, 1))
        other = make_item()
        CustomerToJudge.objects.all().delete()

        update(lindqvist, credit_limit=20)
        assert BalanceAlert.objects.get(customer=lindqvist).threshold == -20
        assert list(CustomerToJudge.objects.values_list("customer", flat=True)) == [lindqvist.pk]

        close(lindqvist)
        ends = dict(BillingItem.objects.values_list("pk", "ends_on"))
        assert ends == {
            running.pk: MORNING.date(),
            ends_sooner.pk: date(2026, 3, 1),
            begins_later.pk: date(2026, 5, 1),  # ends as it begins: never charged
            other.pk: None,
        }

    def test_closing_time_follows_the_status(self) -> None:
        lindqvist = make_customer()
        update(lindqvist, status="closed")
        lindqvist.refresh_from_db()
        assert lindqvist.closed_at is not None
        update(lindqvist, status="active")
        lindqvist.refresh_from_db()
        assert lindqvist.closed_at is None

    def test_changed_alerts_are_judged(self) -> None:
        alert = make_alert()
        CustomerToJudge.objects.all().delete()
        update(alert, threshold=20)
        assert CustomerToJudge.objects.get().customer_id == alert.customer_id

    def test_charged_items_keep_their_dates(self) -> None:
        item = make_item()
        assert item.next_due_on == MARCH_BEGIN
        make_period(item=item)
        update(item, next_due_on=None)
        update(item, ends_on=date(2026, 6, 1))
        item.refresh_from_db()
        assert item.next_due_on == MARCH_END  # looked at again from the last period on

    def test_pauses_make_items_due_again(self) -> None:
        item = make_period().item
        update(item, next_due_on=date(2026, 6, 1))
        pause = make_pause(item=item)
        for change in (lambda: update(pause, ends_on=date(2026, 5, 1)), pause.delete):
            assert BillingItem.objects.get(pk=item.pk).next_due_on == MARCH_END
            update(item, next_due_on=date(2026, 6, 1))
            change()
        assert BillingItem.objects.get(pk=item.pk).next_due_on == MARCH_END

    def test_new_rates_raise_the_version(self) -> None:
        deck = make_rate().deck
        assert RateDeck.objects.get(pk=deck.pk).rates_version == 1

    def test_changed_rates_raise_the_version(self) -> None:
        rate = make_rate()
        update(rate, valid_to=FAR_AHEAD)
        assert RateDeck.objects.get(pk=rate.deck_id).rates_version == 2

    def test_deleted_rates_raise_the_version(self) -> None:
        rate = make_rate(valid_from=FAR_AHEAD)
        rate.delete()
        assert RateDeck.objects.get(pk=rate.deck_id).rates_version == 2

    def test_identities_mend_quarantine(self) -> None:
        lindqvist = make_customer()
        assert causes_noted_by(lambda: make_identity(customer=lindqvist)) == ["identity"]

    def test_rates_mend_quarantine(self) -> None:
        assert causes_noted_by(make_rate) == ["rate"]

    def test_customers_mend_quarantine(self) -> None:
        lindqvist = make_customer()
        assert causes_noted_by(lambda: update(lindqvist, rate_deck=standard_deck())) == ["customer"]
        assert causes_noted_by(lambda: update(lindqvist, email="new.address@example.net")) == []

    def test_partners_mend_quarantine(self) -> None:
        partner = harbour()
        assert causes_noted_by(lambda: update(partner, rate_deck=standard_deck())) == ["customer"]

    def test_customers_take_their_sums_along(self) -> None:
        customer, other = make_customer(), make_partner()
        for partner in (customer.partner, other):
            make_sum(partner=partner)
            make_sum_mark(partner=partner)
        update(customer, name="Another one")
        assert LedgerSum.objects.count() == LedgerSumMark.objects.count() == 2
        update(customer, partner=other)
        assert not LedgerSum.objects.exists()
        assert not LedgerSumMark.objects.exists()

    def test_switches_write_their_history(self) -> None:
        switch = make_switch(process=Process.ITEMS, partner=harbour(), reason="Wrong prices.")
        update(switch, is_halted=False, reason="Mended.", changed_by="samuel.adeyemi@example.com")
        assert list(
            SwitchHistory.objects.order_by("pk").values_list(
                "process", "partner__slug", "cause", "is_halted", "reason", "changed_by"
            )
        ) == [
            ("items", "harbour", HaltCause.STAFF, True, "Wrong prices.", "astrid.holm@example.com"),
            ("items", "harbour", HaltCause.STAFF, False, "Mended.", "samuel.adeyemi@example.com"),
        ]


class TestTheListOfRules:
    """A new constraint or trigger without a test above makes these fail."""

    def test_names_every_constraint(self) -> None:
        constraints = names(
            # Foreign keys of Django's making are named ..._fk_...; ours have sentences.
            "SELECT conname FROM pg_constraint WHERE contype NOT IN ('p', 'n')"
            r" AND NOT (contype = 'f' AND conname LIKE '%%\_fk\_%%') AND conrelid IN (SELECT oid FROM tables)"
            " UNION SELECT indexrelid::regclass::text FROM pg_index"
            " WHERE indisunique AND NOT indisprimary AND indrelid IN (SELECT oid FROM tables)"
        )
        broken = {case.rule for case in BREACHES} | {"customer_time_zone_is_known", "partner_time_zone_is_known"}
        assert constraints - broken - UNBREAKABLE.keys() == set(), "no test breaks these"
        assert broken & UNBREAKABLE.keys() == set()

    def test_names_every_trigger(self) -> None:
        triggers = names(
            # Those that keep changes have tests of their own, in tests/staff/test_changes.py.
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM tables)"
            r" AND tgname NOT LIKE 'pgtrigger\_%%'"
        )
        acting = {name.removeprefix("test_") for name in vars(TestTriggers) if name.startswith("test_")}
        refusing = {case.rule for case in BREACHES} | ONLY_GROWING.keys() | UNDELETABLE.keys()
        assert triggers - acting - refusing == set(), "no test is about these"
        assert acting - triggers == set(), "these are no triggers any more"

    def test_names_nothing_that_the_database_does_not_know(self) -> None:
        known = names(
            "SELECT conname FROM pg_constraint WHERE conrelid IN (SELECT oid FROM tables)"
            " UNION SELECT tgname FROM pg_trigger WHERE tgrelid IN (SELECT oid FROM tables)"
            " UNION SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid IN (SELECT oid FROM tables)"
        )
        named = {case.rule for case in BREACHES} | ONLY_GROWING.keys() | UNDELETABLE.keys() | UNBREAKABLE.keys()
        assert named - known == SAID_BY_TRIGGERS.keys()
        assert set(SAID_BY_TRIGGERS.values()) <= known


def names(query: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH tables AS (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')"
            r" AND relname LIKE 'billing\_%%' AND relnamespace = current_schema()::regnamespace) " + query,
            [],
        )
        return {row[0] for row in cursor.fetchall()}
