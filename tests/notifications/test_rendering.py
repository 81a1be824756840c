"""What mails say, and the messages that are made of it: the same for the same rows, and readable for their readers."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from email import message_from_bytes, policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.headerregistry import Address
from email.utils import parseaddr
from html import unescape
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import time_machine
from django.db import connection
from django.template import Context, Engine
from django.template.loader import get_template
from django.test.utils import CaptureQueriesContext
from hypothesis import example, given
from hypothesis import strategies as st

import benchmarks
from billing.models import BalanceAlert, Customer, Episode, Partner
from notifications import formats
from notifications.facts import PACE_ENTRIES, Pace, Recurring, paces_of
from notifications.languages import words_of
from notifications.models import NotificationContent, NotificationLog
from notifications.rendering import Unusable, assemble, for_backend, render
from tests.factories import harbour, make_customer, make_entry, make_reversal
from tests.notifications.mails import (
    FROZEN,
    charge_calls,
    days_ago,
    frozen,
    make_apology,
    make_exhausted,
    make_fallen,
    make_owed,
    make_speaking,
)
from tests.notifications.stories import on_one_line

NOON = datetime(2026, 7, 2, 12, tzinfo=UTC)
BAKERY = "\u05de\u05d0\u05e4\u05d9\u05d9\u05d4"  # Hebrew, written from right to left
KINDS = ["low_balance", "reminder", "exhausted", "restored", "apology"]


def make_mail(kind: str, **fields: Any) -> NotificationLog:
    """Owed to a customer that is named by the fields, as its kind needs it."""
    if kind == "apology":
        return make_apology(make_fallen(**fields))
    episode = make_exhausted(**fields) if kind == "exhausted" else make_fallen(**fields)
    return make_owed(kind, episode, reminder_number=2 if kind == "reminder" else 0)


class TestAmounts:
    @pytest.mark.parametrize(
        ("amount", "currency", "language", "written"),
        [
            ("1234.5", "GBP", "en-GB", "£1,234.50"),
            ("1234.5", "EUR", "de", "1.234,50\N{NO-BREAK SPACE}€"),
            ("-1234.5", "EUR", "de_AT", "-€\N{NO-BREAK SPACE}1.234,50"),
            ("1234.5", "EUR", "fr", "1\N{NARROW NO-BREAK SPACE}234,50\N{NO-BREAK SPACE}€"),
            ("1234.5", "USD", "en-US", "$1,234.50"),
            ("1200", "JPY", "ja", "￥1,200"),
            ("1.234", "KWD", "en", "KWD\N{NO-BREAK SPACE}1.234"),
            ("1234567.8", "INR", "en-IN", "₹12,34,567.80"),
            ("5", "GBP", "Klingon", "£5.00"),
            ("5", "GBP", "", "£5.00"),
            ("5", "GBP", "../../etc", "£5.00"),
        ],
    )
    def test_are_written_as_the_language_does(self, amount: str, currency: str, language: str, written: str) -> None:
        assert formats.money(Decimal(amount), currency, formats.locale_of(language)) == written

    @pytest.mark.parametrize(
        ("balance", "written", "because"),
        [
            ("9.998700", "£9.99", "9.9987 is below an alert at 10.00, and looks so"),
            ("10.000000", "£10.00", "the same"),
            ("-0.000100", "-£0.01", "however little is owed, it is owed"),
            ("0.004", "£0.00", "less than a penny buys nothing"),
        ],
    )
    def test_left_are_never_more_than_there_is(self, balance: str, written: str, because: str) -> None:
        assert formats.money_left(Decimal(balance), "GBP", formats.locale_of("en-GB")) == written, because

    def test_have_the_decimals_of_the_standard_and_not_those_of_daily_use(self) -> None:
        assert formats.money_left(Decimal("1500.25"), "RSD", formats.locale_of("en")).endswith("1,500.25")

    def test_have_no_minus_before_nothing(self) -> None:
        for amount in ("0", "-0.001", "0", "0.001"):
            assert formats.about(Decimal(amount), "GBP", formats.locale_of("en-GB")) == "£0.00"

    def test_keep_all_decimals_of_an_agreed_threshold(self) -> None:
        assert formats.money(Decimal("0.125000"), "GBP", formats.locale_of("en-GB")) == "£0.125"


class TestTimes:
    @pytest.mark.parametrize(
        ("zone", "language", "written"),
        [
            ("Europe/London", "en-GB", "2 July 2026, 13:00 BST"),
            ("Europe/Berlin", "de-AT", "2. Juli 2026, 14:00 CEST"),
            ("America/New_York", "en-US", "July 2, 2026, 8:00\N{NARROW NO-BREAK SPACE}AM EDT"),
            ("Asia/Kathmandu", "ne", "2 July 2026, 17:45 UTC+05:45"),
            ("Pacific/Kiritimati", "en", "3 July 2026, 02:00 UTC+14:00"),
            ("UTC", "en", "2 July 2026, 12:00 UTC"),
        ],
    )
    def test_are_the_customers_and_name_their_zone(self, zone: str, language: str, written: str) -> None:
        assert formats.moment(NOON, ZoneInfo(zone), formats.locale_of(language)) == written


def due(amount: int | str, days: float, every: int = 30) -> Recurring:
    return Recurring(Decimal(amount), NOON + timedelta(days=days), every)


def pace_of(customer_id: int, *, at: datetime) -> Pace:
    return paces_of([customer_id], at=at)[customer_id]


class TestAPace:
    @pytest.mark.parametrize(
        ("calls", "recurring", "left", "days", "because"),
        [
            ("2", [], "10", 5.0, "calls alone"),
            ("0", [], "10", None, "no pace at all"),
            ("0.1", [], "10", None, "in a hundred days: too far away to say"),
            ("0", [due(24, 5)], "13.86", 5.0, "the fee is due on Saturday, whatever it comes to a day"),
            ("0", [due(10, 5)], "13.86", 35.0, "once is not enough: a period later"),
            ("1", [due(24, 5)], "13.86", 5.0, "calls until then leave less than the fee"),
            ("1", [due(24, 5)], "4", 4.0, "calls come first"),
            ("1", [due(5, 5)], "13", 8.0, "five days of calls, the fee, three more days"),
            ("0", [due(5, 5), due(5, 2)], "10", 5.0, "two items, in the order in which they fall due"),
            ("0", [due(1, 0.5, every=1)], "10", 9.5, "daily"),
            ("0", [due(-3, 1, every=1)], "10", None, "a credit"),
            ("0", [due(100, 95, every=365)], "10", None, "beyond ninety days"),
        ],
    )
    def test_tells_when_a_balance_is_spent(
        self, calls: str, recurring: list[Recurring], left: str, days: float | None, because: str
    ) -> None:
        pace = Pace(Decimal(calls), tuple(recurring))
        found = pace.days_until_spent(Decimal(left), at=NOON)
        assert (found if found is None else round(found, 6)) == days, because

    @pytest.mark.django_db
    def test_is_that_of_the_calls_of_two_weeks(self) -> None:
        lindqvist = make_customer()
        for amount, days in [("7", 1), ("7", 13.9), ("1000", 15), ("1000", 40)]:
            charge_calls(lindqvist, amount, at=days_ago(days))
        assert round(pace_of(lindqvist.pk, at=days_ago(0)).calls_a_day, 4) == 1

    @pytest.mark.django_db
    def test_of_a_customer_who_began_lately_counts_its_own_days(self) -> None:
        lindqvist = make_customer()
        charge_calls(lindqvist, "4", at=days_ago(4))
        charge_calls(lindqvist, "4", at=days_ago(0.1))
        assert round(pace_of(lindqvist.pk, at=days_ago(0)).calls_a_day, 3) == 2
        okafor = make_customer()
        charge_calls(okafor, "3", at=days_ago(0.01))
        assert pace_of(okafor.pk, at=days_ago(0)).calls_a_day == 3

    @pytest.mark.django_db
    def test_leaves_out_what_was_reversed_and_what_comes_once(self) -> None:
        lindqvist = make_customer()
        charge_calls(lindqvist, "14", at=days_ago(14.5))
        charge_calls(lindqvist, "14", at=days_ago(2))
        make_reversal(charge_calls(lindqvist, "500", at=days_ago(2)))
        make_entry(customer=lindqvist, kind="one_off", key="item:porting:2026", amount=-99, occurred_at=days_ago(1))
        assert round(pace_of(lindqvist.pk, at=days_ago(0)).a_day, 4) == 1

    @pytest.mark.django_db
    def test_counts_a_months_fee_until_it_comes_again(self) -> None:
        lindqvist = make_customer()
        for number, days in enumerate([62, 31.5, 1]):
            make_entry(
                customer=lindqvist,
                kind="recurring",
                key=f"item:trunk:{number}",
                amount=-31,
                occurred_at=days_ago(days),
                period_start=days_ago(days).date(),
                period_end=days_ago(days).date() + timedelta(days=31),
            )
        pace = pace_of(lindqvist.pk, at=days_ago(0))
        assert (pace.calls_a_day, pace.a_day, len(pace.recurring)) == (0, 1, 1)
        assert round((pace.recurring[0].next_at - days_ago(0)) / timedelta(days=1), 3) == 30

    @pytest.mark.django_db
    def test_reads_no_more_than_the_last_entries(self) -> None:
        lindqvist = make_customer()
        charge_calls(lindqvist, "5000", at=days_ago(10))
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO billing_ledgerentry (key, customer_id, kind, amount, currency, occurred_at, posted_at,
                    booked_month, charge_number, description, reason, entered_by, rate_id, billed_seconds)
                SELECT 'call:pbx-north:busy-' || n, %s, 'call', -0.01, 'GBP', at, now() - interval '2 days',
                    date_trunc('month', at AT TIME ZONE 'UTC'), 1, '', '', '', 1, 60
                FROM generate_series(1, %s) n, (SELECT now() - interval '1 hour' AS at) an_hour_ago
                """,
                [lindqvist.pk, PACE_ENTRIES],
            )
        assert round(pace_of(lindqvist.pk, at=days_ago(0)).calls_a_day, 2) == 25

    @pytest.mark.django_db
    def test_of_several_customers_is_each_ones_own(self) -> None:
        lindqvist, okafor, idle = make_customer(), make_customer(), make_customer()
        charge_calls(lindqvist, "14", at=days_ago(14.5))
        charge_calls(lindqvist, "14", at=days_ago(2))
        charge_calls(okafor, "3", at=days_ago(0.01))
        paces = paces_of([okafor.pk, lindqvist.pk, idle.pk, okafor.pk], at=days_ago(0))
        assert {customer: round(pace.calls_a_day, 3) for customer, pace in paces.items()} == {
            lindqvist.pk: 1, okafor.pk: 3, idle.pk: 0,
        }  # fmt: skip

    @pytest.mark.django_db
    def test_of_nothing_is_none(self) -> None:
        assert pace_of(make_customer(balance=Decimal(10)).pk, at=days_ago(0)) == Pace(Decimal(0), ())


