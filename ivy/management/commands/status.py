from datetime import datetime
from typing import Any

from django.utils import timezone

from billing import backlog, halting
from billing.management.answers import run_as_json
from billing.management.base import IvyCommand, amounts
from billing.models import BillingRun, Process, ProcessSwitch
from billing.runs import amounts as amounts_of
from ivy import alarms, health
from notifications import backlog as notifications_backlog

LAST_RUNS = 5


class Command(IvyCommand):
    help = "How Ivy is: switches, last runs, what waits, quarantine, health."

    def handle(self, *args: Any, **options: Any) -> None:
        now = timezone.now()
        halts = halting.active_halts()
        runs = list(BillingRun.objects.select_related("partner").order_by("-started_at")[:LAST_RUNS])
        waiting = backlog.backlog(at=now)
        quarantine = backlog.quarantine()
        parts = health.parts()
        mails = notifications_backlog.backlog()
        standing = alarms.standing()
        result = {
            "processes": [_process_as_json(process, halts) for process in Process],
            "runs": [
                {
                    **run_as_json(run),
                    "started_at": run.started_at,
                    "ended_at": run.ended_at,
                    "started_by": run.started_by,
                }
                for run in runs
            ],
            "backlog": {
                "pending_calls": waiting.pending_calls,
                "oldest_call_started_at": waiting.oldest_call_started_at,
                "oldest_batch_arrived_at": waiting.oldest_batch_arrived_at,
                "due_items": waiting.due_items,
                "oldest_due_on": waiting.oldest_due_on,
                "customers_to_judge": waiting.customers_to_judge,
            },
            "quarantine": {reason: {"calls": calls, "oldest": since} for reason, (calls, since) in quarantine.items()},
            "notifications": {**mails.counts, "oldest_owed_at": mails.oldest_owed_at, "tripped": mails.tripped},
            "health": [
                {"part": part.part, "ok": part.ok, "last_good_at": part.last_good_at, "detail": part.detail}
                for part in parts
            ],
            "alarms": standing,
        }
        lines = [*_in_words(halts, runs, waiting, quarantine, parts), *_mails(mails), *_alarms(standing)]
        self.answer(options, result, "\n".join(lines))


def _process_as_json(process: Process, halts: list[ProcessSwitch]) -> dict[str, Any]:
    mine = [halt for halt in halts if halt.process == process]
    return {
        "process": process.value,
        "state": "halted" if any(halt.partner is None for halt in mine) else "working",
        "halts": [
            {
                "partner": halt.partner.slug if halt.partner else None,
                "cause": halt.cause,
                "since": halt.since,
                "reason": halt.reason,
                "by": halt.changed_by,
            }
            for halt in mine
        ],
    }


def _in_words(
    halts: list[ProcessSwitch],
    runs: list[BillingRun],
    waiting: backlog.Backlog,
    quarantine: dict[str, tuple[int, datetime]],
    parts: list[health.Part],
) -> list[str]:
    lines = ["Processes"]
    for process in Process:
        mine = [halt for halt in halts if halt.process == process]
        lines.append(f"  {process.value}: {'working' if not any(halt.partner is None for halt in mine) else 'HALTED'}")
        for halt in mine:
            whom = f"partner {halt.partner.slug}" if halt.partner else "everyone"
            lines.append(
                f"    halted for {whom} since {halt.since:%Y-%m-%d %H:%M} UTC by {halt.changed_by}"
                f" ({halt.cause}): {halt.reason}"
            )
    lines.append("Last billing runs")
    for run in runs:
        took = f", {(run.ended_at - run.started_at).total_seconds():.1f} s" if run.ended_at else ""
        because = f" ({run.ended_because})" if run.ended_because else ""
        charged = amounts(amounts_of(run)) or "nothing"
        lines.append(
            f"  {run.pk}: {run.started_at:%Y-%m-%d %H:%M:%S} UTC by {run.started_by}: {run.state}{because}{took};"
            f" charged {charged}; {run.calls_billed} calls, {run.item_charges + run.one_off_charges} items"
        )
    if not runs:
        lines.append("  none yet")
    lines.append("Waiting")
    since = waiting.oldest_batch_arrived_at
    lines.append(
        f"  {waiting.pending_calls} calls{f', since {since:%Y-%m-%d %H:%M} UTC' if since else ''};"
        f" {waiting.due_items} items due; {waiting.customers_to_judge} balances to judge"
    )
    lines.append("Quarantine")
    lines += [
        f"  {calls} {reason.replace('_', ' ')}, the oldest since {oldest:%Y-%m-%d %H:%M} UTC"
        for reason, (calls, oldest) in quarantine.items()
    ] or ["  empty"]
    lines.append("Health")
    lines += [f"  {part.part}: {'well' if part.ok else 'NOT WELL'}: {part.detail}" for part in parts]
    return lines


def _mails(mails: notifications_backlog.Backlog) -> list[str]:
    waiting = ", ".join(f"{count} {state}" for state, count in mails.counts.items() if count) or "none waits"
    oldest = mails.oldest_owed_at
    lines = ["Mails", f"  {waiting}" + (f"; the oldest owed since {oldest:%Y-%m-%d %H:%M} UTC" if oldest else "")]
    return [*lines, f"  THE BREAKER HAS TRIPPED: {mails.tripped}"] if mails.tripped else lines


def _alarms(standing: list[dict[str, Any]]) -> list[str]:
    lines = ["Alarms"]
    for alarm in standing:
        well = f"; well since {alarm['well_since']:%H:%M:%S} UTC, and watched" if alarm["well_since"] else ""
        lines.append(f"  {alarm['key']}, since {alarm['since']:%Y-%m-%d %H:%M} UTC{well}:")
        lines += [f"    {alarm[words]}" for words in ("wrong", "affects", "todo", "link") if alarm[words]]
    return lines if standing else [*lines, "  none stands"]
