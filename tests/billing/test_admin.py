"""The pages of staff: all of them open, cheaply; what money touched can only be looked at; refusals are sentences."""

from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django import forms
from django.apps import apps
from django.contrib import admin
from django.db import connection
from django.db.models import Model
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone
from django.utils.html import escape

from billing import episodes
from billing.admin.base import MillionsAdmin, ReadOnlyAdmin, money
from billing.models import (
    AlertKind,
    BalanceAlert,
    BillingItem,
    CallIdentity,
    Customer,
    CustomerStatus,
    Episode,
    ItemKind,
    LedgerEntry,
    Partner,
    PartnerAlert,
    Process,
    Rate,
    RateDeck,
    RunState,
    Source,
)
from tests import factories

Page = Any  # a response of the test client, with its context
Submit = Callable[..., Page]

pytestmark = pytest.mark.django_db

WITHOUT_A_PAGE = {
    "deckslice",
    "deckrange",
    "batchprogress",
    "customertojudge",
    "mendedcause",
    "callsbyhour",
    # read in the portal, or sums of what has a page
    "monthclosing",
    "statement",
    "ledgersum",
    "ledgersummark",
}
ON_ANOTHERS_PAGE = {"alertrecipient", "itempause", "itempricechange", "partneralert"}
MOST_QUERIES = 14
AN_ALERT = {
    "alerts-TOTAL_FORMS": 1,
    "alerts-0-threshold": "5",
    "alerts-0-remind_at_most": "3",
    "alerts-0-is_active": "on",
}
NEXT_YEAR = timezone.now() + timedelta(days=365)


def registered() -> list[type[Model]]:
    return sorted(
        (model for model in admin.site._registry if model._meta.app_label == "billing"),
        key=lambda model: model.__name__,
    )


