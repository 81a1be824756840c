import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone
from tqdm import tqdm

from billing import cycle, halting
from billing.management.answers import exit_status, preview_as_json, preview_in_words, run_as_json, run_in_words
from billing.management.base import REFUSED, IvyCommand
from billing.management.stopping import stop_signals
from billing.models import BillingRun, Process, RunState
from billing.preview import preview
from billing.runs import RunBusy, Tally
from ivy import switches


class Command(IvyCommand):
    help = "Charge all calls and items that are due, and judge balances: one cycle, in the foreground."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("--at", help="Business time to act at: ISO 8601, no zone means UTC. Default: now.")
        parser.add_argument("--future", action="store_true", help="Allow --at to be later than now.")
        parser.add_argument("--only", choices=["calls", "items"])
        parser.add_argument("--partner", help="Only the customers of this partner (its slug).")
        parser.add_argument("--dry-run", action="store_true", help="Show what would be charged; write nothing.")
        parser.add_argument("--max-periods", type=int, help="At most so many periods of each item.")
        parser.add_argument("--workers", type=int, default=1, help="Processes that work on the run.")
        parser.add_argument("--join", action="store_true", help="Help with a run that is under way, or start one.")
        parser.add_argument(
            "--wait", type=int, default=0, help="With --join: wait so many seconds for a run, start none."
        )
        parser.add_argument("--yes", action="store_true", help="Charge items more than 13 months behind, too.")
        parser.add_argument("--calls-at-a-time", type=int, default=cycle.ChunkSizes.calls, help="Calls in a chunk.")
        parser.add_argument("--items-at-a-time", type=int, default=cycle.ChunkSizes.items, help="Items in a chunk.")

    def handle(self, *args: Any, **options: Any) -> None:
        at = self.time("--at", options["at"]) if options["at"] is not None else timezone.now()
        if at > timezone.now() and not (options["future"] or options["dry_run"]):
            self.refuse(f"--at {at.isoformat()} is in the future; add --future if you mean it.")
        for name in ("max_periods", "workers", "calls_at_a_time", "items_at_a_time"):
            if options[name] is not None and options[name] < 1:
                self.refuse(f"--{name.replace('_', '-')} must be at least 1.")
        what = {
            "at": at,
            "processes": [Process(options["only"])] if options["only"] else halting.BILLING,
            "partner": self.partner(options["partner"]),
            "max_periods": options["max_periods"],
            "charges_long_overdue": options["yes"],
        }
        if options["dry_run"]:
            found = preview(**what)
            mails = switches.mails_after(found.falls, at=at, partner=what["partner"])
            self.answer(options, preview_as_json(found, mails=mails), preview_in_words(found, mails=mails))
            return
        try:
            with stop_signals() as is_stopping, _helpers(options), self._progress(options) as progress:
                run = self._run(options, what, progress, lambda: not is_stopping())
                if is_stopping() and run.state in {RunState.RUNNING, RunState.FAILED}:
                    raise KeyboardInterrupt
        except RunBusy as busy:
            result = {**run_as_json(busy.run), "state": "busy"}
            self.answer(options, result, f"Busy: {busy}. Add --join to help with it.", REFUSED)
        else:
            self.answer(options, run_as_json(run), run_in_words(run), exit_status(run))

    def _run(
        self,
        options: Mapping[str, Any],
        what: Mapping[str, Any],
        progress: cycle.Progress | None,
        may_go_on: cycle.MayGoOn,
    ) -> BillingRun:
        sizes = cycle.ChunkSizes(calls=options["calls_at_a_time"], items=options["items_at_a_time"])
        if not options["join"]:
            return cycle.run_cycle(by="run_billing", sizes=sizes, progress=progress, may_go_on=may_go_on, **what)
        patience = time.monotonic() + (options["wait"] or 1)
        while may_go_on():
            joined = cycle.join_cycle(sizes=sizes, progress=progress, may_go_on=may_go_on)
            if joined is not None:
                return joined
            if options["wait"]:
                if time.monotonic() > patience:
                    self.refuse(f"No run began within {options['wait']} seconds that could be joined.")
                time.sleep(0.1)
                continue
            try:
                return cycle.run_cycle(by="run_billing", sizes=sizes, progress=progress, may_go_on=may_go_on, **what)
            except RunBusy:  # somebody began in this very moment: join them
                if time.monotonic() > patience:
                    raise
        raise KeyboardInterrupt

    @contextmanager
    def _progress(self, options: Mapping[str, Any]) -> Iterator[cycle.Progress | None]:
        """A bar of what has been charged so far, for a person who watches."""
        if not self.is_for_a_person(options):
            yield None
            return
        with tqdm(unit=" charges", file=self.stderr, desc="Billing") as bar:

            def show(tally: Tally) -> None:
                bar.update(tally.calls_billed + tally.calls_free + tally.item_charges + tally.one_off_charges)

            yield show


@contextmanager
def _helpers(options: Mapping[str, Any]) -> Iterator[None]:
    """Further processes that join this run; they leave by themselves when it has ended."""
    sizes = [f"--{name}-at-a-time={options[f'{name}_at_a_time']}" for name in ("calls", "items")]
    command = [sys.executable, sys.argv[0], "run_billing", "--join", "--wait=10", *sizes]
    helpers = [
        subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(options["workers"] - 1)
    ]
    try:
        yield
    finally:
        for helper in helpers:
            helper.terminate()
        for helper in helpers:
            helper.wait()
