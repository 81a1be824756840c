"""The nouns of telling customers, one file each."""

from notifications.models.attempt import DeliveryAttempt, Outcome, Phase
from notifications.models.breaker import BreakerLimits, BreakerTrip
from notifications.models.instance import ConfirmedInstance
from notifications.models.journal import JournalCanary
from notifications.models.log import Because, NotificationContent, NotificationLog, State
from notifications.models.order import NotificationHistory, StaffOrder, Verb

__all__ = [
    "Because",
    "BreakerLimits",
    "BreakerTrip",
    "ConfirmedInstance",
    "DeliveryAttempt",
    "JournalCanary",
    "NotificationContent",
    "NotificationHistory",
    "NotificationLog",
    "Outcome",
    "Phase",
    "StaffOrder",
    "State",
    "Verb",
]
