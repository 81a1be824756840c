"""The addresses of the control room, below /admin/. One line a page; each names its permission itself."""

from django.urls import URLPattern

from ivy.staff import item_requests, portal_pages
from ivy.staff.change_pages import CustomerChanges, PersonChanges, ThingChanges
from ivy.staff.control import urls as control
from ivy.staff.customers import urls as customers
from ivy.staff.pages import staff_path
from ivy.staff.review import urls as review
from ivy.staff.work import urls as work

urlpatterns: list[URLPattern] = [
    *control.urlpatterns,
    *customers.urlpatterns,
    *review.urlpatterns,
    staff_path("requests/", item_requests.ItemRequests, "item_requests"),
    staff_path("requests/<int:pk>/confirm/", item_requests.AcceptRequest, "item_request_accept"),
    staff_path("requests/<int:pk>/decline/", item_requests.DeclineRequest, "item_request_decline"),
    *work.urlpatterns,
    staff_path("changes/", PersonChanges, "changes"),
    staff_path("customers/<str:account>/done/", CustomerChanges, "customer_done"),
    staff_path("<slug:app>/<slug:model>/<path:object_id>/history/", ThingChanges, "changes_of"),
    staff_path("partners/<str:slug>/invite/", portal_pages.InvitePage, "invite_to_portal"),
    staff_path("partners/<str:slug>/look/", portal_pages.LookPage, "look_as_partner"),
    staff_path("portal/stop-looking/", portal_pages.StopLookingPage, "stop_looking"),
]
