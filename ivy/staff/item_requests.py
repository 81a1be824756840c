"""What partners ask for, before staff: items to make, items to end. Nothing happens before somebody decides here."""

from typing import Any

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import cached_property
from unfold.widgets import UnfoldAdminTextInputWidget

from ivy.portal import requests
from ivy.portal.models import ItemRequest, RequestKind, RequestState
from ivy.staff.acts import Refused, act
from ivy.staff.pages import ActForm, ActPage, Done, StaffPage

SHOWN = 100


class ItemRequests(StaffPage):
    permission = "portal.view_itemrequest"
    title = "Requests of partners"
    template_name = "admin/staff/item_requests.html"

    def get(self, request: HttpRequest) -> HttpResponse:
        rows = ItemRequest.objects.select_related("customer__partner")
        return self.page(
            waiting=list(rows.filter(state=RequestState.WAITING).order_by("pk")[:SHOWN]),
            decided=list(rows.exclude(state=RequestState.WAITING).order_by("-pk")[:20]),
            may_decide=request.user.has_perm("portal.decide_requests"),
        )


class _DecidingPage(ActPage):
    permission = "portal.decide_requests"
    state: RequestState

    @cached_property
    def asked(self) -> ItemRequest:
        found = ItemRequest.objects.select_related("customer__partner").filter(pk=self.kwargs["pk"]).first()
        if found is None:
            raise Http404("There is no such request.")
        return found

    def about(self) -> dict[str, Any]:
        asked = self.asked
        at = f"{asked.asked_at:%Y-%m-%d %H:%M} UTC"
        sentences = [
            f"{asked.asked_by} of {asked.customer.partner.name} asked at {at}: {asked.text}",
            f"From {asked.on} on." if asked.kind == RequestKind.NEW else f"{asked.item} is to end on {asked.on}.",
        ]
        if asked.state != RequestState.WAITING:
            sentences.append(f"It was decided already: {asked.state} by {asked.decided_by}.")
        return {
            "subject": f"{asked.get_kind_display().capitalize()} for {asked.customer.account}, {asked.customer.name}",
            "sentences": sentences,
            "back": reverse("admin:item_requests"),
        }

    def decide(self, form: ActForm) -> bool:
        raise NotImplementedError

    def do(self, form: ActForm) -> Done:
        """Decide it once; a decision that somebody else made meanwhile stands."""
        asked = self.asked
        with act(
            by=self.by,
            verb=self.title.lower(),
            noun="customer",
            name=asked.customer.account,
            reason=form.cleaned_data["reason"],
            once=form.cleaned_data["once"],
        ) as doing:
            try:
                decided = self.decide(form)
            except requests.NotPossible as why:
                raise Refused(str(why)) from why
            if not decided:
                raise Refused("Somebody else decided it meanwhile: nothing was changed.")
            doing.summary = f"{asked.get_kind_display().capitalize()} for {asked.customer.account}: {self.state}."
        return Done(doing.summary, reverse("admin:item_requests"))


class AcceptForm(ActForm):
    item = forms.CharField(
        label="Reference of the item that you made for it",
        max_length=200,
        required=False,
        widget=UnfoldAdminTextInputWidget,
        help_text="Make the item first. For the end of an item: leave this empty.",
    )


class AcceptRequest(_DecidingPage):
    title = "Confirm a request"
    button = "Confirm it"
    form_class = AcceptForm
    state = RequestState.DONE

    def decide(self, form: ActForm) -> bool:
        said = form.cleaned_data
        return requests.accept(self.asked, by=self.by, answer=said["reason"], item=said["item"].strip())


class DeclineRequest(_DecidingPage):
    title = "Decline a request"
    button = "Decline it"
    is_dangerous = True
    state = RequestState.DECLINED

    def decide(self, form: ActForm) -> bool:
        return requests.decline(self.asked, by=self.by, answer=form.cleaned_data["reason"])