@pytest.mark.django_db
class TestTheDateOfAMail:
    def test_is_the_databases_whatever_the_clock_here_shows(self) -> None:
        """A mail from years ago or ahead ends up where nobody looks."""
        with time_machine.travel(datetime(2016, 2, 3, tzinfo=UTC)):
            written = render(make_mail("low_balance"))
        message = message_from_bytes(written.message, policy=policy.default)
        assert message["Date"].datetime > NOON


@pytest.mark.django_db
class TestAMail:
    @pytest.mark.parametrize(
        ("kind", "subject", "sentences"),
        [
            (
                "low_balance",
                "Low balance: £4.20 on account 10001",
                ["Your balance is low", "Your balance has fallen below £10.00.", "Please top up your account"],
            ),
            (
                "reminder",
                "Reminder 2: balance still low, £4.20 on account 10001",
                ["Your balance is still low", "Your balance is still below £10.00, for 5 days now.", "number 2"],
            ),
            (
                "exhausted",
                "Balance used up: -£5.01 on account 10001",
                ["Your balance has fallen below zero: your service may be restricted.", "none"],
            ),
            ("restored", "Balance restored: £4.20 on account 10001", ["Your balance has recovered", "Thank you."]),
            (
                "apology",
                "Sorry: we wrote to you in error about account 10001",
                [
                    "Please disregard it: there is nothing that you need to do.",
                    "We are sorry for the trouble.",
                    "Low balance: £4.20 on account 10001",
                ],
            ),
        ],
    )
    def test_tells_its_facts_in_text_and_html_alike(self, kind: str, subject: str, sentences: list[str]) -> None:
        Partner.objects.filter(pk=harbour().pk).update(reply_to="help@harbour.example", language="en-GB")
        log = make_mail(kind, account="10001", name="Café Lindqvist")
        Episode.objects.filter(pk=log.episode_id).update(
            opened_at=days_ago(5), recovered_at=days_ago(1) if kind == "restored" else None
        )
        written = render(log)
        assert written.subject == subject
        assert written.reply_to == "help@harbour.example"
        assert written.sender.startswith("Harbour <billing@")
        balance = "-£5.01" if kind == "exhausted" else "£4.20"
        for part in (on_one_line(written.text), on_one_line(unescape(written.html))):
            for fact in [balance, "10001", "Café Lindqvist", "Harbour", "help@harbour.example", *sentences]:
                assert fact in part
            assert f"{days_ago(0).astimezone(ZoneInfo('Europe/London')):%H:}" in part, "as of when"
            assert part.count("GMT") + part.count("BST") >= 2, "as of, and since when"
        assert "{" not in written.text, "nothing of the template is left"

    def test_says_when_the_balance_will_be_spent(self) -> None:
        episode = make_fallen("6")
        charge_calls(episode.alert.customer, "28", at=days_ago(3))
        charge_calls(episode.alert.customer, "14", at=days_ago(15))
        text = on_one_line(render(make_owed("low_balance", episode)).text)
        assert "At its recent pace of about £2.00 a day, it will reach zero in about 3 days." in text

    def test_says_when_the_credit_limit_will_be_reached(self) -> None:
        episode = make_fallen("-2", credit_limit=22)
        charge_calls(episode.alert.customer, "280", at=days_ago(3))
        charge_calls(episode.alert.customer, "1", at=days_ago(15))
        text = on_one_line(render(make_owed("reminder", episode)).text)
        assert "it will reach your credit limit in about a day." in text

    @pytest.mark.parametrize(
        ("balance", "spent", "because"),
        [("4.20", None, "no pace"), ("9.99", "0.42", "too far away to say"), ("0.01", "0.014", "less than a penny")],
    )
    def test_says_nothing_of_a_pace_that_tells_nothing(self, balance: str, spent: str | None, because: str) -> None:
        episode = make_fallen(balance)
        if spent:
            charge_calls(episode.alert.customer, spent, at=days_ago(14.5))
            charge_calls(episode.alert.customer, spent, at=days_ago(3))
        assert "a day" not in render(make_owed("low_balance", episode)).text, because

    def test_tells_the_credit_limit_that_is_used_up(self) -> None:
        written = render(make_owed("exhausted", make_exhausted("-50.01", credit_limit=50)))
        assert "your credit limit of £50.00: your service may be restricted." in on_one_line(written.text)

    def test_stands_in_the_customers_zone_and_the_partners_language(self) -> None:
        adler = make_speaking("de", "EUR", "Europe/Berlin", slug="adler", name="Adler Telefon")
        episode = make_fallen("1004.20", "2000", partner=adler)
        Episode.objects.filter(pk=episode.pk).update(opened_at=NOON)
        text = render(make_owed("low_balance", episode)).text
        assert "1.004,20\N{NO-BREAK SPACE}€" in text
        assert "2. Juli 2026, 14:00 CEST" in text

    def test_escapes_what_is_written_in_html_and_nothing_in_text(self) -> None:
        Partner.objects.filter(pk=harbour().pk).update(name='Fish & "Chips" <Ltd>')
        written = render(make_owed("low_balance", make_fallen(name="<b>Müller</b> & Söhne's")))
        assert "<b>Müller</b> & Söhne's" in written.text
        assert 'Fish & "Chips" <Ltd>' in written.text
        assert "&amp;" not in written.text
        assert "&lt;b&gt;Müller&lt;/b&gt; &amp; Söhne&#39;s" in written.html
        assert "<b>" not in written.html
        assert "<Ltd>" not in written.html

    def test_lets_no_name_turn_the_words_around_it(self) -> None:
        written = render(make_owed("low_balance", make_fallen(name=f"{BAKERY}\u202e{BAKERY}")))
        assert f"Customer: \u2068{BAKERY}{BAKERY}\u2069\n" in written.text

    def test_needs_few_queries(self) -> None:
        for log, most in ((make_owed("low_balance"), 2), (make_apology(), 3)):
            with CaptureQueriesContext(
                connection,
            ) as queries:
                render(log)
            assert len(queries) <= most

    def test_comes_from_ivys_own_address_where_the_partner_has_none(self, settings: Any) -> None:
        settings.DEFAULT_FROM_EMAIL = "Ivy <ivy@billing.example.com>"
        log = make_owed()
        Partner.objects.update(sender="", reply_to="", sender_name="", name="Harbour")
        written = render(log)
        assert written.sender == "Harbour <ivy@billing.example.com>"
        assert "ivy@billing.example.com" in written.text

    def test_tells_of_an_erased_one_what_is_left(self) -> None:
        log = make_apology()
        NotificationContent.objects.filter(pk=log.errant_id).update(
            recipient="", sender="", reply_to="", subject="", text="", html="", erased_at=days_ago(1)
        )
        text = render(log).text
        assert "The mail in error" not in text
        assert "Sent: " in text

    def test_is_about_the_threshold_of_now(self) -> None:
        log = make_owed()
        BalanceAlert.objects.filter(pk=log.alert_id).update(threshold=8)
        assert "below £8.00" in render(log).text


