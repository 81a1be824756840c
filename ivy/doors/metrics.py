"""What Prometheus reads: figures of the business, taken from the database at each scrape.

Every process would answer alike, so it does not matter which one is asked. Each query is quick whatever the history:
it goes by an index, and counts to `MOST_COUNTED` at most. One that takes too long is left out, and told by
`ivy_scrape_left_out`, so that the others still come. Ages go by the database's clock.
"""

from collections.abc import Callable, Iterable, Iterator
from time import monotonic
from typing import Any

from django.conf import settings
from django.db import OperationalError, connection
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from billing.models import HaltCause, Process, QuarantineReason
from ivy import pulses
from ivy.doors import bounded
from notifications.backlog import OPEN_STATES

SECONDS = 1.4
STATEMENT_SECONDS = 0.3
BEGIN_SECONDS = 0.7  # no group is begun later; none has more than three short statements
MOST_COUNTED = 100_000
QUERY_CANCELED = "57014"

Row = tuple[Any, ...]


def scrape() -> bytes:
    """All metrics in Prometheus' text format. Raises TookTooLong or a database error when the database is away."""
    return bounded.within(SECONDS, _everything, statement_seconds=STATEMENT_SECONDS)


def _everything() -> bytes:
    registry = CollectorRegistry()
    registry.register(BusinessCollector())
    if settings.PROMETHEUS_MULTIPROC_DIR:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


class BusinessCollector(Collector):
    """How billing, notifications and what is around them are, read from the database when collected."""

    def describe(self) -> Iterable[Metric]:
        """Nothing: to be registered, it need not be collected."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Every figure, group by group. Raises database errors, save of statements that took too long."""
        left_out = GaugeMetricFamily(
            "ivy_scrape_left_out",
            "Whether a group of metrics took too long to be read, and is missing.",
            labels=["group"],
        )
        began = monotonic()
        for name, group in GROUPS.items():
            if monotonic() - began > BEGIN_SECONDS:
                left_out.add_metric([name], 1)
                continue
            try:
                metrics = group()
            except OperationalError as error:
                if getattr(error.__cause__, "sqlstate", None) != QUERY_CANCELED:
                    raise
                left_out.add_metric([name], 1)
            else:
                left_out.add_metric([name], 0)
                yield from metrics
        yield left_out


def _rows(sql: str, parameters: dict[str, Any] | None = None) -> list[Row]:
    with connection.cursor() as cursor:
        cursor.execute(sql, {"most": MOST_COUNTED, **(parameters or {})})
        return list(cursor.fetchall())


def _gauge(name: str, words: str, value: float | None) -> list[Metric]:
    """One gauge without labels; none at all where there is nothing to tell (no run yet, nothing waits)."""
    return [] if value is None else [GaugeMetricFamily(name, words, value=float(value))]


def _labelled(name: str, words: str, labels: list[str], rows: Iterable[Row]) -> Metric:
    """A gauge with labels: each row is their values and the figure."""
    family = GaugeMetricFamily(name, words, labels=labels)
    for *values, figure in rows:
        family.add_metric([str(value or "") for value in values], float(figure))
    return family


def _runs() -> list[Metric]:
    ((good, running),) = _rows(
        """
        SELECT
            (SELECT extract(epoch FROM statement_timestamp() - ended_at) FROM billing_billingrun
             WHERE state NOT IN ('running', 'failed') ORDER BY started_at DESC LIMIT 1),
            (SELECT extract(epoch FROM statement_timestamp() - started_at) FROM billing_billingrun
             WHERE state = 'running')
        """
    )
    ended = _rows(
        """
        SELECT states.state, count(r.id)
        FROM unnest(ARRAY['done', 'partial', 'halted', 'failed']) states (state)
        LEFT JOIN billing_billingrun r
            ON r.state = states.state AND r.started_at > statement_timestamp() - interval '1 hour'
        GROUP BY states.state
        """
    )
    return [
        *_gauge("ivy_billing_last_good_run_age_seconds", "Since the last billing run that came to its end.", good),
        *_gauge("ivy_billing_run_under_way", "Whether a billing run is under way.", running is not None),
        *_gauge("ivy_billing_run_under_way_seconds", "For how long the present billing run has gone on.", running or 0),
        _labelled("ivy_billing_runs_last_hour", "Billing runs that began within an hour, by end.", ["state"], ended),
    ]


