"""What further switches write: every shape of their files, legs that share a call, and what is no record at all."""

import io
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from billing.imports.call_formats import FORMATS, Leg, NotThisFormat, Unparsable
from billing.imports.call_formats.asterisk_custom import MASTER_CSV
from billing.imports.call_formats.freeswitch_csv import ASTERISK, DEFAULT
from billing.imports.call_formats.threecx import FIELDS
from billing.models import CallRecord, Customer, Source, UnparsableLine
from tests.billing.call_files import MOBILE, OFFICE, deliver, fates, only_call, whose, why
from tests.billing.switch_files import (
    ANSWERED,
    EXAMPLE,
    INBOUND,
    INSIDE,
    STARTED,
    custom_call,
    custom_file,
    freeswitch_call,
    freeswitch_file,
    json_b_leg,
    json_leg,
    json_lines,
    json_list,
    threecx_call,
    threecx_file,
    unanswered,
)
from tests.factories import make_customer, make_identity, make_source

pytestmark = pytest.mark.django_db

HALF_PAST_NINE = datetime(2024, 3, 4, 9, 30, tzinfo=UTC)

# What a spreadsheet makes of a time, and other things that are none. None of them may be guessed at.
NO_TIMES = [
    ("11/23/2026 3:04 PM", "a spreadsheet's: the month first, or the day?"),
    ("04/03/2024 09:30", "which is the month?"),
    ("04.03.2024 09:30:00", "likewise"),
    ("45000.5", "a spreadsheet's days since 1900"),
    ("45000", "likewise"),
    ("30:00.0", "a spreadsheet's hours and minutes alone"),
    ("2024-03-04", "a day, and no time"),
    ("2024-02-30 09:30:00", "no such day"),
    ("2024-03-04 25:30:00", "no such hour"),
    ("yesterday", "no time at all"),
    ("0001-01-01 00:00:00", "outside any calendar of telephony"),
]


@pytest.fixture(autouse=True)
def okafor() -> Customer:
    bakery = make_customer(name="Okafor Bakery", account="10001")
    make_identity(customer=bakery, kind="peer", value="301")
    return bakery


def source(format: str) -> Source:  # noqa: A002
    return make_source(name=f"pbx-{format}", format=format, timezone="Europe/London", region="GB")


def read(format: str, content: bytes) -> list[Leg | Unparsable]:  # noqa: A002
    return list(FORMATS[format](timezone="Europe/London", region="GB").read(io.BytesIO(content)))


def ids() -> list[str]:
    return list(CallRecord.objects.order_by("pk").values_list("call_id", flat=True))


def internal() -> list[bool]:
    return list(CallRecord.objects.order_by("pk").values_list("is_internal", flat=True))


def reasons() -> list[str]:
    return list(UnparsableLine.objects.order_by("line_number").values_list("reason", flat=True))


# All of them ----------------------------------------------------------------------------------------------------------

WRITERS: dict[str, tuple[Callable[..., Any], Callable[..., bytes]]] = {
    "asterisk-custom": (custom_call, custom_file),
    "freeswitch-csv": (freeswitch_call, freeswitch_file),
    "freeswitch-json": (json_leg, json_lines),
    "3cx": (threecx_call, threecx_file),
}
every_format = pytest.mark.parametrize("format", WRITERS)


