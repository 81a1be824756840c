from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now


class Delivery(models.Model):
    """One file (or stream) of call records as it was read. Reading it again makes another delivery, of duplicates."""

    source = models.ForeignKey("billing.Source", on_delete=models.PROTECT, related_name="deliveries")
    file_name = models.TextField()
    started_at = models.DateTimeField(db_default=Now())
    finished_at = models.DateTimeField(null=True, help_text="Empty: still being read, or its import was killed.")
    last_stored_at = models.DateTimeField(null=True, help_text="When a part of it was taken in last.")
    read_count = models.BigIntegerField(default=0)
    accepted_count = models.BigIntegerField(default=0)
    duplicate_count = models.BigIntegerField(default=0)
    quarantined_count = models.BigIntegerField(default=0)
    unparsable_count = models.BigIntegerField(default=0)

    class Meta:
        verbose_name_plural = "deliveries"
        constraints = [
            models.CheckConstraint(
                condition=Q(
                    read_count=F("accepted_count")
                    + F("duplicate_count")
                    + F("quarantined_count")
                    + F("unparsable_count")
                ),
                name="every_line_read_has_one_fate",
            ),
        ]
        indexes = [models.Index(F("source"), F("started_at").desc(), name="last_delivery_of_a_source")]

    def __str__(self) -> str:
        return self.file_name


class BatchKind(models.TextChoices):
    ARRIVAL = "arrival"
    RELEASE = "release", "release from quarantine"


class ArrivalBatch(models.Model):
    """Call records that were stored in one transaction; open until every one of them has its outcome.

    A large delivery arrives as several batches, so that an import that was killed leaves nothing half-done.
    """

    kind = models.CharField(max_length=8, choices=BatchKind, default=BatchKind.ARRIVAL)
    delivery = models.ForeignKey(Delivery, on_delete=models.PROTECT, null=True, related_name="batches")
    arrived_at = models.DateTimeField(db_default=Now())
    call_count = models.PositiveIntegerField(help_text="Calls that await an outcome from billing.")
    closed_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name_plural = "arrival batches"
        indexes = [models.Index(F("id"), condition=Q(closed_at__isnull=True), name="open_batches")]
        constraints = [
            models.CheckConstraint(
                condition=Q(kind="release", delivery__isnull=True) | Q(kind="arrival", delivery__isnull=False),
                name="arrivals_belong_to_a_delivery",
            ),
        ]

    def __str__(self) -> str:
        return f"batch {self.pk}"


class BatchProgress(models.Model):
    """How many calls of an open batch got their outcome in one chunk; gone once the batch is closed.

    Rows are only added, so that workers never wait for each other here.
    """

    batch = models.ForeignKey(ArrivalBatch, on_delete=models.CASCADE, related_name="progress")
    outcome_count = models.PositiveIntegerField()

    def __str__(self) -> str:
        return f"{self.outcome_count} of batch {self.batch_id}"


class CallsByHour(models.Model):
    """How many call records of a batch began within one hour, and when they came: what a quiet source is told by.

    Rows are only added. Counting the records themselves would need an index on the table that every import fills.
    """

    source = models.ForeignKey("billing.Source", models.PROTECT, db_constraint=False, db_index=False, related_name="+")
    batch = models.ForeignKey(
        ArrivalBatch, models.PROTECT, db_constraint=False, db_index=False, related_name="calls_by_hour"
    )
    hour = models.DateTimeField(help_text="Beginning of the hour (UTC) in which the calls started.")
    arrived_at = models.DateTimeField(db_default=Now())
    call_count = models.PositiveIntegerField()

    class Meta:
        verbose_name_plural = "calls by hour"
        indexes = [models.Index(F("source"), F("hour"), name="calls_of_a_source_by_hour")]

    def __str__(self) -> str:
        return f"{self.call_count} calls of {self.hour:%Y-%m-%d %H}:00"


class UnparsableLine(models.Model):
    """A line of a delivery that could not even be read as a call record, kept as it came."""

    source = models.ForeignKey("billing.Source", on_delete=models.PROTECT, related_name="unparsable_lines")
    delivery = models.ForeignKey(Delivery, on_delete=models.PROTECT, related_name="unparsable_lines")
    line_number = models.BigIntegerField()
    raw = models.BinaryField(help_text="The bytes of the line.")
    reason = models.TextField()
    content_hash = models.UUIDField(help_text="Of the raw line; the same line again is counted as a duplicate.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["source", "content_hash"], name="one_row_per_unparsable_line_of_a_source")
        ]

    def __str__(self) -> str:
        return f"{self.delivery}, line {self.line_number}: {self.reason}"
