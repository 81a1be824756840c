from typing import ClassVar

from django.db import models
from django.db.models.functions import Now


class Role(models.TextChoices):
    """What a process is there for. A machine's own probes (disk, clock, mail server) are nobody's in particular."""

    WEB = "web", "web process"
    WORKER = "worker", "queue worker"
    TICK = "tick", "tick"
    MACHINE = "machine", "machine"
    SERVER = "server", "cache server"


class Probe(models.Model):
    """How a part was when a process, or a machine, tried it last. Rewritten at each try, by `ivy.probing`.

    What is silent is told by `probed_at`: the row of a process that hangs stays as it was.
    """

    part = models.CharField(max_length=30, help_text="cache, database, mail-server, …")
    role = models.CharField(max_length=8, choices=Role)
    host = models.CharField(max_length=255, help_text="The machine, with its process number space.")
    pid = models.PositiveIntegerField("process id", help_text="0: the machine as a whole.")
    process_started = models.CharField(max_length=30, blank=True, help_text="As its system counts it.")
    is_well = models.BooleanField()
    kind = models.CharField(max_length=30, blank=True, help_text="What is wrong, in a word.")
    words = models.TextField(blank=True)
    since = models.DateTimeField(db_default=Now(), help_text="When it became well, or not well.")
    last_good_at = models.DateTimeField(null=True)
    probed_at = models.DateTimeField(db_default=Now(), help_text="By the database's clock, as all of them.")
    facts = models.JSONField(default=dict)

    class Meta:
        ordering: ClassVar[list[str]] = ["part", "host", "pid"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["part", "host", "pid"], name="one_probe_per_part_and_process"),
        ]

    def __str__(self) -> str:
        return f"{self.part} from {self.where}"

    @property
    def machine(self) -> str:
        """The machine's name."""
        return self.host.partition(" ")[0]

    @property
    def where(self) -> str:
        """Who tried it, in words."""
        if not self.pid:
            return self.machine or "everywhere"
        return f"{Role(self.role).label} {self.pid} on {self.machine}"


class CacheFailure(models.Model):
    """How often the cache failed in one way, all processes together. Only counts up; written by `ivy.probing`."""

    kind = models.CharField(max_length=30, primary_key=True)
    count = models.PositiveBigIntegerField(default=0)
    first_at = models.DateTimeField(db_default=Now())
    last_at = models.DateTimeField(db_default=Now())
    words = models.TextField(blank=True, help_text="Of the last one.")

    class Meta:
        ordering: ClassVar[list[str]] = ["kind"]

    def __str__(self) -> str:
        return f"{self.kind}: {self.count}"
