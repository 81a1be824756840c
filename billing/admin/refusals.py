"""What the database says when it refuses a row, as a sentence for whoever filled in the form.

The rules stand in the database, once. Constraints are named so that the name reads as a sentence; here stand those that
deserve a better one, and the field to which it belongs.
"""

from dataclasses import dataclass

from django.db import DatabaseError

RAISED_BY_OUR_TRIGGERS = "23000"

NO_REMINDERS = "Reminders are at least one day apart; leave it empty for none."

SENTENCES = {
    # partners and customers
    "deck_has_the_partners_currency": ("rate_deck", "The deck and the partner must have one currency."),
    "deck_has_the_customers_currency": ("rate_deck", "The deck and its customers must have one currency."),
    "inbound_deck_has_the_customers_currency": ("inbound_deck", "The deck and its customers must have one currency."),
    "credit_limit_is_not_negative": ("credit_limit", "A credit limit must not be negative."),
    "identities_never_overlap": ("value", "This identity names a customer already, at a time when both would hold."),
    "number_identity_is_digits": ("value", "Write phone numbers as digits in international form, like 442079460123."),
    "identity_is_not_empty": ("value", "An identity must not be empty."),
    "one_alert_per_customer_and_threshold": ("threshold", "The customer has an alert at this threshold already."),
    "margin_is_not_negative": ("rearm_margin", "A margin must not be negative."),
    "reminders_are_days_apart": ("remind_every_days", NO_REMINDERS),
    "one_recipient_once_an_alert": ("email", "The alert has this recipient already."),
    "one_default_alert_a_threshold": ("threshold", "The partner has a default alert at this threshold already."),
    "default_margin_is_not_negative": ("rearm_margin", "A margin must not be negative."),
    "default_reminders_are_days_apart": ("remind_every_days", NO_REMINDERS),
    # decks
    "rates_of_a_prefix_never_overlap": (
        "prefix",
        "Another rate of this prefix holds at a time when this one would: give that one an end first.",
    ),
    "prefix_is_one_to_fifteen_digits": ("prefix", "A prefix is one to fifteen digits, without +."),
    "prices_are_not_negative": ("price_per_minute", "Prices must not be negative."),
    "prices_are_at_most_a_million": ("price_per_minute", "Prices are at most a million."),
    "increments_are_between_a_second_and_a_day": ("increment", "Increments are between 1 and 86,400 seconds."),
    "rate_ends_after_it_begins": ("valid_to", "A rate ends after it begins."),
    # items
    "recurring_items_and_only_they_have_an_interval": (
        "interval",
        "A recurring item needs an interval; a one-off item has none.",
    ),
    "intervals_have_a_length": ("interval_count", "An interval has a length of at least 1."),
    "bill_cycle_day_is_a_day_of_a_month": (
        "bill_cycle_day",
        "Only items by the month, quarter or year have a bill-cycle day, between 1 and 31.",
    ),
    "fixed_30_needs_months": ("proration", "Only items by the month, quarter or year count months of 30 days."),
    "item_does_not_end_before_it_starts": ("ends_on", "An item must not end before it starts."),
    "quantity_is_not_negative": ("quantity", "A quantity must not be negative: for a credit write a negative amount."),
}


@dataclass(frozen=True)
class Refusal:
    """Why the database refused a row, and the field of the form that is to blame (None: no single one)."""

    sentence: str
    field: str | None = None


def refusal_of(error: DatabaseError) -> Refusal:
    """Tell what an IntegrityError or DataError is about."""
    diagnosis = getattr(error.__cause__, "diag", None)
    if diagnosis is None:
        return Refusal(_as_sentence(str(error.args[0] if error.args else error)))
    name = diagnosis.constraint_name or ""
    if name in SENTENCES:
        field, sentence = SENTENCES[name]
        return Refusal(sentence, field)
    if diagnosis.sqlstate == RAISED_BY_OUR_TRIGGERS or not name:
        return Refusal(_as_sentence(diagnosis.message_primary or str(error)))
    return Refusal(_as_sentence(name.replace("_", " ")))


def _as_sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
