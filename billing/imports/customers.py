"""Customers from a CSV file, all of them or none: with their alerts, call identities and opening balances.

A new customer needs a partner; one that is not known yet is made, with its slug as its name and the currency and time
zone of the line that names it first. Currency and time zone are the partner's where the line says none; a customer
without a name is called by its account. A customer's currency never changes.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any

from billing.alerts import give_defaults
from billing.episodes import open_silently
from billing.imports import bulk, csvfile, entries, identities
from billing.imports.csvfile import Column, CsvSource, Row, Sheet
from billing.imports.entries import Entry
from billing.imports.whole import ImportResult, Progress, Tally, all_or_nothing, unwatched
from billing.keys import opening_key
from billing.models import (
    AlertKind,
    BalanceAlert,
    Customer,
    CustomerBalance,
    CustomerStatus,
    EntryKind,
    LedgerEntry,
    Partner,
    RateDeck,
    Source,
)

COLUMNS = {
    "account": Column(csvfile.name, is_required=True),
    "partner": Column(csvfile.name),
    "name": Column(csvfile.text(200)),
    "email": Column(csvfile.email, clears_to=""),
    "currency": Column(csvfile.currency),
    "timezone": Column(csvfile.time_zone),
    "status": Column(csvfile.choice(CustomerStatus.values)),
    "rate_deck": Column(csvfile.name, clears_to=None),
    "inbound_deck": Column(csvfile.name, clears_to=None),
    "low_balance_threshold": Column(csvfile.decimal(), clears_to=None),
    "credit_limit": Column(csvfile.decimal(at_least=0), clears_to=Decimal(0)),
    "opening_balance": Column(csvfile.decimal(), clears_to=Decimal(0)),
    "call_identities": Column(csvfile.text(csvfile.LONGEST_LINE), clears_to=""),
}
OWN_FIELDS = ("name", "email", "timezone", "status", "credit_limit", "rate_deck_id", "inbound_deck_id")
FEW = 1000
DECKS = ("rate_deck", "inbound_deck")


@dataclass
class Known:
    """What the database knows of everybody whom the file names, loaded at once."""

    customers: dict[str, Customer]
    partners: dict[str, Partner]
    partners_by_id: dict[int, Partner]
    decks: dict[str, RateDeck]
    decks_by_id: dict[int, RateDeck]
    sources: dict[str, int]
    openings: dict[str, Decimal]
    alerts: dict[int, list[BalanceAlert]]


def import_customers(
    source: CsvSource, *, at: datetime, dry_run: bool = False, progress: Progress = unwatched
) -> ImportResult:
    """Create and update customers by their account. May be repeated: the same file again changes nothing.

    `opening_balance` becomes a ledger entry at `at`, once, unless it is zero; afterwards another one is an error.
    `low_balance_threshold` sets the customer's alert of that kind, and clearing it switches that off. A new customer
    without one gets the default alerts of its partner, where those are in its currency; one that clears it gets none.
    `call_identities` are the customer's from now on, in place of those that held until `at`.
    Customers who come in below a threshold are not told of it.
    """

    def work(sheet: Sheet) -> Tally:
        plan = _Plan(sheet, _known(sheet), identities.Plan(at))
        for row in progress(sheet.rows, "Reading customers"):
            plan.take(row)
        plan.identity_plan = identities.plan(sheet, plan.given_identities, at=at)
        touched = plan.touched()
        if not sheet.errors:
            _write(plan, touched, at)
        notes = [f"New partners: {', '.join(partner.slug for partner in plan.new_partners)}."]
        return Tally(len(plan.new), len(touched), len(plan.existing) - len(touched), notes if plan.new_partners else [])

    return all_or_nothing(csvfile.read(source, COLUMNS), work, what="customers", dry_run=dry_run)


def _known(sheet: Sheet) -> Known:
    accounts = [row.cells["account"] for row in sheet.rows if "account" in row.cells]
    customers = {customer.account: customer for customer in bulk.found_by(Customer.objects.all(), "account", accounts)}
    partners = list(Partner.objects.all())
    decks = list(RateDeck.objects.all())
    with_opening = [row for row in sheet.rows if {"account", "opening_balance"} <= row.cells.keys()]
    keys = [opening_key(row.cells["account"]) for row in with_opening]
    with_threshold = [
        customer.pk
        for row in sheet.rows
        if "low_balance_threshold" in row.cells and (customer := customers.get(row.cells.get("account", "")))
    ]
    alerts: dict[int, list[BalanceAlert]] = defaultdict(list)
    low_balance = BalanceAlert.objects.filter(kind=AlertKind.LOW_BALANCE).order_by("pk")
    for alert in bulk.found_by(low_balance, "customer_id", with_threshold):
        alerts[alert.customer_id].append(alert)
    return Known(
        customers=customers,
        partners={partner.slug: partner for partner in partners},
        partners_by_id={partner.pk: partner for partner in partners},
        decks={deck.name: deck for deck in decks},
        decks_by_id={deck.pk: deck for deck in decks},
        sources=dict(Source.objects.values_list("name", "id")),
        openings=dict(bulk.found_by(LedgerEntry.objects.values_list("key", "amount"), "key", keys)),
        alerts=alerts,
    )


@dataclass
class _Plan:
    """What the rows come to, before anything is written. `changed` names the fields that change, by account."""

    sheet: Sheet
    known: Known
    identity_plan: identities.Plan
    new: list[Customer] = field(default_factory=list)
    existing: list[Customer] = field(default_factory=list)
    changed: dict[str, set[str]] = field(default_factory=dict)
    new_partners: list[Partner] = field(default_factory=list)
    new_alerts: list[tuple[Customer, Decimal]] = field(default_factory=list)
    without_alert: list[Customer] = field(default_factory=list)
    changed_alerts: list[BalanceAlert] = field(default_factory=list)
    openings: list[tuple[Customer, Decimal]] = field(default_factory=list)
    given_identities: list[identities.Given] = field(default_factory=list)

    def touched(self) -> list[Customer]:
        """The customers known before of whom anything changes."""
        ids = self.identity_plan.customer_ids | {alert.customer_id for alert in self.changed_alerts}
        ids |= {customer.pk for customer, _ in [*self.new_alerts, *self.openings]}
        return [customer for customer in self.existing if self.changed[customer.account] or customer.pk in ids]

    def take(self, row: Row) -> None:
        """Add what the row says, or note why it can't be."""
        values = self._values(row)
        if row.is_bad:
            return
        customer = self.known.customers.get(values["account"])
        if customer and values.get("currency", customer.currency) != customer.currency:
            self._refuse(row, f"currency can't change: the customer “{customer.account}” is in {customer.currency}.")
            return
        partner = self._partner(row, values, customer)
        if partner is None:
            return
        if customer is None:
            customer = _new_customer(values, partner)
            self.new.append(customer)
        else:
            self.existing.append(customer)
        self.changed[customer.account] = _change(customer, values, partner)
        self._refuse_foreign_decks(row, customer)
        if "low_balance_threshold" in values:
            self._alert(row, values["low_balance_threshold"], customer)
        elif customer.account not in self.known.customers:
            self.without_alert.append(customer)
        if "opening_balance" in values:
            self._opening(row, values["opening_balance"], customer)
        if "call_identities" in values:
            self.given_identities.append(identities.Given(row, customer, values["call_identities"]))

    def _refuse(self, row: Row, sentence: str) -> None:
        self.sheet.refuse(row, sentence)

    def _values(self, row: Row) -> dict[str, Any]:
        """What the row says, with the ids of decks in place of their names, and the identities taken apart."""
        values = self.sheet.values(row)
        if "account" in values:
            self.sheet.is_repeated(row, values["account"], f"The customer “{values['account']}”")
        for column in DECKS:
            if column in values:
                name = values.pop(column)
                values[f"{column}_id"] = self.known.decks[name].pk if name in self.known.decks else None
                if name is not None and name not in self.known.decks:
                    self._refuse(row, f"{column} “{name}” is unknown; import its rates first.")
        if "call_identities" in values:
            try:
                values["call_identities"] = identities.parse(values["call_identities"], self.known.sources)
            except csvfile.BadCell as reason:
                self._refuse(row, f"call_identities {reason}.")
        return values

    def _partner(self, row: Row, values: dict[str, Any], customer: Customer | None) -> Partner | None:
        """The partner whom the row names, made where it is new; the customer's own where it names none."""
        slug = values.get("partner")
        if slug is None:
            if customer is None:
                self._refuse(row, f"partner is empty; the new customer “{values['account']}” needs one.")
                return None
            return self.known.partners_by_id[customer.partner_id]
        if slug in self.known.partners:
            return self.known.partners[slug]
        currency = values.get("currency") or (customer.currency if customer else None)
        if currency is None:
            self._refuse(row, f"currency is empty, and the partner “{slug}” is new: there is none to take it from.")
            return None
        timezone = values.get("timezone") or (customer.timezone if customer else "UTC")
        self.known.partners[slug] = partner = Partner(slug=slug, name=slug, currency=currency, timezone=timezone)
        self.new_partners.append(partner)
        return partner

    def _refuse_foreign_decks(self, row: Row, customer: Customer) -> None:
        for column in DECKS:
            deck = self.known.decks_by_id.get(getattr(customer, f"{column}_id") or 0)
            if deck and deck.currency != customer.currency:
                whose = f"the customer “{customer.account}” in {customer.currency}"
                self._refuse(row, f"{column} “{deck.name}” is in {deck.currency}, {whose}.")

    def _alert(self, row: Row, threshold: Decimal | None, customer: Customer) -> None:
        """Let the customer have one alert at the threshold, or none.

        Staff may have given a customer several: one of them at this threshold is enough, and clearing means all of
        them; which of several to move is for staff to say.
        """
        alerts = self.known.alerts.get(customer.pk, [])
        active = [alert for alert in alerts if alert.is_active]
        if threshold is None:
            for alert in active:
                alert.is_active = False
            self.changed_alerts += active
            return
        at_threshold = next((alert for alert in alerts if alert.threshold == threshold), None)
        if at_threshold in active:
            return
        if len(active) > 1 or (active and at_threshold):
            those = ", ".join(csvfile.plain(alert.threshold) for alert in alerts)
            self._refuse(
                row,
                f"low_balance_threshold can't say which alert is meant: “{customer.account}” has several, at {those};"
                " let staff set them.",
            )
            return
        found = active[0] if active else at_threshold or next(reversed(alerts), None)
        if found is None:
            self.new_alerts.append((customer, threshold))
        else:
            found.threshold, found.is_active = threshold, True
            self.changed_alerts.append(found)

    def _opening(self, row: Row, amount: Decimal, customer: Customer) -> None:
        posted = self.known.openings.get(opening_key(customer.account))
        if posted is None:
            if amount:
                self.openings.append((customer, amount))
        elif posted != amount:
            was = f"{csvfile.plain(posted)} was posted already"
            self._refuse(row, f"opening_balance can't change: {was}; adjust the balance instead.")


