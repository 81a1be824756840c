"""Ivy's own nouns, one file each: signs of life, alarms and incidents."""

from ivy.models.alarm import Alarm
from ivy.models.incident import Audience, Incident, IncidentState, IncidentUpdate, Part
from ivy.models.pulse import Pulse

__all__ = ["Alarm", "Audience", "Incident", "IncidentState", "IncidentUpdate", "Part", "Pulse"]
