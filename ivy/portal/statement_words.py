"""What stands on a statement besides figures: names of its kinds, and why a line is in this month."""

from billing.models import EntryKind
from billing.statements import Line, Month
from ivy.portal import words

KINDS = {
    EntryKind.OPENING: "Balance brought in",
    EntryKind.CALL: "Calls",
    EntryKind.RECURRING: "Recurring charges",
    EntryKind.ONE_OFF: "One-off charges",
    EntryKind.PAYMENT: "Payments",
    EntryKind.REFUND: "Refunds",
    EntryKind.CREDIT: "Credits",
    EntryKind.ADJUSTMENT: "Adjustments",
    EntryKind.REVERSAL: "Taken back",
}


def state_of(month: Month) -> str:
    """In which state the month is, in one sentence."""
    if month.closed_at is not None:
        return f"Closed on {words.moment(month.closed_at)}. It never changes again."
    return "Open: what follows is up to now, and more may come."


def why_here(line: Line) -> str:
    """Why a line is in this month that one would look for in another; empty for all others."""
    if line.belongs_to is not None:
        reason = f"Belongs to {words.month(line.belongs_to)}"
        if line.reverses:
            return f"{reason}: takes back {line.reverses}"
        return f"{reason}; posted {words.moment(line.posted_at)}"
    if line.reverses:
        return f"Takes back {line.reverses}"
    if line.committed_late:
        return f"Posted {words.moment(line.posted_at)}, as the month before was closed"
    return ""
