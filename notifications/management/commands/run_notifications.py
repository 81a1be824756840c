from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from typing import Any

from django.core.management.base import CommandParser
from django.db import connections
from django.utils import timezone
from tqdm import tqdm

from billing.management.answers import preview_as_json
from billing.management.base import DONE, FAILED, REFUSED, IvyCommand
from billing.preview import Preview as Charges
from notifications import cycle
from notifications.models import State
from notifications.preview import Preview, preview


class Command(IvyCommand):
    help = "Tell customers: write what is owed, and hand over what may go. One pass, in the foreground."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--at", help="Business time to act at: ISO 8601, no zone means UTC. Default: now.")
        parser.add_argument("--future", action="store_true", help="Allow --at to be later than now.")
        parser.add_argument(
            "--dry-run", action="store_true", help="Show who would hear what and why, who not and why not."
        )
        parser.add_argument("--workers", type=int, default=1, help="Processes that hand over.")
        parser.add_argument("--only-deliver", action="store_true", help="Hand over what is owed; owe nothing new.")

    def handle(self, *args: Any, **options: Any) -> None:
        at = self.time("--at", options["at"]) if options["at"] is not None else timezone.now()
        if at > timezone.now() and not (options["future"] or options["dry_run"]):
            self.refuse(f"--at {at.isoformat()} is in the future; add --future if you mean it.")
        if options["workers"] < 1:
            self.refuse("--workers must be at least 1.")
        if options["dry_run"]:
            found = preview(at=at)
            self.answer(options, _preview_as_json(found), "\n".join(_preview_in_words(found)))
            return
        with self._progress(options) as progress:
            if options["only_deliver"]:
                done = cycle.deliver(progress=progress)
            else:
                done = cycle.run_pass(at=at, progress=progress, before_delivery=lambda: _help(options["workers"] - 1))
        result = {name: getattr(done, name) for name in COUNTS}
        result |= {"halted": done.halted, "trouble": done.trouble}
        status = REFUSED if done.is_halted else FAILED if done.trouble else DONE
        self.answer(options, result, "\n".join(_in_words(done)), status)

    @contextmanager
    def _progress(self, options: Mapping[str, Any]) -> Iterator[cycle.Progress | None]:
        if not self.is_for_a_person(options):
            yield None
            return
        with tqdm(unit=" mails", file=self.stderr, desc="Notifications") as bar:

            def show(state: State) -> None:
                bar.update(state == State.SENT)

            yield show


COUNTS = ("created", "sent", "failed", "uncertain", "held", "suppressed", "pending")


@contextmanager
def _help(workers: int) -> Iterator[None]:
    """Further processes that hand over beside this one. They end by themselves when nothing is left.

    Forked: until a program of its own has come as far as its first mail, this one has sent hundreds.
    """
    if workers:
        connections.close_all()  # none may be shared by two processes
    helpers = [get_context("fork").Process(target=cycle.deliver) for _ in range(workers)]
    for helper in helpers:
        helper.start()
    try:
        yield
    finally:
        for helper in helpers:
            helper.join()


def _in_words(done: cycle.Pass) -> list[str]:
    lines = [
        f"{done.created} mails newly owed, {done.sent} sent, {done.failed} failed, {done.uncertain} uncertain.",
        f"{done.held} held, {done.suppressed} not needed any more; {done.pending} still owed.",
    ]
    lines += [f"Halted: {reason}." for reason in done.halted]
    lines += [f"Trouble: {words}." for words in done.trouble]
    return lines


def _preview_as_json(found: Preview) -> dict[str, Any]:
    def rows(mails: list[Any]) -> list[dict[str, str]]:
        return [
            {"account": mail.account, "kind": mail.kind, "recipient": mail.recipient, "because": mail.because}
            for mail in mails
        ]

    foretold = preview_as_json(Charges(), mails=len(found.mails))
    return foretold | {"would_hear": rows(found.mails), "would_not": rows(found.others), "stopped": found.stopped}


def _preview_in_words(found: Preview) -> list[str]:
    lines = [f"Stopped: {reason}." for reason in found.stopped]
    lines.append(f"{len(found.mails)} mails would go out.")
    lines += [f"  {mail.account}: {mail.kind} to {mail.recipient}: {mail.because}" for mail in found.mails]
    if found.others:
        lines.append(f"{len(found.others)} would not:")
        lines += [
            f"  {mail.account}: {mail.kind} to {mail.recipient or '(no address)'}: {mail.because}"
            for mail in found.others
        ]
    return lines