def _charges() -> list[Metric]:
    """By the runs' own sums: the ledger, with its millions of rows, has no index for this question."""
    ((calls, free, quarantined, recurring, one_off),) = _rows(
        """
        SELECT coalesce(sum(calls_billed), 0), coalesce(sum(calls_free), 0), coalesce(sum(calls_quarantined), 0),
            coalesce(sum(item_charges), 0), coalesce(sum(one_off_charges), 0)
        FROM billing_billingrun WHERE started_at >= date_trunc('day', statement_timestamp(), 'UTC')
        """
    )
    amounts = _rows(
        """
        SELECT sums.currency, sum(sums.amount::numeric)
        FROM billing_billingrun, jsonb_each_text(amount) sums (currency, amount)
        WHERE started_at >= date_trunc('day', statement_timestamp(), 'UTC')
        GROUP BY sums.currency ORDER BY sums.currency
        """
    )
    kinds = [("call", calls), ("recurring", recurring), ("one_off", one_off)]
    uncharged = [("free", free), ("quarantined", quarantined)]
    return [
        _labelled("ivy_charges_today", "Charges posted by runs begun since midnight UTC, by kind.", ["kind"], kinds),
        _labelled("ivy_charged_today_amount", "What these charges sum up to, by currency.", ["currency"], amounts),
        _labelled("ivy_calls_not_charged_today", "Calls these runs left free or put aside.", ["outcome"], uncharged),
    ]


def _calls_waiting() -> list[Metric]:
    ((pending, oldest),) = _rows(
        """
        SELECT coalesce(sum(b.call_count), 0) - coalesce(sum(done.calls), 0),
            extract(epoch FROM statement_timestamp() - min(b.arrived_at))
        FROM billing_arrivalbatch b
        LEFT JOIN LATERAL (
            SELECT sum(p.outcome_count) AS calls FROM billing_batchprogress p WHERE p.batch_id = b.id
        ) done ON true
        WHERE b.closed_at IS NULL
        """
    )
    return [
        *_gauge("ivy_calls_pending", "Calls that have no outcome yet.", pending),
        *_gauge("ivy_calls_pending_oldest_age_seconds", "Since the oldest open batch of calls came.", oldest or 0),
    ]


def _items_waiting() -> list[Metric]:
    ((due, to_judge),) = _rows(
        """
        SELECT
            (SELECT count(*) FROM (
                SELECT FROM billing_billingitem i JOIN billing_customer cu ON cu.id = i.customer_id
                WHERE i.next_due_on <= (statement_timestamp() AT TIME ZONE 'UTC')::date + 1
                  AND i.next_due_on <= (statement_timestamp() AT TIME ZONE cu.timezone)::date
                LIMIT %(most)s
            ) due),
            (SELECT count(*) FROM (SELECT FROM billing_customertojudge LIMIT %(most)s) waiting)
        """
    )
    return [
        *_gauge("ivy_items_due", f"Items with something due ({MOST_COUNTED}: so many, or more).", due),
        *_gauge("ivy_balances_to_judge", f"Balances to be judged ({MOST_COUNTED}: or more).", to_judge),
    ]


def _quarantine() -> list[Metric]:
    rows = _rows(
        """
        SELECT reasons.reason, waiting.calls FROM unnest(%(reasons)s::text[]) reasons (reason),
            LATERAL (SELECT count(*) AS calls FROM (
                SELECT FROM billing_quarantinedcall q WHERE q.state = 'waiting' AND q.reason = reasons.reason
                LIMIT %(most)s
            ) counted) waiting
        """,
        {"reasons": QuarantineReason.values},
    )
    words = f"Calls that wait in quarantine ({MOST_COUNTED}: or more)."
    return [_labelled("ivy_quarantined_calls", words, ["reason"], rows)]


