"""What the pages of all nouns share: how money is written, who may change what, and how a refusal is told."""

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from decimal import Decimal
from typing import Any, ClassVar

import unfold.paginator
from django import forms
from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.db import DataError, IntegrityError, transaction
from django.db.models import DateTimeField, Manager, Model, Q, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils import timezone
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.http import urlencode
from django.utils.safestring import SafeString
from unfold.admin import ModelAdmin, TabularInline
from unfold.contrib.filters.admin import DropdownFilter
from unfold.overrides import FORMFIELD_OVERRIDES_INLINE
from unfold.views import ChangeList
from unfold.widgets import (
    UnfoldAdminDecimalFieldWidget,
    UnfoldAdminSplitDateTimeVerticalWidget,
    UnfoldAdminTextInputWidget,
)

from billing.admin.refusals import Refusal, refusal_of
from billing.amounts import money
from billing.models import Customer
from billing.models.fields import KeyField, MoneyField

__all__ = ["money"]  # and all that is defined here

PAGES_BACK = 1_000
MONTHS_BACK = 24


def changelist_link(text: str, noun: str, **lookups: int) -> SafeString:
    """A link to the list of a model, named in small letters, narrowed by lookups."""
    url = reverse(f"admin:billing_{noun}_changelist")
    return format_html('<a class="text-link" href="{}?{}">{}</a>', url, urlencode(lookups), text)


def change_link(text: str, noun: str, pk: int) -> SafeString:
    """A link to the page of one row."""
    url = reverse(f"admin:billing_{noun}_change", args=[pk])
    return format_html('<a class="text-link" href="{}">{}</a>', url, text)


def side_by_side(links: Iterable[SafeString]) -> SafeString:
    return format_html_join(" · ", "{}", ((link,) for link in links))


class AmountField(forms.DecimalField):
    """Shows an amount without the zeros that the column fills it up with."""

    def prepare_value(self, value: Any) -> Any:
        return f"{value.normalize():f}" if isinstance(value, Decimal) else value


WIDGETS: dict[type, dict[str, Any]] = {
    KeyField: {"widget": UnfoldAdminTextInputWidget},
    MoneyField: {"form_class": AmountField, "widget": UnfoldAdminDecimalFieldWidget},
}


class SeenForm(forms.ModelForm):
    """Knows how the row was when the form was opened: who saves over what somebody else has saved since is told first.

    The page carries `as_opened` along; a form that comes without it is not asked.
    """

    @property
    def as_opened(self) -> str:
        """The row's fields as they are now, each as a digest."""
        shown = (name for name, field in self.fields.items() if not field.disabled)
        return json.dumps({name: _digest(self[name].initial) for name in shown})

    def clean(self) -> dict[str, Any]:
        moved = self._moved()
        if moved:
            told = "; ".join(f"{self[name].label} is now “{self._now(name)}”" for name in moved)
            self.add_error(
                None,
                f"Somebody else has saved this since you opened it: {told}. Nothing was saved. What stands below is"
                " what you typed: look at it again, then save.",
            )
        return super().clean() or self.cleaned_data

    def _moved(self) -> list[str]:
        """The fields that are not as they were when the form was opened."""
        try:
            then = json.loads(self.data.get("as_opened", "{}"))
            now = json.loads(self.as_opened)
            return [name for name in now if name in then and then[name] != now[name]]
        except (ValueError, TypeError):
            return []

    def _now(self, name: str) -> str:
        now = getattr(self.instance, name)
        words = ", ".join(map(str, now.all())) if isinstance(now, Manager) else str("" if now is None else now)
        return words or "nothing"


def _digest(value: Any) -> str:
    """Of a list of rows in whatever order, too."""
    if isinstance(value, list):
        value = sorted(getattr(one, "pk", one) for one in value)
    return hashlib.sha256(str(value).encode()).hexdigest()[:16]


