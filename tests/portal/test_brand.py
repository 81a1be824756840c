"""A partner's name, colour and logo; what is no picture is refused, and what is no colour to read by is made one."""

import io

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import IntegrityError, transaction
from django.test import Client
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pytest_django import Settings

from ivy.portal import colours, logos
from ivy.portal.models import Brand, PortalUser
from tests import factories

pytestmark = pytest.mark.django_db
SAID = {
    "name": "Harbour Voice",
    "sender_name": "Harbour billing",
    "reply_to": "ask@harbour.example",
    "colour": "#FFD400",
}


@pytest.fixture
def owner(settings: Settings) -> PortalUser:
    settings.AXES_ENABLED = False
    return factories.make_portal_user()


@pytest.fixture
def mei(owner: PortalUser) -> Client:
    client = Client()
    client.force_login(owner.user)
    return client


def picture(kind: str = "PNG", size: tuple[int, int] = (300, 900), **about: object) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, "teal").save(buffer, kind, **about)
    return buffer.getvalue()


def send(client: Client, content: bytes, name: str = "logo.png", **fields: str) -> object:
    return client.post(reverse("portal:brand"), {**SAID, **fields, "logo": SimpleUploadedFile(name, content)})


class TestABrand:
    def test_is_the_owners_to_shape(self, mei: Client, owner: PortalUser) -> None:
        for _ in range(2):
            assert mei.post(reverse("portal:brand"), SAID).status_code == 302
        partner = owner.partner
        partner.refresh_from_db()
        assert (partner.name, partner.sender_name, partner.reply_to) == (
            "Harbour Voice",
            "Harbour billing",
            "ask@harbour.example",
        )
        assert reverse("portal:brand_style") in mei.get("/portal/").text
        style = mei.get(reverse("portal:brand_style"))
        assert style.headers["Content-Type"] == "text/css; charset=utf-8"
        assert colours.shades("#ffd400").light in style.text

    @pytest.mark.parametrize(
        "forged",
        [
            {"colour": "red"},
            {"colour": "#12345"},
            {"colour": "#123456\n"},
            {"colour": "#123456; } body { display: none"},
            {"name": "Harbour\nBcc: x@example.com"},
            {"name": ""},
            {"sender_name": "x\u2028y"},
            {"reply_to": "nobody"},
        ],
    )
    def test_takes_no_nonsense(self, mei: Client, forged: dict[str, str]) -> None:
        assert mei.post(reverse("portal:brand"), {**SAID, **forged}).status_code == 400
        assert not Brand.objects.exists()

    def test_has_no_style_or_logo_where_there_is_none(self, mei: Client) -> None:
        assert mei.get(reverse("portal:brand_style")).status_code == 404
        assert mei.get(reverse("portal:logo")).status_code == 404


class TestALogo:
    @pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
    def test_is_drawn_anew_and_served_with_the_right_headers(self, mei: Client, kind: str) -> None:
        assert send(mei, picture(kind)).status_code == 302
        answer = mei.get(reverse("portal:logo"))
        drawn = Image.open(io.BytesIO(answer.content))
        assert (drawn.format, drawn.height) == ("PNG", logos.KEPT_SIZE[1])
        assert answer.headers["Content-Type"] == "image/png"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"].startswith("private")
        assert 'alt="Harbour Voice"' in mei.get("/portal/").text

    def test_brings_nothing_along(self, mei: Client) -> None:
        secret = b"<script>alert(1)</script>"
        exif = Image.Exif()
        exif[0x9286] = secret.decode()
        send(mei, picture("JPEG", exif=exif) + secret)
        assert b"script" not in mei.get(reverse("portal:logo")).content

    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("logo.png", b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"),
            ("logo.png", b"<html>"),
            ("logo.png", picture()[:200]),
            ("logo.png", picture("GIF")),
            ("logo.png", picture("BMP", size=(10, 10))),
            ("logo.png", b"\x89PNG\r\n\x1a\n" + b"\0" * 50),
            ("logo.png", picture(size=(5000, 5000))),
            ("logo.jpg", b"\0" * (logos.MOST_BYTES + 1)),
        ],
    )
    def test_that_is_no_picture_or_too_large_is_refused_in_words(self, mei: Client, name: str, content: bytes) -> None:
        answer = send(mei, content, name)
        assert answer.status_code == 400
        assert "send a" in answer.text
        assert not Brand.objects.exists()

    def test_stays_until_it_is_taken_away(self, mei: Client) -> None:
        send(mei, picture())
        mei.post(reverse("portal:brand"), SAID)
        assert mei.get(reverse("portal:logo")).status_code == 200
        for _ in range(2):
            mei.post(reverse("portal:brand"), {**SAID, "forgets_logo": "on"})
            assert mei.get(reverse("portal:logo")).status_code == 404


class TestColours:
    @given(st.integers(min_value=0, max_value=0xFFFFFF))
    def test_can_always_be_read(self, number: int) -> None:
        shades = colours.shades(f"#{number:06x}")
        assert colours.contrast(shades.light, colours.LIGHT_PAPER) >= colours.ENOUGH
        assert colours.contrast(shades.dark, colours.DARK_PAPER) >= colours.ENOUGH
        assert colours.contrast(shades.light, shades.on_light) >= colours.ENOUGH
        assert colours.contrast(shades.dark, shades.on_dark) >= colours.ENOUGH

    def test_that_can_be_read_stay_as_they_are(self) -> None:
        assert colours.shades("#0b5a3d").light == "#0b5a3d"
        assert colours.contrast("#ffffff", "#000000") == pytest.approx(21)


class TestTheDatabase:
    @pytest.mark.parametrize(
        ("changes", "constraint"),
        [
            ({"colour": "#GGGGGG"}, "brand_colour_is_one"),
            ({"logo": b"x"}, "logos_and_only_they_have_a_hash"),
            ({"logo_hash": "x"}, "logos_and_only_they_have_a_hash"),
        ],
    )
    def test_refuses_impossible_brands(self, changes: dict[str, object], constraint: str) -> None:
        with pytest.raises(IntegrityError, match=constraint), transaction.atomic():
            Brand.objects.create(partner=factories.harbour(), changed_by="mei@harbour.example", **changes)
