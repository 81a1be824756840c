"""What is told of what processes have found: which of them, since when, and who is silent."""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import time_machine
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from billing.checking import Check
from billing.processes import ProcessId, this_process
from ivy import cache, health, probing, pulses, watch
from ivy.models import Probe, Role
from ivy.models.pulse import Pulse
from ivy.probes import Finding, clock, disk, mail_server
from tests.billing.at_once import real_commits
from tests.faults.mailserver import At, Fault, free_port
from tests.faults.mailserver import mail_server as a_mail_server

WELL = Finding(True, "accepts writes")
FULL = Finding(False, "OutOfMemoryError: no room", "out-of-memory")
ELSEWHERE = ProcessId("worker-b pid:[1]", 4711, "8812")

pytestmark = pytest.mark.django_db


def check(key: str) -> Check:
    (found,) = [one for one in health.checks() if one.key == key]
    return found


def looked(
    part: str, finding: Finding = WELL, *, role: Role = Role.WORKER, ago: float = 0, since: float = 600
) -> Probe:
    """A look of a process on another machine, so many seconds ago; the part is as it is since `since` seconds."""
    probing.note(part, finding, role=role, process=ELSEWHERE)
    row = Probe.objects.filter(part=part, host=ELSEWHERE.host)
    row.update(probed_at=Now() - timedelta(seconds=ago), since=Now() - timedelta(seconds=since))
    return row.get()


def somebody_has_watched(*, for_seconds: float = 600) -> None:
    probing.note("database", WELL, role=Role.TICK, process=this_process())
    Probe.objects.filter(part="database", pid=os.getpid()).update(since=Now() - timedelta(seconds=for_seconds))


