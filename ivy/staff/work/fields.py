"""Fields that several forms share: prices, moments and days as people write them in files."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django import forms
from django.db import models
from unfold.widgets import UnfoldAdminDecimalFieldWidget, UnfoldAdminTextInputWidget

from billing.imports import csvfile
from billing.models import Customer, RateDeck, Source
from billing.models.deck import DEAREST_PRICE


class PriceField(forms.DecimalField):
    """A price of a deck: six decimals, not negative."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}))
        super().__init__(min_value=0, max_value=DEAREST_PRICE, max_digits=18, decimal_places=6, **kwargs)


class AmountField(forms.DecimalField):
    """An amount of money, shown without needless zeros."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminDecimalFieldWidget(attrs={"step": "any"}))
        super().__init__(max_digits=18, decimal_places=6, **kwargs)

    def prepare_value(self, value: Any) -> Any:
        return f"{value.normalize():f}" if isinstance(value, Decimal) else value


class NamedField(forms.CharField):
    """Something that exists, written by its name; None where nothing was written."""

    def __init__(self, things: models.QuerySet[Any], *, by: str, missing: str, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminTextInputWidget)
        super().__init__(max_length=64, **kwargs)
        self.things, self.by, self.missing = things, by, missing

    def clean(self, value: Any) -> Any:
        written = super().clean(value).strip()
        found = self.things.filter(**{self.by: written}).first() if written else None
        if written and found is None:
            raise forms.ValidationError(self.missing)
        return found


def account_field(**kwargs: Any) -> NamedField:
    """A customer, by its account."""
    customers = Customer.objects.select_related("partner")
    return NamedField(customers, by="account", missing="No customer has this account.", **kwargs)


def deck_field(**kwargs: Any) -> NamedField:
    return NamedField(RateDeck.objects.all(), by="name", missing="There is no deck of this name.", **kwargs)


def source_field(**kwargs: Any) -> NamedField:
    return NamedField(Source.objects.all(), by="name", missing="There is no source of this name.", **kwargs)


class MomentField(forms.CharField):
    """A date, or a date and time with or without a zone, as files have them; None where nothing was written."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", UnfoldAdminTextInputWidget(attrs={"placeholder": "2027-01-31 or 2027-01-31 18:00"}))
        super().__init__(max_length=40, **kwargs)

    def clean(self, value: Any) -> Any:
        written = super().clean(value)
        return read_moment(written) if written else None


def read_moment(written: str) -> date | datetime:
    """Raises ValidationError."""
    try:
        return csvfile.moment(written.strip())
    except csvfile.BadCell as reason:
        raise forms.ValidationError(f"“{csvfile.shown(written)}” {reason}.") from reason


class DayInput(UnfoldAdminTextInputWidget):
    """The browser's own way to write a day: with the keyboard, or from a calendar."""

    input_type = "date"

    def format_value(self, value: Any) -> Any:
        return value.isoformat() if isinstance(value, date) else value


class DayField(forms.DateField):
    """A day of the customer's."""

    def __init__(self, **kwargs: Any) -> None:
        kwargs.setdefault("widget", DayInput)
        super().__init__(**kwargs)
