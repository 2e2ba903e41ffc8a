"""A large file through MLflow's multipart proxy, part by part; a cut costs one part. Pure.

What is there is saved after each part, with the addresses of the others, so that a process that comes after a kill goes
on where the last one was. The hash of the whole is looked at before the parts are put together: nobody can have changed
the file between the first part and the last without being noticed.
"""

from __future__ import annotations

import json
from dataclasses import replace

from localtrack_sync.protocol.effects import Request, Upload
from localtrack_sync.protocol.ledger import Ledger
from localtrack_sync.protocol.records import PartialUpload
from localtrack_sync.protocol.request import encode
from localtrack_sync.protocol.steps import Ask, Desk, Ended, Part, Wait
from localtrack_sync.protocol.verdict import TRANSIENT, Judged, Verdict
from localtrack_sync.uploads.artifact_root import quoted

MPU = "/api/2.0/mlflow-artifacts/mpu"
#: Parts of one upload: what is remembered of each is written with every part.
MOST_PARTS = 100
#: Tries of one part in a row; between them 1, 2, 4 seconds.
TRIES = 4


def put_in_parts(desk: Desk, ledger: Ledger, base: str, upload: Upload) -> Part[Judged | None]:
    """Send a file in parts; None when the server does not take parts after all."""
    carrier = _Parts(desk, ledger, base, upload)
    partial = ledger.partial.get(upload.path)
    if partial is not None and partial.sha256 != upload.sha256:
        yield from carrier.abort(partial)
        partial = None
    if partial is None:
        begun = yield from carrier.begin()
        if not isinstance(begun, PartialUpload):
            return begun
        partial = begun
    for number in range(1, len(partial.addresses) + 1):
        partial = ledger.partial[upload.path]
        if number not in done(partial):
            judged = yield from carrier.part(partial, number)
            if judged.verdict is not Verdict.OK:
                return judged
    return (yield from carrier.complete())


def done(partial: PartialUpload) -> dict[int, str]:
    """Part number -> etag of the parts that are there."""
    return {int(number): etag for number, _, etag in (one.partition("=") for one in partial.etags)}


class _Parts:
    def __init__(self, desk: Desk, ledger: Ledger, base: str, upload: Upload) -> None:
        self.desk = desk
        self.ledger = ledger
        self.upload = upload
        directory, _, self.name = "/".join(part for part in (base, upload.path) if part).rpartition("/")
        self.directory = quoted(directory)

    def _post(self, verb: str, **fields: object) -> Request:
        return Request("POST", f"{MPU}/{verb}/{self.directory}", encode({"path": self.name, **fields}))

    def begin(self) -> Part[PartialUpload | Judged | None]:
        """Begin an upload: the remote names it, and says where its parts go."""
        size, most = self.upload.size, self.desk.settings.part_bytes
        part_bytes = max(most, -(-size // MOST_PARTS))
        count = max(1, -(-size // part_bytes))
        judged: Judged = yield Ask(
            self._post("create", num_parts=count), repeat=True, optional=True, expects=("credentials",)
        )
        if judged.verdict in (Verdict.REFUSED, Verdict.MISROUTED) or judged.status == 501:  # noqa: PLR2004 - HTTP's
            self.desk.multipart = False
            return None
        if judged.verdict is not Verdict.OK:
            return judged
        found = {int(c.get("part_number") or 0): c for c in judged.body["credentials"]}
        whole = all(isinstance(c.get("url"), str) and isinstance(c.get("headers") or {}, dict) for c in found.values())
        if sorted(found) != list(range(1, count + 1)) or not whole:
            return replace(judged, verdict=Verdict.UNKNOWN, words="the remote did not name a place for each part")
        addresses = tuple(
            json.dumps({"url": found[n]["url"], "headers": found[n].get("headers") or {}}) for n in sorted(found)
        )
        partial = PartialUpload(
            self.ledger.scope, self.ledger.scope_id, self.upload.path, self.upload.sha256,
            str(judged.body.get("upload_id") or ""), part_bytes, addresses,
        )  # fmt: skip
        yield from self.ledger.save(partial)
        return partial

    def part(self, partial: PartialUpload, number: int) -> Part[Judged]:
        """Send one part, again when it was cut."""
        where = json.loads(partial.addresses[number - 1])
        offset = (number - 1) * partial.part_bytes
        piece = replace(self.upload, offset=offset, length=min(partial.part_bytes, self.upload.size - offset))
        request = Request(
            "PUT", "", url=where["url"], headers=tuple((str(k), str(v)) for k, v in where["headers"].items()),
            upload=piece,
        )  # fmt: skip
        for attempt in range(TRIES):
            judged: Judged = yield Ask(request, empty=True, optional=True)
            if judged.verdict is Verdict.OK:
                etag = judged.headers.get("etag", "")
                yield from self.ledger.save(replace(partial, etags=(*partial.etags, f"{number}={etag}")))
                return judged
            if judged.verdict not in TRANSIENT:
                break
            if attempt < TRIES - 1:
                yield Wait(self.desk.now + 2.0**attempt, "a part of a file was cut off; it is sent again")
        if judged.verdict not in TRANSIENT:  # the address has expired, or the file has changed: begin anew
            yield from self.abort(partial)
        keep = judged.verdict is Verdict.UNREADABLE
        return judged if keep else replace(judged, verdict=Verdict.UNKNOWN)

    def complete(self) -> Part[Judged]:
        """Have the parts put together, if the file is still what it was."""
        partial = self.ledger.partial[self.upload.path]
        same: Judged = yield Ask(Request("CHECK", "", upload=self.upload))
        if same.verdict is not Verdict.OK:
            yield from self.abort(partial)
            return same
        urls = [json.loads(address)["url"] for address in partial.addresses]
        parts = [
            {"part_number": number, "etag": etag, "url": urls[number - 1]}
            for number, etag in sorted(done(partial).items())
        ]
        request = self._post("complete", upload_id=partial.upload_id, parts=parts)
        judged: Judged = yield Ask(request, repeat=True, optional=True)
        # A second time without an answer the upload may be over and gone: then only a new one helps.
        again = judged.verdict in TRANSIENT and self.upload.path not in self.ledger.unknown_files
        if not again:
            yield from self.ledger.save(drops=(partial,))
        return judged

    def abort(self, partial: PartialUpload) -> Part[None]:
        """Tell the remote that an upload is given up; what it says to that changes nothing."""
        yield from self.ledger.save(drops=(partial,))
        try:
            yield Ask(self._post("abort", upload_id=partial.upload_id), optional=True)
        except Ended:
            return  # the replay is stopping: the next request ends this job
