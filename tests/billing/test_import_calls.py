"""Every record of a file gets exactly one fate, told from format `ivy`; and what `import_calls` answers."""

import bz2
import errno
import gzip
import io
import json
import lzma
import threading
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connection

from billing import sources
from billing.imports import calls
from billing.imports.call_formats.ivy import COLUMNS
from billing.models import ArrivalBatch, CallRecord, Customer, Delivery, QuarantinedCall, Source, UnparsableLine
from tests.billing.call_files import (
    MOBILE,
    OFFICE,
    asterisk_call,
    asterisk_file,
    deliver,
    fates,
    ivy_call,
    ivy_file,
    missed_ivy_call,
    only_call,
    why,
)
from tests.factories import make_customer, make_deck, make_identity, make_source

pytestmark = pytest.mark.django_db


@pytest.fixture
def pbx() -> Source:
    return make_source(name="pbx-north", region="GB")


def zipped(content: bytes) -> bytes:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as files:
        files.writestr("Master.csv", content)
    return archive.getvalue()


def utf_16(content: bytes) -> bytes:
    return content.decode().encode("utf-16")


@pytest.fixture
def lindqvist() -> Customer:
    return make_customer(account="10001", name="Café Lindqvist")


class TestAnAcceptedCall:
    def test_is_stored_as_it_was_reported_and_awaits_its_outcome(self, pbx: Source, lindqvist: Customer) -> None:
        assert fates(deliver(ivy_file(ivy_call(call_id="leg-a", billsec="59.2")), pbx)) == (1, 0, 0, 0)

        call = only_call()
        assert (call.source, call.call_id, call.customer, call.direction) == (pbx, "leg-a", lindqvist, "outbound")
        assert (call.from_number, call.to_number, call.account_code) == (OFFICE, MOBILE, "10001")
        assert call.started_at == datetime(2024, 3, 4, 9, 30, tzinfo=UTC)
        assert call.answered_at == call.started_at + timedelta(seconds=5)
        assert call.ended_at == call.started_at + timedelta(seconds=65)
        assert (call.seconds, call.is_answered, call.is_internal) == (60, True, False)  # a begun second counts
        assert str(call.booked_month) == "2024-03-01"
        assert call.line_number == 2
        with connection.cursor() as cursor:
            cursor.execute("SELECT call_key, customer_id FROM billing_pendingcall")
            assert cursor.fetchall() == [("call:pbx-north:leg-a", lindqvist.pk)]

    def test_lies_in_an_open_batch_of_its_delivery(self, pbx: Source, lindqvist: Customer) -> None:
        deliver(ivy_file(ivy_call(), ivy_call()), pbx, file_name="march.csv")
        batch = ArrivalBatch.objects.get()
        assert batch.delivery is not None
        assert (batch.delivery.file_name, batch.delivery.source, batch.call_count) == ("march.csv", pbx, 2)
        assert batch.closed_at is None

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"disposition": "no answer", "billsec": "0", "answered_at": ""}, "not answered"),
            ({"disposition": "BUSY", "billsec": "", "answered_at": ""}, "busy; no seconds written"),
            ({"billsec": "0", "ended_at": "2024-03-04T09:30:05Z"}, "answered, zero seconds"),
            ({"billsec": "0.0", "ended_at": "", "answered_at": ""}, "answered, zero seconds, no times"),
        ],
    )
    def test_may_be_nobodys_when_it_is_free_by_rule(self, pbx: Source, changes: dict[str, str], reason: str) -> None:
        assert fates(deliver(ivy_file(ivy_call(account="unknown", **changes)), pbx)) == (1, 0, 0, 0), reason
        assert only_call().customer is None


