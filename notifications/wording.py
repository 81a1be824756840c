"""The language of the mails' templates: Jinja2, which takes a third of the time of Django's own.

A mail is written for each customer alone, just before it is handed over, so that this is a good part of what one costs.
"""

from functools import lru_cache
from typing import Any
from urllib.parse import quote

from django.utils.text import wrap
from jinja2 import Environment, StrictUndefined, select_autoescape

from notifications import languages

COLUMNS = 72
KEPT = 512


def environment(**options: Any) -> Environment:
    """What `settings.TEMPLATES` names. HTML is escaped, text is not; a name that nobody tells fails the mail."""
    options |= {
        "autoescape": select_autoescape(["html"], default=False),
        "undefined": StrictUndefined,
        "keep_trailing_newline": True,
    }
    made = Environment(**options)  # noqa: S701 - it is on for every .html
    made.filters |= {"wrapped": wrapped, "in_a_link": in_a_link, "say": languages.say}
    return made


@lru_cache(maxsize=KEPT)
def wrapped(text: str) -> str:
    """The text in lines of at most 72 letters; once, what all mails have alike."""
    return wrap(str(text), COLUMNS)


@lru_cache(maxsize=KEPT)
def in_a_link(address: str) -> str:
    """The address as it stands behind `mailto:`."""
    return quote(address, safe="@")
