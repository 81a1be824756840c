"""The intake of call records: every record of a file gets exactly one fate.

    accepted      stored, and awaits its outcome from billing
    duplicate     the source delivered this very record before, or twice in this file: counted, nothing else
    quarantined   stored, and waits for a person, with the reason and the line as it came
    unparsable    no call record at all: the line is kept, raw, with its number

A file is read in chunks, in bounded memory. A chunk is one transaction: its records go into a temporary table by COPY,
three statements give all of them their fates and store them, and the counts of the delivery are updated with them. So
an import that is killed leaves whole chunks; when it is started again it finds duplicates up to there, and goes on.
Imports are never halted.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import blake2b
from queue import Empty, Queue
from threading import Event, Thread
from typing import Any

from django.db import DataError, IntegrityError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import F
from django.db.models.functions import Now

from billing.attribution import ATTRIBUTED, NAMES_NOBODY, NAMES_TWO
from billing.imports.call_formats import FORMATS, Leg, NotThisFormat, Unparsable
from billing.imports.lines import ByteStream, raw_bytes, readable
from billing.models import ArrivalBatch, Delivery, Source

RECORDS_AT_A_TIME = 50_000
BYTES_AT_A_TIME = 32 << 20
WORK_MEMORY = "64MB"
LONGEST_CALL_ID = 250
EXAMPLES = 5

# Imports take turns, chunk by chunk, so that two of them never both accept the same record. (Next to halting's locks.)
IMPORT_LOCK = 1_230_004


@dataclass
class CallImport:
    """What became of the records of a file so far."""

    accepted: int = 0
    duplicate: int = 0
    quarantined: int = 0
    unparsable: int = 0
    quarantine_reasons: Counter[str] = field(default_factory=Counter)
    unparsable_examples: list[tuple[int, str]] = field(default_factory=list)  # line number, reason

    @property
    def read(self) -> int:
        return self.accepted + self.duplicate + self.quarantined + self.unparsable

    def add(self, chunk: "CallImport") -> None:
        self.accepted += chunk.accepted
        self.duplicate += chunk.duplicate
        self.quarantined += chunk.quarantined
        self.unparsable += chunk.unparsable
        self.quarantine_reasons += chunk.quarantine_reasons
        self.unparsable_examples = (self.unparsable_examples + chunk.unparsable_examples)[:EXAMPLES]

    def as_json(self) -> dict[str, int]:
        return {
            "read": self.read,
            "accepted": self.accepted,
            "duplicate": self.duplicate,
            "quarantined": self.quarantined,
            "unparsable": self.unparsable,
        }


def read(
    stream: ByteStream, *, source: Source, on_bytes: Callable[[int], object] = lambda count: None
) -> Iterator[Leg | Unparsable]:
    """What the stream holds, in the format of the source. `on_bytes` is told how many bytes were read each time.

    Raises NotThisFormat at the call, so that nothing needs to be written before.
    """
    watched = _WatchedStream(stream, on_bytes)
    if not watched.beginning:
        raise NotThisFormat("It is empty.")
    for beginning, what in _NO_TEXT.items():
        if watched.beginning.startswith(beginning):
            raise NotThisFormat(f"It is {what}.")
    return FORMATS[source.format](timezone=source.timezone, region=source.region).read(watched)


def take_in(found: Iterable[Leg | Unparsable], *, source: Source, file_name: str) -> CallImport:
    """Store what was found in a delivery of the source. Safe to repeat: what is known already is counted as duplicate.

    Commits chunk by chunk, so not to be called inside a transaction.
    """
    delivery = Delivery.objects.create(source=source, file_name=readable(file_name))
    result = CallImport()
    with _staging_tables():
        for chunk in _read_ahead(_chunks(found)):
            for stored in _stored(chunk, delivery):
                result.add(stored)
    Delivery.objects.filter(pk=delivery.pk).update(finished_at=Now())
    return result


_UTF_16 = "UTF-16, not UTF-8: convert it first"
_NO_TEXT = {
    b"\x1f\x8b": "compressed (gzip): unpack it first",
    b"PK\x03\x04": "a zip archive, or a spreadsheet's own format: unpack it, or save it as CSV",
    b"BZh9": "compressed (bzip2): unpack it first",
    b"\xfd7zX": "compressed (xz): unpack it first",
    b"\x28\xb5\x2f\xfd": "compressed (zstd): unpack it first",
    b"\xff\xfe": _UTF_16,
    b"\xfe\xff": _UTF_16,
}
_LONGEST_SIGN = max(map(len, _NO_TEXT))


@dataclass
class _Staging:
    """The legs of a chunk, each content once, and the bytes that COPY wants of them."""

    legs: list[Leg]
    ready: bytes


@dataclass
class _Chunk:
    legs: list[Leg] = field(default_factory=list)
    unparsable: list[Unparsable] = field(default_factory=list)
    staging: _Staging | None = None  # made ahead, where that needs nothing of the database

    @property
    def read_count(self) -> int:
        return len(self.legs) + len(self.unparsable)


def _chunks(found: Iterable[Leg | Unparsable]) -> Iterator[_Chunk]:
    chunk, size = _Chunk(), 0
    for one in found:
        if isinstance(one, Unparsable):
            chunk.unparsable.append(one)
        elif len(one.call_id) > LONGEST_CALL_ID:
            reason = f"Its call id is longer than {LONGEST_CALL_ID} characters."
            chunk.unparsable.append(Unparsable(one.line_number, one.raw, reason))
        else:
            chunk.legs.append(one)
        size += len(one.raw)
        if size >= BYTES_AT_A_TIME or chunk.read_count >= RECORDS_AT_A_TIME:
            yield chunk
            chunk, size = _Chunk(), 0
    if chunk.read_count:
        yield chunk


def _read_ahead(chunks: Iterator[_Chunk]) -> Iterator[_Chunk]:
    """The chunks, each read in a thread while the one before is being stored: one is Python's work, one PostgreSQL's.

    Two of them are in memory at most. The thread is a daemon, so that a stream on which nothing comes any more keeps
    nobody from leaving.
    """
    ready: Queue[_Chunk | Exception | None] = Queue()
    is_over = Event()

    def work() -> None:
        try:
            for chunk in chunks:
                if all(leg.call_id for leg in chunk.legs):
                    chunk.staging = _stage(chunk.legs)
                ready.put(chunk)
                if is_over.is_set():
                    return
                ready.join()  # until it is taken
            ready.put(None)
        except Exception as error:  # noqa: BLE001 - raised where the chunk is waited for
            ready.put(error)

    Thread(target=work, daemon=True).start()
    try:
        while (chunk := ready.get()) is not None:
            ready.task_done()
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk
    finally:
        is_over.set()
        with suppress(Empty):
            ready.get_nowait()
            ready.task_done()  # lets the thread go on, to its end


def _stored(chunk: _Chunk, delivery: Delivery) -> Iterator[CallImport]:
    """Store the chunk in a transaction. A record that the database can't take must not keep the others out: where the
    chunk is refused, it is halved until that record is alone, which then is unparsable.
    """
    try:
        with transaction.atomic(durable=True), connection.cursor() as cursor:
            stored = _store(chunk, delivery=delivery, cursor=cursor)
    except (DataError, IntegrityError) as error:
        if not chunk.legs:
            raise
        half = len(chunk.legs) // 2
        if half:
            yield from _stored(_Chunk(chunk.legs[:half], chunk.unparsable), delivery)
            yield from _stored(_Chunk(chunk.legs[half:]), delivery)
        else:
            (leg,) = chunk.legs
            reason = f"The database refuses it: {str(error).splitlines()[0]}"
            refused = Unparsable(leg.line_number, leg.raw, reason)
            yield from _stored(_Chunk([], [*chunk.unparsable, refused]), delivery)
    else:
        yield stored


def _store(chunk: _Chunk, *, delivery: Delivery, cursor: CursorWrapper) -> CallImport:
    """Give everything in the chunk its fate and store it, in the transaction of the caller."""
    cursor.execute("TRUNCATE call_intake, call_fate")
    cursor.execute("SELECT set_config('work_mem', %s, true)", [WORK_MEMORY])
    staging = chunk.staging or _stage(_with_ids(chunk.legs, cursor))
    with cursor.copy(_COPY) as copy:
        copy.write(staging.ready)
    cursor.execute("SELECT pg_advisory_xact_lock(%s, 0)", [IMPORT_LOCK])
    # A statement of its own: from here on everything that another import has committed is seen.
    cursor.execute("SELECT nextval(pg_get_serial_sequence('billing_arrivalbatch', 'id'))")
    (batch_id,) = cursor.fetchone()
    names = {"source": delivery.source_id, "source_name": delivery.source.name, "batch": batch_id}
    names["is_any"] = FORMATS[delivery.source.format].account_is_any_identity
    decide = _DECIDE.format(attributed=ATTRIBUTED, names_two=NAMES_TWO, names_nobody=NAMES_NOBODY)
    cursor.execute(decide, names)
    cursor.execute(_KEEP, names)
    stored_count = cursor.rowcount
    reasons = _quarantine(staging.legs, names, cursor)
    kept = _keep_unparsable(chunk.unparsable, delivery, cursor)

    result = CallImport(
        accepted=stored_count - reasons.total(),
        quarantined=reasons.total(),
        unparsable=len(kept),
        quarantine_reasons=reasons,
        unparsable_examples=sorted(kept)[:EXAMPLES],
    )
    result.duplicate = chunk.read_count - result.read
    if stored_count:
        ArrivalBatch.objects.create(
            pk=batch_id,
            delivery=delivery,
            call_count=result.accepted,
            closed_at=None if result.accepted else Now(),
        )
        cursor.execute(_COUNT_BY_HOUR, names)
    Delivery.objects.filter(pk=delivery.pk).update(
        last_stored_at=Now(),
        **{f"{fate}_count": F(f"{fate}_count") + count for fate, count in result.as_json().items()},
    )
    return result


# Within the chunk ----------------------------------------------------------------------------------------------------


def _with_ids(legs: list[Leg], cursor: CursorWrapper) -> list[Leg]:
    """The legs, of which those without a call id get one: their content, and which one they are among equals.

    Equal records of a file are as many calls. The content of the second and later ones is told apart by the number,
    too. How often each has been seen is counted in a temporary table, since memory is bounded and files are not.
    """
    nameless = [leg.content_hash for leg in legs if not leg.call_id]
    if not nameless:
        return legs
    cursor.execute("SELECT content_hash, seen FROM call_repeats WHERE content_hash = ANY(%s::uuid[])", [nameless])
    seen = Counter({content_hash.hex: count for content_hash, count in cursor.fetchall()})
    named = []
    for leg in legs:
        if leg.call_id:
            named.append(leg)
            continue
        seen[leg.content_hash] += 1
        number = seen[leg.content_hash]
        content_hash = leg.content_hash
        if number > 1:
            content_hash = blake2b(f"{leg.content_hash}-{number}".encode(), digest_size=16).hexdigest()
        named.append(leg._replace(call_id=f"{leg.content_hash}-{number}", content_hash=content_hash))
    cursor.execute(
        "INSERT INTO call_repeats (content_hash, seen) SELECT * FROM unnest(%s::uuid[], %s::bigint[])"
        " ON CONFLICT (content_hash) DO UPDATE SET seen = excluded.seen",
        [list(seen), list(seen.values())],
    )
    return named


def _stage(legs: list[Leg]) -> _Staging:
    """Leave out repeated content, mark later legs with the id of an earlier one, and write it all down for COPY."""
    first: dict[str, Leg] = {}
    for leg in legs:
        first.setdefault(leg.content_hash, leg)
    ids: set[str] = set()
    lines = []
    for index, leg in enumerate(first.values()):
        words = "\t".join(leg[2:9])
        if not _PLAIN_WORDS(words):
            words = "\t".join(readable(word).replace("\\", "\\\\").replace("\t", "\\t") for word in leg[2:9])
        call_id = words.partition("\t")[0]
        lines.append(
            f"{index}\t{call_id in ids}\t{leg.line_number}\t{leg.content_hash}\t{words}"
            f"\t{leg.started_at.timestamp()}"
            f"\t{leg.answered_at.timestamp() if leg.answered_at else _NULL}"
            f"\t{leg.ended_at.timestamp() if leg.ended_at else _NULL}"
            f"\t{leg.seconds}\t{leg.is_answered}\t{leg.is_internal}\n"
        )
        ids.add(call_id)
    return _Staging(list(first.values()), "".join(lines).encode())


_COPY = f"""
COPY call_intake (
    leg, repeats_id, {", ".join(Leg._fields[:9])}, started, answered, ended, seconds, is_answered, is_internal
) FROM STDIN
"""
_NULL = r"\N"
_PLAIN_WORDS = re.compile(r"[ -\[\]-~]*(?:\t[ -\[\]-~]*){6}").fullmatch  # printable, and no backslash


class _WatchedStream:
    """A stream that tells how much of it was read, and how it begins."""

    def __init__(self, stream: ByteStream, on_bytes: Callable[[int], object]) -> None:
        self._stream = stream
        self._on_bytes = on_bytes
        self.beginning = self._ahead = stream.read(_LONGEST_SIGN)

    def read(self, size: int, /) -> bytes:
        ahead, self._ahead = self._ahead[:size], self._ahead[size:]
        block = ahead + self._stream.read(size - len(ahead)) if size > len(ahead) else ahead
        self._on_bytes(len(block))
        return block


# What the database does ----------------------------------------------------------------------------------------------


@contextmanager
def _staging_tables() -> Iterator[None]:
    with connection.cursor() as cursor:
        cursor.execute(_DROP_STAGING)
        cursor.execute(_MAKE_STAGING)
    yield
    with connection.cursor() as cursor:
        cursor.execute(_DROP_STAGING)


def _quarantine(legs: list[Leg], names: dict[str, Any], cursor: CursorWrapper) -> Counter[str]:
    """Quarantine the legs of the chunk that have a reason to be; the reasons, counted."""
    cursor.execute("SELECT leg, split_part(verdict, '|', 1) FROM call_fate WHERE verdict IS NOT NULL")
    stopped = cursor.fetchall()
    if stopped:
        numbers = [number for number, _ in stopped]
        raws = [readable(legs[number].raw) for number in numbers]
        cursor.execute(_QUARANTINE, {**names, "legs": numbers, "raws": raws})
    return Counter(reason for _, reason in stopped)


def _keep_unparsable(lines: list[Unparsable], delivery: Delivery, cursor: CursorWrapper) -> list[tuple[int, str]]:
    """Keep the lines, each once for its source; the numbers and reasons of those that are new."""
    if not lines:
        return []
    raws = [raw_bytes(line.raw) for line in lines]
    cursor.execute(
        _KEEP_UNPARSABLE,
        {
            "source": delivery.source_id,
            "delivery": delivery.pk,
            "line_numbers": [line.line_number for line in lines],
            "raws": raws,
            "reasons": [readable(line.reason) for line in lines],
            "hashes": [blake2b(raw, digest_size=16).hexdigest() for raw in raws],
        },
    )
    return cursor.fetchall()


_DROP_STAGING = "DROP TABLE IF EXISTS pg_temp.call_intake, pg_temp.call_fate, pg_temp.call_repeats"

_MAKE_STAGING = """
CREATE TEMP TABLE call_intake (
    leg integer, repeats_id boolean, line_number integer, content_hash uuid, call_id text COLLATE "C", direction text,
    account_code text COLLATE "C", from_peer text COLLATE "C", to_peer text COLLATE "C",
    from_number text COLLATE "C", to_number text COLLATE "C",
    started double precision, answered double precision, ended double precision, -- since 1970: quicker to write
    seconds integer, is_answered boolean, is_internal boolean,
    started_at timestamptz GENERATED ALWAYS AS (to_timestamp(started)) STORED,
    answered_at timestamptz GENERATED ALWAYS AS (to_timestamp(answered)) STORED,
    ended_at timestamptz GENERATED ALWAYS AS (to_timestamp(ended)) STORED
);
CREATE TEMP TABLE call_fate (leg integer, direction text, customer_id bigint, verdict text); -- reason|detail
CREATE TEMP TABLE call_repeats (content_hash uuid PRIMARY KEY, seen bigint);
"""

# A fate for every leg but duplicates, the first that applies. The look-ups in the call records are LATERAL, so that
# the planner always goes by the index, however small the table looks to it.
_DECIDE = """
INSERT INTO call_fate (leg, direction, customer_id, verdict)
WITH fresh AS MATERIALIZED (
    SELECT i.*, known.elsewhere, taken.yes AS id_is_taken
    FROM call_intake i
    CROSS JOIN LATERAL (
        SELECT bool_or(source_id = %(source)s) AS here, min(source_id) AS elsewhere
        FROM billing_callrecord WHERE content_hash = i.content_hash
    ) known
    LEFT JOIN LATERAL (
        SELECT true AS yes FROM billing_callrecord WHERE call_id = i.call_id AND source_id = %(source)s LIMIT 1
    ) taken ON true
    WHERE known.here IS NOT TRUE
), leg AS (
    SELECT leg, %(source)s::bigint AS source_id, %(source_name)s::text AS source_name, direction AS said_direction,
        %(is_any)s AS account_is_any_identity, account_code, from_peer, to_peer, from_number, to_number, started_at
    FROM fresh
), {attributed}
SELECT f.leg,
    coalesce(nullif(f.direction, ''), a.direction, 'outbound'),
    CASE WHEN a.customer_id = a.other_customer_id THEN a.customer_id END,
    CASE
        WHEN f.repeats_id OR f.id_is_taken THEN
            'conflicting_duplicate|The source has another record of the call id ' || f.call_id || '.'
        WHEN f.elsewhere IS NOT NULL THEN
            concat(
                'possible_duplicate|The source ', (SELECT name FROM billing_source WHERE id = f.elsewhere),
                ' has delivered the same record.'
            )

        WHEN f.started_at < '2000-01-01 00:00+00' THEN 'impossible_time|It started before the year 2000.'
        WHEN greatest(f.started_at, f.answered_at, f.ended_at) > now() + interval '1 day' THEN
            'impossible_time|It came more than a day before it happened.'
        WHEN f.seconds > 31 * 86400 OR f.ended_at - f.started_at > interval '31 days' THEN
            'impossible_time|It is longer than 31 days.'

        WHEN f.seconds < 0 THEN 'contradictory|It carries ' || f.seconds || ' seconds.'
        WHEN NOT f.is_answered AND f.seconds > 0 THEN
            'contradictory|It was not answered, and carries ' || f.seconds || ' seconds.'
        WHEN f.ended_at < f.started_at THEN 'contradictory|It ended before it started.'
        WHEN f.answered_at < f.started_at THEN 'contradictory|It was answered before it started.'
        WHEN f.ended_at < f.answered_at THEN 'contradictory|It ended before it was answered.'
        WHEN abs(extract(epoch FROM f.ended_at - f.answered_at) - f.seconds) > 2 THEN
            'contradictory|It carries ' || f.seconds || ' seconds; from answer to end it is '
            || trim_scale(extract(epoch FROM f.ended_at - f.answered_at)) || '.'
        WHEN f.answered_at IS NULL AND f.seconds > extract(epoch FROM f.ended_at - f.started_at) + 2 THEN
            'contradictory|It carries ' || f.seconds || ' seconds; from start to end it is '
            || trim_scale(extract(epoch FROM f.ended_at - f.started_at)) || '.'

        -- Free by rule, whoever it belongs to.
        WHEN f.is_internal OR NOT f.is_answered OR f.seconds = 0 THEN NULL

        WHEN a.customer_id <> a.other_customer_id THEN 'ambiguous_customer|' || {names_two}
        WHEN a.customer_id IS NULL THEN 'no_customer|' || {names_nobody}
        WHEN f.to_number !~ '^[0-9]{{1,20}}$' AND (
            coalesce(nullif(f.direction, ''), a.direction) = 'outbound'
            OR EXISTS (SELECT FROM billing_customer WHERE id = a.customer_id AND inbound_deck_id IS NOT NULL)
        ) THEN
            'impossible_number|' || CASE f.to_number
                WHEN '' THEN 'It has no called number.' ELSE 'Nobody can be called at ' || f.to_number || '.'
            END
    END
