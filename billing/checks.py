"""What is wrong on the billing side, for alarms: each check has a key, and is well or says what is not."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what staff should know of it.

    `key` names the trouble, and its page of docs/runbook.md: "mail-server", or with one of many, "source-quiet:pbx-1".
    `wrong`: what is wrong, in sentences; empty: it is well. `affects`: who is not billed or not told. `todo`: what to
    do. `since`: when it began, as far as the data tell; by the database's clock.
    """

    key: str
    wrong: str = ""
    affects: str = ""
    todo: str = ""
    since: datetime | None = None

    @property
    def is_well(self) -> bool:
        return not self.wrong

    @property
    def page(self) -> str:
        """The heading in docs/runbook.md that tells of it."""
        return self.key.partition(":")[0]


def checks() -> list[Check]:
    """Look at everything that staff have to know of. Writes nothing."""
    return []
