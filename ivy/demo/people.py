"""Who is in the demo world: partners, switches and customers. All of them are made up."""

import re
import unicodedata
from typing import NamedTuple

from ivy.demo import fiction
from ivy.demo.kinds import KINDS, Kind


class Switch(NamedTuple):
    """A source of call records, as it has to be registered before the customers are imported."""

    name: str
    format: str
    timezone: str
    region: str


class Partner(NamedTuple):
    """`accounts` is what its customers' account numbers begin with; they call through its switch."""

    slug: str
    name: str
    domain: str
    timezone: str
    currency: str
    language: str
    rate_deck: str
    switch: str
    accounts: str


SWITCHES = (
    Switch("pbx-hamburg", "asterisk", "Europe/Berlin", "DE"),
    Switch("sw-london", "ivy", "Europe/London", "GB"),
    Switch("sw-newyork", "ivy", "America/New_York", "US"),
)
PARTNERS = (
    Partner(
        "ivy-direct", "Ivy Direct", "ivy-direct.example", "Europe/Berlin", "EUR", "de",
        rate_deck="eur-retail", switch="pbx-hamburg", accounts="IV-1",
    ),
    Partner(
        "harbour", "Harbour Voice", "harbour-voice.example", "Europe/London", "GBP", "en-GB",
        rate_deck="gbp-retail", switch="sw-london", accounts="HV-2",
    ),
    Partner(
        "lakeside", "Lakeside Dial", "lakeside-dial.example", "America/New_York", "USD", "en-US",
        rate_deck="usd-retail", switch="sw-newyork", accounts="LD-3",
    ),
)  # fmt: skip

TIMEZONES = {
    "DE": "Europe/Berlin",
    "FR": "Europe/Paris",
    "SE": "Europe/Stockholm",
    "IE": "Europe/Dublin",
    "GB": "Europe/London",
    "Chicago": "America/Chicago",
    "Dallas": "America/Chicago",
    "Denver": "America/Denver",
    "Phoenix": "America/Phoenix",
    "Los Angeles": "America/Los_Angeles",
    "San Francisco": "America/Los_Angeles",
    "Seattle": "America/Los_Angeles",
    "Vancouver": "America/Vancouver",
    "Honolulu": "Pacific/Honolulu",
    "Toronto": "America/Toronto",
    "US": "America/New_York",
}


class Person(NamedTuple):
    """A line of the list below.

    `called_by`: what the switch writes for the customer: its account, a code of its own, its SIP peer, or nothing but
    the number. `ends`: how its balance stands at the end: fine, hovering above the threshold, low, or overdrawn.
    Days count from the first of the two months.
    """

    name: str
    kind: str
    country: str
    place: str
    called_by: str = "account"
    seats: int = 3
    number_count: int = 2
    ends: str = "fine"
    status: str = "active"
    joined_after: int = 0
    left_after: int | None = None
    deck: str = ""
    inbound_deck: str = ""
    currency: str = ""
    credit_limit: str = ""