@pytest.mark.django_db
class TestAnUnusableMail:
    @pytest.mark.parametrize(
        "name", ["Harbour\r\nBcc: everybody@example.com", "Har\x00bour".replace("\x00", "\x07"), "Har\u2028bour"]
    )
    def test_is_one_whose_partner_name_begins_another_header(self, name: str) -> None:
        log = make_owed()
        Partner.objects.update(name=name)
        with pytest.raises(Unusable, match=r"The name of the partner “harbour” holds a line break.*mend it \(Partners"):
            render(log)

    def test_is_one_whose_customer_name_or_account_holds_a_line_break(self) -> None:
        log = make_owed()
        Customer.objects.filter(pk=log.customer_id).update(name="Café\nLindqvist")
        with pytest.raises(Unusable, match="The name of the customer"):
            render(log)
        Customer.objects.filter(pk=log.customer_id).update(name="Café Lindqvist", account="10001\r\nX: y")
        with pytest.raises(Unusable, match=r"The account holds a line break or control character, “10001\?\?X: y”"):
            render(log)

    @pytest.mark.parametrize(
        ("fields", "reason"),
        [
            (
                {"sender": "billing"},
                "The sender address of the partner “harbour” can't be used, “billing” is no address",
            ),
            ({"sender": "a@b.example\nBcc: c@d.example"}, "can't be used, .* line break"),
            ({"reply_to": "help@"}, "The reply address of the partner “harbour” can't be used"),
            (
                {"sender": "\N{LATIN SMALL LETTER LONG S}upport@harbour.example"},
                "letters before the @ that few mail servers take",
            ),
        ],
    )
    def test_is_one_without_a_proper_sender(self, fields: dict[str, str], reason: str) -> None:
        log = make_owed()
        Partner.objects.update(**fields)
        with pytest.raises(Unusable, match=reason):
            render(log)

    @pytest.mark.parametrize("recipient", ["", "nobody", "a@b.example\r\nRCPT TO:<c@d.example>", "müller@example.net"])
    def test_is_one_that_cannot_reach_its_recipient(self, recipient: str) -> None:
        with pytest.raises(Unusable, match="The recipient can't be used"):
            render(make_owed(recipient=recipient))

    def test_is_one_of_a_kind_that_nobody_knows(self) -> None:
        with pytest.raises(Unusable, match="no mails of the kind “birthday”"):
            render(make_owed("birthday"))

    def test_is_one_about_nothing(self) -> None:
        with pytest.raises(Unusable, match="no fall"):
            render(make_owed(episode=None))

    def test_is_one_in_a_zone_that_is_none(self) -> None:
        log = make_owed()
        Customer.objects.update(timezone="XYZ5")  # PostgreSQL takes it, as the POSIX rule that it looks like
        with pytest.raises(Unusable, match=r"The time zone of the customer .*, “XYZ5”, is none: mend it \(Customers\)"):
            render(log)

    @pytest.mark.parametrize(
        ("source", "error"),
        [
            ("{% extends 'mail/base.txt' %}{% block headline %}", "TemplateSyntaxError"),
            ("{% include 'mail/nowhere.txt' %}", "TemplateNotFound"),
            ("{{ lead|round }}", "TypeError"),
            ("{{ nobody_tells_this }}", "UndefinedError"),
        ],
    )
    def test_is_one_whose_template_fails(self, settings: Any, tmp_path: Path, source: str, error: str) -> None:
        (tmp_path / "mail").mkdir()
        (tmp_path / "mail" / "low_balance.txt").write_text(source)
        *others, engine = settings.TEMPLATES
        settings.TEMPLATES = [*others, {**engine, "DIRS": [tmp_path, *engine["DIRS"]]}]
        with pytest.raises(Unusable, match=f"The template mail/low_balance.txt does not render: {error}"):
            render(make_owed("low_balance"))
        render(make_apology())

    def test_is_one_whose_template_is_missing(self, settings: Any, tmp_path: Path) -> None:
        settings.TEMPLATES = [{**settings.TEMPLATES[-1], "DIRS": [tmp_path]}]
        with pytest.raises(Unusable, match=r"The template mail/low_balance\.txt does not render: TemplateDoesNotExist"):
            render(make_owed("low_balance"))


