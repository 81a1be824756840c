"""Damaged files of every format: whatever a disk, a spreadsheet or a hurry did to them, nothing is lost or free.

The damage is chosen by a seed, so that a file that fails can be made again. More of it than in the suite:

    FUZZED_FILES=10000 FUZZ_SEED=7 pytest tests/billing/test_fuzzed_calls.py -s
"""

import io
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import count

from django.db import connection
from django.utils import timezone

from billing.cycle import run_cycle
from billing.imports import calls
from billing.imports.call_formats import FORMATS, Leg, NotThisFormat
from billing.models import ArrivalBatch, CallRecord, Delivery, RunState, Source, UnparsableLine
from tests.billing import call_files, switch_files
from tests.billing.at_once import real_commits
from tests.billing.call_files import (
    ASTERISK_COLUMNS,
    asterisk_call,
    asterisk_file,
    ivy_call,
    ivy_file,
    missed_ivy_call,
)
from tests.billing.damages import damaged
from tests.factories import make_customer, make_identity, make_rate, make_source, standard_deck

FILES = int(os.environ.get("FUZZED_FILES", "250"))
SEED = os.environ.get("FUZZ_SEED", "20191123")


# Good files -----------------------------------------------------------------------------------------------------------


def good_file(format: str, dice: random.Random) -> bytes:  # noqa: A002
    """Some calls as the switch writes them: answered and missed, of a customer and of nobody, from in- and outside."""
    kinds = [dice.random() for _ in range(dice.choice([1, 1, 2, 3, 5, 12]))]
    return _WRITERS[format](kinds, dice)


def _ivy(kinds: list[float], dice: random.Random) -> bytes:
    def call(kind: float) -> dict[str, str]:
        if kind < 0.2:
            return missed_ivy_call()
        return ivy_call(account="nobody", from_number="") if kind < 0.3 else ivy_call()

    return ivy_file(*map(call, kinds))


def _asterisk(kinds: list[float], dice: random.Random) -> bytes:
    columns = ASTERISK_COLUMNS[: dice.choice([16, 17, 18, 21])]
    return asterisk_file(*[asterisk_call(**_asterisk_changes(kind)) for kind in kinds], columns=columns)


def _asterisk_custom(kinds: list[float], dice: random.Random) -> bytes:
    found = [switch_files.custom_call(**_asterisk_changes(kind)) for kind in kinds]
    columns = list(switch_files.MASTER_CSV[: dice.choice([18, 19])])
    header = dice.random() < 0.5
    if header:
        dice.shuffle(columns)
    return switch_files.custom_file(*found, columns=columns, header=header)


def _asterisk_changes(kind: float) -> dict[str, str]:
    if kind < 0.2:
        return {"answer": "", "billsec": "0", "disposition": "NO ANSWER"}
    if kind < 0.3:
        return {"dstchannel": "Local/9@queue-1;1"}
    return {"userfield": 'till "3"\nfloor 2'} if kind > 0.9 else {}


def _freeswitch_csv(kinds: list[float], dice: random.Random) -> bytes:
    missed = {"answer_stamp": "", "billsec": "0", "hangup_cause": "NO_ANSWER"}
    found = [switch_files.freeswitch_call(**(missed if kind < 0.2 else {})) for kind in kinds]
    columns = list(dice.choice([switch_files.DEFAULT, switch_files.EXAMPLE]))
    header = dice.random() < 0.5
    if header:
        dice.shuffle(columns)
    return switch_files.freeswitch_file(*found, columns=columns, header=header)


def _freeswitch_json(kinds: list[float], dice: random.Random) -> bytes:
    legs = []
    for kind in kinds:
        legs.append(switch_files.json_leg(**(switch_files.unanswered() if kind < 0.2 else {})))
        if kind > 0.8:
            legs.append(switch_files.json_b_leg(legs[-1]))
    layout = dice.randrange(3)
    if layout == 0:
        return switch_files.json_lines(*legs)
    return switch_files.json_list(*legs, indent=2 if layout == 1 else None)