# fmt: off
PEOPLE = {
    "ivy-direct": (
        Person("Bäckerei Morgenrot", "shop", "DE", "Berlin", "peer", 2),
        Person("Zahnarztpraxis Dr. Lindner", "doctor", "DE", "Berlin", "peer", 4),
        Person("Kanzlei Voss & Partner", "lawyer", "DE", "Frankfurt", "code", 6, 4, deck="eur-premium"),
        Person("Grundschule am Kiefernweg", "school", "DE", "Hamburg", "account", 8),
        Person("Hotel Alte Mühle", "hotel", "DE", "Munich", "peer", 24, 3),
        Person(
            "Callcenter Elbblick", "call_centre", "DE", "Hamburg", "code", 14, 6,
            deck="eur-premium", credit_limit="250",
        ),
        Person(
            "Fahrrad Kowalski", "shop", "DE", "Cologne", "account", 2,
            ends="overdrawn", status="suspended", left_after=49,
        ),
        Person("Steuerbüro Brandt", "office", "DE", "Cologne", "number", 4, ends="hovering"),
        Person("Schreinerei Huber", "workshop", "DE", "Munich", "peer", 3),
        Person("Tierarztpraxis Wiesengrund", "doctor", "DE", "Hamburg", "account", 3),
        Person("Ingenieurbüro Yilmaz", "office", "DE", "Berlin", "code", 7, 3),
        Person("Gasthof Zur Linde", "restaurant", "DE", "Munich", "number", 2, 1),
        Person("Spedition Nordwind", "office", "DE", "Hamburg", "peer", 9, 4, deck="eur-premium"),
        Person("Physiotherapie Balance", "doctor", "DE", "Frankfurt", "account", 2, 1),
        Person("Blumen Petersen", "shop", "DE", "Hamburg", "peer", 2, 1, ends="low"),
        Person("Musikschule Da Capo", "school", "DE", "Cologne", "account", 4, joined_after=21),
        Person("Nachbarschaftsverein Kiez, e. V.", "charity", "DE", "Berlin", "code", 3),
        Person("Familie Aydin", "home", "DE", "Berlin", "number", 2, 1),
        Person("Atelier Claire Dubois", "office", "FR", "Paris", "account", 2, 1),
        Person("Hôtel du Vieux Port", "hotel", "FR", "Lyon", "peer", 18, 2),
        Person("Cabinet dentaire Moreau", "doctor", "FR", "Nantes", "account", 3),
        Person("Kafé Björken", "restaurant", "SE", "Stockholm", "number", 2, 1, ends="low"),
        Person("Göta Översättning", "office", "SE", "Gothenburg", "code", 3),
        Person("O'Sullivan Surveyors", "office", "IE", "everywhere", "account", 4),
    ),
    "harbour": (
        Person("Thistle & Crane Solicitors", "lawyer", "GB", "Edinburgh", "code", 6, 3),
        Person("Riverside Dental", "doctor", "GB", "London", "account", 4),
        Person("Marlow Road Primary School", "school", "GB", "Reading", "account", 8),
        Person("The Blue Anchor Inn", "hotel", "GB", "Bristol", "account", 12),
        Person(
            "Brightline Contact Centre", "call_centre", "GB", "Leeds", "code", 12, 5,
            inbound_deck="gbp-inbound", credit_limit="300",
        ),
        Person("Hopkins & Daughters Plumbing", "workshop", "GB", "Birmingham", "number", 4, 1),
        Person(
            "Saffron Kitchen", "restaurant", "GB", "Leicester", "number", 2, 1,
            ends="overdrawn", status="suspended", left_after=52,
        ),
        Person("Clyde Architects", "office", "GB", "Glasgow", "account", 5, ends="hovering"),
        Person("Okafor Pharmacy", "shop", "GB", "Manchester", "code", 3),
        Person("Northgate Lettings", "office", "GB", "Tyneside", "account", 4),
        Person("Peak Outdoor Supplies", "shop", "GB", "Sheffield", "account", 4, inbound_deck="gbp-inbound"),
        Person("Merseyside Youth Trust", "charity", "GB", "Liverpool", "account", 3, ends="low"),
        Person("St Brannock's Surgery", "doctor", "GB", "Nottingham", "code", 6, 3),
        Person("Pennine Couriers", "office", "GB", "Leeds", "number", 6),
        Person("Lantern Street Studios", "office", "GB", "London", "account", 3, joined_after=33),
        Person("Whitlock Garage", "workshop", "GB", "elsewhere", "number", 2, 1, ends="low"),
        Person("Harbour Lights Guest House", "hotel", "GB", "elsewhere", "account", 7),
        Person("The Patel Family", "home", "GB", "London", "number", 2, 1),
        Person(
            "Emerald Travel Help", "call_centre", "GB", "London", "account", 7, 3,
            inbound_deck="gbp-inbound", credit_limit="150",
        ),
        Person(
            "Dunmore Veterinary Clinic", "doctor", "IE", "everywhere", "account", 3,
            deck="eur-retail", currency="EUR",
        ),
    ),
    "lakeside": (
        Person("Maple Street Pediatrics", "doctor", "US", "Boston", "account", 5),
        Person("Lakeview Title Company", "lawyer", "US", "Chicago", "code", 5),
        Person("Hudson Design Works", "office", "US", "New York", "account", 6),
        Person("Sunset Motor Lodge", "hotel", "US", "Los Angeles", "account", 16, ends="overdrawn"),
        Person("Front Range Roofing", "workshop", "US", "Denver", "number", 5),
        Person("Desert Bloom Florist", "shop", "US", "Phoenix", "number", 2, 1, ends="low"),
        Person("Bayside Answering Service", "call_centre", "US", "Miami", "code", 9, 4, credit_limit="200"),
        Person("Lone Star Feed & Supply", "shop", "US", "Dallas", "account", 4),
        Person("Cascade Middle School", "school", "US", "Seattle", "account", 9),
        Person("Golden Gate Translations", "office", "US", "San Francisco", "account", 4),
        Person("Nguyen Family Dentistry", "doctor", "US", "Los Angeles", "code", 4),
        Person("Harborside Food Bank", "charity", "US", "Boston", "account", 3),
        Person(
            "Prairie Auto Body", "workshop", "US", "Chicago", "account", 3,
            ends="closed", status="closed", left_after=26,
        ),
        Person("Aloha Surf Rentals", "shop", "US", "Honolulu", "number", 2, 1),
        Person("Toronto Fine Instruments", "office", "CA", "Toronto", "account", 4),
        Person("West Coast Kayak Tours", "shop", "CA", "Vancouver", "account", 2),
        Person("Rosewood Diner", "restaurant", "US", "Dallas", "number", 2, 1, ends="hovering"),
        Person("The Kowalczyk Household", "home", "US", "Chicago", "number", 2, 1),
    ),
}
# fmt: on


