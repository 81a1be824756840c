"""Stories of the work pages, as a person goes through them: mend a call, import a price list, add an item."""

import re
from decimal import Decimal

import pytest
from django.urls import reverse
from django.utils import timezone
from playwright.sync_api import Page, expect

from billing.cycle import run_cycle
from billing.models import BillingItem, LedgerEntry, QuarantinedCall, Rate
from tests.browser.conftest import overflows, serious_findings
from tests.factories import (
    key_of,
    make_call,
    make_customer,
    make_deck,
    make_item,
    make_quarantined_call,
    make_rate,
    make_unparsable_line,
)


def bill() -> None:
    run_cycle(by="test", at=timezone.now())


class TestACallWithoutARate:
    def test_is_mended_from_its_page_and_billed_by_the_next_run(self, page: Page, log_in, live_server) -> None:
        log_in("billing")
        deck = make_deck(name="standard")
        make_rate(deck=deck)
        call = make_call(customer=make_customer(rate_deck=deck), to_number="4689412345")
        bill()
        page.goto(live_server.url + reverse("admin:work_quarantine"))
        expect(page.get_by_role("heading", name=re.compile("No rate"))).to_be_visible()
        page.get_by_role("link", name="Mend").click()
        expect(page.get_by_text("back in quarantine: no rate")).to_be_visible()
        page.get_by_role("link", name="Add a rate to the deck “standard”").click()
        expect(page.get_by_label("Prefix")).to_have_value("46")
        page.get_by_label("Price a minute").fill("0.12")
        page.get_by_role("button", name="Show what would follow").click()
        expect(page.get_by_role("region", name="What would follow")).to_contain_text("charged 0.12 GBP")
        assert serious_findings(page) == []
        page.get_by_role("button", name="Add the rate").click()
        expect(page.get_by_text("come back by themselves with the next run")).to_be_visible()
        assert QuarantinedCall.objects.get().state == "waiting"
        bill()
        assert LedgerEntry.objects.get(key=key_of(call)).amount == Decimal("-0.12")
        page.goto(live_server.url + reverse("admin:work_quarantine"))
        expect(page.get_by_text("Nothing waits")).to_be_visible()
        assert page.mistakes == []


class TestCallsThatContradictThemselves:
    def test_are_chosen_with_the_keyboard_and_released(self, page: Page, log_in, live_server) -> None:
        log_in("billing")
        customer = make_customer(rate_deck=make_rate().deck)
        for _ in range(2):
            make_quarantined_call(make_call(customer=customer), reason="contradictory", raw="<i>as it came</i>")
        page.goto(f"{live_server.url}{reverse('admin:work_calls')}?reason=contradictory")
        page.get_by_role("checkbox").first.focus()
        page.keyboard.press("Space")
        page.get_by_role("button", name="Release chosen…").focus()
        page.keyboard.press("Enter")
        expect(page.get_by_role("region", name="What would follow")).to_contain_text("charged 0.03 GBP")
        page.get_by_label("Reason").focus()
        page.keyboard.type("Compared with the switch.")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.get_by_text("1 calls were released")).to_be_visible()
        bill()
        assert LedgerEntry.objects.filter(kind="call").count() == 1

    def test_are_only_looked_at_by_support(self, page: Page, log_in, live_server) -> None:
        log_in("support")
        row = make_quarantined_call(make_call(), reason="contradictory")
        page.goto(live_server.url + reverse("admin:work_call", args=[row.pk]))
        expect(page.get_by_text("The role billing may mend")).to_be_visible()
        page.goto(f"{live_server.url}{reverse('admin:work_release')}?id={row.pk}")
        expect(page.get_by_text("needs the permission billing.work_quarantine")).to_be_visible()


class TestAPriceList:
    def test_is_imported_after_a_look_at_what_it_changes(self, page: Page, log_in, live_server) -> None:
        log_in("billing")
        make_rate(deck=make_deck(name="standard"))
        page.goto(live_server.url + reverse("admin:work_deck", args=["standard"]))
        page.get_by_role("link", name="Import rates…").click()
        expect(page.get_by_label("Deck", exact=True)).to_have_value("standard")
        file = b"prefix,destination,price_per_minute,valid_from\n447,Mobile,0.09,2027-01-01\n46,Sweden,0.05,\n"
        page.get_by_label("CSV file").set_input_files({"name": "new.csv", "mimeType": "text/csv", "buffer": file})
        page.get_by_role("button", name="Look at the file").click()
        shown = page.get_by_role("region", name="What would follow")
        expect(shown).to_contain_text("1 new prefix, 1 changed price, 0 ended")
        expect(shown).to_contain_text("price per minute +200 %")
        assert serious_findings(page) == []
        page.get_by_label("Reason").fill("Prices of January.")
        page.get_by_role("button", name="Import it").click()
        expect(page.get_by_text("new.csv: 2 lines read; 2 created, 0 updated, 0 unchanged.")).to_be_visible()
        assert Rate.objects.count() == 3


class TestAnItem:
    def test_shows_its_next_twelve_charges_before_it_is_saved(self, page: Page, log_in, live_server) -> None:
        log_in("billing")
        make_customer(account="A-1")
        page.goto(f"{live_server.url}{reverse('admin:work_items')}?q=A-1")
        page.get_by_role("link", name="Add an item…").click()
        expect(page.get_by_label("Customer's account")).to_have_value("A-1")
        page.get_by_label("Reference").fill("trunk-1")
        page.get_by_label("Description").fill("SIP trunk")
        page.get_by_label("Kind").select_option("recurring")
        page.get_by_label("Amount").fill("31")
        page.get_by_label("Interval", exact=False).first.select_option("month")
        page.get_by_label("Bill cycle day").fill("1")
        page.get_by_label("Starts on").fill("2026-12-22")
        page.get_by_role("button", name="Show what would follow").click()
        expect(page.get_by_role("heading", name="The next 12 charges")).to_be_visible()
        expect(page.get_by_role("row").nth(1)).to_contain_text("10 of 31")
        expect(page.get_by_role("row").nth(1)).to_contain_text("10.00 GBP")
        assert not BillingItem.objects.exists()
        page.get_by_role("button", name="Save the item").click()
        expect(page.get_by_text("The item trunk-1 of account A-1 was saved.")).to_be_visible()
        assert BillingItem.objects.get().amount == Decimal(31)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (400, "dark")])
class TestThePages:
    def test_can_be_read_by_everybody(self, page: Page, log_in, live_server, width: int, scheme: str) -> None:
        log_in("billing")
        deck = make_deck(name="standard")
        make_rate(deck=deck)
        row = make_quarantined_call(
            make_call(customer=make_customer(rate_deck=deck), to_number="4689412345"), raw="x" * 300
        )
        make_unparsable_line(raw=b"y" * 400)
        make_item(reference="trunk-1")
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.goto(live_server.url + reverse("admin:index"))
        page.evaluate("theme => localStorage.setItem('_x_adminTheme', JSON.stringify(theme))", scheme)
        for address in (
            reverse("admin:work_quarantine"),
            f"{reverse('admin:work_calls')}?reason=no_rate",
            reverse("admin:work_call", args=[row.pk]),
            reverse("admin:work_deck", args=["standard"]),
            f"{reverse('admin:work_price')}?number=447700900123&deck=standard",
            reverse("admin:work_item", args=["trunk-1"]),
            reverse("admin:work_item_add"),
            reverse("admin:work_deck_import"),
        ):
            page.goto(live_server.url + address)
            expect(page.locator("h1").first).to_be_visible()
            assert not overflows(page), address
            assert serious_findings(page) == [], address
        assert page.mistakes == []
