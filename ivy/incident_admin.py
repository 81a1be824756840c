"""The staff pages of incidents. Forms go through the verbs of `ivy.incidents`; what was told stays as it was told.

Where something is halted or tripped, the pages of switches and breaker trips offer to open one, the form filled in.
"""

from datetime import UTC
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.db import transaction
from django.db.models import F, Model
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.dateparse import parse_datetime
from django.utils.http import urlencode
from unfold.contrib.filters.admin import ChoicesDropdownFilter
from unfold.widgets import (
    UnfoldAdminCheckboxSelectMultipleWidget,
    UnfoldAdminSelectWidget,
    UnfoldAdminSplitDateTimeWidget,
    UnfoldAdminTextareaWidget,
    UnfoldBooleanSwitchWidget,
)

from billing.admin.base import DatabaseRulesForm, StaffAdmin, label
from billing.admin.refusals import Refusal
from billing.admin.switches import ProcessSwitchAdmin
from billing.models import ProcessSwitch
from ivy import incidents
from ivy.incidents import BadIncident, ChangedMeanwhile
from ivy.models import Audience, Incident, IncidentState, Part
from notifications.admin import BreakerTripAdmin
from notifications.models import BreakerTrip

COLOURS = {
    IncidentState.INVESTIGATING: "danger",
    IncidentState.IDENTIFIED: "warning",
    IncidentState.MONITORING: "info",
    IncidentState.RESOLVED: "success",
}


class IncidentForm(DatabaseRulesForm):
    """What both forms ask: what is affected, who reads it, and what there is to say."""

    affects = forms.MultipleChoiceField(choices=Part.choices, widget=UnfoldAdminCheckboxSelectMultipleWidget)
    shown_to = forms.ChoiceField(choices=Audience.choices, widget=UnfoldAdminSelectWidget)
    text = forms.CharField(label="What is known", widget=UnfoldAdminTextareaWidget(attrs={"rows": 4}))


class OpenForm(IncidentForm):
    began_at = forms.SplitDateTimeField(
        label="Since (UTC)", required=False, widget=UnfoldAdminSplitDateTimeWidget, help_text="Empty: now."
    )


class UpdateForm(IncidentForm):
    """An update of an incident, and once it is resolved its post-mortem; either may be left empty, but not both."""

    state = forms.ChoiceField(choices=IncidentState.choices, widget=UnfoldAdminSelectWidget)
    text = forms.CharField(
        label="What was found or done", required=False, widget=UnfoldAdminTextareaWidget(attrs={"rows": 4})
    )
    is_shown = forms.BooleanField(
        label="Shown",
        required=False,
        initial=True,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Those to whom the incident is shown read this update, too.",
    )
    post_mortem = forms.CharField(
        label="What happened",
        required=False,
        widget=UnfoldAdminTextareaWidget(attrs={"rows": 8}),
        help_text="And why, and what keeps it from happening again.",
    )
    post_mortem_is_shown = forms.BooleanField(
        label="Partners read what happened, too",
        required=False,
        widget=UnfoldBooleanSwitchWidget,
        help_text="Those to whom the incident is shown. Leave out names, and what is nobody else's business.",
    )
    seen = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["seen"].initial = incidents.version(self.instance)
        if self.instance.state != IncidentState.RESOLVED:
            del self.fields["post_mortem"], self.fields["post_mortem_is_shown"]

    @property
    def writes_a_post_mortem(self) -> bool:
        changed = {"post_mortem", "post_mortem_is_shown"} & set(self.changed_data)
        return bool(changed) and bool(self.cleaned_data.get("post_mortem", "").strip())

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean()
        if not cleaned.get("text", "").strip() and not self.writes_a_post_mortem and not self.errors:
            self.add_error("text", "Say what was found or done.")
        return cleaned


class OffersIncidents:
    """A page that offers to tell of what is halted or tripped just now."""

    list_before_template = change_form_outer_before_template = "admin/incident_offers.html"

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {**(extra_context or {}), "incident_offers": _offers(request)}
        return super().changelist_view(request, context)  # type: ignore[misc]

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        context = {**(extra_context or {}), "incident_offers": _offers(request)}
        return super().changeform_view(request, object_id, form_url, context)  # type: ignore[misc]


def _offers(request: HttpRequest) -> list[tuple[incidents.Offer, str]]:
    """What is offered to this person, each with the address of the filled-in form."""
    if not request.user.has_perm("ivy.add_incident"):
        return []
    return [(offer, address_of(offer)) for offer in incidents.offers()]


def address_of(offer: incidents.Offer) -> str:
    """Where an incident is opened, the form filled in with what is offered."""
    return f"{reverse('admin:ivy_incident_add')}?{urlencode(_filled_in(offer), doseq=True)}"


def _filled_in(offer: incidents.Offer) -> dict[str, Any]:
    began_at = f"{offer.began_at.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
    affects = [part.value for part in offer.affects]
    return {"title": offer.title, "affects": affects, "began_at": began_at, "shown_to": Audience.PARTNERS}


