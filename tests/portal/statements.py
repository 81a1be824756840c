"""What people read on a statement, read back: the figures in the text of a page or of a PDF."""

import importlib
import io
import re
from decimal import Decimal

from pypdf import PdfReader

from ivy.portal import words


def can_print() -> bool:
    """Whether this machine has what PDF files need; `script/test` says what is missing."""
    try:
        importlib.import_module("weasyprint")
    except OSError:
        return False
    return True


SYMBOLS = {"EUR": "€", "GBP": "£", "USD": r"(?:US)?\$"}
SPACE = "[ \u00a0\u202f]?"


def pdf_text(content: bytes) -> str:
    """The text of all pages, in the order in which it is read."""
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(content)).pages)


def figures_in(text: str, currency: str) -> list[str]:
    """Every amount of money in the text, as it is written there, without spaces."""
    symbol, number = SYMBOLS[currency], r"\d(?:[\d.,\u2019]|\u00a0(?=\d)|\u202f(?=\d))*"
    found = re.findall(f"[-\u2212]?{symbol}{SPACE}{number}|[-\u2212]?{number}{SPACE}{symbol}", text)
    return [re.sub(r"\s", "", figure) for figure in found]


def written(amount: Decimal, currency: str) -> str:
    """The amount as it stands on a statement for the reader who is set, without spaces."""
    return re.sub(r"\s", "", words.money(amount, currency))
