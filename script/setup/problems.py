"""What is missing, in one line with what to do about it; and talking to the person at the terminal."""

import errno
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from stopping import Stopped

CHECKOUT = Path(__file__).resolve().parents[2]
VAR = CHECKOUT / "var"

# What a machine or its owner can mend. Other errors are ours, and keep their traceback.
OF_THE_MACHINE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EMFILE,
    errno.ENFILE,
    errno.EAGAIN,
    errno.ENOMEM,
    errno.EIO,
}

_log: Path | None = None


class Problem(Exception):
    """Something the machine lacks. The message is one line: what, and what to do."""


def keep_log(log: Path) -> None:
    """From now on write what is told to this file as well."""
    global _log  # noqa: PLW0603 - there is one terminal, and one log of it
    log.parent.mkdir(parents=True, exist_ok=True)
    _log = log


def tell(line: str) -> None:
    """Say something to the person at the terminal, at once; a terminal that was closed doesn't matter."""
    with suppress(OSError, ValueError):
        print(line, flush=True)
    _write_to_log(line)


def run_main(name: str, main: Callable[[list[str]], int]) -> None:
    """Run the script of this name; a Problem becomes its one line and exit status 1."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a terminal may lack our quotation marks
    try:
        status = main(sys.argv[1:])
    except Problem as problem:
        status = _give_up(f"{name}: {problem}")
    except OSError as error:
        if error.errno not in OF_THE_MACHINE:
            raise
        what = error.filename if error.filename is not None else "something"
        status = _give_up(f"{name}: {what} can't be used: {error.strerror}; check its owner and the disk.")
    except (Stopped, KeyboardInterrupt):
        status = 130
    with suppress(OSError, ValueError):  # else Python complains about a closed terminal, and changes the status
        sys.stdout.close()
    sys.exit(status)


def last_line(log: Path) -> str:
    """The last line of a log that says something; empty if there is none."""
    with suppress(OSError):
        lines = log.read_text(encoding="utf-8", errors="replace")[-4000:].splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "")
    return ""


def _give_up(line: str) -> int:
    with suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
    _write_to_log(line)
    return 1


def _write_to_log(line: str) -> None:
    if _log is not None and line.strip():
        with suppress(OSError), _log.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {line.strip()}\n")
