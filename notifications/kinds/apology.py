from notifications.facts import Facts
from notifications.kinds.base import Kind, recipient_hash


class Apology(Kind):
    """An earlier mail was an error of ours. Ordered by staff, one for each errant mail."""

    name = "apology"
    needs_the_fall = False

    def key_for(self, errant_key: str, recipient: str) -> str:
        """From the errant mail's key: one apology each, however often it is ordered."""
        return f"{self.name}:{errant_key}:{recipient_hash(recipient)[:32]}"

    def subject(self, facts: Facts) -> str:
        return f"Sorry: we wrote to you in error about account {facts.account}"

    def lead(self, facts: Facts) -> str:
        return "We sent you a mail by mistake. Please disregard it: there is nothing that you need to do."

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            ("The mail in error", facts.errant_subject),
            ("Sent", facts.errant_at),
            ("Your balance", facts.balance),
            ("As of", facts.as_of),
            *super().rows(facts),
        ]
