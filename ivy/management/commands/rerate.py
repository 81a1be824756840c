from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone
from tqdm import tqdm

from billing import rerating
from billing.halting import ProcessHalted
from billing.management.answers import preview_as_json
from billing.management.base import DONE, REFUSED, IvyCommand, amounts, decimal_string
from billing.models import Customer, EntryKind, RateDeck
from billing.preview import Charges, Preview
from ivy import switches


class Command(IvyCommand):
    help = (
        "Charge calls again after a price list was wrong: each is priced by the deck that its customer has now, as it"
        " stands now; where that differs, the old charge is reversed. Look at it with --dry-run first. May be killed"
        " and run again; run twice, the second finds nothing to do."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--from",
            dest="since",
            required=True,
            metavar="TIME",
            help="Calls answered from then on; no zone means UTC.",
        )
        parser.add_argument("--to", dest="until", required=True, metavar="TIME", help="And before then.")
        parser.add_argument("--account", help="Only this customer's calls.")
        parser.add_argument("--deck", help="Only calls that this deck charged, or would charge now.")
        parser.add_argument("--reason", default="", help="Why; kept with the entries.")
        parser.add_argument("--dry-run", action="store_true", help="Show what would change; write nothing.")

    def handle(self, *args: Any, **options: Any) -> None:
        scope = self._scope(options)
        try:
            if options["dry_run"]:
                self._foretell(options, scope)
                return
            with self._progress(options) as progress:
                done = rerating.rerate(scope, reason=options["reason"].strip(), by=self.person(), progress=progress)
        except ProcessHalted as halt:
            self.answer(
                options, {"error": str(halt)}, f"{halt} What was corrected before counts; run it again later.", REFUSED
            )
        except rerating.CallsBusy:
            sentence = "A run has these customers just now, or their deck is changing: run it again in a moment."
            self.answer(options, {"error": sentence}, sentence, REFUSED)
        else:
            status = REFUSED if done.halted else DONE
            self.answer(options, _as_json(done), _in_words(done), status)

    def _foretell(self, options: Mapping[str, Any], scope: rerating.Scope) -> None:
        at = timezone.now()
        found = rerating.preview(scope, at=at)
        charges = {EntryKind.CALL.value: Charges(found.charged, found.amount)} if found.reversed + found.charged else {}
        foretold = Preview(charges, found.top_customers, found.falls)
        mails = switches.mails_after(found.falls, at=at)
        words = [
            _in_words(found, would="would be "),
            f"{len(found.falls)} episodes would open, and {mails} mails go out.",
        ]
        self.answer(options, _as_json(found) | preview_as_json(foretold, mails=mails), "\n".join(words))

    def _scope(self, options: Mapping[str, Any]) -> rerating.Scope:
        since, until = self.time("--from", options["since"]), self.time("--to", options["until"])
        if since >= until:
            self.refuse(f"--from {since.isoformat()} is not before --to {until.isoformat()}.")
        customer = deck = None
        if options["account"] is not None:
            customer = Customer.objects.filter(account=options["account"]).first()
            if customer is None:
                self.refuse(f"There is no customer “{options['account']}”.")
        if options["deck"] is not None:
            deck = RateDeck.objects.filter(name=options["deck"]).first()
            if deck is None:
                self.refuse(f"There is no rate deck “{options['deck']}”.")
        return rerating.Scope(since, until, customer, deck)

    @contextmanager
    def _progress(self, options: Mapping[str, Any]) -> Iterator[rerating.Progress | None]:
        """A bar of the calls looked at so far, for a person who watches."""
        if not self.is_for_a_person(options):
            yield None
            return
        with tqdm(unit=" calls", file=self.stderr, desc="Re-rating") as bar:
            yield bar.update


def _as_json(done: rerating.Outcome) -> dict[str, Any]:
    return {
        "rerating": done.rerating,
        "calls": done.looked_at,
        "customers": len(done.customers),
        "reversed": done.reversed,
        "charged": done.charged,
        "amount": done.amount,
        "left": done.left,
        "halted": done.halted,
        "top_customers": [
            {"account": account, "amount": {currency: amount}} for account, currency, amount in done.top_customers
        ],
    }


def _in_words(done: rerating.Outcome, *, would: str = "") -> str:
    name = f"Re-rating {done.rerating}" if done.rerating else "A re-rating"
    if not (done.reversed or done.charged):
        lines = [f"{name}: {done.looked_at} calls looked at; the price of none is another one today."]
    else:
        more = amounts(done.amount)
        lines = [
            f"{name}: {done.looked_at} calls, {done.reversed} charges {would}reversed, {done.charged} {would}posted.",
            f"Charged more than before (negative: less): {more}, for {len(done.customers)} customers.",
        ]
        lines += [
            f"  {account}: {decimal_string(amount)} {currency}" for account, currency, amount in done.top_customers
        ]
    for reason, calls in sorted(done.left.items()):
        lines.append(f"{calls} calls keep their charge, as they could not be priced today: {reason.replace('_', ' ')}.")
    lines += [
        f"Calls of partner {slug} are halted: left alone. Run it again once they are resumed." for slug in done.halted
    ]
    return "\n".join(lines)
