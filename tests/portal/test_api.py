"""The API for partners: what a token opens and what not, pages, limits; and a feed that misses and repeats nothing."""

import json
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.test import Client
from django.urls import get_resolver
from django.utils import timezone

from billing import statements
from billing.models import Partner
from ivy.portal import tokens
from ivy.portal.models import ApiToken, ApiUse, Resource
from tests.factories import MORNING, make_call, make_call_charge, make_customer, make_entry, make_switch, make_user
from tests.portal.matrix import World

HERE = "/portal/api/v1"

pytestmark = pytest.mark.django_db


class Reader:
    """A program with a token."""

    def __init__(self, partner: Partner, **terms: Any) -> None:
        self.token, self.text = tokens.make(partner, name="Books", by=make_user(), **terms)

    def get(self, path: str, **query: Any) -> Any:
        return Client().get(f"{HERE}{path}", query, headers={"Authorization": f"Bearer {self.text}"})

    def read(self, path: str, **query: Any) -> Any:
        answer = self.get(path, **query)
        assert answer.status_code == 200, answer.content
        return answer.json()

    def pages(self, path: str, **query: Any) -> list[Any]:
        """All items, page by page."""
        page = self.read(path, **query)
        items = page["items"]
        while page["more"]:
            page = self.read(path, **query, cursor=page["cursor"])
            items += page["items"]
        return items


@pytest.fixture
def worlds() -> tuple[World, World]:
    return World.of("Zanzibar", "7.313131"), World.of("Quetzal", "4.717171")


@pytest.fixture
def zanzibar(worlds: tuple[World, World]) -> World:
    return worlds[0]


@pytest.fixture
def reader(zanzibar: World) -> Reader:
    return Reader(zanzibar.partner)


def this_month(world: World) -> str:
    return f"{statements.months_of(world.partner)[0].first:%Y-%m}"


def addresses(world: World) -> dict[str, dict[str, str]]:
    """Every address of the API by its route, for a world, with what has to be asked."""
    account, month = world.customer.account, this_month(world)
    day = {"since": MORNING.isoformat(), "until": (MORNING + timedelta(days=1)).isoformat()}
    return {
        "customers": {"path": "/customers"},
        "customers/<account>": {"path": f"/customers/{account}"},
        "balances": {"path": "/balances"},
        "ledger": {"path": "/ledger"},
        "customers/<account>/ledger": {"path": f"/customers/{account}/ledger"},
        "calls": {"path": "/calls", **day},
        "statements": {"path": "/statements"},
        "statements/<month>": {"path": f"/statements/{month}"},
        "customers/<account>/statements": {"path": f"/customers/{account}/statements"},
        "customers/<account>/statements/<month>": {"path": f"/customers/{account}/statements/{month}"},
        "customers/<account>/statements/<month>/lines": {"path": f"/customers/{account}/statements/{month}/lines"},
        "status": {"path": "/status"},
    }


