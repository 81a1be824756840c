"""The rates of one deck from a CSV file, all of them or none.

A rate is known by its prefix and the moment it begins. What it costs never changes: another price from then on is an
error, a new price is a new row with a later `valid_from`. Rows of one prefix follow each other:

- A later row ends the one before it, where that was open or would have ended later, for good: when the later row ends,
  the earlier does not come back.
- A row put before a later one ends where that begins, unless it says an earlier end. So it comes to the same in
  whichever order, and in however many files, the rows are brought.
- A known rate may get another end and another destination. It never reaches into the rate after it.
- Prefixes that the file does not name stay as they are, unless the file is full.

Dates are midnight in the deck's time zone, times without a zone stand in it.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from itertools import zip_longest
from typing import Any
from zoneinfo import ZoneInfo

from billing.imports import bulk, csvfile
from billing.imports.csvfile import BadCell, Column, CsvSource, Row, Sheet
from billing.imports.whole import ImportResult, Progress, Tally, all_or_nothing, unwatched
from billing.models import Rate, RateDeck
from billing.models.deck import DEAREST_PRICE, LONGEST_PREFIX


def prefix(cell: str) -> str:
    """The digits that numbers begin with; a leading + says nothing."""
    digits = cell.removeprefix("+")
    if not (digits.isascii() and digits.isdigit() and len(digits) <= LONGEST_PREFIX):
        raise BadCell(f"is not a prefix: 1 to {LONGEST_PREFIX} digits")
    return digits


_price = csvfile.decimal(at_least=0, at_most=DEAREST_PRICE)
_seconds = csvfile.integer(1, 86400)

COLUMNS = {
    "prefix": Column(prefix, is_required=True),
    "destination": Column(csvfile.text(200), clears_to=""),
    "price_per_minute": Column(_price, is_required=True),
    "connect_fee": Column(_price),
    "minimum_charge": Column(_price),
    "first_increment": Column(_seconds),
    "increment": Column(_seconds),
    "valid_from": Column(csvfile.moment, clears_to=None),
    "valid_to": Column(csvfile.moment, clears_to=None),
}
WHAT_IT_COSTS = ("price_per_minute", "connect_fee", "minimum_charge", "first_increment", "increment")
BEGINNING = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class DeckTerms:
    """What holds for a whole deck. None: as the deck has it, or the default for a new one."""

    currency: str | None = None
    decimals: int | None = None
    rounding: str | None = None
    timezone: str | None = None


@dataclass(frozen=True, slots=True)
class RateChange:
    """What a file does to one rate: `begins` (a new price; `before` is the one that it replaces, if any), or `ends`.

    Only what nothing follows ends; `ends_at` says when. A rate that would only have begun then is taken out: `removed`.
    """

    what: str
    rate: Rate
    before: Rate | None = None
    line: int | None = None
    ends_at: datetime | None = None


Watch = Callable[[RateChange], None]


def unnoticed(change: RateChange) -> None:
    """Nobody wants to know what changes."""


@dataclass(slots=True)
class _Validity:
    """A rate in the sequence of its prefix, new or known; with the row that speaks of it, if one does."""

    rate: Rate
    row: Row | None = None
    values: dict[str, Any] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    @property
    def is_new(self) -> bool:
        return self.rate.pk is None

    def change(self, name: str, value: Any) -> None:
        if getattr(self.rate, name) != value:
            setattr(self.rate, name, value)
            self.changed.add(name)


def import_rates(
    source: CsvSource,
    *,
    deck: str,
    at: datetime,
    terms: DeckTerms = DeckTerms(),
    full_from: date | datetime | None = None,
    dry_run: bool = False,
    progress: Progress = unwatched,
    watch: Watch = unnoticed,
) -> ImportResult:
    """Create rates of a deck, ending those that they replace. May be repeated: the same file again changes nothing.

    A deck that does not exist yet is made, if `terms` name its currency; a deck with rates keeps its terms.
    `full_from`: the file is the whole deck from then on, and every prefix that it does not name ends there: rates in
    force are ended, those that would begin later are taken out. Each of them counts as updated, too.
    `watch` is told of every price that begins, and of every rate that ends without another after it, unless the file
    has errors.
    """

    def work(sheet: Sheet) -> Tally:
        found = _deck(sheet, deck, terms)
        return _import(sheet, found, full_from, at, progress, watch) if found else Tally()

    return all_or_nothing(csvfile.read(source, COLUMNS), work, what=f"rates {deck}", dry_run=dry_run)


def _deck(sheet: Sheet, name: str, terms: DeckTerms) -> RateDeck | None:
    """The deck, made or given its terms as far as they may change; None, and the reason noted, where that can't be."""
    given = {term: value for term in DeckTerms.__slots__ if (value := getattr(terms, term)) is not None}
    deck = RateDeck.objects.filter(name=name).first()
    if deck is None:
        try:
            csvfile.name(name)
        except BadCell as reason:
            sheet.refuse(None, f"The deck “{csvfile.shown(name)}” {reason}.")
            return None
        if terms.currency is None:
            sheet.refuse(None, f"There is no rate deck “{name}”; it is made when --currency says its currency.")
            return None
        return RateDeck.objects.create(name=name, **given)
    changed = {term: value for term, value in given.items() if getattr(deck, term) != value}
    has_rates = deck.rates.exists()
    has_users = deck.partners.exists() or deck.customers.exists() or deck.inbound_customers.exists()
    for term, value in changed.items():
        if has_rates or (term == "currency" and has_users):
            why = "has rates" if has_rates else "is in use"
            sheet.refuse(None, f"The deck “{name}” {why} already: its {term} stays {getattr(deck, term)}, not {value}.")
        setattr(deck, term, value)
    if changed and not sheet.errors:
        deck.save(update_fields=list(changed))
    return deck


