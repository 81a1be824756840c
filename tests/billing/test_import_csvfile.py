"""Reading CSV files: what is tolerated, and what becomes a sentence with its line number."""

from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from billing.imports import csvfile
from billing.imports.csvfile import BadCell, Column, CsvSource, LineError, Sheet

COLUMNS = {
    "account": Column(csvfile.name, is_required=True),
    "name": Column(csvfile.text(20)),
    "amount": Column(csvfile.decimal(), clears_to=None),
}
HEADER = "account,name,amount\n"


def read(source: CsvSource) -> Sheet:
    """The sheet, with all of its cells read."""
    sheet = csvfile.read(source, COLUMNS)
    for row in sheet.rows:
        sheet.values(row)
    return sheet


def values(source: CsvSource) -> list[dict[str, object]]:
    sheet = csvfile.read(source, COLUMNS)
    assert sheet.errors == []
    return [sheet.values(row) for row in sheet.rows]


LINDQVIST = {"account": "1001", "name": "Café Lindqvist", "amount": Decimal("12.5")}


class TestAFile:
    @pytest.mark.parametrize(
        "text",
        [
            pytest.param("account,name,amount\n1001,Café Lindqvist,12.50\n", id="plain"),
            pytest.param("account,name,amount\n1001,Café Lindqvist,12.50", id="no line end at the end"),
            pytest.param("account,name,amount\r\n1001,Café Lindqvist,12.50\r\n", id="CRLF"),
            pytest.param("account,name,amount\r1001,Café Lindqvist,12.50\r", id="CR alone"),
            pytest.param("\ufeffaccount,name,amount\n1001,Café Lindqvist,12.50\n", id="byte order mark"),
            pytest.param("amount,account,name\n12.50,1001,Café Lindqvist\n", id="columns in another order"),
            pytest.param("Account, NAME ,amount\n1001,Café Lindqvist,12.50\n", id="capitals and spaces in the header"),
            pytest.param("account,name,amount\n 1001 , Café Lindqvist ,12.50\n", id="spaces around cells"),
            pytest.param('account,name,amount\n"1001","Café Lindqvist","12.50"\n', id="quotes"),
            pytest.param('account,name,amount\n1001, "Café Lindqvist" ,12.50\n', id="spaces around quotes"),
            pytest.param("account,name,amount\n\n1001,Café Lindqvist,12.50\n\n\n", id="blank lines"),
            pytest.param("account,name,amount\n1001,Café Lindqvist,12.50\n,,\n , ,\n", id="lines of commas alone"),
        ],
    )
    def test_may_look_different_and_say_the_same(self, text: str) -> None:
        assert values(text) == [LINDQVIST]

    def test_may_come_as_a_path_a_stream_bytes_or_text(self, tmp_path: Path) -> None:
        text = "account,name,amount\n1001,Café Lindqvist,12.50\n"
        path = tmp_path / "customers.csv"
        path.write_text(text)

        assert values(path) == values(BytesIO(text.encode())) == values(text.encode()) == values(text) == [LINDQVIST]

    def test_may_have_commas_and_quotes_in_quoted_cells(self) -> None:
        assert values(HEADER + '1001,"Müller, ""the"" baker",1\n') == [
            {"account": "1001", "name": 'Müller, "the" baker', "amount": Decimal(1)}
        ]

    def test_leaves_out_what_its_cells_do_not_say(self) -> None:
        assert values(HEADER + "1001,,\n1002,,-\n") == [{"account": "1001"}, {"account": "1002", "amount": None}]

    def test_counts_rows_not_header_and_blank_lines(self) -> None:
        assert read(HEADER + "\n1001,,\n,,\n1002,,\nbad row\n").row_count == 3

    def test_with_a_header_alone_has_no_rows_and_no_errors(self) -> None:
        sheet = read(HEADER)

        assert (sheet.row_count, sheet.errors, sheet.is_readable) == (0, [], True)


KNOWN = "the columns are account, name, amount"

