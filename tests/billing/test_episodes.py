"""Falls below a threshold: when one opens, what it waits for, and when it is over."""

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import transaction

from billing import cycle, episodes, halting
from billing.episodes import Judged
from billing.models import (
    BalanceAlert,
    BillingItem,
    Customer,
    CustomerBalance,
    CustomerToJudge,
    Episode,
    ItemKind,
    Process,
    ProcessSwitch,
)
from tests.billing.at_once import at_once, locked_balances, meanwhile, real_commits
from tests.factories import (
    harbour,
    make_alert,
    make_batch,
    make_call,
    make_call_charge,
    make_customer,
    make_entry,
    make_episode,
    make_free_call,
    make_item,
    make_partner,
    make_quarantined_call,
    make_rate,
    make_switch,
)
from tests.faults.processes import another_connection, wait_until

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
DAY = timedelta(days=1)


def judge(at: datetime = NOON) -> Judged:
    return episodes.judge(at=at)


def set_balance(customer: Customer, balance: Decimal | str | int) -> None:
    """Pay or charge the customer up or down to this balance."""
    difference = Decimal(balance) - CustomerBalance.objects.get(customer=customer).balance
    if difference:
        make_entry(customer=customer, amount=difference)


def make_watched(balance: Decimal | str | int, threshold: Decimal | str | int = 10, **fields: Any) -> BalanceAlert:
    """An alert of a customer who has this balance, and credit enough not to be exhausted."""
    customer = make_customer(balance=Decimal(balance), credit_limit=1_000_000, **fields)
    return make_alert(customer=customer, threshold=Decimal(threshold))


def make_told(threshold: str = "10", **fields: Any) -> Episode:
    """An episode that the customer was told of, a penny below the threshold; the balance is there, too."""
    alert = make_watched(Decimal(threshold) - Decimal("0.01"), threshold)
    BalanceAlert.objects.filter(pk=alert.pk).update(**fields)
    alert.refresh_from_db()
    return make_episode(alert=alert, told_at=NOON)


def is_open(episode: Episode) -> bool:
    episode.refresh_from_db()
    return episode.closed_at is None


