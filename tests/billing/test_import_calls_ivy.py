"""Format `ivy`: columns, times, words; and what counts as a line that was cut off."""

from datetime import UTC, datetime

import pytest

from billing.models import Customer, Source, UnparsableLine
from tests.billing.call_files import deliver, fates, ivy_call, ivy_file, missed_ivy_call, only_call
from tests.factories import make_customer, make_source

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def lindqvist() -> Customer:
    return make_customer(account="10001", name="Café Lindqvist")


@pytest.fixture
def feed() -> Source:
    return make_source(name="feed")


class TestColumns:
    def test_stand_in_any_order_in_any_case_with_spaces(self, feed: Source) -> None:
        content = ivy_file(ivy_call(), columns=sorted(ivy_call()))
        header, _, rest = content.partition(b"\n")
        assert fates(deliver(header.upper().replace(b",", b" , ") + b"\n" + rest, feed)) == (1, 0, 0, 0)

    def test_may_be_named_again_in_the_middle(self, feed: Source) -> None:
        """Two files put one behind the other, each with its header (and byte order mark)."""
        both = ivy_file(ivy_call()) + b"\xef\xbb\xbf" + ivy_file(ivy_call())
        assert fates(deliver(both, feed)) == (2, 0, 0, 0)

    def test_are_not_counted_and_blank_lines_neither(self, feed: Source) -> None:
        content = b"\n\n" + ivy_file(ivy_call()).replace(b"\n", b"\n  \n,,,,,,,,,\n")
        assert fates(deliver(content, feed)) == (1, 0, 0, 0)


class TestAField:
    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"call_id": " "}, "call_id is empty."),
            ({"call_id": "1.23457E+15"}, "call_id “1.23457E+15” is a number that a spreadsheet has shortened."),
            ({"direction": "sideways"}, "direction “sideways” is neither outbound nor inbound."),
            ({"started_at": ""}, "started_at is empty."),
            ({"started_at": "04/03/2024 09:30"}, "started_at “04/03/2024 09:30” is no time; it must be like"),
            ({"started_at": "45355.39583"}, "started_at “45355.39583” is no time"),
            ({"started_at": "2024-03-04"}, "started_at “2024-03-04” is no time"),
            ({"started_at": "2024-02-30T09:30:00Z"}, "started_at “2024-02-30T09:30:00Z” is no time"),
            ({"started_at": "0001-01-01T00:00:00+14:00"}, "is no time"),
            ({"ended_at": "9999-12-31T23:59:59-12:00"}, "ended_at “9999-12-31T23:59:59-12:00” is no time"),
            ({"answered_at": "soon"}, "answered_at “soon” is no time"),
            ({"billsec": ""}, "billsec is empty."),
            ({"billsec": "1e3"}, "billsec “1e3” is no number of seconds."),
            ({"billsec": "NaN"}, "billsec “NaN” is no number of seconds."),
            ({"billsec": "1,5"}, "billsec “1,5” is no number of seconds."),
            ({"billsec": "٦٠"}, "billsec “٦٠” is no number of seconds."),
            ({"billsec": "99999999999"}, "billsec “99999999999” is longer than any call."),
            ({"disposition": ""}, "disposition is empty."),
            ({"disposition": "vanished"}, "disposition “vanished” does not say whether the call was answered."),
            ({"disposition": "x" * 100}, "disposition “" + "x" * 59 + "…” does not say"),
        ],
    )
    def test_that_cannot_be_read_makes_the_line_unparsable(
        self, feed: Source, changes: dict[str, str], reason: str
    ) -> None:
        assert fates(deliver(ivy_file(ivy_call(**changes), ivy_call()), feed)) == (1, 0, 0, 1)
        kept = UnparsableLine.objects.get()
        assert reason in kept.reason
        assert kept.line_number == 2

    @pytest.mark.parametrize(
        ("billsec", "seconds"),
        [("60", 60), ("59.001", 60), ("60.000", 60), ("+60", 60), ("060", 60), (" 60 ", 60), ("60.", 60)],
    )
    def test_of_seconds_is_rounded_up(self, feed: Source, billsec: str, seconds: int) -> None:
        deliver(ivy_file(ivy_call(billsec=billsec)), feed)
        assert only_call().seconds == seconds

    @pytest.mark.parametrize("word", ["answered", "ANSWERED", "Answer", " answered ", "NORMAL_CLEARING"])
    def test_says_that_it_was_answered(self, feed: Source, word: str) -> None:
        deliver(ivy_file(ivy_call(disposition=word)), feed)
        assert only_call().is_answered

    @pytest.mark.parametrize(
        "word",
        ["no answer", "NO ANSWER", "no_answer", "No-Answer", "busy", "User Busy", "FAILED", "congestion", "cancel"],
    )
    def test_says_that_it_was_not(self, feed: Source, word: str) -> None:
        deliver(ivy_file(missed_ivy_call(disposition=word)), feed)
        assert not only_call().is_answered

    def test_may_be_missing_or_too_many(self, feed: Source) -> None:
        line = ivy_file(ivy_call()).splitlines()[1]
        content = ivy_file() + line + b",more\n" + line.rpartition(b",")[0] + b"\n"
        assert fates(deliver(content, feed)) == (0, 0, 0, 2)
        assert sorted(UnparsableLine.objects.values_list("reason", flat=True)) == [
            "It has 11 fields; the header has 10.",
            "It has 9 fields; the header has 10.",
        ]