class TestQuarantine:
    @pytest.mark.parametrize(
        ("changes", "reason", "detail"),
        [
            ({"account": "99", "from_number": ""}, "no_customer", "account code 99, called number 447700900123"),
            ({"account": "", "from_number": "", "to_number": ""}, "no_customer", "identity of a customer: ."),
            ({"account": "10002"}, "ambiguous_customer", "customers 10001 and 10002"),
            ({"to_number": ""}, "impossible_number", "no called number"),
            ({"to_number": "reception"}, "impossible_number", "at reception"),
            ({"to_number": "*97"}, "impossible_number", "at *97"),
            ({"to_number": "4" * 21}, "impossible_number", "at 4444"),
            (
                {"started_at": "1999-12-31T23:59:59Z", "answered_at": "", "ended_at": ""},
                "impossible_time",
                "before the year 2000",
            ),
            ({"started_at": "1970-01-01T00:00:00Z"}, "impossible_time", "before the year 2000"),
            ({"ended_at": "2124-03-04T09:31:05Z"}, "impossible_time", "before it happened"),
            ({"ended_at": "", "answered_at": "", "billsec": "2678401"}, "impossible_time", "longer than 31 days"),
            ({"ended_at": "2024-04-04T09:30:01Z"}, "impossible_time", "longer than 31 days"),
            ({"disposition": "busy"}, "contradictory", "not answered, and carries 60 seconds"),
            ({"billsec": "-60"}, "contradictory", "carries -60 seconds"),
            ({"ended_at": "2024-03-04T09:29:59Z"}, "contradictory", "ended before it started"),
            ({"answered_at": "2024-03-04T09:29:59Z"}, "contradictory", "answered before it started"),
            ({"ended_at": "2024-03-04T09:30:04Z"}, "contradictory", "ended before it was answered"),
            ({"billsec": "57"}, "contradictory", "carries 57 seconds; from answer to end it is 60"),
            ({"billsec": "63"}, "contradictory", "from answer to end it is 60"),
            ({"billsec": "0"}, "contradictory", "carries 0 seconds; from answer to end it is 60"),
            ({"answered_at": "", "billsec": "68"}, "contradictory", "from start to end it is 65"),
            ({"disposition": "failed", "billsec": "0"}, "contradictory", "from answer to end it is 60"),
        ],
    )
    def test_takes_a_record_that_cannot_be_charged_as_it_stands(
        self, pbx: Source, lindqvist: Customer, changes: dict[str, str], reason: str, detail: str
    ) -> None:
        make_identity(customer=lindqvist, value=OFFICE)
        make_customer(account="10002")
        content = ivy_file(ivy_call(call_id="odd", **changes))
        assert fates(deliver(content, pbx)) == (0, 0, 1, 0)

        found = why("odd")
        assert found is not None
        assert (found[0], detail in found[1]) == (reason, True), found
        waiting = QuarantinedCall.objects.get()
        assert (waiting.state, waiting.call_key) == ("waiting", "call:pbx-north:odd")
        assert waiting.content_hash == only_call().content_hash
        assert waiting.raw == content.decode().splitlines()[1]
        assert ArrivalBatch.objects.get().closed_at is not None  # nothing in it awaits billing

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"billsec": "58"}, "two seconds off"),
            ({"billsec": "62"}, "two seconds off"),
            ({"answered_at": "", "billsec": "67"}, "two seconds more than it lasted"),
            ({"answered_at": "", "ended_at": ""}, "nothing to compare with"),
            ({"to_number": "4" * 20}, "twenty digits"),
            ({"to_number": "112"}, "a short code"),
            ({"ended_at": "2024-04-04T09:30:00Z", "answered_at": "", "billsec": "2678400"}, "31 days"),
        ],
    )
    def test_is_spared_what_is_just_possible(
        self, pbx: Source, lindqvist: Customer, changes: dict[str, str], reason: str
    ) -> None:
        assert fates(deliver(ivy_file(ivy_call(**changes)), pbx)) == (1, 0, 0, 0), reason

    def test_knows_a_day_ahead_by_the_clock_of_the_database(self, pbx: Source, lindqvist: Customer) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT now()")
            (now,) = cursor.fetchone()

        def call(name: str, ahead: timedelta) -> dict[str, str]:
            times = {"started_at": (now + ahead).isoformat(), "answered_at": "", "ended_at": ""}
            return ivy_call(call_id=name, **times)

        deliver(ivy_file(call("soon", timedelta(hours=23)), call("late", timedelta(hours=25))), pbx)
        assert why("soon") is None
        assert why("late") == ("impossible_time", "It came more than a day before it happened.")

    def test_asks_for_the_number_of_an_inbound_call_only_where_it_is_charged(
        self, pbx: Source, lindqvist: Customer
    ) -> None:
        freephone = make_customer(account="10002", inbound_deck=make_deck())
        deliver(
            ivy_file(
                ivy_call(call_id="free", direction="inbound", to_number="reception"),
                ivy_call(call_id="charged", direction="inbound", to_number="reception", account=freephone.account),
            ),
            pbx,
        )
        assert why("free") is None
        assert why("charged") == ("impossible_number", "Nobody can be called at reception.")

    def test_says_first_what_comes_first(self, pbx: Source) -> None:
        """Two things wrong: the times are as impossible as the customer is unknown."""
        deliver(ivy_file(ivy_call(call_id="odd", account="?", ended_at="2124-03-04T09:31:05Z")), pbx)
        assert why("odd") == ("impossible_time", "It came more than a day before it happened.")


