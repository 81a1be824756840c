"""What a file does to a price list, before it is done: counts, and what deserves a second look."""

from dataclasses import dataclass, field
from decimal import Decimal

from billing.imports.rates import WHAT_IT_COSTS, RateChange
from billing.models import Rate

SHOWN = 100
SHOWN_MARKED = 500


@dataclass(frozen=True)
class Limits:
    """Beyond them a price is marked: a change by more than `percent`, a price a minute above `dearest`."""

    percent: Decimal = Decimal(20)
    dearest: Decimal | None = None


@dataclass(frozen=True)
class PriceChange:
    """One rate that begins or ends, for a table. `marks`: why somebody should look at it."""

    change: RateChange
    percent: Decimal | None
    others: list[str]
    marks: list[str]

    @property
    def rate(self) -> Rate:
        return self.change.rate


@dataclass
class PriceChanges:
    """Told of all changes one after the other; keeps the counts, the marked ones, and the first of each sort."""

    limits: Limits
    new_count: int = 0
    changed_count: int = 0
    ended_count: int = 0
    marked_count: int = 0
    new: list[PriceChange] = field(default_factory=list)
    changed: list[PriceChange] = field(default_factory=list)
    ended: list[PriceChange] = field(default_factory=list)
    marked: list[PriceChange] = field(default_factory=list)

    def note(self, change: RateChange) -> None:
        told = PriceChange(change, _percent(change), _others(change), self._marks(change))
        if change.what != "begins":
            self.ended_count += 1
            _keep(self.ended, told, SHOWN)
        elif change.before is None:
            self.new_count += 1
            _keep(self.new, told, SHOWN)
        else:
            self.changed_count += 1
            _keep(self.changed, told, SHOWN)
        if told.marks:
            self.marked_count += 1
            _keep(self.marked, told, SHOWN_MARKED)

    @property
    def world(self) -> list[int]:
        return [self.new_count, self.changed_count, self.ended_count, self.marked_count]

    def _marks(self, change: RateChange) -> list[str]:
        if change.what != "begins":
            return []
        marks = []
        price, dearest = change.rate.price_per_minute, self.limits.dearest
        if dearest is not None and price > dearest:
            marks.append(f"more than {dearest.normalize():f} a minute")
        if change.before is not None:
            for name in ("price_per_minute", "connect_fee", "minimum_charge"):
                moved = _moved(getattr(change.before, name), getattr(change.rate, name))
                if moved is None or abs(moved) > self.limits.percent:
                    words = "was free" if moved is None else f"{moved:+.0f} %"
                    marks.append(f"{name.replace('_', ' ')} {words}")
        if price == 0:
            marks.append("free")
        return marks


def _keep(shown: list[PriceChange], told: PriceChange, at_most: int) -> None:
    if len(shown) < at_most:
        shown.append(told)


def _percent(change: RateChange) -> Decimal | None:
    if change.before is None:
        return None
    return _moved(change.before.price_per_minute, change.rate.price_per_minute)


def _moved(before: Decimal, after: Decimal) -> Decimal | None:
    """By how many percent a price moved; None where there was none before, and is one now."""
    if before == after:
        return Decimal(0)
    return (after - before) / before * 100 if before else None


def _others(change: RateChange) -> list[str]:
    """What else is new beside the price a minute: `connect fee 0.01 → 0.05`."""
    if change.before is None:
        return []
    return [
        f"{name.replace('_', ' ')} {_plain(getattr(change.before, name))} → {_plain(getattr(change.rate, name))}"
        for name in WHAT_IT_COSTS[1:]
        if getattr(change.before, name) != getattr(change.rate, name)
    ]


def _plain(value: Decimal | int) -> str:
    return f"{Decimal(value).normalize():f}"
