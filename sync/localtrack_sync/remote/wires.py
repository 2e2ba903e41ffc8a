"""Threads that send requests, one per connection: the thread that drives the engine never waits for a socket."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from localtrack_sync.protocol.effects import Outcome, Request, Send

#: What a thread hands back: the job and its outcome, or what went wrong in a way that no engine can handle.
Answer = tuple[int, Outcome | BaseException]


class Carrier(Protocol):
    """What one thread sends with."""

    def send(self, request: Request) -> Outcome:
        """Send a request once and wait for its outcome, within bounds."""

    def abort(self) -> None:
        """Cut the request that is open, from another thread."""

    def close(self) -> None:
        """Let go of what is held."""


class Wires:
    """A fixed number of connections to one remote."""

    def __init__(self, connect: Callable[[], Carrier], count: int) -> None:
        """Start `count` threads; no connection is opened before the first request.

        Args:
            connect: makes the carrier of one thread.
            count: threads.
        """
        self._transports = [connect() for _ in range(count)]
        self._tasks: SimpleQueue[tuple[int, Send] | None] = SimpleQueue()
        # A SimpleQueue, because `wake` is called from a signal handler and its put() may interrupt itself.
        self._answers: SimpleQueue[Answer | None] = SimpleQueue()
        self._threads = [
            # Daemons: a request that cannot be cut (name resolution) must not hold up the end of the process.
            threading.Thread(target=self._work, args=(transport,), name="localtrack-send", daemon=True)
            for transport in self._transports
        ]
        self.open = 0
        for thread in self._threads:
            thread.start()

    def start(self, job: int, send: Send) -> None:
        """Send a request as soon as a connection is free."""
        self.open += 1
        self._tasks.put((job, send))

    def answer(self, timeout_s: float | None) -> Answer | None:
        """The next answer; None after `timeout_s` (None: wait for ever), or when somebody called `wake`."""
        try:
            found = self._answers.get(timeout=timeout_s) if timeout_s != 0 else self._answers.get_nowait()
        except Empty:
            return None
        if found is not None:
            self.open -= 1
        return found

    def wake(self) -> None:
        """Make a waiting `answer` return; safe in a signal handler."""
        self._answers.put(None)

    def abort(self) -> None:
        """Cut all requests that are open; their answers come as usual."""
        for transport in self._transports:
            transport.abort()

    def close(self, timeout_s: float = 5.0) -> None:
        """End the threads; those that hang in name resolution are left behind."""
        for _ in self._threads:
            self._tasks.put(None)
        for thread, transport in zip(self._threads, self._transports, strict=True):
            thread.join(timeout_s)
            if not thread.is_alive():
                transport.close()

    def _work(self, transport: Carrier) -> None:
        while (task := self._tasks.get()) is not None:
            job, send = task
            try:
                answer: Outcome | BaseException = transport.send(send.request)
            except BaseException as error:  # noqa: BLE001  the driving thread raises it
                answer = error
            self._answers.put((job, answer))
