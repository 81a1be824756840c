"""Everything that is looked at, both sides and what is around them: what alarms are raised from."""

from datetime import timedelta

from django.db.models.functions import Now

from billing import checks as billing
from billing.checking import Check, looked_at
from ivy import health, machinery, pulses
from notifications import checks as notifications
from notifications.models import DeliveryAttempt

# A pass is due every minute and after each billing run.
PASS_TOO_OLD = timedelta(minutes=5)
# A pass with very many mails takes longer: it is at work as long as it begins to hand one over now and then.
HANDED_OVER_LATELY = timedelta(minutes=2)


def everything() -> list[Check]:
    """Look at all of it. Writes nothing; quick whatever the history; a check that fails is a trouble of its own."""
    return looked_at(
        {
            "billing": billing.checks,
            "notification runs": _notification_runs,
            "notifications": notifications.checks,
            "health": health.checks,
            "machinery": machinery.checks,
        }
    )


def _notification_runs() -> Check:
    """No pass of notifications has come to its end lately. Well before the first one ever did.

    The halt of notifications stops no pass: mails are owed all the same.
    """
    silent = pulses.silent_since(pulses.NOTIFICATIONS_DONE, longer_than=PASS_TOO_OLD)
    since = silent.get(pulses.NOTIFICATIONS_DONE)
    if since is None or _is_handing_over():
        return Check("notification-runs")
    return Check(
        "notification-runs",
        wrong=f"No pass of notifications has ended well since {since:%Y-%m-%d %H:%M} UTC; one is due every minute.",
        affects="Customers do not hear that their balance is low. Billing goes on.",
        todo="See whether qcluster and tick run (status); run_notifications does a pass by hand.",
        since=since,
    )


def _is_handing_over() -> bool:
    last = DeliveryAttempt.objects.order_by("-pk").values_list("pk", flat=True)[:1]
    return DeliveryAttempt.objects.filter(pk__in=last, began_at__gt=Now() - HANDED_OVER_LATELY).exists()
