"""What staff do is done once and noted, or not done at all."""

import threading
import uuid

import pytest
from django.db import IntegrityError, connection, transaction

from billing.models import Customer
from ivy.models import AuditEntry, CustomerNote
from ivy.staff.acts import DoneAlready, act
from tests.factories import make_customer


def note_down(customer: Customer, once: uuid.UUID) -> None:
    with act(by="ann@ivy.example", verb="note", noun="customer", name=customer.account, once=once) as doing:
        CustomerNote.objects.create(customer=customer, by="ann@ivy.example", text="Called back.")
        doing.summary = f"A note was taken on {customer.account}."


class TestAnAct:
    @pytest.mark.django_db
    def test_is_noted_with_who_did_it(self) -> None:
        note_down(make_customer(account="A-1"), uuid.uuid4())
        entry = AuditEntry.objects.get()
        assert (entry.by, entry.noun, entry.name) == ("ann@ivy.example", "customer", "A-1")

    @pytest.mark.django_db
    def test_is_done_once_for_a_form_that_is_sent_twice(self) -> None:
        customer, once = make_customer(), uuid.uuid4()
        note_down(customer, once)
        with pytest.raises(DoneAlready, match="A note was taken"):
            note_down(customer, once)
        assert CustomerNote.objects.count() == AuditEntry.objects.count() == 1

    @pytest.mark.django_db
    def test_that_fails_leaves_nothing_and_may_be_tried_again(self) -> None:
        customer, once = make_customer(), uuid.uuid4()

        def break_off() -> None:
            with act(by="a", verb="v", noun="n", name="x", once=once):
                CustomerNote.objects.create(customer=customer, by="a", text="Half done.")
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            break_off()
        assert not CustomerNote.objects.exists()
        note_down(customer, once)
        assert AuditEntry.objects.count() == 1

    @pytest.mark.django_db(transaction=True)
    def test_waits_for_the_same_form_being_done_elsewhere(self) -> None:
        customer, once = make_customer(), uuid.uuid4()
        answers = []

        def again() -> None:
            try:
                note_down(customer, once)
                answers.append("done")
            except DoneAlready:
                answers.append("done already")
            finally:
                connection.close()

        threads = [threading.Thread(target=again) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == ["done", "done already", "done already", "done already"]
        assert CustomerNote.objects.count() == 1


@pytest.mark.django_db
class TestTheAuditTrail:
    @pytest.mark.parametrize("table", ["ivy_auditentry", "ivy_customernote"])
    @pytest.mark.parametrize("change", ["UPDATE {} SET by = 'x'", "DELETE FROM {}"])
    def test_is_never_changed(self, table: str, change: str) -> None:
        note_down(make_customer(), uuid.uuid4())
        with pytest.raises(IntegrityError, match="never changed"), transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(change.format(table))

    def test_says_who_did_what_to_what(self) -> None:
        with pytest.raises(IntegrityError, match="audit_says_who_did_what_to_what"):
            AuditEntry.objects.create(by="", verb="note", noun="customer", name="A-1", summary="Something.")

    def test_notes_say_something(self) -> None:
        with pytest.raises(IntegrityError, match="notes_say_something_by_somebody"):
            CustomerNote.objects.create(customer=make_customer(), by="ann@ivy.example", text="")