class TestTimes:
    NINE_THIRTY = datetime(2024, 3, 4, 9, 30, tzinfo=UTC)

    @pytest.mark.parametrize(
        "text",
        [
            "2024-03-04T09:30:00Z",
            "2024-03-04 09:30:00+00:00",
            "2024-03-04T10:30:00+01:00",
            "20240304T093000Z",
            "2024-03-04T04:30-05:00",
            "2024-03-04T09:30:00",  # without a zone: the source has none either
        ],
    )
    def test_are_iso_8601(self, feed: Source, text: str) -> None:
        deliver(ivy_file(missed_ivy_call(started_at=text, ended_at="")), feed)
        assert only_call().started_at == self.NINE_THIRTY

    def test_without_a_zone_are_the_sources(self) -> None:
        berlin = make_source(name="berlin", timezone="Europe/Berlin")
        deliver(ivy_file(missed_ivy_call(started_at="2024-03-04T10:30:00", ended_at="")), berlin)
        assert only_call().started_at == self.NINE_THIRTY

    def test_of_an_hour_that_comes_twice_are_settled_by_the_seconds(self) -> None:
        """On 27 October 2024 Berlin set its clocks from 03:00 back to 02:00: half an hour past two came twice."""
        berlin = make_source(name="berlin", timezone="Europe/Berlin")
        times = {
            "started_at": "2024-10-27T02:49:55",
            "answered_at": "2024-10-27T02:50:00",
            "ended_at": "2024-10-27T02:10:00",
        }
        deliver(ivy_file(ivy_call(**times, billsec="1200")), berlin)
        call = only_call()
        assert call.answered_at == datetime(2024, 10, 27, 0, 50, tzinfo=UTC)
        assert call.ended_at == datetime(2024, 10, 27, 1, 10, tzinfo=UTC)


class TestALastLineWithoutLineEnd:
    @pytest.mark.parametrize(
        ("disposition", "is_whole", "because"),
        [
            ("answered", True, "no longer word begins so"),
            ("ANSWERED", True, "likewise"),
            ("answer", False, "perhaps answered"),
            ("answere", False, "no word at all"),
            ("", False, "nothing there yet"),
        ],
    )
    def test_is_taken_if_it_cannot_have_been_longer(
        self, feed: Source, disposition: str, is_whole: bool, because: str
    ) -> None:
        content = ivy_file(ivy_call(disposition=disposition)).removesuffix(b"\n")
        assert fates(deliver(content, feed)) == ((1, 0, 0, 0) if is_whole else (0, 0, 0, 1)), because

    def test_is_unparsable_when_digits_may_be_missing(self, feed: Source) -> None:
        columns = [name for name in ivy_call() if name != "billsec"] + ["billsec"]
        whole = ivy_file(ivy_call(call_id="first"), ivy_call(call_id="last"), columns=columns)
        assert whole.endswith(b",60\n")
        assert fates(deliver(whole[:-2], feed)) == (1, 0, 0, 1)
        kept = UnparsableLine.objects.get()
        assert kept.reason == "The file ends without a line end: perhaps the line was cut off."
        assert bytes(kept.raw).endswith(b",6")

        assert fates(deliver(whole, feed)) == (1, 1, 0, 0)  # the whole file comes: the record is taken
        assert only_call(call_id="last").seconds == 60

    def test_is_taken_when_its_last_field_is_in_closed_quotes(self, feed: Source) -> None:
        columns = [name for name in ivy_call() if name != "billsec"] + ["billsec"]
        content = ivy_file(ivy_call(), columns=columns).replace(b",60\n", b',"60"')
        assert fates(deliver(content, feed)) == (1, 0, 0, 0)

    @pytest.mark.parametrize("missing", range(1, 60))
    def test_is_never_taken_for_another_record(self, feed: Source, missing: int) -> None:
        """Cut off anywhere, the line gives this very record or none."""
        whole = ivy_file(ivy_call(call_id="only"))
        accepted = fates(deliver(whole[:-missing], feed))[0]
        assert accepted == (missing == 1)
