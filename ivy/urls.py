from allauth.account.decorators import secure_admin_login
from django.conf import settings
from django.contrib import admin
from django.urls import include, path

from ivy import views
from ivy.doors import views as doors
from ivy.portal.api import urls as api
from ivy.staff import urls as staff

# One log-in for everybody: the admin's own would know neither second factors nor our pages.
admin.site.login = secure_admin_login(admin.site.login)  # type: ignore[method-assign]

# Ours first: the admin's own end in one that takes everything.
staff_pages = [
    path("runbook/", admin.site.admin_view(views.runbook), name="runbook"),
    *staff.urlpatterns,
    *admin.site.urls[0],
]

urlpatterns = [
    path("", views.home, name="home"),
    path("admin/", (staff_pages, "admin", admin.site.name)),
    path("accounts/", include("ivy.accounts.urls")),
    path("portal/api/v1/", api.addresses),
    path("portal/", include("ivy.portal.urls")),
    path("status/", include("ivy.portal.status_urls")),
    path("health/live", doors.live, name="live"),
    path("health/ready", doors.ReadyView.as_view(), name="ready"),
    path("metrics", doors.figures, name="metrics"),
]
if settings.ANYMAIL.get("WEBHOOK_SECRET"):
    urlpatterns.append(path("mail-events/", include("anymail.urls")))  # signed with that secret, or refused