def _import(  # noqa: PLR0917
    sheet: Sheet,
    deck: RateDeck,
    full_from: date | datetime | None,
    at: datetime,
    progress: Progress,
    watch: Watch,
) -> Tally:
    zone = ZoneInfo(deck.timezone)
    named = {row.cells.get("prefix", "").removeprefix("+") for row in sheet.rows}
    if full_from is not None and not sheet.row_count:
        sheet.refuse(None, "The file has no rates; as a full deck it would end every prefix.")
    rates = bulk.found_by(deck.rates.all(), "prefix", named) if full_from is None else deck.rates.all()
    validities = {(rate.prefix, rate.valid_from): _Validity(rate) for rate in rates}
    for row in progress(sheet.rows, "Reading rates"):
        _place(sheet, row, deck, zone, validities)

    sequences: dict[str, list[_Validity]] = defaultdict(list)
    for validity in validities.values():
        sequences[validity.rate.prefix].append(validity)
    untold = [validity for digits in sequences.keys() - named for validity in sequences[digits]]
    shortened = sum(_settle_ends(sequences[digits]) for digits in sequences.keys() & named)
    told = [validity for validity in validities.values() if validity.row]
    created = sum(1 for validity in told if validity.is_new)
    updated = sum(1 for validity in told if validity.changed and not validity.is_new)
    tally = Tally(created=created, updated=updated, unchanged=len(told) - created - updated)
    if shortened:
        tally.notes.append(f"{shortened:,} end before their valid_to: where the next rate of their prefix begins.")
    too_late: list[_Validity] = []
    if full_from is not None:
        too_late = _end(sheet, untold, csvfile.instant(full_from, midnight_in=zone, zone=zone), at)
        ended = len(too_late) + sum(1 for validity in untold if validity.changed)
        tally.updated += ended
        tally.notes.append(f"Of prefixes that the file does not name, {ended:,} rates end on {full_from.isoformat()}.")

    if not sheet.errors:
        _tell(watch, sequences, removed={id(validity) for validity in too_late})
        deck.rates.filter(pk__in=[validity.rate.pk for validity in too_late]).delete()
        bulk.update((validity.rate, validity.changed) for validity in validities.values() if not validity.is_new)
        bulk.insert([validity.rate for validity in validities.values() if validity.is_new])
    return tally


