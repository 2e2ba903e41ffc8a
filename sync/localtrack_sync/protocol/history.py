"""The tag mlflow.log-model.history and its entries, with ids as the remote knows them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from localtrack.json_text import loaded

#: Fields of an entry that hold the id of a logged model.
MODEL_FIELDS = ("model_id", "model_uuid")


def entry_names(entries: Sequence[str]) -> list[str]:
    """A name for each entry: its content, and which of equal ones it is; the same in whatever order they come."""
    seen: Counter[str] = Counter()
    names = []
    for entry in entries:
        content = hashlib.sha256(entry.encode("utf-8", "surrogatepass")).hexdigest()[:16]
        names.append(f"{content}-{seen[content]}")
        seen[content] += 1
    return names


def models_in(entries: Sequence[str]) -> set[str]:
    """Ids of logged models that entries name."""
    found = (one.get(name) for one in map(_entry, entries) for name in MODEL_FIELDS)
    return {value for value in found if isinstance(value, str) and value.startswith("m-")}


def mapped(entry: str, run_id: str, remote_run_id: str, models: Mapping[str, str]) -> str:
    """An entry with the ids of its run and model as the remote knows them; the rest stays as it is."""
    one = _entry(entry)
    if one.get("run_id") == run_id:
        one["run_id"] = remote_run_id
    for name in MODEL_FIELDS:
        if isinstance(one.get(name), str):
            one[name] = models.get(one[name], one[name])
    return json.dumps(one)


def is_part_of(shown: str, wanted: str) -> bool:
    """Whether a tag holds nothing but entries that we want in it: an earlier state of ours.

    Ids of models do not count: a lost delivery state may have known a model by another one.
    """
    try:
        less, more = loaded(shown), loaded(wanted)
    except ValueError:
        return False
    if not isinstance(less, list) or not isinstance(more, list):
        return False
    left = [_without_models(one) for one in more]
    for one in less:
        text = _without_models(one)
        if text not in left:
            return False
        left.remove(text)
    return True


def _without_models(entry: Any) -> str:
    kept = {key: value for key, value in entry.items() if key not in MODEL_FIELDS} if isinstance(entry, dict) else entry
    return json.dumps(kept, sort_keys=True)


def _entry(text: str) -> dict[str, Any]:
    found = json.loads(text)
    return found if isinstance(found, dict) else {}
