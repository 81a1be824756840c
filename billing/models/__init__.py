"""The nouns, one file each, in the order in which money meets them."""

from billing.models.alert import AlertKind, AlertRecipient, AlertTerms, BalanceAlert, Episode, PartnerAlert
from billing.models.arrival import ArrivalBatch, BatchKind, BatchProgress, CallsByHour, Delivery, UnparsableLine
from billing.models.call import (
    CallRecord,
    Direction,
    FreeCall,
    FreeReason,
    MendedCause,
    QuarantinedCall,
    QuarantineReason,
    QuarantineState,
)
from billing.models.customer import Customer, CustomerBalance, CustomerStatus, CustomerToJudge
from billing.models.deck import DeckRange, DeckSlice, Rate, RateDeck, Rounding
from billing.models.item import BillingItem, ItemKind, ItemPause, ItemPeriod, ItemPriceChange
from billing.models.ledger import CHARGE_KINDS, PAYMENT_KINDS, EntryKind, LedgerEntry, reference_of_payment
from billing.models.partner import Partner
from billing.models.rerating import Rerating
from billing.models.run import BillingChunk, BillingRun, BillingWorker, ChunkState, RunState, WorkerState
from billing.models.source import CallIdentity, IdentityKind, Source, SourceFormat
from billing.models.statement import MonthClosing, Statement
from billing.models.sums import LedgerSum, LedgerSumMark
from billing.models.switch import HaltCause, Process, ProcessSwitch, SwitchHistory
from billing.periods import Interval, Proration, Timing

__all__ = [
    "CHARGE_KINDS",
    "PAYMENT_KINDS",
    "AlertKind",
    "AlertRecipient",
    "AlertTerms",
    "ArrivalBatch",
    "BalanceAlert",
    "BatchKind",
    "BatchProgress",
    "BillingChunk",
    "BillingItem",
    "BillingRun",
    "BillingWorker",
    "CallIdentity",
    "CallRecord",
    "CallsByHour",
    "ChunkState",
    "Customer",
    "CustomerBalance",
    "CustomerStatus",
    "CustomerToJudge",
    "DeckRange",
    "DeckSlice",
    "Delivery",
    "Direction",
    "EntryKind",
    "Episode",
    "FreeCall",
    "FreeReason",
    "HaltCause",
    "IdentityKind",
    "Interval",
    "ItemKind",
    "ItemPause",
    "ItemPeriod",
    "ItemPriceChange",
    "LedgerEntry",
    "LedgerSum",
    "LedgerSumMark",
    "MendedCause",
    "MonthClosing",
    "Partner",
    "PartnerAlert",
    "Process",
    "ProcessSwitch",
    "Proration",
    "QuarantineReason",
    "QuarantineState",
    "QuarantinedCall",
    "Rate",
    "RateDeck",
    "Rerating",
    "Rounding",
    "RunState",
    "Source",
    "SourceFormat",
    "Statement",
    "SwitchHistory",
    "Timing",
    "UnparsableLine",
    "WorkerState",
    "reference_of_payment",
]