class TestDuplicates:
    def test_of_a_whole_file_change_nothing(self, pbx: Source, lindqvist: Customer) -> None:
        content = ivy_file(ivy_call(), missed_ivy_call(), ivy_call(account="?", from_number="")) + b"garbage\n"
        assert fates(deliver(content, pbx)) == (2, 0, 1, 1)
        assert fates(deliver(content, pbx)) == (0, 4, 0, 0)
        assert fates(deliver(content, pbx)) == (0, 4, 0, 0)
        assert (CallRecord.objects.count(), QuarantinedCall.objects.count()) == (3, 1)
        assert (UnparsableLine.objects.count(), ArrivalBatch.objects.count(), Delivery.objects.count()) == (1, 1, 3)

    def test_of_overlapping_files_are_told_from_what_is_new(self, pbx: Source, lindqvist: Customer) -> None:
        monday, tuesday, wednesday = ivy_call(), ivy_call(), ivy_call()
        assert fates(deliver(ivy_file(monday, tuesday), pbx)) == (2, 0, 0, 0)
        assert fates(deliver(ivy_file(tuesday, wednesday), pbx)) == (1, 1, 0, 0)

    def test_within_a_file_are_counted_once(self, pbx: Source, lindqvist: Customer) -> None:
        call = ivy_call()
        assert fates(deliver(ivy_file(call, call, ivy_call(), call), pbx)) == (2, 2, 0, 0)

    def test_are_the_same_in_other_columns_and_line_ends(self, pbx: Source, lindqvist: Customer) -> None:
        call = ivy_call()
        content = ivy_file(call)
        deliver(content, pbx)
        backwards = list(call)[::-1]
        for same in (
            content.replace(b"\n", b"\r\n"),
            content.replace(b"\n", b"\r"),
            b"\xef\xbb\xbf" + content,
            ivy_file(call, columns=backwards),
            content.replace(b"outbound", b'"outbound"'),
        ):
            assert fates(deliver(same, pbx)) == (0, 1, 0, 0)

    def test_are_judged_on_the_raw_fields(self, pbx: Source, lindqvist: Customer) -> None:
        """The same instant, written in another way, is other content: it waits beside the first."""
        deliver(ivy_file(ivy_call(call_id="leg-a")), pbx)
        rewritten = ivy_call(call_id="leg-a", started_at="2024-03-04T10:30:00+01:00")
        assert fates(deliver(ivy_file(rewritten), pbx)) == (0, 0, 1, 0)
        assert why("leg-a") == ("conflicting_duplicate", "The source has another record of the call id leg-a.")

    def test_with_other_content_wait_in_the_file_and_across_files(self, pbx: Source, lindqvist: Customer) -> None:
        first, second = ivy_call(call_id="leg-a"), ivy_call(call_id="leg-a", billsec="61")
        third = ivy_call(call_id="leg-a", billsec="62")
        assert fates(deliver(ivy_file(first, second), pbx)) == (1, 0, 1, 0)
        assert fates(deliver(ivy_file(third, second, first), pbx)) == (0, 2, 1, 0)
        assert CallRecord.objects.filter(call_id="leg-a").count() == 3
        with connection.cursor() as cursor:
            cursor.execute("SELECT seconds FROM billing_pendingcall")
            assert cursor.fetchall() == [(60,)]  # only the first is charged

    def test_never_push_the_first_of_an_id_aside(self, pbx: Source, lindqvist: Customer) -> None:
        first, second = ivy_call(call_id="leg-a"), ivy_call(call_id="leg-a", billsec="61")
        assert fates(deliver(ivy_file(first, second, first), pbx)) == (1, 1, 1, 0)
        with connection.cursor() as cursor:
            cursor.execute("SELECT seconds FROM billing_pendingcall")
            assert cursor.fetchall() == [(60,)]

    def test_of_another_source_are_only_possible(self, pbx: Source, lindqvist: Customer) -> None:
        south = make_source(name="pbx-south", region="GB")
        call = ivy_call(call_id="leg-a")
        deliver(ivy_file(call), pbx)
        assert fates(deliver(ivy_file(call), south)) == (0, 0, 1, 0)
        assert why("leg-a") == ("possible_duplicate", "The source pbx-north has delivered the same record.")
        assert fates(deliver(ivy_file(call), south)) == (0, 1, 0, 0)

    def test_ids_of_another_source_do_not_conflict(self, pbx: Source, lindqvist: Customer) -> None:
        south = make_source(name="pbx-south", region="GB")
        deliver(ivy_file(ivy_call(call_id="leg-a")), pbx)
        assert fates(deliver(ivy_file(ivy_call(call_id="leg-a", billsec="61")), south)) == (1, 0, 0, 0)

    def test_behind_a_stopped_record_wait_as_well(self, pbx: Source, lindqvist: Customer) -> None:
        deliver(ivy_file(ivy_call(call_id="leg-a", billsec="0")), pbx)
        assert why("leg-a") == ("contradictory", "It carries 0 seconds; from answer to end it is 60.")
        assert fates(deliver(ivy_file(ivy_call(call_id="leg-a")), pbx)) == (0, 0, 1, 0)


