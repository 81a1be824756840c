"""A billing run: what it did and what it left, live while it is under way."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.template.loader import render_to_string
from django.urls import reverse

from billing import runs, since
from billing.models import BillingItem, BillingRun, RunState
from ivy import cache
from ivy.staff.control.links import address, list_of
from ivy.staff.pages import LivePart, StaffPage

ERRORS_SHOWN = 50
WORKERS_SHOWN = 50
ENTRIES_SHOWN = 50
KEPT_SECONDS = 3_600.0


@dataclass(frozen=True)
class Stage:
    """A stretch of the run's time, as far as it was noted."""

    words: str
    began_at: datetime
    took: timedelta


def stages(run: BillingRun, now: datetime) -> list[Stage]:
    """Planning, charging, judging: the first two end when the next begins, as the run's row tells."""
    end = run.ended_at or now
    planned = run.planned_at or end
    found = [
        Stage(
            "planning: mended calls taken back, price lists made ready, work cut into pieces",
            run.started_at,
            planned - run.started_at,
        )
    ]
    if run.planned_at:
        last = run.last_chunk_at or run.planned_at
        charged = last if run.ended_at else end
        found.append(Stage("charging, piece by piece", run.planned_at, charged - run.planned_at))
        if run.ended_at:
            found.append(Stage("closing batches and judging balances", last, run.ended_at - last))
    return found


class RunPart(LivePart):
    """All of a run but its charges."""

    permission = "billing.view_billingrun"
    title = "Billing run"
    template_name = "admin/staff/control/run_part.html"

    def context(self) -> dict[str, Any]:
        run = _run(self.kwargs["pk"])
        how_far = runs.how_far(run)
        now = run.started_at + timedelta(seconds=how_far.seconds)
        if run.planned_at:
            now = run.planned_at + timedelta(seconds=how_far.seconds)
        chunks = run.chunks.values("process", "state").annotate(count=Count("pk")).order_by("process", "state")
        workers = list(run.workers.order_by("pk")[: WORKERS_SHOWN + 1])
        return {
            "run": run,
            "is_running": run.state == RunState.RUNNING,
            "how_far": how_far,
            "stages": stages(run, now),
            "amounts": sorted(runs.amounts(run).items()),
            "chunks": list(chunks),
            "workers": workers[:WORKERS_SHOWN],
            "has_more_workers": len(workers) > WORKERS_SHOWN,
            "errors": _errors(run),
            "error_count": len(run.errors),
            "chunk_list": list_of("billing.billingchunk", run__id__exact=run.pk),
        }


class RunPage(StaffPage):
    """The page of one run; its charges by kind are summed up when it is open, for large ones take a second."""

    permission = "billing.view_billingrun"
    title = "Billing run"
    template_name = "admin/staff/control/run.html"

    def get(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        run = _run(kwargs["pk"])
        part = RunPart()
        part.setup(request, *args, **kwargs)
        answer = part.get(request)
        return self.page(
            title=f"Billing run {run.pk}",
            run=run,
            is_running=run.state == RunState.RUNNING,
            part={
                "name": "run",
                "url": reverse("admin:control_run_part", args=[run.pk]),
                "seconds": 3 if run.state == RunState.RUNNING else 0,
                "text": answer.content.decode(),
                "version": answer["X-Version"],
                "as_of": answer["X-As-Of"],
            },
        )


class RunCharges(StaffPage):
    """What a run has charged, by kind and currency, and the entries: fifty at a time."""

    permission = "billing.view_ledgerentry"
    title = "What the run charged"

    def get(self, request: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        run = _run(kwargs["pk"])
        by_kind = _charged(run)
        kind, after = request.GET.get("kind", ""), request.GET.get("after", "")
        entries = since.entries_of_run(run).select_related("customer")
        if kind:
            entries = entries.filter(kind=kind)
        if after.isdecimal():
            entries = entries.filter(pk__gt=int(after))
        shown = list(entries[: ENTRIES_SHOWN + 1]) if by_kind else []
        context = {
            "run": run,
            "by_kind": by_kind,
            "kind": kind,
            "entries": [(entry, address("explain", key=entry.key)) for entry in shown[:ENTRIES_SHOWN]],
            "next_after": shown[ENTRIES_SHOWN - 1].pk if len(shown) > ENTRIES_SHOWN else None,
            "is_running": run.state == RunState.RUNNING,
        }
        return HttpResponse(render_to_string("admin/staff/control/run_charges.html", context, request))


def _charged(run: BillingRun) -> Sequence[since.Movements]:
    """Of a run that has ended it never changes."""
    if run.state == RunState.RUNNING:
        return since.charged_by_run(run)
    key = f"charged-by-run-{run.pk}-{run.started_at.timestamp()}"  # a database put back has other runs of that number
    return cache.get_or_make(key, lambda: since.charged_by_run(run), seconds=KEPT_SECONDS)


def _run(pk: int) -> BillingRun:
    return get_object_or_404(BillingRun.objects.select_related("partner"), pk=pk)


def _errors(run: BillingRun) -> list[tuple[str, str, str, str]]:
    """Kind, key, error, and the address of the call or item that it is about; empty where it is about many."""
    shown = run.errors[:ERRORS_SHOWN]
    references = [error["key"] for error in shown if error["kind"] == "item"]
    items = dict(BillingItem.objects.filter(reference__in=references).values_list("reference", "pk"))
    return [(error["kind"], error["key"], error["error"], _about(error, items)) for error in shown]


def _about(error: dict[str, str], items: dict[str, int]) -> str:
    kind, key = error["kind"], error["key"]
    if kind == "item" and key in items:
        return reverse("admin:billing_billingitem_change", args=[items[key]])
    if kind == "call" and key.startswith("call:"):
        return address("explain", key=key)
    return ""