class TestTheBenchmark:
    @pytest.mark.parametrize("ending", ["txt", "html"])
    def test_has_post_office_write_the_same_mail(self, ending: str) -> None:
        told = {
            "words": words_of(formats.ENGLISH),
            "subject": "Low balance: €5.00 on account C1",
            "lead": "Your balance has fallen below €10.00.",
            "rows": [("Alert set at", "€10.00"), ("Account", "C1")],
            "partner": "Fish & Chips",
            "ask": "help@quayside.example",
            "account": "C1",
            "balance": "€5.00",
            "as_of": "2 March 2026, 10:35 CET",
            "can_be_declined": False,
        }
        templates = Path(benchmarks.__file__).with_name("templates")
        django = Engine(dirs=[str(templates)], libraries={"mails": "benchmarks.as_django"})
        theirs = django.get_template(f"as_django/low_balance.{ending}").render(Context(told))
        ours = get_template(f"mail/low_balance.{ending}", using="mails").render(told)
        assert "€5.00" in ours
        assert theirs.strip() == ours.strip()


@pytest.mark.django_db
class TestAMessage:
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_the_same_bytes_at_every_try(self, kind: str) -> None:
        log = make_mail(kind)
        frozen(log, render(log))
        tries = []
        for _ in range(2):
            again = NotificationLog.objects.select_related("content", "customer").get(pk=log.pk)
            tries.append(assemble(again, again.content))
        assert tries[0] == tries[1]
        assert b"\n" not in tries[0].replace(b"\r\n", b"")
        assert max(map(len, tries[0].split(b"\r\n"))) <= 998
        assert tries[0].isascii(), "no server needs 8BITMIME"

    def test_has_the_headers_that_people_and_servers_expect(self) -> None:
        Partner.objects.filter(pk=harbour().pk).update(name="Müller, Söhne & Co", reply_to="help@harbour.example")
        log = make_owed(recipient="café@example.net".replace("é", "e"))
        content = frozen(log, render(log))
        message = message_from_bytes(assemble(log, content), policy=policy.default)
        assert message["From"].addresses == (Address("Müller, Söhne & Co", addr_spec=harbour().sender),)
        assert (message["To"], message["Reply-To"]) == ("cafe@example.net", "help@harbour.example")
        assert message["Subject"] == content.subject
        assert message["Date"].datetime == FROZEN.replace(microsecond=0)
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["X-Auto-Response-Suppress"] == "All"
        assert message["Precedence"] is None
        assert message.get_content_type() == "multipart/alternative"
        text, html = message.iter_parts()
        assert (text.get_content_type(), text.get_content().splitlines()) == ("text/plain", content.text.splitlines())
        assert (html.get_content_type(), html.get_content().splitlines()) == ("text/html", content.html.splitlines())

    def test_keeps_its_message_id_to_the_letter_however_long(self) -> None:
        log = make_owed()
        content = frozen(log, render(log))
        assert f"\r\nMessage-ID: {log.message_id}\r\n".encode() in assemble(log, content)

    @pytest.mark.parametrize(("kind", "is_declined"), list(zip(KINDS, [False, True, False, True, False], strict=True)))
    def test_can_be_declined_where_no_contract_needs_it(self, kind: str, is_declined: bool) -> None:
        log = make_mail(kind, account="10001")
        content = frozen(log, render(log))
        header = f"\r\nList-Unsubscribe: <mailto:{harbour().sender}?subject=Unsubscribe%20account%2010001>\r\n".encode()
        assert (header in assemble(log, content)) is is_declined
        assert ("rather not get mails like this" in on_one_line(content.text)) is is_declined

    def test_goes_to_domains_in_the_letters_of_the_dns(self) -> None:
        log = make_owed(recipient="kasse@bücher.example")
        assert b"\r\nTo: kasse@xn--bcher-kva.example\r\n" in assemble(log, frozen(log, render(log)))

    @pytest.mark.parametrize("kind", KINDS)
    def test_is_the_same_for_other_backends(self, kind: str) -> None:
        Partner.objects.filter(pk=harbour().pk).update(name='Müller, "Söhne" & Co', reply_to="help@harbour.example")
        log = make_mail(kind)
        content = frozen(log, render(log))
        ours = message_from_bytes(assemble(log, content), policy=policy.default)
        theirs = message_from_bytes(for_backend(log, content).message().as_bytes(), policy=policy.default)
        for name in set(ours.keys()) - {"Content-Type", "MIME-Version"}:
            assert theirs[name].strip() == ours[name]  # a folded line may begin with a space
        assert set(theirs.keys()) - {"Content-Transfer-Encoding"} == set(ours.keys())
        assert [part.get_content().split() for part in theirs.iter_parts()] == [
            part.get_content().split() for part in ours.iter_parts()
        ]

    def test_goes_out_through_any_backend(self, mailoutbox: list[Any]) -> None:
        log = make_owed()
        for_backend(log, frozen(log, render(log))).send()
        assert [mail.to for mail in mailoutbox] == [[log.content.recipient]]


