"""Quarantine as a work list: what waits, what would mend it, and what release or dismissal would bring."""

import re
from datetime import datetime
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django import forms
from django.db import IntegrityError, transaction
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.urls import reverse
from django.utils.functional import cached_property
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from billing import quarantine, waiting
from billing.admin.refusals import refusal_of
from billing.amounts import money
from billing.explain import WHY_QUARANTINED, UnknownKey, deck_now, explain
from billing.imports import csvfile
from billing.models import (
    CallIdentity,
    CallRecord,
    Customer,
    FreeReason,
    IdentityKind,
    QuarantinedCall,
    QuarantineReason,
    QuarantineState,
    Rate,
    RateDeck,
    UnparsableLine,
)
from billing.quarantine import Fate
from billing.waiting import Selection
from ivy.staff.acts import Refused, act
from ivy.staff.pages import ActForm, ActPage, Done, NoReasonForm, Preview, StaffPage
from ivy.staff.work.fields import MomentField, PriceField, deck_field, source_field

AT_A_TIME = 50_000
LOOKED_AT_CLOSELY = 2_000
ROWS_A_PAGE = 50
LINES_SHOWN = 50
LONGEST_CHOICE = 200


def selection_of(query: QueryDict) -> Selection:
    """The calls that an address means. What makes no sense means no call."""
    reasons = tuple(query.getlist("reason"))
    if not set(reasons) <= set(QuarantineReason.values):
        return Selection(ids=(0,))
    ids = [int(one) for one in query.getlist("id")[:LONGEST_CHOICE] if one.isdecimal() and len(one) < 19]
    said = {
        name: query.get(name, "").strip() for name in ("source", "partner", "account", "deck", "begins", "identity")
    }
    return Selection(reasons=reasons, ids=tuple(ids) or ((0,) if "id" in query else ()), **said)


def address_of(selection: Selection) -> str:
    """The other way round: the query of the address that means these calls."""
    query = QueryDict(mutable=True)
    query.setlist("reason", list(selection.reasons))
    for name in ("source", "partner", "account", "deck", "begins", "identity"):
        if getattr(selection, name):
            query[name] = getattr(selection, name)
    query.setlist("id", [str(one) for one in selection.ids])
    return query.urlencode()


def in_words(fate: Fate) -> str:
    """What would become of calls, after their count: `charged 0.06 GBP`."""
    match fate.outcome:
        case "charge":
            return f"charged {money(fate.amount, fate.currency)}"
        case "free":
            return f"free: {FreeReason(fate.reason).label}"
        case "left":
            return f"left waiting: {QuarantineReason(fate.reason).label.lower()}"
        case "quarantine":
            return f"back in quarantine: {QuarantineReason(fate.reason).label.lower()}"
        case _:
            return "not decided"


class WorkListPage(StaffPage):
    """Everything that waits, by reason, and by what one thing would mend; lines that could not be read beside it."""

    permission = "billing.view_quarantinedcall"
    title = "Work list: calls in quarantine"
    template_name = "admin/staff/work/quarantine.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        heaps = [
            {
                "heap": heap,
                "why": WHY_QUARANTINED[heap.reason][0],
                "remedy": without_commands(WHY_QUARANTINED[heap.reason][1]),
                "query": address_of(Selection(reasons=(heap.reason.value,))),
                "groups": [{"group": group, "query": address_of(group.selection)} for group in heap.groups[:20]],
                "groups_left": max(0, len(heap.groups) - 20),
                "more": heap.calls > waiting.COUNTED_TO,
            }
            for heap in waiting.work_list()
        ]
        return self.page(heaps=heaps, counted_to=waiting.COUNTED_TO, looked_at=waiting.LOOKED_AT, **unparsable())


def without_commands(sentence: str) -> str:
    """What to do, without the names of commands: here there are buttons."""
    return re.sub(r" \((?:release|dismiss)_quarantine\)", "", sentence)


def unparsable() -> dict[str, Any]:
    """The newest lines that could not even be read."""
    lines = UnparsableLine.objects.select_related("source", "delivery").order_by("-pk")[: LINES_SHOWN + 1]
    shown = list(lines)
    return {
        "unparsable": [
            {"line": line, "raw": bytes(line.raw).decode(errors="backslashreplace")[:500]}
            for line in shown[:LINES_SHOWN]
        ],
        "unparsable_more": len(shown) > LINES_SHOWN,
    }


