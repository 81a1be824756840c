from notifications.facts import Facts
from notifications.kinds.base import Kind


class LowBalance(Kind):
    """The balance fell below a threshold that was agreed on."""

    name = "low_balance"
    tells = True

    def subject(self, facts: Facts) -> str:
        return f"Low balance: {facts.balance} on account {facts.account}"

    def lead(self, facts: Facts) -> str:
        return f"Your balance has fallen below {facts.threshold}. {facts.outlook}".rstrip()

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            ("Alert set at", facts.threshold),
            ("Below it since", facts.fell_at),
            ("Credit limit", facts.credit_limit),
            *super().rows(facts),
        ]