class DatabaseRulesForm(SeenForm):
    """Leaves constraints to the database, and tells what it refused when the row was about to be saved.

    Django would look at some of them before, one query each, and call them by their names.
    """

    refusal: ClassVar[Refusal | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.instance.validate_constraints = _leave_to_the_database

    def clean(self) -> dict[str, Any]:
        if self.refusal is not None:
            self.add_error(self.refusal.field if self.refusal.field in self.fields else None, self.refusal.sentence)
        return super().clean() or self.cleaned_data


def _leave_to_the_database(exclude: Collection[str] | None = None) -> None:
    pass


class CountingOnce(ChangeList):
    """Without filters all rows are what was counted; with them nobody counts the rest."""

    def get_results(self, request: HttpRequest) -> None:
        super().get_results(request)
        self.full_result_count: int | None
        if self.full_result_count is None and not (self.query or self.has_active_filters):
            self.full_result_count = self.result_count


class StaffAdmin(ModelAdmin):
    """How every list looks."""

    actions = ()
    list_per_page = 50
    list_fullwidth = True
    show_full_result_count = False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return CountingOnce


class BillingAdmin(StaffAdmin):
    """A noun that staff may add and change, but not delete. What the database refuses arrives as an error of the form.

    Only the fields that were changed in the form are written, so that a billing run's work in the same row stays.
    """

    form = DatabaseRulesForm
    formfield_overrides = WIDGETS
    warn_unsaved_form = True
    change_form_before_template = "admin/as_opened.html"
    fixed_fields: tuple[str, ...] = ()
    """Read-only once the row exists."""

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Iterable[str]:
        return (*super().get_readonly_fields(request, obj), *(self.fixed_fields if obj else ()))

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Model | None:
        """Whoever sends the form of the same row just now waits here, and is then told what has changed."""
        found: Model | None = super().get_object(request, object_id, from_field)
        if found is not None and request.method == "POST":
            self.model._default_manager.select_for_update(no_key=True).filter(pk=found.pk).first()
            found.refresh_from_db()
        return found

    def get_form(self, request: HttpRequest, *args: Any, **kwargs: Any) -> type[forms.ModelForm]:
        form = super().get_form(request, *args, **kwargs)
        refusal = getattr(request, "refusal", None)
        return type(form.__name__, (form,), {"refusal": refusal}) if refusal else form

    def changeform_view(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        """Save in a savepoint; where the database refuses, take all of it back and show the form again, saying why."""
        try:
            with transaction.atomic():
                return super().changeform_view(request, *args, **kwargs)
        except (IntegrityError, DataError) as error:
            request.refusal = refusal_of(error)  # type: ignore[attr-defined]
            return super().changeform_view(request, *args, **kwargs)

    def delete_view(self, request: HttpRequest, object_id: str, *args: Any, **kwargs: Any) -> HttpResponse:
        try:
            with transaction.atomic():
                return super().delete_view(request, object_id, *args, **kwargs)
        except IntegrityError as error:
            self.message_user(request, refusal_of(error).sentence, messages.ERROR)
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_change"
            return HttpResponseRedirect(reverse(name, args=[object_id]))

    def save_model(self, request: HttpRequest, obj: Model, form: forms.ModelForm, change: bool) -> None:
        if change:
            obj.save(update_fields=form.changed_data)
        else:
            obj.save()


class ReadOnlyAdmin(StaffAdmin):
    """What only the program writes: nobody adds, changes or deletes it here, superusers included."""

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class InfinitePaginator(unfold.paginator.InfinitePaginator):
    """Counts nothing, since counting reads the whole table, and ends after so many pages, since skipping does too.

    By this name Unfold's templates know that there is no count to show.
    """

    @cached_property
    def count(self) -> int:
        return self.per_page * PAGES_BACK


class MillionsAdmin(ReadOnlyAdmin):
    """A table with millions of rows, newest first: searched and filtered only by what an index answers."""

    paginator: type[Paginator] = InfinitePaginator
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    ordering = ("-id",)
    key_field = "key"
    is_searched_by_account = True

    def get_search_fields(self, request: HttpRequest) -> Iterable[str]:
        return (f"{self.key_field}__startswith",)

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Rows whose key begins with the term, or of the customer whose account it is.

        Customers are looked up first: joined to them, no index on keys would be used.
        """
        term = search_term.strip()
        if not term:
            return queryset, False
        found = Q(**{f"{self.key_field}__startswith": term})
        if self.is_searched_by_account:
            found |= Q(customer__in=list(Customer.objects.filter(account=term)))
        return queryset.filter(found), False


class BookedMonthFilter(DropdownFilter):
    """Narrows to a month without reading the table for which months there are; one partition, once there are any."""

    title = "month"
    parameter_name = "month"

    def lookups(self, request: HttpRequest, model_admin: ModelAdmin) -> list[tuple[str, str]]:
        this_month = timezone.now().date().replace(day=1)
        months = [_months_before(this_month, count) for count in range(MONTHS_BACK)]
        return [(f"{month:%Y-%m}", f"{month:%B %Y}") for month in months]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        try:
            return queryset.filter(booked_month=date.fromisoformat(f"{self.value()}-01")) if self.value() else queryset
        except ValueError:
            return queryset.none()


def _months_before(month: date, count: int) -> date:
    months = month.year * 12 + month.month - 1 - count
    return date(months // 12, months % 12 + 1, 1)


class BillingInline(TabularInline):
    form = DatabaseRulesForm
    formfield_overrides = {
        **FORMFIELD_OVERRIDES_INLINE,
        **WIDGETS,
        DateTimeField: {"form_class": forms.SplitDateTimeField, "widget": UnfoldAdminSplitDateTimeVerticalWidget},
    }
    extra = 0
    hide_title = True


class ReadOnlyInline(TabularInline):
    extra = 0
    hide_title = True
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


def label(column: str, colours: Mapping[str, str], description: str | None = None) -> Callable[..., Any]:
    """A column that shows a choice as a coloured label: success, info, warning, danger, or none."""

    @admin.display(description=description or column.replace("_", " "), ordering=column)
    def show(_admin: ModelAdmin, obj: Model) -> tuple[str, str]:
        return getattr(obj, column), getattr(obj, f"get_{column}_display")()

    show.label = dict(colours)  # type: ignore[attr-defined]
    return show


def count(column: str, description: str | None = None) -> Callable[..., str]:
    """A column that shows a whole number as people read it: `1,234,567`."""

    @admin.display(description=description or column.removesuffix("_count").replace("_", " "), ordering=column)
    def show(_admin: ModelAdmin, obj: Model) -> str:
        return f"{getattr(obj, column):,}"

    return show
