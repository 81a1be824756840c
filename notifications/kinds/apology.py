from notifications.kinds.base import Kind, recipient_hash


class Apology(Kind):
    """An earlier mail was an error of ours. Ordered by staff, one for each errant mail."""

    name = "apology"
    needs_the_fall = False

    def key_for(self, errant_key: str, recipient: str) -> str:
        """From the errant mail's key: one apology each, however often it is ordered."""
        return f"{self.name}:{errant_key}:{recipient_hash(recipient)[:32]}"