class TestUnparsableLines:
    def test_are_kept_raw_with_number_and_reason(self, pbx: Source, lindqvist: Customer) -> None:
        line = b'leg-9,10001,outb\xfcnd,"\x00'
        assert fates(deliver(ivy_file(ivy_call()) + line + b"\n" + b"\n", pbx)) == (1, 0, 0, 1)
        kept = UnparsableLine.objects.get()
        assert (bytes(kept.raw), kept.line_number, kept.source) == (line, 3, pbx)
        assert kept.reason == "Its quotes are wrong: unexpected end of data."

    def test_are_duplicates_when_they_come_again(self, pbx: Source) -> None:
        assert fates(deliver(ivy_file() + b"garbage\ngarbage\nrubbish\n", pbx)) == (0, 1, 0, 2)
        assert fates(deliver(ivy_file() + b"rubbish\n", pbx)) == (0, 1, 0, 0)
        assert fates(deliver(ivy_file() + b"rubbish\n", make_source(name="pbx-south"))) == (0, 0, 0, 1)

    def test_hold_nothing_up(self, pbx: Source, lindqvist: Customer) -> None:
        junk = [b"%d,garbage" % number for number in range(40)]
        good = [ivy_file(ivy_call()).splitlines()[1] for _ in range(40)]
        mixed = [line for pair in zip(junk, good, strict=True) for line in pair]
        assert fates(deliver(ivy_file() + b"\n".join(mixed) + b"\n", pbx)) == (40, 0, 0, 40)

    def test_are_also_what_the_database_refuses(self, pbx: Source, lindqvist: Customer) -> None:
        """Whatever nobody has thought of keeps out one record, not the file."""
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE billing_callrecord ADD CONSTRAINT no_thirteens CHECK (call_id NOT LIKE '%13')")
        rows = [ivy_call(call_id=f"leg-{number}") for number in range(1, 25)]
        assert fates(deliver(ivy_file(*rows) + b"garbage\n", pbx)) == (23, 0, 0, 2)
        assert not CallRecord.objects.filter(call_id="leg-13").exists()
        refused = UnparsableLine.objects.get(line_number=14)
        assert bytes(refused.raw).startswith(b"leg-13,")
        assert "no_thirteens" in refused.reason
        assert fates(deliver(ivy_file(*rows) + b"garbage\n", pbx)) == (0, 25, 0, 0)


