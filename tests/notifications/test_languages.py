"""Mails in other languages: whole, and with the same facts in them."""

import re
from pathlib import Path
from string import Formatter
from typing import Any

import pytest
from babel import Locale
from babel.messages.extract import extract_from_dir
from babel.messages.pofile import read_po
from jinja2 import nodes

from ivy.portal import words
from notifications import formats, languages, rendering
from notifications.kinds import KINDS
from notifications.models import NotificationLog
from notifications.wording import environment
from tests.notifications.mails import make_apology, make_exhausted, make_fallen, make_owed, make_speaking

ROOT = Path(__file__).parents[2]
TAGS = re.compile(r"<style>.*</style>|<[^>]*>", re.DOTALL)
ENGLISH = re.compile(r"\b(you|your|balance|write|sent|since|this|because|below)\b", re.IGNORECASE)
EARLIER_SUBJECT = "Low balance: £4.20 on"  # of the mail that an apology is about, as that was written
OTHERS = [tag for tag in languages.written() if tag != "en"]


def sentences() -> set[str]:
    """All that is said through `say`, in Python and in templates."""
    python = extract_from_dir(ROOT / "notifications", [("**.py", "python")], keywords={"say": None})
    templates = [path.read_text() for path in (ROOT / "templates/mail").iterdir()]
    filters = [found for text in templates for found in environment().parse(text).find_all(nodes.Filter)]
    return {sentence for _, _, sentence, _, _ in python if isinstance(sentence, str)} | {
        found.node.value for found in filters if found.name == "say" and isinstance(found.node, nodes.Const)
    }


def names_in(sentence: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(sentence) if name}


def make_mail(kind: str, language: str) -> NotificationLog:
    """Owed by a partner that has its mails written in this language; with an account that would be a tag in HTML."""
    partner = make_speaking(language, "EUR", "Europe/Berlin", slug="fjord", sender="billing@fjord.example")
    about: dict[str, Any] = {"partner": partner, "name": "Fischer & Söhne", "account": "F<1>"}
    if kind == "apology":
        return make_apology(make_fallen(**about))
    episode = make_exhausted(**about) if kind == "exhausted" else make_fallen(**about)
    return make_owed(kind, episode, reminder_number=2 if kind == "reminder" else 0)


class TestACatalogue:
    @pytest.mark.parametrize("tag", OTHERS)
    def test_says_every_sentence_with_the_same_facts(self, tag: str) -> None:
        with (languages.CATALOGUES / f"{tag}.po").open("rb") as file:
            catalogue = {message.id: message for message in read_po(file) if message.id}
        expected = sentences()
        assert len(expected) > 50
        assert set(catalogue) == expected
        for sentence, message in catalogue.items():
            assert message.string, sentence
            assert not message.fuzzy, sentence
            assert names_in(message.string) == names_in(sentence), sentence
            assert not re.search(r"[<>&\"]", message.string), f"{sentence}: it goes into HTML as it stands"

    def test_is_there_for_every_language_that_the_portal_offers(self) -> None:
        offered = [formats.locale_of(tag) for tag, _name in words.languages()]
        assert [str(locale) for locale in offered if not languages.is_written(locale)] == []


@pytest.mark.django_db
class TestAMail:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("tag", OTHERS)
    def test_is_written_in_its_language_from_top_to_bottom(self, tag: str, kind: str) -> None:
        written = rendering.render(make_mail(kind, tag))
        said = languages.words_of(Locale(tag)).said
        assert said("Your balance is low") != "Your balance is low"
        assert f'<html lang="{tag}"' in written.html
        for part in (written.subject, written.text, written.html):
            shown = TAGS.sub(" ", part.replace(EARLIER_SUBJECT, ""))
            assert not ENGLISH.search(shown)
            assert "{" not in shown
        assert "F<1>" in written.text
        assert "F&lt;1&gt;" in written.html
        assert "F<1>" not in written.html
        assert 'href="mailto:billing@fjord.example"' in written.html

    def test_of_a_customer_is_in_the_customers_own_language(self) -> None:
        mail = make_mail("low_balance", "de-AT")
        assert rendering.render(mail).subject == "Guthaben niedrig: €\N{NO-BREAK SPACE}4,20 auf Konto F<1>"
        mail.customer.language = "pt-BR"
        mail.customer.save()
        written = rendering.render(mail)
        assert written.subject == "Saldo baixo: €\N{NO-BREAK SPACE}4,20 na conta F<1>"
        assert re.search(r"em \d+ de \w+ de 20\d\d, \d\d:\d\d CES?T", written.text)

    def test_in_a_language_without_a_catalogue_is_in_english(self) -> None:
        written = rendering.render(make_mail("low_balance", "ja"))
        assert written.subject == "Low balance: €4.20 on account F<1>"
        assert '<html lang="en"' in written.html
