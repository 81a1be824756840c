"""Ivy's own nouns, one file each: signs of life, alarms and repairs."""

from ivy.models.alarm import Alarm
from ivy.models.pulse import Pulse
from ivy.models.repair import Repair

__all__ = ["Alarm", "Pulse", "Repair"]
