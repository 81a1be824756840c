"""Format `asterisk`: every shape of Master.csv, legs that share an id, local times, and what is no record at all."""

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from billing.imports.call_formats.asterisk import peer_of
from billing.imports.local_times import instants
from billing.models import CallRecord, Customer, Source, UnparsableLine
from tests.billing.call_files import (
    ASTERISK_COLUMNS,
    MOBILE,
    OFFICE,
    asterisk_call,
    asterisk_file,
    deliver,
    fates,
    only_call,
    why,
)
from tests.factories import make_customer, make_identity, make_source

pytestmark = pytest.mark.django_db

CLASSIC = ASTERISK_COLUMNS[:18]
WITHOUT_USER_FIELD = ASTERISK_COLUMNS[:17]
WITHOUT_UNIQUE_ID = (*ASTERISK_COLUMNS[:16], "userfield")
BARE = ASTERISK_COLUMNS[:16]
NEW = ("peeraccount", "linkedid", "sequence")


@pytest.fixture
def pbx() -> Source:
    return make_source(name="pbx-north", format="asterisk", timezone="Europe/London", region="GB")


@pytest.fixture(autouse=True)
def okafor() -> Customer:
    bakery = make_customer(name="Okafor Bakery")
    make_identity(customer=bakery, kind="peer", value="301")
    return bakery


def ids() -> list[str]:
    return list(CallRecord.objects.order_by("pk").values_list("call_id", flat=True))


class TestARecord:
    def test_of_asterisk_is_read_whole(self, pbx: Source, okafor: Customer) -> None:
        assert fates(deliver(asterisk_file(asterisk_call(sequence="7")), pbx)) == (1, 0, 0, 0)
        call = only_call()
        assert (call.call_id, call.customer, call.direction) == ("1709544600.42-7", okafor, "outbound")
        assert (call.from_number, call.to_number) == (OFFICE, MOBILE)
        assert (call.from_peer, call.to_peer, call.account_code) == ("301", "carrier", "")
        assert call.started_at == datetime(2024, 3, 4, 9, 30, tzinfo=UTC)
        assert call.answered_at == datetime(2024, 3, 4, 9, 30, 5, tzinfo=UTC)
        assert (call.seconds, call.is_answered, call.is_internal, call.line_number) == (60, True, False, 1)

    @pytest.mark.parametrize(
        ("columns", "call_id", "shape"),
        [
            (ASTERISK_COLUMNS, "1709544600.42-7", "everything"),
            ((*WITHOUT_USER_FIELD, *NEW), "1709544600.42-7", "no user field"),
            (
                CLASSIC,
                "1709544600.42|PJSIP/301-0000002a|PJSIP/carrier-0000002b|2024-03-04 09:30:00",
                "no sequence: unique id, channels and start",
            ),
            (
                WITHOUT_USER_FIELD,
                "1709544600.42|PJSIP/301-0000002a|PJSIP/carrier-0000002b|2024-03-04 09:30:00",
                "the seventeenth is the unique id",
            ),
        ],
    )
    def test_has_its_id_in_every_shape(self, pbx: Source, columns: tuple[str, ...], call_id: str, shape: str) -> None:
        deliver(asterisk_file(asterisk_call(sequence="7"), columns=columns), pbx)
        assert ids() == [call_id], shape

    @pytest.mark.parametrize("columns", [BARE, WITHOUT_UNIQUE_ID, (*BARE, *NEW), (*WITHOUT_UNIQUE_ID, *NEW)])
    def test_without_a_unique_id_gets_one_from_its_content(self, pbx: Source, columns: tuple[str, ...]) -> None:
        deliver(asterisk_file(asterisk_call(userfield="till 3"), columns=columns), pbx)
        call = only_call()
        assert call.call_id == f"{call.content_hash.hex}-1"

    def test_with_a_machines_name_in_its_id_keeps_it(self, pbx: Source) -> None:
        deliver(asterisk_file(asterisk_call(uniqueid="pbx-1-1709544600.42", sequence="7")), pbx)
        assert ids() == ["pbx-1-1709544600.42-7"]

    def test_has_no_answer_time_where_nobody_answered(self, pbx: Source) -> None:
        unanswered = {"billsec": "0", "disposition": "NO ANSWER"}
        calls = [asterisk_call(**unanswered, answer=nothing) for nothing in ("", "0000-00-00 00:00:00")]
        assert fates(deliver(asterisk_file(*calls), pbx)) == (2, 0, 0, 0)
        assert not CallRecord.objects.filter(answered_at__isnull=False).exists()

    def test_that_says_no_answer_and_carries_seconds_waits(self, pbx: Source) -> None:
        deliver(asterisk_file(asterisk_call(disposition="NO ANSWER", sequence="7")), pbx)
        assert why("1709544600.42-7") == ("contradictory", "It was not answered, and carries 60 seconds.")

    @pytest.mark.parametrize("number", ["s", "h", "*97", "i", ""])
    def test_to_no_number_waits_if_it_would_be_charged(self, pbx: Source, number: str) -> None:
        answered = asterisk_call(dst=number, sequence="7")
        busy = asterisk_call(dst=number, sequence="8", disposition="BUSY", billsec="0", answer="")
        deliver(asterisk_file(answered, busy), pbx)
        found = why("1709544600.42-7")
        assert found is not None
        assert found[0] == "impossible_number"
        assert why("1709544600.42-8") is None

    @pytest.mark.parametrize(
        ("channels", "is_internal"),
        [
            ({"channel": "Local/301@hunt-00000000;2"}, True),
            ({"dstchannel": "Local/302@hunt-00000000;1"}, True),
            ({"channel": "Surrogate/Local/302@hunt-00000000;1"}, True),
            ({"channel": "PJSIP/Local-00000001"}, False),
        ],
    )
    def test_over_a_local_channel_is_internal(self, pbx: Source, channels: dict[str, str], is_internal: bool) -> None:
        deliver(asterisk_file(asterisk_call(**channels)), pbx)
        assert only_call().is_internal is is_internal

    @pytest.mark.parametrize(
        ("channel", "peer"),
        [
            ("SIP/301-0000abcd", "301"),
            ("PJSIP/301-0000002A", "301"),
            ("IAX2/warehouse-4711", "warehouse"),
            ("SIP/front-desk-0000abcd", "front-desk"),
            ("SIP/front-desk", "front-desk"),
            ("SIP/192.0.2.15-0000abcd", "192.0.2.15"),
            ("DAHDI/i1/02079460018-5", "i1/02079460018"),
            ("Local/301@hunt-00000000;2", "301@hunt"),
            ("SIP/301-0000abcd<ZOMBIE>", "301"),
            ("Surrogate/PJSIP/301-0000002A", "301"),
            ("AsyncGoto/SIP/301-0000abcd<ZOMBIE>", "301"),
            ("SIP/301-", "301-"),
            ("", ""),
            ("Console", ""),
        ],
    )
    def test_names_the_peer_of_a_channel(self, channel: str, peer: str) -> None:
        assert peer_of(channel) == peer