class TestWhatNoDatabaseLikes:
    def test_nul_bytes_and_wrong_encodings_are_stored_readably(self, pbx: Source, lindqvist: Customer) -> None:
        content = ivy_file(
            ivy_call(call_id="a\0b", account="10001", from_number="M\udcfcller\\t", to_number="+4\u0664")
        )
        assert fates(deliver(content, pbx)) == (0, 0, 1, 0)
        call = only_call()
        assert (call.call_id, call.from_number, call.to_number) == ("a␀b", "Müller\\t", "+4\u0664")
        assert fates(deliver(content, pbx)) == (0, 1, 0, 0)

    def test_ids_that_become_the_same_are_not_both_accepted(self, pbx: Source, lindqvist: Customer) -> None:
        assert fates(deliver(ivy_file(ivy_call(call_id="a\0b"), ivy_call(call_id="a␀b")), pbx)) == (1, 0, 1, 0)

    def test_tabs_quotes_and_backslashes_survive(self, pbx: Source, lindqvist: Customer) -> None:
        odd = 'it"s\t\\N \\. \\t,'
        deliver(ivy_file(ivy_call(call_id=odd)), pbx)
        assert only_call().call_id == odd

    def test_a_monstrous_call_id_is_unparsable(self, pbx: Source, lindqvist: Customer) -> None:
        """An index holds no longer one; without this the file would never get in."""
        assert fates(deliver(ivy_file(ivy_call(call_id="x" * 251), ivy_call(call_id="y" * 250)), pbx)) == (1, 0, 0, 1)


