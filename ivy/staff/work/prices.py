"""Price lists: what holds when, and what a call would cost."""

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from django import forms
from django.db.models import Count, Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils import timezone
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing.imports import csvfile
from billing.imports.numbers import UnknownRegion
from billing.models import Customer, Direction, Rate, RateDeck, Source
from billing.quoting import quote
from ivy.staff.pages import StaffPage
from ivy.staff.work.fields import MomentField, account_field, deck_field, read_moment

RATES_A_PAGE = 100
COUNTED_TO = 100_000
DATES_SHOWN = 12


class DeckPage(StaffPage):
    """A deck's rates by prefix as they hold at a moment, and the dates on which they change."""

    permission = "billing.view_ratedeck"
    title = "Price list"
    template_name = "admin/staff/work/deck.html"

    def get(self, request: HttpRequest, name: str) -> HttpResponse:
        deck = RateDeck.objects.filter(name=name).first()
        if deck is None:
            raise Http404("There is no deck of this name.")
        zone, problem, now = ZoneInfo(deck.timezone), "", timezone.now()
        at = now
        if request.GET.get("at"):
            try:
                at = csvfile.instant(read_moment(request.GET["at"]), midnight_in=zone, zone=zone)
            except forms.ValidationError as error:
                problem = error.messages[0]
        begins = request.GET.get("begins", "").strip().removeprefix("+")
        rates = rates_at(deck, at, begins=begins, after=request.GET.get("after", ""))
        shown = list(rates[: RATES_A_PAGE + 1])
        return self.page(
            deck=deck,
            at=at,
            at_local=at.astimezone(zone),
            said_at=request.GET.get("at", ""),
            problem=problem,
            begins=begins,
            rates=shown[:RATES_A_PAGE],
            after=shown[RATES_A_PAGE - 1].prefix if len(shown) > RATES_A_PAGE else "",
            history=deck.rates.filter(prefix=begins).order_by("valid_from") if begins.isdecimal() else (),
            in_force=rates_at(deck, at)[: COUNTED_TO + 1].count(),
            dates=changes_of(deck, now),
            users=users_of(deck),
            may_import=request.user.has_perms(["billing.add_rate", "billing.change_rate"]),
            now=now,
        )


def rates_at(deck: RateDeck, at: datetime, *, begins: str = "", after: str = "") -> QuerySet[Rate]:
    """The deck's rates that hold at a moment, by prefix; of those behind `after` that begin with some digits."""
    is_valid = (Q(valid_from=None) | Q(valid_from__lte=at)) & (Q(valid_to=None) | Q(valid_to__gt=at))
    found = deck.rates.filter(is_valid).order_by("prefix")
    if begins:
        # digits: by the index; anything else is looked for in the destination
        found = (
            found.filter(prefix__gte=begins, prefix__lt=begins + ":")
            if begins.isdecimal()
            else found.filter(destination__icontains=begins)
        )
    return found.filter(prefix__gt=after) if after else found


def changes_of(deck: RateDeck, now: datetime) -> list[dict[str, Any]]:
    """The next dates on which rates of the deck begin or end, soonest first, with how many."""
    told: dict[datetime, dict[str, Any]] = {}
    for name, what in (("valid_from", "begin"), ("valid_to", "end")):
        counted = (
            deck.rates.filter(**{f"{name}__gt": now})
            .values_list(name)
            .annotate(Count("pk"))
            .order_by(name)[:DATES_SHOWN]
        )
        for at, count in counted:
            told.setdefault(at, {"at": at, "begin": 0, "end": 0})[what] = count
    return [told[at] for at in sorted(told)][:DATES_SHOWN]


def users_of(deck: RateDeck) -> dict[str, Any]:
    """Who is charged by the deck: partners, and how many customers of their own choice."""
    own = Customer.objects.filter(Q(rate_deck=deck) | Q(inbound_deck=deck))
    return {
        "partners": list(deck.partners.values_list("name", flat=True)[:20]),
        "customers": own[: COUNTED_TO + 1].count(),
    }


class QuoteForm(forms.Form):
    """Which call is meant."""

    number = forms.CharField(
        label="Number called",
        max_length=64,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "+44 20 7946 0018"}),
    )
    account = account_field(label="Customer's account", required=False)
    deck = deck_field(label="or deck", required=False, widget=UnfoldAdminTextInputWidget(attrs={"list": "decks"}))
    seconds = forms.IntegerField(
        label="Answered seconds", initial=60, min_value=0, max_value=10_000_000, widget=UnfoldAdminDecimalFieldWidget
    )
    at = MomentField(label="Answered at", required=False, help_text="Without a zone: UTC. Empty: now.")
    direction = forms.ChoiceField(
        label="Direction", choices=Direction.choices, required=False, widget=UnfoldAdminSelectWidget
    )
    region = forms.CharField(
        label="Dialled in",
        required=False,
        max_length=2,
        widget=UnfoldAdminTextInputWidget(attrs={"placeholder": "GB"}),
        help_text="A country's two letters, for numbers without their country code. Empty: international form.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if not self.errors and bool(cleaned["account"]) == bool(cleaned["deck"]):
            self.add_error("deck", "Say a customer or a deck, one of the two.")
        return cleaned


class QuotePage(StaffPage):
    """What a call to a number would cost, step by step. A question, so by GET: its address can be passed on."""

    permission = "billing.view_rate"
    title = "What would a call cost?"
    template_name = "admin/staff/work/price.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        is_asked = bool(request.GET.get("number"))
        asked = request.GET.copy()
        asked.setdefault("seconds", "60")
        asked.setdefault("direction", Direction.OUTBOUND.value)
        form = QuoteForm(asked) if is_asked else QuoteForm(initial={"region": usual_region(), **asked.dict()})
        told = None
        if is_asked and form.is_valid():
            said = form.cleaned_data
            at = csvfile.instant(said["at"], midnight_in=UTC, zone=UTC) if said["at"] else timezone.now()
            try:
                told = quote(
                    said["number"].strip(),
                    at=at,
                    seconds=said["seconds"],
                    customer=said["account"],
                    deck=said["deck"],
                    direction=said["direction"] or Direction.OUTBOUND.value,
                    region=said["region"].strip().upper(),
                )
            except UnknownRegion as unknown:
                form.add_error("region", str(unknown))
        return self.page(form=form, told=told, decks=RateDeck.objects.values_list("name", flat=True)[:1000])


def usual_region() -> str:
    """The country of the sources, where they all are in one."""
    regions = list(Source.objects.exclude(region="").values_list("region", flat=True).distinct()[:2])
    return regions[0] if len(regions) == 1 else ""
