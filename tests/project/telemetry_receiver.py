"""A server on loopback that takes what Sentry and OpenTelemetry send, and keeps it; or takes the call and is silent."""

import gzip
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import brotli
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

UNPACK = {"gzip": gzip.decompress, "br": brotli.decompress}
"""Sentry's library packs as tightly as what is installed lets it."""


@dataclass
class Receiver:
    """What came, by path, and where it listens."""

    port: int = 0
    came: list[tuple[str, bytes]] = field(default_factory=list)

    @property
    def dsn(self) -> str:
        return f"http://0123456789abcdef0123456789abcdef@127.0.0.1:{self.port}/1"

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def events(self) -> list[dict[str, Any]]:
        """Sentry's events: an envelope is a header, and then a header and a body for each item."""
        found = []
        for path, body in list(self.came):
            if path.endswith("/envelope/"):
                lines = body.splitlines()[1:]
                for header, item in zip(lines[::2], lines[1::2], strict=False):
                    if json.loads(header).get("type") == "event":
                        found.append(json.loads(item))
        return found

    def spans(self) -> list[Span]:
        """OpenTelemetry's spans."""
        return [
            span
            for path, body in list(self.came)
            if path == "/v1/traces"
            for resource in ExportTraceServiceRequest.FromString(body).resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]


@contextmanager
def receiving(*, is_silent: bool = False) -> Iterator[Receiver]:
    """A receiver that listens; `is_silent`: it never answers, as a server that hangs."""
    receiver = Receiver()
    over = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if encoding := self.headers.get("Content-Encoding"):
                body = UNPACK[encoding](body)
            receiver.came.append((self.path, body))
            if is_silent:
                over.wait(60)
                return
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_address[1]
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    serving.start()
    try:
        yield receiver
    finally:
        over.set()
        server.shutdown()
        server.server_close()
