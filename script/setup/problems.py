"""What is missing, in one line with what to do about it."""

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
VAR = CHECKOUT / "var"


class Problem(Exception):
    """Something the machine lacks. The message is one line: what, and what to do."""


class Stopped(BaseException):
    """Somebody asked us to stop: Ctrl-C, SIGTERM, or the terminal was closed."""


def tell(line: str) -> None:
    """Say something to the person at the terminal, at once; a terminal that was closed doesn't matter."""
    with suppress(OSError):
        print(line, flush=True)


def run_main(name: str, main: Callable[[list[str]], int]) -> None:
    """Run the script of this name; a Problem becomes its one line and exit status 1."""
    try:
        status = main(sys.argv[1:])
    except Problem as problem:
        print(f"{name}: {problem}", file=sys.stderr, flush=True)
        status = 1
    except PermissionError as error:
        print(f"{error.filename} can't be written: {error.strerror}; check who owns it.", file=sys.stderr, flush=True)
        status = 1
    except (Stopped, KeyboardInterrupt):
        status = 130
    sys.exit(status)
