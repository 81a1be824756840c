from notifications.facts import Facts
from notifications.kinds.base import Kind


class Reminder(Kind):
    """The balance is still below a threshold that the customer was told of days ago."""

    name = "reminder"
    can_be_declined = True

    def subject(self, facts: Facts) -> str:
        return f"Reminder {facts.reminder_number}: balance still low, {facts.balance} on account {facts.account}"

    def lead(self, facts: Facts) -> str:
        days = {0: "", 1: ", for a day now"}.get(facts.days_below, f", for {facts.days_below} days now")
        return f"Your balance is still below {facts.threshold}{days}. {facts.outlook}".rstrip()

    def rows(self, facts: Facts) -> list[tuple[str, str]]:
        return [
            ("Alert set at", facts.threshold),
            ("Below it since", facts.fell_at),
            ("Reminder", f"number {facts.reminder_number}"),
            ("Credit limit", facts.credit_limit),
            *super().rows(facts),
        ]
