"""The log is the right to send: every rule that the database holds about it, broken once; and a list of all of them.

A breach is tried as anybody could try it, by SQL. What must appear is the rule's name, since that is what the person
on call sees at night.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from django.db import connection, models

from notifications.models import (
    Because,
    BreakerLimits,
    BreakerTrip,
    ConfirmedInstance,
    JournalCanary,
    NotificationContent,
    NotificationHistory,
    NotificationLog,
    Outcome,
    StaffOrder,
    State,
)
from tests.billing.test_invariants import broken_rule, sql, update
from tests.factories import make_customer
from tests.notifications.stories import make_attempt, make_mail, make_watched, states

pytestmark = pytest.mark.django_db

LOG = "notifications_notificationlog"


def make_order(**fields: Any) -> StaffOrder:
    return StaffOrder.objects.create(
        **{"verb": "resend", "by": "Astrid Holm", "reason": "They say it never came.", "count": 1} | fields
    )


def make_history() -> NotificationHistory:
    return NotificationHistory.objects.create(
        notification=make_mail(), by="Astrid Holm", verb="hold", reason="Wrong.", from_state="pending", to_state="held"
    )


def make_content(**fields: Any) -> NotificationContent:
    """What a mail says, frozen a moment ago."""
    content = make_mail(State.SENT).content
    defaults = {
        "sender": "billing@harbour.example",
        "reply_to": "desk@harbour.example",
        "subject": "Low balance",
        "text": "Your balance is low.",
        "html": "<p>Your balance is low.</p>",
    }
    NotificationContent.objects.filter(pk=content.pk).update(frozen_at="2026-03-02T09:30Z", **defaults | fields)
    content.refresh_from_db()
    return content


# Ways ----------------------------------------------------------------------------------------------------------------

WAYS = {
    State.PENDING: {State.CLAIMED, State.FAILED, State.UNCERTAIN, State.HELD, State.SUPPRESSED},
    State.CLAIMED: {State.PENDING, State.SENDING, State.FAILED, State.UNCERTAIN, State.HELD, State.SUPPRESSED},
    State.SENDING: {State.PENDING, State.SENT, State.FAILED, State.UNCERTAIN},
    State.SENT: set[State](),
    State.FAILED: {State.PENDING, State.SUPPRESSED},
    State.UNCERTAIN: {State.SENT, State.FAILED, State.SUPPRESSED},
    State.HELD: {State.PENDING, State.UNCERTAIN, State.SUPPRESSED},
    State.SUPPRESSED: set[State](),
}

ALL_THAT_A_STATE_NEEDS = "token = 7, lease_until = now() + interval '1 hour', sent_at = now()"


def go(log: NotificationLog, to: str, **fields: object) -> None:
    """Take the mail to this state by SQL, with all that the state needs."""
    others = "".join(f", {name} = %s" for name in fields)
    sql(
        f"UPDATE {LOG} SET state = %s, {ALL_THAT_A_STATE_NEEDS}{others} WHERE id = %s",
        to,
        *fields.values(),
        log.pk,
    )


class TestAMailsWay:
    @pytest.mark.parametrize("end", list(State))
    @pytest.mark.parametrize("begin", list(State))
    def test_goes_from_one_state_to_some_and_to_no_other(self, begin: State, end: State) -> None:
        log = make_mail(begin)
        if end == begin or end in WAYS[begin]:
            go(log, end)
            assert states() == [end]
        else:
            assert broken_rule(lambda: go(log, end)) == "notifications_go_no_other_ways"
            assert states() == [begin]

    @pytest.mark.parametrize("because", [because for because in Because if because != Because.COVERED])
    def test_leads_back_from_suppressed_only_where_another_mail_covered_it(self, because: Because) -> None:
        covered = make_mail(State.SUPPRESSED, because=Because.COVERED, covered_by=make_mail())
        go(covered, "pending")
        other = make_mail(State.SUPPRESSED, because=because)
        assert broken_rule(lambda: go(other, "pending")) == "notifications_go_no_other_ways"

    def test_leads_back_from_uncertain_by_a_new_order_and_by_nothing_else(self) -> None:
        log = make_mail(State.UNCERTAIN, order=make_order())
        for order in (None, log.order_id):
            breach = lambda order=order: go(log, "pending", order_id=order)  # noqa: E731
            assert broken_rule(breach) == "notifications_go_no_other_ways", order
        go(log, "pending", order_id=make_order().pk)

    def test_ends_where_it_was_sent_whoever_ordered_what(self) -> None:
        log = make_mail(State.SENT)
        order = make_order()
        assert broken_rule(lambda: go(log, "pending", order_id=order.pk)) == "notifications_go_no_other_ways"


# What a mail is about ------------------------------------------------------------------------------------------------

ABOUT: dict[str, Callable[[], object]] = {
    "key": lambda: "low_balance:1:2026-03-02T09:30:00.000000+00:00:0:0",
    "kind": lambda: "reminder",
    "customer_id": lambda: make_customer().pk,
    "alert_id": lambda: make_watched().pk,
    "episode_id": lambda: make_mail().episode_id,
    "errant_id": lambda: make_mail(State.SENT).pk,
    "reminder_number": lambda: 1,
    "recipient_hash": lambda: "0" * 64,
    "message_id": lambda: "<another@notifications.ivy.invalid>",
    "created_at": lambda: "2020-01-01T00:00Z",
}

FROZEN = {
    "recipient": "other@example.net",
    "sender": "other@harbour.example",
    "reply_to": "",
    "subject": "Balance used up",
    "text": "Your balance is used up.",
    "html": "<p>Your balance is used up.</p>",
    "frozen_at": None,
}


class TestWhatAMailIsAbout:
    @pytest.mark.parametrize("state", [State.PENDING, State.SENT])
    @pytest.mark.parametrize("column", ABOUT)
    def test_never_changes(self, column: str, state: State) -> None:
        log = make_mail(state)
        value = ABOUT[column]()
        breach = f"UPDATE {LOG} SET {column} = %s WHERE id = %s"
        assert broken_rule(lambda: sql(breach, value, log.pk)) == "notifications_stay_what_they_are"

    @pytest.mark.parametrize("column", ["alert_id", "episode_id"])
    def test_is_not_taken_away(self, column: str) -> None:
        log = make_mail()
        breach = f"UPDATE {LOG} SET {column} = NULL WHERE id = %s"
        assert broken_rule(lambda: sql(breach, log.pk)) == "notifications_stay_what_they_are"

    @pytest.mark.parametrize("column", FROZEN)
    def test_is_frozen_in_what_it_says(self, column: str) -> None:
        content = make_content()
        assert broken_rule(lambda: update(content, **{column: FROZEN[column]})) == "frozen_mails_never_change"
        unfrozen = make_mail().content
        update(unfrozen, **{column: FROZEN[column]})  # not written yet: as you like

    def test_can_be_erased_in_what_it_says_and_to_whom(self) -> None:
        content = make_content()
        update(
            content, recipient="", sender="", reply_to="", subject="", text="", html="", erased_at="2026-04-01T00:00Z"
        )
        assert states() == ["sent"]

    def test_can_be_erased_and_not_rewritten(self) -> None:
        content = make_content()
        breach = {"subject": "Balance used up", "erased_at": "2026-04-01T00:00Z"}
        assert broken_rule(lambda: update(content, **breach)) == "frozen_mails_never_change"

    @pytest.mark.parametrize("outcome", [Outcome.ACCEPTED, Outcome.DEFERRED, Outcome.REFUSED])
    @pytest.mark.parametrize(
        "change", [{"outcome": "unknown"}, {"words": "250 taken"}, {"ended_at": None}, {"token": 8}, {"phase": "mail"}]
    )
    def test_keeps_its_attempts_once_they_have_ended(self, outcome: Outcome, change: dict[str, object]) -> None:
        attempt = make_attempt(make_mail(), outcome=outcome)
        assert broken_rule(lambda: update(attempt, **change)) == "ended_attempts_never_change"

    @pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.UNKNOWN])
    def test_may_learn_late_how_an_attempt_ended(self, outcome: Outcome) -> None:
        attempt = make_attempt(make_mail(), outcome=outcome)
        update(attempt, outcome=Outcome.ACCEPTED, words="250 taken")

    @pytest.mark.parametrize("outcome", [Outcome.OPEN, Outcome.UNKNOWN])
    def test_keeps_its_attempts_and_their_numbers(self, outcome: Outcome) -> None:
        attempt, other = make_attempt(make_mail(), outcome=outcome), make_mail()
        assert broken_rule(lambda: update(attempt, number=2)) == "ended_attempts_never_change"
        assert broken_rule(lambda: update(attempt, notification=other)) == "ended_attempts_never_change"


# What only grows -----------------------------------------------------------------------------------------------------

ONLY_GROWING: dict[str, Callable[[], models.Model]] = {
    "notification_history_only_grows": make_history,
    "staff_orders_only_grow": make_order,
}

UNDELETABLE: dict[str, Callable[[], models.Model]] = {
    "notifications_are_never_deleted": make_mail,
    "contents_are_never_deleted": make_content,
    "attempts_are_never_deleted": lambda: make_attempt(make_mail()),
}


class TestThePast:
    @pytest.mark.parametrize("rule", ONLY_GROWING)
    def test_is_not_changed(self, rule: str) -> None:
        row = ONLY_GROWING[rule]()
        assert broken_rule(lambda: update(row, reason="Another one.")) == rule

    @pytest.mark.parametrize("rule", [*ONLY_GROWING, *UNDELETABLE])
    def test_is_not_deleted(self, rule: str) -> None:
        row = (ONLY_GROWING | UNDELETABLE)[rule]()
        table, key = row._meta.db_table, row._meta.pk
        assert key is not None
        assert broken_rule(lambda: sql(f"DELETE FROM {table} WHERE {key.column} = %s", row.pk)) == rule

    @pytest.mark.parametrize("rule", [*ONLY_GROWING, *UNDELETABLE])
    def test_is_not_truncated_where_the_test_setting_is_missing(self, rule: str) -> None:
        row = (ONLY_GROWING | UNDELETABLE)[rule]()
        sql("SET CONSTRAINTS ALL IMMEDIATE")
        sql("SELECT set_config('ivy.allow_truncate', 'off', true)")
        refused = broken_rule(lambda: sql(f"TRUNCATE {row._meta.db_table} CASCADE"))
        # Of a table that others hang on, the first to refuse may be one of theirs.
        assert refused == rule or (
            row._meta.db_table in {LOG, StaffOrder._meta.db_table} and refused in RULES_OF_THE_PAST
        )


RULES_OF_THE_PAST = {*ONLY_GROWING, *UNDELETABLE}


# Constraints ---------------------------------------------------------------------------------------------------------


class Breach(NamedTuple):
    rule: str
    because: str
    breach: Callable[[], object]


def insert_again(row: models.Model, **fields: object) -> None:
    """Write the row once more under another number, save for these fields."""
    copy = type(row)._default_manager.get(pk=row.pk)
    copy.pk = None
    for name, value in fields.items():
        setattr(copy, name, value)
    type(row)._default_manager.bulk_create([copy])


def trip(**fields: Any) -> BreakerTrip:
    return BreakerTrip.objects.create(limit="mails_an_hour", reason="too many mails", **fields)


def confirm(**fields: Any) -> ConfirmedInstance:
    ConfirmedInstance.objects.all().delete()
    return ConfirmedInstance.objects.create(
        **{
            "pk": 1,
            "system_identifier": 1,
            "database_oid": 2,
            "timeline": "00000001",
            "installation": "0",
            "confirmed_by": "Mei",
        }
        | fields
    )


def make_canary(**fields: Any) -> JournalCanary:
    return JournalCanary.objects.create(**{"message_id": "<canary@ivy.invalid>", "server": "mail:25"} | fields)


BREACHES = [
    Breach("one_mail_per_key", "a mail owed twice", lambda: insert_again(make_mail(), message_id="<b@ivy.invalid>")),
    Breach(
        "one_mail_per_message_id", "two mails with one Message-ID", lambda: insert_again(make_mail(), key="another:key")
    ),
    Breach("notification_state_is_known", "a state of fantasy", lambda: make_mail(state="lost")),
    Breach("notification_reason_is_known", "a reason of fantasy", lambda: make_mail(because="whim")),
    *[
        Breach(
            "who_has_a_mail_has_a_lease",
            f"{state} without {column}",
            lambda s=state, c=column: make_mail(s, **{c: None}),
        )
        for state in (State.CLAIMED, State.SENDING)
        for column in ("token", "lease_until")
    ],
    Breach("sent_mails_have_a_time", "sent at no time", lambda: make_mail(State.SENT, sent_at=None)),
    Breach(
        "covered_mails_name_the_other",
        "covered by nothing",
        lambda: make_mail(State.SUPPRESSED, because=Because.COVERED),
    ),
    *[
        Breach("only_sent_mails_are_errant", f"{state} and errant", lambda s=state: make_mail(s, is_errant=True))
        for state in State
        if state != State.SENT
    ],
    Breach(
        "attempts_of_a_mail_are_numbered",
        "two first attempts",
        lambda: make_attempt(make_mail(State.SENT), number=1),
    ),
    Breach("attempt_phase_is_known", "a phase of fantasy", lambda: make_attempt(make_mail(), phase="prayer")),
    Breach("attempt_outcome_is_known", "an outcome of fantasy", lambda: make_attempt(make_mail(), outcome="so-so")),
    Breach("orders_need_a_reason", "no reason", lambda: make_order(reason="")),
    Breach("one_row_of_breaker_limits", "limits beside the limits", lambda: BreakerLimits.objects.create(pk=2)),
    Breach(
        "held_mails_can_be_released",
        "no mail a minute",
        lambda: BreakerLimits.objects.create(pk=1, released_a_minute=0),
    ),
    Breach("one_open_trip", "tripped while tripped", lambda: (trip(), trip())),
    Breach("one_confirmed_instance", "two databases that mail", lambda: confirm(pk=2)),
    Breach(
        "notifications_journalcanary_message_id_key",
        "one canary twice",
        lambda: (make_canary(), make_canary(server="b")),
    ),
]

LIMITS = ("mails_a_recipient_a_day", "held_customers_an_hour", "mails_an_hour", "customers_a_pass")

BELOW_ZERO: dict[str, Callable[[], object]] = {
    f"{LOG}_reminder_number": lambda: make_mail(reminder_number=-1),
    f"{LOG}_try_count": lambda: make_mail(try_count=-1),
    "notifications_deliveryattempt_number": lambda: make_attempt(make_mail(), number=-1),
    "notifications_deliveryattempt_pid": lambda: make_attempt(make_mail(), pid=-1),
    "notifications_deliveryattempt_code": lambda: make_attempt(make_mail(), code=-1),
    "notifications_stafforder_count": lambda: make_order(count=-1),
    **{
        f"notifications_breakerlimits_{name}": lambda n=name: BreakerLimits.objects.create(pk=1, **{n: -1})
        for name in LIMITS
    },
}
BREACHES += [Breach(f"{rule}_check", "below zero", breach) for rule, breach in BELOW_ZERO.items()]

# The rule that wants one mail a minute at least is looked at first.
UNBREAKABLE = {"notifications_breakerlimits_released_a_minute_check"}


class TestTheRules:
    @pytest.mark.parametrize("case", BREACHES, ids=lambda case: f"{case.rule}: {case.because}")
    def test_hold(self, case: Breach) -> None:
        assert broken_rule(case.breach) == case.rule

    def test_let_a_breaker_trip_again_after_a_reset(self) -> None:
        for number in range(3):
            trip(reset_at=f"2026-03-0{number + 1}T12:00Z")
        trip()


class TestTheListOfRules:
    """A new constraint or trigger without a test above makes these fail."""

    def test_names_every_constraint(self) -> None:
        constraints = names(
            # Foreign keys of Django's making are named ..._fk_...
            "SELECT conname FROM pg_constraint WHERE contype NOT IN ('p', 'n')"
            r" AND NOT (contype = 'f' AND conname LIKE '%%\_fk\_%%') AND conrelid IN (SELECT oid FROM tables)"
            " UNION SELECT indexrelid::regclass::text FROM pg_index"
            " WHERE indisunique AND NOT indisprimary AND indrelid IN (SELECT oid FROM tables)"
        )
        assert constraints == {case.rule for case in BREACHES} | UNBREAKABLE

    def test_names_every_trigger(self) -> None:
        triggers = names(
            # Those that keep changes have tests of their own, in tests/staff/test_changes.py.
            "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgrelid IN (SELECT oid FROM tables)"
            r" AND tgname NOT LIKE 'pgtrigger\_%%'"
        )
        assert triggers == RULES_OF_THE_PAST | {
            "notifications_stay_what_they_are",  # which says notifications_go_no_other_ways, too
            "frozen_mails_never_change",
            "ended_attempts_never_change",
        }


def names(query: str) -> set[str]:
    with connection.cursor() as cursor:
        cursor.execute(
            "WITH tables AS (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')"
            r" AND relname LIKE 'notifications\_%%' AND relnamespace = current_schema()::regnamespace) " + query,
            [],
        )
        return {row[0] for row in cursor.fetchall()}
