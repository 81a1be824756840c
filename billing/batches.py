"""Open arrival batches: what may hold pending calls, and what every question about pending calls goes by.

Their numbers are put into the queries as such. Joined, the planner goes by what the table was like when it was last
analyzed, and has read all calls of all time to find that none is pending.
"""

from billing.models import ArrivalBatch


def open_batches() -> list[int]:
    """The batches that are not closed yet, in the order of their arrival. Few: a batch closes with its last outcome."""
    return list(ArrivalBatch.objects.filter(closed_at__isnull=True).order_by("pk").values_list("pk", flat=True))
