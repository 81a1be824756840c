"""Runs and previews as the commands tell them: to programs as JSON, to people in sentences."""

from typing import Any

from billing import runs
from billing.management.base import DONE, FAILED, REFUSED, amounts, decimal_string
from billing.models import BillingRun, RunState
from billing.preview import Preview


def exit_status(run: BillingRun) -> int:
    """3 where a process asked for was halted as a whole, 1 where something failed."""
    if run.state == RunState.FAILED or run.errors:
        return FAILED
    if any(halt["partner"] in (None, run.partner and run.partner.slug) for halt in run.halted):
        return REFUSED
    return DONE


def run_as_json(run: BillingRun) -> dict[str, Any]:
    """A run as the commands print it. Amounts are positive where customers were charged."""
    return {
        "run": run.pk,
        "state": run.state,
        "calls_billed": run.calls_billed,
        "calls_free": run.calls_free,
        "calls_quarantined": run.calls_quarantined,
        "item_charges": run.item_charges,
        "one_off_charges": run.one_off_charges,
        "amount": {currency: decimal_string(amount) for currency, amount in runs.amounts(run).items()},
        "episodes_opened": run.episodes_opened,
        "episodes_closed": run.episodes_closed,
        "halted": run.halted,
        "errors": run.errors,
    }


def run_in_words(run: BillingRun) -> str:
    """The outcome of a run in a few sentences."""
    charged = amounts(runs.amounts(run)) or "nothing"
    lines = [
        f"Run {run.pk}: {run.get_state_display().lower()}{f' ({run.ended_because})' if run.ended_because else ''}.",
        f"Charged {charged}: {run.calls_billed} calls, {run.item_charges} recurring, {run.one_off_charges} one-off.",
        f"{run.calls_free} calls were free, {run.calls_quarantined} went to quarantine.",
        f"{run.episodes_opened} episodes opened, {run.episodes_closed} closed.",
    ]
    for halt in run.halted:
        whose = f" of partner {halt['partner']}" if halt["partner"] else ""
        lines.append(f"Halted: {halt['process']}{whose}.")
    lines += [f"Not charged: {error['kind']} {error['key']}: {error['error']}" for error in run.errors[:20]]
    if len(run.errors) > 20:
        lines.append(f"... and {len(run.errors) - 20} more.")
    return "\n".join(lines)


def preview_as_json(found: Preview, *, mails: int) -> dict[str, Any]:
    """A preview as every command prints it. `mails`: how many would go out."""
    return {
        "charges": [
            {
                "kind": kind,
                "count": charges.count,
                "amount": {currency: decimal_string(amount) for currency, amount in charges.amount.items()},
            }
            for kind, charges in sorted(found.charges.items())
        ],
        "top_customers": [
            {"account": account, "amount": {currency: decimal_string(amount)}}
            for account, currency, amount in found.top_customers
        ],
        "episodes_to_open": found.episodes_to_open,
        "mails": mails,
    }


def preview_in_words(found: Preview, *, mails: int) -> str:
    """A preview in a few lines."""
    lines = [
        f"Would charge {amounts(charges.amount)} in {charges.count} entries of kind {kind}."
        for kind, charges in sorted(found.charges.items())
    ] or ["Would charge nothing."]
    if found.top_customers:
        largest = [
            f"{account} {decimal_string(amount)} {currency}" for account, currency, amount in found.top_customers
        ]
        lines.append(f"Largest: {', '.join(largest)}.")
    lines += [f"{found.episodes_to_open} episodes would open.", f"{mails} mails would go out."]
    return "\n".join(lines)
