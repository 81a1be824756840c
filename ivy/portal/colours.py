"""A partner's colour, made darker or lighter until it can be read on the portal's paper, as WCAG 2 counts contrast."""

import colorsys
from dataclasses import dataclass

ENOUGH = 4.5
LIGHT_PAPER, DARK_PAPER = "#eef3f0", "#1d2622"
"""The least favourable papers of the style sheet (--sunk): what is readable there is so on the others."""
WHITE, BLACK = "#ffffff", "#000000"
STEPS = 200


@dataclass(frozen=True)
class Shades:
    """The colour as it stands on light and on dark paper, and what is written upon it."""

    light: str
    on_light: str
    dark: str
    on_dark: str


def shades(colour: str) -> Shades:
    """Shades of `#rrggbb` with a contrast of at least 4.5 : 1 to their paper, and to what is written upon them."""
    light, dark = _readable(colour, LIGHT_PAPER, towards=0.0), _readable(colour, DARK_PAPER, towards=1.0)
    return Shades(light, _upon(light), dark, _upon(dark))


def contrast(one: str, other: str) -> float:
    """From 1 (the same) to 21 (black and white)."""
    high, low = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def _readable(colour: str, paper: str, *, towards: float) -> str:
    """The nearest shade of the colour, in steps towards black (0) or white (1), that can be read on the paper."""
    hue, lightness, saturation = colorsys.rgb_to_hls(*(part / 255 for part in _parts(colour)))
    for step in range(STEPS + 1):
        shade = colour
        if step:
            moved = lightness + (towards - lightness) * step / STEPS
            shade = _written(colorsys.hls_to_rgb(hue, moved, saturation))
        if contrast(shade, paper) >= ENOUGH:
            return shade
    return WHITE if towards else BLACK


def _upon(shade: str) -> str:
    return max((WHITE, BLACK), key=lambda ink: contrast(ink, shade))


def _luminance(colour: str) -> float:
    red, green, blue = (_linear(part / 255) for part in _parts(colour))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _linear(part: float) -> float:
    return part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4


def _parts(colour: str) -> tuple[int, int, int]:
    return int(colour[1:3], 16), int(colour[3:5], 16), int(colour[5:7], 16)


def _written(parts: tuple[float, float, float]) -> str:
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)
