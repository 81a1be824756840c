"""The night of 2019, as a person goes through it: by keyboard, in bulk, two at once, with an apology at the end."""

import re

from playwright.sync_api import Page, expect

from billing import halting
from billing.models import Process
from notifications import reviewing
from notifications.models import NotificationLog, State, Verb
from tests.browser.conftest import overflows, serious_findings
from tests.notifications.stories import make_fallen, make_mail, send_twice
from tests.staff.many_mails import make_many


def in_dark(page: Page) -> None:
    page.evaluate("document.documentElement.classList.add('dark')")
    # Colours that fade into each other would be measured halfway.
    page.add_style_tag(content="* { transition: none !important; animation: none !important; }")


def arrive(page: Page, address: str) -> None:
    """Wait until the page of this address is there, with what listens to keys."""
    expect(page).to_have_url(re.compile(address))
    page.wait_for_load_state()


class TestReviewing:
    def test_an_uncertain_mail_takes_the_keyboard_alone(self, page: Page, log_in, live_server) -> None:
        first, second = make_mail(State.UNCERTAIN), make_mail(State.UNCERTAIN)
        log_in("operator")
        page.goto(f"{live_server.url}/admin/review/")
        page.keyboard.press("j")
        page.keyboard.press("j")
        page.keyboard.press("k")
        page.keyboard.press("Enter")
        arrive(page, rf"/mail/{first.pk}/")
        page.keyboard.press("j")
        arrive(page, rf"/mail/{second.pk}/")
        page.keyboard.press("k")
        arrive(page, rf"/mail/{first.pk}/")
        page.keyboard.press("d")
        expect(page.get_by_label("Reason")).to_be_focused()
        page.keyboard.type("just delivered, says the desk")  # j, d and s are letters here
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        arrive(page, rf"/mail/{second.pk}/")
        expect(page.get_by_text("1 mail marked as delivered.")).to_be_visible()
        page.keyboard.press("s")
        expect(page.get_by_label("Reason")).to_be_focused()
        page.keyboard.type("Not wanted.")
        page.keyboard.press("Control+Enter")
        expect(page.get_by_text("Of every mail it is known")).to_be_visible()
        assert list(NotificationLog.objects.order_by("pk").values_list("state", flat=True)) == ["sent", "suppressed"]
        assert first.history.get().reason == "just delivered, says the desk"
        assert page.mistakes == []

    def test_a_burst_of_a_thousand_takes_three_clicks_and_a_reason(self, page: Page, log_in, live_server) -> None:
        make_many(1_000, "held", because="breaker", detail="the breaker tripped: 501 mails within an hour")
        make_mail(State.HELD, detail="4 mails of kind low_balance went to this recipient within a day")
        log_in("operator")
        page.goto(f"{live_server.url}/admin/")
        page.get_by_role("link", name="rate_review Review").click()
        page.get_by_role("link", name=re.compile("^Held")).click()
        expect(page.get_by_text("1,001")).to_have_count(2)  # in the row of queues, and above the causes
        page.get_by_role("link", name="Suppress: these 1000 mails").click()
        expect(page.get_by_text("1,000 mails would be changed")).to_be_visible()
        page.get_by_label("Reason").fill("The price list was wrong.")
        page.get_by_role("button", name="Suppress 1,000 mails for good").click()
        expect(page.get_by_text("1,000 mails suppressed")).to_be_visible()
        assert NotificationLog.objects.filter(state="suppressed").count() == 1_000
        assert NotificationLog.objects.filter(state="held").count() == 1
        assert page.mistakes == []

    def test_chosen_mails_can_be_decided_together(self, page: Page, log_in, live_server) -> None:
        logs = [make_mail(State.FAILED) for _ in range(3)]
        log_in("operator")
        page.goto(f"{live_server.url}/admin/review/?queue=failed")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.get_by_label(f"Choose the mail to {logs[2].customer.account}").check()
        page.get_by_role("button", name="Try again…").click()
        page.get_by_label("Reason").fill("Their server is back.")
        page.get_by_role("button", name="Try 2 mails again").click()
        expect(page.get_by_text("2 mails will be tried again.")).to_be_visible()
        assert [NotificationLog.objects.get(pk=log.pk).state for log in logs] == ["pending", "failed", "pending"]

    def test_customers_who_got_two_mails_are_found_and_apologised_to(self, page: Page, log_in, live_server) -> None:
        make_many(9, "sent", customers=3)
        log_in("operator")
        page.goto(f"{live_server.url}/admin/review/")
        page.get_by_role("link", name="Got two or more", exact=True).click()
        expect(page.get_by_text("3 customers, 9 mails to 3 recipients")).to_be_visible()
        page.get_by_role("link", name="Mark all but each first one as errant: 6").click()
        page.get_by_label("Reason").fill("The worker lost its memory.")
        page.get_by_role("button", name="Mark 6 mails as errant").click()
        expect(page.get_by_text("6 mails marked as errant.")).to_be_visible()
        page.get_by_role("link", name="Apologise all…").click()
        page.get_by_label("Reason").fill("They got it more than once.")
        page.get_by_role("button", name="Apologise for 3 mails").click()
        expect(page.get_by_text("3 mails apologised for")).to_be_visible()
        assert NotificationLog.objects.filter(kind="apology", state="pending").count() == 3

    def test_customers_who_got_one_mail_twice_are_told_so_and_not_that_it_was_wrong(
        self, page: Page, log_in, live_server, mail_server
    ) -> None:
        logs = send_twice(mail_server, *(make_fallen() for _ in range(7)))
        make_mail(State.PENDING)
        halting.halt(Process.NOTIFICATIONS, reason="Customers call.", by="bob@ivy.example")
        log_in("operator")
        page.goto(f"{live_server.url}/admin/review/twice/")
        page.get_by_role("link", name="Mark all but each first one as errant: 7").click()
        expect(page.get_by_text("Sent again by bob@ivy.example: They say that nothing came.")).to_be_visible()
        page.get_by_label("Reason").fill("They got it twice.")
        page.get_by_role("button", name="Mark 7 mails as errant").click()
        page.get_by_role("link", name="Apologise all…").click()
        expect(page.get_by_text("By mistake we sent you the same mail twice.")).to_be_visible()
        page.get_by_text("All 7").click()
        expect(page.get_by_role("link", name=re.compile(logs[6].customer.account))).to_be_visible()
        assert serious_findings(page) == []
        page.get_by_label("Reason").fill("They got it twice.")
        page.get_by_role("button", name="Apologise for 7 mails").click()
        expect(page.get_by_text("go out as soon as notifications are resumed")).to_be_visible()
        page.goto(f"{live_server.url}/admin/review/?queue=errant&apologised=yes")
        expect(page.get_by_text("nothing is left to decide about these")).to_be_visible()
        page.goto(f"{live_server.url}/admin/review/mail/{logs[0].pk}/")
        expect(page.get_by_text("one copy too many, since it was handed over 2 times")).to_be_visible()
        apology = NotificationLog.objects.filter(kind="apology").first()
        page.goto(f"{live_server.url}/admin/notifications/notificationlog/{apology.pk}/change/")
        expect(page.get_by_text(apology.message_id)).to_be_visible()
        for width in (1280, 400):
            page.set_viewport_size({"width": width, "height": 900})
            assert not overflows(page), width
        page.goto(f"{live_server.url}/admin/control/resume/notifications/")
        page.get_by_text("Who would be mailed").click()
        expect(page.get_by_text(f"{logs[0].customer.account}: apology to")).to_be_visible()
        page.get_by_text("Who would not be mailed").click()
        expect(page.get_by_text("the customers of 7 of these get an apology now")).to_be_visible()
        assert not overflows(page)
        assert page.mistakes == []

    def test_two_people_at_once_do_nothing_twice_and_are_told(self, page: Page, log_in, live_server) -> None:
        logs = [make_mail(State.HELD) for _ in range(5)]
        log_in("operator")
        page.goto(f"{live_server.url}/admin/review/approve/?queue=held")
        page.get_by_label("Reason").fill("All is well again.")
        reviewing.review(Verb.SUPPRESS, [log.key for log in logs[:3]], reason="No.", by="ben@ivy.example")
        page.get_by_role("button", name="Let 5 mails go out").click()
        expect(page.get_by_text("Nothing was done yet")).to_be_visible()
        expect(page.get_by_text("ben@ivy.example suppressed 3 of these mails")).to_be_visible()
        page.get_by_role("button", name="Let 2 mails go out").dblclick()
        expect(page.get_by_text(re.compile("2 mails approved"))).to_be_visible()
        assert [log.history.count() for log in logs] == [1] * 5
        assert NotificationLog.objects.filter(state="pending").count() == 2

    def test_support_looks_and_marks_errant(self, page: Page, log_in, live_server) -> None:
        sent, held = make_mail(State.SENT), make_mail(State.HELD)
        log_in("support")
        page.goto(f"{live_server.url}/admin/review/mail/{held.pk}/")
        expect(page.get_by_text("needs the role operator")).to_be_visible()
        page.keyboard.press("a")
        page.goto(f"{live_server.url}/admin/review/approve/?ids={held.pk}")
        expect(page.get_by_text("Nothing was changed.")).to_be_visible()
        page.goto(f"{live_server.url}/admin/review/mail/{sent.pk}/")
        page.keyboard.press("m")
        page.get_by_label("Reason").fill("They got it although they had paid.")
        page.get_by_role("button", name="Mark 1 mail as errant").click()
        expect(page.get_by_text("1 mail marked as errant.")).to_be_visible()


