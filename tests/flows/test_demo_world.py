"""The demo world as text: believable, consistent in itself, and the same whoever makes it. No database."""

import csv
import os
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from billing.imports import csvfile, items, partners, payments
from ivy.demo import fiction
from ivy.demo.world import World, build

AUTUMN_DAY = date(2026, 11, 23)  # clocks went back in between, on both sides of the Atlantic, on different days
AWKWARD_DAYS = [
    date(2026, 3, 31),  # two months before: 31 January
    date(2026, 4, 30),  # no 30 February
    date(2024, 4, 29),  # but a 29th
    date(2027, 1, 1),  # over New Year
]
# fmt: off
MASTER_CSV = [
    "accountcode", "src", "dst", "dcontext", "clid", "channel", "dstchannel", "lastapp", "lastdata", "start", "answer",
    "end", "duration", "billsec", "disposition", "amaflags", "uniqueid", "userfield", "peeraccount", "linkedid",
    "sequence",
]
# fmt: on
TELL_EVERYTHING = """
import sys
from datetime import date
from ivy.demo.world import build
world = build(date.fromisoformat(sys.argv[1]))
print(world.sources, world.partners, world.customers, world.items, world.payments, world.expected_balances)
print(*(deck.csv for deck in world.decks), *(line for file in world.call_files for line in file.lines()))
"""
PRICED_BY_NOBODY = "46"  # Sweden, in the price list of the American partner
QUARANTINED_SHARE = 0.01


@pytest.fixture(scope="module")
def world() -> World:
    return build(AUTUMN_DAY)


def rows_of(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(text.splitlines()))


def calls_of(world: World, source_format: str) -> list[dict[str, str]]:
    """The lines of the call files in a format; those of Asterisk have no header."""
    sources = {source.name for source in world.sources if source.format == source_format}
    columns = MASTER_CSV if source_format == "asterisk" else None
    return [
        row
        for file in world.call_files
        if file.source in sources
        for row in csv.DictReader(file.lines(), columns, strict=True)
    ]


def told_elsewhere(**environment: str) -> bytes:
    answer = subprocess.run(
        [sys.executable, "-c", TELL_EVERYTHING, str(AUTUMN_DAY)],
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONIOENCODING": "utf-8", **environment},
        capture_output=True,
        check=True,
    )
    return answer.stdout


def identities_of(world: World) -> dict[tuple[str, str], str]:
    """(kind, value) to account, as the customers file says; numbers as digits."""
    found = {}
    for customer in rows_of(world.customers):
        found["code", customer["account"]] = customer["account"]
        for identity in filter(None, customer["call_identities"].split(";")):
            kind, value = identity.split(":")
            key = kind, value.split("@")[0].removeprefix("+")
            assert key not in found, f"{identity} names two customers"
            found[key] = customer["account"]
    return found


def international(dialled: str, region: str) -> str:
    """A number in international form, by the dialling rules of the switch's country."""
    own, trunk, foreign = {"DE": ("49", "0", "00"), "GB": ("44", "0", "00"), "US": ("1", "1", "011")}[region]
    for beginning, meaning in (("+", ""), (foreign, ""), (trunk, own)):
        if dialled.startswith(beginning):
            return meaning + dialled.removeprefix(beginning)
    return dialled


class TestTheWorld:
    def test_is_the_same_wherever_it_is_made(self) -> None:
        here = told_elsewhere(PYTHONHASHSEED="1", TZ="UTC", LC_ALL="C")
        there = told_elsewhere(PYTHONHASHSEED="2019", TZ="Asia/Kathmandu", LC_ALL="C.UTF-8")
        assert len(here) > 1_000_000
        assert here == there

    @pytest.mark.parametrize("today", [AUTUMN_DAY, *AWKWARD_DAYS], ids=str)
    def test_can_be_made_for_any_day(self, today: date) -> None:
        world = build(today)
        assert 58 <= (world.today - world.opening_on).days <= 62
        assert 18_000 <= sum(1 for file in world.call_files for _ in file.lines()) <= 22_000
        thresholds = {row["account"]: Decimal(row["low_balance_threshold"]) for row in rows_of(world.customers)}
        below = [account for account, balance in world.expected_balances.items() if balance < thresholds[account]]
        to_be_told = [row for row in rows_of(world.customers) if row["account"] in below and row["status"] == "active"]
        assert 3 <= len(to_be_told) <= 6
        assert sum(20 <= balance <= 500 for balance in world.expected_balances.values()) >= 45


