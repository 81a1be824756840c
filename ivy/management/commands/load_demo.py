import io
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.db import connection
from django.utils import timezone
from django.utils.dateparse import parse_date

from billing import sources
from billing.imports import calls
from billing.imports.customers import import_customers
from billing.imports.items import import_items
from billing.imports.partners import import_partners
from billing.imports.payments import import_payments
from billing.imports.rates import DeckTerms, import_rates
from billing.imports.whole import ImportResult
from billing.management.base import FAILED, IvyCommand
from billing.models import Customer, Delivery, Partner, Source
from ivy.accounts.models import User
from ivy.demo.people import PARTNERS, SWITCHES
from ivy.demo.world import World, build
from ivy.portal.models import PortalUser, Role

PASSWORD = "ivy climbs quietly"  # noqa: S105 - everybody may know it: the demo world is for looking around
LOGINS = [
    {"email": "admin@ivy.example", "password": PASSWORD, "role": "staff, may do everything"},
    {"email": "look@ivy.example", "password": PASSWORD, "role": "no staff: sees no admin"},
]
PORTAL_USERS = [
    (partner.slug, role, f"{role}@{partner.domain}", f"{name} {partner.name.split()[0]}")
    for partner in PARTNERS
    for role, name in ((Role.OWNER, "Olivia"), (Role.MANAGER, "Marcus"), (Role.VIEWER, "Vera"))
]
LOGINS += [
    {"email": email, "password": PASSWORD, "role": f"portal of {slug}, {role}"}
    for slug, role, email, _ in PORTAL_USERS
    if role == Role.OWNER or slug == PARTNERS[0].slug
]
LOCK = 1_230_020


class Command(IvyCommand):
    help = "Load the demo world: three partners, some sixty customers, two months of calls. Bills nothing by itself."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument(
            "--today", help="The day on which the world stands (YYYY-MM-DD); as loaded first, or today."
        )
        parser.add_argument("--if-empty", action="store_true", help="Be content where others' customers are.")

    def handle(self, *args: Any, **options: Any) -> None:
        with _one_at_a_time():
            if self._belongs_to_somebody():
                if not options["if_empty"]:
                    self.refuse("There are customers who are not of the demo world; it is not loaded beside them.")
                self.answer(options, {"loaded": False, "logins": []}, "Not a demo: nothing loaded.")
                return
            today = self._day(options["today"])
            loaded = not self._is_complete()
            if loaded:
                self._load(build(today))
            _make_users()
        result = {"loaded": loaded, "today": today, "customers": Customer.objects.count(), "logins": LOGINS}
        sentences = f"The demo world of {today} is {'loaded' if loaded else 'there already'}."
        self.answer(options, result, sentences)

    def _belongs_to_somebody(self) -> bool:
        switches = [switch.name for switch in SWITCHES]
        return Customer.objects.exists() and not Source.objects.filter(name__in=switches).exists()

    def _day(self, text: str | None) -> date:
        """The day asked for; else the one that an earlier, perhaps interrupted loading began with; else today (UTC)."""
        if text is not None:
            try:
                day = parse_date(text)
            except ValueError:
                day = None
            if day is None:
                self.refuse(f"--today: “{text}” is no date; write it like 2026-03-31.")
            return day
        begun = Source.objects.filter(name=SWITCHES[0].name).values_list("created_at", flat=True).first()
        return (begun or timezone.now()).astimezone(UTC).date()

    def _is_complete(self) -> bool:
        """Whether the last file, of the last switch, was read to its end."""
        finished = Delivery.objects.filter(
            source__name__in=[switch.name for switch in SWITCHES], finished_at__isnull=False
        )
        return finished.values("source", "file_name").distinct().count() == 2 * len(SWITCHES)

    def _load(self, world: World) -> None:
        """Feed the files of the world to the importers; what is in already is unchanged."""
        opened_at = datetime.combine(world.opening_on, time(), UTC)
        for switch in world.sources:
            sources.register(switch.name, format=switch.format, timezone=switch.timezone, region=switch.region)
        for deck in world.decks:
            terms = DeckTerms(
                currency=deck.currency, decimals=deck.decimals, rounding=deck.rounding, timezone=deck.timezone
            )
            _check(f"rates of {deck.name}", import_rates(deck.csv.encode(), deck=deck.name, at=opened_at, terms=terms))
        _check("partners", import_partners(world.partners.encode()))
        _check("customers", import_customers(world.customers.encode(), at=opened_at))
        _check("items", import_items(world.items.encode()))
        _check("payments", import_payments(world.payments.encode(), at=timezone.now(), payment_source="bank"))
        for file in world.call_files:
            source = sources.find(file.source)
            found = calls.read(io.BytesIO("".join(file.lines()).encode()), source=source)
            calls.take_in(found, source=source, file_name=file.name)


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Whoever loads at the same moment waits; the lock goes with the connection, whatever happens."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [LOCK])


def _check(what: str, result: ImportResult) -> None:
    if result.errors:
        first = result.errors[0]
        raise CommandError(
            f"The demo world's {what} were refused ({len(result.errors)} errors), line {first.line}: {first.error}",
            returncode=FAILED,
        )


def _make_users() -> None:
    """The people who can look around; a changed password stays changed."""
    staff, other = LOGINS[:2]
    if not User.objects.filter(email=staff["email"]).exists():
        User.objects.create_superuser(staff["email"], staff["password"], name="Ada Admin")
    if not User.objects.filter(email=other["email"]).exists():
        User.objects.create_user(other["email"], other["password"], name="Lukas Look")
    for slug, role, email, name in PORTAL_USERS:
        partner = Partner.objects.filter(slug=slug).first()
        if partner is None:
            continue
        user = User.objects.filter(email=email).first() or User.objects.create_user(email, PASSWORD, name=name)
        PortalUser.objects.get_or_create(user=user, defaults={"partner": partner, "role": role})