@pytest.mark.django_db
class TestAnEpisode:
    @pytest.mark.parametrize(
        ("balance", "opened", "because"),
        [
            ("10", 0, "at the threshold is not below it"),
            ("9.999999", 1, "strictly below, by however little"),
            ("10.000001", 0, "above"),
            ("-5", 1, "far below"),
        ],
    )
    def test_opens_strictly_below_the_threshold(self, balance: str, opened: int, because: str) -> None:
        alert = make_watched(balance)
        assert judge().opened == opened, because
        assert judge() == Judged(opened=0, closed=0, waiting=0)
        for episode in Episode.objects.all():
            assert (episode.alert, episode.opened_business_at, episode.is_silent) == (alert, NOON, False)
            assert (episode.opened_threshold, episode.opened_balance) == (Decimal(10), Decimal(balance))
            assert episode.told_at is None

    @pytest.mark.parametrize(
        ("limit", "balance", "opened"), [(0, "-0.01", 1), (0, "0", 0), (50, "-50", 0), (50, -51, 1)]
    )
    def test_opens_when_the_credit_limit_is_exhausted(self, limit: int, balance: str, opened: int) -> None:
        lindqvist = make_customer(credit_limit=limit)
        set_balance(lindqvist, balance)
        assert judge().opened == opened
        assert set(Episode.objects.values_list("alert__kind", flat=True)) <= {"exhausted"}

    def test_opens_for_each_alert_that_was_crossed(self) -> None:
        alert = make_watched(15, 10)
        twenty = make_alert(customer=alert.customer, threshold=20)
        zero = make_alert(customer=alert.customer, threshold=0)
        assert judge().opened == 1
        set_balance(alert.customer, 5)
        assert judge().opened == 1
        set_balance(alert.customer, 4)
        assert judge().opened == 0
        assert set(Episode.objects.values_list("alert", flat=True)) == {twenty.pk, alert.pk}
        set_balance(alert.customer, -1)
        assert judge().opened == 1
        assert Episode.objects.filter(alert=zero).count() == 1

    def test_does_not_open_where_only_the_final_balance_is_above(self) -> None:
        alert = make_watched(100)
        make_entry(customer=alert.customer, amount=Decimal(-99))
        make_entry(customer=alert.customer, amount=Decimal(9))
        assert judge() == Judged(opened=0, closed=0, waiting=0)

    def test_does_not_open_for_an_alert_that_is_switched_off(self) -> None:
        alert = make_watched(5)
        BalanceAlert.objects.filter(pk=alert.pk).update(is_active=False)
        assert judge().opened == 0
        BalanceAlert.objects.filter(pk=alert.pk).update(is_active=True)
        assert judge().opened == 1

    def test_opens_again_at_the_next_fall(self) -> None:
        alert = make_watched(5)
        for balance, counts in [(5, (1, 0)), (10, (0, 1)), (9, (1, 0)), (10, (0, 1))]:
            set_balance(alert.customer, balance)
            judged = judge()
            assert (judged.opened, judged.closed) == counts
        assert Episode.objects.filter(alert=alert).count() == 2

    def test_is_judged_for_those_who_were_noted_and_nobody_else(self) -> None:
        noted, forgotten = make_watched(5), make_watched(5)
        CustomerToJudge.objects.filter(customer=forgotten.customer).delete()
        judge()
        assert list(Episode.objects.values_list("alert", flat=True)) == [noted.pk]
        assert not CustomerToJudge.objects.exists()

    def test_is_judged_for_those_who_were_asked_for(self) -> None:
        asked, other = make_watched(5), make_watched(5)
        assert episodes.judge(at=NOON, customer_ids=[asked.customer_id]).opened == 1
        assert list(CustomerToJudge.objects.values_list("customer", flat=True)) == [other.customer_id]
        assert episodes.judge(at=NOON, customer_ids=[]).opened == 0

    def test_is_judged_bit_by_bit_where_many_were_noted(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(episodes, "CUSTOMERS_AT_A_TIME", 2)
        for _ in range(5):
            make_watched(5)
        assert judge().opened == 5


@pytest.mark.django_db
class TestTheStatusOfACustomer:
    @pytest.mark.parametrize("status", ["suspended", "closed"])
    def test_spares_those_who_are_not_active(self, status: str) -> None:
        alert = make_watched(100)
        Customer.objects.filter(pk=alert.customer_id).update(status=status)
        set_balance(alert.customer, 5)
        for _ in range(2):
            assert judge() == Judged(opened=0, closed=0, waiting=0)

        Customer.objects.filter(pk=alert.customer_id).update(status="active")
        assert judge().opened == 1

    @pytest.mark.parametrize("status", ["suspended", "closed"])
    def test_ends_no_episode_and_keeps_none_from_ending(self, status: str) -> None:
        alert = make_watched(5)
        judge()
        Customer.objects.filter(pk=alert.customer_id).update(status=status)
        assert judge() == Judged(opened=0, closed=0, waiting=0)
        set_balance(alert.customer, 10)
        assert judge().closed == 1


def pending_call(customer: Customer) -> None:
    make_call(customer=customer)


def due_item(customer: Customer) -> None:
    make_item(customer=customer)


def item_of_exactly_thirteen_months(customer: Customer) -> None:
    make_item(customer=customer, starts_on=date(2025, 2, 2))


def one_off_item_of_long_ago(customer: Customer) -> None:
    make_item(customer=customer, kind=ItemKind.ONE_OFF, starts_on=date(2023, 1, 1))


def released_call(customer: Customer) -> None:
    call = make_call(customer=customer)
    type(call.batch).objects.filter(pk=call.batch_id).update(closed_at=NOON)
    make_quarantined_call(call, state="released", release_batch=make_batch(kind="release"))


def halted(process: Process, partner: Any = None) -> Any:
    return lambda customer: make_switch(process=process, partner=partner and partner())


# What keeps a customer's balance from being final at noon on 2 March, and what does not.
WAITING = [
    (pending_call, "a call without an outcome"),
    (released_call, "a call that comes back from quarantine"),
    (due_item, "an item that is due"),
    (item_of_exactly_thirteen_months, "an item as far behind as a run charges"),
    (one_off_item_of_long_ago, "a one-off item, however old: the next run charges it"),
    (halted(Process.CALLS), "calls are halted"),
    (halted(Process.ITEMS), "items are halted"),
    (halted(Process.CALLS, harbour), "the partner's calls are halted"),
    (halted(Process.ITEMS, harbour), "the partner's items are halted"),
]
NOT_WAITING = [
    (lambda customer: make_quarantined_call(make_call(customer=customer)), "a call in quarantine"),
    (lambda customer: make_free_call(make_call(customer=customer)), "a free call, its batch still open"),
    (lambda customer: make_call_charge(make_call(customer=customer)), "a charged call, its batch still open"),
    (lambda customer: make_call(), "somebody else's pending call"),
    (lambda customer: make_call(customer=None), "nobody's call"),
    (lambda customer: make_item(), "somebody else's due item"),
    (lambda customer: make_item(customer=customer, starts_on=date(2026, 3, 3)), "an item due tomorrow"),
    (
        lambda customer: make_item(customer=customer, starts_on=date(2025, 2, 1)),
        "an item so far behind that no run charges it unasked: the customer would never be told",
    ),
    (halted(Process.NOTIFICATIONS), "notifications are halted: that is their business"),
    (halted(Process.CALLS, make_partner), "another partner's calls are halted"),
]


@pytest.mark.django_db
class TestOpening:
    @pytest.mark.parametrize(("obstacle", "because"), WAITING, ids=[because for _, because in WAITING])
    def test_waits_for_the_final_balance(self, obstacle: Any, because: str) -> None:
        alert = make_watched(5)
        obstacle(alert.customer)
        for _ in range(2):
            assert judge() == Judged(opened=0, closed=0, waiting=1)
        assert CustomerToJudge.objects.filter(customer=alert.customer).exists()

    @pytest.mark.parametrize(("no_obstacle", "because"), NOT_WAITING, ids=[because for _, because in NOT_WAITING])
    def test_waits_for_nothing_else(self, no_obstacle: Any, because: str) -> None:
        alert = make_watched(5)
        no_obstacle(alert.customer)
        judge()
        assert Episode.objects.filter(alert=alert).exists()
        assert not CustomerToJudge.objects.filter(customer=alert.customer).exists()

    def test_tells_of_the_balance_after_everything_was_charged(self) -> None:
        lindqvist = make_customer(balance=Decimal(15), credit_limit=100, rate_deck=make_rate().deck)
        make_alert(customer=lindqvist, threshold=10)
        make_item(customer=lindqvist, amount=Decimal(8))
        make_call(customer=lindqvist)

        halting.halt(Process.CALLS, reason="Wrong prices.", by="Astrid Holm")
        assert cycle.run_cycle(by="Mei", at=NOON).episodes_opened == 0  # below by the item alone, and yet
        halting.resume(Process.CALLS, reason="Mended.", by="Astrid Holm")
        assert cycle.run_cycle(by="Mei", at=NOON).episodes_opened == 1

        assert Episode.objects.get().opened_balance == Decimal("6.97")

    def test_is_not_due_where_what_was_waited_for_lifted_the_balance(self) -> None:
        alert = make_watched(5)
        credit = make_item(customer=alert.customer, amount=Decimal(-5))
        assert judge().waiting == 1
        done = cycle.run_cycle(by="Mei", at=NOON)
        assert (done.item_charges, done.episodes_opened) == (1, 0)
        assert BillingItem.objects.get(pk=credit.pk).charged_through == date(2026, 4, 1)


@pytest.mark.django_db
class TestAnEpisodeThatNobodyWasToldOf:
    @pytest.mark.parametrize(("balance", "closed"), [("9.999999", 0), ("10", 1), ("10.5", 1)])
    def test_is_over_at_the_threshold(self, balance: str, closed: int) -> None:
        alert = make_watched(5)
        judge()
        set_balance(alert.customer, balance)
        assert judge(NOON + DAY).closed == closed
        assert judge(NOON + DAY).closed == 0
        episode = Episode.objects.get()
        assert (episode.closed_at is not None) == bool(closed)
        assert episode.closed_balance == (Decimal(balance) if closed else None)


@pytest.mark.django_db
class TestAnEpisodeThatTheCustomerWasToldOf:
    @pytest.mark.parametrize(
        ("threshold", "margin", "balance", "closed", "because"),
        [
            ("10", None, "10.999999", 0, "5 % of ten would be a half: one unit of the currency is larger"),
            ("10", None, "11", 1, "at one unit above"),
            ("100", None, "104.999999", 0, "5 % of a hundred"),
            ("100", None, "105", 1, "at 5 % above"),
            ("20", None, "21", 1, "5 % is one unit"),
            ("0", None, "0.99", 0, "5 % of nothing: one unit"),
            ("0", None, "1", 1, "one unit above nothing"),
            ("-100", None, "-95.000001", 0, "5 % of the amount, whatever its sign"),
            ("-100", None, "-95", 1, "a hundred below zero, up to 95 below"),
            ("100", "0", "99.995", 0, "its own margin of nothing: but below is below"),
            ("100", "0", "100", 1, "its own margin of nothing"),
            ("100", "30", "129.99", 0, "its own margin"),
            ("100", "30", "130", 1, "its own margin"),
        ],
    )
    def test_is_over_at_the_threshold_and_a_margin(
        self, threshold: str, margin: str | None, balance: str, closed: int, because: str
    ) -> None:
        episode = make_told(threshold, rearm_margin=margin and Decimal(margin))
        set_balance(episode.alert.customer, balance)
        assert judge().closed == closed, because
        assert is_open(episode) == (not closed)

    @pytest.mark.parametrize("is_noted", [True, False], ids=["noted again", "not noted again"])
    def test_is_over_after_seven_days_at_or_above_the_threshold(self, is_noted: bool) -> None:
        episode = make_told("10")
        set_balance(episode.alert.customer, 10)
        assert judge(NOON).closed == 0

        def settle(at: datetime) -> int:
            if not is_noted:
                return episodes.judge_settling(at=at)
            make_entry(customer=episode.alert.customer, amount=Decimal("0.01"))
            return judge(at).closed

        for at in (NOON, NOON + DAY, NOON + 7 * DAY - timedelta(seconds=1)):
            assert settle(at) == 0
        assert settle(NOON + 7 * DAY) == 1
        assert settle(NOON + 7 * DAY) == 0
        assert not is_open(episode)

    def test_counts_the_seven_days_anew_after_each_fall(self) -> None:
        episode = make_told("10")
        lindqvist = episode.alert.customer
        set_balance(lindqvist, 10)
        judge(NOON)
        set_balance(lindqvist, 9)
        judge(NOON + 3 * DAY)
        assert episodes.judge_settling(at=NOON + 9 * DAY) == 0
        set_balance(lindqvist, 10)
        judge(NOON + 5 * DAY)
        assert episodes.judge_settling(at=NOON + 11 * DAY) == 0
        assert episodes.judge_settling(at=NOON + 12 * DAY) == 1

    def test_is_not_over_by_settling_while_it_is_below(self) -> None:
        episode = make_told("10")
        set_balance(episode.alert.customer, 10)
        judge(NOON)
        set_balance(episode.alert.customer, 9)  # and nobody has judged that yet
        assert episodes.judge_settling(at=NOON + 8 * DAY) == 0

    def test_that_hovers_about_the_threshold_stays_one_episode(self) -> None:
        episode = make_told("10")
        for balance in ("10", "9.5", "10.99", "9.99", "10"):
            set_balance(episode.alert.customer, balance)
            assert judge() == Judged(opened=0, closed=0, waiting=0)
        assert Episode.objects.get() == episode


@pytest.mark.django_db
class TestClosing:
    @pytest.mark.parametrize(
        ("obstacle", "because"),
        [
            (pending_call, "a pending call"),
            (due_item, "a due item"),
            (halted(Process.CALLS), "calls are halted"),
            (halted(Process.ITEMS), "items are halted"),
        ],
    )
    def test_never_waits(self, obstacle: Any, because: str) -> None:
        alert = make_watched(5)
        judge()
        obstacle(alert.customer)
        set_balance(alert.customer, 10)
        assert judge() == Judged(opened=0, closed=1, waiting=0), because

    def test_follows_an_alert_that_is_switched_off(self) -> None:
        episode = make_told("10")
        BalanceAlert.objects.filter(pk=episode.alert_id).update(is_active=False)
        assert judge().closed == 1
        assert not is_open(episode)
        BalanceAlert.objects.filter(pk=episode.alert_id).update(is_active=True)
        assert judge().opened == 1


@pytest.mark.django_db
class TestAChangedThreshold:
    def test_keeps_open_what_is_still_below_it(self) -> None:
        episode = make_told("10")
        for threshold in (50, 9, 10):
            BalanceAlert.objects.filter(pk=episode.alert_id).update(threshold=threshold)
            set_balance(episode.alert.customer, 8)
            assert judge() == Judged(opened=0, closed=0, waiting=0)
        assert is_open(episode)
        assert episode.told_at is not None

    def test_closes_what_is_above_it(self) -> None:
        episode = make_told("10")
        BalanceAlert.objects.filter(pk=episode.alert_id).update(threshold=5)
        assert judge().closed == 1  # 9.99 is above 5 and its margin

    def test_opens_what_is_below_it(self) -> None:
        alert = make_watched(15, 10)
        assert judge().opened == 0
        BalanceAlert.objects.filter(pk=alert.pk).update(threshold=20)
        assert judge().opened == 1
        assert Episode.objects.get().opened_threshold == 20

    def test_follows_the_credit_limit(self) -> None:
        lindqvist = make_customer(balance=Decimal(-10), credit_limit=50)
        assert judge().opened == 0
        Customer.objects.filter(pk=lindqvist.pk).update(credit_limit=5)
        assert judge().opened == 1
        Customer.objects.filter(pk=lindqvist.pk).update(credit_limit=50)
        assert judge().closed == 1


@pytest.mark.django_db
class TestANewcomerBelowTheThreshold:
    def test_gets_a_silent_episode_and_no_other(self) -> None:
        alert = make_watched(5)
        above = make_watched(50)
        for opened in (1, 0):
            assert episodes.open_silently([alert.customer_id, above.customer_id]) == opened
        assert judge().opened == 0
        episode = Episode.objects.get()
        assert (episode.is_silent, episode.alert, episode.opened_balance) == (True, alert, Decimal(5))

    def test_hears_of_the_next_fall(self) -> None:
        alert = make_watched(5)
        episodes.open_silently([alert.customer_id])
        set_balance(alert.customer, 10)
        assert judge().closed == 1
        set_balance(alert.customer, 9)
        assert judge().opened == 1
        assert list(Episode.objects.order_by("pk").values_list("is_silent", flat=True)) == [True, False]


@real_commits
class TestSeveralAtOnce:
    def test_leave_out_who_is_being_charged_just_now(self) -> None:
        busy, free = make_watched(5), make_watched(5)
        with locked_balances(busy.customer_id):
            assert judge() == Judged(opened=1, closed=0, waiting=0)
        assert list(CustomerToJudge.objects.values_list("customer", flat=True)) == [busy.customer_id]
        assert judge() == Judged(opened=1, closed=0, waiting=0)
        assert Episode.objects.filter(alert__in=[busy, free]).count() == 2

    def test_open_one_episode_for_one_fall(self) -> None:
        for _ in range(5):
            make_watched(5)
        assert sum(judged.opened for judged in at_once(judge, judge, judge)) == 5
        assert Episode.objects.count() == 5

    def test_lose_nobody_whose_balance_moves_while_judging(self) -> None:
        alerts = [make_watched(100) for _ in range(4)]

        def move() -> int:
            for step in range(12):
                with transaction.atomic():
                    make_entry(customer=alerts[step % 4].customer, amount=Decimal(-95 if step // 4 % 2 == 0 else 95))
            return 0

        def judge_often() -> int:
            for _ in range(15):
                judge()
            return 0

        at_once(move, judge_often, judge_often)
        judge()

        assert not CustomerToJudge.objects.exists()
        below = {alert.pk for alert in alerts if CustomerBalance.objects.get(customer=alert.customer).balance < 10}
        assert (
            set(Episode.objects.filter(closed_at=None).values_list("alert", flat=True))
            == below
            == {alert.pk for alert in alerts}
        )

    def test_lose_nobody_who_falls_again_while_an_earlier_fall_is_closed(self) -> None:
        """By a sender that found the balance recovered: it holds no balance, and is slow to commit."""
        alert = make_watched(5)
        judge()
        set_balance(alert.customer, 15)
        is_closed = threading.Event()

        def fall() -> Judged:
            assert is_closed.wait(60)
            set_balance(alert.customer, 5)
            return judge()

        waits = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        with another_connection() as other, meanwhile(fall) as fallen, transaction.atomic():
            assert episodes.close_recovered(Episode.objects.get(alert=alert).pk)
            is_closed.set()
            wait_until(lambda: fallen.done() or other.execute(waits).fetchone(), what="falling")
        judge()
        assert Episode.objects.filter(alert=alert, closed_at=None).count() == 1

    def test_lose_nobody_who_falls_again_just_before_the_seven_days_are_over(self) -> None:
        alert = make_watched(5)
        judge()
        Episode.objects.update(told_at=NOON)
        set_balance(alert.customer, "10.2")
        judge()
        with transaction.atomic():
            set_balance(alert.customer, 5)
            with meanwhile(lambda: episodes.judge_settling(at=NOON + 8 * DAY)) as closed:
                assert closed.result(timeout=60) == 0
        judge()
        assert Episode.objects.filter(alert=alert, closed_at=None).count() == 1
        assert episodes.judge_settling(at=NOON + 8 * DAY) == 0

    @pytest.mark.parametrize(
        ("change", "because"),
        [
            ("UPDATE billing_balancealert SET threshold = 20 WHERE kind = 'low_balance'", "a threshold is raised"),
            (
                """INSERT INTO billing_balancealert (customer_id, kind, threshold, is_active)
                   SELECT id, 'low_balance', 20, true FROM billing_customer""",
                "an alert is added",
            ),
            ("UPDATE billing_customer SET status = 'active'", "a customer is active again"),
        ],
        ids=["a threshold is raised", "an alert is added", "a customer is active again"],
    )
    def test_lose_nobody_whose_alert_or_status_changes_while_judging(self, change: str, because: str) -> None:
        alert = make_watched(15, threshold=10 if "status" not in change else 20, status="suspended")
        if "status" not in change:
            Customer.objects.update(status="active")
        assert CustomerToJudge.objects.filter(customer=alert.customer).exists()
        with another_connection() as other, other.transaction():
            other.execute(change)
            assert judge().opened == 0
        judge()
        assert Episode.objects.count() == 1, because


@pytest.mark.django_db
class TestTheCycle:
    def test_judges_at_its_end_and_counts_it(self) -> None:
        falls, recovers = make_watched(15), make_watched(5)
        judge()
        make_item(customer=falls.customer)
        set_balance(recovers.customer, 50)
        settles = make_told("10")
        set_balance(settles.alert.customer, 10)
        judge(NOON - 7 * DAY)

        done = cycle.run_cycle(by="Mei", at=NOON)
        assert (done.episodes_opened, done.episodes_closed) == (1, 1)  # the one that recovered was closed before
        again = cycle.run_cycle(by="Mei", at=NOON)
        assert (again.episodes_opened, again.episodes_closed) == (0, 0)

    def test_judges_even_where_all_was_halted(self) -> None:
        alert = make_watched(5)
        judge()
        for process in halting.BILLING:
            halting.halt(process, reason="Wrong prices.", by="Astrid Holm")
        set_balance(alert.customer, 50)
        done = cycle.run_cycle(by="Mei", at=NOON)
        assert (done.state, done.episodes_closed) == ("halted", 1)
        assert ProcessSwitch.objects.filter(is_halted=True).count() == 2