class TestItsPeople:
    def test_belong_to_three_partners_with_a_currency_each(self, world: World) -> None:
        assert {row["currency"] for row in rows_of(world.partners)} == {"EUR", "GBP", "USD"}
        slugs = [row["slug"] for row in rows_of(world.partners)]
        assert set(slugs) == {row["partner"] for row in rows_of(world.customers)}

    def test_are_about_sixty_in_several_time_zones(self, world: World) -> None:
        customers = rows_of(world.customers)
        assert 55 <= len(customers) <= 65
        assert len({row["account"] for row in customers}) == len(customers)
        assert len({row["timezone"] for row in customers}) > 8
        assert Counter(row["status"] for row in customers) == {
            "active": len(customers) - 3,
            "suspended": 2,
            "closed": 1,
        }

    def test_can_be_written_to_at_example_domains_only(self, world: World) -> None:
        addresses = [row["email"] for row in rows_of(world.customers)]
        addresses += [row[column] for row in rows_of(world.partners) for column in ("sender", "reply_to")]
        assert all(re.fullmatch(r"[a-z]+@[a-z0-9-]+\.example", address) for address in addresses)

    def test_have_decks_that_exist_in_their_currency(self, world: World) -> None:
        currencies = {deck.name: deck.currency for deck in world.decks}
        for row in rows_of(world.partners) + rows_of(world.customers):
            for column in ("rate_deck", "inbound_deck"):
                assert not row.get(column) or currencies[row[column]] == row["currency"]

    def test_do_not_come_into_ivy_below_their_threshold(self, world: World) -> None:
        for row in rows_of(world.customers):
            assert Decimal(row["opening_balance"]) >= Decimal(row["low_balance_threshold"]), row["name"]

    def test_are_called_by_identities_that_name_one_of_them(self, world: World) -> None:
        kinds = Counter(kind for kind, _ in identities_of(world))
        assert kinds["code"] > kinds["peer"] > 5
        assert kinds["number"] > 100


class TestItsFiles:
    @pytest.mark.parametrize(("name", "reader"), [("partners", partners), ("items", items), ("payments", payments)])
    def test_are_read_without_an_error(self, world: World, name: str, reader: object) -> None:
        sheet = csvfile.read(getattr(world, name), reader.COLUMNS)  # type: ignore[attr-defined]
        for row in sheet.rows:
            sheet.values(row)
        assert sheet.row_count > 0
        assert sheet.errors == []

    def test_mention_only_accounts_that_exist(self, world: World) -> None:
        accounts = {row["account"] for row in rows_of(world.customers)}
        assert {row["account"] for row in rows_of(world.items)} <= accounts
        assert {row["account"] for row in rows_of(world.payments)} <= accounts

    def test_name_everything_once(self, world: World) -> None:
        for text in (world.items, world.payments):
            references = [row["reference"] for row in rows_of(text)]
            assert len(set(references)) == len(references)
            assert all(reference.startswith("DEMO-") for reference in references)

    def test_give_nobody_who_is_closed_an_item(self, world: World) -> None:
        closed = {row["account"] for row in rows_of(world.customers) if row["status"] == "closed"}
        assert not closed & {row["account"] for row in rows_of(world.items)}


class TestItsItems:
    def test_are_of_every_kind(self, world: World) -> None:
        rows = rows_of(world.items)
        assert {row["interval"] for row in rows} == {"", "day", "week", "month", "quarter", "year"}
        assert {row["timing"] for row in rows} == {"advance", "arrears"}
        assert {row["proration"] for row in rows} == {"days", "fixed_30", "none"}
        assert {"1", "15", "28", "31"} <= {row["bill_cycle_day"] for row in rows}
        assert {"1", "2"} <= {row["interval_count"] for row in rows}
        assert any(row["amount"].startswith("-") for row in rows)
        assert any(row["ends_on"] and row["ends_on"] < str(AUTUMN_DAY) for row in rows)
        assert any(row["starts_on"] > str(AUTUMN_DAY) for row in rows)

    def test_begin_no_earlier_than_the_world(self, world: World) -> None:
        assert min(row["starts_on"] for row in rows_of(world.items)) >= str(world.opening_on)


