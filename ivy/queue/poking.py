"""What tick pokes runs in processes of its own: one that hangs keeps neither tick nor the other pokes from going on."""

import logging
import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from django.db import InterfaceError, OperationalError, connections

from ivy import stopping

logger = logging.getLogger(__name__)

COMPANY_AFTER_SECONDS = 5 * 60.0
MOST_AT_ONCE = 2
MOST_SECONDS = 30 * 60
STOPPERS = {signal.SIGTERM, signal.SIGINT}


@dataclass
class _Process:
    pid: int
    began: float


@dataclass
class Poke:
    """Work that is begun in a process of its own each time that it is poked.

    One at a time, unless the one under way has taken five minutes: then another joins. Where the first is at work, the
    second finds that out and goes; where it hangs, the second takes over. When a third is due the first is beyond help,
    and killed. Any of them may be killed at any moment.
    """

    name: str
    work: Callable[[], object]
    company_after_seconds: float = COMPANY_AFTER_SECONDS
    _processes: list[_Process] = field(default_factory=list)

    def start(self) -> bool:
        """Begin it in a new process; False if one is at it. Closes the connections of this one: none may be shared."""
        self._bury()
        now = time.monotonic()
        if self._processes and now - self._processes[-1].began < self.company_after_seconds:
            return False
        if len(self._processes) == MOST_AT_ONCE:
            logger.error("A process of tick (%s) hung, and was killed.", self.name)
            self._end(self._processes[0], signal.SIGKILL)
            os.waitpid(self._processes.pop(0).pid, 0)
        connections.close_all()
        # No signal in between: it would be handled in the new process as if that were this one.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, STOPPERS)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_the_process()
            self._processes.append(_Process(pid, now))
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        return True

    def is_under_way(self) -> bool:
        """Whether any of its processes is at work."""
        self._bury()
        return bool(self._processes)

    def ask_to_stop(self) -> None:
        """Have its processes end after the chunk, or the mail, in hand."""
        for process in self._processes:
            self._end(process, signal.SIGTERM)

    def kill(self) -> None:
        """End its processes at once."""
        for process in self._processes:
            self._end(process, signal.SIGKILL)

    def _bury(self) -> None:
        self._processes = [process for process in self._processes if os.waitpid(process.pid, os.WNOHANG) == (0, 0)]

    def _end(self, process: _Process, number: signal.Signals) -> None:
        os.kill(process.pid, number)  # nobody else gets its id before it was waited for

    def _be_the_process(self) -> None:
        """In the new process: do the work, and end. A parent that died lets it end after the chunk in hand, too."""
        status = 1
        try:
            tick, asked = os.getppid(), []
            signal.signal(signal.SIGTERM, lambda *_: asked.append(True))
            signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches tick as well, which tells us
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPPERS)
            signal.alarm(MOST_SECONDS)
            stopping.end_when(lambda: bool(asked) or os.getppid() != tick)
            self.work()
            status = 0
        except (OperationalError, InterfaceError) as error:
            logger.error("Tick's %s came to nothing: %s", self.name, str(error).strip())
        except Exception:
            logger.exception("Tick's %s failed.", self.name)
        finally:
            os._exit(status)  # whatever the parent meant to do at its end is none of our business
