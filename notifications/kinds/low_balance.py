from notifications.facts import Facts
from notifications.kinds.base import Kind


class LowBalance(Kind):
    """The balance fell below a threshold that was agreed on."""

    name = "low_balance"
    tells = True
    together = "falls"

    def subject(self, facts: Facts) -> str:
        return facts.say("Low balance: {balance} on account {account}")

    def lead(self, facts: Facts) -> str:
        return facts.say("Your balance has fallen below {threshold}. {outlook}").rstrip()

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            (facts.say("Alert set at"), facts.threshold),
            (facts.say("Below it since"), facts.fell_at),
            (facts.say("Credit limit"), facts.credit_limit),
            *super().rows(facts),
        ]
