"""What a disk, a spreadsheet or a hurry does to a file. Chosen by dice, so that a file that fails can be made again."""

import random
import re
from collections.abc import Callable

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


def damaged(content: bytes, dice: random.Random) -> tuple[bytes, list[str]]:
    """The content with up to three damages, and their names; without any in one of six."""
    names = []
    for _ in range(dice.choice([0, 1, 1, 1, 2, 3])):
        damage = dice.choice(DAMAGES)
        content = damage(content, dice)
        names.append(damage.__name__)
    return content, names
