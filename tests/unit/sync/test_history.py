"""Entries of the deprecated log_model: ids as the remote knows them, names whatever the order of arrival."""

from __future__ import annotations

import json

from localtrack_sync.protocol.history import entry_names, is_part_of, mapped, models_in

ENTRY = json.dumps({"run_id": "here", "artifact_path": "a", "flavors": {}, "model_uuid": "m-1", "model_id": "m-1"})


def test_ids_of_run_and_model_become_the_remotes() -> None:
    """The run's id and the model's are mapped, what is not known stays as it is."""
    one = json.loads(mapped(ENTRY, "here", "there", {"m-1": "m-9"}))
    assert (one["run_id"], one["model_uuid"], one["model_id"], one["artifact_path"]) == ("there", "m-9", "m-9", "a")
    assert json.loads(mapped(ENTRY, "other", "there", {})) == json.loads(ENTRY)
    assert models_in([ENTRY, json.dumps({"model_uuid": "0123abcd"}), json.dumps({"run_id": "x"})]) == {"m-1"}


def test_equal_entries_have_names_of_their_own() -> None:
    """Two equal entries are two records; a third one before them changes no name."""
    first, second = entry_names([ENTRY, ENTRY])
    assert first != second
    assert entry_names(['{"artifact_path": "b"}', ENTRY, ENTRY])[1:] == [first, second]


def test_an_earlier_state_of_the_tag_is_known_as_ours() -> None:
    """Fewer entries, or the same ones with a model under another id, are ours; anything else may be somebody's."""
    wanted = json.dumps([json.loads(ENTRY), {"artifact_path": "b"}])
    assert is_part_of(json.dumps([{"artifact_path": "b"}]), wanted)
    assert is_part_of(json.dumps([json.loads(mapped(ENTRY, "", "", {"m-1": "m-2"}))]), wanted)
    assert is_part_of("[]", wanted)
    assert not is_part_of(json.dumps([{"artifact_path": "c"}]), wanted)
    assert not is_part_of(json.dumps([{"artifact_path": "b"}] * 2), wanted)
    assert not is_part_of("by hand", wanted)
