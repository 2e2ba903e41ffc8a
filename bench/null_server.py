"""A remote that answers at once: enough of MLflow's API for a replay, none of its work. `python -m bench.null_server`.

It counts points, and for runs that are called "live ..." it notes how old each point was when it arrived. It listens
on 127.0.0.1, prints its port, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
import urllib.request
from types import TracebackType
from typing import Any, final

#: Beginning of the ids of runs whose points are looked at.
LIVE = "11fe"


class _Remote:
    def __init__(self) -> None:
        self.runs: dict[str, dict[str, Any]] = {}
        self.points = self.requests = self.ended = 0
        self.first_at = self.last_at = 0.0
        #: Milliseconds from the time of a point to its arrival, by arrival.
        self.ages: list[tuple[float, float]] = []

    def answer(self, path: str, body: bytes) -> tuple[int, Any]:  # noqa: PLR0911 - one for each route
        """Status and content of the answer to a request."""
        self.requests += 1
        name = path.partition("?")[0].rpartition("/mlflow/")[2]
        if name == "runs/log-batch":
            return self._batch(body)
        if name == "runs/create":
            return self._create(json.loads(body))
        if name == "runs/update":
            self.ended += b"FINISHED" in body
            return 200, {}
        if name == "runs/get":
            return 200, {"run": self.runs.get(path.rpartition("run_id=")[2], {})}
        if name == "server-info":
            return 200, {"store_type": "SqlStore"}
        if name == "experiments/create":
            return 200, {"experiment_id": "1"}
        if name == "experiments/get-by-name":
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "none"}
        return 200, {}

    def _batch(self, body: bytes) -> tuple[int, Any]:
        now = time.time()
        self.points += body.count(b'"timestamp":')
        self.first_at = self.first_at or now
        self.last_at = now
        if LIVE.encode() in body[:60]:
            self.ages += [(now, 1000 * now - one["timestamp"]) for one in json.loads(body).get("metrics", ())]
        return 200, {}

    def _create(self, asked: dict[str, Any]) -> tuple[int, Any]:
        name = str(asked.get("run_name", ""))
        run_id = f"{LIVE if name.startswith('live') else '0000'}{len(self.runs):028x}"
        info = {"run_id": run_id, "experiment_id": "1", "run_name": name, "status": "RUNNING", "start_time": 1}
        info["lifecycle_stage"] = "active"
        self.runs[run_id] = {"info": info, "data": {"tags": asked.get("tags", [])}}
        return 200, {"run": self.runs[run_id]}

    def told(self) -> dict[str, Any]:
        """What it has seen so far."""
        return {
            "points": self.points, "requests": self.requests, "runs": len(self.runs), "ended": self.ended,
            "first_at": self.first_at, "last_at": self.last_at, "ages": self.ages,
        }  # fmt: skip


class _Connection(asyncio.Protocol):
    """One connection: requests with a Content-Length, one after the other."""

    def __init__(self, remote: _Remote) -> None:
        self._remote = remote
        self._read = bytearray()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        self._read += data
        while (end := self._read.find(b"\r\n\r\n")) >= 0:
            head = bytes(self._read[:end])
            at = head.lower().find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._read) < end + 4 + length:
                return
            body = bytes(self._read[end + 4 : end + 4 + length])
            del self._read[: end + 4 + length]
            path = head.split(b" ", 2)[1].decode()
            if path.endswith("/version"):
                self._send(200, b"3.17.2")
            elif path == "/told":
                self._send(200, json.dumps(self._remote.told()).encode())
            else:
                status, answer = self._remote.answer(path, body)
                self._send(status, json.dumps(answer).encode())

    def _send(self, status: int, body: bytes) -> None:
        assert self._transport is not None
        head = f"HTTP/1.1 {status} x\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        self._transport.write(head.encode() + body)


async def _serve() -> None:
    remote = _Remote()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Connection(remote), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)


@final
class NullServer:
    """The server as a process of its own; a context manager.

    Attributes:
        url: where it is.
    """

    def __enter__(self) -> NullServer:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.null_server"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)

    def told(self) -> dict[str, Any]:
        """What it has seen so far."""
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"{self.url}/told", timeout=30) as reply:
            answer: dict[str, Any] = json.loads(reply.read())
        return answer


if __name__ == "__main__":
    asyncio.run(_serve())
