"""Every change of what staff look after is kept as a row, with how it was afterwards and who did it.

Triggers write these rows (django-pghistory makes them), so that `update()`, `bulk_create` and a psql session are seen
as well as a form. Who it was is told to the database session by `billing.acting`, for a request that changes something
and for a command; where nobody told, it was the program.

Not watched: balances and ledger, call records, the notification log, switches and incidents. They have append-only
histories of their own, or are one. Of an item not what a billing run moves, of a person neither password nor log-in.
"""

import pghistory
import pgtrigger
from django.contrib.auth.models import Group
from django.db import models
from django.db.models import F
from django.db.models.fields.json import KT

from billing.models import (
    AlertRecipient,
    BalanceAlert,
    BillingItem,
    CallIdentity,
    Customer,
    ItemPause,
    ItemPriceChange,
    Partner,
    PartnerAlert,
    Rate,
    RateDeck,
    Source,
)
from ivy.accounts.models import User
from notifications.models import BreakerLimits

CHANGES: dict[str, type[models.Model]] = {}
"""The table of changes of each watched model, by its label: `billing.customer`."""


def _watch(model: type[models.Model], *, of: str = "", but: tuple[str, ...] = ()) -> None:
    """A table of the changes of a model, and the triggers that fill it. `of`: what it is looked at with.

    Made upon a proxy, so that the migrations are ours and the watched app need not know. New rows are noted a statement
    at a time, since imports write many; changes a row at a time, where one that is not watched costs a comparison.
    """
    name = "".join(part[0].upper() + part[1:] for part in model.__name__.split("_"))
    short = name.lower()[:16]
    options = {"proxy": True, "app_label": "ivy", "default_permissions": ()}
    watched = type(f"Watched{name}", (model,), {"__module__": "ivy.models", "Meta": type("Meta", (), options)})
    indexes = [
        models.Index(F("pgh_obj"), F("pgh_id").desc(), name=f"{short}_changes"),
        models.Index(KT("pgh_context__by"), F("pgh_id").desc(), name=f"{short}_changes_by"),
    ]
    if of:
        indexes.append(models.Index(F(of), F("pgh_id").desc(), name=f"{short}_changes_of"))
    columns = [field.column for field in model._meta.local_fields if field.name not in but]
    CHANGES[model._meta.label_lower] = pghistory.create_event_model(
        watched,
        pghistory.InsertEvent(level=pgtrigger.Statement),
        # A statement that sets none of these is not looked at: a run moves many items on, and pays nothing.
        pghistory.UpdateEvent(
            level=pgtrigger.Row,
            operation=pgtrigger.UpdateOf(*columns) if but else pgtrigger.Update,  # type: ignore[no-untyped-call]
            condition=pgtrigger.AnyChange(),
            trigger_name="update_update",
        ),
        pghistory.DeleteEvent(level=pgtrigger.Row),
        exclude=list(but),
        model_name=f"{name}History",
        app_label="ivy",
        context_field=pghistory.ContextJSONField(),
        context_id_field=None,  # type: ignore[arg-type]
        abstract=False,
        meta={"default_permissions": (), "indexes": indexes},
    )


_watch(Partner)
_watch(Customer)
_watch(CallIdentity, of="customer")
_watch(BalanceAlert, of="customer")
_watch(AlertRecipient, of="alert")
_watch(PartnerAlert, of="partner")
_watch(BillingItem, of="customer", but=("next_due_on", "charged_through"))
_watch(ItemPriceChange, of="item")
_watch(ItemPause, of="item")
_watch(RateDeck)
_watch(Rate, of="deck")
_watch(Source)
_watch(BreakerLimits)
_watch(User, but=("password", "last_login"))
_watch(User.groups.through, of="user")
_watch(User.user_permissions.through, of="user")
_watch(Group)
