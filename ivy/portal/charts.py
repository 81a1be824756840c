"""Pictures made by the server: shapes in an SVG that fills its place, words beside it in HTML, and a table of the same.

Words stand outside of the SVG, so that they keep their size on a phone. Shapes are coloured by the style sheet, by the
`look` of their series: our policy allows no style in the page.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from ivy.portal import words

WIDTH = 1000
HEIGHT = 300
GAP = Decimal("0.2")  # of the place that a bar has
ZERO = Decimal(0)

Write = Callable[[Decimal], str]


@dataclass(frozen=True)
class Series:
    """One amount for each label of the chart. `look`: the class that the style sheet knows it by."""

    name: str
    look: str
    values: Sequence[Decimal]


@dataclass(frozen=True)
class Chart:
    """A picture, the words around it, and its figures as a table with a header cell in each row."""

    title: str
    svg: SafeString
    top: str
    bottom: str
    ends: Sequence[str]
    legend: Sequence[tuple[str, str]]
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def bars(
    title: str,
    *,
    description: str,
    labels: Sequence[str],
    series: Sequence[Series],
    write: Write,
    beside: Series | None = None,
    first_column: str = "Day",
) -> Chart:
    """A stack of bars for each label; `beside`: a line across them, to compare their sums with.

    What is negative hangs below the line of zero.
    """
    stacks = [[one.values[place] for one in series] for place in range(len(labels))]
    highs = [sum((value for value in stack if value > 0), ZERO) for stack in stacks]
    lows = [sum((value for value in stack if value < 0), ZERO) for stack in stacks]
    others = list(beside.values) if beside else []
    scale = _Scale.over([*highs, *lows, *others])
    width = Decimal(WIDTH) / max(len(labels), 1)
    drawn: list[SafeString] = []
    for place, (label, stack) in enumerate(zip(labels, stacks, strict=True)):
        told = f"{label}: {write(sum(stack, ZERO))}"
        drawn.append(
            format_html(
                '<g><title>{}</title><rect class="place" x="{}" y="0" width="{}" height="{}"/>{}</g>',
                told,
                _rounded(width * place),
                _rounded(width),
                HEIGHT,
                _stack(stack, series, x=width * place + width * GAP / 2, width=width * (1 - GAP), scale=scale),
            )
        )
    if beside:
        steps = [(width * place, width * (place + 1), value) for place, value in enumerate(beside.values)]
        drawn.append(_steps(steps, look=f"line {beside.look}", scale=scale))
    shown = [*series, *([beside] if beside else [])]
    return Chart(
        title=title,
        svg=_svg(title, description, [*drawn, scale.line_of_zero()]),
        top=write(scale.high),
        bottom=write(scale.low),
        ends=(labels[0], labels[len(labels) // 2], labels[-1]) if labels else (),
        legend=[(one.name, one.look) for one in shown],
        columns=[first_column, *(one.name for one in series), "Sum", *([beside.name] if beside else [])],
        rows=[
            [
                label,
                *(write(value) for value in stack),
                write(sum(stack, ZERO)),
                *([write(beside.values[place])] if beside else []),
            ]
            for place, (label, stack) in enumerate(zip(labels, stacks, strict=True))
        ],
    )


def line(
    title: str,
    *,
    description: str,
    points: Sequence[tuple[datetime, Decimal]],
    write: Write,
    until: datetime | None = None,
    mark: Decimal | None = None,
    mark_name: str = "",
    name: str = "Balance",
    tell: Callable[[datetime], str] = words.moment,
    first_column: str = "Time",
) -> Chart:
    """What an amount was through time, as steps: each point holds until the next, the last one until `until`.

    `mark`: a level to see it against, such as a threshold. Points are in the order of time; `tell` writes their times.
    """
    values = [value for _, value in points]
    scale = _Scale.over([*values, *([mark] if mark is not None else [])])
    drawn = []
    if points:
        begin, end = points[0][0], max(until or points[-1][0], points[-1][0])
        length = Decimal(str((end - begin).total_seconds())) or Decimal(1)
        places = [Decimal(str((at - begin).total_seconds())) / length * WIDTH for at, _ in points]
        steps = list(zip(places, [*places[1:], Decimal(WIDTH)], values, strict=True))
        drawn.append(_steps(steps, look="line balance", scale=scale))
    if mark is not None:
        drawn.append(_steps([(ZERO, Decimal(WIDTH), mark)], look="line mark", scale=scale))
    return Chart(
        title=title,
        svg=_svg(title, description, [scale.line_of_zero(), *drawn]),
        top=write(scale.high),
        bottom=write(scale.low),
        ends=(tell(points[0][0]), tell(until or points[-1][0])) if points else (),
        legend=[(name, "balance"), *([(mark_name, "mark")] if mark is not None else [])],
        columns=[first_column, name],
        rows=[[tell(at), write(value)] for at, value in points],
    )


@dataclass(frozen=True)
class _Scale:
    """From amounts to heights; it always holds zero."""

    low: Decimal
    high: Decimal

    @classmethod
    def over(cls, values: Iterable[Decimal]) -> "_Scale":
        values = [ZERO, *values]
        return cls(min(values), max(values))

    def y(self, value: Decimal) -> Decimal:
        span = self.high - self.low or Decimal(1)
        return (self.high - value) / span * HEIGHT

    def line_of_zero(self) -> SafeString:
        y = _rounded(self.y(ZERO))
        return format_html('<line class="zero" x1="0" x2="{}" y1="{}" y2="{}"/>', WIDTH, y, y)


def _stack(
    stack: Sequence[Decimal], series: Sequence[Series], *, x: Decimal, width: Decimal, scale: _Scale
) -> SafeString:
    up = down = ZERO
    rectangles = []
    for one, value in zip(series, stack, strict=True):
        begin = up if value > 0 else down
        end = begin + value
        if value > 0:
            up = end
        else:
            down = end
        if value:
            top, bottom = scale.y(max(begin, end)), scale.y(min(begin, end))
            rectangles.append((one.look, _rounded(x), _rounded(top), _rounded(width), _rounded(bottom - top)))
    return format_html_join("", '<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>', rectangles)


def _steps(steps: Iterable[tuple[Decimal, Decimal, Decimal]], *, look: str, scale: _Scale) -> SafeString:
    """A line that is level from each beginning to each end."""
    corners = [f"{_rounded(x)},{_rounded(scale.y(value))}" for begin, end, value in steps for x in (begin, end)]
    return format_html('<polyline class="{}" points="{}"/>', look, " ".join(corners))


def _svg(title: str, description: str, shapes: Iterable[SafeString]) -> SafeString:
    name = f"chart-{zlib.crc32(f'{title} {description}'.encode()):08x}"
    return format_html(
        '<svg role="img" aria-labelledby="{0}-title" aria-describedby="{0}-words" viewBox="0 0 {1} {2}"'
        ' preserveAspectRatio="none"><title id="{0}-title">{3}</title><desc id="{0}-words">{4}</desc>{5}</svg>',
        name,
        WIDTH,
        HEIGHT,
        title,
        description,
        format_html_join("", "{}", ((shape,) for shape in shapes)),
    )


def _rounded(length: Decimal) -> str:
    return f"{length:.1f}".removesuffix(".0")