class TestItsPayments:
    def test_are_received_within_the_two_months(self, world: World) -> None:
        rows = rows_of(world.payments)
        assert len(rows) > 60
        assert all(str(world.opening_on) <= row["received_at"] < str(world.today) for row in rows)

    def test_include_one_refund(self, world: World) -> None:
        assert sum(Decimal(row["amount"]) < 0 for row in rows_of(world.payments)) == 1


class TestItsPriceLists:
    def test_have_a_few_thousand_prefixes_with_one_price_at_a_time(self, world: World) -> None:
        assert 3_000 < len({(deck.name, rate.prefix) for deck in world.decks for rate in deck.rates}) < 8_000
        for deck in world.decks:
            validities = [(rate.prefix, rate.valid_from) for rate in deck.rates]
            assert len(set(validities)) == len(validities)
            assert all(re.fullmatch("[1-9][0-9]{0,6}", rate.prefix) for rate in deck.rates)
            assert all(rate.destination for rate in deck.rates)

    def test_change_in_the_middle(self, world: World) -> None:
        changes = {rate.valid_from for deck in world.decks for rate in deck.rates} - {None}
        assert len(changes) == 1
        middle = world.opening_on + (world.today - world.opening_on) / 2
        assert abs(changes.pop() - middle) <= timedelta(days=1)

    def test_have_all_that_a_price_can_have(self, world: World) -> None:
        rates = [rate for deck in world.decks for rate in deck.rates]
        assert {(60, 60), (1, 1), (30, 6)} <= {(rate.first_increment, rate.increment) for rate in rates}
        assert any(rate.connect_fee for rate in rates)
        assert any(rate.minimum_charge for rate in rates)
        assert any(rate.price_per_minute == 0 for rate in rates)

    @pytest.mark.parametrize(
        ("deck", "number", "day", "seconds", "price"),
        [
            ("eur-retail", "491713920000", date(2026, 10, 1), 61, "0.0630"),  # 0.062 a minute, 60/1
            ("eur-retail", "491713920000", date(2026, 11, 1), 61, "0.0706"),  # 0.0694 since the change; half up
            ("eur-premium", "493023125000", date(2026, 10, 1), 7, "0.00145"),  # 0.0124 x 7/60 = 0.001446…, up
            ("gbp-retail", "491713920000", date(2026, 10, 1), 31, "0.0478"),  # 0.015 + 0.0546 x 36/60
            ("usd-retail", "493023125000", date(2026, 10, 1), 30, "0.0500"),  # the minimum
            ("usd-retail", "46846500400", date(2026, 10, 1), 30, None),  # forgotten
            ("gbp-retail", "448081570000", date(2026, 10, 1), 600, "0.0000"),
        ],
    )
    def test_say_what_a_call_costs(
        self, *, world: World, deck: str, number: str, day: date, seconds: int, price: str | None
    ) -> None:
        noon = datetime(day.year, day.month, day.day, 12, tzinfo=UTC)
        by_name = {one.name: one for one in world.decks}
        expected = by_name[deck].expected_price(number, noon, seconds)
        assert (None if expected is None else str(expected)) == price


