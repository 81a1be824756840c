"""From bytes to rows: line ends, blocks, quotes over several lines, and lines without end."""

import io
import random

import pytest

from billing.imports import lines
from billing.imports.lines import Row, rows


def read(content: bytes, *, width: int = 3) -> list[Row]:
    return list(rows(io.BytesIO(content), is_row=lambda fields: len(fields) == width))


def told(content: bytes, *, width: int = 3) -> list[tuple[int, list[str]]]:
    """Line number and fields of what was read; an empty list for what is no row."""
    return [(row.line_number, row.fields) for row in read(content, width=width)]


A, B, C = ["a", "1", "x"], ["b", "2", "y"], ["c", "3", "z"]


class TestLineEnds:
    @pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
    def test_of_every_kind_are_alike(self, end: bytes) -> None:
        assert told(end.join([b"a,1,x", b"", b"b,2,y", b"c,3,z", b""])) == [(1, A), (3, B), (4, C)]

    def test_may_be_mixed(self) -> None:
        assert told(b"a,1,x\r\nb,2,y\rc,3,z\n") == [(1, A), (2, B), (3, C)]

    def test_of_the_last_line_are_noticed_when_missing(self) -> None:
        assert [row.is_ended for row in read(b"a,1,x\nb,2,y")] == [True, False]
        assert [row.is_ended for row in read(b"a,1,x\nb,2,y\r")] == [True, True]

    @pytest.mark.parametrize("seed", range(20))
    def test_are_found_wherever_the_blocks_are_cut(self, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
        chance = random.Random(seed)
        content, expected = b"", []
        number = 1
        for index in range(300):
            kind = chance.randrange(8)
            end = chance.choice([b"\n", b"\r\n", b"\r"])
            if kind == 0:
                content += b" " + end
                number += 1
            elif kind == 1:
                content += f'"é{index}","two\nlines",x'.encode() + end
                expected.append((number, [f"é{index}", "two\nlines", "x"]))
                number += 2
            elif kind == 2:
                content += b'stray,"' + end
                expected.append((number, []))
                number += 1
            else:
                content += f"{index},é,x".encode() + end
                expected.append((number, [str(index), "é", "x"]))
                number += 1
        monkeypatch.setattr(lines, "BLOCK", chance.choice([1, 2, 3, 7, 64, 1000]))
        monkeypatch.setattr(lines, "MOST_LINES_OF_A_ROW", 2)
        # a line without end is cut only at twice a block: give the small blocks of this test room for theirs
        monkeypatch.setattr(lines, "LONGEST_PIECE", 10_000, raising=True)
        assert told(content) == expected


class TestRowsOverSeveralLines:
    def test_are_one_row(self) -> None:
        assert told(b'a,"1\n2\r\n\n3",x\nb,2,y\n') == [(1, ["a", "1\n2\n\n3", "x"]), (5, B)]

    def test_are_given_up_when_a_line_inside_is_a_row_itself(self) -> None:
        """A stray quote before and one behind: what is between them must not disappear."""
        assert told(b'a,"1,x\nb,2,y\nc",3,z\n') == [(1, []), (2, B), (3, ['c"', "3", "z"])]

    def test_are_given_up_after_twenty_lines(self) -> None:
        def row(breaks: int) -> bytes:
            return b'a,"' + b"\n" * breaks + b'",x\n'

        assert [fields[0] for _, fields in told(row(19))] == ["a"]
        assert told(row(20) + b"b,2,y\n") == [(1, []), (21, []), (22, B)]

    def test_are_given_up_at_the_end_of_the_file(self) -> None:
        assert told(b'a,"1,x\nhalf') == [(1, []), (2, ["half"])]

    def test_never_swallow_the_file_behind_a_stray_quote(self) -> None:
        good = b"".join(b"%d,2,y\n" % number for number in range(5000))
        assert len(told(b'a,"1,x\n' + good)) == 5001
        assert len(told(b'"a"",1,x\n' * 500 + good)) == 5500


class TestALineWithoutEnd:
    def test_comes_in_pieces_and_no_byte_is_lost(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lines, "BLOCK", 1000)
        monkeypatch.setattr(lines, "LONGEST_PIECE", 1000)
        monkeypatch.setattr(lines, "LONGEST_ROW", 500)
        monster = bytes(range(32, 127)) * 77 + b"\xff\0" + b"c,3,z"
        found = read(b"a,1,x\n" + monster + b"\nb,2,y\n")
        assert [row.line_number for row in found] == [1, *[2] * (len(found) - 2), 3]
        assert b"".join(lines.raw_bytes(row.raw) for row in found[1:-1]) == monster
        assert {row.problem for row in found[1:-1]} == {"It is longer than 500 characters."}
        assert found[-1].fields == B

    def test_is_no_row_even_at_its_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(lines, "LONGEST_PIECE", 1000)
        monkeypatch.setattr(lines, "BLOCK", 1000)
        monkeypatch.setattr(lines, "LONGEST_ROW", 500)
        for length in range(1990, 2020):
            found = read(b"\0" * length + b"a,1,x\n")
            assert not any(row.fields for row in found)


class TestBytes:
    def test_that_are_not_utf_8_can_be_had_back_and_read(self) -> None:
        (row,) = read(b"M\xfcller,\x80,\xc3\xbc\n")
        assert lines.raw_bytes(row.raw) == b"M\xfcller,\x80,\xc3\xbc"
        assert lines.readable(row.fields[0]) == "Müller"
        assert lines.readable(row.fields[2]) == "ü"

    def test_of_a_byte_order_mark_count_only_at_the_beginning(self) -> None:
        assert told(b"\xef\xbb\xbfa,1,x\n") == [(1, A)]

    def test_of_nothing_are_no_rows(self) -> None:
        assert told(b"") == []
        assert told(b"\n \n\r\n,,\n") == []

    def test_nul_is_readable_as_a_sign(self) -> None:
        assert lines.readable("a\0b\nc") == "a␀b c"