class TestThePages:
    def test_can_be_read_by_everybody_on_wide_and_narrow_screens_light_and_dark(
        self, page: Page, log_in, live_server
    ) -> None:
        make_many(12, "held", because="breaker", customers=3)
        make_many(6, "sent", customers=2, tag="b")
        failed = make_mail(State.FAILED, detail="rcpt: 550 " + "no-such-user-" * 20)
        log_in("operator")
        wrong = []
        for path in (
            "review/?queue=held",
            "review/?queue=uncertain",
            "review/twice/",
            f"review/mail/{failed.pk}/",
            "review/suppress/?queue=held",
            "review/apologise/?queue=errant",
        ):
            page.set_viewport_size({"width": 1280, "height": 900})
            page.goto(f"{live_server.url}/admin/{path}")
            wrong += [f"{path}: {finding}" for finding in serious_findings(page)]
            in_dark(page)
            wrong += [f"{path}, dark: {finding}" for finding in serious_findings(page)]
            page.set_viewport_size({"width": 400, "height": 800})
            if overflows(page):
                wrong.append(f"{path} is wider than 400 pixels")
        assert wrong == []
        assert page.mistakes == []

    def test_show_a_mail_in_a_frame_that_runs_nothing(self, page: Page, log_in, live_server) -> None:
        log = make_mail(State.HELD)
        log_in("operator")
        page.goto(f"{live_server.url}/admin/review/mail/{log.pk}/")
        frame = page.frame_locator("iframe.review-html")
        expect(frame.get_by_role("heading", name="Your balance is low")).to_be_visible()
        assert page.locator("iframe.review-html").get_attribute("sandbox") == ""