class TestEveryFormat:
    @every_format
    def test_reads_the_unremarkable_call(self, format: str, okafor: Customer) -> None:  # noqa: A002
        make_call, make_file = WRITERS[format]
        assert fates(deliver(make_file(make_call()), source(format))) == (1, 0, 0, 0)
        call = only_call()
        assert (call.customer, call.direction) == (okafor, "outbound")
        assert (call.from_number if format != "3cx" else OFFICE, call.to_number) == (OFFICE, MOBILE)
        assert call.started_at.replace(microsecond=0) == HALF_PAST_NINE
        assert call.answered_at is not None
        assert (call.answered_at - call.started_at).seconds == 5
        assert (call.seconds, call.is_answered, call.is_internal, call.line_number) == (60, True, False, 1)

    @every_format
    def test_knows_a_file_again(self, format: str) -> None:  # noqa: A002
        make_call, make_file = WRITERS[format]
        content, pbx = make_file(make_call(), make_call()) + b"garbage\n", source(format)
        assert fates(deliver(content, pbx)) == (2, 0, 0, 1)
        assert fates(deliver(content, pbx)) == (0, 3, 0, 0)

    @every_format
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_takes_any_line_end_and_a_byte_order_mark(self, format: str, end: bytes) -> None:  # noqa: A002
        make_call, make_file = WRITERS[format]
        content = make_file(*[make_call() for _ in range(3)]).replace(b"\r\n", b"\n").replace(b"\n", end)
        found = read(format, b"\xef\xbb\xbf" + content)
        assert [type(leg) for leg in found] == [Leg] * 3
        assert [leg.line_number for leg in found] == [1, 2, 3]

    @pytest.mark.parametrize("format", ["asterisk-custom", "freeswitch-csv", "3cx"])
    @pytest.mark.parametrize("junk", [b"\0" * 300, b"\xef\xbb\xbf"])
    def test_is_the_same_behind_nuls_and_byte_order_marks(self, format: str, junk: bytes) -> None:  # noqa: A002
        """A power cut leaves the ones; the others stand in the middle of files put behind one another."""
        make_call, make_file = WRITERS[format]
        first, second = make_file(make_call()), make_file(make_call())
        clean, junky = read(format, first + second), read(format, first + junk + second)
        assert junky[0] == clean[0]
        assert [one._replace(raw="") for one in junky] == [one._replace(raw="") for one in clean]

    @every_format
    def test_loses_one_line_to_a_damage_and_no_other(self, format: str) -> None:  # noqa: A002
        make_call, make_file = WRITERS[format]
        for damage in (b'"unfinished', b'{"unfinished', b"\0" * 300, b"x" * 70_000, b";;x", b'{"a": {"b": [1, 2}}'):
            content = make_file(make_call()) + damage + b"\n" + make_file(make_call(), make_call())
            found = read(format, content)
            assert [type(one) for one in found] == [Leg, Unparsable, Leg, Leg], damage
            assert isinstance(found[1], Unparsable)
            assert found[1].raw.encode() == damage
            assert [one.line_number for one in found] == [1, 2, 3, 4]

    @every_format
    def test_never_takes_a_line_that_was_cut_off(self, format: str) -> None:  # noqa: A002
        """Cut anywhere in the columns that tell or price the call: kept raw, or so that nothing can be charged."""
        make_call, make_file = WRITERS[format]
        call = make_call()
        whole = make_file(make_call()), make_file(call)
        (expected,) = read(format, whole[1])
        assert isinstance(expected, Leg)
        for length in range(1, len(whole[1].rstrip())):
            found = read(format, whole[0] + whole[1][:length])
            if isinstance(found[-1], Leg) and len(found) == 2:
                same = found[-1]._replace(raw="", content_hash="", line_number=1)
                assert same == expected._replace(raw="", content_hash=""), length

    @every_format
    def test_refuses_a_file_of_another_kind(self, format: str) -> None:  # noqa: A002
        for content in (b"\n \n", b"PK\x03\x04" * 5000, b"a;b;c\n1;2;3\n", b"one,two\n1,2\n", b"<cdr></cdr>\n"):
            if format == "freeswitch-json" and not content.strip():
                assert read(format, content) == []  # as a list of nothing is
                continue
            with pytest.raises(NotThisFormat):
                read(format, content)

    @every_format
    def test_keeps_names_in_any_alphabet(self, format: str) -> None:  # noqa: A002
        make_call, make_file = WRITERS[format]
        names = ["Clínica Fernández", "中村書店", "Ζωή"]
        columns = {
            "asterisk-custom": "clid",
            "freeswitch-csv": "caller_id_name",
            "freeswitch-json": "sip_from_display",
            "3cx": "from_dispname",
        }
        content = make_file(*[make_call(**{columns[format]: name}) for name in names])
        if format != "freeswitch-json":  # URL-encoded there
            content = content.replace("Clínica".encode(), "Clínica".encode("latin-1"))
        assert fates(deliver(content, source(format))) == (3, 0, 0, 0)
        assert fates(deliver(content, Source.objects.get())) == (0, 3, 0, 0)

    @pytest.mark.parametrize(
        ("format", "column"),
        [
            ("asterisk-custom", "start"),
            ("asterisk-custom", "answer"),
            ("asterisk-custom", "end"),
            ("freeswitch-csv", "start_stamp"),
            ("freeswitch-csv", "answer_stamp"),
            ("freeswitch-csv", "end_stamp"),
            ("3cx", "time_start"),
            ("3cx", "time_answered"),
            ("3cx", "time_end"),
        ],
    )
    def test_guesses_at_no_time(self, format: str, column: str) -> None:  # noqa: A002
        make_call, make_file = WRITERS[format]
        for text, because in NO_TIMES:
            good, bad = read(format, make_file(make_call(), make_call(**{column: text})))
            assert isinstance(good, Leg)
            assert isinstance(bad, Unparsable), because
            name = column.replace("_", "-") if format == "3cx" else column
            assert bad.reason == f"{name} “{text}” is no time; it must be like 2026-03-02T09:30:00Z.", because

    @pytest.mark.parametrize(
        ("format", "column"), [("asterisk-custom", "answer"), ("freeswitch-csv", "start_stamp"), ("3cx", "time_start")]
    )
    @pytest.mark.parametrize("text", ["2024-03-04 09:30", "2024-03-04T09:30Z"])
    def test_is_kept_raw_where_a_spreadsheet_took_the_seconds(
        self,
        format: str,  # noqa: A002
        column: str,
        text: str,
    ) -> None:
        make_call, make_file = WRITERS[format]
        good, bad = read(format, make_file(make_call(), make_call(**{column: text})))
        assert isinstance(good, Leg)
        assert isinstance(bad, Unparsable)
        assert bad.reason.endswith(f"“{text}” has no seconds: perhaps a spreadsheet took them.")

    @pytest.mark.parametrize("format", ["asterisk-custom", "freeswitch-csv", "3cx"])
    def test_takes_a_header_once_or_again_and_columns_in_any_order(self, format: str) -> None:  # noqa: A002
        make_call, make_file = WRITERS[format]
        columns = {"asterisk-custom": MASTER_CSV, "freeswitch-csv": EXAMPLE, "3cx": FIELDS}[format]
        first, second = make_call(), make_call()
        one = make_file(first, columns=columns, header=True)
        backwards = make_file(second, columns=["city", *reversed(columns)], header=True)
        twice = make_file(columns=columns, header=True)
        for content in (
            one + backwards,
            one.upper().replace(b"CALL ", b"Call ") + twice + backwards,
            twice + one + one,
        ):
            assert [type(leg) for leg in read(format, content)] == [Leg, Leg]
        legs = read(format, one + backwards)
        assert [leg._replace(raw="", content_hash="", line_number=0) for leg in legs if isinstance(leg, Leg)] == [
            leg._replace(raw="", content_hash="", line_number=0)
            for leg in read(format, make_file(first, second))
            if isinstance(leg, Leg)
        ]

    @pytest.mark.parametrize("format", ["asterisk-custom", "freeswitch-csv", "3cx"])
    def test_a_header_alone_is_a_quiet_night(self, format: str) -> None:  # noqa: A002
        _, make_file = WRITERS[format]
        columns = {"asterisk-custom": MASTER_CSV, "freeswitch-csv": EXAMPLE, "3cx": FIELDS}[format]
        assert read(format, make_file(columns=columns, header=True)) == []


# Asterisk, cdr_custom -------------------------------------------------------------------------------------------------


