"""Who gets what from every address of the portal. `test_isolation` makes the tests; a route without a row here fails.

Two partners have a world of rows each, full of words that nobody else writes ("marks"). A row of the matrix says, for a
route, which role it takes and with which ids it is asked for; the tests ask as everybody, with their own, with foreign
and with absent ids, and look for a foreign mark in every byte that comes back.

To add a page: a `Row` in ROWS. To add a noun with ids: make it in `World.of`, put what it writes into `marks`.
"""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from billing.models import BillingItem, Customer, LedgerEntry, Partner
from ivy.accounts.models import User
from ivy.portal import brands, tokens
from ivy.portal import people as people_of_portals
from ivy.portal.models import ItemRequest, PortalUser, Role
from notifications.models import NotificationContent, NotificationLog
from tests import factories
from tests.portal.statements import can_print

EVERYBODY = None
"""In place of a role: a page for people who are not logged in, too."""


@dataclass
class World:
    """One partner with everything that it can have, and its people by role. `marks`: words that only it writes."""

    partner: Partner
    customer: Customer
    entry: LedgerEntry
    call_key: str
    item: BillingItem
    people: dict[Role, User]
    ids: dict[str, str] = field(default_factory=dict)
    """Further natural ids, by name."""
    marks: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, word: str, amount: str) -> "World":
        """A partner all of whose texts hold the word; the amount is in its ledger and nobody else's."""
        low = word.lower()
        partner = factories.make_partner(slug=f"{low}-partner", name=f"{word} Telecom", sender=f"billing@{low}.example")
        customer = factories.make_customer(
            partner=partner,
            account=f"{word}-100",
            name=f"{word} Bakery",
            email=f"orders@{low}.example",
            balance=Decimal(50),
        )
        call = factories.make_call(customer=customer, call_id=f"{word}-leg", source=factories.pbx_north())
        charge = factories.make_call_charge(call, amount=-Decimal(amount), description=f"{word} call")
        item = factories.make_item(customer=customer, reference=f"{word}-trunk", description=f"{word} trunk")
        factories.make_alert(customer=customer, threshold=Decimal(amount))
        brands.change(
            partner,
            by="x@example.com",
            name=partner.name,
            sender_name=f"{word} Billing",
            reply_to=f"ask@{low}.example",
            colour=f"#{len(word):06x}",
            logo=f"{word} logo".encode(),
        )
        people = {
            role: factories.make_user(email=f"{role}@{low}.example", name=f"{word} {role.label}") for role in Role
        }
        for role, user in people.items():
            PortalUser.objects.create(user=user, partner=partner, role=role)
        invited = people_of_portals.invite(
            partner, email=f"guest@{low}.example", role=Role.VIEWER, by=people[Role.OWNER].email
        ).invitation
        asked = ItemRequest.objects.create(
            customer=customer,
            kind="new",
            text=f"{word} wants a trunk",
            on="2027-01-01",
            asked_by=f"manager@{low}.example",
        )
        mail = NotificationLog.objects.create(
            key=f"low_balance:{low}", kind="low_balance", customer=customer, partner=partner, message_id=f"<{low}>"
        )
        NotificationContent.objects.create(
            notification=mail, recipient=customer.email, subject=f"{word} is low", text=f"{word} has {amount}."
        )
        token, _ = tokens.make(partner, name=f"{word} books", by=people[Role.OWNER])
        return cls(
            partner=partner,
            customer=customer,
            entry=charge,
            call_key=charge.key,
            item=item,
            people=people,
            ids={
                "mail": mail.key,
                "request": str(asked.pk),
                "invitation": str(invited.reference),
                "token": str(token.reference),
                "link": people_of_portals.link_of(invited).split("/")[-2],
            },
            marks=[word, low, amount],
        )


NO_ACCOUNT = {"account": "NOBODY-1"}
NOBODYS = {"reference": str(uuid.UUID(int=7))}

PRINTED = (200,) if can_print() else (503,)

Ids = Callable[[World], Mapping[str, str]]


def no_ids(_world: World) -> dict[str, str]:
    return {}


def invitation(world: World) -> dict[str, str]:
    return {"reference": world.ids["invitation"]}


def this_month(world: World) -> dict[str, str]:
    return {"month": f"{datetime.now(ZoneInfo(world.partner.timezone)):%Y-%m}"}


def statement(world: World) -> dict[str, str]:
    return {**this_month(world), "account": world.customer.account}


def token(world: World) -> dict[str, str]:
    return {"reference": world.ids["token"]}


def nothing(_world: World) -> dict[str, str]:
    return {}


def account(world: World) -> dict[str, str]:
    return {"account": world.customer.account}


def terms(_world: World) -> dict[str, str]:
    return {"threshold": "4.44", "remind_at_most": "3"}


def calls_of(world: World) -> dict[str, str]:
    day = f"{factories.MORNING:%Y-%m-%d}"
    return {"account": world.customer.account, "since": day, "until": day}


def someone_else(world: World) -> dict[str, str]:
    return {"email": world.people[Role.VIEWER].email, "role": "viewer"}


def brand_of(_world: World) -> dict[str, str]:
    return {"name": "Renamed Telecom", "sender_name": "", "reply_to": "", "colour": "#123456"}


