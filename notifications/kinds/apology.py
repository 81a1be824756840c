from notifications.facts import Facts
from notifications.kinds.base import Kind, recipient_hash

_TIMES = {2: "twice", 3: "three times", 4: "four times"}
_SEEN_TO = "If you have seen to it, there is nothing more to do."


class Apology(Kind):
    """An earlier mail was an error of ours. Ordered by staff, one for each errant mail.

    It says one of two things: that the mail was wrong; or, where it was one copy too many, that what it says is right.
    """

    name = "apology"
    needs_the_fall = False

    def key_for(self, errant_key: str, recipient: str) -> str:
        """From the errant mail's key: one apology each, however often it is ordered."""
        return f"{self.name}:{errant_key}:{recipient_hash(recipient)[:32]}"

    def subject(self, facts: Facts) -> str:
        if facts.errant_is_right:
            return f"Sorry: we told you the same thing more than once, account {facts.account}"
        return f"Sorry: we wrote to you in error about account {facts.account}"

    def lead(self, facts: Facts) -> str:
        if facts.errant_times > 1:
            return (
                f"By mistake we sent you the same mail {_TIMES.get(facts.errant_times, 'several times')}. What it says"
                f" is right; only its repetition was a mistake: please disregard that. {_SEEN_TO}"
            )
        if facts.errant_is_right:
            return (
                "By mistake we wrote to you more than once about the same thing. What we wrote is right;"
                f" only the repetition was a mistake: please disregard that. {_SEEN_TO}"
            )
        return "We sent you a mail by mistake. Please disregard it: there is nothing that you need to do."

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            ("The mail" if facts.errant_is_right else "The mail in error", facts.errant_subject),
            ("Last sent" if facts.errant_times > 1 else "Sent", facts.errant_at),
            ("Your balance", facts.balance),
            ("As of", facts.as_of),
            *super().rows(facts),
        ]
