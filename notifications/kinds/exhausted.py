from notifications.facts import Facts
from notifications.kinds.base import Kind

RESTRICTED = "your service may be restricted"


class Exhausted(Kind):
    """The balance is used up, and the credit limit, where there is one, too."""

    name = "exhausted"
    tells = True

    def subject(self, facts: Facts) -> str:
        return f"Balance used up: {facts.balance} on account {facts.account}"

    def lead(self, facts: Facts) -> str:
        # Ivy blocks no call, and knows not who does: no promise, and no threat.
        if facts.credit_limit:
            return f"You have used up your balance and your credit limit of {facts.credit_limit}: {RESTRICTED}."
        return f"Your balance has fallen below zero: {RESTRICTED}."

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            ("Credit limit", facts.credit_limit or "none"),
            ("Used up since", facts.fell_at),
            *super().rows(facts),
        ]