def _new_customer(values: dict[str, Any], partner: Partner) -> Customer:
    return Customer(
        account=values["account"],
        name=values["account"],
        currency=values.get("currency", partner.currency),
        timezone=partner.timezone,
        status=CustomerStatus.ACTIVE.value,
    )


def _change(customer: Customer, values: dict[str, Any], partner: Partner) -> set[str]:
    """Give the customer what the row says of its own fields; those that changed."""
    changed = {name for name in OWN_FIELDS if name in values and getattr(customer, name) != values[name]}
    for name in changed:
        setattr(customer, name, values[name])
    if partner.pk is None or customer.partner_id != partner.pk:
        customer.partner = partner
        changed.add("partner_id")
    return changed


def _write(plan: _Plan, touched: list[Customer], at: datetime) -> None:
    bulk.lock_balances(customer.pk for customer in touched)  # no run charges or judges them meanwhile
    bulk.insert(plan.new_partners)
    _learn_ids(plan.new_partners, "slug")
    for customer in [*plan.new, *touched]:
        if "partner_id" in plan.changed[customer.account]:
            customer.partner = customer.partner  # again: a new one's id is known only now
    bulk.insert(plan.new)
    _learn_ids(plan.new, "account")
    bulk.update((customer, plan.changed[customer.account]) for customer in touched)
    bulk.update((alert, {"threshold", "is_active"}) for alert in plan.changed_alerts)
    bulk.insert_values(
        BalanceAlert,
        ["customer_id", "kind", "threshold", "is_active"],
        ((customer.pk, AlertKind.LOW_BALANCE.value, threshold, True) for customer, threshold in plan.new_alerts),
    )
    give_defaults(customer.pk for customer in plan.without_alert)
    plan.identity_plan.write()
    if len(plan.new) > FEW:
        bulk.analyze(Customer, CustomerBalance, BalanceAlert)
    entries.post([_opening(customer, amount, at) for customer, amount in plan.openings])
    open_silently(customer.pk for customer in plan.new)


def _opening(customer: Customer, amount: Decimal, at: datetime) -> Entry:
    return Entry(opening_key(customer.account), customer, EntryKind.OPENING.value, amount, at, "Opening balance")


def _learn_ids(rows: list[Any], name: str) -> None:
    """COPY tells no ids: ask for them."""
    if rows:
        model = type(rows[0])
        ids = dict(bulk.found_by(model.objects.values_list(name, "pk"), name, [getattr(row, name) for row in rows]))
        for row in rows:
            row.pk = ids[getattr(row, name)]
