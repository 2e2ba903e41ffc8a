"""What was seen of one remote, as values. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from localtrack_sync.protocol.effects import Outcome
from localtrack_sync.protocol.records import RemoteFacts


class Contact(Enum):
    """Whether a remote was to be asked."""

    ASKED = "asked"
    OFFLINE = "offline"  # --offline
    UNTRUSTED = "untrusted"  # only a journal names it, which was not written by this user
    UNNAMED = "unnamed"  # only a delivery state names it
    UNUSABLE = "unusable"  # the address is none


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why something cannot be used, and what to do about it."""

    message: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """One request and what came of it.

    Attributes:
        sent, received: seconds since the epoch, by this machine's clock.
        seconds: how long it took.
    """

    outcome: Outcome
    sent: float
    received: float
    seconds: float


@dataclass(frozen=True, slots=True)
class RemoteLook:
    """One remote.

    Attributes:
        url: without credentials.
        reason: why it is unusable.
        authorities: what certificates are checked against, "" for http.
        unchecked: certificates are not checked.
        settings: trouble with the settings of TLS, proxy, or with the environment.
        source: where the credentials come from; "" for none, or not known yet.
        login: trouble with the credentials, found here.
        no_token: why no token could be fetched, "".
        proxy: address of the proxy that is used, without credentials; "".
        no_name: why the host's name could not be resolved, "".
        first: the cheap read that is asked first; None: not asked, or no answer in time.
        listing: a list of experiments, asked when the first one was forbidden.
        about: what the server says of itself; None: not asked.
        multipart: it takes large files in parts.
        seconds: how long it was waited for, at most.
        ended: whether all questions were asked in time.
        secrets: what must not be shown; not part of the representation.
    """

    url: str
    workspace: str = ""
    dialect: str = "mlflow"
    contact: Contact = Contact.ASKED
    reason: Trouble | None = None
    authorities: str = ""
    unchecked: bool = False
    settings: Trouble | None = None
    source: str = ""
    login: Trouble | None = None
    no_token: str = ""
    proxy: str = ""
    no_name: str = ""
    first: Answered | None = None
    listing: Outcome | None = None
    about: RemoteFacts | None = None
    multipart: bool = False
    seconds: float = 0.0
    ended: bool = True
    secrets: tuple[str, ...] = field(default=(), repr=False)