class TestEveryAddress:
    def test_stands_in_this_list(self, zanzibar: World) -> None:
        (api,) = [one for one in get_resolver().url_patterns if getattr(one, "namespace", "") == "portal_api"]
        routes = {str(pattern.pattern) for pattern in api.url_patterns} - {"openapi.json", "docs", ""}
        assert routes == set(addresses(zanzibar))

    def test_answers_a_token_with_its_own_and_nothing_foreign(self, worlds: tuple[World, World]) -> None:
        for mine, other in (worlds, worlds[::-1]):
            reader = Reader(mine.partner)
            for route, asked in addresses(mine).items():
                answer = reader.get(**asked)
                assert answer.status_code == 200, (route, answer.content)
                for mark in other.marks:
                    assert mark not in answer.content.decode()
            for route, asked in addresses(other).items():
                answer = reader.get(**asked)
                told = answer.content.decode().replace(other.customer.account, "")
                assert answer.status_code == (404 if "<account>" in route else 200)
                for mark in other.marks:
                    assert mark not in told

    def test_tells_of_foreign_ids_as_of_absent_ones(self, worlds: tuple[World, World]) -> None:
        mine, other = worlds
        reader = Reader(mine.partner)
        for route, asked in addresses(other).items():
            if "<account>" in route:
                foreign = reader.get(**asked)
                absent = reader.get(asked["path"].replace(other.customer.account, "NOBODY-1"))
                assert (foreign.status_code, foreign.content) == (absent.status_code, absent.content)
        for asked in ({"account": other.customer.account}, {"account": "NOBODY-1"}):
            assert reader.get(**addresses(mine)["calls"], **asked).status_code == 404

    @pytest.mark.parametrize("text", ["", "Bearer", "Bearer ivy_wrong", "Basic eDp5", "bearer \x00"])
    def test_is_shut_without_a_token(self, zanzibar: World, text: str) -> None:
        client = Client()
        client.force_login(next(iter(zanzibar.people.values())), "allauth.account.auth_backends.AuthenticationBackend")
        for asked in addresses(zanzibar).values():
            answer = client.get(HERE + asked["path"], headers={"Authorization": text})
            assert answer.status_code == 401
            assert answer.json()["error"]["code"] == "no_token"
            assert answer["WWW-Authenticate"] == "Bearer"

    def test_opens_to_tokens_for_its_resource_alone(self, zanzibar: World) -> None:
        answers: dict[str, list[str]] = {}
        for resource in Resource:
            reader = Reader(zanzibar.partner, resources=[resource])
            answers[resource] = [
                route for route, asked in addresses(zanzibar).items() if reader.get(**asked).status_code == 200
            ]
        assert sorted(route for routes in answers.values() for route in routes) == sorted(addresses(zanzibar))
        assert answers["status"] == ["status"]

    def test_is_only_read_and_never_kept(self, reader: Reader, zanzibar: World) -> None:
        for asked in addresses(zanzibar).values():
            for verb in ("post", "put", "patch", "delete"):
                answer = getattr(Client(enforce_csrf_checks=True), verb)(
                    HERE + asked["path"], headers={"Authorization": f"Bearer {reader.text}"}
                )
                assert (answer.status_code, answer["Allow"]) == (405, "GET")
                assert answer.json()["error"]["code"] == "not_allowed_method"
            assert "no-store" in reader.get(**asked)["Cache-Control"]

    def test_refuses_what_nobody_asked_for(self, reader: Reader, zanzibar: World) -> None:
        for route, asked in addresses(zanzibar).items():
            answer = reader.get(**asked, acount="10001")
            assert answer.status_code == 422, route
            assert answer.json()["error"]["details"][0]["where"] == "acount"

    @pytest.mark.parametrize(
        ("path", "query"),
        [
            ("/customers", {"cursor": "x"}),
            ("/customers", {"limit": 0}),
            ("/customers", {"limit": 501}),
            ("/ledger", {"cursor": "WzEsMV0:1abcde:x"}),
            ("/ledger", {"start": "yesterday"}),
            ("/statements/2026-13", {}),
            ("/calls", {}),
            ("/calls", {"since": "2026-01-01T00:00:00Z", "until": "2027-01-01T00:00:00Z"}),
            ("/calls", {"since": "2026-01-02T00:00:00Z", "until": "2026-01-01T00:00:00Z"}),
            ("/calls", {"since": "2026-01-01T00:00:00", "until": "2026-01-02T00:00:00Z"}),
            ("/calls", {"since": "0001-01-01T00:00:00+14:00", "until": "0001-01-02T00:00:00Z"}),
            ("/calls", {"since": "9999-12-31T00:00:00-14:00", "until": "9999-12-31T23:59:59-14:00"}),
        ],
        ids=str,
    )
    def test_refuses_what_makes_no_sense(self, reader: Reader, path: str, query: dict[str, Any]) -> None:
        answer = reader.get(path, **query)
        assert answer.status_code == 422
        assert answer.json()["error"]["code"] == "bad_input"
        assert answer.json()["error"]["details"]

    @pytest.mark.parametrize("path", ["/nowhere", "/", "/customers/", "/customers/x/y", "/statements/0000-01"])
    def test_that_is_none_is_told_in_the_same_form(self, reader: Reader, path: str) -> None:
        answer = reader.get(path)
        assert answer.status_code == 404
        assert answer.json() == {
            "error": {"code": "not_found", "message": "There is nothing at this address.", "details": []}
        }


class TestATokenOf:
    def test_some_customers_opens_these_alone(self, zanzibar: World) -> None:
        other = make_customer(partner=zanzibar.partner, account="other-1")
        make_entry(customer=other, amount=Decimal("8.128"))
        reader = Reader(zanzibar.partner, customers=[zanzibar.customer])
        for route, asked in addresses(zanzibar).items():
            answer = reader.get(**asked)
            assert answer.status_code == (403 if route in {"calls", "statements/<month>"} else 200)
            assert "other-1" not in answer.content.decode()
            assert "8.128" not in answer.content.decode()
        assert reader.get(**addresses(zanzibar)["calls"], account=zanzibar.customer.account).status_code == 200
        assert reader.get("/customers/other-1").status_code == 404
        nobody = Reader(zanzibar.partner, customers=[])
        assert nobody.read("/customers")["items"] == []

    def test_nobody_any_more_opens_nothing(self, zanzibar: World) -> None:
        revoked, over = Reader(zanzibar.partner), Reader(zanzibar.partner, expires_at=timezone.now())
        still = Reader(zanzibar.partner, expires_at=timezone.now() + timedelta(hours=1))
        assert [tokens.revoke(revoked.token, by="mei@example.com") for _ in range(2)] == [True, False]
        assert [one.get("/status").status_code for one in (revoked, over, still)] == [401, 401, 200]

    def test_any_kind_is_kept_as_a_hash_alone(self, reader: Reader) -> None:
        stored = json.dumps(list(ApiToken.objects.values()), default=str)
        assert reader.text.startswith(reader.token.hint)
        assert reader.text not in stored
        assert len(reader.text) > 40

    def test_a_rate_is_stopped_above_it_until_the_next_minute(self, zanzibar: World) -> None:
        reader = Reader(zanzibar.partner, rate_per_minute=2)
        while True:
            answers = [reader.get("/status") for _ in range(3)]
            if ApiUse.objects.get().request_count == 3:
                break  # all three within one minute of the clock
            ApiUse.objects.all().delete()
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        assert 1 <= int(answers[2]["Retry-After"]) <= 60
        assert answers[2].json()["error"]["code"] == "too_many_requests"
        ApiUse.objects.update(minute=timezone.now() - timedelta(minutes=1))
        assert reader.get("/status").status_code == 200


