"""Price lists: what holds when, what a call would cost, and files that are looked at before they are imported."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from billing import quoting
from billing.cycle import run_cycle
from billing.models import LedgerEntry, Rate, RateDeck
from ivy.models import AuditEntry, Upload
from ivy.staff.work import imports
from tests.factories import key_of, make_call, make_customer, make_deck, make_partner, make_rate
from tests.staff.working import hidden, staff

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 5, 15, 12, tzinfo=UTC)
MAY = datetime(2026, 5, 1, tzinfo=UTC)


def rates_file(*lines: str, header: str = "prefix,destination,price_per_minute,valid_from") -> str:
    return "\n".join((header, *lines)) + "\n"


def send_file(client: Client, text: str | bytes, **said: Any) -> Any:
    """Send a file of rates for the deck `standard`; the answer, which leads to what would come of it."""
    content = text.encode() if isinstance(text, str) else text
    file = SimpleUploadedFile("rates.csv", content, "text/csv")
    said = {"deck": "standard", "percent": "20", "file": file, **said}
    return client.post(reverse("admin:work_deck_import"), said)


def look(client: Client, sent: Any) -> Any:
    assert sent.status_code == 302, sent.content.decode()
    return client.get(sent.url)


@pytest.fixture
def deck() -> RateDeck:
    deck = make_deck(name="standard")
    make_rate(deck=deck, prefix="447", price_per_minute=Decimal("0.03"))
    make_rate(deck=deck, prefix="4420", price_per_minute=Decimal("0.01"))
    make_rate(deck=deck, prefix="46", price_per_minute=Decimal("0.05"))
    return deck


@pytest.mark.usefixtures("deck")
class TestAPriceListThatIsSent:
    FILE = rates_file(
        "447,Mobile,0.031,2027-01-01", "4420,London,0.02,2027-01-01", "46,Sweden,0.05,", "47,Norway,0.9,2027-01-01"
    )

    def test_is_shown_before_anything_is_imported(self) -> None:
        client = staff("billing")
        page = look(client, send_file(client, self.FILE, dearest="0.5")).content.decode()
        assert "<strong>1</strong> new prefix, <strong>2</strong> changed prices, <strong>0</strong> ended" in page
        assert "2 prices are marked" in page
        assert "price per minute +100 %" in page
        assert "more than 0.5 a minute" in page
        assert Rate.objects.count() == 3

    def test_is_imported_once_it_is_confirmed_and_never_twice(self) -> None:
        client = staff("billing")
        sent = send_file(client, self.FILE)
        form = {**hidden(look(client, sent)), "reason": "Prices of January."}
        assert client.post(sent.url, form).status_code == 302
        again = client.post(sent.url, form, follow=True)
        assert "This was done already" in again.content.decode()
        assert Rate.objects.count() == 6
        assert not Upload.objects.exists()
        entry = AuditEntry.objects.get()
        assert (entry.noun, entry.name, entry.after["created"], entry.reason) == (
            "rates", "standard", 3, "Prices of January.",
        )  # fmt: skip

    def test_that_was_imported_already_changes_nothing(self) -> None:
        client = staff("billing")
        for _ in range(2):
            sent = send_file(client, self.FILE)
            page = look(client, sent)
            client.post(sent.url, {**hidden(page), "reason": "Prices of January."})
        assert "there is nothing to import" in page.content.decode()
        assert AuditEntry.objects.count() == 1

    def test_names_every_bad_line_in_the_words_of_the_command_and_imports_nothing(self) -> None:
        client = staff("billing")
        sent = send_file(client, rates_file("44x,,0.1,", "48,Poland,0.1,", "49,,1,5,", "447,,0.04,"))
        page = look(client, sent).content.decode()
        for words in (
            "prefix “44x” is not a prefix: 1 to 15 digits.",
            "The line has 5 cells, the header 4 columns.",
            "is known already, with price_per_minute 0.03; a rate is not edited",
            "3 things are wrong with the file",
        ):
            assert words in page
        assert 'name="once"' not in page
        client.post(sent.url, {"reason": "x", "once": "8f14e45f-ceea-467f-a8f1-1d5f6ba8a4b2"})
        assert Rate.objects.count() == 3

    def test_that_is_whole_ends_what_it_does_not_name(self) -> None:
        client = staff("billing")
        whole = {"is_full": "on", "full_from": "2027-01-01"}
        sent = send_file(client, self.FILE.replace("46,Sweden,0.05,\n", ""), **whole)
        page = look(client, sent)
        assert "<strong>1</strong> ended" in page.content.decode()
        assert client.post(sent.url, {**hidden(page), "reason": "New deck."}).status_code == 302
        assert Rate.objects.get(prefix="46").valid_to == datetime(2027, 1, 1, tzinfo=UTC)

    def test_says_from_when_it_is_whole(self) -> None:
        answer = send_file(staff("billing"), self.FILE, is_full="on")
        assert "Say on which day missing prefixes end" in answer.content.decode()

    def test_is_shown_again_when_the_deck_has_changed_meanwhile(self) -> None:
        client = staff("billing")
        sent = send_file(client, self.FILE)
        seen = hidden(look(client, sent))
        make_rate(deck=RateDeck.objects.get(), prefix="47")
        answer = client.post(sent.url, {**seen, "reason": "Prices of January."})
        assert "Nothing was done yet" in answer.content.decode()
        assert not Rate.objects.filter(valid_from__isnull=False).exists()

    def test_is_refused_when_it_is_too_large_with_a_sentence(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(imports, "LARGEST_FILE", 1000)
        answer = send_file(staff("billing"), b"x" * 1001)
        assert "Nothing was read" in answer.content.decode()
        assert not Upload.objects.exists()

    def test_is_told_to_be_gone_after_a_day(self) -> None:
        client = staff("billing")
        sent = send_file(client, self.FILE)
        Upload.objects.all().delete()
        assert "is not here any more" in client.get(sent.url, follow=True).content.decode()

    @pytest.mark.parametrize("role", ["support", "operator"])
    def test_is_for_billing(self, role: str) -> None:
        sent = send_file(staff("billing"), self.FILE)
        other = staff(role)
        assert send_file(other, self.FILE).status_code == 403
        assert other.get(sent.url).status_code == 403
        assert other.post(sent.url, {}).status_code == 403
        assert Rate.objects.count() == 3

    def test_makes_a_new_deck_of_a_currency(self) -> None:
        client = staff("billing")
        assert "it is made when --currency says its currency" in look(
            client, send_file(client, self.FILE, deck="premium")
        ).content.decode()  # fmt: skip
        sent = send_file(client, self.FILE, deck="premium", currency="eur", decimals="0")
        client.post(sent.url, {**hidden(look(client, sent)), "reason": "A new tariff."})
        premium = RateDeck.objects.get(name="premium")
        assert (premium.currency, premium.decimals, premium.rates.count()) == ("EUR", 0, 4)


class TestADeck:
    def test_shows_what_holds_at_a_moment_and_what_is_to_come(self, deck: RateDeck) -> None:
        begins = timezone.now() + timedelta(days=30)
        Rate.objects.filter(prefix="46").update(valid_to=begins)
        make_rate(deck=deck, prefix="46", price_per_minute=Decimal("0.0777"), valid_from=begins)
        client = staff("support")
        url = reverse("admin:work_deck", args=["standard"])
        now = client.get(url).content.decode()
        assert "3 rates in force" in now
        assert "1 begin, 1 end" in now
        assert "0.0777" not in now
        assert "0.0777 GBP" in client.get(url, {"at": (begins + timedelta(days=1)).isoformat()}).content.decode()
        assert "All rates of the prefix 46" in client.get(url, {"begins": "+46"}).content.decode()
        assert "is not a date or time" in client.get(url, {"at": "tomorrow"}).content.decode()

    def test_asks_no_more_for_more_rates(self, deck: RateDeck) -> None:
        client, counted = staff("support"), []
        for prefixes in (range(500, 502), range(502, 700)):
            Rate.objects.bulk_create(
                Rate(deck=deck, prefix=str(prefix), price_per_minute=1) for prefix in prefixes
            )  # fmt: skip
            with CaptureQueriesContext(connection) as queries:
                page = client.get(reverse("admin:work_deck", args=["standard"]))
            counted.append(len(queries))
        assert "Further prefixes" in page.content.decode()
        assert counted[0] == counted[1] <= 16


class TestAQuote:
    @pytest.mark.usefixtures("deck")
    @pytest.mark.parametrize(
        ("written", "said", "outcome", "words"),
        [
            ("+44 7700 900123", {}, "charge", "447700900123 begins with 447"),
            ("07700 900123", {"region": "GB"}, "charge", "dialled in GB"),
            ("+1 202 555 0123", {}, "quarantine", "no prefix for 12025550123"),
            ("nonsense", {}, "quarantine", "can't be a telephone number"),
            ("+44 7700 900123", {"seconds": 0}, "free", "it lasted no second"),
        ],
    )
    def test_takes_numbers_as_people_write_them(
        self, written: str, said: dict[str, Any], outcome: str, words: str
    ) -> None:
        told = quoting.quote(written, **{"at": NOON, "seconds": 61, "deck": RateDeck.objects.get(), **said})
        assert told.outcome == outcome
        assert words in " ".join(told.steps)

    def test_of_a_customer_goes_by_its_deck_else_its_partners(self, deck: RateDeck) -> None:
        partner = make_partner(rate_deck=deck, currency="GBP", name="Harbour Voice")
        customer = make_customer(partner=partner, closed_at=NOON, status="closed")
        told = quoting.quote("447700900123", at=MAY, seconds=60, customer=customer)
        assert "that of Harbour Voice" in told.steps[0]
        assert told.price == Decimal("0.03")
        assert quoting.quote("447700900123", at=NOON, seconds=60, customer=customer).outcome == "quarantine"
        assert quoting.quote("44", at=NOON, seconds=60, customer=customer, direction="inbound").outcome == "free"

    def test_answers_on_its_page_with_an_address_that_can_be_passed_on(self, deck: RateDeck) -> None:
        page = staff("support").get(
            reverse("admin:work_price"), {"number": "+44 7700 900 123", "deck": "standard", "seconds": "90"}
        )
        assert "0.045 GBP" in page.content.decode()

    @pytest.mark.parametrize(
        ("said", "words"),
        [
            ({}, "Say a customer or a deck"),
            ({"deck": "nowhere"}, "There is no deck of this name"),
            ({"account": "nobody"}, "No customer has this account"),
            ({"deck": "standard", "region": "QQ"}, "is no region"),
            ({"deck": "standard", "at": "soon"}, "is not a date or time"),
        ],
    )
    @pytest.mark.usefixtures("deck")
    def test_says_what_it_can_not_understand(self, said: dict[str, str], words: str) -> None:
        page = staff("support").get(reverse("admin:work_price"), {"number": "4479", **said})
        assert words in page.content.decode()


@pytest.mark.django_db(transaction=True)
class TestWhatAQuoteSays:
    def test_is_what_the_call_is_charged(self, deck: RateDeck) -> None:
        prefix = {"prefix": "447700", "connect_fee": Decimal("0.005"), "first_increment": 30, "increment": 6}
        make_rate(deck=deck, **prefix)
        customer = make_customer(rate_deck=deck)
        call = make_call(customer=customer, seconds=67)
        at = call.answered_at
        told = quoting.quote(f"+{call.to_number}", at=at, seconds=67, customer=customer)
        run_cycle(by="test", at=timezone.now())
        assert LedgerEntry.objects.get(key=key_of(call)).amount == -(told.price or 0)
