"""How people come into a portal, what their roles let them do, and how they are shut out."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.core.management import CommandError, call_command
from django.db import IntegrityError, transaction
from django.db.models import F
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from ivy.accounts.models import User
from ivy.portal import people
from ivy.portal.models import Invitation, PortalUser, Role
from tests import factories
from tests.faults.processes import wait_until

pytestmark = pytest.mark.django_db
PASSWORD = "a lighthouse in the fog"


@pytest.fixture(autouse=True)
def _log_ins_come_from_nowhere(settings: Settings) -> None:
    settings.AXES_ENABLED = False


@pytest.fixture
def owner() -> PortalUser:
    return factories.make_portal_user(user=factories.make_user(email="mei@harbour.example"))


@pytest.fixture
def at(owner: PortalUser) -> Client:
    client = Client()
    client.force_login(owner.user)
    return client


def link_in(message: mail.EmailMessage) -> str:
    found = re.search(r"https?://[^/\s]+(/portal/invitation/\S+)", str(message.body))
    assert found, message.body
    return found[1]


def a_minute_later() -> None:
    Invitation.objects.update(sent_at=F("sent_at") - timedelta(minutes=2))


def choose(client: Client, link: str, password: str = PASSWORD, **fields: str) -> object:
    return client.post(link, {"name": "Jonas Weber", "password1": password, "password2": password, **fields})


class TestInviting:
    def test_mails_a_link_by_which_somebody_chooses_a_password_and_is_in(self, at: Client) -> None:
        at.post(reverse("portal:invite"), {"email": "Jonas@Harbour.example", "role": "manager"})
        link = link_in(mail.outbox[0])
        jonas = Client()
        assert "jonas@harbour.example" in jonas.get(link).text
        answer = choose(jonas, link)
        assert answer.headers["Location"] == "/portal/"
        assert jonas.get("/portal/").status_code == 200
        place = PortalUser.objects.get(user__email="jonas@harbour.example")
        assert (place.role, place.partner.slug) == (Role.MANAGER, "harbour")
        assert "opens nothing any more" in Client().get(link).text
        assert "opens nothing any more" in choose(Client(), link).text

    def test_takes_no_weak_password(self, at: Client) -> None:
        at.post(reverse("portal:invite"), {"email": "jonas@harbour.example", "role": "viewer"})
        link = link_in(mail.outbox[0])
        assert "too short" in choose(Client(), link, password="short").text
        assert "match" in choose(Client(), link, password2="something else entirely").text
        assert not User.objects.filter(email="jonas@harbour.example").exists()

    def test_again_sends_a_new_link_and_the_old_one_opens_nothing(self, at: Client) -> None:
        at.post(reverse("portal:invite"), {"email": "jonas@harbour.example", "role": "viewer"})
        again = reverse("portal:send_invitation_again", args=[Invitation.objects.get().reference])
        assert "a minute" in at.post(again, follow=True).text
        a_minute_later()
        at.post(again)
        a_minute_later()
        at.post(reverse("portal:invite"), {"email": "jonas@harbour.example", "role": "manager"})
        assert len(mail.outbox) == 3
        assert "opens nothing any more" in Client().get(link_in(mail.outbox[0])).text
        choose(Client(), link_in(mail.outbox[2]))
        assert PortalUser.objects.get(user__email="jonas@harbour.example").role == Role.MANAGER

    def test_can_be_withdrawn_and_ends_by_itself(self, at: Client) -> None:
        at.post(reverse("portal:invite"), {"email": "jonas@harbour.example", "role": "viewer"})
        link = link_in(mail.outbox[0])
        Invitation.objects.update(expires_at=F("expires_at") - timedelta(days=people.INVITATION_DAYS))
        assert "opens nothing any more" in Client().get(link).text
        Invitation.objects.update(expires_at=F("expires_at") + timedelta(days=people.INVITATION_DAYS))
        assert "Welcome" in Client().get(link).text
        withdraw = reverse("portal:withdraw_invitation", args=[Invitation.objects.get().reference])
        at.post(withdraw)
        assert at.post(withdraw).status_code == 404
        assert "opens nothing any more" in Client().get(link).text

    def test_believes_no_forged_link(self) -> None:
        assert people.open_invitation("WyJ4IiwxXQ:forged:signature") is None
        assert "opens nothing any more" in Client().get("/portal/invitation/anything/").text

    def test_tells_nobody_that_an_address_is_known_elsewhere(self, at: Client) -> None:
        elsewhere = factories.make_portal_user(partner=factories.make_partner(), user=factories.make_user())
        known = at.post(reverse("portal:invite"), {"email": elsewhere.user.email, "role": "viewer"}, follow=True)
        unknown = at.post(reverse("portal:invite"), {"email": "nobody@harbour.example", "role": "viewer"}, follow=True)
        said = re.compile(r'<p class="message.*?</p>')
        assert said.findall(known.text)[0].replace(elsewhere.user.email, "nobody@harbour.example") in unknown.text
        link = link_in(mail.outbox[0])
        assert "Sign in to accept" in Client().get(link).text
        them = Client()
        them.force_login(elsewhere.user)
        assert "nobody belongs to two" in them.post(link).text
        assert PortalUser.objects.get(user=elsewhere.user).partner == elsewhere.partner

    def test_lets_who_has_an_account_join_with_it_and_nobody_else(self, at: Client) -> None:
        ines, other = factories.make_user(email="ines@harbour.example"), factories.make_user()
        at.post(reverse("portal:invite"), {"email": ines.email, "role": "viewer"})
        link = link_in(mail.outbox[0])
        client = Client()
        client.force_login(other)
        assert "somebody else" in client.post(link).text
        client.force_login(ines)
        client.post(link)
        assert client.get("/portal/").status_code == 200

    def test_refuses_who_is_there_and_too_many_at_once(self, at: Client, owner: PortalUser) -> None:
        assert "already" in at.post(reverse("portal:invite"), {"email": owner.user.email, "role": "viewer"}).text
        for number in range(people.MAILS_AN_HOUR):
            people.invite(owner.partner, email=f"{number}@harbour.example", role=Role.VIEWER, by="mei@harbour.example")
        answer = at.post(reverse("portal:invite"), {"email": "more@harbour.example", "role": "viewer"})
        assert "wait a little" in answer.text
        assert not Invitation.objects.filter(email="more@harbour.example").exists()

    def test_fills_no_mailbox_by_sending_one_again_and_again(self, owner: PortalUser) -> None:
        invitation = people.invite(
            owner.partner, email="jonas@harbour.example", role=Role.VIEWER, by="mei@harbour.example"
        ).invitation
        for _ in range(people.MAILS_AN_HOUR - 1):
            a_minute_later()
            Invitation.objects.update(sent_at=F("sent_at") + timedelta(minutes=1))
            people.send_again(invitation)
        a_minute_later()
        with pytest.raises(people.NotPossible, match="wait a little"):
            people.send_again(invitation)
        assert len(mail.outbox) == people.MAILS_AN_HOUR

    def test_stands_although_the_mail_server_is_away(self, at: Client, settings: Settings) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
        answer = at.post(reverse("portal:invite"), {"email": "jonas@harbour.example", "role": "viewer"}, follow=True)
        assert "did not take the mail" in answer.text
        assert Invitation.objects.get().email == "jonas@harbour.example"

    def test_puts_no_line_of_its_own_into_the_mail_s_head(self, at: Client, owner: PortalUser) -> None:
        owner.partner.name = "Harbour\nBcc: everybody@example.com"
        owner.partner.save()
        at.post(reverse("portal:invite"), {"email": "jonas@harbour.example", "role": "viewer"})
        assert mail.outbox[0].subject == "Your invitation to the portal of Harbour Bcc: everybody@example.com"


class TestTheFirstOwner:
    def test_is_invited_by_command(self) -> None:
        factories.harbour()
        call_command("invite_portal_user", "harbour", "mei@harbour.example")
        assert "The staff of your carrier invite" in Client().get(link_in(mail.outbox[0])).text
        choose(Client(), link_in(mail.outbox[0]))
        assert PortalUser.objects.get().role == Role.OWNER
        with pytest.raises(CommandError, match="among your people"):
            call_command("invite_portal_user", "harbour", "mei@harbour.example")
        with pytest.raises(CommandError, match="no partner"):
            call_command("invite_portal_user", "nowhere", "mei@harbour.example")

    def test_is_invited_from_the_partner_s_page(self) -> None:
        staff = Client()
        staff.force_login(factories.make_superuser())
        harbour = factories.harbour()
        page = staff.get(reverse("admin:billing_partner_change", args=[harbour.pk]))
        address = reverse("admin:invite_to_portal", args=["harbour"])
        assert address in page.text
        form = staff.get(address).context["form"]
        once = form["once"].value()
        staff.post(address, {"email": "mei@harbour.example", "role": "owner", "once": once})
        assert Invitation.objects.get().role == Role.OWNER
        assert len(mail.outbox) == 1


class TestOwners:
    def test_give_roles_and_shut_people_out_at_once(self, at: Client, owner: PortalUser) -> None:
        jonas = factories.make_portal_user(role=Role.VIEWER)
        his = Client()
        his.force_login(jonas.user)
        change = reverse("portal:change_person")
        for _ in range(2):
            at.post(change, {"email": jonas.user.email, "role": "owner"})
            assert his.get(reverse("portal:people")).status_code == 200
        for _ in range(2):
            at.post(change, {"email": jonas.user.email, "active": "no"})
            assert his.get("/portal/").status_code == 404
            assert "No portal is open to you" in his.get("/").text
        at.post(change, {"email": jonas.user.email, "active": "yes"})
        assert his.get("/portal/").status_code == 200

    def test_are_never_all_gone(self, at: Client, owner: PortalUser) -> None:
        change = reverse("portal:change_person")
        for fields in ({"role": "viewer"}, {"active": "no"}):
            answer = at.post(change, {"email": owner.user.email, **fields}, follow=True)
            assert "at least one owner" in answer.text
        owner.refresh_from_db()
        assert (owner.role, owner.is_active) == (Role.OWNER, True)

    def test_do_not_reach_beyond_their_portal(self, at: Client) -> None:
        stranger = factories.make_portal_user(partner=factories.make_partner())
        change = reverse("portal:change_person")
        foreign = at.post(change, {"email": stranger.user.email, "active": "no"})
        absent = at.post(change, {"email": "nobody@example.org", "active": "no"})
        assert foreign.status_code == absent.status_code == 404
        stranger.refresh_from_db()
        assert stranger.is_active

    @pytest.mark.parametrize("forged", [{"role": "admin"}, {"active": "maybe"}, {"email": "no address"}])
    def test_send_nothing_that_changes_more_than_they_may(
        self, at: Client, owner: PortalUser, forged: dict[str, str]
    ) -> None:
        at.post(reverse("portal:change_person"), {"email": owner.user.email, **forged})
        owner.refresh_from_db()
        assert (owner.role, owner.is_active) == (Role.OWNER, True)


class TestReaders:
    def test_land_in_the_portal_when_they_log_in(self, owner: PortalUser) -> None:
        answer = Client().post("/accounts/login/", {"login": owner.user.email, "password": factories.PASSWORD})
        assert answer.headers["Location"] == "/portal/"

    def test_reset_their_password_by_mail(self, owner: PortalUser) -> None:
        Client().post(reverse("account_reset_password"), {"email": owner.user.email})
        wait_until(lambda: mail.outbox, what="the mail")
        assert "/accounts/password/reset/key/" in str(mail.outbox[0].body)

    def test_choose_how_they_read(self, at: Client) -> None:
        settings = reverse("portal:settings")
        assert at.post(settings, {"language": "de", "timezone": "Europe/Berlin"}).status_code == 302
        assert at.post(settings, {"language": "tlh", "timezone": "Mars/Base"}).status_code == 400
        place = PortalUser.objects.get()
        assert (place.language, place.timezone) == ("de", "Europe/Berlin")


class TestTheDatabase:
    @pytest.mark.parametrize(
        ("changes", "constraint"),
        [
            ({"role": "king"}, "invited_role_is_known"),
            ({"email": "Jonas@harbour.example"}, "invited_in_lower_case"),
            ({"invited_by": ""}, "somebody_invites"),
            ({"accepted_at": F("invited_at"), "withdrawn_at": F("invited_at")}, "accepted_or_withdrawn_not_both"),
        ],
    )
    def test_refuses_impossible_invitations(self, changes: dict[str, object], constraint: str) -> None:
        people.invite(factories.harbour(), email="jonas@harbour.example", role=Role.VIEWER, by="mei@harbour.example")
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Invitation.objects.update(**changes)

    def test_refuses_a_second_open_invitation(self) -> None:
        first = people.invite(
            factories.harbour(), email="jonas@harbour.example", role=Role.VIEWER, by="mei@harbour.example"
        ).invitation
        with pytest.raises(IntegrityError, match="one_open_invitation"), transaction.atomic():
            Invitation.objects.create(
                partner=first.partner, email=first.email, role="viewer", invited_by="x", expires_at=first.expires_at
            )

    def test_refuses_unknown_roles_and_a_second_place(self, owner: PortalUser) -> None:
        with pytest.raises(IntegrityError, match="portal_role_is_known"), transaction.atomic():
            PortalUser.objects.update(role="king")
        with pytest.raises(IntegrityError), transaction.atomic():
            PortalUser.objects.create(user=owner.user, partner=factories.make_partner(), role="viewer")
