"""A real HTTP server on loopback that takes alarms, or answers as a test tells it to."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Posted:
    """A request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Receiver:
    """What arrived, and what the next requests are answered (status, headers, body); then 200.

    `hangs`: nobody is answered until it is set. `drips`: every answer comes byte by byte, and never ends.
    """

    port: int = 0
    posted: list[Posted] = field(default_factory=list)
    answers: list[tuple[int, dict[str, str], bytes]] = field(default_factory=list)
    hangs: threading.Event | None = None
    drips: bool = False
    is_over: threading.Event = field(default_factory=threading.Event)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/alarms/open-sesame"

    def told(self) -> list[tuple[str, str]]:
        """Event and key of each."""
        return [(posted.json["event"], posted.json.get("key", "")) for posted in self.posted]


@contextmanager
def receiver() -> Iterator[Receiver]:
    """A receiver for a while."""
    here = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            here.posted.append(Posted(self.path, {k.lower(): v for k, v in self.headers.items()}, body))
            if here.hangs is not None:
                here.hangs.wait(60)
            while here.drips and not here.is_over.wait(0.05):
                self.wfile.write(b"H")
            status, headers, answer = here.answers.pop(0) if here.answers else (200, {}, b"ok")
            self.send_response(status)
            for name, value in {"Content-Length": str(len(answer)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

        do_GET = do_POST  # noqa: N815

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Whoever hung up hung up."""

    server = Server(("127.0.0.1", 0), Handler)
    here.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield here
    finally:
        here.is_over.set()
        if here.hangs is not None:
            here.hangs.set()
        server.shutdown()
        thread.join()
        server.server_close()
