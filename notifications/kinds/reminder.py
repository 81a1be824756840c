from notifications.kinds.base import Kind


class Reminder(Kind):
    """The balance is still below a threshold that the customer was told of days ago."""

    name = "reminder"
