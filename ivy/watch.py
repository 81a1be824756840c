"""Everything that is looked at, both sides and what is around them: what alarms are raised from."""

from billing import checks as billing
from billing.checks import Check
from ivy import machinery
from notifications import checks as notifications


def everything() -> list[Check]:
    """Look at all of it. Writes nothing; quick whatever the history."""
    return [*machinery.checks(), *billing.checks(), *notifications.checks()]
