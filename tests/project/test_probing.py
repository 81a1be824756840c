"""Processes that are forked while a thread looks at the parts."""

import os
import time
from contextlib import ExitStack

import psycopg

from ivy import probing
from ivy.models import Probe, Role
from tests.billing.at_once import meanwhile, real_commits
from tests.faults.processes import another_connection, database_url, wait_until

LOCKED = 1
NOTHING_FOUND = 2
WAITING = """
SELECT FROM pg_locks WHERE relation = 'ivy_probe'::regclass AND NOT granted
    AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
"""


def look_from_a_fork(url: str) -> int:
    """Fork, and look from there what the thread that was left behind had come to; the exit status of the fork."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    status = LOCKED
    try:
        with psycopg.connect(url, autocommit=True, options="-c lock_timeout=1ms") as other:
            has_looked = other.execute("SELECT FROM ivy_probe WHERE part = 'cache'").fetchone() is not None
            status = 0 if has_looked else NOTHING_FOUND
    finally:
        os._exit(status)


@real_commits
def test_a_fork_waits_for_the_end_of_a_look() -> None:
    url = database_url()
    with another_connection() as other, ExitStack() as lock:
        lock.enter_context(other.transaction())
        other.execute("LOCK TABLE ivy_probe IN ACCESS EXCLUSIVE MODE")
        probing.start(Role.TICK)
        try:
            wait_until(lambda: other.execute(WAITING).fetchone() is not None, what="a look under way")
            with meanwhile(lambda: look_from_a_fork(url)) as status:
                time.sleep(0.3)  # a fork that does not wait looks now, and finds the table locked
                lock.close()
                assert status.result(timeout=30) == 0
        finally:
            probing.stop()
    assert not Probe.objects.filter(part="cache").exists()
