"""The job that asks a remote what it is, before anything is sent to it. Pure.

Only a server that says that it keeps its data in SQL and is new enough is trusted to remove duplicates; everything else
(older servers, the file store, other products behind the same API) is treated as storing whatever arrives.
"""

from __future__ import annotations

import re
from dataclasses import replace

from localtrack_sync.protocol.effects import Load, Save
from localtrack_sync.protocol.jobs import Ending, JobResult
from localtrack_sync.protocol.records import Record, RemoteFacts
from localtrack_sync.protocol.request import HAS_MODELS, SERVER_INFO, VERSION, WHO_AM_I
from localtrack_sync.protocol.steps import Ask, Bound, Desk, Part, Wait
from localtrack_sync.protocol.verdict import Judged, Verdict

#: First version whose SQL store takes a repeated batch, NaNs included (mlflow #26108).
DEDUPES_FROM = (3, 16)
#: Pages of somebody else's after which a question counts as not answered, and the seconds between.
PAGES, PAGE_PAUSE_S = 3, 5.0
#: First version with logged models.
MODELS_FROM = (3, 0)


def remote_job(desk: Desk) -> Part[JobResult]:
    """Find out what the remote is, and remember it."""
    records: tuple[Record, ...] = yield Load("remote", "")
    known = [r for r in records if isinstance(r, RemoteFacts)]
    old = known[0] if known else RemoteFacts("remote", "", born_wall_s=desk.wall_s)
    version, store_type = "", ""
    if desk.limits.names_are_paths:
        yield from _find_folder(desk)
    if desk.limits.asks_what_it_is:
        info = yield from _own_words(desk, Ask(SERVER_INFO, safe=True, optional=True))
        if info.verdict is Verdict.OK:
            store_type = str(info.body.get("store_type") or "")
            desk.multipart = info.body.get("multipart_uploads_enabled") is True
        answer = yield from _own_words(desk, Ask(VERSION, safe=True, optional=True, text=True))
        found = re.match(r"\s*\"?(\d+\.\d+[\w.+-]*)", answer.words) if answer.verdict is Verdict.OK else None
        version = found[1] if found is not None else ""
    modern = number_of(version) >= DEDUPES_FROM
    dedupes = desk.settings.dedupes
    if dedupes is None:
        dedupes = store_type == "SqlStore" and modern
    if version:
        models = number_of(version) >= MODELS_FROM
    else:
        tried: Judged = yield Ask(HAS_MODELS, safe=True, optional=True)
        # What it once had it still has: a single 404 may come from something on the way.
        models = old.models or tried.verdict is not Verdict.MISROUTED
    facts = replace(old, version=version, store_type=store_type, dedupes=dedupes, nan_safe=modern, models=models)
    if facts != old or not known:
        yield Save((facts,))
    desk.dedupes, desk.nan_safe, desk.born_wall_s = facts.dedupes, facts.nan_safe, facts.born_wall_s
    desk.models, desk.version = facts.models, facts.version
    yield Bound("remote")
    return JobResult("remote", "", Ending.DELIVERED)


def _own_words(desk: Desk, ask: Ask) -> Part[Judged]:
    """The answer to a question that some remotes do not know; a page of somebody else's is no answer: asked again.

    What is concluded from this counts for a long time; a login page that comes once must not make an old server of it.
    """
    for _ in range(PAGES):
        judged: Judged = yield ask
        page = judged.verdict is Verdict.MISROUTED and 200 <= judged.status < 300  # noqa: PLR2004 - HTTP's own numbers
        if not page and not (ask.text and judged.words.lstrip().startswith("<")):
            return judged
        yield Wait(desk.now + PAGE_PAUSE_S, "somebody else's page came in the place of the remote's answer")
    return judged


def _find_folder(desk: Desk) -> Part[None]:
    """Where experiments go in a Databricks workspace: the folder of the settings, else our own home."""
    desk.folder = desk.settings.folder
    if desk.folder:
        return
    judged: Judged = yield Ask(WHO_AM_I, safe=True, optional=True)
    user = str(judged.body.get("userName") or "")
    desk.folder = f"/Users/{user}" if user else ""
    if not user:
        desk.no_folder = f"the workspace does not say whose home to use ({judged.words or 'no userName'})"


def number_of(version: str) -> tuple[int, int]:
    """Major and minor number of a version, (0, 0) when it has none."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)
