"""docs/runbook.md as a page: what each alarm means, how to look, how to stop harm, how to restart."""

from dataclasses import dataclass
from functools import cache

from django.conf import settings
from django.utils.safestring import SafeString, mark_safe
from markdown import Markdown

PATH = settings.BASE_DIR / "docs" / "runbook.md"
ALARMS = "The alarms"


@dataclass(frozen=True)
class Heading:
    """A heading, with the anchor that leads to it: that of an alarm is the first part of its key."""

    anchor: str
    text: str
    below: tuple["Heading", ...] = ()


@dataclass(frozen=True)
class Page:
    body: SafeString
    contents: tuple[Heading, ...]


def read() -> Page:
    """The page as it stands in the file now."""
    return _rendered(PATH.read_text(encoding="utf-8"))


@cache
def _rendered(text: str) -> Page:
    markdown = Markdown(extensions=["toc", "tables", "fenced_code", "sane_lists"])
    body = markdown.convert(text)
    (title,) = markdown.toc_tokens
    return Page(mark_safe(body), tuple(_heading(token) for token in title["children"]))  # noqa: S308 - a file of ours


def _heading(token: dict) -> Heading:
    return Heading(token["id"], token["name"], tuple(_heading(below) for below in token["children"]))