class TestAsteriskCustom:
    @pytest.fixture
    def pbx(self) -> Source:
        return source("asterisk-custom")

    @pytest.mark.parametrize(
        ("columns", "header", "call_id", "because"),
        [
            (MASTER_CSV, False, "1709544600.42-7", "the sample of today"),
            (
                MASTER_CSV[:18],
                False,
                "1709544600.42|PJSIP/301-0000002a|PJSIP/carrier-0000002b|2024-03-04 09:30:00",
                "the sample before sequences: told apart by channels and start",
            ),
            ((*MASTER_CSV, "linkedid", "did"), True, "1709544600.42-7", "columns of the operator's own"),
            (("dst", "start", "billsec", "disposition"), True, "", "the least that a header may name"),
            (
                ("start", "src", "dst", "billsec", "disposition", "uniqueid"),
                True,
                "1709544600.42|||2024-03-04 09:30:00",
                "no channels",
            ),
            (
                ("CDR(start)", "${CDR(dst)}", "${CSV_QUOTE(${CDR(billsec)})}", "CDR(disposition)", "cdr(sequence)"),
                True,
                "",
                "a header copied from the mapping; a sequence without a unique id is no id",
            ),
        ],
    )
    def test_has_its_id_in_every_shape(
        self, columns: tuple[str, ...], header: bool, call_id: str, because: str
    ) -> None:
        call = custom_call(sequence="7")
        call |= {name: call[name.lower().split("cdr(")[1].split(")")[0]] for name in columns if "(" in name}
        (leg,) = read("asterisk-custom", custom_file(call, columns=columns, header=header))
        assert isinstance(leg, Leg), leg
        assert leg.call_id == call_id, because

    @pytest.mark.parametrize(
        ("fields", "seconds", "because"),
        [
            ({"billsec": "59.000001", "duration": "64.2"}, 60, "CDR(billsec,f): a begun second counts"),
            ({"start": "1709544600", "answer": "1709544605", "end": "1709544665"}, 60, "start(int64)"),
            ({"start": "1709544600.1", "answer": "1709544605.1", "end": "1709544665.1"}, 60, "start(double)"),
            (
                {
                    "start": "2024-03-04T10:30:00+0100",
                    "answer": "2024-03-04T10:30:05+0100",
                    "end": "2024-03-04T10:31:05+01:00",
                },
                60,
                "start(%FT%T%z): at its word, whatever the zone of the source",
            ),
        ],
    )
    def test_is_read_as_the_mapping_writes_it(
        self, pbx: Source, fields: dict[str, str], seconds: int, because: str
    ) -> None:
        assert fates(deliver(custom_file(custom_call(**fields)), pbx)) == (1, 0, 0, 0), because
        call = only_call()
        assert (call.started_at.replace(microsecond=0), call.seconds) == (HALF_PAST_NINE, seconds), because

    @pytest.mark.parametrize("nothing", ["", "0000-00-00 00:00:00", "0", "0.000000"])
    def test_has_no_answer_time_where_nobody_answered(self, pbx: Source, nothing: str) -> None:
        call = custom_call(answer=nothing, billsec="0", disposition="NO ANSWER")
        assert fates(deliver(custom_file(call), pbx)) == (1, 0, 0, 0)
        assert only_call().answered_at is None

    def test_legs_of_a_call_are_all_kept_and_those_inside_asterisk_are_internal(self, pbx: Source) -> None:
        legs = [
            custom_call(dstchannel="PJSIP/302-1", billsec="0", disposition="BUSY", answer=""),
            custom_call(dstchannel="Local/9@through-3;1"),
            custom_call(),
        ]
        assert fates(deliver(custom_file(*legs), pbx)) == (3, 0, 0, 0)
        assert internal() == [False, True, False]

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"start": ""}, "start is empty."),
            ({"billsec": ""}, "billsec is empty."),
            ({"billsec": "1:00"}, "billsec “1:00” is no number of seconds."),
            ({"duration": "long"}, "duration “long” is no number of seconds."),
            ({"disposition": "8"}, "disposition “8” does not say"),  # disposition(int64): what 8 is has changed
            ({"disposition": ""}, "disposition is empty."),
            ({"sequence": "1709544600.42"}, "sequence “1709544600.42” is no number."),  # a linkedid in its place
        ],
    )
    def test_keeps_a_line_whose_fields_make_no_sense(self, pbx: Source, fields: dict[str, str], reason: str) -> None:
        assert fates(deliver(custom_file(custom_call(), custom_call(**fields)), pbx)) == (1, 0, 0, 1)
        assert reason in reasons()[0]

    def test_says_what_it_expects_of_a_line_without_header(self, pbx: Source) -> None:
        deliver(custom_file(custom_call()) + b"a,b,c\n", pbx)
        (reason,) = reasons()
        assert reason.startswith("It has 3 fields; without a header it must be as the Master.csv of cdr_custom.conf.")
        assert reason.endswith("sample has them (18 or 19 fields).")

    def test_says_what_it_expects_of_a_line_with_a_header(self, pbx: Source) -> None:
        columns = ("dst", "start", "billsec", "disposition")
        deliver(custom_file(custom_call(), columns=columns, header=True) + b"a,b,c\n", pbx)
        assert reasons() == ["It has 3 fields; the header has 4."]

    def test_is_not_mistaken_for_what_cdr_csv_writes(self) -> None:
        """It has as many columns, in another order."""
        columns = ["accountcode", *MASTER_CSV[1:4], "clid", *MASTER_CSV[4:15], "uniqueid", "userfield"]
        (found,) = read("asterisk-custom", custom_file(custom_call(), columns=columns))
        assert isinstance(found, Unparsable)

    def test_settles_an_hour_that_comes_twice_by_the_unique_id(self) -> None:
        """On 27 October 2024 London set its clocks from 02:00 back to 01:00."""
        for epoch in (1729989000, 1729992600):
            times = {name: f"2024-10-27 01:{rest}" for name, rest in (("start", "30:00"), ("answer", "30:05"))}
            call = custom_call(**times, end="2024-10-27 01:31:05", uniqueid=f"pbx-{epoch}.9")
            (leg,) = read("asterisk-custom", custom_file(call))
            assert isinstance(leg, Leg)
            assert leg.started_at.timestamp() == epoch