class CallsPage(StaffPage):
    """The waiting calls that an address means, fifty a page, to choose from."""

    permission = "billing.view_quarantinedcall"
    title = "Calls in quarantine"
    template_name = "admin/staff/work/calls.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        selection = selection_of(request.GET)
        page = request.GET.get("page", "1")
        number = min(max(int(page), 1), waiting.COUNTED_TO // ROWS_A_PAGE) if page.isdecimal() and len(page) < 9 else 1
        counted = waiting.count(selection)
        rows = waiting.rows(selection, skip=(number - 1) * ROWS_A_PAGE, at_most=ROWS_A_PAGE)
        return self.page(
            selection=selection,
            query=address_of(selection),
            counted=counted,
            is_more=counted.calls > waiting.COUNTED_TO,
            rows=rows,
            number=number,
            pages=-(-counted.calls // ROWS_A_PAGE),
            may_decide=request.user.has_perm("billing.work_quarantine"),
        )


class CallPage(StaffPage):
    """One call: why it waits, as it came, what would become of it now, and how to mend it."""

    permission = "billing.view_quarantinedcall"
    title = "Call in quarantine"
    template_name = "admin/staff/work/call.html"

    def get(self, request: HttpRequest, row: int) -> HttpResponse:
        found = call_of(row)
        fates = []
        if found.row.state == QuarantineState.WAITING:
            fates = quarantine.fates(Selection(ids=(found.row.pk,)))
        return self.page(
            found=found,
            row=found.row,
            record=found.record,
            steps=found.steps(),
            fate=in_words(fates[0]) if fates else "",
            rate=rate_of(fates[0]) if fates else None,
            fate_seconds=fates[0].billed_seconds if fates else None,
            is_waiting=found.row.state == QuarantineState.WAITING,
            mends=list(found.mends(request)),
            may_decide=request.user.has_perm("billing.work_quarantine"),
        )


def rate_of(fate: Fate) -> Rate | None:
    """The rate by which the one call would be charged."""
    return Rate.objects.select_related("deck").filter(pk=fate.rate_id).first() if fate.rate_id else None


class Waiting:
    """A row in quarantine with the record that it is about."""

    def __init__(self, row: QuarantinedCall, record: CallRecord | None) -> None:
        self.row, self.record = row, record

    @property
    def reason(self) -> QuarantineReason:
        return QuarantineReason(self.row.reason)

    @property
    def deck(self) -> RateDeck | None:
        """The price list by which it would be charged now."""
        if self.record is None or self.row.customer is None:
            return None
        return deck_now(self.row.customer, self.row.direction or self.record.direction)

    @cached_property
    def identity(self) -> tuple[str, str]:
        """Kind and value of what the record says first of who made the call."""
        record = self.record
        if record is None:
            return "", ""
        said = (
            (IdentityKind.CODE.value, record.account_code),
            (IdentityKind.PEER.value, record.from_peer),
            (IdentityKind.NUMBER.value, record.from_number),
        )
        return next(((kind, value) for kind, value in said if value), ("", ""))

    def steps(self) -> list[str]:
        try:
            return [without_commands(step) for step in explain(self.row.call_key).steps]
        except UnknownKey:
            return []

    def mends(self, request: HttpRequest) -> Any:
        """What would bring it back, for those who may: a sentence and where to do it."""
        query = QueryDict(mutable=True)
        query["call"] = str(self.row.pk)
        if self.reason == QuarantineReason.NO_RATE and self.deck is not None and self.record is not None:
            query["deck"] = self.deck.name
            query["prefix"] = waiting.missing_prefix(self.deck, self.record.to_number)
            if request.user.has_perm("billing.add_rate"):
                yield f"Add a rate to the deck “{self.deck}”", f"{reverse('admin:work_add_rate')}?{query.urlencode()}"
        if self.reason in waiting.NEEDS_AN_IDENTITY and self.record is not None:
            query["kind"], query["value"] = self.identity
            query["source"] = self.record.source.name
            if request.user.has_perm("billing.add_callidentity"):
                yield "Add an identity to a customer", f"{reverse('admin:work_add_identity')}?{query.urlencode()}"
        if self.reason in waiting.NEEDS_ANOTHER_CUSTOMER and self.row.customer is not None:
            yield (
                f"Look at the customer {self.row.customer.account}",
                reverse("admin:billing_customer_change", args=[self.row.customer.pk]),
            )


def call_of(row: int) -> Waiting:
    """The row of quarantine with its record. Raises Http404."""
    found = QuarantinedCall.objects.select_related("customer__partner").filter(pk=row).first()
    if found is None:
        raise Http404("There is no such call in quarantine.")
    records = CallRecord.objects.filter(content_hash=found.content_hash).select_related("source", "batch__delivery")
    source = found.call_key.split(":", 2)[1]
    return Waiting(found, next((record for record in records if record.source.name == source), None))


class DecidePage(ActPage):
    """Something done with the waiting calls that the address means: chosen ones, or everything that fits."""

    permission = "billing.work_quarantine"
    previews_at_once = True

    @cached_property
    def selection(self) -> Selection:
        return selection_of(self.request.GET)

    @property
    def came_from(self) -> str:
        if len(self.selection.ids) == 1:
            return reverse("admin:work_call", args=self.selection.ids)
        return f"{reverse('admin:work_calls')}?{address_of(self.selection)}"

    def about(self) -> dict[str, Any]:
        return {"subject": f"Calls in quarantine: {self.selection.words}", "back": self.came_from}

    def form(self, sent: Any = None) -> ActForm:
        return self.form_class(sent)

    def preview(self, form: ActForm) -> Preview:
        counted = waiting.count(self.selection)
        decided = min(counted.calls, AT_A_TIME)
        refusal = "" if counted.calls else "None of these calls waits any more: somebody has dealt with them."
        context = {
            "count": counted.calls,
            "is_more": counted.calls > waiting.COUNTED_TO,
            "decided": decided,
            "left": counted.calls - decided,
            "oldest": counted.oldest,
            "chosen": waiting.rows(self.selection, at_most=5),
        }
        context = self.look_closer(context)
        refusal = refusal or str(context.pop("refusal", ""))
        return Preview([counted.calls, counted.mark], context, self.preview_template, refusal)

    preview_template: ClassVar[str]

    def look_closer(self, context: dict[str, Any]) -> dict[str, Any]:
        return context

    def note(self, verb: str, form: ActForm) -> Any:
        name = self.selection.words
        if len(self.selection.ids) == 1:
            name = call_of(self.selection.ids[0]).row.call_key
        said = form.cleaned_data
        return act(
            by=self.by, verb=verb, noun="quarantine", name=name, reason=said.get("reason", ""), once=said["once"]
        )


class ReleasePage(DecidePage):
    """Let them be billed by the next run, as they stand."""

    title = "Release from quarantine"
    button = "Release them"
    preview_template = "admin/staff/work/release_preview.html"

    def look_closer(self, context: dict[str, Any]) -> dict[str, Any]:
        """What would become of them; of very many, of the longest waiting."""
        fates = quarantine.fates(self.selection, at_most=LOOKED_AT_CLOSELY)
        looked_at = min(context["count"], LOOKED_AT_CLOSELY)
        stay = sum(fate.calls for fate in fates if fate.outcome == "left")
        if context["count"] and stay == context["count"]:
            context["refusal"] = (
                "None of them can be released as it stands: they name no customer, or two, or their id was billed"
                " already with other content. Mend the cause, or dismiss them."
            )
        return {
            **context,
            "fates": [(fate.calls, in_words(fate)) for fate in fates],
            "looked_at": looked_at,
            "go": context["decided"] - stay,
            "stay": stay,
        }

    def do(self, form: ActForm) -> Done:
        with self.note("release", form) as doing:
            released = quarantine.release(self.selection, at_most=AT_A_TIME)
            if not released:
                raise Refused("None of these calls can be released: see above why they are left waiting.")
            doing.summary = f"{released:,} calls were released from quarantine ({self.selection.words})."
            doing.after = {"released": released}
        left = waiting.count(self.selection).calls
        more = f" {left:,} still wait." if left else ""
        return Done(f"{doing.summary} The next run bills them.{more}", reverse("admin:work_quarantine"))


class DismissPage(DecidePage):
    """Put them away for good: they are never charged."""

    title = "Dismiss from quarantine"
    button = "Dismiss them for good"
    is_dangerous = True
    preview_template = "admin/staff/work/dismiss_preview.html"

    def do(self, form: ActForm) -> Done:
        with self.note("dismiss", form) as doing:
            dismissed = quarantine.dismiss(
                self.selection, by=self.by, why=form.cleaned_data["reason"], at_most=AT_A_TIME
            )
            if not dismissed:
                raise Refused("None of these calls waits any more. Nothing was changed.")
            doing.summary = f"{dismissed:,} calls were dismissed from quarantine ({self.selection.words})."
            doing.after = {"dismissed": dismissed}
        left = waiting.count(self.selection).calls
        return Done(f"{doing.summary}{f' {left:,} still wait.' if left else ''}", reverse("admin:work_quarantine"))


# Mending ------------------------------------------------------------------------------------------------------------


class RateForm(NoReasonForm):
    """A rate as the deck's file would have it. Adding what was missing explains itself."""

    deck = deck_field(label="Deck")
    prefix = forms.CharField(label="Prefix", max_length=16, widget=UnfoldAdminTextInputWidget)  # type: ignore[assignment]
    destination = forms.CharField(
        label="Destination", max_length=200, required=False, widget=UnfoldAdminTextInputWidget
    )
    price_per_minute = PriceField(label="Price a minute", help_text="In the deck's currency. 0 makes calls free.")
    connect_fee = PriceField(label="Connect fee", initial=0)
    minimum_charge = PriceField(label="Minimum charge", initial=0)
    first_increment = forms.IntegerField(
        label="First increment, seconds", initial=1, min_value=1, max_value=86400, widget=UnfoldAdminDecimalFieldWidget
    )
    increment = forms.IntegerField(
        label="Further increments, seconds",
        initial=1,
        min_value=1,
        max_value=86400,
        widget=UnfoldAdminDecimalFieldWidget,
    )
    valid_from = MomentField(
        label="Valid from",
        required=False,
        help_text="Empty: from the beginning, so that calls of the past have it too. A date is midnight in the deck's"
        " time zone.",
    )

    def clean_prefix(self) -> str:
        digits: str = self.cleaned_data["prefix"].strip().removeprefix("+")
        if not (digits.isascii() and digits.isdecimal() and len(digits) <= 15):
            raise forms.ValidationError("A prefix is one to fifteen digits.")
        return digits

    def rate(self) -> Rate:
        said = self.cleaned_data
        names = ("destination", "price_per_minute", "connect_fee", "minimum_charge", "first_increment", "increment")
        return Rate(
            deck=said["deck"],
            prefix=said["prefix"],
            valid_from=_instant(said["valid_from"], said["deck"]),
            **{name: said[name] for name in names},
        )


def _instant(at: Any, deck: RateDeck) -> datetime | None:
    return csvfile.instant(at, midnight_in=ZoneInfo(deck.timezone), zone=ZoneInfo(deck.timezone)) if at else None


class MendPage(ActPage):
    """Something is added that calls wait for; which then come back by themselves, with the next run."""

    has_preview = True
    preview_template: ClassVar[str] = "admin/staff/work/mend_preview.html"

    @cached_property
    def example(self) -> Waiting | None:
        """The call that somebody looked at."""
        row = self.request.GET.get("call", "")
        return call_of(int(row)) if row.isdecimal() and len(row) < 19 else None

    def about(self) -> dict[str, Any]:
        if self.example is None:
            return {"back": reverse("admin:work_quarantine")}
        record = self.example.record
        told = f"Mends {self.example.row.call_key}"
        if record is not None:
            told += f": {record.from_number or record.from_peer or '?'} called {record.to_number or record.to_peer},"
            told += f" {record.seconds:,} seconds, {record.started_at:%Y-%m-%d %H:%M} UTC"
        return {"sentences": [told], "back": reverse("admin:work_call", args=[self.example.row.pk])}

    def thing(self, form: ActForm) -> Rate | CallIdentity:
        """What is to be added, not saved yet."""
        raise NotImplementedError

    def meant(self, form: ActForm) -> Selection:
        """The waiting calls that it may bring back."""
        raise NotImplementedError

    def preview(self, form: ActForm) -> Preview:
        """Add it, see what would become of the calls, and take it back."""
        meant = self.meant(form)
        refusal, fates = "", []
        with transaction.atomic():
            try:
                with transaction.atomic():
                    self.thing(form).save()
                fates = quarantine.fates(meant, at_most=LOOKED_AT_CLOSELY)
            except IntegrityError as error:
                refusal = refusal_of(error).sentence
            transaction.set_rollback(True)
        if refusal:
            form.add_error(None, refusal)
        counted = waiting.count(meant)
        context = {
            "count": counted.calls,
            "looked_at": min(counted.calls, LOOKED_AT_CLOSELY),
            "fates": [(fate.calls, in_words(fate)) for fate in fates],
            "refusal": refusal,
        }
        return Preview([counted.mark, refusal, context["fates"]], context, self.preview_template)

    def do(self, form: ActForm) -> Done:
        thing = self.thing(form)
        try:
            with act(
                by=self.by,
                verb=f"add {thing._meta.verbose_name}",
                noun=str(thing._meta.verbose_name),
                name=str(thing),
                once=form.cleaned_data["once"],
            ) as doing:
                thing.save()
                doing.summary = self.summary(form)
                doing.after = {
                    field.name: str(getattr(thing, field.name))
                    for field in thing._meta.concrete_fields
                    if not field.primary_key
                }
        except IntegrityError as error:
            raise Refused(refusal_of(error).sentence) from error
        return Done(f"{doing.summary} Calls that waited for it come back by themselves with the next run.", self.back())

    def summary(self, form: ActForm) -> str:
        raise NotImplementedError


class AddRatePage(MendPage):
    """A rate for a prefix that a deck lacks."""

    permission = "billing.add_rate"
    title = "Add a rate"
    button = "Add the rate"
    form_class = RateForm

    def thing(self, form: ActForm) -> Rate:
        assert isinstance(form, RateForm)
        return form.rate()

    def meant(self, form: ActForm) -> Selection:
        said = form.cleaned_data
        return Selection(reasons=(QuarantineReason.NO_RATE.value,), deck=said["deck"].name, begins=said["prefix"])

    def summary(self, form: ActForm) -> str:
        said = form.cleaned_data
        price = money(said["price_per_minute"], said["deck"].currency)
        return f"The deck {said['deck']} has a rate for {said['prefix']} now: {price} a minute."


class IdentityForm(NoReasonForm):
    """What a source writes for a customer."""

    account = forms.CharField(
        label="Customer's account",
        widget=UnfoldAdminTextInputWidget(attrs={"list": "accounts", "autocomplete": "off"}),
        help_text="The account number. A name also finds it where only one customer is called so.",
    )
    kind = forms.ChoiceField(label="Kind", choices=IdentityKind.choices, widget=UnfoldAdminSelectWidget)
    value = forms.CharField(
        label="Value", max_length=200, widget=UnfoldAdminTextInputWidget, help_text="As the record says it."
    )
    source = source_field(label="Source", required=False, help_text="The switch that writes it. Empty: any.")

    def clean_account(self) -> Customer:
        written = self.cleaned_data["account"].strip()
        found = Customer.objects.filter(account=written).first()
        if found is None:
            named = list(Customer.objects.filter(name__istartswith=written).order_by("account")[:6]) if written else []
            if len(named) == 1:
                return named[0]
            several = ", ".join(f"{one.account} ({one.name})" for one in named[:5])
            raise forms.ValidationError(
                f"Which? {several}{' …' if len(named) > 5 else ''}" if named else "No customer has this account."
            )
        return found

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("kind") == IdentityKind.NUMBER and "value" in cleaned:
            cleaned["value"] = waiting.identity_parts(f"number:{cleaned['value']}")[1]
            if not cleaned["value"]:
                self.add_error("value", "A phone number has digits.")
        return cleaned


class AddIdentityPage(MendPage):
    """An identity for a customer, by which its calls are known from then on, and those that wait."""

    permission = "billing.add_callidentity"
    title = "Add an identity to a customer"
    button = "Add the identity"
    form_class = IdentityForm

    def thing(self, form: ActForm) -> CallIdentity:
        said = form.cleaned_data
        return CallIdentity(customer=said["account"], kind=said["kind"], value=said["value"], source=said["source"])

    def meant(self, form: ActForm) -> Selection:
        said = form.cleaned_data
        return Selection(
            reasons=tuple(reason.value for reason in waiting.NEEDS_AN_IDENTITY),
            source=said["source"].name if said["source"] else "",
            identity=f"{said['kind']}:{said['value']}",
        )

    def summary(self, form: ActForm) -> str:
        said = form.cleaned_data
        where = f" at {said['source']}" if said["source"] else ""
        return f"{said['kind']}:{said['value']}{where} is {said['account'].name} (account {said['account']}) now."
