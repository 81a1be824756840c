from notifications.facts import Facts
from notifications.kinds.base import Kind, recipient_hash


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
            return facts.say("Sorry: we told you the same thing more than once, account {account}")
        return facts.say("Sorry: we wrote to you in error about account {account}")

    def lead(self, facts: Facts) -> str:
        if facts.errant_is_right and facts.errant_times > 1:
            return facts.say(
                "By mistake we sent you the same mail {times}. What it says is right; only its repetition was a"
                " mistake: please disregard that. If you have seen to it, there is nothing more to do.",
                times=_times(facts),
            )
        if facts.errant_is_right:
            return facts.say(
                "By mistake we wrote to you more than once about the same thing. What we wrote is right; only the"
                " repetition was a mistake: please disregard that. If you have seen to it, there is nothing more to do."
            )
        return facts.say("We sent you a mail by mistake. Please disregard it: there is nothing that you need to do.")

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            (facts.say("The mail") if facts.errant_is_right else facts.say("The mail in error"), facts.errant_subject),
            (facts.say("Last sent") if facts.errant_times > 1 else facts.say("Sent"), facts.errant_at),
            (facts.say("Your balance"), facts.balance),
            (facts.say("As of"), facts.as_of),
            *super().rows(facts),
        ]


def _times(facts: Facts) -> str:
    match facts.errant_times:
        case 2:
            return facts.say("twice")
        case 3:
            return facts.say("three times")
        case 4:
            return facts.say("four times")
    return facts.say("several times")
