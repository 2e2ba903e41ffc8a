"""How a file gets to where the remote keeps artifacts, and how what is there is looked at. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import quote

from localtrack_sync.protocol.effects import Request, Upload
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.request import API, get
from localtrack_sync.protocol.steps import Ask, Desk, Part, read
from localtrack_sync.protocol.verdict import Judged, Verdict
from localtrack_sync.uploads.artifact_root import Root, Way, misplaced, quoted, root_of
from localtrack_sync.uploads.parts import put_in_parts
from localtrack_sync.uploads.signed import Address, Signer

ARTIFACTS = "/api/2.0/mlflow-artifacts/artifacts"
BYTES = (("Content-Type", "application/octet-stream"),)
#: Bytes that one signed address takes: 5,000 MiB on Azure (Put Blob), 5 GiB on S3.
ONE_ADDRESS = 5000 << 20
#: HTTP 500: an answer that asking again does not change.
BROKEN = 500
#: Tries to read a file back.
REREAD_TRIES = 3
#: Pages of one directory that are read.
PAGES = 1000
#: Files of one directory that are looked at.
MOST_FILES = 1_000_000


@dataclass(frozen=True, slots=True)
class Item:
    """A file on its way.

    Attributes:
        path: below the root.
        local_sha256, local_size: of the file here.
        sha256, size: of what is sent.
        body: what is sent, when it is not the file as it is.
    """

    path: str
    local_sha256: str
    local_size: int
    sha256: str
    size: int
    upload: Upload | None = None
    body: bytes | None = None

    def request(self, method: str, path: str = "", url: str = "", headers: tuple[tuple[str, str], ...] = ()) -> Request:
        """A request that carries it."""
        return Request(method, path, self.body, url=url, headers=(*BYTES, *headers), upload=self.upload)


@dataclass(slots=True)
class Outlet:
    """The way to one artifact root.

    Attributes:
        remote_id: run or model id on the remote.
        known: sizes that a storage told after it had taken a file.
    """

    desk: Desk
    ledger: Ledger
    root: Root
    remote_id: str
    known: dict[str, int]

    def put(self, item: Item) -> Part[Judged]:
        """Send a file, once; what came of it."""
        match self.root.way:
            case Way.PROXY:
                return (yield from self._through_server(item))
            case Way.SIGNED:
                return (yield from self._signed(item))
            case Way.CLOUD:
                return (yield from self._cloud(item))
            case _:
                return (yield from self._store(item, f"file://{quoted(self.root.base)}/{quoted(item.path)}"))

    def _cloud(self, item: Item) -> Part[Judged]:
        """To an address that the server signs, if it does; else by the storage's own library."""
        if not self.desk.unsigned and item.size <= ONE_ADDRESS:
            judged = yield from self._signed(item)
            if (
                judged.status == BROKEN
            ):  # a server that lacks the storage's library itself, for one: there is a second way
                self.desk.unsigned = judged.words
            if not self.desk.unsigned:
                return judged
        stored = yield from self._store(item, f"{self.root.base}/{quoted(item.path)}")
        if stored.verdict is Verdict.FORBIDDEN and self.desk.unsigned:
            return replace(stored, words=f"{stored.words} (the server signs no address: {self.desk.unsigned[:80]})")
        return stored

    def _through_server(self, item: Item) -> Part[Judged]:
        settings = self.desk.settings
        if self.desk.multipart and item.upload is not None and item.size >= settings.multipart_from:
            judged = yield from put_in_parts(self.desk, self.ledger, self.root.base, item.upload)
            if judged is not None:
                return judged
        request = item.request("PUT", f"{ARTIFACTS}/{quoted(self.root.base, item.path)}")
        answer: Judged = yield Ask(request, repeat=True, optional=True, empty=True)
        return answer

    def _signed(self, item: Item) -> Part[Judged]:
        if item.size > ONE_ADDRESS:
            words = f"a signed address takes at most {ONE_ADDRESS:,} bytes"
            return Judged(Verdict.TOO_LARGE, {}, words)
        signer = Signer(self.desk, self.ledger.scope, self.remote_id)
        address = yield from signer.address(item.path)
        if not isinstance(address, Address):
            return address
        return (yield from signer.put(address, item.request("PUT"), item.size))

    def _store(self, item: Item, url: str) -> Part[Judged]:
        answer: Judged = yield Ask(replace(item.request("STORE", url=url), headers=()), optional=True)
        if answer.verdict is Verdict.OK:
            self.known[item.path] = int(answer.body.get("size", -1))
        return answer

    def sizes(self, directory: str) -> Part[dict[str, int] | str]:
        """Name -> bytes of the files in a directory below the root ("": the root); words when it cannot be read."""
        found: dict[str, int] = {}
        token = ""
        for _ in range(PAGES):
            judged = yield from read(self._listing(directory, token))
            if judged.verdict is Verdict.GONE:
                break
            if judged.verdict is not Verdict.OK:
                return self._told(directory) or f"its artifacts cannot be listed: {judged.words}"
            found |= _files(judged.body)
            before, token = token, str(judged.body.get("next_page_token") or "")
            if not token or token == before:
                break
            if len(found) > MOST_FILES:
                return f"its artifacts cannot be listed: more than {MOST_FILES:,} files in one directory"
        return found

    def _told(self, directory: str) -> dict[str, int]:
        """Sizes that the storage told by itself."""
        if self.root.way is not Way.CLOUD:
            return {}
        told = [(path.rpartition("/"), size) for path, size in self.known.items()]
        return {name: size for (where, _, name), size in told if where == directory}

    def _listing(self, directory: str, token: str) -> Request:
        if self.root.way is Way.PROXY:
            path = "/".join(part for part in (self.root.base, directory) if part)
            return Request("GET", ARTIFACTS, query=(("path", path),))
        query = {"page_token": token} if token else {}
        if self.ledger.scope == "model":
            query |= {"artifact_directory_path": directory} if directory else {}
            return get(f"logged-models/{quote(self.remote_id, safe='')}/artifacts/directories", **query)
        query |= {"run_id": self.remote_id} | ({"path": directory} if directory else {})
        return Request("GET", f"{API}/artifacts/list", query=tuple(query.items()))

    def fetch(self, path: str) -> Part[dict[str, Any]]:
        """A JSON object among the files; {} when there is none, or it cannot be read this way."""
        if self.root.way is not Way.PROXY:
            return {}
        request = Request("GET", f"{ARTIFACTS}/{quoted(self.root.base, path)}")
        judged: Judged = yield Ask(request, repeat=True, optional=True)
        return judged.body if judged.verdict is Verdict.OK else {}

    def reread(self, path: str, size: int) -> Part[tuple[int, str] | str]:
        """Read a file back, whole, and hash it: (bytes, SHA-256); words when it cannot be read.

        Args:
            path: below the root.
            size: bytes that it should have.
        """
        request = self._download(path)
        if request is None:
            return "this version cannot read files back from addresses that the remote signs"
        # Not as a read that is repeated until it succeeds: a server that cannot read its own storage says 500 for ever.
        words = ""
        for _ in range(REREAD_TRIES):
            asked = Ask(replace(request, hashed=size), repeat=True, expects=("sha256",), optional=True)
            judged: Judged = yield asked
            if judged.verdict is Verdict.OK:
                return int(judged.body["size"]), str(judged.body["sha256"])
            words = judged.words
            if judged.verdict is not Verdict.UNKNOWN:
                break
        return words

    def _download(self, path: str) -> Request | None:
        """A request for a file's bytes; for roots elsewhere the server fetches them, as for its own pages."""
        if self.root.way is Way.PROXY:
            return Request("GET", f"{ARTIFACTS}/{quoted(self.root.base, path)}")
        if self.root.way is Way.SIGNED:
            return None
        if self.ledger.scope == "model":
            where = f"/ajax-api/2.0/mlflow/logged-models/{quoted(self.remote_id)}/artifacts/files"
            return Request("GET", where, query=(("artifact_file_path", path),))
        return Request("GET", "/get-artifact", query=(("path", path), ("run_uuid", self.remote_id)))


def outlet(desk: Desk, ledger: Ledger, uri: str, remote_id: str) -> Outlet | str:
    """The way to an artifact root, or why there is none."""
    root = root_of(uri, desk.settings.netloc)
    if root.way is Way.NONE:
        return root.reason
    if root.way is Way.FILE and not root.base:
        return f"the remote names {uri!r} as its artifact root"
    if reason := misplaced(root, remote_id):
        return reason
    return Outlet(desk, ledger, root, remote_id, {})


def _files(body: dict[str, Any]) -> dict[str, int]:
    """Names and sizes in a listing; numbers may come as text, an empty file without its size."""
    files = [one for one in body.get("files") or () if isinstance(one, dict) and not one.get("is_dir")]
    return {str(one.get("path", "")).rpartition("/")[2]: int(one.get("file_size") or 0) for one in files}
