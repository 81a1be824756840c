"""Every kind of mail that Ivy sends, one file each."""

from notifications.kinds.apology import Apology
from notifications.kinds.base import Fall, Kind, clean, recipient_hash, why_unusable
from notifications.kinds.exhausted import Exhausted
from notifications.kinds.low_balance import LowBalance
from notifications.kinds.reminder import Reminder
from notifications.kinds.restored import Restored

LOW_BALANCE = LowBalance()
EXHAUSTED = Exhausted()
REMINDER = Reminder()
RESTORED = Restored()
APOLOGY = Apology()

KINDS: dict[str, Kind] = {kind.name: kind for kind in (LOW_BALANCE, EXHAUSTED, REMINDER, RESTORED, APOLOGY)}

__all__ = [
    "APOLOGY",
    "EXHAUSTED",
    "KINDS",
    "LOW_BALANCE",
    "REMINDER",
    "RESTORED",
    "Fall",
    "Kind",
    "clean",
    "recipient_hash",
    "why_unusable",
]
