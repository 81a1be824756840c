"""What waits of mails at a glance, and the last day beside an ordinary one."""

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from notifications import backlog
from notifications.models import NotificationLog, State
from tests.notifications.mails import make_owed

pytestmark = pytest.mark.django_db

FRIDAY = datetime(2026, 11, 27, 14, 0, tzinfo=UTC)
DAY, WEEK = timedelta(days=1), timedelta(weeks=1)


def owed(at: datetime, count: int, state: State = State.SENT) -> None:
    """So many mails that came to be owed then; ids go with times, as in life."""
    for _ in range(count):
        make_owed(created_at=at, state=state, sent_at=at if state == State.SENT else None)


class TestTheLastDay:
    def test_without_an_earlier_one_is_compared_with_nothing(self) -> None:
        owed(FRIDAY - timedelta(hours=3), 2)
        found = backlog.last_day(at=FRIDAY)
        assert (found.counts, found.ordinary, found.compared_with) == ({"sent": 2}, {}, "")

    def test_is_compared_with_the_days_before_while_there_are_no_two_weeks(self) -> None:
        owed(FRIDAY - 4 * DAY, 1)
        for days, count in ((3, 2), (2, 4), (1, 9)):
            owed(FRIDAY - days * DAY - timedelta(hours=1), count)
        owed(FRIDAY - timedelta(hours=1), 5, State.UNCERTAIN)
        found = backlog.last_day(at=FRIDAY)
        assert found.counts == {"uncertain": 5}
        assert found.ordinary == {"sent": 4.0, "uncertain": 0.0}
        assert found.compared_with == "median of the last 3 days"

    def test_is_compared_with_the_same_weekday_of_the_last_weeks(self) -> None:
        owed(FRIDAY - 4 * WEEK, 1)
        for weeks, count in ((3, 2), (2, 4), (1, 6)):
            owed(FRIDAY - weeks * WEEK - timedelta(hours=1), count)
        owed(FRIDAY - DAY - timedelta(hours=1), 9)  # yesterday, which is not asked
        owed(FRIDAY - timedelta(hours=1), 5)
        with CaptureQueriesContext(connection) as queries:
            found = backlog.last_day(at=FRIDAY)
        assert found.total == 5
        assert found.ordinary == {"sent": 4.0}
        assert found.compared_with == "median of the same hours on the last 3 Fridays"
        assert len(queries) == 3


class TestAGlance:
    def test_counts_what_is_not_settled_and_only_so_far(self) -> None:
        owed(FRIDAY, 3, State.PENDING)
        owed(FRIDAY + DAY, 2, State.UNCERTAIN)
        owed(FRIDAY, 1)
        found = backlog.at_a_glance(counted_to=2)
        assert {state: one.count for state, one in found.items() if one.count} == {"pending": 3, "uncertain": 2}
        assert found["uncertain"].oldest_at == FRIDAY + DAY
        assert found["held"].oldest_at is None
        whole = backlog.backlog()
        assert whole.counts["pending"] == 3
        assert NotificationLog.objects.count() == 6
