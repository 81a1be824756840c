from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models import BalanceAlert, Customer, Episode, Partner
from billing.models.fields import KeyField
from notifications.models.order import StaffOrder


class State(models.TextChoices):
    """Where a mail that Ivy owes somebody stands. A trigger lets a row go no other ways than these allow."""

    PENDING = "pending", "owed"
    CLAIMED = "claimed", "a worker has it"
    SENDING = "sending", "being handed over"
    SENT = "sent", "the mail server took it"
    FAILED = "failed", "failed for good"
    UNCERTAIN = "uncertain", "perhaps delivered"
    HELD = "held", "held back"
    SUPPRESSED = "suppressed", "not sent any more"


class Because(models.TextChoices):
    """Why a row is failed, uncertain, held or suppressed; the words are in `detail`."""

    NOTHING = "", "-"
    # suppressed
    RECOVERED = "recovered", "the balance recovered first"
    COVERED = "covered", "another mail tells of it"
    INACTIVE = "inactive", "the customer is suspended or closed"
    STAFF = "staff", "staff said no"
    # held
    TOO_MANY = "too_many", "too many to this recipient in a day"
    BREAKER = "breaker", "the breaker tripped"
    # failed
    NO_ADDRESS = "no_address", "no usable address"
    UNUSABLE = "unusable", "the mail can't be written"
    REFUSED = "refused", "refused for good"
    TRIES_USED_UP = "tries_used_up", "tried too often"
    BOUNCED = "bounced", "it came back"
    # uncertain
    BROKE_OFF = "broke_off", "the connection broke after the body"
    LEASE_EXPIRED = "lease_expired", "its worker was not heard of again"
    COPIED = "copied", "the database was copied or failed over"


class NotificationLog(models.Model):
    """One mail that Ivy owes somebody. The row *is* the right to send it: its key is unique, and never used again.

    `key` is built by the kind (see `notifications.kinds`) from what never changes. What the mail says and to whom
    stands beside it in `NotificationContent`, each try in `DeliveryAttempt`. All times are the database's.
    """

    key = KeyField()
    kind = models.CharField(max_length=32)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="notifications", db_index=False)
    partner = models.ForeignKey(
        Partner, models.PROTECT, related_name="+", db_index=False, help_text="Whose halts hold it back."
    )
    alert = models.ForeignKey(BalanceAlert, models.PROTECT, null=True, related_name="notifications")
    episode = models.ForeignKey(Episode, models.PROTECT, null=True, related_name="notifications")
    errant = models.ForeignKey(
        "self",
        models.PROTECT,
        null=True,
        related_name="apologies",
        db_index=False,
        help_text="What an apology is for.",
    )
    reminder_number = models.PositiveSmallIntegerField(default=0)
    recipient_hash = models.CharField(max_length=64)
    message_id = models.TextField(help_text="Derived from the key: every attempt carries the same one.")
    created_at = models.DateTimeField(db_default=Now())

    state = models.CharField(max_length=10, choices=State, default=State.PENDING)
    because = models.CharField(max_length=16, choices=Because, default=Because.NOTHING, blank=True)
    detail = models.TextField(default="", blank=True, help_text="The last thing that happened, in words.")
    covered_by = models.ForeignKey("self", models.PROTECT, null=True, related_name="covers", db_index=False)
    order = models.ForeignKey(
        StaffOrder,
        models.PROTECT,
        null=True,
        related_name="notifications",
        db_index=False,
        help_text="Exempts it from the breaker.",
    )
    is_errant = models.BooleanField(default=False)

    next_try_at = models.DateTimeField(db_default=Now())
    try_count = models.PositiveSmallIntegerField(default=0)
    token = models.BigIntegerField(null=True, help_text="Of the claim; a worker with an older one commits nothing.")
    lease_until = models.DateTimeField(null=True)
    sending_at = models.DateTimeField(null=True, help_text="The last point of no return.")
    sent_at = models.DateTimeField(null=True)

    class Meta:
        verbose_name = "notification"
        verbose_name_plural = "notification log"
        permissions = [
            ("review_mails", "Can approve, retry, resend, settle and suppress mails"),
            ("mark_errant", "Can mark sent mails as errant"),
            ("apologise", "Can send apologies"),
        ]
        constraints = [
            models.UniqueConstraint(fields=["key"], name="one_mail_per_key"),
            models.UniqueConstraint(fields=["message_id"], name="one_mail_per_message_id"),
            models.CheckConstraint(condition=Q(state__in=State.values), name="notification_state_is_known"),
            models.CheckConstraint(condition=Q(because__in=Because.values), name="notification_reason_is_known"),
            models.CheckConstraint(
                condition=Q(state__in=[State.CLAIMED, State.SENDING], token__isnull=False, lease_until__isnull=False)
                | ~Q(state__in=[State.CLAIMED, State.SENDING]),
                name="who_has_a_mail_has_a_lease",
            ),
            models.CheckConstraint(
                condition=~Q(state=State.SENT) | Q(sent_at__isnull=False), name="sent_mails_have_a_time"
            ),
            models.CheckConstraint(
                condition=~Q(because=Because.COVERED) | Q(covered_by__isnull=False), name="covered_mails_name_the_other"
            ),
            models.CheckConstraint(
                condition=Q(is_errant=False) | Q(state=State.SENT), name="only_sent_mails_are_errant"
            ),
        ]
        # As few as will do: every step of a mail's life writes into each of them that has the row.
        indexes = [
            models.Index(F("next_try_at"), F("id"), condition=Q(state=State.PENDING), name="owed_mails"),
            models.Index(
                F("lease_until"), condition=Q(state__in=[State.CLAIMED, State.SENDING]), name="mails_in_workers_hands"
            ),
            models.Index(
                F("state"),
                F("id"),
                condition=Q(state__in=[State.UNCERTAIN, State.HELD, State.FAILED]),
                name="mails_for_review",
            ),
            models.Index(F("sending_at"), condition=Q(sending_at__isnull=False), name="mails_by_sending"),
            models.Index(F("customer"), F("sending_at"), name="mails_of_a_customer"),
            models.Index(F("partner"), F("id"), name="mails_of_a_partner"),
            models.Index(F("errant"), condition=Q(errant__isnull=False), name="apologies_by_mail"),
            models.Index(F("order"), condition=Q(order__isnull=False), name="mails_by_order"),
            models.Index(F("covered_by"), condition=Q(because=Because.COVERED), name="covered_mails"),
            models.Index(F("id"), condition=Q(is_errant=True), name="errant_mails"),
            models.Index(
                F("customer"), F("recipient_hash"), F("created_at"), condition=Q(kind="apology"), name="apologies"
            ),
        ]

    def __str__(self) -> str:
        return self.key


class NotificationContent(models.Model):
    """To whom a mail goes and, once it was written, what it says: frozen, the same at every try. May be erased."""

    notification = models.OneToOneField(NotificationLog, models.PROTECT, primary_key=True, related_name="content")
    recipient = models.TextField(help_text="The address; empty: none was known.")
    sender = models.TextField(blank=True, default="")
    reply_to = models.TextField(blank=True, default="")
    subject = models.TextField(blank=True, default="")
    text = models.TextField(blank=True, default="")
    html = models.TextField(blank=True, default="")
    frozen_at = models.DateTimeField(null=True)
    erased_at = models.DateTimeField(null=True)

    def __str__(self) -> str:
        return self.subject or "not written yet"