def _mails() -> list[Metric]:
    # The states stand in the text of the query: only so can the planner use the partial indexes.
    by_state = _rows(
        " UNION ALL ".join(
            f"SELECT '{state}', count(*) FROM "  # noqa: S608 - our own states
            f"(SELECT FROM notifications_notificationlog WHERE state = '{state}' LIMIT %(most)s) waiting"
            for state in OPEN_STATES
        )
    )
    ((oldest, handed_over, why),) = _rows(
        """
        SELECT
            (SELECT extract(epoch FROM statement_timestamp() - min(created_at)) FROM (
                SELECT created_at FROM notifications_notificationlog WHERE state = 'pending'
                ORDER BY next_try_at, id LIMIT %(most)s
            ) waiting),
            (SELECT count(*) FROM (
                SELECT FROM notifications_notificationlog
                WHERE sending_at > statement_timestamp() - interval '1 hour' LIMIT %(most)s
            ) recent),
            (SELECT count(*) FROM notifications_breakertrip WHERE reset_at IS NULL)
        """
    )
    return [
        _labelled("ivy_mails", f"Mails that are not settled ({MOST_COUNTED}: or more).", ["state"], by_state),
        *_gauge("ivy_mails_oldest_owed_age_seconds", "Since the oldest mail that is owed is owed.", oldest or 0),
        *_gauge("ivy_mails_handed_over_last_hour", "Mails handed over within an hour, sent or not.", handed_over),
        *_gauge("ivy_breaker_tripped", "Whether the breaker has tripped: no customer is mailed.", why),
    ]


def _switches() -> list[Metric]:
    found = {
        (process, partner, cause): (is_halted, age)
        for process, partner, cause, is_halted, age in _rows(
            """
            SELECT s.process, coalesce(p.slug, ''), s.cause, s.is_halted,
                extract(epoch FROM statement_timestamp() - s.since)
            FROM billing_processswitch s LEFT JOIN billing_partner p ON p.id = s.partner_id
            """
        )
    }
    for process in Process:
        for cause in HaltCause:
            found.setdefault((process.value, "", cause.value), (False, 0))
    labels = ["process", "partner", "cause"]
    halted = [(*which, is_halted) for which, (is_halted, _) in sorted(found.items())]
    ages = [(*which, age) for which, (is_halted, age) in sorted(found.items()) if is_halted]
    return [
        _labelled("ivy_process_halted", "Whether it is halted by this cause (no partner: for all).", labels, halted),
        _labelled("ivy_process_halted_age_seconds", "For how long it has been halted.", labels, ages),
    ]


def _signs_of_life() -> list[Metric]:
    ages: dict[str, float] = dict(
        _rows("SELECT name, extract(epoch FROM statement_timestamp() - beaten_at) FROM ivy_pulse")
    )
    ((queued,),) = _rows("SELECT count(*) FROM (SELECT FROM django_q_ormq LIMIT %(most)s) queued")
    return [
        *_gauge("ivy_queue_canary_age_seconds", "Since a task came through the queue.", ages.get(pulses.QUEUE_CANARY)),
        *_gauge("ivy_queue_tasks", "Tasks that wait in the queue or are being done.", queued),
        *_gauge("ivy_tick_age_seconds", "Since the second poke, tick, gave a sign of life.", ages.get(pulses.TICK)),
        *_gauge(
            "ivy_notification_pass_age_seconds",
            "Since the last pass over notifications came to its end.",
            ages.get(pulses.NOTIFICATIONS_DONE),
        ),
    ]


def _probes() -> list[Metric]:
    """What processes found when they tried the parts around them, and what the cache's wrapper has counted."""
    well = _rows("SELECT part, role, bool_and(is_well) FROM ivy_probe GROUP BY part, role ORDER BY part, role")
    failures = CounterMetricFamily("ivy_cache_failures", "Failures of the cache, by kind.", labels=["kind"])
    for kind, count in _rows("SELECT kind, sum(count) FROM ivy_cachefailure GROUP BY kind ORDER BY kind"):
        failures.add_metric([kind], float(count))
    words = "Whether the part is well, as every process of the role found."
    return [_labelled("ivy_part_well", words, ["part", "role"], well), failures]


def _alarms() -> list[Metric]:
    rows = _rows(
        "SELECT key, extract(epoch FROM statement_timestamp() - raised_at) FROM ivy_alarm WHERE cleared_at IS NULL"
        " ORDER BY key LIMIT %(most)s"
    )
    return [
        *_gauge("ivy_alarms_standing", "How many alarms stand.", len(rows)),
        _labelled("ivy_alarm_age_seconds", "For how long the alarm has stood.", ["key"], rows),
    ]


GROUPS: dict[str, Callable[[], list[Metric]]] = {
    "runs": _runs,
    "charges": _charges,
    "calls": _calls_waiting,
    "items": _items_waiting,
    "quarantine": _quarantine,
    "mails": _mails,
    "switches": _switches,
    "life": _signs_of_life,
    "probes": _probes,
    "alarms": _alarms,
}