# FreeSWITCH, mod_cdr_csv ----------------------------------------------------------------------------------------------


class TestFreeswitchCsv:
    @pytest.fixture
    def pbx(self) -> Source:
        return source("freeswitch-csv")

    @pytest.mark.parametrize(
        ("columns", "shape"),
        [
            (DEFAULT, "default"),
            (EXAMPLE, "example"),
            ((*EXAMPLE, "sip_user_agent", "sip_p_rtp_stat"), "linksys"),
            ((*EXAMPLE, "a", "b", "c", "d", "e"), "snom"),
            ((*EXAMPLE, "recording"), "a column added"),
            (ASTERISK, "asterisk"),
            ((*ASTERISK, "recording"), "asterisk, and a column added"),
        ],
    )
    def test_is_known_by_its_template(
        self, pbx: Source, columns: tuple[str, ...], shape: str, okafor: Customer
    ) -> None:
        call = freeswitch_call(caller_id='""Astrid Holm"" <02079460018>', channel_name="sofia/internal/301@example.net")
        assert fates(deliver(freeswitch_file(call, columns=columns), pbx)) == (1, 0, 0, 0), shape
        found = only_call()
        assert (found.call_id, found.account_code, found.to_number) == (call["uuid"], "10001", MOBILE), shape

    @pytest.mark.parametrize(
        ("columns", "fields"),
        [
            (ASTERISK, {"caller_id": '"Astrid Holm" <02079460018>', "channel_name": "sofia/internal/301@pbx"}),
            (EXAMPLE, {"caller_id_name": 'Astrid "Oak" Holm'}),
            (DEFAULT, {"caller_id_name": '"Holm, Astrid"'}),
        ],
    )
    def test_has_quotes_in_it_that_nobody_escapes(
        self, pbx: Source, columns: tuple[str, ...], fields: dict[str, str]
    ) -> None:
        calls = [freeswitch_call(**fields) for _ in range(2)]
        assert fates(deliver(freeswitch_file(*calls, columns=columns), pbx)) == (2, 0, 0, 0)
        assert ids() == [call["uuid"] for call in calls]
        assert {call.account_code for call in CallRecord.objects.all()} == {"10001"}

    def test_may_be_an_insert_of_sql(self, pbx: Source) -> None:
        call = freeswitch_call()
        row = freeswitch_file(call, columns=DEFAULT).decode().rstrip().replace(',"10001"', ', "10001"')
        assert fates(deliver(f"INSERT INTO cdr VALUES ({row});\n".encode(), pbx)) == (1, 0, 0, 0)
        assert (only_call().call_id, only_call().account_code) == (call["uuid"], "10001")

    def test_has_a_blank_before_the_account_code_in_some_templates(self, pbx: Source) -> None:
        content = freeswitch_file(freeswitch_call()).replace(b',"10001"', b', "10001"')
        assert fates(deliver(content, pbx)) == (1, 0, 0, 0)
        assert only_call().account_code == "10001"

    @pytest.mark.parametrize(
        ("fields", "fate", "because"),
        [
            ({"answer_stamp": "", "billsec": "0"}, None, "NORMAL_CLEARING before anybody answered"),
            ({"answer_stamp": "", "billsec": "0", "hangup_cause": "USER_BUSY"}, None, "busy"),
            ({"answer_stamp": "1970-01-01 01:00:00", "billsec": "0"}, None, "how older releases wrote never"),
            (
                {"answer_stamp": ""},
                "It was not answered, and carries 60 seconds.",
                "the answer got lost, the seconds did not",
            ),
            ({"billsec": "0"}, "It carries 0 seconds; from answer to end it is 60.", "the seconds got lost"),
        ],
    )
    def test_was_answered_if_it_has_an_answer(
        self, pbx: Source, fields: dict[str, str], fate: str | None, because: str
    ) -> None:
        call = freeswitch_call(**fields)
        deliver(freeswitch_file(call), pbx)
        assert why(call["uuid"]) == (("contradictory", fate) if fate else None), because
        assert only_call().is_answered is bool(fields.get("answer_stamp", "2024").startswith("2024")), because

    @pytest.mark.parametrize(
        ("fields", "is_internal", "because"),
        [
            ({"originator": "44dc566a-3657-4fa8-872d-81839524157e"}, True, "a B-leg: another leg made it"),
            ({"originating_leg_uuid": "44dc566a-3657-4fa8-872d-81839524157e"}, True, "likewise"),
            ({"direction": "outbound"}, False, "made by the switch itself, for nobody else"),
            ({"direction": "inbound"}, False, "an A-leg: a customer's own call comes in"),
            ({"channel_name": "loopback/07700900123-b"}, True, "the switch talking to itself"),
        ],
    )
    def test_charges_a_call_once_where_the_template_tells_legs_apart(
        self, pbx: Source, fields: dict[str, str], is_internal: bool, because: str
    ) -> None:
        columns = [*DEFAULT, "direction", "originator", "originating_leg_uuid", "channel_name"]
        deliver(freeswitch_file(freeswitch_call(**fields), columns=columns, header=True), pbx)
        assert internal() == [is_internal], because

    @pytest.mark.parametrize("is_a_leg_first", [True, False])
    @pytest.mark.parametrize("between", [0, 20])
    def test_charges_a_call_once_where_legs_name_each_other(
        self, pbx: Source, is_a_leg_first: bool, between: int
    ) -> None:
        b_leg = freeswitch_call(start_stamp="2024-03-04 09:30:01", duration="64", accountcode="")
        a_leg = freeswitch_call(bleg_uuid=b_leg["uuid"])
        b_leg["bleg_uuid"] = a_leg["uuid"]
        others = [freeswitch_call() for _ in range(between)]
        legs = [a_leg, *others, b_leg] if is_a_leg_first else [b_leg, *others, a_leg]
        assert fates(deliver(freeswitch_file(*legs), pbx)) == (between + 2, 0, 0, 0)
        assert [call.call_id for call in CallRecord.objects.filter(is_internal=True)] == [b_leg["uuid"]]

    @pytest.mark.parametrize("is_a_leg_first", [True, False])
    @pytest.mark.parametrize("between", [0, 20])
    def test_charges_a_call_once_where_the_a_leg_names_the_b_leg(
        self, pbx: Source, is_a_leg_first: bool, between: int
    ) -> None:
        """As FreeSWITCH 1.10 writes both: the B-leg first, in the same second, for whom was called; it names nobody."""
        make_customer(name="Hargreaves", account="10002")
        b_leg = freeswitch_call(accountcode="10002")
        a_leg = freeswitch_call(bleg_uuid=b_leg["uuid"])
        others = [freeswitch_call() for _ in range(between)]
        legs = [a_leg, *others, b_leg] if is_a_leg_first else [b_leg, *others, a_leg]
        assert fates(deliver(freeswitch_file(*legs), pbx)) == (between + 2, 0, 0, 0)
        assert [call.call_id for call in CallRecord.objects.filter(is_internal=True)] == [b_leg["uuid"]]

    def test_passed_on_from_leg_to_leg_is_charged_as_the_first(self, pbx: Source) -> None:
        third = freeswitch_call()
        second = freeswitch_call(bleg_uuid=third["uuid"])
        first = freeswitch_call(bleg_uuid=second["uuid"])
        deliver(freeswitch_file(third, first, second), pbx)
        assert ids() == [third["uuid"], first["uuid"], second["uuid"]]
        assert internal() == [True, False, True]

    def test_names_itself_and_is_charged(self, pbx: Source) -> None:
        call = freeswitch_call()
        deliver(freeswitch_file({**call, "bleg_uuid": call["uuid"]}, freeswitch_call()), pbx)
        assert internal() == [False, False]

    def test_charges_a_leg_whose_other_one_is_not_written(self, pbx: Source) -> None:
        deliver(freeswitch_file(freeswitch_call(bleg_uuid="44dc566a-3657-4fa8-872d-81839524157e")), pbx)
        assert internal() == [False]

    def test_keeps_equal_ids_apart_as_conflicts(self, pbx: Source) -> None:
        first = freeswitch_call()
        assert fates(deliver(freeswitch_file(first, {**first, "billsec": "61"}, first), pbx)) == (1, 1, 1, 0)

    @pytest.mark.parametrize(
        ("fields", "seconds"),
        [
            ({"billmsec": "59001"}, 60),
            ({"billusec": "60000001"}, 61),
            ({"billmsec": "0", "answer_epoch": "0"}, 0),
        ],
    )
    def test_may_write_epochs_and_milliseconds(self, fields: dict[str, str], seconds: int) -> None:
        call = {"start_uepoch": f"{STARTED}120000", "answer_epoch": str(ANSWERED), "destination_number": "1"} | fields
        (leg,) = read("freeswitch-csv", freeswitch_file(call, columns=list(call), header=True))
        assert isinstance(leg, Leg)
        assert (leg.started_at.microsecond, leg.seconds, leg.is_answered) == (120000, seconds, seconds > 0)
        assert leg.call_id == ""

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"start_stamp": ""}, "start_stamp is empty."),
            ({"billsec": ""}, "billsec is empty."),
            ({"billsec": "one"}, "billsec “one” is no number of seconds."),
            ({"duration": "65s"}, "duration “65s” is no number of seconds."),
            ({"caller_id_name": '12" pipes'}, "Its quotes are wrong: ',' expected after '\"'."),
            ({"caller_id_name": "Okafor, Grace"}, None),
        ],
    )
    def test_keeps_a_line_that_makes_no_sense(self, pbx: Source, fields: dict[str, str], reason: str | None) -> None:
        deliver(freeswitch_file(freeswitch_call(), freeswitch_call(**fields)), pbx)
        assert reasons() == ([reason] if reason else [])

    def test_settles_an_hour_that_comes_twice_by_a_time_based_uuid(self) -> None:
        """On 27 October 2013 London set its clocks from 02:00 back to 01:00; older releases made such ids."""
        stamps = {f"{name}_stamp": f"2013-10-27 01:{rest}" for name, rest in (("start", "30:00"), ("answer", "30:05"))}
        for hour in (0, 1):
            came_up_at = datetime(2013, 10, 27, hour, 29, 59, tzinfo=UTC)
            since_1582 = round(came_up_at.timestamp() * 10_000_000) + 0x01B21DD213814000
            fields = (since_1582 & 0xFFFFFFFF, since_1582 >> 32 & 0xFFFF, since_1582 >> 48 | 0x1000, 0x8B, 0xFB, 0x65B6)
            leg = freeswitch_call(uuid=str(UUID(fields=fields)), **stamps, end_stamp="2013-10-27 01:31:05")
            (found,) = read("freeswitch-csv", freeswitch_file(leg))
            assert isinstance(found, Leg)
            assert found.started_at.hour == hour