BAD_FILES = [
    ("empty", b"", [(1, "The file is empty; its first line names the columns: account, name, amount.")]),
    ("blank", b"\n \n", [(1, "The file is empty; its first line names the columns: account, name, amount.")]),
    ("UTF-16", "account\n1001\n".encode("utf-16"), [(1, "The file is UTF-16, not UTF-8; save it as “CSV UTF-8”.")]),
    ("a column is missing", b"name,amount\nx,1\n", [(1, "The column account is missing.")]),
    (
        "unknown columns",
        b"account,Nmae,colour\n1001,x,y\n",
        [(1, f"There is no column “Nmae”; {KNOWN}."), (1, f"There is no column “colour”; {KNOWN}.")],
    ),
    ("a column twice", b"account,name,account\n1,x,1\n", [(1, "The column account stands there twice.")]),
    ("a column without a name", b"account,,name\n1,x,1\n", [(1, f"Column 2 has no name; {KNOWN}.")]),
    ("semicolons", b"account;name;amount\n1;2;3\n", [(1, f"The columns are not separated by commas; {KNOWN}.")]),
    (
        "Latin-1",
        HEADER.encode() + b"1001,x,1\n1002,Caf\xe9,1\n1003,x,1\n",
        [(3, "The line is not UTF-8: byte 9 of the line is 0xE9. Save the file as “CSV UTF-8”.")],
    ),
    (
        "too few and too many cells",
        HEADER.encode() + b"1001,x\n1002,x,1\n1003,x,1,2\n",
        [(2, "The line has 2 cells, the header 3 columns."), (4, "The line has 4 cells, the header 3 columns.")],
    ),
    (
        "a stray quote",
        HEADER.encode() + b'1001,5" pipe,1\n1002,x,1\n',
        [(2, "Cell 2 has a stray quote: put the cell in quotes, and write quotes inside it twice.")],
    ),
    (
        "text after a quote",
        HEADER.encode() + b'1001,"a"b,1\n',
        [
            (
                2,
                "Cell 2 has text after its closing quote: put the cell in quotes, and write quotes inside it twice.",
            )
        ],
    ),
    (
        "an open quote",
        HEADER.encode() + b'1001,"x,1\n1002,y,1\n',
        [(2, "Cell 2 begins with a quote that is never closed.")],
    ),
    (
        "a NUL byte",
        HEADER.encode() + b"1001,a\0b,1\n",
        [(2, "“a\N{REPLACEMENT CHARACTER}b” has a NUL byte in it: the file is damaged, or not UTF-8.")],
    ),
    (
        "a tab",
        HEADER.encode() + b"1001,a\tb,1\n",
        [(2, "“a\N{REPLACEMENT CHARACTER}b” has a control character in it (U+0009).")],
    ),
    (
        "a line break in a cell",
        HEADER.encode() + b'1001,"a\r\nb",1\n1002,x,1,\n',
        [
            (2, "“a\N{REPLACEMENT CHARACTER}b” has a line break in it."),
            (4, "The line has 4 cells, the header 3 columns."),
        ],
    ),
    (
        "a very long line",
        HEADER.encode() + b"1001," + b"x" * 100_000 + b",1\n",
        [(2, "The line is longer than 100,000 characters.")],
    ),
]


class TestABadFile:
    @pytest.mark.parametrize(("content", "errors"), [row[1:] for row in BAD_FILES], ids=[row[0] for row in BAD_FILES])
    def test_is_told_in_sentences(self, content: bytes, errors: list[tuple[int, str]]) -> None:
        assert read(content).errors == [LineError(*error) for error in errors]

    def test_is_read_to_its_end_so_that_all_errors_are_told(self) -> None:
        sheet = read(HEADER + "".join(f"account {number},x,{number}e5\n" for number in range(300)))

        assert len(sheet.errors) == 600
        assert {error.line for error in sheet.errors} == set(range(2, 302))

    def test_needs_what_every_line_must_have(self) -> None:
        assert read(HEADER + "1001,x,1\n,y,2\n").errors == [LineError(3, "account is empty; every line needs one.")]

    def test_does_not_clear_what_must_have_a_value(self) -> None:
        sheet = read(HEADER + "1001,-,1\n")

        assert sheet.errors == [LineError(2, "name can't be cleared with “-”: it must have a value.")]

    def test_shows_long_cells_shortened(self) -> None:
        sheet = read(HEADER + "1001," + "x" * 500 + ",1\n")

        assert sheet.errors == [LineError(2, f"name “{'x' * 79}…” is longer than 20 characters.")]

    def test_names_the_first_of_two_lines_with_one_key(self) -> None:
        sheet = csvfile.read(HEADER + "1001,x,1\n1002,x,1\n1001,y,1\n", COLUMNS)

        repeated = [sheet.is_repeated(row, row.cells["account"], f"“{row.cells['account']}”") for row in sheet.rows]

        assert repeated == [False, False, True]
        assert sheet.errors == [LineError(4, "“1001” stands in line 2 already.")]
        assert [row.is_bad for row in sheet.rows] == [False, False, True]


