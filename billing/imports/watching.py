"""A folder where switches leave their files: each one is imported when it is finished, and filed as done or failed.

Finished is what has not changed for some seconds. Not looked at: hidden files, `*.tmp`, `*.part`, folders, links. A
file is filed after its import was committed; when the process is killed in between it is imported again, and everything
in it is known already. No file is ever overwritten, and none is filed that changed while it was read.
"""

import logging
import os
import stat
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import NamedTuple

from django.db import Error, InterfaceError, OperationalError, connection

from billing.imports import calls
from billing.imports.call_formats import NotThisFormat
from billing.imports.calls import CallImport
from billing.imports.lines import readable
from billing.models import Source

logger = logging.getLogger(__name__)

SETTLED_SECONDS = 5.0
SECONDS_BETWEEN_LOOKS = 1.0
SECONDS_BETWEEN_STOP_CHECKS = 0.1
LONGEST_WAIT_FOR_DATABASE = 30.0
TRIES = 3  # of a file with a database that answers, and fails all the same
UNFINISHED_SUFFIXES = frozenset((".tmp", ".part"))
DONE, FAILED = "done", "failed"


class UnusableFolder(ValueError):
    """The folder can't be watched; the message is a sentence."""


class _Stopping(Exception):
    """Somebody asked to stop; raised while a file is read, between two chunks."""


@dataclass(frozen=True)
class FiledFile:
    """What became of a file: where it lies now, what its records came to and, if it failed, why (a sentence)."""

    name: str
    filed_as: Path
    reason: str = ""
    result: CallImport = field(default_factory=CallImport)

    @property
    def is_done(self) -> bool:
        return not self.reason

    def as_json(self) -> dict[str, object]:
        return {
            "file": self.name,
            "state": DONE if self.is_done else FAILED,
            "filed_as": readable(str(self.filed_as)),
            "reason": self.reason,
            **self.result.as_json(),
        }


class _Look(NamedTuple):
    """How a file looked; equal as long as nobody touches it."""

    inode: int
    size: int
    changed_ns: int


