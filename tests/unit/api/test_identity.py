from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from localtrack import identity

RUN, REMOTE = "0" * 32, "http://host:5000"


def test_a_proof_holds_for_its_run_and_remote_only(tmp_path: Path) -> None:
    """The same user's proof verifies; for another run, another remote or with another key it does not."""
    key, other = str(tmp_path / "a" / "identity.key"), str(tmp_path / "b" / "identity.key")
    proof = identity.proof(RUN, REMOTE, key)
    assert identity.verify(RUN, REMOTE, proof, key)
    assert not identity.verify("1" * 32, REMOTE, proof, key)
    assert not identity.verify(RUN, "http://evil:5000", proof, key)
    assert identity.proof(RUN, REMOTE, other) != proof
    assert not identity.verify(RUN, REMOTE, proof, other)


def test_nothing_proves_nothing(tmp_path: Path) -> None:
    """No proof, no key or text that is no proof verifies as False; verifying makes no key."""
    key = str(tmp_path / "identity.key")
    assert not identity.verify(RUN, REMOTE, "ab" * 32, key)
    assert not os.path.exists(key)
    assert identity.proof(RUN, REMOTE, key)
    for nothing in (None, "", "x", "\ud800", "é" * 64):
        assert not identity.verify(RUN, REMOTE, nothing, key)


def test_the_key_is_the_users_alone(tmp_path: Path) -> None:
    """The key file has mode 0600 in a directory of mode 0700, and a key that others could read proves nothing."""
    key = tmp_path / "config" / "identity.key"
    proof = identity.proof(RUN, REMOTE, str(key))
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert os.listdir(key.parent) == ["identity.key"]
    key.chmod(0o644)
    assert not identity.verify(RUN, REMOTE, proof, str(key))


def test_a_key_that_cannot_be_made_or_read_is_no_error(tmp_path: Path) -> None:
    """A directory in place of the key, a file in place of its directory, a damaged key: no proof, no exception."""
    (tmp_path / "identity.key").mkdir()
    assert identity.proof(RUN, REMOTE, str(tmp_path / "identity.key")) is None
    (tmp_path / "file").write_text("")
    assert identity.proof(RUN, REMOTE, str(tmp_path / "file" / "identity.key")) is None
    damaged = tmp_path / "damaged.key"
    damaged.touch(mode=0o600)
    damaged.write_text("not hex")
    assert identity.proof(RUN, REMOTE, str(damaged)) is None


def test_processes_that_start_at_once_share_one_key(tmp_path: Path) -> None:
    """Eight processes that make the key at the same time all end with the same one."""
    key = str(tmp_path / "identity.key")
    script = f"from localtrack import identity; print(identity.proof({RUN!r}, {REMOTE!r}, {key!r}))"
    processes = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(8)]
    proofs = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert len(proofs) == 1
    assert identity.verify(RUN, REMOTE, proofs.pop(), key)
    assert os.listdir(tmp_path) == ["identity.key"]