class TestACell:
    @pytest.mark.parametrize(
        ("cell", "number"),
        [
            ("10", "10"),
            ("+10.50", "10.5"),
            ("-0.000001", "-0.000001"),
            (".5", "0.5"),
            ("5.", "5"),
            ("007", "7"),
            ("-0", "0"),
            ("1.0000000", "1"),
            ("999999999999.999999", "999999999999.999999"),
        ],
    )
    def test_holds_an_exact_number(self, cell: str, number: str) -> None:
        found = csvfile.decimal()(cell)

        assert found == Decimal(number)
        assert not (found == 0 and found.is_signed())

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            ("1,50", "has a comma: write a decimal point and no separators of thousands, like 1234.56"),
            ("1,234.50", "has a comma: write a decimal point and no separators of thousands, like 1234.56"),
            ("1e3", "is not a number: write it like 1234.56"),
            ("NaN", "is not a number: write it like 1234.56"),
            ("Infinity", "is not a number: write it like 1234.56"),
            ("1_000", "is not a number: write it like 1234.56"),
            ("--1", "is not a number: write it like 1234.56"),
            (".", "is not a number: write it like 1234.56"),
            ("12 EUR", "is not a number: write it like 1234.56"),
            ("\N{MINUS SIGN}1", "is not a number: write it like 1234.56"),
            ("\N{ARABIC-INDIC DIGIT ONE}", "is not a number: write it like 1234.56"),
            ("0.1234567", "has more than 6 decimals"),
            ("1000000000000", "is too large: there may be 12 digits before the point"),
            ("9" * 5000, "is too large: there may be 12 digits before the point"),
        ],
    )
    def test_holds_no_number(self, cell: str, reason: str) -> None:
        with pytest.raises(BadCell) as refused:
            csvfile.decimal()(cell)
        assert str(refused.value) == reason

    def test_keeps_numbers_within_bounds(self) -> None:
        read_price = csvfile.decimal(at_least=0, at_most=1_000_000)

        assert read_price("0") == 0
        assert read_price("1000000") == 1_000_000
        for cell, reason in (("-0.000001", "must be at least 0"), ("1000000.01", "must be at most 1,000,000")):
            with pytest.raises(BadCell, match=reason):
                read_price(cell)

    @pytest.mark.parametrize("cell", ["1.0", "1e1", "one", "", "1_0", "\N{SUPERSCRIPT TWO}"])
    def test_holds_no_whole_number(self, cell: str) -> None:
        with pytest.raises(BadCell, match="is not a whole number"):
            csvfile.integer(1, 31)(cell)

    @pytest.mark.parametrize("cell", ["0", "32", "-1", "9" * 5000])
    def test_keeps_whole_numbers_within_bounds(self, cell: str) -> None:
        with pytest.raises(BadCell, match="must be between 1 and 31"):
            csvfile.integer(1, 31)(cell)

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            ("31.03.2026", "is not a date: write it like 2026-03-31"),
            ("20260331", "is not a date: write it like 2026-03-31"),
            ("2026-W10-1", "is not a date: write it like 2026-03-31"),
            ("2026-3-1", "is not a date: write it like 2026-03-31"),
            ("2026-02-29", "is a day that no calendar has"),
            ("2026-13-01", "is a day that no calendar has"),
            ("0026-03-31", "is before the year 1900"),
        ],
    )
    def test_holds_no_date(self, cell: str, reason: str) -> None:
        with pytest.raises(BadCell) as refused:
            csvfile.day(cell)
        assert str(refused.value) == reason

    @pytest.mark.parametrize(
        ("cell", "at"),
        [
            ("2026-03-31", "2026-03-30T22:00:00+00:00"),  # midnight in Berlin
            ("2026-01-31", "2026-01-30T23:00:00+00:00"),  # the same in winter
            ("2026-03-31T18:00:00+02:00", "2026-03-31T16:00:00+00:00"),
            ("2026-03-31 18:00+0200", "2026-03-31T16:00:00+00:00"),
            ("2026-03-31T18:00:00Z", "2026-03-31T18:00:00+00:00"),
            ("2026-03-31 18:00", "2026-03-31T09:00:00+00:00"),  # no zone: Tokyo
            ("2026-03-31T18:00:00.250", "2026-03-31T09:00:00.250000+00:00"),
        ],
    )
    def test_holds_a_moment(self, cell: str, at: str) -> None:
        found = csvfile.instant(
            csvfile.moment(cell), midnight_in=ZoneInfo("Europe/Berlin"), zone=ZoneInfo("Asia/Tokyo")
        )

        assert found.isoformat() == at

    def test_takes_the_first_midnight_of_a_day_that_has_two_or_none(self) -> None:
        havana, cairo = ZoneInfo("America/Havana"), ZoneInfo("Africa/Cairo")

        two = csvfile.instant(date(2026, 11, 1), midnight_in=havana, zone=UTC)
        none = csvfile.instant(date(2026, 4, 24), midnight_in=cairo, zone=UTC)

        assert two == datetime(2026, 11, 1, 4, tzinfo=UTC)
        assert none == datetime(2026, 4, 23, 22, tzinfo=UTC)  # 01:00 there, the first instant of the day

    @pytest.mark.parametrize(
        ("cell", "reason"),
        [
            ("tomorrow", "is not a date or time: write it like 2026-03-31"),
            ("31.03.2026 18:00", "is not a date or time: write it like 2026-03-31 or 2026-03-31T18:00:00+02:00"),
            ("2026-03-31T25:00", "is a time that no calendar and clock has"),
            ("2026-03-31T18:00+25:00", "is a time that no calendar and clock has"),
            ("9999-12-31T23:59", "is not between the years 1900 and 9998"),
        ],
    )
    def test_holds_no_moment(self, cell: str, reason: str) -> None:
        with pytest.raises(BadCell) as refused:
            csvfile.moment(cell)
        assert str(refused.value) == reason

    @pytest.mark.parametrize(
        ("read_cell", "good", "bad", "reason"),
        [
            (csvfile.name, "harbour-2.b_c", "harbour 2", "is no name: use letters"),
            (csvfile.name, "a" * 64, "a" * 65, "is longer than 64 characters"),
            (csvfile.name, "1001", "-1001", "is no name"),
            (csvfile.email, "a.holm@example.com", "a.holm@", "is not an e-mail address"),
            (csvfile.currency, "EUR", "eur", "is not a currency: write its three letters, like EUR"),
            (csvfile.currency, "JPY", "XYZ", "is not a currency"),
            (csvfile.time_zone, "Europe/Berlin", "Europe/Berlim", "is not a time zone: write it like Europe/Berlin"),
            (csvfile.time_zone, "UTC", "+01:00", "is not a time zone"),
            (csvfile.language, "de-AT", "klingon", "is not a language: write it like en or de-AT"),
            (csvfile.choice(["day", "week"]), "day", "fortnight", "is not known: write day or week"),
        ],
    )
    def test_holds_what_its_column_says(self, read_cell: Column, good: str, bad: str, reason: str) -> None:
        assert read_cell(good) == good
        with pytest.raises(BadCell, match=reason):
            read_cell(bad)

    def test_may_write_one_of_a_few_words_in_capitals(self) -> None:
        assert csvfile.choice(["day", "week"])("Week") == "week"
