"""The machine's clock, compared with the database's: what staff read in logs should be the time that rows carry."""

from datetime import UTC, datetime

from django.db import connection

from ivy.probes import Finding

MOST_SECONDS_APART = 2.0


def look() -> Finding:
    """Ask the database what time it is. The answer's way is allowed for: half of it is the doubt of the comparison."""
    before = datetime.now(UTC)
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        (theirs,) = cursor.fetchone()
    after = datetime.now(UTC)
    doubt = abs((after - before).total_seconds()) / 2
    ahead = (before + (after - before) / 2 - theirs).total_seconds()
    facts = {"seconds_ahead": round(ahead, 3)}
    if abs(ahead) - doubt <= MOST_SECONDS_APART:
        return Finding(True, f"{abs(ahead):.1f} s from the database's", facts=facts)
    return Finding(False, f"{abs(ahead):.1f} s {'ahead of' if ahead > 0 else 'behind'} the database's", "apart", facts)
