"""Looks at remotes: reads only, each in a thread of its own, and none for longer than it may take.

Requests are GETs, and searches that MLflow wants as POST. Where a login has to fetch a token first (OAuth of
Databricks), that is one POST to where tokens come from, as a replay would send it.
"""

from __future__ import annotations

import random
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

from localtrack.errors import CredentialError, LocaltrackError
from localtrack_sync.checkup import proxies
from localtrack_sync.checkup.remote_look import Answered, Contact, RemoteLook, Trouble
from localtrack_sync.delivery.remote_job import remote_job
from localtrack_sync.engine.slot import understand
from localtrack_sync.protocol.effects import Failure, Load, Outcome, Request, Save
from localtrack_sync.protocol.jobs import Progress, ReplaySettings
from localtrack_sync.protocol.records import RemoteFacts
from localtrack_sync.protocol.request import PROBE, search_experiments
from localtrack_sync.protocol.steps import Ask, Desk
from localtrack_sync.protocol.verdict import TRANSIENT, Verdict, judge
from localtrack_sync.remote.credentials import Credential, CredentialSource, Login, NoTokenYet
from localtrack_sync.remote.remotes import Address
from localtrack_sync.remote.tls import authorities_in, is_unchecked, tls_from
from localtrack_sync.remote.transport import Transport, TransportSettings
from localtrack_sync.shell.session import login_of, mlflow_workspace

