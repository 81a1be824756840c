"""What people of partners fill in. What may not be is told beside the field."""

import unicodedata
from typing import Any

from django import forms
from django.contrib.auth.forms import SetPasswordMixin

from billing.alerts import Terms
from billing.models import Customer
from ivy.accounts.models import User
from ivy.portal import logos, words
from ivy.portal.models import Invitation, PortalUser, Resource, Role
from ivy.portal.scope import Scope

AN_ADDRESS = forms.EmailField(max_length=254)
# Each fall mails all of them, and what one partner lets go out counts against what all may be sent.
MOST_RECIPIENTS = 10

ROLES = [
    (Role.VIEWER.value, "Viewer: sees everything, changes nothing"),
    (Role.MANAGER.value, "Manager: also changes alerts, and asks for items"),
    (Role.OWNER.value, "Owner: also invites people and shapes the brand"),
]


class InviteForm(forms.Form):
    email = forms.EmailField(label="E-mail address", max_length=254)
    role = forms.ChoiceField(label="Role", choices=ROLES, initial=Role.VIEWER)


class ChangePersonForm(forms.Form):
    """Who, by their address, and what they are to be. Fields that are not sent stay as they are."""

    email = forms.EmailField(max_length=254)
    role = forms.ChoiceField(choices=ROLES, required=False)
    active = forms.ChoiceField(choices=[("yes", "yes"), ("no", "no")], required=False)


