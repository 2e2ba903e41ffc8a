"""A bound on the time of a whole request, held by cutting its connection."""

from __future__ import annotations

import socket
import threading
import time
from contextlib import suppress
from typing import Any


class Deadline:
    """Cuts the connection when a request's time is up: timeouts of single reads cannot see a reply that drips."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._open: threading.Timer | None = None
        self._until = 0.0
        self._cut = False

    @property
    def cut_it(self) -> bool:
        """Whether the last request was cut."""
        return self._cut

    def begin(self, seconds: float) -> None:
        """A request begins, and has `seconds`."""
        timer = self._timer(seconds)
        with self._lock:
            self._open, self._cut = timer, False
            self._until = time.monotonic() + seconds
        timer.start()

    def extend(self, seconds: float) -> None:
        """The request that is open has `seconds` from now."""
        with self._lock:
            self._until = time.monotonic() + seconds

    def _timer(self, seconds: float) -> threading.Timer:
        timer = threading.Timer(seconds, lambda: self._ring(timer))
        timer.daemon = True
        return timer

    def _ring(self, timer: threading.Timer) -> None:
        """The time that a request had at first is up; it may have won more."""
        with self._lock:
            left = self._until - time.monotonic()
            if self._open is not timer:
                return
            if left > 0:
                self._open = self._timer(left)
                self._open.start()
                return
        self._expire(timer)

    def end(self) -> None:
        """The request has ended; from here on nothing cuts the connection."""
        with self._lock:
            timer, self._open = self._open, None
        if timer is not None:
            timer.cancel()

    def abort(self) -> None:
        """Time is up now."""
        with self._lock:
            timer = self._open
        if timer is not None:
            self._expire(timer)

    def trace(self, event: str, info: dict[str, Any]) -> None:
        """Remember the socket of a connection that httpx tells of (its `trace` extension)."""
        if not event.endswith((".connect_tcp.complete", ".start_tls.complete")):
            return
        with self._lock:
            self._socket = info["return_value"].get_extra_info("socket")
            if self._cut:
                self._shut()

    def _expire(self, timer: threading.Timer) -> None:
        with self._lock:
            if self._open is timer:  # else that request has ended, and the connection may serve the next one
                self._cut = True
                self._shut()

    def _shut(self) -> None:
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket's own shutdown: another thread is reading through its TLS object.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
