"""The queue's pages in the admin: to be looked at. Nobody, whatever their rights, starts a function from there."""

from datetime import timedelta
from typing import Any

import pytest
from django.contrib import admin
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from django_q.models import Failure, OrmQ, Schedule, Success, Task

from ivy import schedules
from tests.factories import make_superuser

pytestmark = pytest.mark.django_db

MODELS = [Schedule, Success, Failure, OrmQ]


@pytest.fixture
def superuser(settings: Any) -> Client:
    settings.AXES_ENABLED = False  # it asks for an address, which no request brings here
    client = Client()
    client.force_login(make_superuser())
    return client


@pytest.fixture(autouse=True)
def rows() -> None:
    schedules.install()
    now = timezone.now()
    for success in (True, False):
        Task.objects.create(id=f"{success}", name="task", func="os.getpid", started=now, stopped=now, success=success)
    OrmQ.objects.create(key="ivy", payload="", lock=now)


def page(model: type, name: str, *args: object) -> str:
    return reverse(f"admin:django_q_{model._meta.model_name}_{name}", args=args)  # type: ignore[attr-defined]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
class TestTheQueueSPages:
    def test_can_be_looked_at(self, superuser: Client, model: type) -> None:
        assert superuser.get(page(model, "changelist")).status_code == 200

    def test_add_nothing(self, superuser: Client, model: Any) -> None:
        before = model.objects.count()
        form = {"name": "mine", "func": "os.getpid", "schedule_type": "O", "repeats": -1, "key": "ivy", "payload": "x"}
        assert superuser.get(page(model, "add")).status_code == 403
        assert superuser.post(page(model, "add"), form).status_code == 403
        assert model.objects.count() == before

    def test_change_nothing(self, superuser: Client, model: Any) -> None:
        row = model.objects.order_by("pk").first()
        before = model.objects.filter(pk=row.pk).values().get()
        form = {"name": "mine", "func": "os.getpid", "schedule_type": "O", "repeats": -1, "key": "ivy", "lock_0": "x"}
        assert superuser.post(page(model, "change", row.pk), form).status_code == 403
        assert superuser.post(page(model, "change", row.pk), {**form, "_saveasnew": "1"}).status_code == 403
        assert model.objects.filter(pk=row.pk).values().get() == before

    @pytest.mark.parametrize("action", ["resubmit_task", "retry_failed"])
    def test_submit_nothing_again(self, superuser: Client, model: Any, action: str) -> None:
        row = model.objects.order_by("pk").first()
        tasks, waiting = Task.objects.count(), OrmQ.objects.count()
        superuser.post(
            page(model, "changelist"), {"action": action, "_selected_action": [row.pk], "index": "0"}, follow=True
        )
        assert (Task.objects.count(), OrmQ.objects.count()) == (tasks, waiting)

    def test_offer_no_action_but_to_delete(self, superuser: Client, model: Any) -> None:
        request = superuser.get(page(model, "changelist")).wsgi_request
        offered = set(admin.site._registry[model].get_actions(request))
        assert offered <= ({"delete_selected"} if model in {Failure, OrmQ} else set())

    def test_delete_no_schedule_and_nothing_that_was_done(self, superuser: Client, model: Any) -> None:
        row = model.objects.order_by("pk").first()
        answer = superuser.post(page(model, "delete", row.pk), {"post": "yes"})
        assert answer.status_code == (302 if model in {Failure, OrmQ} else 403)


class TestWhatTheyTell:
    def test_is_readable_and_no_pickle(self, superuser: Client) -> None:
        now = timezone.now()
        Task.objects.create(
            id="a" * 32, name="night", func="ivy.tasks.billing_cycle", args=("secret-argument",),
            kwargs={"token": "secret-keyword"}, started=now, stopped=now + timedelta(seconds=2.5), success=False,
            result="the database was away : Traceback (most recent call last):\n  File x\nOperationalError: away",
        )  # fmt: skip
        told = superuser.get(page(Failure, "changelist")).text
        for words in ("charges what is due, then tells customers", "2.5\N{NO-BREAK SPACE}s", "the database was away"):
            assert words in told
        assert "Traceback" not in told
        whole = superuser.get(page(Failure, "change", "a" * 32)).text
        assert "OperationalError: away" in whole
        assert "ivy.tasks.billing_cycle" in whole
        assert "secret" not in told + whole

    def test_names_what_schedules_do_and_how_often(self, superuser: Client) -> None:
        told = superuser.get(page(Schedule, "changelist")).text
        for words in ("proves that the queue works", "every minute", "every 60 minutes"):
            assert words in told

    def test_survives_what_cannot_be_read(self, superuser: Client) -> None:
        row = OrmQ.objects.get()
        assert superuser.get(page(OrmQ, "changelist")).status_code == 200
        assert superuser.get(page(OrmQ, "change", row.pk)).status_code == 200
