"""Everything that is looked at, both sides and what is around them: what alarms are raised from."""

from billing import checks as billing
from billing.checks import Check, looked_at
from ivy import health
from notifications import checks as notifications


def everything() -> list[Check]:
    """Look at all of it. Writes nothing; quick whatever the history; a check that fails is a trouble of its own."""
    return looked_at({"billing": billing.checks, "notifications": notifications.checks, "health": health.checks})
