from django.db import models
from django.db.models import Q
from django.db.models.functions import Now


class ConfirmedInstance(models.Model):
    """The database server and the installation that may send mail; one row. Any other is a copy until staff confirm.

    A restored or cloned database has another system identifier or number, one that failed over another timeline, one
    into which a copy was restored in place another log, and staging another secret key.
    """

    system_identifier = models.BigIntegerField()
    database_oid = models.BigIntegerField()
    timeline = models.CharField(max_length=8)
    log_oid = models.BigIntegerField(
        null=True, help_text="The number of the log's table. Empty: confirmed before it was asked for."
    )
    installation = models.CharField(max_length=64, help_text="A digest of the secret key.")
    confirmed_at = models.DateTimeField(db_default=Now())
    confirmed_by = models.TextField()

    class Meta:
        constraints = [models.CheckConstraint(condition=Q(id=1), name="one_confirmed_instance")]

    def __str__(self) -> str:
        return f"database {self.database_oid} of {self.system_identifier}"