_SECRETS = ("MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_PASSWORD", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_SECRET")
#: Bytes of a reply; nothing that is asked here has a long answer, and a captive portal may send what it likes.
_REPLY_BYTES = 1 << 20
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Looking:
    """How to look at remotes.

    Attributes:
        environ: for credentials, TLS and proxies.
        transport: bounds of a request, before `seconds`.
        seconds: that each remote may take in all.
        offline: contact nobody.
        clock: monotonic seconds.
        wall: seconds since the epoch.
    """

    environ: Mapping[str, str] = field(repr=False)
    transport: TransportSettings
    seconds: float = 5.0
    offline: bool = False
    clock: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time


def look_at_remotes(addresses: Sequence[Address], how: Looking) -> list[RemoteLook]:
    """What there is to see of each remote, in the same order; all at once, and back within `how.seconds`."""
    lookers = [_Looker(address, how) for address in addresses]
    until = how.clock() + how.seconds
    for looker in lookers:
        looker.start()
    return [looker.result(max(0.0, until - how.clock())) for looker in lookers]


def secrets_in(environ: Mapping[str, str]) -> list[str]:
    """What the environment holds that must not be shown."""
    return [environ[name].strip() for name in _SECRETS if environ.get(name, "").strip()] + proxies.passwords(environ)


class _Looker:
    """One remote and the thread that asks it. What is known so far is there at any moment."""

    def __init__(self, address: Address, how: Looking) -> None:
        remote = address.remote
        contact = Contact.OFFLINE if how.offline else Contact.ASKED
        self._address = address
        self._how = how
        self._look = RemoteLook(
            remote.url,
            remote.workspace,
            remote.dialect,
            contact,
            proxy=proxies.proxy_for(remote.url, how.environ),
            seconds=how.seconds,
            ended=False,
            secrets=(address.userinfo[1],) if address.userinfo is not None else (),
        )
        self._transport: Transport | None = None
        self._error: BaseException | None = None
        # A daemon: name resolution cannot be cut, and must not hold up the end of the process.
        self._thread = threading.Thread(target=self._run, name="localtrack-doctor", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def result(self, seconds: float) -> RemoteLook:
        """What is known after at most so many seconds.

        Raises:
            Exception: whatever was not expected.
        """
        self._thread.join(seconds)
        if self._thread.is_alive() and self._transport is not None:
            self._transport.abort()
        look = self._look
        if self._error is not None:
            raise self._error
        return look

    def _know(self, **facts: Any) -> None:
        self._look = replace(self._look, **facts)

    def _run(self) -> None:
        try:
            self._ask_everything()
        except BaseException as error:  # noqa: BLE001  who waits for us raises it
            self._error = error
        finally:
            self._know(ended=True)
            if self._transport is not None:
                self._transport.close()

    def _ask_everything(self) -> None:
        login = self._prepare()
        if login is None or self._how.offline or not self._log_in(login) or not self._resolve():
            return
        outcome = self._first()
        if isinstance(outcome, Failure):
            return
        verdict = judge(outcome).verdict
        if verdict is Verdict.FORBIDDEN:
            outcome = self._send(search_experiments(1))
            self._know(listing=outcome)
            verdict = judge(outcome).verdict
        if verdict not in TRANSIENT and verdict not in (Verdict.FORBIDDEN, Verdict.MISROUTED):
            self._know(**self._about())

    # --- before anything is sent ---

    def _prepare(self) -> Login | None:
        """Settings and login, as far as they concern this machine."""
        how, address = self._how, self._address
        try:
            secure = address.remote.url.startswith("https:")
            tls: ssl.SSLContext | bool = tls_from(how.environ)
            if secure:
                self._know(authorities=authorities_in(how.environ), unchecked=is_unchecked(how.environ))
            settings = replace(
                how.transport,
                connect_s=min(how.transport.connect_s, how.seconds),
                total_s=min(how.transport.total_s, how.seconds),
                max_reply_bytes=_REPLY_BYTES,
                workspace=mlflow_workspace(address),
            )
            login = login_of(address, how.environ, settings, tls)
            self._name_source(login)
            if not how.offline:
                self._transport = Transport(address.remote, lambda: self._credential(login), settings, tls)
            return login
        except CredentialError as error:
            self._know(login=Trouble(error.message, error.hint or _LOOK))
        except LocaltrackError as error:
            self._know(settings=Trouble(error.message, error.hint or _LOOK))
        return None

    def _name_source(self, login: Login) -> None:
        """Where the credentials come from, without asking anybody."""
        if isinstance(login, CredentialSource):
            self._keep(login.current())
        elif self._address.databricks is not None:
            self._know(source=f"Databricks, {self._address.databricks.source}")

    def _log_in(self, login: Login) -> bool:
        try:
            login.check()
            self._credential(login)
        except NoTokenYet as error:
            self._know(no_token=f"{error.reason}.")
            return False
        except CredentialError as error:
            self._know(login=Trouble(error.message, error.hint or _LOOK))
            return False
        return True

    def _credential(self, login: Login) -> Credential:
        return self._keep(login.current())

    def _keep(self, credential: Credential) -> Credential:
        """Remember where a credential comes from, and what must not be shown of it."""
        given = [credential.header or "", *(value for _, value in credential.headers)]
        secret = [part for value in given for part in (value, value.partition(" ")[2]) if part]
        workspace = self._look.workspace  # is sent in a header of the login, and no secret
        kept = tuple(dict.fromkeys([*self._look.secrets, *(one for one in secret if one != workspace)]))
        self._know(source=credential.source if given[0] else "", secrets=kept)
        return credential

    def _resolve(self) -> bool:
        if self._look.proxy:
            return True  # the proxy does that
        parts = urlsplit(self._look.url)
        try:
            socket.getaddrinfo(parts.hostname, parts.port or _PORTS[parts.scheme], type=socket.SOCK_STREAM)
        except OSError as error:
            self._know(no_name=f"{parts.hostname}: {error.strerror or error}.")
            return False
        return True

    # --- asking ---

    def _send(self, request: Request) -> Outcome:
        assert self._transport is not None, "nothing is sent offline"
        return self._transport.send(request)

    def _first(self) -> Outcome:
        sent, began = self._how.wall(), self._how.clock()
        outcome = self._send(PROBE)
        seconds = self._how.clock() - began
        self._know(first=Answered(outcome, sent, sent + seconds, seconds))
        return outcome

    def _about(self) -> dict[str, Any]:
        """What a replay would ask before it sends anything (`remote_job`), asked in the same way, once each."""
        desk = Desk(ReplaySettings(dialect=self._look.dialect), random.random, Progress())
        job = remote_job(desk)
        found: RemoteFacts | None = None
        answer: Any = None
        while True:
            try:
                wish = job.send(answer)
            except StopIteration:
                return {"about": found, "multipart": desk.multipart}
            answer = None
            if isinstance(wish, Load):
                answer = ()
            elif isinstance(wish, Save):
                found = next((record for record in wish.puts if isinstance(record, RemoteFacts)), None)
            elif isinstance(wish, Ask):
                outcome = self._send(wish.request)
                answer = understand(judge, wish, outcome)
                if isinstance(outcome, Failure):
                    return {}  # half of the answers would say too little


_LOOK = "Look at docs/settings.md."