class TestALook:
    def test_is_noted_with_the_process_and_marks_changes_only(self) -> None:
        for _ in range(2):
            probing.note("cache", WELL, role=Role.WEB, process=ELSEWHERE)
        first = Probe.objects.get()
        assert (first.role, first.pid, first.process_started) == ("web", 4711, "8812")
        assert first.since < first.probed_at == first.last_good_at
        for _ in range(2):
            probing.note("cache", FULL, role=Role.WEB, process=ELSEWHERE)
        bad = Probe.objects.get()
        assert first.since < bad.since < bad.probed_at
        assert bad.last_good_at == first.last_good_at
        probing.note("cache", replace(FULL, kind="frozen"), role=Role.WEB, process=ELSEWHERE)
        assert Probe.objects.get().since == bad.since, "another trouble, and no better"

    def test_of_another_process_with_the_same_number_begins_anew(self) -> None:
        probing.note("cache", FULL, role=Role.WEB, process=ELSEWHERE)
        probing.note("cache", FULL, role=Role.WEB, process=ELSEWHERE)
        probing.note("cache", FULL, role=Role.TICK, process=replace(ELSEWHERE, started="9999"))
        row = Probe.objects.get()
        assert row.since == row.probed_at
        assert (row.role, row.last_good_at) == ("tick", None)

    @real_commits
    def test_tries_cache_database_and_machine_and_forgets_the_gone(self) -> None:
        with subprocess.Popen(["true"]) as ended:
            gone = ProcessId(this_process().host, ended.pid, "1")
        probing.note("cache", WELL, role=Role.WEB, process=gone)
        looked("cache", ago=3700)
        assert probing.look(Role.WORKER)
        assert probing.look(Role.WORKER)
        rows = {(row.part, row.pid) for row in Probe.objects.all()} - {("disk", 0)}
        me = os.getpid()
        assert rows == {("cache", me), ("database", me), ("clock", 0), ("cache-server", 0)}
        assert Probe.objects.get(part="cache-server").facts["role"] == "master"

    @real_commits
    def test_looks_at_a_machine_once_a_minute(self) -> None:
        probing.look(Role.WORKER)
        before = Probe.objects.get(part="clock").probed_at
        probing.look(Role.WEB)
        assert Probe.objects.get(part="clock").probed_at == before
        Probe.objects.filter(part="clock").update(probed_at=Now() - timedelta(seconds=61))
        probing.look(Role.WEB)
        assert Probe.objects.get(part="clock").probed_at > before

    @real_commits
    def test_goes_on_in_a_thread_and_at_a_pass(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(probing, "LEAST_SECONDS_BETWEEN_LOOKS", 0)
        monkeypatch.setattr(probing, "STOP_SECONDS", 60)
        probing.start(Role.WORKER)
        probing.start(Role.WORKER)
        try:
            first = wait_for_look(after=None)
            probing.look_now()
            wait_for_look(after=first)
        finally:
            probing.stop()
            probing.stop()
        assert not Probe.objects.filter(pid=os.getpid()), "it has left"

    def test_is_not_done_by_tests_and_commands_unasked(self) -> None:
        assert probing._prober is None or not probing._prober.is_alive()


def wait_for_look(*, after: Any) -> Any:
    deadline = time.monotonic() + 60
    while True:
        found = Probe.objects.filter(part="cache", pid=os.getpid()).values_list("probed_at", flat=True).first()
        if found is not None and (after is None or found > after):
            return found
        assert time.monotonic() < deadline
        time.sleep(0.01)


class TestTheCacheAlarm:
    def test_names_who_cannot_write_and_why(self) -> None:
        looked("cache", FULL, since=30)
        told = check("cache:out-of-memory")
        assert "out-of-memory" in told.wrong
        assert "queue worker 4711 on worker-b" in told.wrong
        assert "go on without it" in told.affects
        assert told.since is not None
        assert told in watch.everything()
        assert check("cache:frozen").is_well

    @pytest.mark.parametrize(
        "row",
        [
            {"finding": WELL},
            {"finding": FULL, "since": 1},  # not yet
            {"finding": FULL, "ago": 150},  # silent: told as that
        ],
    )
    def test_is_not_raised_for_less(self, row: dict[str, Any]) -> None:
        looked("cache", **row)
        assert check("cache:out-of-memory").is_well

    def test_is_not_about_processes_that_have_ended(self) -> None:
        with subprocess.Popen(["true"]) as ended:
            gone = ProcessId(this_process().host, ended.pid, "1")
        probing.note("cache", FULL, role=Role.WEB, process=gone)
        Probe.objects.update(since=Now() - timedelta(seconds=30))
        assert check("cache:out-of-memory").is_well


class TestTheCacheServer:
    MASTER = {"run_id": "a", "role": "master", "evicted_keys": 0, "policy": "noeviction"}

    @pytest.mark.parametrize(
        ("now", "kind"),
        [
            ({}, None),
            ({"run_id": "b"}, "changed"),
            ({"role": "slave"}, "replica"),
            ({"evicted_keys": 5}, "evicts"),
            ({"run_id": "b", "evicted_keys": 5}, "changed"),  # a new server counts from nothing
        ],
    )
    def test_is_odd_when_it_is_another_than_before(self, now: dict[str, Any], kind: str | None) -> None:
        probing.note_cache_server(self.MASTER)
        probing.note_cache_server(self.MASTER | now)
        row = Probe.objects.get()
        assert (row.kind or None) == kind
        assert check("cache-server").is_well == (kind is None)

    def test_stays_told_for_half_an_hour_after_it_became_well(self) -> None:
        probing.note_cache_server(self.MASTER)
        probing.note_cache_server(self.MASTER | {"run_id": "b"})
        probing.note_cache_server(self.MASTER | {"run_id": "b"})
        assert not check("cache-server").is_well
        Probe.objects.update(since=F("since") - timedelta(minutes=31))
        probing.note_cache_server(self.MASTER | {"run_id": "b"})
        assert check("cache-server").is_well


class TestSilence:
    def test_of_a_process_is_told_after_two_minutes(self) -> None:
        somebody_has_watched()
        looked("database", ago=100)
        assert check("process-silent").is_well
        looked("database", ago=130)
        assert "queue worker 4711 on worker-b" in check("process-silent").wrong

    def test_is_not_told_by_who_has_only_just_begun_to_watch(self) -> None:
        looked("database", ago=1000)
        Pulse.objects.create(name=probing.role_pulse(Role.WEB), beaten_at=Now() - timedelta(hours=8), host="h", pid=1)
        assert check("process-silent").is_well
        somebody_has_watched(for_seconds=60)
        assert check("process-silent").is_well
        assert check("worker-missing").is_well

    def test_of_a_machine_is_forgotten_after_an_hour_or_when_staff_delete_it(self) -> None:
        somebody_has_watched()
        looked("database", ago=3700)
        assert check("process-silent").is_well
        looked("database", ago=3500).delete()
        assert check("process-silent").is_well

    @pytest.mark.parametrize("role", health.ROLES)
    def test_of_all_processes_of_a_sort_is_told_where_there_ever_was_one(self, role: Role) -> None:
        somebody_has_watched()
        assert check("worker-missing").is_well
        pulses.beat(probing.role_pulse(role))
        assert check("worker-missing").is_well
        Pulse.objects.update(beaten_at=Now() - timedelta(seconds=130))
        assert role.label in check("worker-missing").wrong


class TestTheMailServer:
    LOGIN = ("ivy", "the right password")

    @pytest.fixture(autouse=True)
    def _settings(self, settings: Any) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", free_port()
        settings.EMAIL_HOST_USER, settings.EMAIL_HOST_PASSWORD = self.LOGIN

    def test_is_logged_in_to_and_gets_no_mail(self, settings: Any) -> None:
        with a_mail_server(port=settings.EMAIL_PORT, login=self.LOGIN) as mails:
            for _ in range(2):
                found = mail_server.look()
                assert found is not None
                assert found.is_well, found
            assert mails.accepted == []

    def test_with_another_password_is_told_after_two_looks(self, settings: Any) -> None:
        settings.EMAIL_HOST_PASSWORD = "another"
        with a_mail_server(port=settings.EMAIL_PORT, login=self.LOGIN):
            found = mail_server.look()
        assert found is not None
        assert (found.is_well, found.kind) == (False, "login")
        assert "another" not in found.words
        looked("mail-server", found, since=1)
        assert check("mail-server").is_well
        looked("mail-server", found, since=20)
        assert "does not let Ivy in (login)" in check("mail-server").wrong

    def test_that_hangs_is_left_in_time(self, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mail_server, "SECONDS", 1.0)
        with a_mail_server(port=settings.EMAIL_PORT) as mails:
            mails.fail(At.GREETING, Fault.HANG)
            began = time.monotonic()
            found = mail_server.look()
            assert time.monotonic() - began < 30
            mails.heal()
        assert found is not None
        assert (found.is_well, found.kind) == (False, "greeting")

    def test_that_is_away_is_told(self) -> None:
        found = mail_server.look()
        assert found is not None
        assert (found.is_well, found.kind) == (False, "connect")

    def test_of_another_backend_is_not_looked_at(self, settings: Any) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.console.EmailBackend"
        assert mail_server.look() is None


class TestTheMachine:
    @pytest.mark.parametrize(("off", "words"), [(10, "ahead of"), (-10, "behind")])
    def test_with_a_wrong_clock_is_told(self, off: int, words: str) -> None:
        assert clock.look().is_well
        with connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp()")
            (now,) = cursor.fetchone()
        with time_machine.travel(now + timedelta(seconds=off), tick=True):
            found = clock.look()
        assert not found.is_well
        assert words in found.words
        looked("clock", found, role=Role.MACHINE)
        assert words in check("clock").wrong

    def test_with_a_full_disk_is_told(self, small_disk: Path) -> None:
        roomy = disk.look([small_disk], least_bytes=1000)
        assert roomy is not None
        assert roomy.is_well
        (small_disk / "backup").write_bytes(b"x" * 950_000)
        found = disk.look([Path("/"), small_disk], least_bytes=1000)
        assert found is not None
        assert (found.is_well, found.kind) == (False, "full")
        looked("disk", found, role=Role.MACHINE)
        assert str(small_disk) in check("disk").wrong

    def test_without_a_data_folder_has_no_disk_to_look_at(self, settings: Any, tmp_path: Path) -> None:
        settings.BASE_DIR = tmp_path
        assert disk.look(disk.folders()) is None
        (tmp_path / "var").mkdir()
        (tmp_path / "elsewhere").mkdir()
        (tmp_path / "var" / disk.ELSEWHERE).write_text(f"{tmp_path / 'elsewhere'}\n")
        assert disk.folders() == [tmp_path / "var", tmp_path / "elsewhere"]

    @pytest.fixture
    def small_disk(self) -> Iterator[Path]:
        folder = Path(tempfile.mkdtemp(prefix="ivy-disk-"))
        mounted = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False, capture_output=True
        ).returncode
        try:
            if mounted:
                pytest.skip("only root can mount a small disk")
            yield folder
        finally:
            if not mounted:
                subprocess.run(["umount", str(folder)], check=True)
            shutil.rmtree(folder)


class TestStatus:
    def test_lists_the_parts(self) -> None:
        assert [part.part for part in health.parts()] == ["database", "cache", "queue", "billing"]
        looked("cache")
        looked("database")
        looked("disk", Finding(False, "0.1 GB free", "full"), role=Role.MACHINE)
        parts = {part.part: part for part in health.parts()}
        assert parts["cache"].ok
        assert not parts["disk"].ok
        assert parts["processes"].detail.startswith("0 × web process, 1 × queue worker")

    def test_knows_when_another_process_cannot_write(self) -> None:
        looked("cache", FULL)
        (found,) = [part for part in health.parts() if part.part == "cache"]
        assert not found.ok
        assert "queue worker 4711 on worker-b" in found.detail
        cache._forget()

    def test_is_told_when_nobody_looks_at_a_machine_any_more(self) -> None:
        looked("clock", ago=400, role=Role.MACHINE)
        (found,) = [part for part in health.parts() if part.part == "clock"]
        assert not found.ok
        assert "nobody has looked" in found.detail
