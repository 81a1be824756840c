"""Price lists. The prefixes are the world's, out of the phonenumbers metadata; the prices are made up.

Besides every country's calling code there are its mobile prefixes (two digits after the calling code), where they can
be told from area codes, and area codes of the countries that a deck calls home.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime
from decimal import ROUND_CEILING, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from functools import cache, cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import COUNTRY_CODE_TO_REGION_CODE, PhoneNumber, geocoder
from phonenumbers.carrierdata import CARRIER_DATA
from phonenumbers.geodata import GEOCODE_DATA

from ivy.demo.csvtext import csv_text
from ivy.demo.dice import Dice

FIXED, MOBILE, FREE, SATELLITE = "fixed", "mobile", "free", "satellite"
NOT_IN_THE_METADATA = {
    "247": "Ascension Island",
    "383": "Kosovo",
    "800": "International freephone",
    "808": "International shared cost",
    "870": "Inmarsat",
    "878": "Universal personal numbers",
    "881": "Global satellite",
    "882": "International networks",
    "883": "International networks",
    "888": "Humanitarian affairs",
    "979": "International premium rate",
}
SATELLITES = {"870", "881", "882", "883", "979"}
FREEPHONE_PREFIXES = (
    "800", "1800", "1833", "1844", "1855", "1866", "1877", "1888",
    "3531800", "33800", "44800", "44808", "4620", "49800", "611800",
)  # fmt: skip
MOST_MOBILE_PREFIXES = 14  # of a country; one with more has one price for all of it
LONGEST_PREFIX = 7

# Euros a minute, to landlines and to mobiles: by the first digit of the calling code, and for neighbours and friends.
FAR = {
    "1": ("0.19", "0.24"),
    "2": ("0.23", "0.31"),
    "3": ("0.05", "0.19"),
    "4": ("0.05", "0.19"),
    "5": ("0.09", "0.17"),
    "6": ("0.12", "0.16"),
    "7": ("0.08", "0.11"),
    "8": ("0.07", "0.09"),
    "9": ("0.13", "0.18"),
}
NEAR = {
    "1": ("0.012", "0.012"),
    "31": ("0.015", "0.068"),
    "33": ("0.014", "0.059"),
    "34": ("0.015", "0.065"),
    "39": ("0.017", "0.089"),
    "41": ("0.022", "0.148"),
    "43": ("0.018", "0.085"),
    "44": ("0.013", "0.049"),
    "46": ("0.014", "0.055"),
    "49": ("0.011", "0.062"),
    "61": ("0.021", "0.074"),
    "353": ("0.016", "0.064"),
}
REPRICED = {
    ("1", FIXED): "0.90",
    ("33", MOBILE): "1.20",
    ("44", MOBILE): "0.85",
    ("46", MOBILE): "1.10",
    ("49", MOBILE): "1.12",
    ("61", MOBILE): "0.90",
    ("353", MOBILE): "1.15",
}


class Rate(NamedTuple):
    """A line of a rates file."""

    prefix: str
    destination: str
    price_per_minute: Decimal
    connect_fee: Decimal
    minimum_charge: Decimal
    first_increment: int
    increment: int
    valid_from: date | None


class Terms(NamedTuple):
    """What makes one deck different from another: the fields of a deck, and how its rates are made.

    `factor` turns the euros below into the deck's prices; `home` are the calling codes with area codes and increments
    of their own; increments are (first, further) seconds; `gaps` are calling codes without a rate.
    """

    name: str
    currency: str
    decimals: int
    rounding: str
    timezone: str
    factor: str
    home: tuple[str, ...]
    home_increments: tuple[int, int]
    increments: tuple[int, int]
    connect_fee: str = "0"
    minimum_charge: str = "0"
    gaps: tuple[str, ...] = ()


OUTBOUND_TERMS = (
    Terms("eur-retail", "EUR", 4, "half-up", "Europe/Berlin", "1.00", ("49", "353", "46"), (60, 1), (60, 60)),
    Terms("eur-premium", "EUR", 5, "up", "Europe/Berlin", "1.25", ("49",), (1, 1), (1, 1)),
    Terms("gbp-retail", "GBP", 4, "half-up", "Europe/London", "0.88", ("44",), (1, 1), (30, 6), connect_fee="0.015"),
    # Nobody has agreed on a price for Sweden: calls there wait in quarantine until somebody does.
    Terms(
        "usd-retail",
        "USD",
        4,
        "half-even",
        "America/New_York",
        "1.10",
        ("1",),
        (6, 6),
        (30, 6),
        minimum_charge="0.05",
        gaps=("46",),
    ),
)
_ROUNDINGS = {"half-up": ROUND_HALF_UP, "up": ROUND_CEILING, "half-even": ROUND_HALF_EVEN}


@dataclass(frozen=True)
class Deck:
    """A price list with its deck-wide options, as `import_rates` takes them."""

    name: str
    currency: str
    decimals: int
    rounding: str
    timezone: str
    rates: tuple[Rate, ...]

    @cached_property
    def csv(self) -> str:
        return csv_text(Rate._fields, self.rates)

    @cached_property
    def _by_prefix(self) -> dict[str, list[Rate]]:
        found: dict[str, list[Rate]] = {}
        for rate in self.rates:
            found.setdefault(rate.prefix, []).append(rate)
        return found

    def expected_price(self, number: str, answered_at: datetime, seconds: int) -> Decimal | None:
        """What a call should cost, worked out apart from Ivy's own price rule; None without a rate.

        The demo world chooses payments by it, so that balances come out as they should. Nothing is charged by it.
        """
        answered_on = answered_at.astimezone(ZoneInfo(self.timezone)).date()
        for length in range(min(len(number), LONGEST_PREFIX), 0, -1):
            for rate in reversed(self._by_prefix.get(number[:length], [])):
                if rate.valid_from is None or rate.valid_from <= answered_on:
                    return self._rounded(rate, seconds)
        return None

    def _rounded(self, rate: Rate, seconds: int) -> Decimal:
        further = max(0, seconds - rate.first_increment)
        billed = rate.first_increment + -(-further // rate.increment) * rate.increment
        price = max(rate.connect_fee + rate.price_per_minute * billed / 60, rate.minimum_charge)
        return price.quantize(Decimal(1).scaleb(-self.decimals), _ROUNDINGS[self.rounding])


def decks(repriced_on: date) -> list[Deck]:
    """All price lists. Some prices change on one day in the middle of the two months."""
    lists = [Deck(*terms[:5], tuple(_outbound_rates(terms, repriced_on))) for terms in OUTBOUND_TERMS]
    return [*lists, _inbound_deck()]


def _inbound_deck() -> Deck:
    """What customers pay for calls that reach them: something for their freephone numbers, nothing for others."""

    def rate(prefix: str, destination: str, price: str) -> Rate:
        return Rate(prefix, destination, Decimal(price), Decimal(0), Decimal(0), 1, 1, None)

    rates = (rate("44", "Incoming, United Kingdom", "0"), rate("44808", "Incoming, freephone", "0.032"))
    return Deck("gbp-inbound", "GBP", 4, "half-up", "Europe/London", rates)


def _outbound_rates(terms: Terms, repriced_on: date) -> Iterable[Rate]:
    for prefix, (destination, sort, code) in sorted(_prefixes().items()):
        is_area = sort == FIXED and prefix != code and not code.startswith("1 ")
        if code in terms.gaps or (is_area and code not in terms.home):
            continue
        price = _euros(code, sort) * Decimal(terms.factor)
        if is_area:
            price *= Decimal("0.9")
        is_cheap = code in terms.home or sort == FREE
        first_increment, increment = terms.home_increments if code in terms.home else terms.increments
        rate = Rate(
            prefix,
            destination,
            _four_decimals(price),
            connect_fee=Decimal("0.25") if sort == SATELLITE else Decimal("0" if is_cheap else terms.connect_fee),
            minimum_charge=Decimal("0" if is_cheap else terms.minimum_charge),
            first_increment=first_increment,
            increment=increment,
            valid_from=None,
        )
        yield rate
        if factor := REPRICED.get((code, sort)):
            new_price = _four_decimals(rate.price_per_minute * Decimal(factor))
            yield rate._replace(price_per_minute=new_price, valid_from=repriced_on)


def _euros(code: str, sort: str) -> Decimal:
    """The price a minute before currency and mark-up, the same for all prefixes of a sort in one country."""
    if sort == FREE:
        return Decimal(0)
    if sort == SATELLITE:
        return Decimal("4.90")
    if code in NEAR:
        return Decimal(NEAR[code][sort == MOBILE])
    return Decimal(FAR[code[0]][sort == MOBILE]) * _spread(code)


@cache
def _spread(code: str) -> Decimal:
    """How much dearer or cheaper a country is than its neighbours."""
    return Decimal(Dice(f"prices to {code}").between(60, 160)) / 100


def _four_decimals(price: Decimal) -> Decimal:
    return price.quantize(Decimal("0.0001"), ROUND_HALF_UP)


class _Prefix(NamedTuple):
    """`code`: the calling code, or "1 JM" where a country shares it with the United States and Canada."""

    destination: str
    sort: str
    code: str


@cache
def _prefixes() -> dict[str, _Prefix]:
    """Every prefix that any deck may name. A freephone prefix is one whatever else it looks like."""
    found = {}
    names = {str(code): _country_name(code) for code in sorted(COUNTRY_CODE_TO_REGION_CODE)}
    for code, name in names.items():
        found[code] = _Prefix(name, SATELLITE if code in SATELLITES else FIXED, code)
    for prefix, english in _area_codes(names):
        code = _calling_code(prefix)
        found[prefix] = _Prefix(f"{names[code]}, {english}", FIXED, code)
    for prefix in _mobile_prefixes():
        code = _calling_code(prefix)
        found[prefix] = _Prefix(f"{names[code]}, mobile", MOBILE, code)
    found |= _north_america_elsewhere()
    for prefix in FREEPHONE_PREFIXES:
        code = _calling_code(prefix)
        found[prefix] = _Prefix(names[code] if prefix == code else f"{names[code]}, freephone", FREE, code)
    return found


def _country_name(code: int) -> str:
    if str(code) in NOT_IN_THE_METADATA:
        return NOT_IN_THE_METADATA[str(code)]
    return "USA and Canada" if code == 1 else _region_name(COUNTRY_CODE_TO_REGION_CODE[code][0])


def _region_name(region: str) -> str:
    example = phonenumbers.example_number(region)
    assert example is not None, f"the metadata has no example for {region}"
    return geocoder.country_name_for_number(example, "en")


def _calling_code(prefix: str) -> str:
    """Calling codes are one to three digits long, and none begins another."""
    return next(prefix[:length] for length in (1, 2, 3) if int(prefix[:length]) in COUNTRY_CODE_TO_REGION_CODE)


def _area_codes(names: dict[str, str]) -> Iterable[tuple[str, str]]:
    """Area codes of the countries that some deck calls home, up to three digits long, with their names."""
    homes = {code for terms in OUTBOUND_TERMS for code in terms.home}
    for prefix, in_languages in GEOCODE_DATA.items():
        if len(prefix) <= 6 and (code := _calling_code(prefix)) in homes and len(prefix) <= len(code) + 3:
            english = in_languages.get("en")
            if english and english != names[code]:
                yield prefix, english


def _mobile_prefixes() -> set[str]:
    """Two digits after the calling code, where the metadata know an operator and no area code."""
    known = {prefix[:5] for prefix in CARRIER_DATA if prefix[0] != "1" and prefix[:3] not in SATELLITES}
    prefixes = {prefix[: len(_calling_code(prefix)) + 2] for prefix in known}
    beginnings = {prefix[:5] for prefix in GEOCODE_DATA if prefix[0] != "1"}
    prefixes -= {prefix[: len(_calling_code(prefix)) + 2] for prefix in beginnings}
    counts: dict[str, int] = {}
    for prefix in prefixes:
        code = _calling_code(prefix)
        counts[code] = counts.get(code, 0) + 1
    return {prefix for prefix in prefixes if counts[_calling_code(prefix)] <= MOST_MOBILE_PREFIXES}


def _north_america_elsewhere() -> dict[str, _Prefix]:
    """Area codes of calling code 1 outside the United States and Canada, which cost more."""
    found = {}
    for area_code in range(200, 1000):
        number = PhoneNumber(country_code=1, national_number=area_code * 10_000_000 + 234_5678)
        region = phonenumbers.region_code_for_number(number)
        if region not in (None, "US", "CA"):
            found[f"1{area_code}"] = _Prefix(_region_name(region), FIXED, f"1 {region}")
    return found
