import uuid

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import Customer, Partner
from billing.models.fields import KeyField


class Resource(models.TextChoices):
    """What of the API a token opens."""

    CUSTOMERS = "customers"
    BALANCES = "balances"
    LEDGER = "ledger"
    CALLS = "calls"
    STATEMENTS = "statements"
    STATUS = "status"


class ApiToken(models.Model):
    """A key to a partner's API, for a program. Only a hash of it is stored: it is shown once, when it is made.

    It belongs to the partner, and outlives the place of who made it. Ends by being revoked, or on its day.
    """

    reference = models.UUIDField(default=uuid.uuid4, unique=True, editable=False)
    partner = models.ForeignKey(Partner, on_delete=models.PROTECT, db_index=False, related_name="api_tokens")
    name = models.CharField(max_length=100, help_text="Which program uses it.")
    digest = KeyField(unique=True, editable=False, help_text="SHA-256 of the token, which nobody can guess.")
    hint = models.CharField(max_length=16, help_text="How the token begins.")
    resources = models.JSONField(help_text="What it opens.")
    is_limited = models.BooleanField(default=False, help_text="To the customers named; else all, also new ones.")
    customers = models.ManyToManyField(Customer, related_name="+", blank=True)
    rate_per_minute = models.PositiveIntegerField(default=120)
    made_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    made_at = models.DateTimeField(db_default=Now(), editable=False)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    revoked_by = models.TextField(blank=True, help_text="The e-mail address of who did.")

    class Meta:
        verbose_name = "API token"
        verbose_name_plural = "API tokens"
        permissions = [("revoke_apitoken", "Can revoke tokens of partners' programs")]
        constraints = [
            models.CheckConstraint(condition=~Q(name=""), name="tokens_have_a_name"),
            models.CheckConstraint(condition=Q(rate_per_minute__range=(1, 6_000)), name="rate_of_a_token_is_bounded"),
            models.CheckConstraint(
                condition=Q(revoked_at__isnull=True, revoked_by="") | (Q(revoked_at__isnull=False) & ~Q(revoked_by="")),
                name="revoked_by_somebody",
            ),
        ]
        indexes = [models.Index(F("partner"), F("id"), name="tokens_of_a_partner")]

    def __str__(self) -> str:
        return f"{self.name} ({self.hint}…)"


class ApiUse(models.Model):
    """How often a token was used in the minute under way, and when last. One row a token, changed by each request."""

    token = models.OneToOneField(ApiToken, on_delete=models.CASCADE, primary_key=True, related_name="use")
    minute = models.DateTimeField()
    request_count = models.PositiveIntegerField()
    last_used_at = models.DateTimeField()

    def __str__(self) -> str:
        return f"{self.request_count} in the minute of {self.minute}"
