import uuid

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.fields import KeyField


class RunState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    PARTIAL = "partial", "done in part"
    HALTED = "halted"
    FAILED = "failed"


class BillingRun(models.Model):
    """One pass of the billing cycle: what it was asked for, what it did, how it ended."""

    state = models.CharField(max_length=8, choices=RunState, default=RunState.RUNNING)
    started_by = models.TextField(help_text="A person, a command or the schedule.")
    started_at = models.DateTimeField(db_default=Now())
    ended_at = models.DateTimeField(null=True)
    business_at = models.DateTimeField(help_text="The time it acts at.")
    processes = models.JSONField(help_text="calls, items")
    partner = models.ForeignKey("billing.Partner", on_delete=models.PROTECT, null=True, related_name="+")
    max_periods = models.PositiveIntegerField(null=True)
    charges_long_overdue = models.BooleanField(default=False, help_text="Charges items over 13 months behind, too.")
    planned_at = models.DateTimeField(null=True)
    last_chunk_at = models.DateTimeField(null=True, help_text="When a chunk of it was done last.")
    calls_billed = models.BigIntegerField(default=0)
    calls_free = models.BigIntegerField(default=0)
    calls_quarantined = models.BigIntegerField(default=0)
    item_charges = models.BigIntegerField(default=0)
    one_off_charges = models.BigIntegerField(default=0)
    episodes_opened = models.BigIntegerField(default=0)
    episodes_closed = models.BigIntegerField(default=0)
    amount = models.JSONField(default=dict, help_text="Charged, by currency.")
    halted = models.JSONField(default=list, help_text="What it left alone because it was halted.")
    errors = models.JSONField(default=list)
    ended_because = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(F("state"), condition=Q(state="running"), name="one_running_billing_run"),
            models.CheckConstraint(condition=Q(state__in=RunState.values), name="run_state_is_known"),
            models.CheckConstraint(
                condition=Q(state="running", ended_at__isnull=True) | (~Q(state="running") & Q(ended_at__isnull=False)),
                name="runs_have_ended_unless_running",
            ),
        ]
        indexes = [models.Index(F("started_at").desc(), name="latest_runs")]

    def __str__(self) -> str:
        return f"run {self.pk}"


class WorkerState(models.TextChoices):
    RUNNING = "running"
    DONE = "done"
    DEAD = "dead", "given up as dead"


class BillingWorker(models.Model):
    """A process that works on a run. Every chunk ends by updating this row where token and state still match."""

    run = models.ForeignKey(BillingRun, on_delete=models.CASCADE, related_name="workers")
    token = models.UUIDField(default=uuid.uuid4, unique=True)
    state = models.CharField(max_length=8, choices=WorkerState, default=WorkerState.RUNNING)
    host = models.TextField()
    pid = models.IntegerField()
    process_started = models.TextField(help_text="Start time of the process as its system counts it.")
    started_at = models.DateTimeField(db_default=Now())
    heartbeat_at = models.DateTimeField(db_default=Now())

    def __str__(self) -> str:
        return f"{self.host}:{self.pid}"


class ChunkState(models.TextChoices):
    OPEN = "open"
    TAKEN = "taken"
    DONE = "done"
    LEFT = "left", "left undone"


class BillingChunk(models.Model):
    """A range of one partner's customers whose calls, or items, a worker charges in one transaction.

    No partner (and customers 0 to 0): calls that belong to nobody and are free by rule. Narrowed further to a range
    of call records, or of items, by their ids where one customer has very many, or to find the one that is broken.
    """

    run = models.ForeignKey(BillingRun, on_delete=models.CASCADE, related_name="chunks")
    process = KeyField()
    partner = models.ForeignKey("billing.Partner", on_delete=models.CASCADE, null=True, related_name="+")
    first_customer = models.BigIntegerField()
    last_customer = models.BigIntegerField()
    first_record = models.BigIntegerField(null=True)
    last_record = models.BigIntegerField(null=True)
    tries = models.PositiveSmallIntegerField(default=0)
    state = models.CharField(max_length=8, choices=ChunkState, default=ChunkState.OPEN)
    worker = models.ForeignKey(BillingWorker, on_delete=models.CASCADE, null=True, related_name="chunks")

    class Meta:
        indexes = [
            models.Index(F("run"), F("id"), condition=Q(state__in=["open", "taken"]), name="chunks_to_do"),
        ]

    def __str__(self) -> str:
        return f"{self.process} of customers {self.first_customer} to {self.last_customer}"
