"""The reckoning of the fault runs finds what is planted: a run that could not fail would prove nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from tests.faults.truth import Alert, Fall, Mail, Posting, Reckoning, read, reckon, reckon_by_ledger

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
ALERT = Alert(7, "C12", "low_balance", Decimal(10), ("c12@example.net", "books@example.net"))
LOWER = Alert(8, "C12", "low_balance", Decimal(5), ("c12@example.net",))


def later(minutes: float) -> datetime:
    return NOON + timedelta(minutes=minutes)


# C12 pays 20 at noon, spends 13 a minute later, is judged, and told on both addresses.
POSTINGS = [Posting("C12", NOON, Decimal(20)), Posting("C12", later(1), Decimal(-13))]
FALL = Fall(1, ALERT, later(1.1), None)


def mail(to: str = "c12@example.net", *, fall: Fall = FALL, at: datetime | None = None, balance: int = 7) -> Mail:
    return Mail(
        at=at or later(1.2),
        message_id=fall.message_id(to),
        to=to,
        header_to=to,
        accounts=frozenset({fall.alert.account}),
        amounts=frozenset({fall.alert.threshold, Decimal(balance)}),
    )


BOTH = [mail(), mail("books@example.net")]


def found(mails: list[Mail], *, postings: list[Posting] = POSTINGS, falls: list[Fall] | None = None) -> Reckoning:
    return reckon(postings, [ALERT], [FALL] if falls is None else falls, mails)


def test_one_mail_each_is_well() -> None:
    assert found(BOTH).is_well


def test_a_mail_that_comes_twice_is_a_duplicate() -> None:
    assert len(found([*BOTH, replace(mail(), at=later(30))]).duplicates) == 1


def test_two_mails_within_one_fall_are_duplicates_whatever_they_are_called() -> None:
    again = Fall(2, ALERT, later(5), None)
    falls = [replace(FALL, closed_at=later(4)), again]
    assert len(found([*BOTH, mail(fall=again, at=later(6))], falls=falls).duplicates) == 1


def test_a_mail_for_each_fall_is_none() -> None:
    postings = [*POSTINGS, Posting("C12", later(2), Decimal(20)), Posting("C12", later(3), Decimal(-20))]
    again = Fall(2, ALERT, later(3), None)
    second = [mail(to, fall=again, at=later(4)) for to in ALERT.recipients]
    assert found([*BOTH, *second], postings=postings, falls=[replace(FALL, closed_at=later(2)), again]).is_well


def test_nobody_told_is_a_loss_for_each_recipient() -> None:
    assert len(found([]).losses) == 2
    assert len(found([mail()]).losses) == 1


def test_a_fall_that_was_never_judged_is_a_loss() -> None:
    assert len(found([], falls=[]).losses) == 1


def test_what_staff_are_shown_is_no_silent_loss() -> None:
    shown = {(1, "c12@example.net"): "uncertain", (1, "books@example.net"): "failed"}
    reckoning = reckon(POSTINGS, [ALERT], [FALL], [], shown_to_staff=shown)
    assert reckoning.is_well
    assert reckoning.staff == ["uncertain", "failed"]


def test_a_mail_about_a_lower_threshold_tells_of_the_higher_too() -> None:
    postings = [*POSTINGS, Posting("C12", later(1), Decimal(-4))]
    lower = Fall(2, LOWER, later(1.1), None)
    mails = [mail(fall=lower, balance=3), mail("books@example.net", balance=3)]
    assert reckon(postings, [ALERT, LOWER], [FALL, lower], mails).is_well


def test_who_was_topped_up_need_not_be_told() -> None:
    postings = [*POSTINGS, Posting("C12", later(2), Decimal(20))]
    assert found([], postings=postings, falls=[replace(FALL, closed_at=later(2.1))]).is_well


@pytest.mark.parametrize(
    "spoil",
    [
        lambda one: replace(one, to="ines@example.net"),
        lambda one: replace(one, header_to="ines@example.net"),
        lambda one: replace(one, accounts=frozenset({"C13"})),
        lambda one: replace(one, amounts=frozenset({Decimal(10), Decimal(99)})),
        lambda one: replace(one, amounts=frozenset({Decimal(7)})),
        lambda one: replace(one, message_id="<nobody@knows.example>"),
    ],
    ids=["recipient", "header", "account", "balance", "threshold", "no fall"],
)
def test_a_mail_that_says_something_else_is_wrong(spoil: Callable[[Mail], Mail]) -> None:
    assert len(found([*BOTH[1:], spoil(BOTH[0])]).wrong) == 1


@pytest.mark.parametrize(("seconds", "is_stale"), [(2, False), (10, True)])
def test_a_mail_after_the_top_up_is_stale(seconds: int, is_stale: bool) -> None:
    postings = [*POSTINGS, Posting("C12", later(2), Decimal(20))]
    late = mail(at=later(2) + timedelta(seconds=seconds))
    assert bool(found([late], postings=postings, falls=[replace(FALL, closed_at=later(2))]).stale) == is_stale


def test_a_sender_without_falls_is_reckoned_by_the_ledger() -> None:
    nameless = [replace(one, message_id=f"<{number}@old.example>") for number, one in enumerate([*BOTH, BOTH[0]])]
    assert reckon_by_ledger(POSTINGS, [ALERT], nameless[:2]).is_well
    assert len(reckon_by_ledger(POSTINGS, [ALERT], nameless).duplicates) == 1
    assert len(reckon_by_ledger(POSTINGS, [ALERT], nameless[:1]).losses) == 1


def test_a_mail_is_read_as_its_recipient_does() -> None:
    content = (
        "Message-ID: <one@example.com>\r\nTo: c12@example.net\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        "Account C1=\r\n2: =E2=82=AC7.00, below =E2=82=AC1,010.00, not -=E2=82=AC3.50.\r\n"
    )
    one = read(content.encode(), at=NOON.timestamp(), to="c12@example.net")
    assert (one.message_id, one.header_to, one.accounts) == ("<one@example.com>", "c12@example.net", {"C12"})
    assert one.amounts == {Decimal(7), Decimal(1010), Decimal("-3.5")}
