"""The history of a balance as a picture: where lines and labels stand, for a template that draws them as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from billing.balances import DayBalance

WIDTH, HEIGHT = 720, 200
LEFT, RIGHT, TOP, BOTTOM = 4, 716, 14, 186


@dataclass(frozen=True)
class Level:
    """A level line across the picture: zero, or an alert's threshold. `y` counts from the top."""

    y: float
    amount: Decimal
    is_zero: bool


@dataclass(frozen=True)
class Chart:
    """`path`: a step for every day, since a balance moves at once and not by and by."""

    path: str
    levels: list[Level]
    highest: DayBalance
    lowest: DayBalance
    first: DayBalance
    last: DayBalance
    width: int = WIDTH
    height: int = HEIGHT


def draw(days: Sequence[DayBalance], thresholds: Sequence[Decimal]) -> Chart:
    """The chart of these days (two at least), with the thresholds that lie near what the balance was."""
    highest = max(days, key=lambda one: one.balance)
    lowest = min(days, key=lambda one: one.balance)
    top, bottom = max(highest.balance, Decimal(0)), min(lowest.balance, Decimal(0))
    span = (top - bottom) or Decimal(1)

    def y(amount: Decimal) -> float:
        return round(TOP + float((top - amount) / span) * (BOTTOM - TOP), 1)

    step = (RIGHT - LEFT) / len(days)
    path = f"M{LEFT} {y(days[0].balance)}"
    for number, one in enumerate(days):
        path += f"V{y(one.balance)}H{round(LEFT + step * (number + 1), 1)}"
    near = sorted({amount for amount in thresholds if bottom <= amount <= top} - {Decimal(0)})
    levels = [Level(y(Decimal(0)), Decimal(0), is_zero=True), *(Level(y(one), one, is_zero=False) for one in near)]
    return Chart(path, levels, highest, lowest, days[0], days[-1])
