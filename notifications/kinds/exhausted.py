from notifications.kinds.base import Kind


class Exhausted(Kind):
    """The balance is used up, and the credit limit, where there is one, too."""

    name = "exhausted"
    tells = True
