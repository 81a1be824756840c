"""gunicorn's own lines, in the form of all others. `gunicorn.conf.py` names these classes."""

from datetime import timedelta
from typing import Any

from gunicorn.glogging import Logger

from ivy import logs


class JsonLogger(Logger):
    """For production. Its access log, where asked for, has method, path, status and seconds: no client, no query."""

    as_json = True

    def setup(self, cfg: Any) -> None:
        super().setup(cfg)
        for log in (self.error_log, self.access_log):
            for handler in log.handlers:
                handler.setFormatter(logs.formatter(as_json=self.as_json))

    def access(self, resp: Any, req: Any, environ: dict[str, Any], request_time: timedelta) -> None:
        if not self.access_log_enabled:
            return
        status = int(str(resp.status).split(maxsplit=1)[0])
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        seconds = round(request_time.total_seconds(), 3)
        self.access_log.info(
            "%s %s: %d", method, path, status,
            extra={"method": method, "path": logs.scrubbed(path), "status_code": status, "seconds": seconds},
        )  # fmt: skip


class PlainLogger(JsonLogger):
    """For development."""

    as_json = False
