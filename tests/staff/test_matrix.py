"""Every address of the staff pages, as everybody: what may be sent is sent by exactly those who may."""

import pytest
from django.apps import apps
from django.contrib import admin
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse

from billing.models import ProcessSwitch
from ivy.accounts.models import User
from ivy.staff import roles
from ivy.staff.empty_lists import WHEN_EMPTY
from tests import factories
from tests.staff import matrix
from tests.staff.matrix_world import ARGUMENTS, build

pytestmark = pytest.mark.django_db

NAMES = sorted({name for name, _ in matrix.addresses() if name})


def log_in(person: str) -> Client:
    client = Client(raise_request_exception=False)
    if person == "anonymous":
        return client
    user = User.objects.create_user(
        "person@ivy.example", is_staff=person != "stranger", is_superuser=person == "superuser"
    )
    if person in roles.INCLUDES:
        user.groups.add(factories.role(person))
    client.force_login(user)
    return client


def address(name: str) -> str | None:
    """Where the page is, with a thing of the world made for it; None where there is no such thing to be had."""
    if name in ARGUMENTS:
        return reverse(f"admin:{name}", **ARGUMENTS[name]())
    for ending in ("_changelist", "_add"):
        if name.endswith(ending):
            return reverse(f"admin:{name}")
    for ending in ("_change", "_delete", "_history"):
        if name.endswith(ending):
            app, _, model = name.removesuffix(ending).rpartition("_")
            thing = apps.get_model(app, model)._default_manager.first()
            return reverse(f"admin:{name}", args=[thing.pk]) if thing else None
    return reverse(f"admin:{name}")


def may_send(client: Client, url: str) -> bool:
    """Whether a POST gets past the fence: to a form that finds something missing, or further."""
    answer = client.post(url)
    assert answer.status_code < 500, answer.content[:2000]
    to_the_log_in = answer.status_code == 302 and "/login/" in answer.headers["Location"]
    return answer.status_code not in {403, 404, 405} and not to_the_log_in


def everything() -> list[tuple[str, int, int]]:
    """Each table with the number of its rows and a sum over what they hold."""
    with connection.cursor() as cursor:
        tables = connection.introspection.table_names(cursor)
        asked = " UNION ALL ".join(
            f"SELECT '{table}', count(*), coalesce(sum(hashtextextended(t::text, 0)), 0) FROM \"{table}\" t"
            for table in tables
        )
        cursor.execute(asked)
        return sorted(cursor.fetchall())


SENT = [name for name in NAMES if name not in matrix.OWN_ACCOUNT | matrix.OPEN_TO_ALL_STAFF]


class TestTheFence:
    @pytest.mark.parametrize("person", matrix.PEOPLE)
    def test_lets_through_exactly_those_who_may(self, person: str) -> None:
        build()
        client = log_in(person)
        wrong = []
        for name in SENT:
            if name.endswith(("_changelist", "_history")) or name in matrix.LOOKED_AT:
                continue
            url = address(name)
            if url is None:
                continue
            with transaction.atomic():
                got_through = may_send(client, url)
                transaction.set_rollback(True)
            if got_through != (person in matrix.MAY.get(name, frozenset())):
                wrong.append(f"{name}: {'let through' if got_through else 'kept out'}")
        assert wrong == []

    def test_is_told_for_no_page_that_is_gone(self) -> None:
        assert set(matrix.MAY) - set(NAMES) == set()
        assert matrix.LOOKED_AT - set(NAMES) == set()

    def test_was_tried_on_a_thing_of_each_kind(self) -> None:
        build()
        assert [name for name in matrix.MAY if address(name) is None] == []


class TestLooking:
    def test_never_changes_anything(self) -> None:
        """Each page is opened in a transaction that may only read: one that writes would fail.

        Pages that find out what would follow by doing it and taking it back are compared row by row instead.
        """
        build()
        client = log_in("superuser")
        wrong = []
        for name in SENT:
            url = address(name)
            if url is None:
                continue
            if name in matrix.TRIED_AND_TAKEN_BACK:
                before = everything()
                assert client.get(url).status_code == 200, name
                assert everything() == before, name
                continue
            if name in matrix.LEAVES_A_TRACE:
                before = everything()
                assert client.get(url).status_code == 200, name
                assert {table for table, *_ in set(everything()) ^ set(before)} == {"ivy_auditentry"}, name
                continue
            with transaction.atomic():
                with connection.cursor() as cursor:
                    cursor.execute("SET TRANSACTION READ ONLY")
                answer = client.get(url)
                transaction.set_rollback(True)
            if answer.status_code >= 500:
                wrong.append(f"{name}: {answer.status_code}")
        assert wrong == []

    @pytest.mark.parametrize("person", ["anonymous", "stranger"])
    def test_is_for_staff(self, person: str) -> None:
        build()
        client = log_in(person)
        opened = [
            name
            for name in SENT
            if (url := address(name)) is not None and client.get(url).status_code not in {302, 403, 404}
        ]
        assert opened == []

    def test_an_empty_list_says_what_it_is_for(self) -> None:
        assert set(WHEN_EMPTY) == {model._meta.label_lower for model in admin.site._registry}
        client = log_in("admin")
        empty = client.get(reverse("admin:billing_customer_changelist")).content.decode()
        assert WHEN_EMPTY["billing.customer"] in empty
        assert "Add customer" in empty
        fits_nothing = client.get(reverse("admin:billing_customer_changelist"), {"q": "nobody"}).content.decode()
        assert "Nothing fits what was searched or chosen" in fits_nothing
        assert "yielded" not in empty + fits_nothing

    def test_lists_are_all_in_the_matrix(self) -> None:
        listed = {f"{model._meta.app_label}_{model._meta.model_name}_changelist" for model in admin.site._registry}
        assert listed <= set(NAMES)


class TestWhateverIsSent:
    @pytest.mark.parametrize(
        ("address", "status"),
        [
            ("/admin/customers/E%00/", 404),
            ("/admin/ivy/pulse/E%00/change/", 404),
            ("/admin/changes/?by=%00", 200),
            ("/admin/explain/?key=%00", 404),
            ("/admin/billing/customer/?status__exact=%00", 200),
            ("/admin/control/halt/calls/?partner=%00", 404),
            ("/admin/work/quarantine/release/?source=%00", 200),
        ],
    )
    def test_an_address_with_a_nul_finds_nothing(self, address: str, status: int) -> None:
        assert log_in("superuser").get(address).status_code == status

    def test_a_reason_of_megabytes_is_refused_in_a_sentence(self) -> None:
        answer = log_in("operator").post("/admin/control/halt/calls/", {"reason": "<b>x</b>" * 400_000})
        assert answer.status_code == 400
        assert "Nothing was done" in answer.content.decode()
        assert not ProcessSwitch.objects.filter(is_halted=True).exists()
