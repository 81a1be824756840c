"""The addresses of the control room, below /admin/. One line a page; each names its permission itself."""

from django.urls import URLPattern

from ivy.staff.customers import urls as customers

urlpatterns: list[URLPattern] = [
    *customers.urlpatterns,
]
