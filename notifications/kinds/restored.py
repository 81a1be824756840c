from notifications.kinds.base import Kind


class Restored(Kind):
    """The balance has recovered after a fall that the customer was told of."""

    name = "restored"
    needs_the_fall = False
