from notifications.facts import Facts
from notifications.kinds.base import Kind


class Reminder(Kind):
    """The balance is still below a threshold that the customer was told of days ago."""

    name = "reminder"
    together = "reminders"
    can_be_declined = True

    def subject(self, facts: Facts) -> str:
        return facts.say("Reminder {reminder_number}: balance still low, {balance} on account {account}")

    def lead(self, facts: Facts) -> str:
        if facts.days_below > 1:
            said = facts.say("Your balance is still below {threshold}, for {days_below} days now. {outlook}")
        elif facts.days_below == 1:
            said = facts.say("Your balance is still below {threshold}, for a day now. {outlook}")
        else:
            said = facts.say("Your balance is still below {threshold}. {outlook}")
        return said.rstrip()

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            (facts.say("Alert set at"), facts.threshold),
            (facts.say("Below it since"), facts.fell_at),
            (facts.say("Reminder"), facts.say("number {reminder_number}")),
            (facts.say("Credit limit"), facts.credit_limit),
            *super().rows(facts),
        ]
