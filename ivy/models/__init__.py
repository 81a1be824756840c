"""Ivy's own nouns, one file each: signs of life and alarms."""

from ivy.models.alarm import Alarm
from ivy.models.pulse import Pulse

__all__ = ["Alarm", "Pulse"]
