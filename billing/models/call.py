from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.fields import KeyField


class Direction(models.TextChoices):
    OUTBOUND = "outbound"
    INBOUND = "inbound"


class FreeReason(models.TextChoices):
    NOT_ANSWERED = "not_answered"
    ZERO_SECONDS = "zero_seconds", "answered, no seconds"
    INTERNAL = "internal", "internal leg"
    INBOUND = "inbound", "inbound, and no inbound deck"
    ZERO_RATE = "zero_rate", "the deck says zero"
    ROUNDS_TO_ZERO = "rounds_to_zero", "the price rounds to zero"


class QuarantineReason(models.TextChoices):
    NO_CUSTOMER = "no_customer"
    AMBIGUOUS_CUSTOMER = "ambiguous_customer"
    NO_DECK = "no_deck"
    NO_RATE = "no_rate"
    IMPOSSIBLE_NUMBER = "impossible_number"
    IMPOSSIBLE_TIME = "impossible_time"
    CONTRADICTORY = "contradictory"
    CONFLICTING_DUPLICATE = "conflicting_duplicate"
    POSSIBLE_DUPLICATE = "possible_duplicate"
    CUSTOMER_CLOSED = "customer_closed"


class CallRecord(models.Model):
    """One call leg as its source reported it. Never changed and never deleted after it is stored (by trigger).

    Times are UTC. The foreign keys have no constraints in the database: batches, sources and customers can't be
    deleted once calls name them (triggers refuse), rows are written by one statement of the importer, and checking
    three foreign keys a row would double what an import costs.
    """

    source = models.ForeignKey("billing.Source", models.PROTECT, db_constraint=False, db_index=False, related_name="+")
    batch = models.ForeignKey(
        "billing.ArrivalBatch", models.PROTECT, db_constraint=False, db_index=False, related_name="calls"
    )
    line_number = models.IntegerField(help_text="Where the record begins in its file.")
    call_id = KeyField(help_text="As the source names the leg; made up from its content where the source does not.")
    content_hash = models.UUIDField(help_text="Of the raw fields, before any conversion.")
    customer = models.ForeignKey(
        "billing.Customer", models.PROTECT, null=True, db_constraint=False, db_index=False, related_name="calls"
    )
    direction = models.CharField(max_length=8, choices=Direction)
    account_code = models.TextField(blank=True)
    from_peer = models.TextField(blank=True)
    to_peer = models.TextField(blank=True)
    from_number = models.TextField(blank=True)
    to_number = models.TextField(blank=True)
    started_at = models.DateTimeField()
    answered_at = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    seconds = models.IntegerField(help_text="Answered seconds as the source counted them, fractions rounded up.")
    is_answered = models.BooleanField()
    is_internal = models.BooleanField()
    booked_month = models.DateField(help_text="First day of the month (UTC) in which the call started.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["content_hash", "source"], name="one_record_per_source_and_content"),
            models.CheckConstraint(condition=Q(direction__in=Direction.values), name="direction_is_known"),
        ]
        indexes = [
            models.Index(F("call_id"), F("source"), name="calls_by_id"),
            models.Index(F("batch"), F("customer"), name="calls_of_a_batch_by_customer"),
            models.Index(F("customer"), F("started_at"), name="calls_of_a_customer"),
            # Of blocks, not of rows: the calls of the last hour are found, and imports do not feel it.
            BrinIndex(fields=["started_at"], name="calls_by_time", autosummarize=True, pages_per_range=16),
        ]

    def __str__(self) -> str:
        return self.call_id


class FreeCall(models.Model):
    """The outcome of a call that costs nothing, with the reason; rate and seconds where there are any."""

    call_key = KeyField(unique=True, help_text="call:source:call-id")
    customer = models.ForeignKey(
        "billing.Customer", models.PROTECT, null=True, db_constraint=False, db_index=False, related_name="free_calls"
    )
    reason = models.CharField(max_length=16, choices=FreeReason)
    rate_id = models.BigIntegerField(null=True)
    billed_seconds = models.IntegerField(null=True)
    run_id = models.BigIntegerField()
    settled_at = models.DateTimeField(db_default=Now())

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(reason__in=FreeReason.values), name="calls_are_free_for_a_known_reason"),
        ]

    def __str__(self) -> str:
        return self.call_key


class QuarantineState(models.TextChoices):
    WAITING = "waiting"
    RELEASED = "released", "released, being billed again"
    SETTLED = "settled", "charged or free since"
    DISMISSED = "dismissed"


class QuarantinedCall(models.Model):
    """A call that can't be charged as it stands, with the reason. Waiting or dismissed, it is the call's outcome.

    Released, the call lies in an open batch again, for `customer` and in `direction`, which take the place of what the
    call record says, as that never changes; settled, another outcome has taken over.
    """

    call_key = KeyField(help_text="call:source:call-id")
    content_hash = models.UUIDField()
    reason = models.CharField(max_length=24, choices=QuarantineReason)
    detail = models.TextField(blank=True, help_text="What exactly is wrong, in words.")
    raw = models.TextField(blank=True, help_text="The line as it came, where it was stopped on arrival.")
    state = models.CharField(max_length=12, choices=QuarantineState, default=QuarantineState.WAITING)
    since = models.DateTimeField(db_default=Now())
    customer = models.ForeignKey("billing.Customer", models.PROTECT, null=True, related_name="quarantined_calls")
    direction = models.CharField(max_length=8, choices=Direction, blank=True, default="", db_default="")
    release_batch = models.ForeignKey("billing.ArrivalBatch", models.PROTECT, null=True, related_name="released_calls")
    dismissed_by = models.TextField(blank=True)
    dismissed_because = models.TextField(blank=True)

    class Meta:
        permissions = [("work_quarantine", "Can release and dismiss quarantined calls")]
        constraints = [
            models.UniqueConstraint(fields=["call_key", "content_hash"], name="one_quarantine_row_per_call_record"),
            models.CheckConstraint(condition=Q(reason__in=QuarantineReason.values), name="quarantine_reason_is_known"),
            models.CheckConstraint(condition=Q(state__in=QuarantineState.values), name="quarantine_state_is_known"),
            models.CheckConstraint(
                condition=~Q(state=QuarantineState.RELEASED) | Q(release_batch__isnull=False),
                name="released_calls_lie_in_a_batch",
            ),
            models.CheckConstraint(
                condition=~Q(state=QuarantineState.DISMISSED) | (~Q(dismissed_by="") & ~Q(dismissed_because="")),
                name="dismissed_by_a_person_with_a_reason",
            ),
        ]
        indexes = [
            models.Index(F("reason"), F("since"), condition=Q(state="waiting"), name="waiting_in_quarantine"),
            models.Index(F("release_batch"), condition=Q(state="released"), name="released_calls_of_a_batch"),
        ]

    def __str__(self) -> str:
        return f"{self.call_key}: {self.reason}"


class MendedCause(models.Model):
    """Something was saved that may be what calls in quarantine wait for. Noted by triggers, taken by the next cycle.

    Rows are only added and taken away, so that nobody who saves ever waits here.
    """

    kind = models.CharField(max_length=16, help_text="identity, rate, or customer")
    noted_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return self.kind
