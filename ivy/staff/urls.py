"""The addresses of the control room, below /admin/. One line a page; each names its permission itself."""

from django.urls import URLPattern

from ivy.staff.change_pages import PersonChanges, ThingChanges
from ivy.staff.pages import staff_path

urlpatterns: list[URLPattern] = [
    staff_path("changes/", PersonChanges, "changes"),
    staff_path("<slug:app>/<slug:model>/<path:object_id>/history/", ThingChanges, "changes_of"),
]
