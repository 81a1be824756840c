"""The languages that mails are written in: English, and each that has a catalogue in `notifications/catalogues/`.

A catalogue is a gettext file (`de.po`) with every sentence of the kinds and of their templates; a test says which are
missing in one. A new language is one file. Where a customer's has none, the words are English, and amounts alone are
written as that language does.
"""

from collections.abc import Mapping
from functools import cache, lru_cache
from gettext import GNUTranslations, NullTranslations
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Any

from babel import Locale
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from jinja2 import pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

CATALOGUES = Path(__file__).parent / "catalogues"
ENGLISH = "en"
KEPT = 4096
NOTHING: Mapping[str, object] = MappingProxyType({})


class Words:
    """The sentences of one language. `tag` is its name as browsers know it."""

    def __init__(self, tag: str, translations: NullTranslations) -> None:
        self.tag = tag
        self.said = lru_cache(maxsize=KEPT)(translations.gettext)

    def say(self, sentence: str, named: Mapping[str, object] = NOTHING) -> str:
        """The English sentence in this language, what stands in braces filled in. KeyError: it names what is not."""
        said = self.said(sentence)
        return said.format_map(named) if "{" in said else said


@cache
def words_of(locale: Locale) -> Words:
    """The words for readers of this locale: those of its language, whichever the country; else English."""
    if not is_written(locale) or locale.language == ENGLISH:
        return Words(ENGLISH, NullTranslations())
    compiled = BytesIO()
    with _catalogue(locale).open("rb") as catalogue:
        write_mo(compiled, read_po(catalogue, locale=locale.language))
    compiled.seek(0)
    return Words(locale.language, GNUTranslations(compiled))


def is_written(locale: Locale) -> bool:
    """Whether mails are written in the language of this locale."""
    return locale.language == ENGLISH or _catalogue(locale).exists()


def written() -> list[str]:
    """All languages that mails are written in, by their tags: English, and those of the catalogues."""
    return [ENGLISH, *sorted(catalogue.stem for catalogue in CATALOGUES.glob("*.po"))]


def _catalogue(locale: Locale) -> Path:
    return CATALOGUES / f"{locale.language}.po"


@pass_context
def say(context: Context, sentence: str, **named: object) -> Any:
    """`Words.say` as a filter of templates, in the words of the mail. Within HTML, what is filled in is escaped."""
    words: Words = context["words"]
    if not context.eval_ctx.autoescape:
        return words.say(sentence, named)
    # Not `Markup.format`, which takes ten times as long for the same.
    return Markup(words.say(sentence, {name: escape(text) for name, text in named.items()}))  # noqa: S704 - it is escaped
