"""What is asked of lists in the address, made sense of; nonsense is told beside the field, never an error."""

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django import forms
from django.utils import timezone

from billing.models import Direction
from ivy.portal import calls, customers

DAYS_AT_FIRST = 7
# A month and a zone away from the ends of what is looked through.
FIRST_DAY, LAST_DAY = date(1990, 3, 1), date(2199, 12, 1)


class CustomersForm(forms.Form):
    q = forms.CharField(label="Account, name or e-mail", required=False, max_length=100)
    state = forms.ChoiceField(label="Balance", required=False, choices=[("", "any"), *customers.STATES.items()])
    order = forms.ChoiceField(
        label="Order",
        required=False,
        choices=[
            ("account", "by account"),
            ("name", "by name"),
            ("least", "least balance first"),
            ("most", "most balance first"),
        ],
    )


class CallsForm(forms.Form):
    """Days are those of the reader's zone, the last one included; at most a month of them."""

    account = forms.CharField(label="Account", required=False, max_length=64)
    number = forms.CharField(label="Number, or part of it", required=False, max_length=32)
    since = forms.DateField(label="From day", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    until = forms.DateField(label="To day", required=False, widget=forms.DateInput(attrs={"type": "date"}))
    direction = forms.ChoiceField(label="Direction", required=False, choices=[("", "any"), *Direction.choices])
    at_least = forms.DecimalField(label="Price from", required=False, min_value=0, max_digits=18, decimal_places=6)
    at_most = forms.DecimalField(label="Price to", required=False, min_value=0, max_digits=18, decimal_places=6)

    def clean_number(self) -> str:
        digits = "".join(sign for sign in self.cleaned_data["number"] if sign.isascii() and sign.isdigit())
        if self.cleaned_data["number"].strip() and len(digits) < 3:
            raise forms.ValidationError("Give at least three digits.")
        return digits

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if self.errors:
            return cleaned
        today = timezone.localdate()
        until: date = cleaned.get("until") or today
        if not FIRST_DAY <= until < LAST_DAY:
            self.add_error("until", "There were no calls then.")
            return cleaned
        since: date = cleaned.get("since") or until - timedelta(days=DAYS_AT_FIRST - 1)
        if since > until:
            self.add_error("since", "It lies behind the last day.")
        elif (until - since).days >= calls.LONGEST_DAYS:
            self.add_error("since", f"Ask for at most {calls.LONGEST_DAYS} days at once.")
        else:
            cleaned |= {"since": since, "until": until}
        return cleaned

    @property
    def asked(self) -> calls.Asked:
        """What was asked; of a form that is valid."""
        what = self.cleaned_data
        return calls.Asked(
            since=_midnight(what["since"]),
            until=_midnight(what["until"] + timedelta(days=1)),
            account=what["account"].strip(),
            number=what["number"],
            direction=what["direction"],
            at_least=what["at_least"],
            at_most=what["at_most"],
        )


def place(text: str) -> tuple[datetime, int] | None:
    """Where a list of calls goes on, as `Call.place` wrote it; None for nothing and for nonsense."""
    at, _, number = text.rpartition("_")
    try:
        began = datetime.fromisoformat(at)
    except ValueError:
        return None
    if (
        began.tzinfo is None
        or not calls.EARLIEST <= began < calls.LATEST
        or not (number.isascii() and number.isdecimal())
        or len(number) > 18
    ):
        return None
    return began.astimezone(UTC), int(number)  # zones may be written farther off than PostgreSQL reads


def whole_number(text: str, *, most: int) -> int | None:
    """A number from 1 to `most`, or None."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 19 and 1 <= int(text) <= most else None


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), timezone.get_current_timezone())