class TestSeveralRecords:
    def test_of_one_call_are_all_kept(self, pbx: Source) -> None:
        """Two phones ring, one answers; then the caller is put through: four legs, one unique id, one linked id."""
        ringing = {"billsec": "0", "disposition": "NO ANSWER", "answer": ""}
        legs = [
            asterisk_call(dstchannel="PJSIP/302-00000001", **ringing, sequence="1"),
            asterisk_call(dstchannel="PJSIP/303-00000002", sequence="2"),
            asterisk_call(dstchannel="Local/9@through-00000003;1", sequence="3"),
            asterisk_call(dstchannel="PJSIP/carrier-00000004", sequence="4"),
        ]
        assert fates(deliver(asterisk_file(*legs), pbx)) == (4, 0, 0, 0)

    def test_of_one_call_are_all_kept_without_a_sequence(self, pbx: Source) -> None:
        legs = [asterisk_call(dstchannel=f"PJSIP/{peer}-00000001") for peer in ("302", "303", "304")]
        assert fates(deliver(asterisk_file(*legs, columns=CLASSIC), pbx)) == (3, 0, 0, 0)

    def test_that_share_even_that_wait_beside_the_first(self, pbx: Source) -> None:
        legs = [asterisk_call(lastdata=f"attempt {number}") for number in (1, 2, 3)]
        assert fates(deliver(asterisk_file(*legs, columns=CLASSIC), pbx)) == (1, 0, 2, 0)

    def test_that_are_equal_and_without_an_id_are_as_many_calls(
        self, pbx: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also when they lie in different chunks, and when the file is read again."""
        monkeypatch.setattr("billing.imports.calls.RECORDS_AT_A_TIME", 2)
        same, other = asterisk_call(), asterisk_call(dst="07700900124")
        content = asterisk_file(same, same, other, same, other, columns=BARE)
        assert fates(deliver(content, pbx)) == (5, 0, 0, 0)
        assert sorted(call_id.rpartition("-")[2] for call_id in ids()) == ["1", "1", "2", "2", "3"]
        assert fates(deliver(content, pbx)) == (0, 5, 0, 0)
        assert fates(deliver(content + asterisk_file(same, columns=BARE), pbx)) == (1, 5, 0, 0)

    def test_with_and_without_an_id_may_stand_in_one_file(self, pbx: Source) -> None:
        mixed = asterisk_file(asterisk_call()) + asterisk_file(asterisk_call(), columns=BARE)
        assert fates(deliver(mixed, pbx)) == (2, 0, 0, 0)


class TestTheFile:
    def test_may_have_a_header_all_the_same(self, pbx: Source) -> None:
        header = ",".join(ASTERISK_COLUMNS).encode() + b"\n"
        assert fates(deliver(header + asterisk_file(asterisk_call()), pbx)) == (1, 0, 0, 0)

    def test_tells_callers_apart_by_their_raw_bytes(self, pbx: Source) -> None:
        """A name cut off in the middle of a letter is no reason to lose the call."""
        names = ["Clínica Fernández", "Cl\udcedica", "Ünal \udcc3"]
        calls = [asterisk_call(clid=f'"{name}" <02079460018>') for name in names]
        assert fates(deliver(asterisk_file(*calls), pbx)) == (3, 0, 0, 0)
        assert fates(deliver(asterisk_file(*calls), pbx)) == (0, 3, 0, 0)

    def test_keeps_latin_letters_readable(self, pbx: Source) -> None:
        deliver(asterisk_file(asterisk_call(accountcode="M\udcfcller")), pbx)
        assert only_call().account_code == "Müller"

    def test_may_hold_a_record_over_several_lines(self, pbx: Source) -> None:
        content = asterisk_file(asterisk_call(), asterisk_call(userfield="first\nsecond\n\nfourth"), asterisk_call())
        assert content.count(b"\n") == 6
        assert fates(deliver(content, pbx)) == (3, 0, 0, 0)
        assert list(CallRecord.objects.order_by("pk").values_list("line_number", flat=True)) == [1, 2, 6]

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (b'"unfinished', "Its quotes are wrong: unexpected end of data."),
            (b'"a"b,"c"', "Its quotes are wrong: ',' expected after '\"'."),
            (b"a,b,c", "It has 3 fields; Asterisk writes 16 to 21."),
            (b",".join([b"x"] * 22), "It has 22 fields; Asterisk writes 16 to 21."),
            (b"\0" * 300, "It has 1 field; Asterisk writes 16 to 21."),
            (b"x" * 70_000, "It is longer than 65,536 characters."),
        ],
    )
    def test_loses_one_line_to_a_damage_and_no_other(self, pbx: Source, damage: bytes, reason: str) -> None:
        content = asterisk_file(asterisk_call()) + damage + b"\n" + asterisk_file(asterisk_call(), asterisk_call())
        assert fates(deliver(content, pbx)) == (3, 0, 0, 1)
        kept = UnparsableLine.objects.get()
        assert (bytes(kept.raw), kept.reason, kept.line_number) == (damage, reason, 2)

    @pytest.mark.parametrize(
        ("field", "text", "reason"),
        [
            ("start", "", "start is empty."),
            ("start", "04.03.2024 09:30", "start “04.03.2024 09:30” is no time"),
            ("answer", "yes", "answer “yes” is no time"),
            ("billsec", "", "billsec is empty."),
            ("duration", "long", "duration “long” is no number of seconds."),
            ("disposition", "UNKNOWN", "disposition “UNKNOWN” does not say"),
        ],
    )
    def test_keeps_a_line_whose_fields_make_no_sense(self, pbx: Source, field: str, text: str, reason: str) -> None:
        assert fates(deliver(asterisk_file(asterisk_call(**{field: text})), pbx)) == (0, 0, 0, 1)
        assert reason in UnparsableLine.objects.get().reason

    def test_that_was_cut_off_in_a_sequence_is_not_taken(self, pbx: Source) -> None:
        content = asterisk_file(asterisk_call(), asterisk_call(sequence="123"))
        assert fates(deliver(content[:-2], pbx)) == (1, 0, 0, 1)  # 12: another leg, one would think
        assert bytes(UnparsableLine.objects.get().raw).endswith(b",12")
        assert fates(deliver(content, pbx)) == (1, 1, 0, 0)

    def test_that_was_cut_off_at_a_column_is_not_taken(self, pbx: Source) -> None:
        """With 18 columns it would be a record of an older Asterisk, and with another id."""
        cut = asterisk_file(asterisk_call(), columns=CLASSIC).removesuffix(b"\n")
        assert fates(deliver(asterisk_file(asterisk_call()) + cut, pbx)) == (1, 0, 0, 1)
        assert fates(deliver(cut, pbx)) == (0, 1, 0, 0)  # alone in a file nothing proves it whole, either

    def test_without_last_line_end_is_taken_if_the_last_text_is_closed(self, pbx: Source) -> None:
        content = asterisk_file(asterisk_call(uniqueid="1.1"), asterisk_call(uniqueid="1.2"), columns=CLASSIC)
        assert fates(deliver(content.removesuffix(b"\n"), pbx)) == (2, 0, 0, 0)


BERLIN = ZoneInfo("Europe/Berlin")
FIRST_TIME = datetime(2024, 10, 27, 0, 30, tzinfo=UTC)  # 02:30 in summer time
SECOND_TIME = datetime(2024, 10, 27, 1, 30, tzinfo=UTC)  # 02:30 again, in winter time


class TestAnHourThatComesTwice:
    """On 27 October 2024 Berlin set its clocks from 03:00 back to 02:00."""

    @pytest.mark.parametrize(
        ("start", "answer", "end", "duration", "billsec", "epoch", "started_at", "because"),
        [
            ("02:30:00", "02:30:05", "02:31:05", 65, 60, FIRST_TIME, FIRST_TIME, "the epoch says the first"),
            ("02:30:00", "02:30:05", "02:31:05", 65, 60, SECOND_TIME, SECOND_TIME, "the epoch says the second"),
            ("02:30:00", "", "02:31:05", 65, 0, SECOND_TIME, SECOND_TIME, "also where nobody answered"),
            ("02:30:00", "02:30:05", "02:31:05", 65, 60, None, FIRST_TIME, "nothing tells: the earlier"),
            ("02:30:00", "02:30:05", "03:00:05", 1805, 1800, None, SECOND_TIME, "half an hour until three: winter"),
            ("02:30:00", "02:30:05", "03:00:05", 5405, 5400, None, FIRST_TIME, "an hour and a half: summer"),
            ("02:30:00", "02:30:05", "02:00:05", 1805, 1800, None, FIRST_TIME, "it ended in the second hour"),
            ("02:30:00", "", "02:00:05", 1805, 0, None, FIRST_TIME, "likewise, by the duration alone"),
            (
                "02:30:00",
                "02:30:05",
                "02:31:05",
                65,
                60,
                datetime(2024, 10, 27, 0, 5, tzinfo=UTC),
                FIRST_TIME,
                "a later leg of a channel from 02:05: the first time past it",
            ),
            (
                "02:30:00",
                "02:30:05",
                "02:31:05",
                65,
                60,
                datetime(2024, 10, 27, 0, 45, tzinfo=UTC),
                SECOND_TIME,
                "of a channel from 02:45: it can't have begun before",
            ),
            (
                "02:30:00",
                "02:30:05",
                "03:00:05",
                1805,
                1800,
                datetime(2009, 2, 13, tzinfo=UTC),
                SECOND_TIME,
                "an epoch of another year tells nothing",
            ),
        ],
    )
    def test_is_settled(
        self,
        start: str,
        answer: str,
        end: str,
        duration: int,
        billsec: int,
        epoch: datetime | None,
        started_at: datetime,
        because: str,
    ) -> None:
        pbx = make_source(name="berlin", format="asterisk", timezone="Europe/Berlin")
        call = asterisk_call(
            **{
                name: time and f"2024-10-27 {time}"
                for name, time in (("start", start), ("answer", answer), ("end", end))
            },
            duration=str(duration),
            billsec=str(billsec),
            disposition="ANSWERED" if billsec else "NO ANSWER",
            uniqueid=f"{int(epoch.timestamp())}.9" if epoch else "no-epoch",
        )
        assert fates(deliver(asterisk_file(call), pbx)) == (1, 0, 0, 0), because
        found = only_call()
        assert found.started_at == started_at, because
        assert found.ended_at is not None
        assert (found.ended_at - found.started_at).total_seconds() == duration, because

    def test_that_never_was_is_taken_as_if_the_clocks_had_not_been_changed(self) -> None:
        """On 31 March 2024 they went from 02:00 to 03:00."""
        found = instants(BERLIN, datetime(2024, 3, 31, 2, 30), None, None, seconds=0)  # noqa: DTZ001 - a wall clock's
        assert found.started_at == datetime(2024, 3, 31, 1, 30, tzinfo=UTC)

    def test_is_nothing_to_a_source_in_utc(self) -> None:
        pbx = make_source(name="gmt", format="asterisk", timezone="UTC")
        deliver(asterisk_file(asterisk_call(start="2024-10-27 02:30:00", answer="", end="", billsec="60")), pbx)
        assert only_call().started_at == datetime(2024, 10, 27, 2, 30, tzinfo=UTC)
