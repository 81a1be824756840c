"""Partners from a CSV file, all of them or none.

A partner without a name is called by its slug. A new one needs a currency, unless it can be taken from its rate deck;
deck and partner must have one currency, after the change as before it.
"""

from typing import Any

from billing.imports import bulk, csvfile
from billing.imports.csvfile import Column, CsvSource, Row, Sheet
from billing.imports.whole import ImportResult, Progress, Tally, all_or_nothing, unwatched
from billing.models import Partner, RateDeck

COLUMNS = {
    "slug": Column(csvfile.name, is_required=True),
    "name": Column(csvfile.text(200)),
    "sender": Column(csvfile.email, clears_to=""),
    "reply_to": Column(csvfile.email, clears_to=""),
    "timezone": Column(csvfile.time_zone),
    "currency": Column(csvfile.currency),
    "language": Column(csvfile.language),
    "rate_deck": Column(csvfile.name, clears_to=None),
}


def import_partners(source: CsvSource, *, dry_run: bool = False, progress: Progress = unwatched) -> ImportResult:
    """Create and update partners by their slug. May be repeated: the same file again changes nothing."""

    def work(sheet: Sheet) -> Tally:
        return _import(sheet, progress)

    return all_or_nothing(csvfile.read(source, COLUMNS), work, what="partners", dry_run=dry_run)


def _import(sheet: Sheet, progress: Progress) -> Tally:
    slugs = [row.cells["slug"] for row in sheet.rows if "slug" in row.cells]
    known = {partner.slug: partner for partner in bulk.found_by(Partner.objects.all(), "slug", slugs)}
    decks = {deck.name: deck for deck in RateDeck.objects.all()}
    decks_by_id = {deck.pk: deck for deck in decks.values()}
    new: list[Partner] = []
    changes: list[tuple[Partner, set[str]]] = []
    for row in progress(sheet.rows, "Reading partners"):
        values = sheet.values(row)
        slug = values.pop("slug", "")
        if slug:
            sheet.is_repeated(row, slug, f"The partner “{slug}”")
        if "rate_deck" in values:
            values["rate_deck_id"] = _deck_id(sheet, row, values.pop("rate_deck"), decks)
        if row.is_bad:
            continue
        partner = known[slug] if slug in known else _new_partner(slug, values, decks_by_id)
        changed = {name for name, value in values.items() if getattr(partner, name) != value}
        for name in changed:
            setattr(partner, name, values[name])
        if not partner.currency:
            sheet.refuse(row, f"currency is empty; the new partner “{slug}” has no rate deck to take it from.")
            continue
        if partner.rate_deck_id and (deck := decks_by_id[partner.rate_deck_id]).currency != partner.currency:
            sheet.refuse(
                row, f"The rate deck “{deck.name}” is in {deck.currency}, the partner “{slug}” in {partner.currency}."
            )
            continue
        if slug not in known:
            new.append(partner)
        else:
            changes.append((partner, changed))
    if not sheet.errors:
        bulk.insert(new)
        bulk.update(changes)
    updated = sum(1 for _, changed in changes if changed)
    return Tally(created=len(new), updated=updated, unchanged=len(changes) - updated)


def _new_partner(slug: str, values: dict[str, Any], decks_by_id: dict[int, RateDeck]) -> Partner:
    deck = decks_by_id.get(values.get("rate_deck_id") or 0)
    return Partner(slug=slug, name=slug, currency=deck.currency if deck else "")


def _deck_id(sheet: Sheet, row: Row, name: str | None, decks: dict[str, RateDeck]) -> int | None:
    if name is None:
        return None
    if name not in decks:
        sheet.refuse(row, f"rate_deck “{name}” is unknown; import its rates first.")
        return None
    return decks[name].pk