class Customer(NamedTuple):
    """A person with everything that follows from the list: account, address, time zone, numbers, deck."""

    account: str
    partner: Partner
    person: Person
    kind: Kind
    email: str
    timezone: str
    currency: str
    deck: str
    numbers: tuple[str, ...]
    name_on_switch: str

    @property
    def call_identities(self) -> str:
        """As a cell of the customers file; the account itself is an identity anyway."""
        identities = [f"number:+{number}" for number in self.numbers]
        if self.person.called_by == "code":
            identities.insert(0, f"code:{self.name_on_switch}")
        elif self.person.called_by == "peer":
            identities.insert(0, f"peer:{self.name_on_switch}@{self.partner.switch}")
        return ";".join(identities)


def customers() -> list[Customer]:
    """Everybody, each partner's customers in the order of the list, with numbers that belong to nobody else."""
    given_out: dict[str, int] = {}
    everybody = []
    for partner in PARTNERS:
        for place_in_list, person in enumerate(PEOPLE[partner.slug], start=1):
            slug = _slug(person.name)
            kind = KINDS[person.kind]
            everybody.append(
                Customer(
                    account=f"{partner.accounts}{place_in_list:03}",
                    partner=partner,
                    person=person,
                    kind=kind,
                    email=f"{kind.mailbox}@{slug}.example",
                    timezone=TIMEZONES.get(person.place) or TIMEZONES[person.country],
                    currency=person.currency or partner.currency,
                    deck=person.deck or partner.rate_deck,
                    numbers=_numbers(person, given_out),
                    name_on_switch=slug.replace("-", ""),
                )
            )
    return everybody


def _numbers(person: Person, given_out: dict[str, int]) -> tuple[str, ...]:
    """Numbers of the place that nobody has yet; who pays for incoming calls has a freephone number too."""
    places = [person.place] * person.number_count
    if person.inbound_deck:
        places.append(fiction.FREEPHONE)
    numbers = []
    for place in places:
        key = f"{person.country} {place}"
        numbers.append(fiction.customers_number(person.country, place, given_out.get(key, 0)))
        given_out[key] = given_out.get(key, 0) + 1
    return tuple(numbers)


def _slug(name: str) -> str:
    """The name as part of an address: lower case, without accents, words joined by dashes."""
    plain = unicodedata.normalize("NFKD", name.replace("'", "")).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-")