FROM fresh f
LEFT JOIN attributed a USING (leg)
"""

_KEEP = """
INSERT INTO billing_callrecord (
    source_id, batch_id, line_number, call_id, content_hash, customer_id, direction, account_code, from_peer, to_peer,
    from_number, to_number, started_at, answered_at, ended_at, seconds, is_answered, is_internal, booked_month
)
SELECT %(source)s, %(batch)s, i.line_number, i.call_id, i.content_hash, f.customer_id, f.direction, i.account_code,
    i.from_peer, i.to_peer, i.from_number, i.to_number, i.started_at, i.answered_at, i.ended_at, i.seconds,
    i.is_answered, i.is_internal, date_trunc('month', i.started_at AT TIME ZONE 'UTC')::date
FROM call_intake i JOIN call_fate f USING (leg)
ORDER BY leg
"""

_COUNT_BY_HOUR = """
INSERT INTO billing_callsbyhour (source_id, batch_id, hour, call_count)
SELECT %(source)s, %(batch)s, to_timestamp(floor(i.started / 3600) * 3600), count(*)
FROM call_intake i JOIN call_fate f USING (leg)
GROUP BY 3
"""

_QUARANTINE = """
INSERT INTO billing_quarantinedcall (
    call_key, content_hash, reason, detail, raw, state, customer_id, dismissed_by, dismissed_because
)
SELECT call_key(%(source_name)s, i.call_id), i.content_hash, split_part(f.verdict, '|', 1),
    substr(f.verdict, strpos(f.verdict, '|') + 1), r.raw, 'waiting', f.customer_id, '', ''
FROM unnest(%(legs)s::integer[], %(raws)s::text[]) r (leg, raw)
JOIN call_intake i USING (leg) JOIN call_fate f USING (leg)
ORDER BY leg
"""

_KEEP_UNPARSABLE = """
INSERT INTO billing_unparsableline (source_id, delivery_id, line_number, raw, reason, content_hash)
SELECT %(source)s, %(delivery)s, l.*
FROM unnest(%(line_numbers)s::bigint[], %(raws)s::bytea[], %(reasons)s::text[], %(hashes)s::uuid[]) l
ON CONFLICT (source_id, content_hash) DO NOTHING
RETURNING line_number, reason
"""
