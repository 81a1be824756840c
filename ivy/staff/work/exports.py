"""Lists as CSV files: what the list shows, filtered and searched as on the screen, row by row in constant memory.

The columns come from django-import-export. Ledger and log have commands of their own, which say what a row means.
Who took a file, of what and of how many rows, is noted before its first line leaves.
"""

import csv
from collections.abc import Iterable, Iterator
from typing import Any

from django.apps import apps
from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.core.exceptions import PermissionDenied
from django.db import DataError, models, transaction
from django.http import Http404, HttpRequest, HttpResponseBase, QueryDict, StreamingHttpResponse
from django.utils import timezone
from import_export.fields import Field
from import_export.resources import ModelResource, modelresource_factory
from import_export.widgets import ForeignKeyWidget

from ivy.portal.csv_files import harmless
from ivy.staff.acts import Act, note
from ivy.staff.pages import StaffPage

LONGEST_TOLD = 500
ROWS_AT_A_TIME = 2_000
OUR_APPS = {"billing", "notifications", "ivy"}
NOT_HERE = {"billing.ledgerentry", "notifications.notificationlog"}
NAMED_BY = ("account", "slug", "reference", "name", "key")
"""What a row that is pointed at is called by, the first of these that it has; else its number."""


class ExportPage(StaffPage):
    """The rows of a list of the admin as a file, for those who may see the list."""

    title = "Export as CSV"

    def get(self, request: HttpRequest, app: str, model: str) -> HttpResponseBase:
        shown = _list_of(app, model)
        if not shown.has_view_permission(request):
            raise PermissionDenied(f"To export this list you need the permission {app}.view_{model}.")
        # not the page that somebody was on: all of them
        asked = request.GET.copy()
        asked.pop("p", None)
        asked.pop("all", None)
        request.GET = asked  # type: ignore[assignment]
        try:
            rows = shown.get_changelist_instance(request).queryset
            with transaction.atomic():
                _note(rows, by=self.by, asked=asked)
        except (IncorrectLookupParameters, DataError) as senseless:
            raise Http404("The list can't be narrowed so.") from senseless
        response = StreamingHttpResponse(lines(rows), content_type="text/csv; charset=utf-8")
        name = f"{model}-{timezone.now():%Y-%m-%d-%H%M}.csv"
        response.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return response


def _note(rows: models.QuerySet[Any], *, by: str, asked: QueryDict) -> None:
    """Who takes a file, with its rows as they are now: before it leaves, since whoever has half of it has that, too."""
    count = rows.count()
    noun = str(rows.model._meta.verbose_name_plural)
    narrowed = "; ".join(f"{name} {value}" for name, values in asked.lists() for value in values if value)[
        :LONGEST_TOLD
    ]
    note(
        Act(
            f"A list of {noun} left as a file, {count:,} {'row' if count == 1 else 'rows'}"
            f"{f', narrowed to {narrowed}' if narrowed else ''}.",
            after={"rows": count, "narrowed to": narrowed or "nothing: all of them"},
        ),
        by=by,
        verb="export",
        noun="list",
        name=noun,
    )


def may_be_exported(label: str) -> bool:
    """Whether the list of `app.model` is one of those that leave as CSV here."""
    return label.split(".", maxsplit=1)[0] in OUR_APPS and label not in NOT_HERE


def _list_of(app: str, model: str) -> admin.ModelAdmin:
    """The admin's list of a model, without counting what it does not show. Raises Http404."""
    if not may_be_exported(f"{app}.{model}"):
        raise Http404("This list is not exported here.")
    try:
        found = apps.get_model(app, model)
        registered = type(admin.site._registry[found])  # noqa: SLF001
    except (LookupError, KeyError) as unknown:
        raise Http404("There is no such list.") from unknown

    class Unpaged(registered):  # type: ignore[valid-type, misc]
        def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
            return type("Everything", (super().get_changelist(request, **kwargs),), {"get_results": _count_nothing})

    return Unpaged(found, admin.site)


def _count_nothing(_list: ChangeList, _request: HttpRequest) -> None:
    """A file has no pages."""


def lines(rows: models.QuerySet[Any]) -> Iterator[str]:
    """The file, line by line: a header, then a line a row. Read through a cursor of the server's, in one snapshot."""
    resource = resource_of(rows.model)
    pointed_at = [column.name for column in _columns(rows.model) if isinstance(column, models.ForeignKey)]
    yield _line(resource.get_export_headers())
    with transaction.atomic():
        for row in rows.select_related(*pointed_at).iterator(chunk_size=ROWS_AT_A_TIME):
            yield _line(resource.export_resource(row))


def resource_of(model: type[models.Model]) -> ModelResource:
    """All columns of a model; other rows by their natural names."""
    columns = _columns(model)
    named = {
        column.name: Field(
            attribute=column.name,
            column_name=column.name,
            widget=ForeignKeyWidget(column.related_model, field=_called_by(column.related_model)),
        )
        for column in columns
        if isinstance(column, models.ForeignKey)
    }
    resource = modelresource_factory(
        model,
        meta_options={"fields": [column.name for column in columns]},
        custom_fields=named,
        dehydrate_methods={
            column.name: _as_text(column.name) for column in columns if isinstance(column, models.BinaryField)
        },
    )
    return resource()


def _columns(model: type[models.Model]) -> list[models.Field]:
    return [column for column in model._meta.concrete_fields if not isinstance(column, models.CompositePrimaryKey)]


def _called_by(model: Any) -> str:
    names = {column.name for column in model._meta.concrete_fields}
    return next((name for name in NAMED_BY if name in names), "pk")


def _as_text(name: str) -> Any:
    return lambda row: bytes(getattr(row, name)).decode(errors="backslashreplace")


class _Echo:
    """What csv writes to, handing each line on."""

    def write(self, line: str) -> str:
        return line


def _line(cells: Iterable[Any]) -> str:
    return csv.writer(_Echo()).writerow([harmless(cell) for cell in cells])