class FolderWatch:
    """A watch over one folder, with what it has to remember between two looks."""

    def __init__(
        self,
        folder: Path,
        *,
        settled_seconds: float = SETTLED_SECONDS,
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Raises UnusableFolder if files can't be filed there. `is_stopping` is asked ten times a second."""
        self._folder = folder
        self._settled_seconds = settled_seconds
        self._is_stopping = is_stopping
        self._first_seen: dict[Path, tuple[_Look, float]] = {}
        self._unfiled: dict[Path, _Look] = {}  # imported, but could not be moved: not to be imported again and again
        self._tries: dict[Path, int] = {}
        self._folder_is_away = False
        self._make_shelves()

    def run(self, source: Source, *, on_filed: Callable[[FiledFile], object], once: bool = False) -> None:
        """Import what is finished and tell of each file, until asked to stop; `once`: what is finished now.

        While the database does not answer it waits, and goes on with the same file. With `once` it raises instead.
        """
        while not self._is_stopping():
            for path in self._finished():
                if self._is_stopping():
                    return
                try:
                    filed = self._import_and_file(path, source)
                except _Stopping:
                    return
                except (OperationalError, InterfaceError) as error:
                    if once:
                        raise
                    filed = self._after_trouble(path, error)
                if filed:
                    on_filed(filed)
            if once:
                return
            self._sleep(SECONDS_BETWEEN_LOOKS)

    # Looking ----------------------------------------------------------------------------------------------------------

    def _finished(self) -> list[Path]:
        """The files that nobody has touched for long enough, the oldest first."""
        try:
            looks = _looks(self._folder)
        except OSError as error:  # a share that is not mounted just now, perhaps
            if not self._folder_is_away:
                logger.error("%s can't be read; waiting for it: %s", self._folder, error.strerror)
            self._folder_is_away = True
            return []
        self._folder_is_away = False
        now = time.monotonic()
        for path, look in looks.items():
            if path not in self._first_seen or self._first_seen[path][0] != look:
                self._first_seen[path] = (look, now)
        for gone in self._first_seen.keys() - looks.keys():
            del self._first_seen[gone]
            self._unfiled.pop(gone, None)
            self._tries.pop(gone, None)
        finished = [path for path, look in looks.items() if self._unfiled.get(path) != look and self._is_settled(path)]
        return sorted(finished, key=lambda path: (looks[path].changed_ns, path.name))

    def _is_settled(self, path: Path) -> bool:
        """By its own clock, or by ours: that of a file server may be ahead."""
        look, since = self._first_seen[path]
        unchanged = max(time.time() - look.changed_ns / 1e9, time.monotonic() - since)
        return unchanged >= self._settled_seconds

    # Importing --------------------------------------------------------------------------------------------------------

    def _import_and_file(self, path: Path, source: Source) -> FiledFile | None:
        """None if it is gone, changed meanwhile, or can't be moved: then it is looked at again when it has changed."""
        before = _look(path)
        try:
            result, reason = self._import(path, source), ""
        except FileNotFoundError:
            return None
        except NotThisFormat as error:
            result, reason = CallImport(), f"It is no file of format {source.format}. {error}"
        except OSError as error:
            result = CallImport()
            reason = f"Reading it stopped: {error.strerror}. What was read is in; import it again to go on."
        except (OperationalError, InterfaceError, _Stopping):
            raise
        except Exception as error:
            # One file must not keep the others out: it is set aside, with everything that helps to find out why.
            logger.exception("%s could not be imported.", path)
            result, reason = CallImport(), f"Importing it failed: {type(error).__name__}: {error}"
        if before != _look(path):
            return None
        return self._file(path, result=result, reason=reason)

    def _import(self, path: Path, source: Source) -> CallImport:
        with path.open("rb") as stream:
            found = calls.read(stream, source=source, on_bytes=self._stop_if_asked)
            return calls.take_in(found, source=source, file_name=str(path))

    def _stop_if_asked(self, _: int) -> None:
        if self._is_stopping():
            raise _Stopping

    def _after_trouble(self, path: Path, error: Error) -> FiledFile | None:
        """Wait until the database answers. A file that fails although it does is set aside in the end."""
        connection.close()
        if self._database_answers():
            self._tries[path] = self._tries.get(path, 0) + 1
            if self._tries[path] >= TRIES:
                reason = f"Importing it failed {TRIES} times: {str(error).strip()}"
                return self._file(path, result=CallImport(), reason=reason)
            return None
        logger.error("The database does not answer; waiting for it: %s", str(error).strip())
        wait = 1.0
        while not self._is_stopping():
            self._sleep(wait)
            if self._database_answers():
                logger.info("The database is back.")
                return None
            wait = min(2 * wait, LONGEST_WAIT_FOR_DATABASE)
        return None

    def _database_answers(self) -> bool:
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except (OperationalError, InterfaceError):
            connection.close()
            return False
        return True

    def _sleep(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and not self._is_stopping():
            time.sleep(min(left, SECONDS_BETWEEN_STOP_CHECKS))

    # Filing -----------------------------------------------------------------------------------------------------------

    def _make_shelves(self) -> None:
        if not self._folder.is_dir():
            raise UnusableFolder(f"{self._folder} is no folder.")
        for shelf in (self._folder / DONE, self._folder / FAILED):
            try:
                shelf.mkdir(exist_ok=True)
            except OSError as error:
                raise UnusableFolder(f"{shelf} can't be made: {error.strerror}.") from error
            if not all(os.access(path, os.R_OK | os.W_OK | os.X_OK) for path in (self._folder, shelf)):
                raise UnusableFolder(f"Files can't be moved from {self._folder} to {shelf}: permission denied.")

    def _file(self, path: Path, *, result: CallImport, reason: str) -> FiledFile | None:
        look = _look(path)
        try:
            target = _put_away(path, self._folder / (FAILED if reason else DONE), why=reason)
        except FileNotFoundError:
            return None  # somebody else has filed it
        except OSError as error:
            if look:
                self._unfiled[path] = look
            logger.error("%s was imported, but can't be moved away: %s", path, error.strerror)
            return None
        return FiledFile(name=readable(path.name), filed_as=target, reason=reason, result=result)


def _looks(folder: Path) -> dict[Path, _Look]:
    """How the files of the folder look that may be finished."""
    looks = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            path = folder / entry.name
            is_unfinished = entry.name.startswith(".") or path.suffix.lower() in UNFINISHED_SUFFIXES
            if not is_unfinished and (look := _look(path)):
                looks[path] = look
    return looks


def _look(path: Path) -> _Look | None:
    """None for what is no file of its own: gone, a folder, a link."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return _Look(found.st_ino, found.st_size, found.st_mtime_ns) if stat.S_ISREG(found.st_mode) else None


def _put_away(path: Path, shelf: Path, *, why: str) -> Path:
    """Move the file there under a name that is free, its own if possible, with a note beside it that says why."""
    for number in count(1):
        target = shelf / (path.name if number == 1 else f"{path.stem}-{number}{path.suffix}")
        note = shelf / f"{target.name}.txt"
        try:
            target.open("xb").close()  # the name is ours from here on; a rename would overwrite another's
        except FileExistsError:
            continue
        try:
            if why:
                with note.open("x", encoding="utf-8") as text:
                    text.write(f"{readable(path.name)}: {why}\n")
        except FileExistsError:
            target.unlink()
            continue
        try:
            path.replace(target)
        except OSError:
            target.unlink()
            if why:
                note.unlink()
            raise
        return target
    raise AssertionError  # there is always a further number
