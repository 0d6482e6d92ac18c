"""An HTTP proxy on loopback before a real S3 server, which spoils chosen requests and answers.

It passes everything on as it is, the Host header included, so that signatures stay valid. Each
planned fault counts how often it happened, and every request is remembered.
"""

import contextlib
import http.client
import socket
import struct
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import cast
from urllib.parse import urlsplit


class Damage(Enum):
    """What happens to one exchange."""

    REFUSE = "an error is answered, and the server never sees the request"
    RESET = "the connection is reset before the server sees the request"
    LOSE_ANSWER = "the server carries the request out, and the connection is reset"
    HANG = "the server carries the request out, and no answer comes"
    CUT_BODY = "the answer's body ends in the middle"
    CORRUPT_BODY = "one byte of the answer's body is another"
    OLD_BODY = "the answer to the last read of an object is given instead (a cache)"
    REDIRECT = "the answer sends the client to another host"
    HIDE_LOCK = "the answer says nothing of a lock"
    HIDDEN_ERROR = "an error is answered under status 200"


@dataclass(slots=True, kw_only=True)
class WireFault:
    """One planned fault: the ``nth`` request that ``method`` and ``part`` of the URL fit, ff."""

    damage: Damage
    method: str
    part: str = ""
    nth: int = 1
    times: int | None = 1
    status: int = 503
    code: str = "SlowDown"
    seen: int = 0
    happened: int = 0

    def due(self, method: str, path: str) -> bool:
        """Count a request, and tell whether the fault is due for it."""
        if method != self.method or self.part not in path:
            return False
        self.seen += 1
        return self.nth <= self.seen and (self.times is None or self.seen < self.nth + self.times)


@dataclass(slots=True)
class _Answer:
    status: int
    headers: list[tuple[str, str]]
    body: bytes
    declared_length: int | None = None


class FaultyProxy(ThreadingHTTPServer):
    """The proxy; ``other_host`` is where redirects lead, and ``strayed`` counts who followed."""

    daemon_threads = True

    def __init__(self, target: str, hang_seconds: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = urlsplit(target).netloc
        self.hang_seconds = hang_seconds
        self.faults: list[WireFault] = []
        self.requests: list[str] = []
        self.strayed = 0
        self.other_host = ""
        self.last_read: _Answer | None = None
        self.guard = threading.Lock()

    @property
    def url(self) -> str:
        """Its endpoint."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def verify_all_faults_happened(self) -> None:
        """Fail the test if a planned fault did not happen."""
        idle = [fault for fault in self.faults if fault.happened < (fault.times or 1)]
        assert not idle, f"these faults did not happen: {idle}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that gave up is no error of ours."""


@contextlib.contextmanager
def faulty_proxy(target: str, *, hang_seconds: float = 3.0) -> Iterator[FaultyProxy]:
    """A running proxy before ``target``, and another host that it can redirect to."""
    with FaultyProxy(target, hang_seconds) as proxy, _Other(proxy) as other:
        proxy.other_host = f"http://127.0.0.1:{other.server_address[1]}"
        threads = [
            threading.Thread(target=server.serve_forever, args=(0.01,)) for server in (proxy, other)
        ]
        for thread in threads:
            thread.start()
        try:
            yield proxy
        finally:
            proxy.shutdown()
            other.shutdown()
            for thread in threads:
                thread.join()


class _Other(ThreadingHTTPServer):
    """The host that must never be asked."""

    daemon_threads = True

    def __init__(self, proxy: FaultyProxy) -> None:
        super().__init__(("127.0.0.1", 0), _Stray)
        self.proxy = proxy


class _Stray(BaseHTTPRequestHandler):
    def _answer(self) -> None:
        cast("_Other", self.server).proxy.strayed += 1
        self.send_error(404)

    do_GET = do_PUT = do_HEAD = do_POST = _answer  # noqa: N815 - http.server's names

    def log_message(self, *_: object) -> None:
        """Nothing."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _exchange(self) -> None:
        proxy = cast("FaultyProxy", self.server)
        self.close_connection = True
        length = int(self.headers.get("content-length", "0"))
        body = self.rfile.read(length)
        with proxy.guard:
            proxy.requests.append(f"{self.command} {self.path}")
            due = [fault for fault in proxy.faults if fault.due(self.command, self.path)]
            for fault in due:
                fault.happened += 1
        damage = {fault.damage for fault in due}
        if Damage.RESET in damage:
            self._reset()
        elif Damage.REFUSE in damage:
            self._send(_error(due[0].status, due[0].code))
        elif Damage.HIDDEN_ERROR in damage:
            self._send(_error(200, "InternalError"))
        elif Damage.REDIRECT in damage:
            answer = _error(due[0].status, "TemporaryRedirect")
            answer.headers.append(("location", proxy.other_host + self.path))
            self._send(answer)
        else:
            self._pass_on(proxy, body, damage)

    do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _exchange  # noqa: N815 - as above

    def _pass_on(self, proxy: FaultyProxy, body: bytes, damage: set[Damage]) -> None:
        answer = self._ask(proxy.target, body)
        is_read = self.command == "GET" and answer.status in {200, 206} and "list" not in self.path
        if Damage.OLD_BODY in damage and proxy.last_read is not None:
            answer = proxy.last_read
        elif is_read:
            proxy.last_read = answer
        if Damage.LOSE_ANSWER in damage:
            self._reset()
            return
        if Damage.HANG in damage:
            time.sleep(proxy.hang_seconds)
            self._reset()
            return
        if Damage.CORRUPT_BODY in damage:
            middle = len(answer.body) // 2
            changed = answer.body[middle] ^ 1
            answer.body = answer.body[:middle] + bytes([changed]) + answer.body[middle + 1 :]
        if Damage.CUT_BODY in damage:
            answer.declared_length = len(answer.body)
            answer.body = answer.body[: len(answer.body) // 2]
        if Damage.HIDE_LOCK in damage:
            answer.headers = [
                header for header in answer.headers if not header[0].startswith("x-amz-object-lock")
            ]
        self._send(answer)

    def _ask(self, target: str, body: bytes) -> _Answer:
        connection = http.client.HTTPConnection(target, timeout=30)
        try:
            connection.putrequest(
                self.command, self.path, skip_host=True, skip_accept_encoding=True
            )
            for name, value in self.headers.items():
                if name.lower() not in {"connection", "expect"}:
                    connection.putheader(name, value)
            connection.endheaders(body or None)
            response = connection.getresponse()
            declared = response.headers.get("content-length")
            return _Answer(
                status=response.status,
                headers=[
                    (name.lower(), value)
                    for name, value in response.headers.items()
                    if name.lower() not in {"content-length", "transfer-encoding", "connection"}
                ],
                body=response.read(),
                declared_length=None if declared is None else int(declared),
            )
        finally:
            connection.close()

    def _send(self, answer: _Answer) -> None:
        length = len(answer.body) if answer.declared_length is None else answer.declared_length
        with contextlib.suppress(ConnectionError):
            self.send_response_only(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("content-length", str(length))
            self.send_header("connection", "close")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(answer.body)

    def _reset(self) -> None:
        """End the connection with RST, as a broken network does."""
        linger = struct.pack("ii", 1, 0)
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.connection.close()

    def log_message(self, *_: object) -> None:
        """Nothing."""


def _error(status: int, code: str) -> _Answer:
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>planned</Message></Error>"
    return _Answer(status, [("content-type", "application/xml")], body.encode())