# FreeSWITCH, mod_json_cdr ---------------------------------------------------------------------------------------------


class TestFreeswitchJson:
    @pytest.fixture
    def pbx(self) -> Source:
        return make_source(name="pbx-json", format="freeswitch-json", region="GB")

    def test_needs_no_time_zone(self, pbx: Source) -> None:
        deliver(json_lines(json_leg()), pbx)
        assert only_call().started_at == datetime(2024, 3, 4, 9, 30, 0, 120000, tzinfo=UTC)

    @pytest.mark.parametrize(
        "write",
        [
            lambda legs: json_lines(*legs),
            lambda legs: json_list(*legs),
            lambda legs: json_list(*legs, indent=2),
            lambda legs: json_list(*legs).replace(b"}, {", b"},{"),
            lambda legs: b"\xef\xbb\xbf\r\n" + json_list(*legs, indent=4).replace(b"\n", b"\r\n"),
            lambda legs: b"".join(json.dumps(leg, indent=1).encode() for leg in legs),
            lambda legs: b",\n".join(json.dumps(leg).encode() for leg in legs),
            lambda legs: json_list(*legs[:1]) + json_list(*legs[1:]),
            lambda legs: b"\x1e".join([b"", *json_lines(*legs).splitlines(keepends=True)]),
        ],
        ids=["lines", "list", "indented", "tight", "windows", "behind", "commas", "lists", "sequence"],
    )
    def test_may_be_laid_out_in_any_way(self, pbx: Source, write: Callable[[list[Any]], bytes]) -> None:
        legs = [json_leg() for _ in range(3)]
        assert fates(deliver(write(legs), pbx)) == (3, 0, 0, 0)
        assert fates(deliver(json_lines(*legs), pbx)) == (0, 3, 0, 0)

    def test_may_be_one_object_or_an_empty_list(self, pbx: Source) -> None:
        assert fates(deliver(json.dumps(json_leg()).encode(), pbx)) == (1, 0, 0, 0)  # no line end needed: } is the end
        assert fates(deliver(b"[]", pbx)) == (0, 0, 0, 0)

    def test_names_the_line_where_a_record_begins(self) -> None:
        legs = [json_leg() for _ in range(2)]
        indented = json_list(*legs, indent=2)
        second = indented[: indented.rindex(b'"core-uuid"')].count(b"\n")
        assert [leg.line_number for leg in read("freeswitch-json", indented)] == [2, second]

    def test_is_decoded_where_values_are_encoded(self, pbx: Source) -> None:
        for number, is_encoded in enumerate([True, False]):
            profile = {"destination_number": "%2B447700900123" if is_encoded else "+447700900123"}
            deliver(json_lines(json_leg(accountcode="10001", profile=profile, is_encoded=is_encoded)), pbx)
            assert CallRecord.objects.count() == number + 1
        assert set(CallRecord.objects.values_list("to_number", flat=True)) == {MOBILE}

    @pytest.mark.parametrize(
        ("variables", "is_internal", "because"),
        [
            ({}, True, "a B-leg: the call is charged as its A-leg"),
            ({"originator": None}, True, "originating_leg_uuid says so, too"),
            ({"originator": None, "originating_leg_uuid": None}, True, "and so does the caller profile"),
            ({"process_cdr": "b_only"}, False, "the A-leg was told not to be written"),
            ({"process_cdr": "true"}, True, "both are written"),
        ],
    )
    def test_charges_a_call_as_its_a_leg(
        self, pbx: Source, variables: dict[str, str | None], is_internal: bool, because: str
    ) -> None:
        a_leg = json_leg()
        deliver(json_lines(json_b_leg(a_leg, **variables)), pbx)  # a file a leg: the B-leg may come first
        deliver(json_lines(a_leg), pbx)
        assert internal() == [is_internal, False], because

    @pytest.mark.parametrize(
        ("variables", "is_internal", "because"),
        [
            ({"direction": "outbound"}, False, "from originate: a call of its own"),
            ({"channel_name": "loopback/07700900123-a"}, True, "the switch talking to itself"),
            ({"channel_name": "sofia/gateway/loopback/1"}, False, "only a name"),
        ],
    )
    def test_knows_other_legs(self, pbx: Source, variables: dict[str, str], is_internal: bool, because: str) -> None:
        deliver(json_lines(json_leg(**variables)), pbx)
        assert internal() == [is_internal], because

    def test_that_was_originated_is_not_the_called_ones(self, pbx: Source, okafor: Customer) -> None:
        """Once answered its caller's number is the number it called: that one may be a customer, too."""
        make_identity(value=MOBILE)
        leg = json_leg(
            direction="outbound",
            uuid="16c22a18-eccc-4974-adf9-44d2b6152838",
            channel_cid_flipped="yes",
            accountcode=None,
            user_name=None,
            sip_from_user="FreeSWITCH",
            profile={"caller_id_number": "07700900123", "ani": "02079460018"},
        )
        make_identity(customer=okafor, value=OFFICE)
        deliver(json_lines(leg), pbx)
        assert whose("16c22a18-eccc-4974-adf9-44d2b6152838") == (okafor, "outbound")

    @pytest.mark.parametrize(
        ("variables", "answered", "seconds", "because"),
        [
            ({}, True, 60, "billsec, whatever billmsec says"),
            ({"billmsec": "60720"}, True, 60, "likewise: as the switch's own CSV files have it"),
            ({"billsec": None}, True, 60, "59,980 ms: a begun second counts"),
            ({"billsec": 60}, True, 60, "a number is no trouble"),
            (unanswered(), False, 0, "nobody answered, although the cause is NORMAL_CLEARING"),
            (unanswered(answer_epoch=None, answer_uepoch=None), False, 0, "likewise"),
            ({"answer_uepoch": None, "start_uepoch": None, "end_uepoch": None}, True, 60, "whole epochs will do"),
        ],
    )
    def test_counts_as_the_switch_does(
        self, variables: dict[str, Any], answered: bool, seconds: int, because: str
    ) -> None:
        (leg,) = read("freeswitch-json", json_lines(json_leg(**variables)))
        assert isinstance(leg, Leg), because
        assert (leg.is_answered, leg.seconds) == (answered, seconds), because

    @pytest.mark.parametrize(
        ("record", "reason"),
        [
            ({"hello": 1}, "It is no record of mod_json_cdr: it has no variables."),
            ({"variables": []}, "It is no record of mod_json_cdr: it has no variables."),
            ({"variables": {}}, "uuid is empty."),
            (json_leg(start_epoch=None, start_uepoch=None), "start_epoch is empty."),
            (json_leg(start_epoch="0", start_uepoch="0"), "start_epoch is empty."),
            (json_leg(start_uepoch="now"), "start_uepoch “now” is no number of seconds since 1970."),
            (json_leg(start_uepoch="9" * 20), f"start_uepoch “{'9' * 20}” is outside any calendar."),
            (json_leg(answer_uepoch="-1"), "answer_uepoch “-1” is no number of seconds since 1970."),
            (json_leg(billsec=None, billmsec=None), "billsec is empty."),
            (json_leg(billsec=["60"]), None),  # then it has none, and its milliseconds count
            (json_leg(billsec="60", billmsec="x"), None),
            (json_leg(billsec="", billmsec="x"), "billmsec “x” is no number."),
        ],
    )
    def test_keeps_a_record_that_makes_no_sense(self, pbx: Source, record: Any, reason: str | None) -> None:
        deliver(json_lines(json_leg(), record, json_leg()), pbx)
        assert reasons() == ([reason] if reason else [])

    @pytest.mark.parametrize(
        ("damage", "reason"),
        [
            (lambda text: text.replace(b'"variables"', b'"variables'), "Its JSON can't be read: "),
            (lambda text: text.replace(b'"billsec":', b'"billsec"'), "Expecting ':' delimiter at its character"),
            (lambda text: text.replace(b"301", b"3\x0001"), "Invalid control character at"),
            (lambda text: text.replace(b"}", b"", 2), "Its JSON can't be read: "),
            (lambda text: text[:300], "Its JSON can't be read: "),
            (lambda text: b'{"a":' * 100_000, "Its JSON is nested too deeply."),
            (lambda text: b'{"variables": ' + b"1" * 5000 + b"}", "Its JSON can't be read: Exceeds the limit"),
            (lambda text: b"null", "It is no JSON object."),
            (lambda text: b"rubbish", "It is no JSON object."),
        ],
    )
    @pytest.mark.parametrize("is_list", [True, False])
    def test_loses_one_record_to_a_damage_and_no_other(
        self, damage: Callable[[bytes], bytes], reason: str, is_list: bool
    ) -> None:
        lines = json_lines(*[json_leg() for _ in range(7)]).splitlines()
        lines[3] = damage(lines[3])
        content = b"[" + b",".join(lines) + b"]" if is_list else b"\n".join(lines)
        found = read("freeswitch-json", content)
        assert [type(one) for one in found] == [Leg] * 3 + [Unparsable] + [Leg] * 3
        assert isinstance(found[3], Unparsable)
        assert reason in found[3].reason
        assert lines[3] in found[3].raw.encode("utf-8", "surrogateescape")

    def test_says_that_the_file_was_cut_off(self) -> None:
        content = json_list(json_leg(), json_leg())
        *_, last = read("freeswitch-json", content[:-20])
        assert isinstance(last, Unparsable)
        assert "perhaps the file was cut off" in last.reason

    def test_takes_half_a_character_for_what_it_is(self, pbx: Source) -> None:
        """Half a surrogate pair and a NUL, as JSON can spell them and no database can hold them."""
        content = json_lines(json_leg()).replace(b'"10001"', b'"1\\ud800\\u0000"').replace(b"02079460018", b"\\udc01x")
        assert fates(deliver(content.replace(b'"301"', b'"302"'), pbx)) == (0, 0, 1, 0)
        assert only_call().account_code == "1\N{REPLACEMENT CHARACTER}␀"

    def test_reads_a_list_of_any_length_in_bounded_memory(self) -> None:
        """Forty megabytes in one list, without a line end, and a monster among them."""
        record = json.dumps(json_leg(note="x" * 20_000)).encode()
        monster = json.dumps(json_leg(note="x" * 3_000_000)).encode()

        class Endless:
            def __init__(self) -> None:
                self.parts = self.content()
                self.rest = b""

            def content(self) -> Iterator[bytes]:
                yield b"["
                for number in range(2_000):
                    yield (monster if number == 1_000 else record) + b","
                yield b"{}]"

            def read(self, size: int) -> bytes:
                while len(self.rest) < size and (part := next(self.parts, None)):
                    self.rest += part
                block, self.rest = self.rest[:size], self.rest[size:]
                return block

        tracemalloc.start()
        kinds = [0, 0]
        for one in FORMATS["freeswitch-json"](timezone="", region="GB").read(Endless()):
            kinds[isinstance(one, Unparsable)] += 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert kinds[0] == 1_999
        assert 2 <= kinds[1] <= 8  # the monster in pieces, and {}
        assert peak < 25 << 20

    @pytest.mark.parametrize(
        "content", [b'{"' * 500_000, b',{"a' * 300_000, b'[{"a":' * 200_000, b'{"variables":{"' * 80_000]
    )
    def test_is_not_kept_busy_by_nonsense(self, content: bytes) -> None:
        began = time.monotonic()
        found = read("freeswitch-json", content)
        assert found
        assert not any(isinstance(one, Leg) for one in found)
        assert time.monotonic() - began < 10


