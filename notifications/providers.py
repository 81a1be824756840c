"""What mail providers tell by webhook (Anymail's signals): evidence for mails of which nobody knows."""

from typing import Any

from anymail.signals import EventType, tracking
from django.dispatch import receiver

from notifications import evidence

BY = "mail provider"


@receiver(tracking)
def note_event(event: Any, esp_name: str, **_: object) -> None:
    """Delivered, or came back. Events may come twice, late, or for mails that are not ours."""
    log = evidence.log_of(provider_id=event.message_id or "")
    if log is None:
        return
    if event.event_type in {EventType.DELIVERED, EventType.OPENED, EventType.CLICKED}:
        evidence.note_delivered(log, by=f"{BY} {esp_name}", words=f"{esp_name}: {event.event_type}")
    elif event.event_type in {EventType.BOUNCED, EventType.REJECTED, EventType.FAILED}:
        words = event.description or event.reject_reason or event.event_type
        evidence.note_bounced(log, by=f"{BY} {esp_name}", words=f"{esp_name}: {words}")
