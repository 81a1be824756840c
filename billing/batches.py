"""Open arrival batches: what may hold pending calls, and what every question about pending calls goes by.

Their numbers are put into the queries as such. Joined, the planner goes by what the table was like when it was last
analyzed, and has read all calls of all time to find that none is pending.
"""

from django.db import connection

from billing.models import ArrivalBatch


def open_batches() -> list[int]:
    """The batches that are not closed yet, in the order of their arrival. Few: a batch closes with its last outcome."""
    return list(ArrivalBatch.objects.filter(closed_at__isnull=True).order_by("pk").values_list("pk", flat=True))


def batches_without_outcomes(partner_id: int) -> list[int]:
    """Open batches that no call of this partner can have an outcome from: of the batch none, or come since a halt.

    A minute is given to a halt, so that a chunk that was charged while it was being put on is not taken for hidden.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT b.id FROM billing_arrivalbatch b
            WHERE b.closed_at IS NULL AND (
                NOT EXISTS (SELECT FROM billing_batchprogress p WHERE p.batch_id = b.id)
                OR b.arrived_at > (
                    SELECT min(since) + interval '1 minute' FROM billing_processswitch
                    WHERE process = 'calls' AND is_halted AND (partner_id IS NULL OR partner_id = %s)
                )
            )
            ORDER BY b.id
            """,
            [partner_id],
        )
        return [batch for (batch,) in cursor.fetchall()]


def calls_waiting() -> int:
    """How many calls of open batches have no outcome yet, whosever they are; told by the batches, not by the calls."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            SELECT coalesce(sum(b.call_count - coalesce(
                (SELECT sum(p.outcome_count) FROM billing_batchprogress p WHERE p.batch_id = b.id), 0
            )), 0)::bigint
            FROM billing_arrivalbatch b WHERE b.closed_at IS NULL
            """
        )
        (calls,) = cursor.fetchone()
    return calls
