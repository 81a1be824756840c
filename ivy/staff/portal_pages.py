"""What staff do about a partner's portal: invite its first owner, and look at it as the partner sees it."""

from typing import Any, cast

from django import forms
from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import get_object_or_404
from django.urls import reverse
from unfold.widgets import UnfoldAdminEmailInputWidget, UnfoldAdminSelectWidget

from billing.models import Partner
from ivy.accounts.models import User
from ivy.portal import looking, people
from ivy.portal.forms import ROLES
from ivy.portal.models import Role
from ivy.staff.acts import Act, Refused, act, note
from ivy.staff.pages import ActForm, ActPage, Done, NoReasonForm, StaffPage


class _PartnersPage(ActPage):
    """Something about the portal of the partner in the address."""

    @property
    def partner(self) -> Partner:
        return get_object_or_404(Partner, slug=self.kwargs["slug"])

    def back(self) -> str:
        return reverse("admin:billing_partner_change", args=[self.partner.pk])


class InviteForm(NoReasonForm):
    email = forms.EmailField(label="E-mail address", max_length=254, widget=UnfoldAdminEmailInputWidget)
    role = forms.ChoiceField(label="Role", choices=ROLES, initial=Role.OWNER, widget=UnfoldAdminSelectWidget)


class InvitePage(_PartnersPage):
    permission = "portal.invite_people"
    title = "Invite to the portal"
    form_class = InviteForm
    button = "Send the invitation"

    def about(self) -> dict[str, Any]:
        return {
            "subject": f"The portal of {self.partner.name}",
            "sentences": [
                "They get a mail with a link that works once, and choose a password. An owner invites others."
            ],
            "back": self.back(),
        }

    def do(self, form: ActForm) -> Done:
        """Invite; the mail goes out when the invitation is safe."""
        email, role = form.cleaned_data["email"], Role(form.cleaned_data["role"])
        try:
            sent = people.invite(self.partner, email=email, role=role, by=self.by)
        except people.NotPossible as why:
            raise Refused(str(why)) from why
        note(
            Act(f"{sent.invitation.email} is invited as {role}.", after={"role": role.value}),
            by=self.by,
            verb="invite",
            noun="partner",
            name=self.partner.slug,
        )
        if sent.is_mailed:
            return Done(f"The invitation is on its way to {sent.invitation.email}.", self.back())
        sentence = (
            f"{sent.invitation.email} is invited, but the mail server did not take the mail. Send it again later."
        )
        return Done(sentence, self.back(), messages.WARNING)


class LookPage(_PartnersPage):
    permission = looking.PERMISSION
    title = "Look as partner"
    button = "Look"

    def about(self) -> dict[str, Any]:
        return {
            "subject": f"The portal of {self.partner.name}",
            "sentences": [
                f"You will see what the partner sees, and change nothing, for {looking.MINUTES} minutes at most.",
                "Who looked, when and why is kept.",
            ],
            "back": self.back(),
        }

    def do(self, form: ActForm) -> Done:
        reason = form.cleaned_data["reason"]
        with act(
            by=self.by, verb="look", noun="partner", name=self.partner.slug, reason=reason,
            once=form.cleaned_data["once"],
        ) as doing:  # fmt: skip
            look = looking.begin(self.partner, by=cast(User, self.request.user), reason=reason)
            doing.summary = f"Looks at the portal of {self.partner.slug}."
        self.request.session[looking.SESSION_KEY] = look.pk
        return Done(f"You look at the portal of {self.partner.name}.", reverse("portal:overview"), messages.INFO)


class StopLookingPage(StaffPage):
    """The button of the banner."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        look_id = request.session.pop(looking.SESSION_KEY, None)
        if isinstance(look_id, int):
            looking.end(look_id, by=cast(User, request.user))
        messages.info(request, "You do not look at a partner's portal any more.")
        return HttpResponseRedirect(reverse("admin:index"))
