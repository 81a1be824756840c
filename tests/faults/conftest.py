"""Fault tests run beside each other, since they mostly wait; what needs the servers to itself is marked `alone`."""

import fcntl
import os
from collections.abc import Generator

import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Share the servers with the other processes of pytest-xdist, or keep them out, from set-up to clean-up."""
    folder = item.config._tmp_path_factory.getbasetemp()  # type: ignore[attr-defined]
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent  # the one that all processes have in common
    with (folder / "company.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if item.get_closest_marker("alone") else fcntl.LOCK_SH)
        return (yield)
