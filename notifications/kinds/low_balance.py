from notifications.kinds.base import Kind


class LowBalance(Kind):
    """The balance fell below a threshold that was agreed on."""

    name = "low_balance"
    tells = True