def telling(**fields: str) -> tuple[NotificationLog, NotificationContent]:
    """A mail that says this, in no database."""
    message_id = fields.pop("message_id", f"<{'a' * 64}@ivy.example>")
    log = NotificationLog(key="low_balance:1", kind="low_balance", message_id=message_id)
    usual = {
        "recipient": "accounts@example.net",
        "sender": "Harbour <billing@harbour.example>",
        "subject": "Low balance",
        "text": "Hello\n",
        "html": "<p>Hello</p>\n",
    }
    return log, NotificationContent(frozen_at=FROZEN, **usual | fields)


LINE_ENDS = ["\r\n", "\n", "\r", "\x0b", "\x85", "\u2028", "\r\n\r\n"]
PRINTABLE = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1, max_size=200)


class TestHeadersOfAnyName:
    @given(name=PRINTABLE, subject=PRINTABLE)
    @example(name="=?utf-8?q?Harbour?=", subject="=?utf-8?q?Low_balance?=")
    @example(name="\N{TELEPHONE RECEIVER}" * 60, subject="\N{TELEPHONE RECEIVER}" * 200)
    @example(name="Harbour " * 30, subject="a" + " " * 190 + "b")
    def test_read_back_as_they_were_written(self, name: str, subject: str) -> None:
        log, content = telling(sender=str(Address(name, addr_spec="billing@harbour.example")), subject=subject)
        raw = assemble(log, content)
        message = message_from_bytes(raw, policy=policy.default)
        assert [sender.addr_spec for sender in message["From"].addresses] == ["billing@harbour.example"]
        # Not by `display_name`: some versions of Python put spaces between the words that make up a long name.
        encoded, _ = parseaddr(message_from_bytes(raw)["From"])
        assert str(make_header(decode_header(encoded))).split() == name.split()
        assert str(message["Subject"]).split() == subject.split()
        assert message["Bcc"] is None
        assert len(message.keys()) == 9
        assert raw.isascii()
        assert assemble(log, content) == raw

    @pytest.mark.parametrize(
        ("recipient", "read"),
        [
            ("kasse@bücher.example", "kasse@xn--bcher-kva.example"),
            ("o'brien+alerts@example.net", "o'brien+alerts@example.net"),
            ('"a, \\"b\\" <c@d.example>"@example.net', '"a, \\"b\\" <c@d.example>"@example.net'),
        ],
    )
    def test_name_one_recipient_whatever_its_address(self, recipient: str, read: str) -> None:
        message = message_from_bytes(assemble(*telling(recipient=recipient)), policy=policy.default)
        assert [address.addr_spec for address in message["To"].addresses] == [read]

    @pytest.mark.parametrize("end", LINE_ENDS)
    def test_never_begin_another(self, end: str) -> None:
        for what in ("subject", "message_id"):
            with pytest.raises(ValueError, match="holds a line break"):
                assemble(*telling(**{what: f"<1@ivy.example>{end}Bcc: everybody@example.com"}))
        for name in (f"Harbour{end}Bcc: everybody@example.com", f'"Harbour{end}Bcc: everybody@example.com"'):
            for what in ("sender", "recipient", "reply_to"):
                try:
                    raw = assemble(*telling(**{what: f"{name} <a@example.net>"}))
                except (ValueError, HeaderParseError):
                    continue
                assert b"\r\nBcc" not in raw
                assert message_from_bytes(raw, policy=policy.default)["Bcc"] is None


