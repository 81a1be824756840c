"""The first page: what is told at its opening, and the parts of it that are told anew while somebody looks."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from ivy.staff.control import room
from ivy.staff.control.needs import NEWS, needs
from ivy.staff.pages import LivePart
from notifications.models import State

SECONDS = 5
LATELY_SECONDS = 60


def first_page(request: HttpRequest) -> dict[str, Any]:
    """What the first page needs besides the admin's own. What takes longer to sum up is asked for by the page."""
    lately = {"name": "lately", "url": reverse("admin:control_lately"), "seconds": LATELY_SECONDS}
    return {"live_parts": [_part("now", reverse("admin:control_now"), SECONDS, NowPart, request), lately]}


def _part(name: str, url: str, seconds: int, part: type[LivePart], request: HttpRequest) -> dict[str, Any]:
    view = part()
    view.setup(request)
    answer = view.get(request)
    return {
        "name": name,
        "url": url,
        "seconds": seconds,
        "text": answer.content.decode(),
        "version": answer["X-Version"],
        "as_of": answer["X-As-Of"],
    }


class NowPart(LivePart):
    """What needs a person, the switches, runs, what waits, and how the parts are."""

    title = "Control room"
    template_name = "admin/staff/control/now.html"

    def context(self) -> dict[str, Any]:
        seen, user = room.now(), self.request.user
        found = [(need, need.links(user)) for need in needs(seen)]
        return {
            "now": seen,
            "needs": found,
            "is_well": all(need.level == NEWS for need, _ in found),
            "worst": found[0][0].level if found else "",
            "most": room.MOST_COUNTED,
            "parts": sorted(seen.parts, key=lambda part: part.ok),  # what is not well comes first
            "may_halt": user.has_perm("billing.halt_process"),
            "may_resume": user.has_perm("billing.resume_process"),
            "may_reset": user.has_perm("notifications.reset_breaker"),
        }


class LatelyPart(LivePart):
    """Mails of the last day, the breaker's limits, money of the last month."""

    title = "Control room"
    template_name = "admin/staff/control/lately.html"

    def context(self) -> dict[str, Any]:
        with_money = self.request.user.has_perm("billing.view_billingrun")
        found = room.lately(with_money=with_money)
        mails = [
            (state, words, found.mails.counts.get(state, 0), found.mails.ordinary.get(state, 0.0))
            for state, words in STATES.items()
        ]
        return {"lately": found, "mails": mails, "shows_money": with_money}


STATES = {
    state.value: state.label
    for state in (
        State.SENT, State.PENDING, State.CLAIMED, State.SENDING, State.UNCERTAIN, State.HELD, State.FAILED,
        State.SUPPRESSED,
    )
}  # fmt: skip
"""What became of the mails of a day, in the words of all pages; the good end comes first."""
