"""The pieces that a run is cut into, and how workers share them: claimed one by one, done in one transaction each."""

from django.db import connection

from billing.models import BillingChunk, BillingRun, BillingWorker, ChunkState, Process

TRIES = 4


def claim(worker: BillingWorker) -> BillingChunk | None:
    """Take the next open chunk of the worker's run; None when none is open (others may still be at work).

    None, too, for a worker that was given up as dead: nobody would open again what it had taken since.
    """
    with connection.cursor() as cursor:
        # The share lock makes giving up the worker wait, so that it finds this chunk among those to be opened again.
        cursor.execute(
            """
            WITH alive AS MATERIALIZED (
                SELECT id FROM billing_billingworker WHERE id = %s AND token = %s AND state = 'running' FOR SHARE
            )
            UPDATE billing_billingchunk SET state = 'taken', worker_id = alive.id FROM alive
            WHERE billing_billingchunk.id = (
                SELECT id FROM billing_billingchunk WHERE run_id = %s AND state = 'open'
                ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED
            )
            RETURNING billing_billingchunk.id
            """,
            [worker.pk, worker.token, worker.run_id],
        )
        row = cursor.fetchone()
    return BillingChunk.objects.get(pk=row[0]) if row else None


def is_anything_left(run: BillingRun) -> bool:
    """Whether a chunk of the run is open, or taken by a worker."""
    return run.chunks.filter(state__in=[ChunkState.OPEN, ChunkState.TAKEN]).exists()


def done(chunk: BillingChunk) -> None:
    """Mark the chunk as done, in the transaction that does it."""
    chunk.state = ChunkState.DONE
    chunk.save(update_fields=["state"])


def put_back(chunk: BillingChunk) -> bool:
    """Put what could not be done of the chunk behind all others; False after some tries: it is left undone."""
    if chunk.tries + 1 >= TRIES:
        BillingChunk.objects.filter(pk=chunk.pk).update(state=ChunkState.LEFT)
        return False
    _replace(chunk, [(chunk.first_customer, chunk.last_customer, chunk.first_record, chunk.last_record)])
    return True


def leave(run: BillingRun, process: Process, *, partner_id: int | None, is_for_everyone: bool) -> None:
    """Leave all chunks of a halted process undone: everyone's, or one partner's."""
    chunks = run.chunks.filter(process=process, state__in=[ChunkState.OPEN, ChunkState.TAKEN])
    if not is_for_everyone and partner_id is not None:
        chunks = chunks.filter(partner_id=partner_id)
    chunks.update(state=ChunkState.LEFT)


def split(chunk: BillingChunk, bounds: tuple[int, int] | None) -> bool:
    """Cut the chunk in half, by customers or, where there is but one, by the records within `bounds`.

    False: it holds a single record, and is left undone. Halves keep the tries, so that nothing is cut without end.
    """
    first, last = chunk.first_customer, chunk.last_customer
    if first != last:
        middle = (first + last) // 2
        return _replace(chunk, [(first, middle, None, None), (middle + 1, last, None, None)])
    if chunk.first_record is not None and chunk.last_record is not None:
        bounds = (chunk.first_record, chunk.last_record)
    if bounds is None or bounds[0] == bounds[1]:
        BillingChunk.objects.filter(pk=chunk.pk).update(state=ChunkState.LEFT)
        return False
    middle = (bounds[0] + bounds[1]) // 2
    return _replace(chunk, [(first, last, bounds[0], middle), (first, last, middle + 1, bounds[1])])


def _replace(chunk: BillingChunk, ranges: list[tuple[int, int, int | None, int | None]]) -> bool:
    BillingChunk.objects.bulk_create(
        BillingChunk(
            run_id=chunk.run_id,
            process=chunk.process,
            partner_id=chunk.partner_id,
            first_customer=first_customer,
            last_customer=last_customer,
            first_record=first_record,
            last_record=last_record,
            tries=chunk.tries + (len(ranges) == 1),
        )
        for first_customer, last_customer, first_record, last_record in ranges
    )
    BillingChunk.objects.filter(pk=chunk.pk).update(state=ChunkState.DONE)
    return True
