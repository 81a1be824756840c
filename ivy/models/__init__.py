"""Ivy's own nouns, one file each: signs of life, alarms and what staff are told of them."""

from ivy.models.alarm import Alarm
from ivy.models.alarm_message import AlarmMessage, Channel, Event
from ivy.models.pulse import Pulse

__all__ = ["Alarm", "AlarmMessage", "Channel", "Event", "Pulse"]
