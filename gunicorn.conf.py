"""What gunicorn reads by itself when it is started in this folder: `gunicorn ivy.wsgi:application`."""

import os
import sys
from pathlib import Path
from typing import Any

from ivy.doors import web_logs

# Threads, as some pages take their time: what a resume would do after days of a halt, the check of a large price list.
# A worker of gunicorn's without threads is ended when a request takes longer than half a minute, and the page with it.
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
threads = 4

# Nothing of Django is loaded here: after a reload, workers must find what is on the disk then.
logger_class = (
    web_logs.PlainLogger
    if os.environ.get("DEBUG", "").strip().lower() in {"true", "yes", "on", "1"}
    else web_logs.JsonLogger
)
metrics_folder = os.environ.get("PROMETHEUS_MULTIPROC_DIR", "")


def on_starting(_server: Any) -> None:
    """Forget the request metrics of earlier processes."""
    if metrics_folder:
        for file in Path(metrics_folder).glob("*.db"):
            file.unlink(missing_ok=True)


def post_fork(_server: Any, _worker: Any) -> None:
    """Let the worker load Ivy's modules anew: what this file has loaded may be older than the release it serves."""
    for name in [name for name in sys.modules if name.partition(".")[0] in {"ivy", "billing"}]:
        del sys.modules[name]


def child_exit(_server: Any, worker: Any) -> None:
    """Take the gauges of a worker that has ended out of the sums."""
    if metrics_folder:
        from prometheus_client.multiprocess import mark_process_dead  # noqa: PLC0415 - it reads the folder on import

        mark_process_dead(worker.pid)