class TestAnAnswer:
    def test_writes_money_as_decimals_and_times_with_their_zone(self, reader: Reader, zanzibar: World) -> None:
        (customer,) = reader.read("/customers")["items"]
        assert customer["balance"] == "42.686869"
        charge = reader.read(f"/customers/{zanzibar.customer.account}/ledger")["items"][0]
        assert (charge["key"], charge["amount"], charge["currency"]) == (zanzibar.entry.key, "-7.313131", "GBP")
        assert datetime.fromisoformat(charge["occurred_at"]) == MORNING
        statement = reader.read(f"/customers/{zanzibar.customer.account}/statements/{this_month(zanzibar)}")
        assert statement["totals"] == {"opening": "50.000000", "call": "-7.313131"}
        assert statement["closing_balance"] == "42.686869"
        assert statement["month"]["closed_at"] is None
        (line, _) = reader.read(f"/customers/{zanzibar.customer.account}/statements/{this_month(zanzibar)}/lines")[
            "items"
        ]
        assert (line["balance"], line["belongs_to"]) == ("50.000000", "2026-03")
        (call,) = reader.read(**addresses(zanzibar)["calls"])["items"]
        assert (call["price"], call["key"]) == ("7.313131", zanzibar.entry.key)

    def test_tells_what_is_halted(self, reader: Reader) -> None:
        make_switch()
        told = {one["title"]: one["state"] for one in reader.read("/status")["processes"]}
        assert told == {
            "Billing of calls": "halted",
            "Billing of items": "working",
            "Mails to customers": "working",
        }

    def test_comes_page_by_page(self, reader: Reader, zanzibar: World) -> None:
        account = zanzibar.customer.account
        for number in range(4):
            make_customer(partner=zanzibar.partner, account=f"more-{number}")
            call = make_call(customer=zanzibar.customer, started_at=MORNING - timedelta(minutes=number // 2))
            make_call_charge(call)
        lines = f"/customers/{account}/statements/{this_month(zanzibar)}/lines"
        for path in ("/customers", "/balances", f"/customers/{account}/ledger", lines):
            whole = reader.read(path)["items"]
            assert len(whole) >= 5
            for limit in (1, 2, 5):
                paged = reader.pages(path, limit=limit)
                assert [{**one, "as_of": None} for one in paged] == [{**one, "as_of": None} for one in whole]

    def test_reads_times_in_whatever_zone_they_are_written(self, reader: Reader) -> None:
        asked = {"since": "2026-01-01T00:00:00+23:59", "until": "2026-01-02T00:00:00-23:59"}
        assert reader.get("/calls", **asked).json()["items"] == []

    def test_takes_no_cursor_of_another_list_or_partner(self, reader: Reader, worlds: tuple[World, World]) -> None:
        mine, other = worlds
        for world in worlds:
            make_customer(partner=world.partner)
        cursor = reader.read("/customers", limit=1)["cursor"]
        foreign = Reader(other.partner).read("/customers", limit=1)["cursor"]
        assert reader.get("/customers", cursor=cursor).status_code == 200
        for path, forged in [
            ("/balances", cursor),
            ("/customers", foreign),
            ("/customers", cursor[:-1]),
            ("/ledger", cursor),
            (f"/customers/{mine.customer.account}/ledger", cursor),
        ]:
            answer = reader.get(path, cursor=forged)
            assert answer.status_code == 422, (path, forged)
            assert answer.json()["error"]["details"][0]["where"] == "cursor"

    def test_asks_few_questions(self, reader: Reader, zanzibar: World, django_assert_max_num_queries: Any) -> None:
        for _ in range(20):
            make_entry(customer=make_customer(partner=zanzibar.partner))
        for asked in addresses(zanzibar).values():
            with django_assert_max_num_queries(14):
                reader.get(**asked)


class TestTheDescription:
    def test_is_read_without_a_token_and_fetches_nothing_from_elsewhere(self) -> None:
        page = Client().get(f"{HERE}/docs")
        assert page.status_code == 200
        assert "http" not in page.content.decode().replace("http-equiv", "")
        assert "'unsafe" not in page["Content-Security-Policy"]
        described = Client().get(f"{HERE}/openapi.json").json()
        assert len(described["paths"]) == 12
