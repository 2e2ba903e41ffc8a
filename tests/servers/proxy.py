"""A small HTTP proxy in front of a real server that does to each request what a rule says: real sockets, real cuts."""

from __future__ import annotations

import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import BinaryIO, final

from tests.servers.faults import (
    Answer,
    CutBefore,
    CutHalf,
    Drip,
    DropReply,
    Fault,
    Later,
    Pass,
    Slow,
    Truncate,
    Twice,
)

#: Seconds that one forwarded request may take.
UPSTREAM_TIMEOUT = 60.0


@dataclass(frozen=True)
class Seen:
    """One request as it reached the proxy.

    Attributes:
        index: 0, 1, 2, ... in order of arrival at the proxy.
        nth: the same, counted among requests with the same `what`.
        what: method and path below /api/2.0/mlflow/, e.g. "POST runs/log-batch".
        raw: head and body as received.
    """

    index: int
    nth: int
    what: str
    head: bytes
    body: bytes

    @property
    def raw(self) -> bytes:
        """Head and body as received."""
        return self.head + self.body

    def header(self, name: str) -> str | None:
        """A header's value, or None."""
        for line in self.head.decode("latin-1").split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        return None


Rule = Callable[[Seen], Fault]


def always_pass(_: Seen) -> Fault:
    """The rule of a network without faults."""
    return Pass()


def script(*faults: Fault) -> Rule:
    """A rule: the first request gets the first fault, ...; later ones pass."""
    return lambda seen: faults[seen.index] if seen.index < len(faults) else Pass()


def on(what: str, fault: Fault, *, nth: Iterable[int] = (0,)) -> Rule:
    """A rule: the `nth` requests whose name ends with `what` get `fault`; all others pass."""
    chosen = frozenset(nth)
    return lambda seen: fault if seen.what.endswith(what) and seen.nth in chosen else Pass()


def both(first: Rule, second: Rule) -> Rule:
    """A rule: what the first says, and where that is nothing, what the second says."""

    def rule(seen: Seen) -> Fault:
        fault = first(seen)
        return second(seen) if isinstance(fault, Pass) else fault

    return rule


