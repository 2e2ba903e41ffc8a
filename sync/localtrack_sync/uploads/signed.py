"""Uploads to addresses that the remote signs: MLflow's presigned uploads, Databricks' write credentials. Pure.

The address is the permission: nothing of ours is sent along, and neither the address nor what is asked there says
anything about the remote itself.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from localtrack_sync.protocol.effects import Request
from localtrack_sync.protocol.request import post
from localtrack_sync.protocol.steps import Ask, Desk, Part
from localtrack_sync.protocol.verdict import NOT_EXECUTED, Judged, Verdict

#: Seconds that an address is asked to hold; the longest that MLflow 3.18 gives.
EXPIRATION_S = 3600
AZURE_BLOB, AZURE_LAKE = "AZURE_SAS_URI", "AZURE_ADLS_GEN2_SAS_URI"
#: Verdicts that say that this remote signs nothing for this root.
_NONE = frozenset({Verdict.MISROUTED, Verdict.REFUSED})


@dataclass(frozen=True, slots=True)
class Address:
    """Where to put a file.

    Attributes:
        kind: what storage it is, as Databricks names it.
        headers: that were signed, and must be sent.
    """

    url: str
    kind: str = ""
    headers: tuple[tuple[str, str], ...] = ()


class Signer:
    """Asks for addresses, and puts files there."""

    def __init__(self, desk: Desk, scope: str, remote_id: str) -> None:
        self.desk = desk
        self.scope = scope
        self.remote_id = remote_id

    def address(self, path: str) -> Part[Address | Judged]:
        """An address for a file; else what the remote said, and `desk.unsigned` when it signs nothing."""
        databricks = self.desk.settings.dialect == "databricks"
        request = self._credentials(path) if databricks else self._presigned(path)
        judged: Judged = yield Ask(request, repeat=True, optional=True)
        if judged.verdict in _NONE:
            self.desk.unsigned = judged.words or "no signed uploads"
        if judged.verdict is not Verdict.OK:
            return judged
        found = _credential(judged.body) if databricks else _mlflow(judged.body)
        return found or replace(judged, verdict=Verdict.UNKNOWN, words="an answer without a signed address")

    def _presigned(self, path: str) -> Request:
        key = "model_id" if self.scope == "model" else "run_id"
        return post("artifacts/presigned-upload-url", {key: self.remote_id, "path": path, "expiration": EXPIRATION_S})

    def _credentials(self, path: str) -> Request:
        if self.scope == "model":
            return post(
                f"logged-models/{quote(self.remote_id, safe='')}/artifacts/credentials-for-upload", {"paths": [path]}
            )
        return post("artifacts/credentials-for-write", {"run_id": self.remote_id, "path": [path]})

    def put(self, address: Address, request: Request, size: int) -> Part[Judged]:
        """Put a file (the body of `request`) at an address."""
        extra = tuple(one for one in request.headers if one[0].lower() not in {k.lower() for k, _ in address.headers})
        headers = (*extra, *address.headers)
        if address.kind == AZURE_LAKE:
            return (yield from self._lake(address, replace(request, headers=headers), size))
        if address.kind == AZURE_BLOB or ".blob.core.windows.net" in address.url.partition("?")[0]:
            headers = (*headers, ("x-ms-blob-type", "BlockBlob"))
        return (yield from self._send(replace(request, url=address.url, headers=headers)))

    def _lake(self, address: Address, request: Request, size: int) -> Part[Judged]:
        """A data lake takes a file in three steps: make it, append to it, close it."""
        bare = replace(request, body=None, upload=None)
        made = yield from self._send(replace(bare, url=_with(address.url, "resource=file")))
        if made.verdict is not Verdict.OK:
            return made
        if size:
            target = _with(address.url, "action=append&position=0")
            sent = yield from self._send(replace(request, method="PATCH", url=target))
            if sent.verdict is not Verdict.OK:
                return sent
        end = _with(address.url, f"action=flush&position={size}")
        return (yield from self._send(replace(bare, method="PATCH", url=end)))

    def _send(self, request: Request) -> Part[Judged]:
        judged: Judged = yield Ask(request, empty=True, optional=True)
        if judged.verdict in NOT_EXECUTED or judged.verdict is Verdict.MISROUTED:
            # Not our remote's answer: 401 or 404 there is nothing that a new password here would mend.
            return replace(judged, verdict=Verdict.UNKNOWN)
        return judged


def _with(url: str, query: str) -> str:
    return f"{url}{'&' if '?' in url else '?'}{query}"


def _mlflow(body: dict[str, Any]) -> Address | None:
    url, headers = body.get("presigned_url"), body.get("headers") or {}
    if not isinstance(url, str) or not url or not isinstance(headers, dict):
        return None
    return Address(url, headers=tuple((str(name), str(value)) for name, value in headers.items()))


def _credential(body: dict[str, Any]) -> Address | None:
    found = body.get("credential_infos") or body.get("credentials") or [{}]
    one = found[0].get("credential_info", found[0]) if isinstance(found[0], dict) else {}
    url = one.get("signed_uri")
    if not isinstance(url, str) or not url:
        return None
    pairs = [h for h in one.get("headers") or () if isinstance(h, dict)]
    headers = tuple((str(h.get("name", "")), str(h.get("value", ""))) for h in pairs if h.get("name"))
    return Address(url, str(one.get("type") or ""), headers)
