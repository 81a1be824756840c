from datetime import timedelta

import pytest
from django.utils import timezone

from billing.batches import batches_without_outcomes
from billing.models import ArrivalBatch, Process
from tests import factories

pytestmark = pytest.mark.django_db


class TestBatchesWithoutOutcomes:
    def test_are_the_open_ones_of_which_no_call_has_an_outcome(self) -> None:
        waiting, begun, closed = (factories.make_call() for _ in range(3))
        factories.make_call_charge(begun)
        ArrivalBatch.objects.filter(pk=closed.batch_id).update(closed_at=timezone.now())
        assert batches_without_outcomes(factories.harbour().pk) == [waiting.batch_id]

    def test_are_for_a_halted_partner_also_those_that_came_since(self) -> None:
        harbour, other = factories.harbour(), factories.make_partner()
        switch = factories.make_switch(process=Process.CALLS, partner=harbour, is_halted=True)
        just_then, later = (factories.make_call() for _ in range(2))
        for call in (just_then, later):
            factories.make_call_charge(call)  # of another partner's customer, in the same batch
        ArrivalBatch.objects.filter(pk=later.batch_id).update(arrived_at=timezone.now() + timedelta(hours=1))
        assert batches_without_outcomes(harbour.pk) == [later.batch_id]
        assert batches_without_outcomes(other.pk) == []
        switch.is_halted = False
        switch.save()
        assert batches_without_outcomes(harbour.pk) == []
