"""Opens the pages that docs/staff.md shows, in Chromium, and keeps a picture of each. `shoot.py SITE FOLDER`."""

import io
import os
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import Page, sync_playwright

PEOPLE = {"email": "admin@ivy.example", "password": "ivy climbs quietly"}
WIDE, NARROW = {"width": 1280, "height": 860}, {"width": 400, "height": 860}
COLOURS = 128

PAGES: list[tuple[str, str]] = [
    ("first-page", "/admin/"),
    ("halt", "/admin/control/halt/calls/"),
    ("resume", "/admin/control/resume/notifications/"),
    ("review", "/admin/review/?queue=held"),
    ("review-uncertain", "/admin/review/?queue=uncertain"),
    ("review-twice", "/admin/review/twice/"),
    ("quarantine", "/admin/work/quarantine/"),
    ("price", "/admin/work/price/"),
    ("import", "/admin/work/import/"),
    ("changes", "/admin/changes/?by=admin@ivy.example"),
]
"""Name of the picture, and the address."""


def main(site: str, folder: Path) -> None:
    """Each page in a wide window; the first one also dark, and on a phone."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=os.environ["IVY_CHROMIUM"],
            args=["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                  "--disable-background-networking", "--disable-component-update"],
        )  # fmt: skip
        context = chromium.new_context(viewport=WIDE, locale="en-GB", timezone_id="UTC")
        page = context.new_page()
        page.goto(f"{site}/admin/")
        page.get_by_label("Email").fill(PEOPLE["email"])
        page.get_by_label("Password:").fill(PEOPLE["password"])
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{site}/admin/")
        for name, address in PAGES:
            page.goto(site + address)
            _keep(page, folder / f"{name}.png")
        page.goto(f"{site}/admin/review/?queue=uncertain")
        page.locator("a[href*='/admin/review/mail/']").first.click()
        page.wait_for_url("**/review/mail/**")
        _keep(page, folder / "review-mail.png")
        page.goto(f"{site}/admin/billing/customer/")
        page.locator("#result_list th a").first.click()
        page.locator("a[href*='/admin/customers/']").first.click()
        page.wait_for_url("**/admin/customers/**")
        _keep(page, folder / "customer.png")
        page.locator("a[href*='/payment/']").first.click()
        page.wait_for_url("**/payment/**")
        _keep(page, folder / "payment.png")
        page.goto(f"{site}/admin/")
        page.evaluate("document.documentElement.classList.add('dark')")
        _keep(page, folder / "first-page-dark.png")
        page.set_viewport_size(NARROW)
        page.goto(f"{site}/admin/")
        _keep(page, folder / "first-page-phone.png")
        chromium.close()


def _keep(page: Page, path: Path) -> None:
    """What the window shows once it is quiet, with few colours, so that the file is small."""
    page.wait_for_load_state("load")
    page.wait_for_timeout(1_500)  # charts and live parts come after the page
    image = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    image.convert("RGB").quantize(COLOURS).save(path, optimize=True)
    print(path.name)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
