"""`import_calls --watch`: every finished file of a folder is imported and filed, whatever comes in between."""

import io
import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from psycopg import sql

from billing.imports import calls, watching
from billing.models import CallRecord, Delivery, Source, UnparsableLine
from tests.billing.at_once import meanwhile, real_commits
from tests.billing.call_files import ivy_call, ivy_file
from tests.factories import make_customer, make_source
from tests.faults.processes import Running, another_connection, database_url, start, wait_until


@pytest.fixture(autouse=True)
def pbx(db: None) -> Source:
    make_customer(account="10001", name="Café Lindqvist")
    return make_source(name="pbx-north", region="GB")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "incoming"
    path.mkdir()
    return path


def leave(folder: Path, name: str, content: bytes | None = None, *, age: float = 60) -> Path:
    """A file as a switch left it so many seconds ago."""
    path = folder / name
    path.write_bytes(ivy_file(ivy_call()) if content is None else content)
    then = time.time() - age
    os.utime(path, (then, then))
    return path


def lie_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@contextmanager
def _another_database() -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection that stays when the test's database is closed to everybody."""
    with psycopg.connect(database_url().rpartition("/")[0] + "/postgres", autocommit=True) as other:
        yield other


@pytest.mark.django_db
class TestAPass:
    def watch(self, folder: Path, *words: str, status: int = 0) -> dict[str, object]:
        """What a single pass answers."""
        out = io.StringIO()
        command = ["import_calls", "--watch", str(folder), "--source", "pbx-north", "--once", "--json", *words]
        if status:
            with pytest.raises(SystemExit) as caught:
                call_command(*command, stdout=out)
            assert caught.value.code == status
        else:
            call_command(*command, stdout=out)
        answer: dict[str, object] = json.loads(out.getvalue())
        return answer

    def test_takes_the_finished_files_and_leaves_the_rest(self, folder: Path) -> None:
        leave(folder, "monday.csv")
        leave(folder, "tuesday.csv", ivy_file(ivy_call(), ivy_call()) + b"garbage\n")
        unfinished = {
            leave(folder, "growing.csv", age=2).name: "changed two seconds ago",
            leave(folder, ".hidden.csv").name: "hidden: being uploaded",
            leave(folder, "wednesday.csv.tmp").name: "being written",
            leave(folder, "thursday.PART").name: "being written",
        }
        (folder / "archive").mkdir()
        (folder / "link.csv").symlink_to(leave(folder.parent, "elsewhere.csv"))

        answer = self.watch(folder)

        assert [file["file"] for file in answer["files"]] == ["monday.csv", "tuesday.csv"]  # type: ignore[attr-defined]
        assert {fate: answer[fate] for fate in ("read", "accepted", "duplicate", "quarantined", "unparsable")} == {
            "read": 4,
            "accepted": 3,
            "duplicate": 0,
            "quarantined": 0,
            "unparsable": 1,
        }
        assert lie_in(folder) == sorted(["archive", "done", "failed", "link.csv", *unfinished])
        assert lie_in(folder / "done") == ["monday.csv", "tuesday.csv"]
        assert lie_in(folder / "failed") == []

    def test_answers_file_by_file(self, folder: Path) -> None:
        path = leave(folder, "monday.csv")
        assert self.watch(folder)["files"] == [
            {
                "file": "monday.csv",
                "state": "done",
                "filed_as": str(folder / "done" / "monday.csv"),
                "reason": "",
                "read": 1,
                "accepted": 1,
                "duplicate": 0,
                "quarantined": 0,
                "unparsable": 0,
            }
        ]
        assert Delivery.objects.get().file_name == str(path)
        assert self.watch(folder)["files"] == []

    def test_sets_aside_what_is_no_call_file_and_says_why(self, folder: Path) -> None:
        leave(folder, "holiday.jpg", b"\xff\xd8\xff\xe0")
        leave(folder, "nothing.csv", b"")
        leave(folder, "monday.csv")
        answer = self.watch(folder, status=1)
        assert answer["accepted"] == 1
        assert lie_in(folder / "failed") == ["holiday.jpg", "holiday.jpg.txt", "nothing.csv", "nothing.csv.txt"]
        note = (folder / "failed" / "holiday.jpg.txt").read_text()
        assert note.startswith("holiday.jpg: It is no file of format ivy. It has a column “")
        assert "It is empty." in (folder / "failed" / "nothing.csv.txt").read_text()
        assert Delivery.objects.count() == 1

    def test_overwrites_nothing(self, folder: Path) -> None:
        for _ in range(3):
            leave(folder, "Master.csv")
            leave(folder, "bad", b"bad")
            leave(folder, "bad.txt", b"worse")  # its name is that of a note
            self.watch(folder, status=1)
        assert lie_in(folder / "done") == ["Master-2.csv", "Master-3.csv", "Master.csv"]
        kept = [(folder / "failed" / name).read_bytes() for name in lie_in(folder / "failed")]
        assert (kept.count(b"bad"), kept.count(b"worse"), len(kept)) == (3, 3, 12)
        assert CallRecord.objects.count() == 3

    def test_takes_a_delivered_file_again_as_duplicates(self, folder: Path) -> None:
        content = ivy_file(ivy_call(), ivy_call())
        leave(folder, "monday.csv", content)
        assert self.watch(folder)["accepted"] == 2
        leave(folder, "monday.csv", content)  # as after a kill between import and filing
        assert self.watch(folder)["duplicate"] == 2
        assert lie_in(folder / "done") == ["monday-2.csv", "monday.csv"]

    def test_takes_the_oldest_first(self, folder: Path) -> None:
        for name, age in (("b", 100), ("c", 300), ("a", 200)):
            leave(folder, name, age=age)
        self.watch(folder)
        assert [Path(delivery.file_name).name for delivery in Delivery.objects.order_by("pk")] == ["c", "a", "b"]

    def test_can_be_told_how_long_to_wait(self, folder: Path) -> None:
        leave(folder, "monday.csv", age=2)
        assert self.watch(folder, "--settled", "60")["files"] == []
        assert len(self.watch(folder, "--settled", "1")["files"]) == 1  # type: ignore[arg-type]
        leave(folder, "tuesday.csv", age=-3600)  # by the clock of a file server that is ahead
        assert self.watch(folder)["files"] == []
        assert len(self.watch(folder, "--settled", "0")["files"]) == 1  # type: ignore[arg-type]

    def test_survives_odd_names(self, folder: Path) -> None:
        for name in ("anrufe märz.csv", "-rf", "a\nb.csv", "no.suffix.", os.fsdecode(b"M\xfcller.csv")):
            leave(folder, name)
        assert self.watch(folder)["accepted"] == 5
        assert len(lie_in(folder / "done")) == 5

    def test_survives_a_file_that_nobody_has_thought_of(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        take_in = calls.take_in

        def stumble(*args: object, file_name: str, **kwargs: object) -> calls.CallImport:
            if "odd" in file_name:
                raise ZeroDivisionError("division by zero")
            return take_in(*args, file_name=file_name, **kwargs)  # type: ignore[arg-type]

        monkeypatch.setattr(calls, "take_in", stumble)
        leave(folder, "odd.csv")
        leave(folder, "plain.csv")
        assert self.watch(folder, status=1)["accepted"] == 1
        note = (folder / "failed" / "odd.csv.txt").read_text()
        assert note == "odd.csv: Importing it failed: ZeroDivisionError: division by zero\n"
        assert "Traceback" in caplog.text

    def test_leaves_a_file_that_grew_while_it_was_read(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = leave(folder, "Master.csv")
        take_in = calls.take_in

        def while_it_grows(*args: object, **kwargs: object) -> calls.CallImport:
            result = take_in(*args, **kwargs)  # type: ignore[arg-type]
            with path.open("ab") as file:
                file.write(ivy_file(ivy_call()).splitlines(keepends=True)[1])
            return result

        monkeypatch.setattr(calls, "take_in", while_it_grows)
        assert self.watch(folder)["files"] == []
        monkeypatch.setattr(calls, "take_in", take_in)
        assert self.watch(folder, "--settled", "0")["accepted"] == 1
        assert CallRecord.objects.count() == 2

    def test_does_not_import_for_ever_what_it_cannot_move(
        self, folder: Path, pbx: Source, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        leave(folder, "monday.csv")

        def refuse(*_: object) -> Path:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "replace", refuse)
        watch = watching.FolderWatch(folder)
        for _ in range(3):
            watch.run(pbx, on_filed=lambda _: None, once=True)
        assert Delivery.objects.count() == 1
        assert lie_in(folder / "done") == []
        monkeypatch.undo()
        leave(folder, "monday.csv", age=30)
        watch.run(pbx, on_filed=lambda _: None, once=True)
        assert lie_in(folder / "done") == ["monday.csv"]

    def test_tells_people(self, folder: Path) -> None:
        leave(folder, "monday.csv")
        leave(folder, "holiday.jpg", b"\xff\xd8", age=50)
        out = io.StringIO()
        with pytest.raises(SystemExit):
            call_command("import_calls", "--watch", str(folder), "--source", "pbx-north", "--once", stdout=out)
        first, second, third = out.getvalue().splitlines()
        assert first.startswith("monday.csv: 1 call record read; 1 accepted")
        assert second == f"Filed as {folder / 'done' / 'monday.csv'}."
        assert third.startswith("holiday.jpg failed. It is no file of format ivy.")

    def test_registers_a_new_source(self, folder: Path) -> None:
        leave(folder, "quiet.csv", ivy_file())
        out = io.StringIO()
        new = ["--source", "pbx-west", "--new-source", "--format", "ivy", "--region", "gb"]
        call_command("import_calls", "--watch", str(folder), *new, "--once", "--json", stdout=out)
        assert Source.objects.get(name="pbx-west").region == "GB"
        assert Delivery.objects.get().source.name == "pbx-west"

    @pytest.mark.parametrize(
        ("words", "sentence"),
        [
            ([], "Name a file, or a folder with --watch."),
            (["calls.csv", "--watch", "."], "Name a file, or a folder with --watch."),
            (["calls.csv", "--once"], "--once goes with --watch."),
            (["--watch", "/nowhere/at/all"], "/nowhere/at/all is no folder."),
            (["--watch", ".", "--settled", "soon"], "invalid"),
            (["--watch", ".", "--settled", "-1"], "must be a number of seconds"),
        ],
    )
    def test_refuses_what_makes_no_sense(
        self, words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(CommandError, match=sentence.replace("(", r"\(")):
            call_command("import_calls", *words, "--source", "pbx-north")
        assert not Delivery.objects.exists()

    def test_refuses_a_folder_that_it_cannot_use(self, folder: Path) -> None:
        (folder / "done").write_text("a file, of all things")
        with pytest.raises(CommandError, match="can't be made") as caught:
            call_command("import_calls", "--watch", str(folder), "--source", "pbx-north", "--once")
        assert caught.value.returncode == 2


@real_commits
class TestAWatch:
    @contextmanager
    def watching(self, folder: Path, *words: str, log: IO[str] | None = None) -> Iterator[Running]:
        command = ["import_calls", "--watch", str(folder), "--source", "pbx-north", "--settled", "0.5", *words]
        process = start(*command, log=log)
        try:
            yield process
        finally:
            if process.poll() is None:
                process.kill()
                wait_until(lambda: process.poll() is not None, what="the end of the watch")

    def heeds_sigterm(self, process: Running) -> bool:
        """Whether it has come as far as to watch: until then the signal ends it as any other program."""
        status = Path(f"/proc/{process.pid}/status").read_text()
        (caught,) = (int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt:"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)

    def waiting_count(self) -> int:
        """How many wait in this database for the lock under which a chunk is stored."""
        waiting = (
            "SELECT count(*) FROM pg_locks WHERE classid = %s AND NOT granted"
            " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        )
        with another_connection() as other:
            (count,) = other.execute(waiting, [calls.IMPORT_LOCK]).fetchone() or (0,)
        return int(count)

    def stop(self, process: Running, with_signal: signal.Signals = signal.SIGTERM) -> str:
        process.send_signal(with_signal)
        return self.what_it_said(process)

    def what_it_said(self, process: Running) -> str:
        """The answer of a watch that was told to stop, and heeds it whatever else happens."""
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert "Traceback" not in err
        return out

    @pytest.mark.parametrize("with_signal", [signal.SIGTERM, signal.SIGINT])
    def test_goes_on_until_it_is_told_to_stop(self, folder: Path, with_signal: signal.Signals) -> None:
        with self.watching(folder, "--json") as process:
            for name in ("monday.csv", "tuesday.csv"):
                leave(folder, name)
                wait_until(lambda name=name: (folder / "done" / name).exists(), what=name)  # type: ignore[misc]
            assert process.poll() is None
            answer = json.loads(self.stop(process, with_signal))
        assert (answer["accepted"], [file["state"] for file in answer["files"]]) == (2, ["done", "done"])

    def test_waits_until_a_file_is_finished(self, folder: Path) -> None:
        whole = ivy_file(*[ivy_call() for _ in range(12)])
        with self.watching(folder, "--settled", "60") as process:
            for size in (len(whole) // 2, len(whole)):
                leave(folder, "growing.csv", whole[:size], age=0)
                leave(folder, f"{size}.csv", age=120)
                wait_until((folder / "done" / f"{size}.csv").exists, what="another file, finished long ago")
                assert (folder / "growing.csv").exists()
            leave(folder, "growing.csv", whole, age=120)
            wait_until((folder / "done" / "growing.csv").exists, what="the file")
            self.stop(process)
        assert Delivery.objects.latest("pk").accepted_count == 12

    def test_stops_in_the_middle_of_a_file_and_goes_on_later(self, folder: Path) -> None:
        count = 3 * calls.RECORDS_AT_A_TIME + calls.RECORDS_AT_A_TIME // 2
        leave(folder, "large.csv", ivy_file(*[ivy_call() for _ in range(count)]))
        with another_connection() as first, another_connection() as second:
            # The chunk that waits for the one lock goes before who asks after it, and who asks before the next chunk.
            first.execute("SELECT pg_advisory_lock(%s, 0)", [calls.IMPORT_LOCK])
            with self.watching(folder) as process:
                wait_until(lambda: self.waiting_count() == 1, what="the first chunk")
                with meanwhile(lambda: second.execute("SELECT pg_advisory_lock(%s, 0)", [calls.IMPORT_LOCK])):
                    wait_until(lambda: self.waiting_count() == 2, what="who is to hold up the second chunk")
                    first.execute("SELECT pg_advisory_unlock_all()")
                process.send_signal(signal.SIGTERM)
                second.execute("SELECT pg_advisory_unlock_all()")
                self.what_it_said(process)
        stored_count = CallRecord.objects.count()
        assert 0 < stored_count < count
        assert stored_count % calls.RECORDS_AT_A_TIME == 0
        assert lie_in(folder) == ["done", "failed", "large.csv"]
        assert Delivery.objects.get().finished_at is None

        with self.watching(folder) as process:
            wait_until((folder / "done" / "large.csv").exists, seconds=120, what="the rest")
            self.stop(process)
        assert CallRecord.objects.count() == count
        assert Delivery.objects.latest("pk").duplicate_count == stored_count

    def test_waits_for_a_database_that_is_away(self, folder: Path, tmp_path: Path) -> None:
        name = connection.settings_dict["NAME"]
        away = sql.SQL("ALTER DATABASE {} WITH ALLOW_CONNECTIONS {}")
        said = tmp_path / "said"
        with said.open("w") as log, self.watching(folder, log=log) as process:
            leave(folder, "before.csv")
            wait_until((folder / "done" / "before.csv").exists, what="the first file")
            with _another_database() as other:
                other.execute(away.format(sql.Identifier(name), sql.SQL("false")))
                try:
                    connection.close()
                    others = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
                    other.execute(others, [name])
                    leave(folder, "meanwhile.csv")
                    wait_until(lambda: "does not answer; waiting for it" in said.read_text(), what="word of it")
                    assert process.poll() is None
                    assert lie_in(folder / "failed") == []
                finally:
                    other.execute(away.format(sql.Identifier(name), sql.SQL("true")))
            wait_until((folder / "done" / "meanwhile.csv").exists, seconds=60, what="the second file")
            process.terminate()
            wait_until(lambda: process.poll() is not None, what="its end")
        assert said.read_text().count("The database does not answer; waiting for it") == 1
        assert "Traceback" not in said.read_text()
        assert CallRecord.objects.count() == 2

    def test_stops_although_the_database_hangs(self, folder: Path) -> None:
        leave(folder, "monday.csv")
        with another_connection() as other, other.transaction():
            other.execute("SELECT pg_advisory_xact_lock(%s, 0)", [calls.IMPORT_LOCK])
            with self.watching(folder) as process:
                wait_until(self.waiting_count, what="waiting")
                self.stop(process)
        assert not CallRecord.objects.exists()
        assert (folder / "monday.csv").exists()

    def test_imports_again_what_was_not_filed_when_it_was_killed(self, folder: Path) -> None:
        leave(folder, "monday.csv", ivy_file(ivy_call()) + b"garbage\n")
        with self.watching(folder) as process:
            wait_until((folder / "done" / "monday.csv").exists, what="the file")
            process.kill()
            process.communicate()
        (folder / "done" / "monday.csv").rename(folder / "monday.csv")
        with self.watching(folder) as process:
            wait_until((folder / "done" / "monday.csv").exists, what="the file again")
            self.stop(process)
        assert (CallRecord.objects.count(), UnparsableLine.objects.count()) == (1, 1)
        assert Delivery.objects.latest("pk").duplicate_count == 2

    def test_waits_for_a_folder_that_is_away(self, folder: Path) -> None:
        leave(folder, "sunday.csv")
        with self.watching(folder) as process:
            wait_until((folder / "done" / "sunday.csv").exists, what="the start")
            folder.rename(folder.parent / "unmounted")
            time.sleep(2)
            assert process.poll() is None
            (folder.parent / "unmounted").rename(folder)
            leave(folder, "monday.csv")
            wait_until((folder / "done" / "monday.csv").exists, what="the file")
            self.stop(process)

    def test_of_two_watches_files_everything_once(self, folder: Path, pbx: Source) -> None:
        for number in range(20):
            leave(folder, f"{number}.csv")
        with self.watching(folder) as one, self.watching(folder) as other:
            wait_until(lambda: not list(folder.glob("*.csv")), seconds=60, what="all files")
            for process in (one, other):  # one alone may have filed them all before the other was there
                wait_until(lambda process=process: self.heeds_sigterm(process), what="watch")  # type: ignore[misc]
                self.stop(process)
        assert CallRecord.objects.count() == 20
        assert lie_in(folder / "failed") == []
        assert {path.stat().st_size > 0 for path in (folder / "done").iterdir()} == {True}