@dataclass(frozen=True)
class Row:
    """What a route takes. `ids` names what of a world stands in the path; `absent` the same of what never was.

    `query`: what is asked for behind the path, ids of the world included. `form`: what a POST sends (the route is then
    asked by POST); it must be harmless to send it again and again. `answers`: what whoever may get it gets.
    """

    route: str
    role: Role | None = Role.VIEWER
    ids: Ids = no_ids
    absent: Mapping[str, str] = field(default_factory=dict)
    query: Ids = no_ids
    form: Callable[[World], Mapping[str, Any]] | None = None
    answers: tuple[int, ...] = (200,)
    tells_whoever_asks: bool = False
    """For secret links: who has one may read what it is for."""
    staff_looking: tuple[int, ...] = (200,)
    """What staff who look get, where it is not a form: those are refused to them, all of them."""

    def __str__(self) -> str:
        return f"{'POST ' if self.form else ''}{self.route}"


ROWS: list[Row] = [
    Row("portal:overview"),
    Row("portal:customers"),
    Row("portal:customers", query=lambda world: {"q": world.customer.account, "state": "low", "order": "least"}),
    Row("portal:customers_file"),
    Row("portal:customer", ids=account, absent=NO_ACCOUNT),
    Row("portal:ledger", ids=account, absent=NO_ACCOUNT),
    Row("portal:ledger_file", ids=account, absent=NO_ACCOUNT),
    Row("portal:alerts"),
    Row("portal:change_default_alert", Role.MANAGER, form=terms, answers=(302,)),
    Row(
        "portal:change_default_alert",
        Role.MANAGER,
        form=lambda world: {"do": "remove", "threshold": "999"},
        answers=(302,),
    ),
    Row("portal:change_language", Role.MANAGER, form=lambda world: {"language": "en-GB"}, answers=(302,)),
    Row(
        "portal:change_language",
        Role.MANAGER,
        form=lambda world: {"language": "", "account": world.customer.account},
        answers=(302, 404),
    ),
    Row("portal:customer_alerts", ids=account, absent=NO_ACCOUNT),
    Row("portal:change_alert", Role.MANAGER, ids=account, absent=NO_ACCOUNT, form=terms, answers=(302,)),
    Row(
        "portal:send_test",
        Role.MANAGER,
        ids=account,
        absent=NO_ACCOUNT,
        form=lambda world: {"which": "exhausted"},
        answers=(302,),
    ),
    Row("portal:items", ids=account, absent=NO_ACCOUNT),
    Row(
        "portal:ask_for_item",
        Role.MANAGER,
        ids=account,
        absent=NO_ACCOUNT,
        form=lambda world: {"text": "A trunk", "on": "2027-01-01"},
        answers=(302,),
    ),
    Row(
        "portal:ask_for_item",
        Role.MANAGER,
        ids=account,
        absent=NO_ACCOUNT,
        form=lambda world: {"text": "No more", "on": "2027-01-01", "item": world.item.reference},
        answers=(302, 404),
    ),
    Row("portal:item_requests"),
    Row(
        "portal:withdraw_request",
        Role.MANAGER,
        ids=lambda world: {"number": world.ids["request"]},
        absent={"number": "987654"},
        form=nothing,
        answers=(302,),
    ),
    Row("portal:calls", query=calls_of),
    Row("portal:call_totals", query=calls_of),
    Row("portal:calls_file", query=calls_of),
    Row("portal:explain", query=lambda world: {"key": world.entry.key}, answers=(200, 404)),
    Row("portal:mail", query=lambda world: {"key": world.ids["mail"]}),
    Row("portal:people", Role.OWNER),
    Row(
        "portal:invite",
        Role.OWNER,
        form=lambda world: {"email": "new@example.net", "role": "viewer"},
        answers=(302, 400),
    ),
    Row("portal:change_person", Role.OWNER, form=someone_else, answers=(302, 404)),
    Row("portal:send_invitation_again", Role.OWNER, ids=invitation, absent=NOBODYS, form=nothing, answers=(302,)),
    Row("portal:withdraw_invitation", Role.OWNER, ids=invitation, absent=NOBODYS, form=nothing, answers=(302, 404)),
    Row("portal:invitation", EVERYBODY, ids=lambda world: {"token": world.ids["link"]}, tells_whoever_asks=True),
    Row("portal:brand", Role.OWNER),
    Row("portal:brand", Role.OWNER, form=brand_of, answers=(302,)),
    Row("portal:brand_style"),
    Row("portal:logo"),
    Row("portal:status"),
    Row("portal:banner"),
    Row("status:page", EVERYBODY),
    Row("status:feed", EVERYBODY),
    Row("portal:statements"),
    Row("portal:statements_of_month", ids=this_month),
    Row("portal:statements_of_month", ids=this_month, query=lambda world: {"after": world.customer.account}),
    Row("portal:statements_csv", ids=this_month),
    Row("portal:statements_pdf", ids=this_month, answers=PRINTED, staff_looking=PRINTED),
    Row("portal:statement", ids=statement, absent=NO_ACCOUNT),
    Row("portal:statement", ids=statement, absent=NO_ACCOUNT, query=lambda world: {"after": world.entry.key}),
    Row("portal:statement_csv", ids=statement, absent=NO_ACCOUNT),
    Row("portal:statement_pdf", ids=statement, absent=NO_ACCOUNT, answers=PRINTED, staff_looking=PRINTED),
    Row("portal:customer_statements", ids=account, absent=NO_ACCOUNT),
    Row("portal:tokens", Role.OWNER),
    Row(
        "portal:make_token",
        Role.OWNER,
        form=lambda world: {
            "name": "Books",
            "resources": ["ledger"],
            "accounts": world.customer.account,
            "rate_per_minute": 60,
        },
        answers=(200, 400),
    ),
    Row("portal:revoke_token", Role.OWNER, ids=token, absent=NOBODYS, form=nothing, answers=(302,)),
    Row("portal:settings"),
    Row("portal:settings", form=lambda world: {"language": "", "timezone": ""}, answers=(302,)),
]
