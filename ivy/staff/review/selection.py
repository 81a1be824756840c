"""Which mails an order is about: carried in the form that shows it, so that what was seen is what is done."""

import base64
import binascii
import zlib
from collections.abc import Iterable

from notifications.queues import MOST_AT_ONCE

LONGEST_ID_BYTES = 10


class Damaged(ValueError):
    """The text is none that `pack` has made."""


def pack(ids: Iterable[int]) -> str:
    """The ids in a short text: 50,000 neighbours take a hundred letters, as many at random some 100,000."""
    steps = bytearray()
    last = 0
    for pk in sorted(set(ids)):
        step, last = pk - last, pk
        while step > 0x7F:
            steps.append(step & 0x7F | 0x80)
            step >>= 7
        steps.append(step)
    return base64.urlsafe_b64encode(zlib.compress(bytes(steps), 9)).decode()


def unpack(text: str) -> list[int]:
    """The ids that were packed, in order. Raises Damaged for any other text, and for more than one order can have."""
    try:
        packed = zlib.decompressobj()
        steps = packed.decompress(
            base64.b64decode(text, altchars=b"-_", validate=True), MOST_AT_ONCE * LONGEST_ID_BYTES
        )
    except (ValueError, binascii.Error, zlib.error) as error:
        raise Damaged from error
    if not packed.eof:
        raise Damaged
    ids: list[int] = []
    last = step = shift = 0
    for byte in steps:
        step |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            last += step
            ids.append(last)
            step = shift = 0
        elif shift > 7 * LONGEST_ID_BYTES:
            raise Damaged
    if shift or len(ids) > MOST_AT_ONCE or (ids and ids[-1] >= 2**63):
        raise Damaged
    return ids