def nouns(models: list[type[Model]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("model", models, ids=lambda model: model._meta.model_name)


LOOK_ONLY = [model for model in registered() if isinstance(admin.site._registry[model], ReadOnlyAdmin)]
EDITABLE = [model for model in registered() if model not in LOOK_ONLY]
MILLIONS = [model for model in registered() if isinstance(admin.site._registry[model], MillionsAdmin)]


def list_url(model: type[Model]) -> str:
    return reverse(f"admin:billing_{model._meta.model_name}_changelist")


def add_url(model: type[Model]) -> str:
    return reverse(f"admin:billing_{model._meta.model_name}_add")


def page_url(row: Model, page: str = "change") -> str:
    return reverse(f"admin:billing_{row._meta.model_name}_{page}", args=[row.pk])


def one_more_of_each_noun() -> None:
    """A customer with a bit of everything, a delivery whose calls ended in every way, and a run."""
    deck = factories.make_deck()
    partner = factories.make_partner(rate_deck=deck)
    rate = factories.make_rate(deck=deck)
    lindqvist = factories.make_customer(partner=partner, balance=Decimal("12.50"), rate_deck=deck)
    factories.make_identity(customer=lindqvist, source=factories.make_source())
    factories.make_episode(alert=factories.make_alert(customer=lindqvist))
    item = factories.make_item(customer=lindqvist)
    factories.make_price_change(item=item)
    factories.make_pause(item=item)
    factories.make_period(item=item)
    entry = factories.make_call_charge(factories.make_call(customer=lindqvist), rate_id=rate.pk)
    factories.make_reversal(entry)
    factories.make_free_call(factories.make_call(customer=lindqvist, seconds=0, is_answered=False))
    factories.make_quarantined_call(factories.make_call(customer=lindqvist))
    factories.make_unparsable_line()
    run = factories.make_run(
        state=RunState.PARTIAL,
        partner=partner,
        amount={"GBP": "12.5", "JPY": "300"},
        halted=[{"process": "calls", "partner": None}],
        errors=[{"kind": "item", "key": "trunk-7", "error": "has <not> been charged"}],
    )
    factories.make_chunk(run=run, partner=partner, worker=factories.make_worker(run=run))
    factories.make_switch(partner=partner)
    factories.make_rerating(deck=deck)


@pytest.fixture
def staff(client: Client, settings: Any) -> Client:
    """A browser in which a superuser has logged in."""
    settings.AXES_ENABLED = False  # it asks for an address, which no request brings here
    client.force_login(factories.make_superuser())
    return client


@pytest.fixture
def submit(staff: Client) -> Submit:
    """Open a form, change some of its fields, send it off."""

    def submit(url: str, **changes: Any) -> Page:
        return staff.post(url, {**as_it_stands(staff.get(url)), **changes})

    return submit


def as_it_stands(response: Page) -> dict[str, Any]:
    """What a browser would send if nothing were changed in the form of this page."""
    filled: dict[str, Any] = {}
    for form in _forms_of(response):
        for field in form:
            value = field.value()
            if isinstance(field.field.widget, forms.MultiWidget):
                parts = field.field.widget.decompress(value) or ()
                filled |= {f"{field.html_name}_{number}": part or "" for number, part in enumerate(parts)}
            elif value is not None and value is not False:
                filled[field.html_name] = "on" if value is True else value
    return filled


def _forms_of(response: Page) -> Iterator[forms.BaseForm]:
    yield response.context["adminform"].form
    for inline in response.context["inline_admin_formsets"]:
        yield inline.formset.management_form
        yield from inline.formset.forms


def complaints(response: Page) -> list[str]:
    assert response.status_code == 200, "not refused"
    return [
        sentence
        for errors in response.context["errors"]
        for sentence in ([errors] if isinstance(errors, str) else map(str, errors))
    ]


def look(staff: Client, url: str) -> tuple[Page, int]:
    """The page, and how many queries it took."""
    with CaptureQueriesContext(
        connection,
    ) as queries:
        response = staff.get(url)
    return response, len(queries)


class TestEveryNoun:
    def test_has_a_page_but_for_the_inner_workings(self) -> None:
        without = {model._meta.model_name for model in apps.get_app_config("billing").get_models()} - {
            model._meta.model_name for model in registered()
        }
        assert without == WITHOUT_A_PAGE | ON_ANOTHERS_PAGE

    @nouns(registered())
    def test_opens_its_list(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        response = staff.get(list_url(model))
        assert response.status_code == 200
        assert response.context["cl"].result_list

    @nouns(registered())
    def test_opens_its_page(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        for row in model._default_manager.all():
            assert staff.get(page_url(row)).status_code == 200

    @nouns(EDITABLE)
    def test_opens_its_empty_form(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        assert staff.get(add_url(model)).status_code == 200

    @nouns(EDITABLE)
    def test_can_be_saved_as_it_stands(self, staff: Client, submit: Submit, model: type[Model]) -> None:
        one_more_of_each_noun()
        for row in model._default_manager.all():
            if admin.site._registry[model].has_change_permission(staff.get("/admin/").wsgi_request, row):
                assert submit(page_url(row)).status_code == 302

    @nouns(registered())
    def test_can_be_searched_for_anything(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        for term in ["+44", "call:pbx", r"100% #\'", "447 10001"]:
            assert staff.get(list_url(model), {"q": term}).status_code == 200

    @nouns(registered())
    def test_offers_filters_that_work(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        changelist = staff.get(list_url(model)).context["cl"]
        for spec in changelist.filter_specs:
            for choice in spec.choices(changelist):
                for query in _queries_of(choice):
                    assert staff.get(list_url(model) + query).status_code == 200, query


def _queries_of(choice: dict[str, Any]) -> Iterator[str]:
    """What a filter of Django, or a form of Unfold's filters, would put into the address."""
    if "query_string" in choice:
        yield choice["query_string"]
    for name, field in getattr(choice.get("form"), "fields", {}).items():
        for value, _ in list(getattr(field, "choices", []))[1:3]:
            yield f"?{name}={value}"


class TestLists:
    @nouns(registered())
    def test_cost_as_many_queries_however_many_rows_there_are(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        look(staff, list_url(model))  # once for what is remembered between requests
        _, with_few = look(staff, list_url(model))
        one_more_of_each_noun()
        one_more_of_each_noun()
        response, with_more = look(staff, list_url(model))
        assert len(response.context["cl"].result_list) >= 3
        assert with_few == with_more <= MOST_QUERIES

    @nouns(MILLIONS)
    def test_of_millions_count_nothing(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        with CaptureQueriesContext(connection) as queries:
            staff.get(list_url(model))
        table = model._meta.db_table
        assert not [query["sql"] for query in queries if "COUNT(" in query["sql"] and table in query["sql"]]

    @nouns(MILLIONS)
    def test_of_millions_find_a_key_by_its_index(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        pages = admin.site._registry[model]
        request = staff.get(list_url(model)).wsgi_request
        found, _ = pages.get_search_results(request, pages.get_queryset(request), "call:pbx-north:leg-100")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("SET LOCAL enable_sort = off")
        assert "Index" in found.order_by().explain()
        assert f"Seq Scan on {model._meta.db_table}" not in found.order_by().explain()

    def test_find_a_call_by_its_number_once_the_customer_is_chosen(self, staff: Client) -> None:
        call = factories.make_call(to_number=factories.mobile(123))
        factories.make_call(customer=call.customer, to_number=factories.mobile(456))
        chosen: dict[str, Any] = {"customer__id__exact": call.customer_id, "q": "+447700900123"}
        assert list(staff.get(list_url(type(call)), chosen).context["cl"].result_list) == [call]

    def test_find_a_customer_by_its_telephone_number(self, staff: Client) -> None:
        identity = factories.make_identity()
        factories.make_customer()
        found = staff.get(list_url(Customer), {"q": f"+{identity.value}"}).context["cl"].result_list
        assert list(found) == [identity.customer]


class TestWhatOnlyTheProgramWrites:
    @nouns(LOOK_ONLY)
    def test_offers_no_way_to_change_it(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        page = staff.get(page_url(_first(model)))
        assert not page.context["has_add_permission"]
        assert not page.context["has_change_permission"]
        assert not page.context["has_delete_permission"]
        assert 'name="_save"' not in page.content.decode()

    @nouns(LOOK_ONLY)
    def test_stays_as_it_is_whatever_is_posted(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        before = list(model._default_manager.order_by("pk").values())
        row = _first(model)
        forged = {field.name: "1" for field in model._meta.fields} | {"_save": "Save", "post": "yes"}
        for url in [add_url(model), page_url(row), page_url(row, "delete")]:
            assert staff.post(url, forged).status_code == 403, url
        staff.post(list_url(model), {"action": "delete_selected", "_selected_action": [row.pk], "post": "yes"})
        assert list(model._default_manager.order_by("pk").values()) == before

    @nouns(EDITABLE)
    def test_includes_no_deletion_in_bulk(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        rows = list(model._default_manager.values_list("pk", flat=True))
        staff.post(list_url(model), {"action": "delete_selected", "_selected_action": rows, "post": "yes"})
        assert list(model._default_manager.values_list("pk", flat=True)) == rows


def _first(model: type[Model]) -> Model:
    row = model._default_manager.first()
    assert row is not None
    return row


class TestACustomer:
    def test_is_added_with_identities_and_alerts(self, submit: Submit) -> None:
        response = submit(
            add_url(Customer),
            account="20001",
            name="Café Lindqvist",
            partner=factories.harbour().pk,
            currency="GBP",
            timezone="Europe/London",
            **{"identities-TOTAL_FORMS": 1, "identities-0-kind": "number", "identities-0-value": factories.landline(1)},
            **{"alerts-TOTAL_FORMS": 1, "alerts-0-threshold": "25", "alerts-0-remind_at_most": "3"},
        )
        assert response.status_code == 302
        lindqvist = Customer.objects.get(account="20001")
        assert lindqvist.identities.get().value == factories.landline(1)
        assert set(lindqvist.alerts.values_list("kind", "threshold")) == {
            (AlertKind.LOW_BALANCE, Decimal(25)),
            (AlertKind.EXHAUSTED, Decimal(0)),
        }

    def test_shows_its_balance(self, staff: Client) -> None:
        lindqvist = factories.make_customer(balance=Decimal("1234.5"))
        assert "1,234.50 GBP" in staff.get(page_url(lindqvist)).content.decode()
        assert "1,234.50 GBP" in staff.get(list_url(Customer)).content.decode()

    def test_keeps_account_and_currency(self, submit: Submit) -> None:
        lindqvist = factories.make_customer(account="20001", name="Café Lindqvist")
        assert submit(page_url(lindqvist), account="9", currency="EUR", name="Lindqvist AB").status_code == 302
        lindqvist.refresh_from_db()
        assert (lindqvist.account, lindqvist.currency, lindqvist.name) == ("20001", "GBP", "Lindqvist AB")

    def test_shows_no_built_in_alert_to_edit(self, staff: Client) -> None:
        lindqvist = factories.make_customer()
        alert = factories.make_alert(customer=lindqvist)
        page = staff.get(page_url(lindqvist))
        shown = [form.instance for inline in page.context["inline_admin_formsets"] for form in inline.formset.forms]
        assert shown == [alert]

    def test_changes_no_threshold_and_no_credit_limit_without_a_preview(self, staff: Client, submit: Submit) -> None:
        lindqvist = factories.make_customer(balance=Decimal(12), credit_limit=5)
        alert = factories.make_alert(customer=lindqvist, threshold=10)
        built_in = lindqvist.alerts.get(kind=AlertKind.EXHAUSTED)
        page = staff.get(page_url(lindqvist))
        assert 'name="alerts-0-threshold"' not in page.text
        for way in ("customer_alert_add", "customer_credit_limit", "customer_status"):
            assert reverse(f"admin:{way}", args=[lindqvist.account]) in page.text
        for one in (alert, built_in):
            forged = {"alerts-0-id": one.pk, "alerts-0-customer": lindqvist.pk, "alerts-0-threshold": "99"}
            added = {"alerts-1-threshold": "25", "alerts-1-remind_at_most": "3", "alerts-0-DELETE": "on"}
            counted = {"alerts-TOTAL_FORMS": 2, "alerts-INITIAL_FORMS": 1, "credit_limit": "0"}
            submit(page_url(lindqvist), name="Lindqvist AB", **counted, **forged, **added)
        lindqvist.refresh_from_db()
        assert (lindqvist.name, lindqvist.credit_limit) == ("Lindqvist AB", 5)
        assert set(lindqvist.alerts.values_list("threshold", flat=True)) == {10, -5}

    def test_is_not_put_back_by_a_form_that_was_opened_before_somebody_saved(self, staff: Client) -> None:
        lindqvist = factories.make_customer(name="Lindqvist", email="old@lindqvist.example")
        page = staff.get(page_url(lindqvist))
        stale = as_it_stands(page) | {"name": "Lindqvist AB", "as_opened": page.context["adminform"].form.as_opened}
        assert f'name="as_opened" value="{escape(stale["as_opened"])}"' in page.text
        Customer.objects.filter(pk=lindqvist.pk).update(email="new@lindqvist.example")
        answer = staff.post(page_url(lindqvist), stale)
        assert complaints(answer)[0].startswith(
            "Somebody else has saved this since you opened it: Email is now “new@lindqvist.example”. Nothing was"
        )
        lindqvist.refresh_from_db()
        assert (lindqvist.name, lindqvist.email) == ("Lindqvist", "new@lindqvist.example")
        again = stale | {"email": "new@lindqvist.example", "as_opened": answer.context["adminform"].form.as_opened}
        assert staff.post(page_url(lindqvist), again).status_code == 302
        lindqvist.refresh_from_db()
        assert (lindqvist.name, lindqvist.email) == ("Lindqvist AB", "new@lindqvist.example")

    @pytest.mark.parametrize("seen", ["", "{", "[]", '{"name": 1}', "null", '{"name": "x"}' * 2])
    def test_is_saved_or_refused_whatever_a_form_says_it_has_seen(self, staff: Client, seen: str) -> None:
        lindqvist = factories.make_customer()
        answer = staff.post(page_url(lindqvist), as_it_stands(staff.get(page_url(lindqvist))) | {"as_opened": seen})
        assert answer.status_code in {200, 302}

    @nouns(EDITABLE)
    def test_a_form_just_opened_has_seen_what_is_there(self, staff: Client, model: type[Model]) -> None:
        one_more_of_each_noun()
        row = model._default_manager.order_by("pk").first()
        page = staff.get(page_url(row))
        found = staff.post(page_url(row), as_it_stands(page) | {"as_opened": page.context["adminform"].form.as_opened})
        assert "since you opened it" not in found.text

    def test_with_many_numbers_is_shown_and_saved_page_by_page(self, staff: Client) -> None:
        lindqvist = factories.make_customer()
        for number in range(50):
            factories.make_identity(customer=lindqvist, value=factories.landline(number), source=factories.pbx_north())
        look(staff, page_url(lindqvist))
        _, with_twenty = look(staff, page_url(lindqvist))
        page = staff.get(page_url(lindqvist), {"identities-page": 3})
        data = as_it_stands(page)
        assert [data[f"identities-{line}-value"] for line in (0, 9)] == [factories.landline(n) for n in (40, 49)]
        data |= {"identities-page": 3, "identities-0-value": factories.mobile(7)}
        assert staff.post(page_url(lindqvist), data).status_code == 302
        assert not lindqvist.identities.filter(value=factories.landline(40)).exists()
        assert lindqvist.identities.count() == 50
        assert with_twenty <= 2 * MOST_QUERIES

    def test_is_closed_with_the_time_by_its_status(self, submit: Submit) -> None:
        lindqvist = factories.make_customer()
        Customer.objects.filter(pk=lindqvist.pk).update(status=CustomerStatus.CLOSED)
        lindqvist.refresh_from_db()
        assert lindqvist.closed_at is not None

    def test_keeps_its_status_here_since_another_page_tells_what_follows(self, submit: Submit) -> None:
        lindqvist = factories.make_customer()
        assert submit(page_url(lindqvist), status=CustomerStatus.CLOSED).status_code == 302
        lindqvist.refresh_from_db()
        assert lindqvist.status == CustomerStatus.ACTIVE


class TestASource:
    def test_keeps_its_name_since_calls_are_known_by_it(self, submit: Submit) -> None:
        north = factories.pbx_north()
        assert submit(page_url(north), name="pbx-south", region="GB").status_code == 302
        assert Source.objects.values_list("name", "region").get() == ("pbx-north", "GB")


class TestAPartner:
    def test_keeps_its_short_name(self, submit: Submit) -> None:
        assert submit(page_url(factories.harbour()), slug="port", name="Harbour Ltd").status_code == 302
        assert Partner.objects.values_list("slug", "name").get() == ("harbour", "Harbour Ltd")


class TestARate:
    def test_in_force_keeps_its_prices(self, submit: Submit) -> None:
        rate = factories.make_rate()
        assert submit(page_url(rate), price_per_minute="9", prefix="1").status_code == 302
        rate.refresh_from_db()
        assert (rate.prefix, rate.price_per_minute) == ("447", Decimal("0.03"))

    def test_in_force_can_be_ended_from_now_on(self, submit: Submit) -> None:
        rate = factories.make_rate()
        assert submit(page_url(rate), valid_to_0="2099-01-01", valid_to_1="00:00:00").status_code == 302
        rate.refresh_from_db()
        assert rate.valid_to == datetime(2099, 1, 1, tzinfo=UTC)

    def test_in_force_cannot_be_ended_in_the_past(self, submit: Submit) -> None:
        rate = factories.make_rate()
        response = submit(page_url(rate), valid_to_0="2020-01-01", valid_to_1="00:00:00")
        assert complaints(response) == ["A rate that is in force can end now at the earliest."]

    def test_that_has_ended_stays_so(self, submit: Submit) -> None:
        rate = factories.make_rate(valid_to=factories.MORNING)
        submit(page_url(rate), valid_to_0="", valid_to_1="")
        rate.refresh_from_db()
        assert rate.valid_to == factories.MORNING

    def test_of_the_future_can_be_mended_and_deleted(self, staff: Client, submit: Submit) -> None:
        rate = factories.make_rate(valid_from=NEXT_YEAR)
        assert submit(page_url(rate), price_per_minute="0.02").status_code == 302
        rate.refresh_from_db()
        assert rate.price_per_minute == Decimal("0.02")
        assert staff.post(page_url(rate, "delete"), {"post": "yes"}).status_code == 302
        assert not Rate.objects.exists()

    def test_in_force_is_not_deleted(self, staff: Client) -> None:
        rate = factories.make_rate()
        assert staff.post(page_url(rate, "delete"), {"post": "yes"}).status_code == 403
        assert Rate.objects.exists()


class TestAnItem:
    def test_that_was_charged_keeps_its_dates(self, submit: Submit) -> None:
        item = factories.make_period().item
        assert submit(page_url(item), starts_on="2020-01-01", interval="year", amount="12").status_code == 302
        item.refresh_from_db()
        assert (item.starts_on, item.interval, item.amount) == (factories.MARCH_BEGIN, "month", Decimal(12))

    def test_that_was_not_charged_can_be_mended_and_deleted(self, staff: Client, submit: Submit) -> None:
        item = factories.make_item()
        assert submit(page_url(item), starts_on="2026-04-01").status_code == 302
        item.refresh_from_db()
        assert item.starts_on == item.next_due_on == date(2026, 4, 1)
        assert staff.post(page_url(item, "delete"), {"post": "yes"}).status_code == 302
        assert not BillingItem.objects.exists()

    def test_that_was_charged_is_not_deleted(self, staff: Client) -> None:
        item = factories.make_period().item
        assert staff.post(page_url(item, "delete"), {"post": "yes"}).status_code == 403

    def test_is_saved_without_touching_what_a_run_writes(self, submit: Submit) -> None:
        item = factories.make_period().item
        with CaptureQueriesContext(connection) as queries:
            submit(page_url(item), description="SIP trunk, ten channels")
        updates = [query["sql"] for query in queries if query["sql"].startswith('UPDATE "billing_billingitem"')]
        assert len(updates) == 1
        assert "charged_through" not in updates[0]
        assert "next_due_on" not in updates[0]

    def test_shows_its_latest_periods(self, staff: Client) -> None:
        period = factories.make_period()
        assert period.entry_key in staff.get(page_url(period.item)).content.decode()


class TestALedgerEntry:
    def test_leads_to_what_takes_it_back_and_the_other_way_round(self, staff: Client) -> None:
        entry = factories.make_entry()
        reversal = factories.make_reversal(entry)
        assert page_url(reversal) in staff.get(page_url(entry)).content.decode()
        assert page_url(entry) in staff.get(page_url(reversal)).content.decode()


class TestACall:
    def test_leads_to_its_outcome(self, staff: Client) -> None:
        charged, free, stopped, pending = (factories.make_call() for _ in range(4))
        outcomes = {
            charged: factories.make_call_charge(charged),
            free: factories.make_free_call(free),
            stopped: factories.make_quarantined_call(stopped),
        }
        for call, outcome in outcomes.items():
            assert page_url(outcome) in staff.get(page_url(call)).content.decode()
        assert "none yet" in staff.get(page_url(pending)).content.decode()


class TestARun:
    def test_tells_its_errors_as_text(self, staff: Client) -> None:
        run = factories.make_run(errors=[{"kind": "item", "key": "trunk-7", "error": "has <b>not</b> been charged"}])
        page = staff.get(page_url(run)).content.decode()
        assert "has &lt;b&gt;not&lt;/b&gt; been charged" in page


def _thresholds(customer: Customer) -> set[Decimal]:
    """Of the alerts that somebody set; the built-in one aside."""
    return set(customer.alerts.filter(kind=AlertKind.LOW_BALANCE).values_list("threshold", flat=True))


class TestACustomerMadeByStaff:
    def fields(self) -> dict[str, Any]:
        return {
            "account": "20001",
            "name": "Café Lindqvist",
            "partner": factories.harbour().pk,
            "currency": "GBP",
            "timezone": "Europe/London",
        }

    def test_gets_the_defaults_and_hears_nothing_of_them(self, submit: Submit) -> None:
        factories.make_default_alert(threshold=25)
        assert submit(add_url(Customer), **self.fields()).status_code == 302
        assert _thresholds(Customer.objects.get(account="20001")) == {25}
        assert Episode.objects.get().is_silent
        assert episodes.judge(at=timezone.now()).opened == 0

    def test_keeps_to_the_alert_that_they_set(self, submit: Submit) -> None:
        factories.make_default_alert(threshold=25)
        own = AN_ALERT | {"alerts-0-threshold": "8", "alerts-0-remind_every_days": "3"}
        assert submit(add_url(Customer), **self.fields(), **own).status_code == 302
        lindqvist = Customer.objects.get(account="20001")
        assert _thresholds(lindqvist) == {8}
        assert lindqvist.alerts.get(threshold=8).remind_every_days == 3
        assert Episode.objects.get().is_silent


class TestDefaultsOnAPartnersPage:
    def test_are_set_there(self, submit: Submit) -> None:
        terms = {"threshold": "25", "remind_every_days": "7", "remind_at_most": "2", "tells_restored": "on"}
        changes = {
            "default_alerts-TOTAL_FORMS": 1,
            **{f"default_alerts-0-{name}": text for name, text in terms.items()},
        }
        assert submit(page_url(factories.harbour()), **changes).status_code == 302
        default = PartnerAlert.objects.get()
        assert (default.threshold, default.remind_every_days, default.remind_at_most) == (25, 7, 2)
        assert default.tells_restored

    @pytest.mark.parametrize(
        ("name", "text", "sentence"),
        [
            ("rearm_margin", "-1", "A margin must not be negative."),
            ("remind_every_days", "0", "Reminders are at least one day apart; leave it empty for none."),
        ],
    )
    def test_are_refused_where_no_customer_could_have_them(
        self,
        submit: Submit,
        name: str,
        text: str,
        sentence: str,
    ) -> None:
        changes = {
            "default_alerts-TOTAL_FORMS": 1,
            "default_alerts-0-threshold": "25",
            "default_alerts-0-remind_at_most": "3",
        }
        response = submit(page_url(factories.harbour()), **changes, **{f"default_alerts-0-{name}": text})
        assert complaints(response) == [sentence]

    def test_are_taken_away(self, submit: Submit) -> None:
        factories.make_default_alert()
        assert submit(page_url(factories.harbour()), **{"default_alerts-0-DELETE": "on"}).status_code == 302
        assert not PartnerAlert.objects.exists()


class TestAnAlert:
    def test_is_looked_at_and_changed_where_a_preview_is(self, staff: Client) -> None:
        alert = factories.make_recipient(email="boss@lindqvist.example").alert
        built_in = alert.customer.alerts.get(kind=AlertKind.EXHAUSTED)
        for one in (alert, built_in):
            page = staff.get(page_url(one)).text
            assert reverse("admin:customer_alert", args=[one.customer.account, one.pk]) in page
            assert (reverse("admin:customer_alert_end", args=[one.customer.account, one.pk]) in page) == (one == alert)
            assert staff.post(page_url(one), {"threshold": "99"}).status_code == 403
        assert "boss@lindqvist.example" in staff.get(page_url(alert)).text
        assert staff.get(add_url(BalanceAlert)).status_code == 403

    def test_leads_nobody_where_they_may_not_go(self) -> None:
        alert = factories.make_alert()
        person = factories.make_user(is_staff=True)
        person.groups.add(factories.role("support"))
        support = Client()
        support.force_login(person, backend="django.contrib.auth.backends.ModelBackend")
        for page in (page_url(alert), page_url(alert.customer)):
            assert f"/customers/{alert.customer.account}/status/" not in support.get(page).text
            assert f"/customers/{alert.customer.account}/alerts/" not in support.get(page).text


class TestARefusal:
    """What the database refuses arrives as a sentence, and nothing of the form is saved."""

    def test_names_a_rate_that_holds_at_the_same_time(self, submit: Submit) -> None:
        rate = factories.make_rate()
        response = submit(add_url(Rate), deck=rate.deck_id, prefix="447", price_per_minute="0.02")
        assert complaints(response) == [
            "Another rate of this prefix holds at a time when this one would: give that one an end first."
        ]
        assert "prefix" in response.context["adminform"].form.errors
        assert Rate.objects.count() == 1

    def test_names_an_identity_that_is_taken(self, submit: Submit) -> None:
        taken = factories.make_identity()
        response = submit(
            add_url(CallIdentity), customer=factories.make_customer().pk, kind="number", value=taken.value
        )
        assert complaints(response) == ["This identity names a customer already, at a time when both would hold."]

    def test_in_a_line_of_a_customer_takes_back_the_whole_form(self, submit: Submit) -> None:
        lindqvist = factories.make_customer(name="Café Lindqvist")
        number = factories.landline(1)
        response = submit(
            page_url(lindqvist),
            name="Lindqvist AB",
            **{"identities-TOTAL_FORMS": 2},
            **{"identities-0-kind": "number", "identities-0-value": number},
            **{"identities-1-kind": "number", "identities-1-value": number},
        )
        assert complaints(response) == ["This identity names a customer already, at a time when both would hold."]
        lindqvist.refresh_from_db()
        assert lindqvist.name == "Café Lindqvist"
        assert not lindqvist.identities.exists()

    def test_keeps_what_was_typed(self, submit: Submit) -> None:
        response = submit(page_url(factories.make_customer()), name="Lindqvist AB", timezone="Mars")
        assert response.context["adminform"].form["name"].value() == "Lindqvist AB"

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"timezone": "Mars/Olympus"}, "“Mars/Olympus” is not a time zone; write it like Europe/Berlin."),
            ({"rate_deck": "euros"}, "The deck and its customers must have one currency."),
            ({"inbound_deck": "euros"}, "The deck and its customers must have one currency."),
            ({"account": ""}, None),
            (
                {"identities-TOTAL_FORMS": 1, "identities-0-kind": "number", "identities-0-value": "+44 20"},
                "Write phone numbers as digits in international form, like 442079460123.",
            ),
        ],
    )
    def test_of_a_customer_is_a_sentence(self, submit: Submit, changes: dict[str, Any], sentence: str | None) -> None:
        euros = factories.make_deck(name="euros", currency="EUR")
        changes = {name: euros.pk if value == "euros" else value for name, value in changes.items()}
        response = submit(page_url(factories.make_customer()), **changes)
        if sentence is None:
            assert response.status_code == 302, "fixed, so that what was posted is not even read"
        else:
            assert complaints(response) == [sentence]

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"credit_limit": "-5"}, "A credit limit must not be negative."),
            (
                {
                    "alerts-TOTAL_FORMS": 2,
                    "alerts-0-threshold": "5",
                    "alerts-0-remind_at_most": "3",
                    "alerts-1-threshold": "5.00",
                    "alerts-1-remind_at_most": "3",
                },
                "The customer has an alert at this threshold already.",
            ),
            (
                {**AN_ALERT, "alerts-0-rearm_margin": "-1"},
                "A margin must not be negative.",
            ),
            (
                {**AN_ALERT, "alerts-0-remind_every_days": "0"},
                "Reminders are at least one day apart; leave it empty for none.",
            ),
        ],
    )
    def test_of_a_newcomer_is_a_sentence(self, submit: Submit, changes: dict[str, Any], sentence: str) -> None:
        fields = TestACustomerMadeByStaff().fields()
        assert complaints(submit(add_url(Customer), **fields | changes)) == [sentence]
        assert not Customer.objects.exists()

    @pytest.mark.parametrize(
        ("changes", "sentence"),
        [
            ({"ends_on": "2026-02-01"}, None),
            ({"interval": ""}, "A recurring item needs an interval; a one-off item has none."),
            ({"kind": ItemKind.ONE_OFF}, "A recurring item needs an interval; a one-off item has none."),
            ({"bill_cycle_day": "32"}, "The bill-cycle day must be between 1 and 31, not 32."),
            ({"interval": "day", "bill_cycle_day": "5"}, None),
            ({"interval": "week", "proration": "fixed_30"}, None),
            ({"interval_count": "0"}, None),
            ({"quantity": "-1"}, "A quantity must not be negative: for a credit write a negative amount."),
            ({"amount": "1" + "0" * 12}, "Ensure that there are no more than 12 digits before the decimal point."),
            ({"amount": "NaN"}, "Enter a number."),
        ],
    )
    def test_of_an_item_is_a_sentence(self, submit: Submit, changes: dict[str, Any], sentence: str | None) -> None:
        found = complaints(submit(page_url(factories.make_item()), **changes))
        assert sentence in {None, found[0]}
        assert all(text.endswith(".") and "_" not in text for text in found)

    def test_by_a_trigger_uses_its_words(self, submit: Submit) -> None:
        closed = factories.make_customer(status=CustomerStatus.CLOSED)
        response = submit(
            add_url(BillingItem),
            customer=closed.pk,
            reference="trunk-7",
            description="SIP trunk",
            kind=ItemKind.RECURRING,
            interval="month",
            amount="10",
            starts_on="2026-03-01",
        )
        assert complaints(response) == ["Item trunk-7 would charge a customer who is closed."]

    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"prefix": "+44"}, "prefix"),
            ({"price_per_minute": "-1"}, "price_per_minute"),
            ({"price_per_minute": "1000001"}, "price_per_minute"),
            ({"increment": "0"}, "increment"),
            (
                {
                    "valid_from_0": "2099-02-01",
                    "valid_from_1": "00:00",
                    "valid_to_0": "2099-01-01",
                    "valid_to_1": "00:00",
                },
                "valid_to",
            ),
        ],
    )
    def test_of_a_rate_stands_beside_its_field(self, submit: Submit, changes: dict[str, Any], field: str) -> None:
        rate = {"deck": factories.standard_deck().pk, "prefix": "46", "price_per_minute": "0.02"}
        response = submit(add_url(Rate), **{**rate, **changes})
        assert len(complaints(response)) == 1
        assert list(response.context["adminform"].form.errors) == [field]

    def test_of_a_deck_that_is_used_names_the_currency(self, submit: Submit) -> None:
        deck = factories.make_deck()
        partner = factories.make_partner(rate_deck=deck)
        response = submit(page_url(partner), currency="EUR")
        assert complaints(response) == ["The deck and the partner must have one currency."]


class TestMoney:
    @pytest.mark.parametrize(
        ("amount", "currency", "written"),
        [
            ("1234.5", "GBP", "1,234.50 GBP"),
            ("-0.0345", "GBP", "-0.0345 GBP"),
            ("100.000000", "JPY", "100 JPY"),
            ("0.000000", "EUR", "0.00 EUR"),
            ("1.5", "KWD", "1.500 KWD"),
            ("1000000", "JPY", "1,000,000 JPY"),
        ],
    )
    def test_is_written_with_the_decimals_it_has_and_its_currency_asks_for(
        self, amount: str, currency: str, written: str
    ) -> None:
        assert money(Decimal(amount), currency) == written


class TestNobody:
    @pytest.fixture(autouse=True)
    def _without_axes(self, settings: Any) -> None:
        settings.AXES_ENABLED = False

    def test_outside_of_staff_sees_any_of_it(self, client: Client) -> None:
        client.force_login(factories.make_user())
        assert client.get(list_url(LedgerEntry)).status_code == 302

    def test_finds_links_to_what_they_may_not_see(self, client: Client) -> None:
        client.force_login(factories.make_user(is_staff=True))
        page = client.get(reverse("admin:index")).content.decode()
        assert list_url(LedgerEntry) not in page
        assert list_url(RateDeck) not in page

    def test_halts_by_a_form(self, staff: Client) -> None:
        switch = factories.make_switch(process=Process.ITEMS)
        assert staff.post(page_url(switch), {"is_halted": ""}).status_code == 403
