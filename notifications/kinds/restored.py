from notifications.facts import Facts
from notifications.kinds.base import Kind
from notifications.models import NotificationLog


class Restored(Kind):
    """The balance has recovered after a fall that the customer was told of."""

    name = "restored"
    needs_the_fall = False
    together = "recoveries"
    can_be_declined = True

    def why_untrue(self, log: NotificationLog) -> str:
        """It may have waited for long: for a halt to end, for a mail server."""
        assert log.alert is not None
        is_low = log.customer.balance_row.balance < log.alert.threshold
        return "the balance fell again before it went out" if is_low else ""

    def subject(self, facts: Facts) -> str:
        return facts.say("Balance restored: {balance} on account {account}")

    def lead(self, facts: Facts) -> str:
        return facts.say("Thank you. There is nothing more that you need to do.")

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            (facts.say("Recovered"), facts.recovered_at),
            (facts.say("Was low since"), facts.fell_at),
            (facts.say("Alert set at"), facts.threshold),
            (facts.say("Credit limit"), facts.credit_limit),
            *super().rows(facts),
        ]
