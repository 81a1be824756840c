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
from tests.factories import make_customer, make_identity, make_rate, make_source, standard_deck

FILES = int(os.environ.get("FUZZED_FILES", "250"))
SEED = os.environ.get("FUZZ_SEED", "20191123")

# fmt: off
NASTY = [
    "", " ", "-1", "-60", "60.5", "1e309", "NaN", "Infinity", "٣", "0x3C", "9" * 20, "9" * 5000, "\0", "\\N", "\\.",
    "'; DROP TABLE billing_callrecord; --", "=1+1", "null", "{}", "[]", "%00", "%s", "%(batch)s", "{0}", "é",
    "9999-12-31 23:59:59", "1970-01-01 00:00:00", "0001-01-01 00:00:00", "11/23/2026 3:04 PM", "45000.5", "0",
    "2024-03-04T09:30:00+99:99", "2024-03-31 01:30:00", "2024-10-27 01:30:00", "Ext.301", "Local/1@x", "s", "+",
    b"\xed\xa0\x80".decode("utf-8", "surrogateescape"), "a" * 300, "\ufeff", "00", "\t", "\x1f", "\x85", "\v",
]
# fmt: on
SEPARATORS = [b";", b"\t", b"|", b",,", b" ", b"\x1f"]


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


# Damages --------------------------------------------------------------------------------------------------------------


def _somewhere(content: bytes, dice: random.Random) -> int:
    return dice.randrange(len(content) + 1)


def _bytes_flipped(content: bytes, dice: random.Random) -> bytes:
    damaged = bytearray(content)
    for _ in range(dice.choice([1, 1, 3, 20])):
        if damaged:
            damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
    return bytes(damaged)


def _bytes_lost(content: bytes, dice: random.Random) -> bytes:
    at = _somewhere(content, dice)
    return content[:at] + content[at + dice.choice([1, 2, 10, 100, 5000]) :]


def _bytes_added(content: bytes, dice: random.Random) -> bytes:
    at = _somewhere(content, dice)
    return content[:at] + dice.randbytes(dice.choice([1, 2, 10, 1000])) + content[at:]


def _cut_off(content: bytes, dice: random.Random) -> bytes:
    return content[: _somewhere(content, dice)]


def _begun_late(content: bytes, dice: random.Random) -> bytes:
    return content[_somewhere(content, dice) :]


def _nuls(content: bytes, dice: random.Random) -> bytes:
    at = _somewhere(content, dice)
    return content[:at] + b"\0" * dice.choice([1, 8, 4096]) + content[at + dice.choice([0, 1, 8]) :]


def _quote_more(content: bytes, dice: random.Random) -> bytes:
    at = _somewhere(content, dice)
    return content[:at] + dice.choice([b'"', b'""', b"'", b'\\"']) + content[at:]


def _quote_less(content: bytes, dice: random.Random) -> bytes:
    quotes = [found.start() for found in re.finditer(b'"', content)]
    if not quotes:
        return content
    at = dice.choice(quotes)
    return content[:at] + content[at + 1 :]


def _huge_field(content: bytes, dice: random.Random) -> bytes:
    at = _somewhere(content, dice)
    return content[:at] + dice.choice([b"x", b"7", b"{", b'"', b"\xff"]) * dice.choice([300, 70_000]) + content[at:]


def _other_encoding(content: bytes, dice: random.Random) -> bytes:
    text = content.decode("utf-8", "replace")
    encoding = dice.choice(["latin-1", "utf-16", "utf-16-le", "utf-8-sig", "cp037", "utf-7"])
    return text.encode(encoding, "replace")


def _other_separator(content: bytes, dice: random.Random) -> bytes:
    separator = dice.choice(SEPARATORS)
    if dice.random() < 0.5:
        return content.replace(b",", separator)
    return content.replace(b",", separator, dice.randrange(1, 30))


def _other_line_ends(content: bytes, dice: random.Random) -> bytes:
    end = dice.choice([b"\r", b"\r\n", b"\n\n", b"\n\r", b"\x0b", b" \n"])
    return content.replace(b"\r\n", b"\n").replace(b"\n", end)


def _lines_shuffled(content: bytes, dice: random.Random) -> bytes:
    lines = content.splitlines(keepends=True)
    if not lines:
        return content
    at, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    damage = dice.randrange(5)
    if damage == 0:
        del lines[at]
    elif damage == 1:
        lines.insert(other, lines[at])
    elif damage == 2:
        lines[at], lines[other] = lines[other], lines[at]
    elif damage == 3:
        lines[at] = lines[at].rstrip(b"\r\n")
    else:
        middle = dice.randrange(len(lines[at]) + 1)
        lines[at] = lines[at][:middle] + b"\n" + lines[at][middle:]
    return b"".join(lines)


def _column_dropped(content: bytes, dice: random.Random) -> bytes:
    lines = content.split(b"\n")
    column = dice.randrange(1, 20)
    chosen = range(len(lines)) if dice.random() < 0.5 else [dice.randrange(len(lines))]
    for index in chosen:
        fields = lines[index].split(b",")
        if len(fields) > column:
            del fields[column]
            lines[index] = b",".join(fields)
    return b"\n".join(lines)


def _field_replaced(content: bytes, dice: random.Random) -> bytes:
    fields = list(re.finditer(rb'(?<=[,:])\s?("[^"\n]*"|[^",\n]*)(?=[,}\n])', content))
    if not fields:
        return content
    found = dice.choice(fields)
    nasty = dice.choice(NASTY).encode("utf-8", "surrogateescape")
    if found[1].startswith(b'"'):
        nasty = b'"' + nasty + b'"'
    return content[: found.start(1)] + nasty + content[found.end(1) :]


def _json_damaged(content: bytes, dice: random.Random) -> bytes:
    damages: list[Callable[[], bytes]] = [
        lambda: content.replace(b"}", b"", dice.randrange(1, 4)),
        lambda: content.replace(b"{", b"", dice.randrange(1, 4)),
        lambda: content.replace(b":", b"", dice.randrange(1, 4)),
        lambda: content.replace(b'"60"', dice.choice([b"null", b"60", b"[60]", b"{}", b"1e999", b'"\\ud800"', b"-0"])),
        lambda: b"[" * dice.choice([1, 5, 2000]) + content,
        lambda: content + b"]" * 5,
        lambda: content.replace(b"variables", b"variable", 1),
        lambda: b'{"a":' * 3000 + content,
        lambda: content.replace(b'"10001"', b'"' + rb"\u0000\ud83d\n" + b'"'),
    ]
    return dice.choice(damages)()


def _doubled(content: bytes, dice: random.Random) -> bytes:
    return content + dice.choice([b"", b"\n", b"\xef\xbb\xbf"]) + content


DAMAGES: list[Callable[[bytes, random.Random], bytes]] = [
    *(_bytes_flipped, _bytes_lost, _bytes_added, _cut_off, _begun_late, _nuls, _quote_more, _quote_less, _huge_field),
    *(_other_encoding, _other_separator, _other_line_ends, _lines_shuffled, _column_dropped, _field_replaced),
    *(_field_replaced, _json_damaged, _doubled),
]


def damaged_file(format: str, dice: random.Random) -> tuple[bytes, list[str]]:  # noqa: A002
    """A file and what was done to it."""
    content, names = good_file(format, dice), []
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3])):
        damage = dice.choice(DAMAGES)
        content = damage(content, dice)
        names.append(damage.__name__)
    return content, names


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
        content, damages = damaged_file(format, dice)
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
