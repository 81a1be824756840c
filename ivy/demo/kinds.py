"""Kinds of customers: when they telephone, how much, for how long, and what they pay for by the month."""

from typing import NamedTuple


class Need(NamedTuple):
    """Something that a kind of customer is charged for besides calls; the words are those of Ivy's items file.

    `per`: what the quantity is counted by: the customer, its seats or its numbers. Days count from the customer's
    first.
    """

    description: str
    amount: str
    interval: str = "month"
    interval_count: int = 1
    timing: str = "advance"
    proration: str = "days"
    per: str = "customer"
    starts_after: int = 0
    ends_after: int | None = None


class Kind(NamedTuple):
    """`hours`: a weight for each hour of the customer's day; `week`: one for each day from Monday; 0 to 9, as text.

    `volume` is for calls a seat and day; the shares are of outgoing calls, and of those the ones that go abroad;
    `lengths` are seconds at evenly spaced quantiles.
    """

    hours: str
    week: str
    volume: float
    outbound: float
    abroad: float
    lengths: tuple[int, ...]
    threshold: str
    top_up: int
    mailbox: str
    needs: tuple[Need, ...]


OFFICE_HOURS = "000000014899737898620000"
SHOP_HOURS = "000000002478876777851000"
EVENINGS = "000000001322443334578851"
SHORT = (1, 6, 12, 20, 30, 42, 60, 85, 130, 240, 900)
ORDINARY = (1, 9, 22, 41, 65, 98, 142, 205, 310, 560, 2400)
LONG = (2, 20, 55, 110, 180, 270, 390, 560, 820, 1300, 5400)

TRUNK = Need("SIP trunk, 4 channels", "14.90")
SEATS = Need("Cloud PBX seat", "5.50", per="seats")

KINDS = {
    "office": Kind(
        hours=OFFICE_HOURS,
        week="9999800",
        volume=0.9,
        outbound=0.68,
        abroad=0.18,
        lengths=ORDINARY,
        threshold="25",
        top_up=100,
        mailbox="office",
        needs=(TRUNK, SEATS, Need("Fax to e-mail", "3.20", timing="arrears")),
    ),
    "lawyer": Kind(
        hours=OFFICE_HOURS,
        week="9999700",
        volume=0.9,
        outbound=0.7,
        abroad=0.1,
        lengths=LONG,
        threshold="50",
        top_up=150,
        mailbox="accounts",
        needs=(
            TRUNK,
            SEATS,
            Need("Call recording, encrypted", "9.00", timing="arrears"),
            Need("Directory entry", "48.00", interval="year"),
        ),
    ),
    "doctor": Kind(
        hours="000000069986324886100000",
        week="9979500",
        volume=1.3,
        outbound=0.35,
        abroad=0.01,
        lengths=SHORT,
        threshold="20",
        top_up=50,
        mailbox="practice",
        needs=(
            SEATS,
            Need("Appointment line with queue", "12.00"),
            Need("Answering machine transcription", "0.35", interval="day", starts_after=9),
        ),
    ),
    "school": Kind(
        hours="000000069868754320000000",
        week="9999800",
        volume=0.8,
        outbound=0.5,
        abroad=0.01,
        lengths=SHORT,
        threshold="30",
        top_up=100,
        mailbox="office",
        needs=(
            TRUNK,
            SEATS,
            Need("Emergency announcement system", "36.00", interval="quarter"),
            Need("Education discount", "-8.00"),
        ),
    ),
    "hotel": Kind(
        hours="211112368999877789998643",
        week="8889999",
        volume=0.6,
        outbound=0.45,
        abroad=0.35,
        lengths=ORDINARY,
        threshold="50",
        top_up=100,
        mailbox="reception",
        needs=(
            Need("SIP trunk, 10 channels", "29.90", proration="fixed_30"),
            Need("Room extension", "1.40", per="seats", proration="fixed_30"),
            Need("Wake-up calls", "2.50", interval="week"),
        ),
    ),
    "restaurant": Kind(
        hours="000000000124666435899751",
        week="5788999",
        volume=1.2,
        outbound=0.25,
        abroad=0.02,
        lengths=SHORT,
        threshold="10",
        top_up=50,
        mailbox="hello",
        needs=(Need("Business line", "11.90"), Need("Table booking line", "4.50", interval="week", interval_count=2)),
    ),
    "shop": Kind(
        hours=SHOP_HOURS,
        week="8888970",
        volume=1.1,
        outbound=0.5,
        abroad=0.06,
        lengths=SHORT,
        threshold="15",
        top_up=50,
        mailbox="shop",
        needs=(Need("Business line", "11.90", proration="none"), SEATS),
    ),
    "workshop": Kind(
        hours="000000589876866775100000",
        week="9999830",
        volume=0.9,
        outbound=0.6,
        abroad=0.03,
        lengths=SHORT,
        threshold="15",
        top_up=50,
        mailbox="workshop",
        needs=(
            Need("Business line", "11.90", proration="none"),
            Need("Mobile extension", "4.00", per="seats"),
            Need("Second line for the season", "7.90", ends_after=38),
        ),
    ),
    "charity": Kind(
        hours=OFFICE_HOURS,
        week="7777711",
        volume=0.8,
        outbound=0.6,
        abroad=0.03,
        lengths=LONG,
        threshold="10",
        top_up=50,
        mailbox="team",
        needs=(TRUNK, SEATS, Need("Charity discount", "-6.00"), Need("Helpline", "7.50", timing="arrears")),
    ),
    "call_centre": Kind(
        hours="000000038999999999876320",
        week="9999952",
        volume=2.2,
        outbound=0.72,
        abroad=0.08,
        lengths=ORDINARY,
        threshold="150",
        top_up=500,
        mailbox="billing",
        needs=(
            Need("SIP trunk, 60 channels", "119.00"),
            Need("Agent seat", "7.80", per="seats"),
            Need("Recording storage", "6.90", interval="week"),
            Need("Supervisor console", "39.00", interval="quarter"),
            Need("Extra agents for the season", "55.00", starts_after=20, ends_after=52),
        ),
    ),
    "home": Kind(
        hours=EVENINGS,
        week="6666789",
        volume=1.4,
        outbound=0.75,
        abroad=0.12,
        lengths=LONG,
        threshold="5",
        top_up=20,
        mailbox="post",
        needs=(Need("Home line", "8.90"),),
    ),
}
