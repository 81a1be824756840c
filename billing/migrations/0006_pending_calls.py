"""A call is pending while it lies in an open batch and has no outcome. Told once, here; used by all who ask.

OFFSET 0 keeps the planner from making joins of the look-ups by key: it goes by the index for each call, where it might
otherwise read the whole ledger for every chunk.
"""

from django.db import migrations

PENDING_CALL = """
CREATE VIEW billing_pendingcall AS
SELECT
    c.id, c.batch_id, c.customer_id, k.call_key, c.content_hash, c.direction, c.from_number, c.to_number,
    c.started_at, c.answered_at, c.seconds, c.is_answered, c.is_internal, c.booked_month
FROM billing_arrivalbatch b
JOIN billing_callrecord c ON c.batch_id = b.id
JOIN billing_source s ON s.id = c.source_id
CROSS JOIN LATERAL (SELECT call_key(s.name, c.call_id) AS call_key OFFSET 0) k
WHERE b.closed_at IS NULL AND b.kind = 'arrival'
  AND NOT EXISTS (SELECT FROM billing_ledgerentry l WHERE l.key = k.call_key OFFSET 0)
  AND NOT EXISTS (SELECT FROM billing_freecall f WHERE f.call_key = k.call_key OFFSET 0)
  AND NOT EXISTS (
      SELECT FROM billing_quarantinedcall q
      WHERE q.call_key = k.call_key AND q.content_hash = c.content_hash OFFSET 0
  )
UNION ALL
SELECT
    c.id, b.id, q.customer_id, q.call_key, c.content_hash, coalesce(nullif(q.direction, ''), c.direction), c.from_number, c.to_number,
    c.started_at, c.answered_at, c.seconds, c.is_answered, c.is_internal, c.booked_month
FROM billing_arrivalbatch b
JOIN billing_quarantinedcall q ON q.release_batch_id = b.id
JOIN billing_callrecord c ON c.content_hash = q.content_hash
JOIN billing_source s ON s.id = c.source_id
WHERE b.closed_at IS NULL AND b.kind = 'release' AND q.state = 'released'
  AND q.call_key = call_key(s.name, c.call_id)
"""


class Migration(migrations.Migration):
    dependencies = [("billing", "0005_rules_nobody_can_walk_past")]

    operations = [migrations.RunSQL(PENDING_CALL, "DROP VIEW billing_pendingcall")]