class TestChunks:
    def test_are_one_batch_each_and_know_of_each_other(
        self, pbx: Source, lindqvist: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calls, "RECORDS_AT_A_TIME", 3)
        rows = [ivy_call() for _ in range(7)]
        again, other = rows[0], {**rows[1], "billsec": "61"}
        assert fates(deliver(ivy_file(*rows, again, other), pbx)) == (7, 1, 1, 0)
        assert list(ArrivalBatch.objects.order_by("pk").values_list("call_count", flat=True)) == [3, 3, 1]

    def test_of_nothing_but_duplicates_make_no_batch(self, pbx: Source, lindqvist: Customer) -> None:
        content = ivy_file(ivy_call())
        deliver(content, pbx)
        deliver(content, pbx)
        assert ArrivalBatch.objects.count() == 1

    def test_are_read_ahead_by_nobody_once_the_import_has_failed(
        self, pbx: Source, lindqvist: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calls, "RECORDS_AT_A_TIME", 1)
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE billing_unparsableline ADD CONSTRAINT no_rubbish CHECK (raw <> 'rubbish')")
        before = set(threading.enumerate())
        with pytest.raises(IntegrityError):
            deliver(ivy_file(ivy_call()) + b"rubbish\n" + b"garbage\n" * 1000, pbx)
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=60)
            assert not thread.is_alive()
        assert CallRecord.objects.count() == 1

    def test_end_by_size_as_well_so_that_memory_is_bounded(
        self, pbx: Source, lindqvist: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(calls, "BYTES_AT_A_TIME", 200)
        assert fates(deliver(ivy_file(*[ivy_call() for _ in range(4)]), pbx)) == (4, 0, 0, 0)
        assert ArrivalBatch.objects.count() == 2


class TestTheCommand:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "calls.csv"
        path.write_bytes(ivy_file(ivy_call(), ivy_call(account="?", from_number="")) + b"garbage\n")
        return path

    def run(self, *words: object) -> str:
        out = io.StringIO()
        call_command("import_calls", *map(str, words), stdout=out)
        return out.getvalue()

    def refused(self, *words: object) -> str:
        with pytest.raises(CommandError) as caught:
            self.run(*words)
        assert caught.value.returncode == 2
        assert not Delivery.objects.exists()
        return str(caught.value)

    def test_answers_programs(self, pbx: Source, lindqvist: Customer, file: Path) -> None:
        answer = json.loads(self.run(file, "--source", "pbx-north", "--json"))
        assert answer == {"read": 3, "accepted": 1, "duplicate": 0, "quarantined": 1, "unparsable": 1}

    def test_answers_people_with_the_reasons_and_where_to_look(
        self, pbx: Source, lindqvist: Customer, file: Path
    ) -> None:
        assert self.run(file, "--source", "pbx-north") == (
            f"{file}: 3 call records read; 1 accepted, 0 known already, 1 quarantined, 1 unparsable.\n"
            "In quarantine: 1 no_customer. See “Quarantined calls” in the admin.\n"
            "Unparsable lines are kept as they came; see “Unparsable lines” in the admin.\n"
            "  line 4: It has 1 field; the header has 10.\n"
        )

    def test_reads_stdin(self, pbx: Source, lindqvist: Customer, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with file.open("rb") as stream:
            monkeypatch.setattr("sys.stdin", io.TextIOWrapper(stream))
            assert json.loads(self.run("-", "--source", "pbx-north", "--json"))["read"] == 3
        assert Delivery.objects.get().file_name == "standard input"

    def test_registers_a_source_once(self, lindqvist: Customer, file: Path) -> None:
        words = (file, "--source", "pbx-west", "--new-source", "--format", "ivy", "--region", "gb", "--json")
        assert json.loads(self.run(*words))["accepted"] == 1
        assert json.loads(self.run(*words))["duplicate"] == 3
        source = Source.objects.get()
        assert (source.name, source.format, source.timezone, source.region) == ("pbx-west", "ivy", "", "GB")

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            (["--source", "pbx-nroth"], "There is no source “pbx-nroth”"),
            (["--source", "pbx-nroth", "--new-source"], "needs its --format: 3cx, asterisk,"),
            (
                ["--source", "new", "--new-source", "--format", "excel"],
                "no format “excel”; the formats are 3cx, asterisk,",
            ),
            (
                ["--source", "new", "--new-source", "--format", "ivy", "--timezone", "Mars/Base"],
                "“Mars/Base” is not a time",
            ),
            (["--source", "new", "--new-source", "--format", "ivy", "--region", "ZZ"], "“ZZ” is no region"),
            (["--source", "new", "--new-source", "--format", "asterisk"], "name the time zone of “new”"),
            (["--source", "no good", "--new-source", "--format", "ivy"], "can't be the name of a source"),
            (["--source", "pbx-north", "--format", "asterisk"], "registered with format ivy, not format asterisk"),
            (["--source", "pbx-north", "--new-source", "--format", "ivy"], "with region GB, not no region"),
            (["--source", "pbx-north", "--timezone", "Europe/Paris"], "with no timezone, not timezone Europe/Paris"),
        ],
    )
    def test_refuses_a_source_that_makes_no_sense(
        self, pbx: Source, file: Path, words: list[str], sentence: str
    ) -> None:
        assert sentence in self.refused(file, *words)
        assert Source.objects.count() == 1

    @pytest.mark.parametrize(
        ("content", "sentence"),
        [
            (b"", "It is empty."),
            (b"\n \n", "It has no header"),
            (b"call_id,account\n", "Its header lacks direction, from_number"),
            (b"call_id;account\n", "It has a column “call_id;account”"),
            (ivy_file(columns=[*COLUMNS, "price"]), "It has a column “price”"),
            (ivy_file(columns=[*COLUMNS, "billsec"]), "A column stands there twice"),
            (b'call_id,"account\n', "Its header can't be read"),
            (ivy_file().decode().encode("utf-16"), "is no file of format ivy"),
        ],
    )
    def test_refuses_a_file_of_another_kind_before_anything_is_written(
        self, pbx: Source, tmp_path: Path, content: bytes, sentence: str
    ) -> None:
        path = tmp_path / "odd.csv"
        path.write_bytes(content)
        words = ["--source", "new", "--new-source", "--format", "ivy"]
        assert sentence in self.refused(path, *words)
        assert Source.objects.get() == pbx

    @pytest.mark.parametrize(
        ("pack", "sentence"),
        [
            (gzip.compress, "It is compressed (gzip): unpack it first."),
            (bz2.compress, "It is compressed (bzip2): unpack it first."),
            (lzma.compress, "It is compressed (xz): unpack it first."),
            (zipped, "It is a zip archive, or a spreadsheet's own format: unpack it, or save it as CSV."),
            (utf_16, "It is UTF-16, not UTF-8: convert it first."),
        ],
    )
    @pytest.mark.parametrize("source_format", ["asterisk", "freeswitch-json", "ivy"])
    def test_says_of_what_is_no_text_what_it_is(
        self, tmp_path: Path, pack: Callable[[bytes], bytes], sentence: str, source_format: str
    ) -> None:
        path = tmp_path / "Master.csv.1"
        path.write_bytes(pack(asterisk_file(asterisk_call()) * 100))
        words = ["--source", "new", "--new-source", "--format", source_format, "--timezone", "Europe/London"]
        assert sentence in self.refused(path, *words)
        assert not Source.objects.filter(name="new").exists()

    def test_takes_a_file_with_a_header_alone(self, pbx: Source, tmp_path: Path) -> None:
        path = tmp_path / "quiet-night.csv"
        path.write_bytes(ivy_file())
        assert json.loads(self.run(path, "--source", "pbx-north", "--json"))["read"] == 0
        assert Delivery.objects.get().finished_at is not None

    def test_refuses_what_is_no_file(self, pbx: Source, tmp_path: Path) -> None:
        assert "is a folder" in self.refused(tmp_path, "--source", "pbx-north")
        assert "can't be read" in self.refused(tmp_path / "missing.csv", "--source", "pbx-north")

    def test_keeps_what_was_read_when_the_disk_fails(
        self, pbx: Source, lindqvist: Customer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class FailingDisk:
            content = ivy_file(ivy_call(), ivy_call())

            def read(self, size: int) -> bytes:
                if not self.content:
                    raise OSError(errno.EIO, "Input/output error")
                block, self.content = self.content[:size], self.content[size:]
                return block

        monkeypatch.setattr(calls, "RECORDS_AT_A_TIME", 1)
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=FailingDisk()))
        with pytest.raises(CommandError, match="stopped: Input/output error") as caught:
            self.run("-", "--source", "pbx-north")
        assert caught.value.returncode == 1
        assert CallRecord.objects.count() == 2
        assert Delivery.objects.get().finished_at is None


class TestRegistering:
    def test_is_safe_to_repeat(self) -> None:
        first = sources.register("pbx-east", format="asterisk", timezone="Europe/Berlin", region="DE")
        assert sources.register("pbx-east", format="asterisk", timezone="Europe/Berlin", region="DE") == first

    def test_refuses_other_settings(self) -> None:
        sources.register("pbx-east", format="asterisk", timezone="Europe/Berlin")
        with pytest.raises(sources.SourceDiffers, match="timezone Europe/Berlin, not timezone Europe/Paris"):
            sources.register("pbx-east", format="asterisk", timezone="Europe/Paris")

    def test_finds_only_sources_that_can_be_read(self) -> None:
        make_source(name="half", format="asterisk", timezone="")  # as the admin may have left it
        with pytest.raises(sources.BadSource, match="name the time zone"):
            sources.find("half")
