"""Ivy's own nouns, one file each: signs of life, probes and alarms."""

from ivy.models.alarm import Alarm
from ivy.models.probe import CacheFailure, Probe, Role
from ivy.models.pulse import Pulse

__all__ = ["Alarm", "CacheFailure", "Probe", "Pulse", "Role"]
