"""Money and times as partners read them, files that no spreadsheet runs, pictures with their figures beside them."""

import csv
import io
from datetime import UTC, date, datetime
from decimal import Decimal
from xml.etree import ElementTree as ET

import pytest

from ivy.portal import charts, csv_files, words

EVENING = datetime(2026, 3, 28, 23, 30, tzinfo=UTC)
AFTER_THE_CHANGE = datetime(2026, 3, 29, 12, 0, tzinfo=UTC)


class TestWords:
    @pytest.mark.parametrize(
        ("language", "zone", "expected"),
        [
            ("en", "Europe/London", ("€1,234.5678", "28 Mar 2026, 23:30 GMT", "29 Mar 2026, 13:00 BST")),
            ("de", "Europe/Berlin", ("1.234,5678 €", "29.03.2026, 00:30 CET", "29.03.2026, 14:00 CEST")),
            ("en-US", "Asia/Kathmandu", ("€1,234.5678", "Mar 29, 2026, 5:15 AM UTC+05:45", None)),
            ("klingon", "UTC", ("€1,234.5678", "28 Mar 2026, 23:30 UTC", None)),
        ],
    )
    def test_are_the_reader_s_own(self, language: str, zone: str, expected: tuple[str, str, str | None]) -> None:
        money, before, after = expected
        with words.written_for(language, zone):
            assert words.money(Decimal("1234.567800"), "EUR").replace("\N{NO-BREAK SPACE}", " ") == money
            assert words.moment(EVENING).replace("\N{NARROW NO-BREAK SPACE}", " ") == before
            assert after is None or words.moment(AFTER_THE_CHANGE) == after

    def test_give_the_day_in_the_reader_s_zone(self) -> None:
        with words.written_for("en", "Europe/Berlin"):
            assert words.day(EVENING) == "29 Mar 2026"
            assert words.day(EVENING.date()) == "28 Mar 2026"
            assert words.month(date(2026, 3, 1)) == "March 2026"

    def test_are_plain_english_again_afterwards(self) -> None:
        with words.written_for("de", "Europe/Berlin"):
            pass
        assert words.moment(EVENING) == "28 Mar 2026, 23:30 UTC"


class TestCells:
    @pytest.mark.parametrize(
        ("cell", "written"),
        [
            ("=HYPERLINK(1)", "'=HYPERLINK(1)"),
            ("+SUM(A1)", "'+SUM(A1)"),
            ("-1+1", "'-1+1"),
            ("@x", "'@x"),
            ("\tx", "'\tx"),
            ("\rx", "'\rx"),
            ("＝x", "'＝x"),  # noqa: RUF001 - the wide one
            ("Bakery;=HYPERLINK(1)", "Bakery;'=HYPERLINK(1)"),
            ("Bakery\n@x; -y", "Bakery\n'@x; -y"),
            ("+442079460123", "+442079460123"),
            ("-0.03", "-0.03"),
            (Decimal("-0.0300"), "-0.0300"),
            (Decimal("0E-6"), "0.000000"),
            (EVENING, "2026-03-28T23:30:00+00:00"),
            (None, ""),
            ("Bakery", "Bakery"),
        ],
    )
    def test_are_no_formulas(self, cell: object, written: str) -> None:
        assert csv_files.harmless(cell) == written

    def test_come_as_they_are_read_and_in_pieces(self) -> None:
        read = 0

        def rows() -> csv_files.Iterator[tuple[int, str]]:
            nonlocal read
            for number in range(3 * csv_files.ROWS_AT_A_TIME):
                read += 1
                yield number, 'with "quotes", commas\nand lines'

        pieces = csv_files.lines(["number", "text"], rows())
        first = next(pieces)
        assert read == csv_files.ROWS_AT_A_TIME
        parsed = list(csv.reader(io.StringIO(first + "".join(pieces))))
        assert parsed[0] == ["number", "text"]
        assert len(parsed) == 1 + 3 * csv_files.ROWS_AT_A_TIME


class TestCharts:
    def test_say_the_same_in_shapes_and_in_a_table(self) -> None:
        picture = charts.bars(
            "Used <this> month",
            description="By day",
            labels=["1 Mar", "2 Mar"],
            series=[
                charts.Series("Calls", "call", [Decimal(3), Decimal(0)]),
                charts.Series("Items", "recurring", [Decimal(-1), Decimal(4)]),
            ],
            beside=charts.Series("February", "before", [Decimal(2), Decimal(2)]),
            write=str,
        )
        assert picture.rows == [["1 Mar", "3", "-1", "2", "2"], ["2 Mar", "0", "4", "4", "2"]]
        assert (picture.top, picture.bottom) == ("4", "-1")
        svg = ET.fromstring(picture.svg)
        assert svg.find("title").text == "Used <this> month"
        heights = [float(one.get("height")) for one in svg.iter("rect") if one.get("class") != "place"]
        assert heights == [180, 60, 240]  # of 300 for five

    def test_hold_a_balance_until_it_changes(self) -> None:
        picture = charts.line(
            "Balance",
            description="Of March",
            points=[(datetime(2026, 3, 1, tzinfo=UTC), Decimal(10)), (datetime(2026, 3, 2, tzinfo=UTC), Decimal(5))],
            until=datetime(2026, 3, 5, tzinfo=UTC),
            write=str,
        )
        line = next(one for one in ET.fromstring(picture.svg).iter("polyline"))
        assert line.get("points") == "0,0 250,0 250,150 1000,150"

    def test_may_be_empty(self) -> None:
        assert charts.bars("None", description="", labels=[], series=[], write=str).rows == []
        assert charts.line("None", description="", points=[], write=str).rows == []
