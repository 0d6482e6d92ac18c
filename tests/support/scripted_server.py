"""An HTTP server on loopback that answers as it is told, for what no real S3 server does on demand.

Each request takes the next answer of the script; a request without one gets 599, which fails the
test's expectations. What was asked is kept for the test to look at.
"""

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """One answer. ``declared_length`` None: the body's own; ``delay_seconds`` before anything."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    declared_length: int | None = None
    delay_seconds: float = 0.0


def s3_error(status: int, code: str, message: str = "", **headers: str) -> Answer:
    """S3's way to say no; underscores in a header's name stand for hyphens."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>{message}</Message></Error>"
    return Answer(
        status=status,
        body=body.encode(),
        headers={
            "content-type": "application/xml",
            **{name.replace("_", "-"): value for name, value in headers.items()},
        },
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What a client asked; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


class ScriptedServer(ThreadingHTTPServer):
    """The server; ``requests`` are those it got, in order."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: deque[Answer] = deque()
        self.requests: list[Request] = []

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.server_address[1]}"


@contextlib.contextmanager
def scripted_server(*answers: Answer) -> Iterator[ScriptedServer]:
    """A running server with a script, to which a test may add."""
    with ScriptedServer() as server:
        server.answers.extend(answers)
        thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    # One answer for a connection: a body that ends early can then be told from one that hangs.
    protocol_version = "HTTP/1.1"

    def _answer(self) -> None:
        server = cast("ScriptedServer", self.server)
        length = int(self.headers.get("content-length", "0"))
        server.requests.append(
            Request(
                method=self.command,
                path=self.path,
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(length),
            )
        )
        answer = server.answers.popleft() if server.answers else Answer(status=599)
        time.sleep(answer.delay_seconds)
        self.close_connection = True
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        declared = len(answer.body) if answer.declared_length is None else answer.declared_length
        self.send_header("content-length", str(declared))
        self.send_header("connection", "close")
        self.end_headers()
        if self.command != "HEAD":
            with contextlib.suppress(ConnectionError):
                self.wfile.write(answer.body)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _answer  # noqa: N815 - http.server's names
