"""What a run says about where it was started: the tags mlflow.user, mlflow.source.* and those of MLFLOW_RUN_CONTEXT."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence

from localtrack import attention

_REF_DEPTH = 40  # directories to look upward for .git; a path deeper than that has another problem


def context_tags(env: Mapping[str, str], argv: Sequence[str] | None = None) -> dict[str, str]:
    """Tags of the surroundings of this process. What cannot be found out is left out; nothing here raises.

    Text that a journal cannot hold (a file name that is not UTF-8) is written with backslash escapes.
    """
    argv = sys.argv if argv is None else argv
    script = argv[0] if argv and argv[0] else None
    tags = {"mlflow.user": user(env), "mlflow.source.name": script or "<console>", "mlflow.source.type": "LOCAL"}
    if script:
        tags.update(_git(os.path.dirname(os.path.abspath(script))))
    tags.update(_given(env))
    return {name: value.encode("utf-8", "backslashreplace").decode().replace("\0", "") for name, value in tags.items()}


def user(env: Mapping[str, str]) -> str:
    """Login name, as getpass.getuser finds it (that module costs an import); "unknown" if there is none."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        if found := env.get(name):
            return found
    try:
        import pwd

        return pwd.getpwuid(os.getuid()).pw_name
    except (ImportError, KeyError):
        return "unknown"


def _given(env: Mapping[str, str]) -> dict[str, str]:
    raw = env.get("MLFLOW_RUN_CONTEXT")
    if not raw:
        return {}
    import json

    try:
        return {str(name): str(value) for name, value in dict(json.loads(raw)).items()}
    except (ValueError, TypeError):
        attention.warn(f"MLFLOW_RUN_CONTEXT is not a JSON object and is ignored: {raw[:100]!r}")
        return {}


def _git(directory: str) -> dict[str, str]:
    """Commit and branch of the work tree around `directory`, read from .git by hand: no program, no library."""
    try:
        git = _git_directory(directory)
        if git is None:
            return {}
        head = _first_line(os.path.join(git, "HEAD"))
        if not head.startswith("ref: "):
            return {"mlflow.source.git.commit": head} if _is_commit(head) else {}
        ref = head[5:]
        commit = _commit_of(git, ref)
    except (OSError, UnicodeError):
        return {}
    branch = ref.removeprefix("refs/heads/")
    return {"mlflow.source.git.commit": commit, "mlflow.source.git.branch": branch} if _is_commit(commit) else {}


def _git_directory(directory: str) -> str | None:
    for _ in range(_REF_DEPTH):
        git = os.path.join(directory, ".git")
        if os.path.isdir(git):
            return git
        if os.path.isfile(git):  # a linked work tree or a submodule: "gitdir: <path>"
            return os.path.join(directory, _first_line(git).removeprefix("gitdir: "))
        if directory == (directory := os.path.dirname(directory)):
            return None
    return None


def _commit_of(git: str, ref: str) -> str:
    places = [git]
    if os.path.isfile(common := os.path.join(git, "commondir")):  # refs of a linked work tree lie with the main one
        places.append(os.path.join(git, _first_line(common)))
    for place in places:
        if os.path.isfile(loose := os.path.join(place, ref)):
            return _first_line(loose)
    for place in places:
        if os.path.isfile(packed := os.path.join(place, "packed-refs")):
            with open(packed, encoding="utf-8") as lines:
                for line in lines:
                    if line.rstrip("\n").endswith(" " + ref):
                        return line.split(" ", 1)[0]
    return ""


def _first_line(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.readline(1000).strip()


def _is_commit(text: str) -> bool:
    return len(text) in (40, 64) and set(text) <= set("0123456789abcdef")