# 3CX ------------------------------------------------------------------------------------------------------------------


class TestThreeCX:
    @pytest.fixture
    def pbx(self) -> Source:
        return make_source(name="pbx-3cx", format="3cx", timezone="UTC", region="GB")

    @pytest.mark.parametrize(
        ("fields", "direction", "numbers", "peers", "is_internal", "because"),
        [
            ({}, "outbound", ("301", MOBILE), ("301", ""), False, "a desk calls out"),
            (
                {"to-no": "Ext.10020", "to-type": "", "final-number": "", "from-type": ""},
                "outbound",
                ("301", MOBILE),
                ("301", ""),
                False,
                "by a line that has an extension's name: the number dialled tells",
            ),
            (
                {"to-no": "Ext.10020", "to-type": "ExternalLine"},
                "outbound",
                ("301", MOBILE),
                ("301", ""),
                False,
                "the type tells",
            ),
            (
                {"to-no": "Ext.10020", "to-type": "external_line"},
                "outbound",
                ("301", MOBILE),
                ("301", ""),
                False,
                "and how v20 spells it",
            ),
            (INBOUND, "inbound", (MOBILE, OFFICE), ("", "301"), False, "a call from outside to a queue"),
            (
                {**INBOUND, "dial-no": ""},
                "inbound",
                (MOBILE, "80002"),
                ("", "301"),
                False,
                "nothing says which number was dialled",
            ),
            (INSIDE, "outbound", ("301", "302"), ("301", "302"), True, "one desk calls another"),
            (
                {**INSIDE, "from-type": "", "to-type": "", "final-type": ""},
                "outbound",
                ("301", "302"),
                ("301", "302"),
                True,
                "likewise in an older release, without types",
            ),
            (
                {**INSIDE, "final-number": "07700900123", "final-type": "Line"},
                "outbound",
                ("301", "302"),
                ("301", "302"),
                False,
                "which passes it on to a mobile: somebody pays for that",
            ),
        ],
    )
    def test_tells_who_called_whom(
        self,
        pbx: Source,
        fields: dict[str, str],
        direction: str,
        numbers: tuple[str, str],
        peers: tuple[str, str],
        is_internal: bool,
        because: str,
    ) -> None:
        given = {"final_dn": "10020"} | {name.replace("-", "_"): text for name, text in fields.items()}
        deliver(threecx_file(threecx_call(**given)), pbx)
        call = only_call()
        assert (call.from_number, call.to_number) == numbers, because
        assert (call.from_peer, call.to_peer) == peers, because
        assert (call.direction, call.is_internal) == (direction, is_internal), because

    def test_charges_the_extension_and_not_the_line(self, pbx: Source, okafor: Customer) -> None:
        make_identity(kind="peer", value="10020")
        outbound, inbound = threecx_call(), threecx_call(**{k.replace("-", "_"): v for k, v in INBOUND.items()})
        assert fates(deliver(threecx_file(outbound, inbound), pbx)) == (2, 0, 0, 0)
        assert set(CallRecord.objects.values_list("customer", "direction")) == {
            (okafor.pk, "outbound"),
            (okafor.pk, "inbound"),
        }

    @pytest.mark.parametrize(
        ("columns", "shape"),
        [
            (FIELDS, "v18 and v20"),
            (FIELDS[:26], "without the missed calls"),
            (FIELDS[:20], "up to the chain, as older ones"),
        ],
    )
    def test_is_known_by_its_order(self, columns: tuple[str, ...], shape: str) -> None:
        (leg,) = read("3cx", threecx_file(threecx_call(), columns=columns))
        assert isinstance(leg, Leg), shape
        assert (leg.seconds, leg.to_number) == (60, MOBILE), shape

    def test_may_have_commas_in_names(self, pbx: Source) -> None:
        call = threecx_call(from_dispname="Holm, Astrid", to_dispname='Lindqvist, Måns "the baker"')
        assert fates(deliver(threecx_file(call), pbx)) == (1, 0, 0, 0)

    def test_that_ran_into_the_next_line_is_not_taken(self) -> None:
        for columns in (FIELDS, FIELDS[:20]):
            one, two = (threecx_file(threecx_call(), columns=columns) for _ in range(2))
            good, bad = read("3cx", one + one.rstrip() + two)
            assert isinstance(good, Leg)
            assert isinstance(bad, Unparsable)

    def test_of_a_transfer_share_a_call_and_are_all_kept(self, pbx: Source) -> None:
        first = threecx_call(callid="89d3af2d8f010000_1")
        second = {**first, "time-start": "2024/03/04 09:31:05", "time-answered": "2024/03/04 09:31:06"}
        second |= {"time-end": "2024/03/04 09:32:06", "from-no": "Ext.302", "from-dn": "302"}
        corrected = {**first, "duration": "00:01:02"}
        make_identity(kind="peer", value="302")
        assert fates(deliver(threecx_file(first, second), pbx)) == (2, 0, 0, 0)
        assert fates(deliver(threecx_file(first, second, corrected), pbx)) == (0, 2, 1, 0)
        assert ids()[0] == "265500|89d3af2d8f010000_1|2024/03/04 09:30:00|Ext.301|07700900123"

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("00:01:00", 60),
            ("00:00:59.1", 60),
            ("01:00:01", 3601),
            ("25:00:00", 90_000),
            ("1.02:00:00", 93_600),
            ("00:00:00", 0),
        ],
    )
    def test_counts_seconds(self, text: str, seconds: int) -> None:
        (leg,) = read("3cx", threecx_file(threecx_call(duration=text)))
        assert isinstance(leg, Leg)
        assert leg.seconds == seconds

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            ({"duration": ""}, "duration is empty."),
            ({"duration": "60"}, "duration “60” is not like 00:05:36."),
            ({"duration": "0.000694"}, "duration “0.000694” is not like 00:05:36."),  # a spreadsheet's part of a day
            ({"duration": "12:01:00 AM"}, "duration “12:01:00 AM” is not like 00:05:36."),
            ({"duration": "00:61:00"}, "duration “00:61:00” is not like 00:05:36."),
            ({"time_start": ""}, "time-start is empty."),
        ],
    )
    def test_keeps_a_line_that_makes_no_sense(self, pbx: Source, fields: dict[str, str], reason: str) -> None:
        deliver(threecx_file(threecx_call(), threecx_call(**fields)), pbx)
        assert reasons() == [reason]

    @pytest.mark.parametrize("duration", ["", "00:00:00"])
    def test_was_missed_where_nobody_answered(self, pbx: Source, duration: str) -> None:
        missed = threecx_call(time_answered="", duration=duration, reason_terminated="NoAnswer")
        assert fates(deliver(threecx_file(missed), pbx)) == (1, 0, 0, 0)
        assert (only_call().is_answered, only_call().seconds) == (False, 0)

    def test_waits_where_the_answer_is_missing_and_the_seconds_are_not(self, pbx: Source) -> None:
        assert fates(deliver(threecx_file(threecx_call(time_answered="")), pbx)) == (0, 0, 1, 0)

    def test_is_in_the_zone_of_its_source(self) -> None:
        pbx = make_source(name="stockholm", format="3cx", timezone="Europe/Stockholm")
        deliver(threecx_file(threecx_call()), pbx)
        assert only_call().started_at == datetime(2024, 3, 4, 8, 30, tzinfo=UTC)

    def test_without_last_line_end_is_taken_only_if_it_is_whole(self) -> None:
        one, two = (threecx_file(threecx_call()) for _ in range(2))
        assert [type(leg) for leg in read("3cx", one + two.rstrip(b"\r\n"))] == [Leg, Leg]
        assert [type(leg) for leg in read("3cx", one + two.rstrip(b"\r\n,"))] == [Leg, Unparsable]
