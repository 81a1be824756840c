from typing import Any

from django.core.management.base import CommandParser

from billing.management.base import IvyCommand
from notifications import life
from notifications.models import NotificationLog


class Command(IvyCommand):
    help = "Tell one mail's whole life: when it was owed, attempt by attempt, what was done to it, where it stands."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("key", metavar="KEY", help="The mail's key, or its Message-ID.")

    def handle(self, *args: Any, **options: Any) -> None:
        name = options["key"]
        which = {"message_id": name} if name.startswith("<") else {"key": name}
        log = (
            NotificationLog.objects.select_related("content", "customer", "episode", "alert", "errant")
            .filter(**which)
            .first()
        )
        if log is None:
            self.refuse(f"There is no mail “{name}”. export_notifications lists them all.")
        lines = life.in_words(log)
        result = {
            "key": log.key, "account": log.customer.account, "kind": log.kind, "recipient": log.content.recipient,
            "state": log.state, "because": log.because, "detail": log.detail, "errant": log.is_errant,
            "created_at": log.created_at, "sent_at": log.sent_at, "message_id": log.message_id,
            "attempts": [
                {"number": one.number, "began_at": one.began_at, "ended_at": one.ended_at, "server": one.server,
                 "phase": one.phase, "outcome": one.outcome, "code": one.code, "words": one.words}
                for one in log.attempts.order_by("number")
            ],
            "history": [
                {"at": one.at, "by": one.by, "verb": one.verb, "reason": one.reason, "from": one.from_state,
                 "to": one.to_state}
                for one in log.history.order_by("pk")
            ],
            "story": lines,
        }  # fmt: skip
        self.answer(options, result, "\n".join(lines))
