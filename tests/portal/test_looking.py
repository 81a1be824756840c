"""Staff look at a portal as the partner sees it: with a reason, on record, for an hour, and with tied hands."""

from datetime import timedelta

import pytest
from django.db import IntegrityError, transaction
from django.db.models import F
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from billing.models import Partner
from ivy.accounts.models import User
from ivy.models import AuditEntry
from ivy.portal import looking
from ivy.portal.models import PortalUser, StaffLook
from tests import factories

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture
def harbour() -> Partner:
    factories.make_portal_user()
    return factories.harbour()


@pytest.fixture
def ann(settings: Settings) -> User:
    settings.AXES_ENABLED = False
    return factories.make_superuser()


@pytest.fixture
def staff(ann: User) -> Client:
    client = Client()
    client.force_login(ann)
    return client


def begin(staff: Client, reason: str = "They see no balances.") -> None:
    address = reverse("admin:look_as_partner", args=["harbour"])
    once = staff.get(address).context["form"]["once"].value()
    staff.post(address, {"reason": reason, "once": once})


@pytest.mark.usefixtures("harbour")
class TestLooking:
    def test_begins_with_a_reason_shows_a_banner_and_ends_by_its_button(self, staff: Client, ann: User) -> None:
        assert staff.get("/portal/").status_code == 404
        begin(staff, reason="")
        assert not StaffLook.objects.exists()
        begin(staff)
        page = staff.get("/portal/")
        assert f"as {ann.email}, staff" in page.text
        stop = reverse("admin:stop_looking")
        assert stop in page.text
        look = StaffLook.objects.get()
        assert (look.by, look.partner.slug, look.reason, look.ended_at) == (
            ann,
            "harbour",
            "They see no balances.",
            None,
        )
        assert AuditEntry.objects.get().verb == "look"
        for _ in range(2):
            staff.post(stop)
            assert staff.get("/portal/").status_code == 404
        look.refresh_from_db()
        assert look.ended_at is not None

    def test_changes_nothing_even_where_they_have_a_place_of_their_own(self, staff: Client, ann: User) -> None:
        factories.make_portal_user(user=ann)
        begin(staff)
        person = PortalUser.objects.exclude(user=ann).get()
        change = {"email": person.user.email, "active": "no"}
        assert staff.post(reverse("portal:change_person"), change).status_code == 403
        person.refresh_from_db()
        assert person.is_active
        assert "Change</button>" not in staff.get(reverse("portal:people")).text

    def test_leaves_a_record_of_each_file_that_is_taken(self, staff: Client, ann: User) -> None:
        begin(staff)
        for address in ("customers_file", "customers"):
            assert staff.get(reverse(f"portal:{address}")).status_code == 200
        taken = AuditEntry.objects.get(verb="export")
        assert (taken.by, taken.noun, taken.name) == (ann.email, "partner", "harbour")
        assert taken.summary == (
            "customers.csv was taken from the portal of harbour, while looking because: They see no balances."
        )

    def test_is_no_matter_where_partners_take_their_own_files(self, settings: Settings) -> None:
        settings.AXES_ENABLED = False
        client = Client()
        client.force_login(PortalUser.objects.get().user)
        assert client.get(reverse("portal:customers_file")).status_code == 200
        assert not AuditEntry.objects.exists()

    def test_is_over_after_an_hour(self, staff: Client, ann: User) -> None:
        old = StaffLook.objects.create(
            partner=factories.harbour(), by=ann, reason="An hour ago.", expires_at=Now(), began_at=Now() - HOUR
        )
        session = staff.session
        session[looking.SESSION_KEY] = old.pk
        session.save()
        poll = staff.get(reverse("portal:banner"), headers={"HX-Request": "true"})
        assert (poll.status_code, poll["HX-Refresh"]) == (401, "true")
        assert staff.get("/portal/").headers["Location"] == reverse("admin:index")
        assert staff.get("/portal/").status_code == 404
        new = looking.begin(factories.harbour(), by=ann, reason="Now.")
        assert new.expires_at - new.began_at == HOUR

    def test_is_for_those_alone_who_may(self, staff: Client, ann: User) -> None:
        begin(staff)
        User.objects.filter(pk=ann.pk).update(is_superuser=False)
        assert staff.get("/portal/").headers["Location"] == reverse("admin:index")
        assert staff.get(reverse("admin:look_as_partner", args=["harbour"])).status_code == 403
        ann.groups.add(factories.role("support"))
        begin(staff)
        assert staff.get("/portal/").status_code == 200
        ann.groups.clear()
        assert staff.get("/portal/").status_code == 302

    def test_of_somebody_else_is_not_theirs(self, staff: Client) -> None:
        look = looking.begin(factories.harbour(), by=factories.make_superuser(), reason="Mine alone.")
        session = staff.session
        session[looking.SESSION_KEY] = look.pk
        session.save()
        assert staff.get("/portal/").headers["Location"] == reverse("admin:index")
        assert not looking.end(look.pk, by=factories.make_superuser())


class TestTheRecord:
    @pytest.mark.parametrize(
        "change", [{"reason": "Another one."}, {"ended_at": F("began_at")}, {"expires_at": F("began_at")}]
    )
    def test_is_ended_once_and_never_changed(self, change: dict[str, object], ann: User) -> None:
        look = looking.begin(factories.harbour(), by=ann, reason="They asked.")
        assert looking.end(look.pk, by=ann)
        assert not looking.end(look.pk, by=ann)
        with pytest.raises(IntegrityError, match="record"), transaction.atomic():
            StaffLook.objects.update(**change)
        with pytest.raises(IntegrityError), transaction.atomic():
            StaffLook.objects.all().delete()

    def test_has_a_reason_and_ends_after_it_began(self, ann: User) -> None:
        with pytest.raises(IntegrityError, match="looks_have_a_reason"), transaction.atomic():
            looking.begin(factories.harbour(), by=ann, reason="")
        look = looking.begin(factories.harbour(), by=ann, reason="They asked.")
        with pytest.raises(IntegrityError, match="looks_end_after_they_begin"), transaction.atomic():
            StaffLook.objects.filter(pk=look.pk).update(ended_at=F("began_at") - timedelta(seconds=1))
