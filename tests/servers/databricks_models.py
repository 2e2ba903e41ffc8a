"""Logged models and files of the stand-in for Databricks; files go up and down by signed addresses."""

from __future__ import annotations

import posixpath
import secrets
import uuid
from collections.abc import Callable, Mapping
from email.message import Message
from typing import Any

from tests.servers.databricks_rules import check_values, invalid, missing, text, whole
from tests.servers.databricks_workspace import Workspace, now_ms

Answer = dict[str, Any]
#: A header that must come with a signed PUT, as on Azure.
SIGNED_HEADER = ("x-ms-blob-type", "BlockBlob")


class Models:
    """Logged models of a workspace."""

    def __init__(self, workspace: Workspace) -> None:
        self.workspace = workspace
        self.models: dict[str, Answer] = {}
        self.deleted: set[str] = set()

    def handle(self, method: str, rest: str, given: Mapping[str, Any]) -> Answer | None:
        """Answer `METHOD logged-models/REST`; None: no such route."""
        if (method, rest) in (("POST", ""), ("POST", "search")):
            return self._search(given) if rest else self._create(given)
        model_id, _, more = rest.partition("/")
        if method == "DELETE" and more.startswith("tags/"):
            self._untag(self._model(model_id), more.removeprefix("tags/"))
            return {}
        acts: dict[tuple[str, str], Callable[[Answer], Any]] = {
            ("GET", ""): lambda model: model["info"],
            ("DELETE", ""): lambda model: self.deleted.add(model["info"]["model_id"]),
            ("PATCH", ""): lambda model: model["info"].update(status=text(given, "status")),
            ("POST", "params"): lambda model: model["data"]["params"].extend(given.get("params", [])),
            ("PATCH", "tags"): lambda model: self._tag(model, given.get("tags", [])),
        }
        act = acts.get((method, more))
        if act is None:
            return None
        model = self._model(model_id)
        act(model)
        return {"model": model} if more == "" and method != "DELETE" else {}

    def root(self, model_id: str) -> str:
        """Where the files of a model lie."""
        return str(self._model(model_id)["info"]["artifact_uri"])

    def _model(self, model_id: str) -> Answer:
        if model_id not in self.models or model_id in self.deleted:
            raise missing(f"Logged model '{model_id}'")
        return self.models[model_id]

    def _create(self, given: Mapping[str, Any]) -> Answer:
        experiment_id = text(given, "experiment_id")
        if experiment_id not in self.workspace.experiments:
            raise missing(f"Node ID {experiment_id}")
        model_id = f"m-{uuid.uuid4().hex}"
        info = {
            "model_id": model_id,
            "experiment_id": experiment_id,
            "name": text(given, "name", "model"),
            "model_type": text(given, "model_type", ""),
            "source_run_id": text(given, "source_run_id", ""),
            "status": "LOGGED_MODEL_PENDING",
            "artifact_uri": f"dbfs:/databricks/mlflow-tracking/{experiment_id}/models/{model_id}/artifacts",
            "creation_timestamp_ms": now_ms(),
            "tags": [dict(pair) for pair in given.get("tags", [])],
        }
        self.models[model_id] = {"info": info, "data": {"params": list(given.get("params", [])), "metrics": []}}
        return {"model": self.models[model_id]}

    def _tag(self, model: Answer, tags: list[Answer]) -> None:
        new = dict(check_values("tags", tags, self.workspace.strict))
        kept = [pair for pair in model["info"]["tags"] if pair["key"] not in new]
        model["info"]["tags"] = kept + [{"key": key, "value": value} for key, value in new.items()]

    def _untag(self, model: Answer, key: str) -> None:
        tags = model["info"]["tags"]
        if all(pair["key"] != key for pair in tags):
            raise missing(f"Tag '{key}'")
        model["info"]["tags"] = [pair for pair in tags if pair["key"] != key]

    def _search(self, given: Mapping[str, Any]) -> Answer:
        ids, most = given.get("experiment_ids") or [], whole(given, "max_results", 50)
        if not ids or most > 50:
            raise invalid("experiment_ids are needed, and max_results is at most 50")
        condition = text(given, "filter", "")
        wanted = condition.partition("= '")[2].rstrip("'") if condition else ""
        key = condition.partition("tags.`")[2].partition("`")[0]
        found = [
            model
            for model_id, model in self.models.items()
            if model_id not in self.deleted
            and model["info"]["experiment_id"] in ids
            and (not key or {"key": key, "value": wanted} in model["info"]["tags"])
        ]
        start = whole(given, "page_token", 0) if given.get("page_token") else 0
        page: Answer = {"models": found[start : start + most]}
        if start + most < len(found):
            page["next_page_token"] = str(start + most)
        return page


class Files:
    """The files of runs and models, by their full address, and the signed addresses that are open.

    Attributes:
        stored: address -> content.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.stored: dict[str, bytes] = {}
        self._signed: dict[str, tuple[str, str]] = {}

    def credentials(self, verb: str, root: str, paths: list[str]) -> list[Answer]:
        """Signed addresses for paths below a root; `verb`: PUT or GET."""
        found = []
        for path in paths:
            if not path or posixpath.normpath(path) != path or path.startswith(("/", "..")):
                raise invalid(f"Invalid artifact path: {path!r}")
            token = secrets.token_hex(8)
            self._signed[token] = (verb, f"{root}/{path}")
            headers = [{"name": SIGNED_HEADER[0], "value": SIGNED_HEADER[1]}] if verb == "PUT" else []
            uri = f"{self.url}/signed/{token}?sig={secrets.token_hex(4)}"
            found.append({"path": path, "signed_uri": uri, "type": "AWS_PRESIGNED_URL", "headers": headers})
        return found

    def signed(self, verb: str, token: str, headers: Message, body: bytes) -> tuple[int, bytes]:
        """A request to a signed address: the login is the address alone."""
        if self._signed.get(token, ("", ""))[0] != verb:
            return 403, b"<Error><Code>AccessDenied</Code></Error>"
        address = self._signed[token][1]
        if headers.get("Authorization"):
            return 400, b"<Error>Only one auth mechanism allowed</Error>"
        if verb == "GET":
            return (200, self.stored[address]) if address in self.stored else (404, b"<Error>NoSuchKey</Error>")
        if headers.get(SIGNED_HEADER[0]) != SIGNED_HEADER[1]:
            return 403, b"<Error>SignatureDoesNotMatch</Error>"
        self.stored[address] = body
        return 200, b""

    def listed(self, root: str, path: str) -> list[Answer]:
        """What lies directly below a path; a file's own path gives the file."""
        top = f"{root}/{path}".rstrip("/")
        if top in self.stored:
            return [{"path": path, "is_dir": False, "file_size": len(self.stored[top])}]
        found: dict[str, Answer] = {}
        for address, content in sorted(self.stored.items()):
            if address.startswith(f"{top}/"):
                name, _, deeper = address[len(top) + 1 :].partition("/")
                shown = posixpath.join(path, name)
                size = {} if deeper else {"file_size": len(content)}
                found[shown] = {"path": shown, "is_dir": bool(deeper), **size}
        return list(found.values())