LINE_BREAK = re.compile("\r\n|\r|\n")
# What transports and encodings stumble over, in any order.
NASTY = st.lists(
    st.sampled_from(
        ["=20", "=", "=\r\n", " ", "\t", " \n", "\t\r\n", "\r", "\n", "\n\n", ".", "\n.\n", "\r\n..", "\n--=_"]
    )
    | st.sampled_from(
        ["\nFrom ", "\n-- \n", "x" * 73, "x" * 75, "x" * 76, "x" * 1000, " " * 80, "é", "\u2028", "\ufeff"]
    )
    | st.sampled_from(["\N{TELEPHONE RECEIVER}", "\x00", "\x7f", "\x0b", "\x0c", "\x85"])
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
    max_size=12,
).map("".join)


class TestAMessageOfAnyWords:
    @given(text=NASTY, html=NASTY)
    def test_reads_as_it_was_written_but_for_how_lines_end(self, text: str, html: str) -> None:
        raw = assemble(*telling(text=text, html=html))
        message = message_from_bytes(raw, policy=policy.default)
        plain, rich = message.iter_parts()
        assert [(part.get_content_type(), part.get_content_charset()) for part in (plain, rich)] == [
            ("text/plain", "utf-8"),
            ("text/html", "utf-8"),
        ]
        for part, said in ((plain, text), (rich, html)):
            lines = LINE_BREAK.sub("\r\n", said)
            assert part.get_content() == lines + ("" if not lines or lines.endswith("\r\n") else "\r\n")
        assert [part.defects for part in (message, plain, rich)] == [[], [], []]

    @given(text=NASTY, html=NASTY)
    def test_passes_every_server_unchanged(self, text: str, html: str) -> None:
        raw = assemble(*telling(text=text, html=html))
        assert raw.isascii()
        assert b"\0" not in raw
        lines = raw.split(b"\r\n")
        assert not any(b"\r" in line or b"\n" in line for line in lines)
        assert not any(line.endswith((b" ", b"\t")) for line in lines), "which some servers cut off"
        assert max(map(len, raw.partition(b"\r\n\r\n")[2].split(b"\r\n"))) <= 76
        assert assemble(*telling(text=text, html=html)) == raw