def _threecx(kinds: list[float], dice: random.Random) -> bytes:
    def call(kind: float) -> dict[str, str]:
        changes: dict[str, str] = {}
        if kind < 0.2:
            changes = {"time-answered": "", "duration": "00:00:00"}
        elif kind < 0.4:
            changes = switch_files.INBOUND
        elif kind < 0.5:
            changes = switch_files.INSIDE
        return switch_files.threecx_call() | changes

    columns = list(switch_files.FIELDS[: dice.choice([20, 27])])
    return switch_files.threecx_file(*map(call, kinds), columns=columns, header=dice.random() < 0.3)


_WRITERS: dict[str, Callable[[list[float], random.Random], bytes]] = {
    "ivy": _ivy,
    "asterisk": _asterisk,
    "asterisk-custom": _asterisk_custom,
    "freeswitch-csv": _freeswitch_csv,
    "freeswitch-json": _freeswitch_json,
    "3cx": _threecx,
}


# What must hold -------------------------------------------------------------------------------------------------------


def take(content: bytes, source: Source, name: str) -> calls.CallImport | None:
    """Import the content and prove its counts; None if it was refused as a whole, before anything was written."""
    delivery_count = Delivery.objects.count()
    try:
        found = calls.read(io.BytesIO(content), source=source)
    except NotThisFormat:
        assert Delivery.objects.count() == delivery_count
        return None
    result = calls.take_in(found, source=source, file_name=name)
    delivery = Delivery.objects.latest("pk")
    assert delivery.file_name == name
    assert delivery.finished_at is not None
    told = {fate: getattr(delivery, f"{fate}_count") for fate in ("read", *result.as_json())}
    assert result.as_json() == told
    assert result.read == result.accepted + result.duplicate + result.quarantined + result.unparsable
    stored = CallRecord.objects.filter(batch__delivery=delivery)
    assert stored.count() == result.accepted + result.quarantined
    assert UnparsableLine.objects.filter(delivery=delivery).count() == result.unparsable
    assert all(UnparsableLine.objects.filter(delivery=delivery).values_list("reason", flat=True))
    must_be_findable(content, source, stored.values_list("line_number", flat=True), result)
    return result


