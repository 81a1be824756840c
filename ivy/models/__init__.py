"""Ivy's own nouns, one file each: signs of life, probes, repairs, alarms and what staff are told of them, incidents."""

from ivy.models.alarm import Alarm
from ivy.models.alarm_message import AlarmMessage, Channel, Event
from ivy.models.incident import Audience, Incident, IncidentState, IncidentUpdate, Part
from ivy.models.probe import CacheFailure, Probe, Role
from ivy.models.pulse import Pulse
from ivy.models.repair import Repair

__all__ = [
    "Alarm",
    "AlarmMessage",
    "Audience",
    "CacheFailure",
    "Channel",
    "Event",
    "Incident",
    "IncidentState",
    "IncidentUpdate",
    "Part",
    "Probe",
    "Pulse",
    "Repair",
    "Role",
]
