"""Ivy's own nouns, one file each: signs of life, probes, repairs, alarms, incidents, what staff did and noted,
credits that wait for a second person, files that wait for a word."""

from ivy.models.alarm import Alarm
from ivy.models.alarm_message import AlarmMessage, Channel, Event
from ivy.models.audit import AuditEntry
from ivy.models.changes import CHANGES
from ivy.models.credit import CreditKind, CreditLimit, CreditRequest, CreditState
from ivy.models.incident import Audience, Incident, IncidentState, IncidentUpdate, Part
from ivy.models.note import CustomerNote
from ivy.models.probe import CacheFailure, Probe, Role
from ivy.models.pulse import Pulse
from ivy.models.repair import Repair
from ivy.models.upload import Upload, UploadKind

__all__ = [
    "CHANGES",
    "Alarm",
    "AlarmMessage",
    "Audience",
    "AuditEntry",
    "CacheFailure",
    "Channel",
    "CreditKind",
    "CreditLimit",
    "CreditRequest",
    "CreditState",
    "CustomerNote",
    "Event",
    "Incident",
    "IncidentState",
    "IncidentUpdate",
    "Part",
    "Probe",
    "Pulse",
    "Repair",
    "Role",
    "Upload",
    "UploadKind",
]
