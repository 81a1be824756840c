from notifications.facts import Facts
from notifications.kinds.base import Kind


class Exhausted(Kind):
    """The balance is used up, and the credit limit, where there is one, too."""

    name = "exhausted"
    tells = True
    together = "falls"

    def subject(self, facts: Facts) -> str:
        return facts.say("Balance used up: {balance} on account {account}")

    def lead(self, facts: Facts) -> str:
        # Ivy blocks no call, and knows not who does: no promise, and no threat.
        if facts.credit_limit:
            return facts.say(
                "You have used up your balance and your credit limit of {credit_limit}: your service may be restricted."
            )
        return facts.say("Your balance has fallen below zero: your service may be restricted.")

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            (facts.say("Credit limit"), facts.credit_limit or facts.say("none")),
            (facts.say("Used up since"), facts.fell_at),
            *super().rows(facts),
        ]