def _place(
    sheet: Sheet, row: Row, deck: RateDeck, zone: ZoneInfo, validities: dict[tuple[str, datetime | None], _Validity]
) -> None:
    """Find the rate that the row speaks of, or make it a new one."""
    values = sheet.values(row)
    for name in ("valid_from", "valid_to"):
        if values.get(name) is not None:
            values[name] = csvfile.instant(values[name], midnight_in=zone, zone=zone)
    if row.is_bad:
        return
    digits, begins, ends = values["prefix"], values.get("valid_from"), values.get("valid_to")
    if begins and ends and ends <= begins:
        sheet.refuse(
            row, f"valid_to “{row.cells['valid_to']}” is not later than valid_from “{row.cells['valid_from']}”."
        )
    if sheet.is_repeated(row, (digits, begins), f"The prefix {digits}, valid from {_when(begins)},") or row.is_bad:
        return
    known = validities.get((digits, begins))
    if known is None:
        costs = {name: values[name] for name in (*WHAT_IT_COSTS, "destination") if name in values}
        rate = Rate(deck=deck, prefix=digits, valid_from=begins, valid_to=ends, **costs)
        validities[digits, begins] = _Validity(rate, row, values)
        return
    differing = [name for name in WHAT_IT_COSTS if name in values and values[name] != getattr(known.rate, name)]
    if differing:
        had = ", ".join(f"{name} {csvfile.plain(getattr(known.rate, name))}" for name in differing)
        sheet.refuse(
            row,
            f"The prefix {digits}, valid from {_when(begins)}, is known already, with {had}; a rate is not edited:"
            " give the new price a later valid_from.",
        )
    known.row, known.values = row, values


def _settle_ends(sequence: list[_Validity]) -> int:
    """Let each rate of a prefix end where the next one begins, if not before; and take over new destinations.

    How many end before the file says.
    """
    sequence.sort(key=lambda validity: validity.rate.valid_from or BEGINNING)
    shortened = 0
    for validity, following in zip_longest(sequence, sequence[1:]):
        end = validity.values.get("valid_to", validity.rate.valid_to)
        limit = following.rate.valid_from if following else None
        if limit is not None and (end is None or end > limit):
            shortened += validity.values.get("valid_to") is not None
            end = limit
        validity.change("valid_to", end)
        validity.change("destination", validity.values.get("destination", validity.rate.destination))
    return shortened


def _end(sheet: Sheet, untold: list[_Validity], end: datetime, at: datetime) -> list[_Validity]:
    """End the rates; returned are those that would only begin then or later, and are to be taken out."""
    too_late = []
    for validity in untold:
        rate = validity.rate
        if rate.valid_from is None or rate.valid_from < end:
            if rate.valid_to is None or rate.valid_to > end:
                validity.change("valid_to", end)
        elif rate.valid_from > at:
            too_late.append(validity)
        else:
            sheet.refuse(
                None,
                f"The prefix {rate.prefix} is not in the file, but holds since {_when(rate.valid_from)} and can't end"
                " before that: choose a later day.",
            )
    return too_late


def _tell(watch: Watch, sequences: dict[str, list[_Validity]], *, removed: set[int]) -> None:
    """Tell what changes: once everything is settled, prefix by prefix."""
    for digits in sorted(sequences):
        before: _Validity | None = None
        for validity, following in zip_longest(sequences[digits], sequences[digits][1:]):
            rate, line = validity.rate, validity.row.line if validity.row else None
            if id(validity) in removed:
                watch(RateChange("removed", rate))
            elif validity.is_new:
                follows = before is not None and before.rate.valid_to == rate.valid_from
                watch(RateChange("begins", rate, before.rate if before and follows else None, line))
            elif "valid_to" in validity.changed and not (following and following.rate.valid_from == rate.valid_to):
                watch(RateChange("ends", rate, None, line, rate.valid_to))
            before = validity


def _when(at: datetime | None) -> str:
    return "the beginning" if at is None else at.isoformat()
