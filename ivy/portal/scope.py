"""The one place that answers "whose rows may this person see". Views ask here, and never a model itself.

What belongs to somebody else is not there: it is told in the same way as what never existed.
"""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from functools import cached_property
from typing import TypeVar
from uuid import UUID

from django.db.models import Exists, F, Func, Model, OuterRef, Q, QuerySet, TextField
from django.http import Http404

from billing import statements
from billing.models import (
    AlertKind,
    BalanceAlert,
    BillingItem,
    CallRecord,
    Customer,
    Episode,
    FreeCall,
    LedgerEntry,
    Partner,
    PartnerAlert,
)
from billing.statements import Month, Sheet
from ivy.accounts.models import User
from ivy.portal.models import ApiToken, Brand, Invitation, ItemRequest, PortalUser, Role, StaffLook
from notifications.models import NotificationLog

Row = TypeVar("Row", bound=Model)
Found = TypeVar("Found")

NOT_THERE = "There is nothing at this address."


@dataclass(frozen=True)
class Scope:
    """A person who looks at a partner's portal. Staff that look see all of it, and may do nothing."""

    partner: Partner
    role: Role
    user: User
    look: StaffLook | None = None
    """Of staff who look: the record of it."""
    language: str = ""
    timezone: str = ""

    @property
    def is_staff_looking(self) -> bool:
        return self.look is not None

    def sees(self, role: Role) -> bool:
        """Whether a page for this role is shown."""
        return self.role.includes(role)

    def may(self, role: Role) -> bool:
        """Whether they may do what this role may. False for staff that look."""
        return not self.is_staff_looking and self.role.includes(role)

    @property
    def may_manage(self) -> bool:
        """For templates: whether they may do what managers may."""
        return self.may(Role.MANAGER)

    @property
    def may_own(self) -> bool:
        """For templates: whether they may do what owners may."""
        return self.may(Role.OWNER)

    # Rows ------------------------------------------------------------------------------------------------------------

    def customers(self) -> QuerySet[Customer]:
        return Customer.objects.filter(partner=self.partner)

    def entries(self) -> QuerySet[LedgerEntry]:
        return LedgerEntry.objects.filter(customer__partner=self.partner)

    def calls(self) -> QuerySet[CallRecord]:
        """Call records that were billed or found free, each with its `key`. What is pending is not there yet."""
        return (
            CallRecord.objects.filter(customer__partner=self.partner)
            .annotate(key=Func(F("source__name"), F("call_id"), function="call_key", output_field=TextField()))
            .filter(
                Exists(LedgerEntry.objects.filter(key=OuterRef("key")))
                | Exists(FreeCall.objects.filter(call_key=OuterRef("key")))
            )
        )

    def items(self) -> QuerySet[BillingItem]:
        return BillingItem.objects.filter(customer__partner=self.partner)

    def alerts(self) -> QuerySet[BalanceAlert]:
        return BalanceAlert.objects.filter(customer__partner=self.partner)

    def default_alerts(self) -> QuerySet[PartnerAlert]:
        """What new customers of the partner get."""
        return PartnerAlert.objects.filter(partner=self.partner)

    def episodes(self) -> QuerySet[Episode]:
        return Episode.objects.filter(alert__customer__partner=self.partner)

    def mails(self) -> QuerySet[NotificationLog]:
        """Mails to the partner's customers in its own name, in whatever state: what a customer that came from another
        partner heard before is that one's.
        """
        return NotificationLog.objects.filter(customer__partner=self.partner, partner=self.partner)

    def item_requests(self) -> QuerySet[ItemRequest]:
        """What the partner's people asked for; not what those of another did, with which the customer was before."""
        asked_elsewhere = PortalUser.objects.exclude(partner=self.partner).filter(user__email=OuterRef("asked_by"))
        of_customers = ItemRequest.objects.filter(customer__partner=self.partner).select_related("customer")
        return of_customers.exclude(Exists(asked_elsewhere))

    def people(self) -> QuerySet[PortalUser]:
        """Who may see this portal, or once could."""
        return PortalUser.objects.filter(partner=self.partner).select_related("user")

    def invitations(self) -> QuerySet[Invitation]:
        """Those that can still be accepted, or sent again."""
        return Invitation.objects.filter(partner=self.partner, accepted_at__isnull=True, withdrawn_at__isnull=True)

    def tokens(self) -> QuerySet[ApiToken]:
        """Of the partner's programs, those that work first."""
        return (
            ApiToken.objects.filter(partner=self.partner)
            .select_related("made_by", "use")
            .order_by(F("revoked_at").desc(nulls_first=True), "-pk")
        )

    # One row ---------------------------------------------------------------------------------------------------------

    def customer(self, account: str) -> Customer:
        """The partner's customer of this account number. Raises Http404, the same for foreign and absent ones."""
        return _only(self.customers().select_related("balance_row", "partner"), account=account)

    def entry(self, key: str) -> LedgerEntry:
        """The ledger entry of this key. Raises Http404."""
        return _only(self.entries(), key=key)

    def call(self, key: str) -> CallRecord:
        """The billed call of this key, `call:source:call-id`. Raises Http404."""
        return _only(self.calls(), key=key)

    def owner_of(self, key: str) -> Customer:
        """The customer whose ledger entry or free call has this key. Raises Http404."""
        if "\0" in key:
            raise Http404(NOT_THERE)
        of_entry = self.entries().filter(key=key).values("customer")
        of_free_call = FreeCall.objects.filter(call_key=key, customer__partner=self.partner).values("customer")
        found = self.customers().filter(Q(pk__in=of_entry) | Q(pk__in=of_free_call)).first()
        if found is None:
            raise Http404(NOT_THERE)
        return found

    def item(self, reference: str) -> BillingItem:
        """The item of this reference. Raises Http404."""
        return _only(self.items().select_related("customer"), reference=reference)

    def alert_at(self, account: str, threshold: Decimal | None) -> BalanceAlert:
        """The active alert of this customer at this threshold; None: the built-in one. Raises Http404."""
        customer = self.customer(account)
        if threshold is None:
            return _only(self.alerts(), customer=customer, kind=AlertKind.EXHAUSTED)
        return _only(self.alerts().filter(is_active=True), customer=customer, kind="low_balance", threshold=threshold)

    def item_request(self, number: int) -> ItemRequest:
        """The request of this number. Raises Http404."""
        return _only(self.item_requests(), pk=number)

    def mail(self, key: str) -> NotificationLog:
        """The mail of this key. Raises Http404."""
        return _only(self.mails(), key=key)

    def months(self) -> list[Month]:
        """The partner's months, the latest first."""
        return statements.months_of(self.partner)

    def month(self, first: date) -> Month:
        """That month of the partner's. Raises Http404."""
        return _there(statements.month_of(self.partner, first))

    def sheet(self, account: str, first: date) -> Sheet:
        """The statement of the partner's customer for that month. Raises Http404."""
        return _there(statements.sheet_of(self.customer(account), first))

    def person(self, email: str) -> PortalUser:
        """The person of this portal with this e-mail address. Raises Http404."""
        return _only(self.people(), user__email=email)

    def invitation(self, reference: UUID) -> Invitation:
        """The open invitation of this reference. Raises Http404."""
        return _only(self.invitations(), reference=reference)

    def token(self, reference: UUID) -> ApiToken:
        """The token of this reference. Raises Http404."""
        return _only(self.tokens(), reference=reference)

    @cached_property
    def brand(self) -> Brand | None:
        """How the partner wants its portal to look, without the logo's bytes; None: as Ivy's own."""
        return Brand.objects.defer("logo").filter(partner=self.partner).first()

    def logo(self) -> bytes | None:
        """The partner's logo as a PNG."""
        drawn = Brand.objects.filter(partner=self.partner).values_list("logo", flat=True).first()
        return None if drawn is None else bytes(drawn)

    @cached_property
    def portal_user(self) -> PortalUser | None:
        """Their own place; None for staff that look."""
        return None if self.is_staff_looking else PortalUser.objects.filter(user=self.user).first()


def of_user(user: User) -> Scope | None:
    """What somebody sees as a partner's user; None for who is none, or not any more."""
    place = PortalUser.objects.select_related("partner").filter(user=user, is_active=True).first()
    if place is None:
        return None
    return Scope(
        partner=place.partner,
        role=Role(place.role),
        user=user,
        language=place.language or place.partner.language,
        timezone=place.timezone or place.partner.timezone,
    )


def of_look(look: StaffLook) -> Scope:
    """What staff see who look at a partner's portal: all that an owner sees."""
    partner = look.partner
    return Scope(
        partner=partner,
        role=Role.OWNER,
        user=look.by,
        look=look,
        language=partner.language,
        timezone=partner.timezone,
    )


def _there(found: Found | None) -> Found:
    if found is None:
        raise Http404(NOT_THERE)
    return found


def _only(rows: "QuerySet[Row]", **natural_id: object) -> Row:
    has_nul = any("\0" in str(part) for part in natural_id.values())  # which PostgreSQL takes in no text
    return _there(None if has_nul else rows.filter(**natural_id).first())
