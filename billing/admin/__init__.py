"""The pages of staff, a file per noun or group of nouns, in the order in which money meets them."""

from billing.admin import alerts, calls, customers, decks, items, ledger, partners, runs, switches

__all__ = ["alerts", "calls", "customers", "decks", "items", "ledger", "partners", "runs", "switches"]