class AcceptForm(SetPasswordMixin, forms.Form):
    """For somebody who has no account yet: a name, and a password as strong as everybody's."""

    name = forms.CharField(label="Your name", max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"}))
    password1, password2 = SetPasswordMixin.create_password_fields("Password", "Password, again")

    def __init__(self, *args: Any, invitation: Invitation, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.invitation = invitation

    def clean(self) -> dict[str, Any]:
        self.validate_passwords()
        user = User(email=self.invitation.email, name=self.cleaned_data.get("name", ""))
        self.validate_password_for_user(user)
        return self.cleaned_data


class ReaderForm(forms.ModelForm):
    """How one person reads the portal."""

    class Meta:
        model = PortalUser
        fields = ("language", "timezone")

    language = forms.ChoiceField(label="Money and dates are written", required=False)
    timezone = forms.ChoiceField(label="Times are shown in", required=False)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        partner = self.instance.partner
        languages = words.languages()
        own = words.locale_of(partner.language).get_display_name("en")
        self.fields["language"].choices = [("", f"as for {partner.name} ({own})"), *languages]  # type: ignore[attr-defined]
        zones = [(zone, zone.replace("_", " ")) for zone in words.zones()]
        self.fields["timezone"].choices = [("", f"the zone of {partner.name} ({partner.timezone})"), *zones]  # type: ignore[attr-defined]


class BrandForm(forms.Form):
    """Name, sender of mails, colour and logo. A logo that is no picture is refused in words."""

    name = forms.CharField(label="Name", max_length=200, help_text="As your customers read it in mails.")
    sender_name = forms.CharField(
        label="Sender's name on mails", max_length=200, required=False, help_text="Empty: the name above."
    )
    reply_to = forms.EmailField(
        label="Reply address of mails", max_length=254, required=False, help_text="Where answers of customers go."
    )
    colour = forms.RegexField(
        r"\A#[0-9a-fA-F]{6}\Z",
        label="Colour",
        widget=forms.TextInput(attrs={"type": "color"}),
        help_text="Of links and buttons. It is made darker or lighter where it could not be read otherwise.",
        error_messages={"invalid": "Write a colour like #0b7a53."},
    )
    logo = forms.FileField(
        label="Logo", required=False, help_text="A PNG, JPEG or WebP of at most 1 MB; wide ones suit best."
    )
    forgets_logo = forms.BooleanField(label="Take the logo away", required=False)

    def clean_name(self) -> str:
        return _one_line(self.cleaned_data["name"])

    def clean_sender_name(self) -> str:
        return _one_line(self.cleaned_data["sender_name"])

    def clean_colour(self) -> str:
        return str(self.cleaned_data["colour"]).lower()

    def clean_logo(self) -> bytes | None:
        sent = self.cleaned_data["logo"]
        if not sent:
            return None
        try:
            return logos.drawn_anew(sent, size=sent.size)
        except logos.NoLogo as why:
            raise forms.ValidationError(str(why)) from why


def _one_line(text: str) -> str:
    """The text, if a mail's head can hold it. Raises ValidationError."""
    if any(unicodedata.category(letter) in {"Cc", "Zl", "Zp"} for letter in text):
        raise forms.ValidationError("Line breaks and control characters have no place here.")
    return text


class TermsForm(forms.Form):
    """What is agreed about an alert: its threshold and how its customers are told."""

    threshold = forms.DecimalField(label="Threshold", max_digits=18, decimal_places=6)
    remind_every_days = forms.IntegerField(
        label="Remind every … days", required=False, min_value=1, max_value=365, help_text="Empty: no reminders."
    )
    remind_at_most = forms.IntegerField(label="Reminders at most", min_value=0, max_value=100, initial=3)
    tells_restored = forms.BooleanField(label="Mail once more when the balance has recovered", required=False)


class AlertForm(TermsForm):
    """The same for one customer, with the addresses that the mails go to."""

    recipients = forms.CharField(
        label="Mails go to",
        required=False,
        max_length=4000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text=f"One address a line, at most {MOST_RECIPIENTS}. Empty: the customer's own address.",
    )

    def clean_recipients(self) -> tuple[str, ...]:
        lines = self.cleaned_data["recipients"].splitlines()
        addresses = {line.strip().lower() for line in lines if line.strip()}
        if len(addresses) > MOST_RECIPIENTS:
            raise forms.ValidationError(f"Give at most {MOST_RECIPIENTS} addresses.")
        for address in addresses:
            try:
                AN_ADDRESS.clean(address)
            except forms.ValidationError:
                raise forms.ValidationError(f"“{address}” is no address.") from None
        return tuple(sorted(addresses))

    @property
    def terms(self) -> Terms:
        said = self.cleaned_data
        return Terms(
            remind_every_days=said["remind_every_days"],
            remind_at_most=said["remind_at_most"],
            tells_restored=said["tells_restored"],
            recipients=said["recipients"],
        )


class LanguageForm(forms.Form):
    """The language in which a customer's mails are written."""

    language = forms.ChoiceField(label="Language of mails", required=False)

    def __init__(self, *args: Any, usual: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        own = words.locale_of(usual).get_display_name("en")
        self.fields["language"].choices = [("", f"as for all customers ({own})"), *words.languages()]  # type: ignore[attr-defined]


class AskForItemForm(forms.Form):
    text = forms.CharField(
        label="What is wanted",
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2}),
        help_text="Which item, how many, at which price if it was agreed.",
    )
    on = forms.DateField(label="From day", widget=forms.DateInput(attrs={"type": "date"}))


class AskForEndForm(forms.Form):
    item = forms.CharField(max_length=200, widget=forms.HiddenInput)
    text = forms.CharField(label="Why", max_length=1000)
    on = forms.DateField(label="First day not charged", widget=forms.DateInput(attrs={"type": "date"}))


class TokenForm(forms.Form):
    """A key for a program: what it may read, of whom, how often and how long."""

    name = forms.CharField(label="Name", max_length=100, help_text="Which program will use it.")
    resources = forms.MultipleChoiceField(
        label="It may read",
        choices=Resource.choices,
        initial=Resource.values,
        widget=forms.CheckboxSelectMultiple,
    )
    accounts = forms.CharField(
        label="Of these accounts only",
        required=False,
        max_length=5_000,
        help_text="One or several, with spaces between; empty: of all customers, also those to come.",
        widget=forms.Textarea(attrs={"rows": 2}),
    )
    rate_per_minute = forms.IntegerField(label="Requests a minute", min_value=1, max_value=6_000, initial=120)
    days = forms.ChoiceField(
        label="It works for",
        required=False,
        choices=[("365", "a year"), ("90", "90 days"), ("30", "30 days"), ("", "as long as nobody revokes it")],
    )

    def __init__(self, *args: Any, scope: Scope, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.scope = scope

    def clean_name(self) -> str:
        name: str = self.cleaned_data["name"]
        if "\0" in name:
            raise forms.ValidationError("Write it without control characters.")
        return name

    def clean_accounts(self) -> list[Customer] | None:
        accounts = set(self.cleaned_data["accounts"].replace(",", " ").split())
        if not accounts:
            return None
        found = list(self.scope.customers().filter(account__in=accounts))
        absent = sorted(accounts - {customer.account for customer in found})
        if absent:
            raise forms.ValidationError(f"There is no customer {', '.join(absent[:5])}.")
        return found