@final
class FaultProxy:
    """The proxy; a context manager. Listens on 127.0.0.1, on the same port for its whole life.

    Args:
        upstream_port: of the real server.
        rule: see below.
        remember: keep all requests in `seen` and `faulted`; they stay empty for a proxy that lives for an hour.

    Attributes:
        rule: asked once for each request, in order of arrival; may be replaced at any time.
        seen: all requests so far.
        faulted: those that did not simply pass.
        requests: how many have come.
        slowest_s: the longest time that the server took for one, in seconds.
    """

    def __init__(self, upstream_port: int, rule: Rule = always_pass, *, remember: bool = True) -> None:
        self.rule = rule
        self.seen: list[Seen] = []
        self.faulted: list[Seen] = []
        self.requests = 0
        self.slowest_s = 0.0
        self._remember = remember
        self._named: Counter[str] = Counter()
        self._upstream_port = upstream_port
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        self._open: set[socket.socket] = set()
        self._timers: list[threading.Timer] = []
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"

    def count(self, what: str) -> int:
        """How many requests so far have a name that ends with `what`."""
        return sum(seen.what.endswith(what) for seen in self.seen)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Within this context nobody listens on the port: connections are refused."""
        _shut(self._listener)
        for connection in list(self._open):
            _shut(connection)
        try:
            yield
        finally:
            self._listener = self._listen(self.port)

    def close(self) -> None:
        """Stop listening, cut what is open, forget what was to be executed later."""
        self._stopping.set()
        _shut(self._listener)
        for connection in list(self._open):
            _shut(connection)
        for timer in self._timers:
            timer.cancel()

    def settle(self) -> None:
        """Wait until all requests that were to be executed later have been."""
        for timer in self._timers:
            timer.join(UPSTREAM_TIMEOUT)

    def __enter__(self) -> FaultProxy:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen(64)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()
        return listener

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._open.add(client)
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        """Answer requests of one connection until it is closed or a fault closes it."""
        try:
            with client.makefile("rb") as stream, suppress(OSError):
                while (message := read_message(stream)) is not None:
                    seen = self._note(*message)
                    fault = self.rule(seen)
                    if self._remember and not isinstance(fault, Pass):
                        self.faulted.append(seen)
                    if not self._act(fault, seen, client):
                        return
        finally:
            self._open.discard(client)
            _shut(client)

    def _note(self, head: bytes, body: bytes) -> Seen:
        method, target = head.split(b" ", 2)[:2]
        path = target.decode("latin-1").partition("?")[0]
        what = f"{method.decode()} {path.removeprefix('/api/2.0/mlflow/')}"
        with self._lock:
            seen = Seen(self.requests, self._named[what], what, head, body)
            self.requests += 1
            self._named[what] += 1
            if self._remember:
                self.seen.append(seen)
        return seen

    def _act(self, fault: Fault, seen: Seen, client: socket.socket) -> bool:
        """Do what the fault says; False closes the connection."""
        if isinstance(fault, CutBefore):
            return False
        if isinstance(fault, CutHalf):
            with socket.create_connection(("127.0.0.1", self._upstream_port), timeout=UPSTREAM_TIMEOUT) as upstream:
                upstream.sendall(seen.head + seen.body[: len(seen.body) // 2])
            return False
        if isinstance(fault, Later):
            timer = threading.Timer(fault.seconds, self._forward_quietly, args=(seen,))
            timer.daemon = True
            self._timers.append(timer)
            timer.start()
            return False
        if isinstance(fault, Answer):
            if fault.forward:
                self._forward(seen)
            client.sendall(_reply(fault))
            return True
        if isinstance(fault, Slow) and self._stopping.wait(fault.seconds):
            return False
        if isinstance(fault, Twice):
            self._forward(seen)
        head, body = self._forward(seen)
        return self._hand_back(fault, head, body, client)

    def _hand_back(self, fault: Fault, head: bytes, body: bytes, client: socket.socket) -> bool:
        if isinstance(fault, DropReply):
            return False
        if isinstance(fault, Truncate):
            client.sendall(head + body[: len(body) // 2])
            return False
        if isinstance(fault, Drip):
            for byte in head + body:
                client.sendall(bytes([byte]))
                if self._stopping.wait(fault.every):
                    return False
            return True
        assert isinstance(fault, Pass | Twice | Slow)
        client.sendall(head + body)
        return True

    def _forward(self, seen: Seen) -> tuple[bytes, bytes]:
        """Send the request to the server on a connection of its own and read the whole reply."""
        began = time.monotonic()
        try:
            with socket.create_connection(("127.0.0.1", self._upstream_port), timeout=UPSTREAM_TIMEOUT) as upstream:
                upstream.sendall(seen.raw)
                with upstream.makefile("rb") as stream:
                    message = read_message(stream)
        finally:
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        if message is None:
            raise OSError("the server closed the connection without a reply")
        return message

    def _forward_quietly(self, seen: Seen) -> None:
        with suppress(OSError):
            self._forward(seen)


def read_message(stream: BinaryIO) -> tuple[bytes, bytes] | None:
    """Head and body of one HTTP message, chunks with their sizes as they came; None at the end of the connection."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        line = stream.readline()
        if not line:
            return None
        head += line
    length = 0
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-length":
            length = int(value)
        if name.strip().lower() == b"transfer-encoding":
            assert value.strip().lower() == b"chunked", "no server sends anything else"
            return head, _chunks(stream)
    return head, stream.read(length)


def _chunks(stream: BinaryIO) -> bytes:
    """A chunked body, framing included (RFC 9112 section 7.1); what of it came, when the connection ends before it."""
    body = b""
    size = -1
    while size != 0 and (line := stream.readline()):
        size = int(line.partition(b";")[0], 16)
        body += line + (stream.read(size + len(b"\r\n")) if size else b"")
    while line := stream.readline():  # trailers, and the empty line that ends them
        body += line
        if line == b"\r\n":
            break
    return body


def _reply(answer: Answer) -> bytes:
    lines = [f"HTTP/1.1 {answer.status} Scripted", f"Content-Type: {answer.content_type}", *answer.headers]
    head = "\r\n".join([*lines, f"Content-Length: {len(answer.body)}", "", ""])
    return head.encode() + answer.body


def _shut(sock: socket.socket) -> None:
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()