@admin.register(Incident)
class IncidentAdmin(OffersIncidents, StaffAdmin):
    list_display = ("title", "show_state", "parts", "shown_to", "began_at", "resolved_at")
    list_filter = (("state", ChoicesDropdownFilter), ("shown_to", ChoicesDropdownFilter))
    search_fields = ("title",)
    ordering = (F("resolved_at").desc(nulls_first=True), "-began_at")
    readonly_fields = ("stands", "parts", "opened", "resolved_at", "written", "kept_post_mortem")
    add_fieldsets: ClassVar = ((None, {"fields": ("title", "affects", "shown_to", "began_at", "text")}),)
    change_form_outer_before_template = "admin/incident_offers_on_add.html"
    change_form_outer_after_template = "admin/incident_time_line.html"
    warn_unsaved_form = True

    show_state = label("state", {str(state): colour for state, colour in COLOURS.items()})

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_fieldsets(self, request: HttpRequest, obj: Incident | None = None) -> Any:
        if obj is None:
            return self.add_fieldsets
        told: list[Any] = [("stands", "parts"), ("opened", "resolved_at")]
        fieldsets: list[Any] = [(None, {"fields": told})]
        may_change = self.has_change_permission(request, obj)
        is_resolved = obj.state == IncidentState.RESOLVED
        if is_resolved:
            name = "post_mortem" if may_change else "kept_post_mortem"
            shown = ("post_mortem_is_shown",) if may_change else ()
            fieldsets.append(("Post-mortem", {"fields": (name, *shown, *(("written",) if obj.post_mortem_at else ()))}))
        if may_change:
            title = "Reopen it" if is_resolved else "What is new"
            fields = [("state", "shown_to"), "affects", "text", "is_shown", "seen"]
            fieldsets.append((title, {"fields": fields}))
        return fieldsets

    def get_form(self, request: HttpRequest, obj: Incident | None = None, change: bool = False, **kwargs: Any) -> Any:
        kwargs["form"] = (
            UpdateForm
            if obj is not None and self.has_change_permission(request, obj)
            else (OpenForm if obj is None else forms.ModelForm)
        )
        form = super().get_form(request, obj, change=change, **kwargs)
        refusal = getattr(request, "refusal", None)
        return type(form.__name__, (form,), {"refusal": refusal}) if refusal else form

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """What an offer fills in."""
        return {
            "title": request.GET.get("title", ""),
            "affects": [part for part in request.GET.getlist("affects") if part in Part.values],
            "shown_to": request.GET.get("shown_to", Audience.STAFF),
            "began_at": _time(request.GET.get("began_at", "")),
        }

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Save through the verbs; what they refuse is shown in the form, with what was typed."""
        incident = Incident.objects.filter(pk=object_id).first() if object_id and object_id.isdecimal() else None
        extra_context = {
            **(extra_context or {}),
            "show_save_and_add_another": False,
            "time_line": incidents.timeline(incident) if incident else [],
        }
        try:
            with transaction.atomic():
                return super().changeform_view(request, object_id, form_url, extra_context)
        except (BadIncident, ChangedMeanwhile) as refused:
            request.refusal = Refusal(str(refused))  # type: ignore[attr-defined]
            if isinstance(refused, ChangedMeanwhile) and object_id is not None:
                # The page that follows shows what is new: sent again, it was seen.
                sent = request.POST.copy()
                sent["seen"] = incidents.version(Incident.objects.get(pk=object_id))
                request.POST = sent  # type: ignore[assignment]
            return super().changeform_view(request, object_id, form_url, extra_context)

    def save_model(self, request: HttpRequest, obj: Incident, form: Any, change: bool) -> None:
        by, sent = request.user.get_username(), form.cleaned_data
        if not change:
            opened = incidents.open_incident(
                sent["title"],
                affects=sent["affects"],
                text=sent["text"],
                by=by,
                shown_to=sent["shown_to"],
                began_at=sent["began_at"],
            )
            obj.pk = opened.incident.pk
            if not opened.changed:
                self.message_user(request, "This incident was open already: nothing was added.", messages.WARNING)
            return
        if form.writes_a_post_mortem:
            seen = None if sent["text"].strip() else sent["seen"]
            incidents.write_post_mortem(
                obj.pk, text=sent["post_mortem"], is_shown=sent["post_mortem_is_shown"], by=by, seen=seen
            )
        if sent["text"].strip():
            incidents.update(
                obj.pk,
                by=by,
                text=sent["text"],
                state=sent["state"],
                is_shown=sent["is_shown"],
                affects=sent["affects"],
                shown_to=sent["shown_to"],
                seen=sent["seen"],
            )

    @admin.display(description="state")
    def stands(self, incident: Incident) -> str:
        return IncidentState(incident.state).label

    @admin.display(description="affects")
    def parts(self, incident: Incident) -> str:
        return ", ".join(Part(part).label for part in incident.affects)

    @admin.display(description="opened")
    def opened(self, incident: Incident) -> str:
        opened, began = (f"{at:%Y-%m-%d %H:%M:%S}" for at in (incident.opened_at, incident.began_at))
        return f"{opened} by {incident.opened_by}; the trouble since {began}"

    @admin.display(description="post-mortem")
    def kept_post_mortem(self, incident: Incident) -> str:
        return incident.post_mortem or "not written yet"

    @admin.display(description="written")
    def written(self, incident: Incident) -> str:
        return f"{incident.post_mortem_at:%Y-%m-%d %H:%M:%S} by {incident.post_mortem_by}"


def _time(text: str) -> Any:
    try:
        at = parse_datetime(text)
    except ValueError:
        return None
    return at if at is None or at.tzinfo else at.replace(tzinfo=UTC)


admin.site.unregister([ProcessSwitch, BreakerTrip])


@admin.register(ProcessSwitch)
class OfferingSwitchAdmin(OffersIncidents, ProcessSwitchAdmin):
    pass


@admin.register(BreakerTrip)
class OfferingTripAdmin(OffersIncidents, BreakerTripAdmin):
    pass
