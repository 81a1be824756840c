"""A bar chart as a picture that the server draws: no script, quick, and read out as a sentence."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

WIDTH, HEIGHT, TOP, GAP = 600.0, 120.0, 4.0, 0.25


@dataclass(frozen=True)
class Bar:
    """One day, with its place in the picture."""

    day: date
    amount: Decimal
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class BarChart:
    """Bars over a line at nothing; days on which more was taken back than charged hang below it."""

    bars: Sequence[Bar]
    zero: float
    highest: Bar
    width: float = WIDTH
    height: float = HEIGHT

    @classmethod
    def of(cls, by_day: Sequence[tuple[date, Decimal]]) -> "BarChart":
        """A chart of at least one day."""
        top = max(Decimal(0), *(amount for _, amount in by_day))
        bottom = min(Decimal(0), *(amount for _, amount in by_day))
        span = (top - bottom) or Decimal(1)
        room = HEIGHT - 2 * TOP

        def down(amount: Decimal) -> float:
            return TOP + room * float((top - amount) / span)

        step = WIDTH / len(by_day)
        bars = [
            Bar(
                day,
                amount,
                x=round(place * step + step * GAP / 2, 2),
                y=round(min(down(amount), down(Decimal(0))), 2),
                width=round(step * (1 - GAP), 2),
                height=round(abs(down(amount) - down(Decimal(0))), 2),
            )
            for place, (day, amount) in enumerate(by_day)
        ]
        return cls(bars, round(down(Decimal(0)), 2), max(bars, key=lambda bar: bar.amount))