def must_be_findable(content: bytes, source: Source, line_numbers: object, result: calls.CallImport) -> None:
    """Every record lies in the file where it is said to, and no line of a CSV file has come to nothing."""
    lines = re.split("\r\n|\r|\n", content.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape"))
    reader = FORMATS[source.format](timezone=source.timezone, region=source.region)
    covered: set[int] = set()
    legs: set[int] = set()
    read_count = 0
    for one in reader.read(io.BytesIO(content)):
        read_count += 1
        height = one.raw.count("\n") + 1
        covered.update(range(one.line_number, one.line_number + height))
        if isinstance(one, Leg):
            legs.add(one.line_number)
        assert one.raw.split("\n")[0] in lines[one.line_number - 1]
    assert read_count == result.read
    assert set(line_numbers) <= legs  # type: ignore[call-overload]
    if source.format != "freeswitch-json":
        for number, line in enumerate(lines, start=1):
            is_told = number in covered or not line.strip(' ,"\x0b\x0c\x1c\x1d\x1e\x1f\x85\t') or _is_a_header(line)
            assert is_told, f"line {number} has come to nothing: {line[:200]!r}"


def _is_a_header(line: str) -> bool:
    names = line.lower()
    return any(word in names for word in ("billsec", "accountcode", "time-answered", "call_id"))


class Fuzz:
    """The sources, and a customer whom everything belongs to that names anybody, with a rate for every number."""

    def __init__(self) -> None:
        deck = standard_deck()
        for digit in "0123456789":
            make_rate(deck=deck, prefix=digit, destination=f"numbers with {digit}", price_per_minute=Decimal("0.60"))
        customer = make_customer(account="10001", rate_deck=deck)
        make_identity(customer=customer, kind="peer", value="301")
        self.sources = {
            name: make_source(name=f"fuzz-{name}", format=name, timezone="Europe/London", region="GB")
            for name in _WRITERS
        }
        self.tally: Counter[str] = Counter()

    def file(self, number: int) -> None:
        dice = random.Random(f"{SEED}-{number}")
        # The same ids in the same file, whatever was made before it.
        call_files._numbers = switch_files._numbers = count(1_000 * number)
        format = dice.choice(list(_WRITERS))  # noqa: A001
        content, damages = damaged(good_file(format, dice), dice)
        name = f"file {number} of seed {SEED}"
        try:
            result = take(content, self.sources[format], name)
            if result is not None and dice.random() < 0.2:
                again = take(content, self.sources[format], f"{name}, again")
                assert again is not None
                assert (again.read, again.duplicate) == (result.read, result.read)
        except Exception as error:
            error.add_note(f"{name}: {format}, {', '.join(damages) or 'whole'}")
            raise
        self.tally["refused" if result is None else "taken"] += 1
        if result is not None:
            self.tally.update(result.as_json())
            if not damages:
                assert result.unparsable == 0, name

    def bill(self) -> None:
        run = run_cycle(by="fuzz", at=timezone.now())
        assert run.state == RunState.DONE
        assert not ArrivalBatch.objects.filter(closed_at__isnull=True).exists()
        with connection.cursor() as cursor:
            cursor.execute(_FREE_FOR_NO_REASON)
            assert cursor.fetchall() == []
            cursor.execute(_OUTCOMES)
            outcomes: dict[str, int] = dict(cursor.fetchall())
        assert sum(outcomes.values()) == CallRecord.objects.count()
        assert "none or several" not in outcomes
        self.tally.update(outcomes)


# Answered, with seconds, not between two ends of the switch itself, and free: only for what the deck or the rules say.
_FREE_FOR_NO_REASON = """
SELECT c.call_id, f.reason, d.file_name, c.line_number
FROM billing_freecall f
JOIN billing_callrecord c ON call_key((SELECT name FROM billing_source WHERE id = c.source_id), c.call_id) = f.call_key
JOIN billing_arrivalbatch b ON b.id = c.batch_id JOIN billing_delivery d ON d.id = b.delivery_id
WHERE c.is_answered AND c.seconds > 0 AND NOT c.is_internal
  AND NOT (f.reason = 'inbound' AND c.direction = 'inbound' AND c.customer_id IS NOT NULL)
  AND NOT EXISTS (
      SELECT FROM billing_quarantinedcall q WHERE q.call_key = f.call_key AND q.content_hash = c.content_hash
  )
"""
_OUTCOMES = """
SELECT
    CASE
        WHEN charged + free + waiting <> 1 THEN 'none or several'
        WHEN charged = 1 THEN 'charged' WHEN free = 1 THEN 'free' ELSE 'in quarantine'
    END,
    count(*)
FROM billing_callrecord c
CROSS JOIN LATERAL (
    SELECT call_key((SELECT name FROM billing_source WHERE id = c.source_id), c.call_id) AS key
) k
CROSS JOIN LATERAL (
    SELECT count(*)::int AS waiting FROM billing_quarantinedcall
    WHERE call_key = k.key AND content_hash = c.content_hash
) q
CROSS JOIN LATERAL (
    -- A record that waits beside the first of its id has no part in the outcome of that.
    SELECT (1 - waiting) * (SELECT count(*) FROM billing_ledgerentry WHERE key = k.key) AS charged,
        (1 - waiting) * (SELECT count(*) FROM billing_freecall WHERE call_key = k.key) AS free
) o
GROUP BY 1
"""


@real_commits
def test_damaged_files_lose_nothing_and_make_nothing_free() -> None:
    began = time.monotonic()
    fuzz = Fuzz()
    for number in range(FILES):
        fuzz.file(number)
    fuzz.bill()
    assert fuzz.tally["accepted"] > FILES // 2
    assert fuzz.tally["charged"] > FILES // 4
    told = ", ".join(f"{number:,} {what}" for what, number in fuzz.tally.items())
    print(f"\nseed {SEED}, {FILES:,} files in {time.monotonic() - began:.0f} s: {told}")  # noqa: T201