class TestItsCalls:
    def test_use_numbers_that_ring_nobody(self, world: World) -> None:
        regions = {source.name: source.region for source in world.sources}
        for file in world.call_files:
            is_asterisk = not next(file.lines()).startswith("call_id")
            for row in csv.DictReader(file.lines(), MASTER_CSV if is_asterisk else None):
                names = ("src", "dst") if is_asterisk else ("from_number", "to_number")
                if is_asterisk and row["channel"].startswith("Local/"):
                    continue  # its target is an extension
                for name in names:
                    number = international(row[name], regions[file.source])
                    redialled = number[: len(number) // 2]
                    assert fiction.is_fictional(number) or number == redialled * 2

    def test_lie_between_the_two_midnights(self, world: World) -> None:
        for row in calls_of(world, "ivy"):
            assert f"{world.opening_on}T00:00:00Z" <= row["started_at"] <= row["ended_at"] < f"{world.today}T00:00:00Z"
        zone = ZoneInfo("Europe/Berlin")
        for row in calls_of(world, "asterisk"):
            started_at = datetime.fromtimestamp(int(row["uniqueid"].split(".")[0]), UTC)
            assert f"{started_at.astimezone(zone):%Y-%m-%d %H:%M:%S}" == row["start"]
            assert world.opening_on <= started_at.date() < world.today

    def test_have_seconds_that_agree_with_their_times(self, world: World) -> None:
        for row in calls_of(world, "ivy"):
            ended_at = datetime.fromisoformat(row["ended_at"])
            answered_at = datetime.fromisoformat(row["answered_at"]) if row["answered_at"] else ended_at
            assert (row["disposition"] == "ANSWERED") == bool(row["answered_at"])
            assert (ended_at - answered_at).total_seconds() == int(row["billsec"])

    def test_follow_the_working_day(self, world: World) -> None:
        weekdays: Counter[int] = Counter()
        hours: Counter[int] = Counter()
        for row in calls_of(world, "asterisk"):
            start = datetime.fromisoformat(row["start"])
            weekdays[start.weekday()] += 1
            hours[start.hour] += 1
        assert weekdays[1] > 2 * weekdays[6]
        assert hours[10] > 5 * hours[22]

    def test_are_answered_mostly_and_short_mostly(self, world: World) -> None:
        rows = calls_of(world, "ivy") + calls_of(world, "asterisk")
        outcomes = Counter(row["disposition"] for row in rows)
        assert outcomes.keys() == {"ANSWERED", "NO ANSWER", "BUSY", "FAILED"}
        assert 0.7 < outcomes["ANSWERED"] / len(rows) < 0.9
        seconds = sorted(int(row["billsec"]) for row in rows if row["disposition"] == "ANSWERED")
        assert 60 < seconds[len(seconds) // 2] < 180
        assert seconds[-1] > 2400

    def test_have_inbound_and_internal_ones_among_them(self, world: World) -> None:
        assert 0.2 < sum(row["direction"] == "inbound" for row in calls_of(world, "ivy")) / 11_000 < 0.6
        assert sum("Local/" in row["channel"] for row in calls_of(world, "asterisk")) > 300

    def test_come_twice_now_and_then(self, world: World) -> None:
        for source in world.sources:
            lines = [line for file in world.call_files if file.source == source.name for line in file.lines()]
            repeated = len(lines) - len(set(lines))
            assert 3 <= repeated <= 30
        ids = [tuple(row.values()) for row in calls_of(world, "ivy")]
        assert len({row[0] for row in ids}) == len(set(ids)), "one id stands for two calls"

    def test_are_quarantined_rarely_and_for_every_reason(self, world: World) -> None:
        """Each is looked up by the rules that Ivy follows: account code, peer, calling number, called number."""
        identities = identities_of(world)
        reasons: Counter[str] = Counter()
        for row in calls_of(world, "ivy"):
            region = "GB" if row["call_id"].startswith("sw-london") else "US"
            target = international(row["to_number"], region)
            who = (
                identities.get(("code", row["account"]))
                or identities.get(("number", international(row["from_number"], region)))
                or identities.get(("number", target))
            )
            reasons[reason(who, target, region, row)] += 1
        for row in calls_of(world, "asterisk"):
            if row["channel"].startswith("Local/"):
                continue
            target = international(row["dst"], "DE")
            peers = [row[name].removeprefix("PJSIP/").rsplit("-", 1)[0] for name in ("channel", "dstchannel")]
            who = (
                identities.get(("code", row["accountcode"]))
                or identities.get(("peer", peers[0]))
                or identities.get(("number", international(row["src"], "DE")))
                or identities.get(("peer", peers[1]))
                or identities.get(("number", target))
            )
            reasons[reason(who, target, "DE", row)] += 1
        total = sum(reasons.values())
        assert reasons.keys() == {"", "no customer", "impossible number", "no rate"}
        assert 20 < total - reasons[""] < QUARANTINED_SHARE * total


def reason(who: str | None, target: str, region: str, row: dict[str, str]) -> str:
    """Why the call goes to quarantine; nothing if it does not."""
    if row["billsec"] == "0":
        return ""
    if who is None:
        return "no customer"
    if len(target) > 20:
        return "impossible number"
    return "no rate" if region == "US" and target.startswith(PRICED_BY_NOBODY) else ""
