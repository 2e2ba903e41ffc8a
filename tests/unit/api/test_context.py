from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from localtrack.context import context_tags, user
from localtrack.rules import refuse_long, run_tags
from localtrack.run_names import run_name


def git(directory: Path, *arguments: str) -> str:
    """Run git as a user without configuration."""
    env = {"PATH": os.environ["PATH"], "HOME": str(directory), "GIT_CONFIG_NOSYSTEM": "1"}
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=trunk"]
    return subprocess.run(
        ["git", *who, *arguments], cwd=directory, env=env, check=True, capture_output=True, text=True
    ).stdout.strip()


def test_user_and_source_are_named() -> None:
    """The start tags that MLflow sets: user, source name, source type."""
    tags = context_tags({"USER": "ada"}, ["/no/such/place/train.py"])
    assert tags == {
        "mlflow.user": "ada",
        "mlflow.source.name": "/no/such/place/train.py",
        "mlflow.source.type": "LOCAL",
    }
    assert context_tags({"USER": "ada"}, [""])["mlflow.source.name"] == "<console>"
    assert user({})


def test_the_commit_is_read_from_the_work_tree(tmp_path: Path) -> None:
    """Commit and branch are those that git itself names: loose, packed, detached and in a linked work tree."""
    main = tmp_path / "main"
    (main / "src").mkdir(parents=True)
    git(main, "init", "-q")
    git(main, "commit", "-q", "--allow-empty", "-m", "one")
    commit = git(main, "rev-parse", "HEAD")
    script = str(main / "src" / "train.py")
    expected = {"mlflow.source.git.commit": commit, "mlflow.source.git.branch": "trunk"}
    assert expected.items() <= context_tags({"USER": "a"}, [script]).items()
    git(main, "pack-refs", "--all")
    assert expected.items() <= context_tags({"USER": "a"}, [script]).items()
    git(main, "worktree", "add", "-q", "-b", "side", "../linked")
    linked = context_tags({"USER": "a"}, [str(tmp_path / "linked" / "train.py")])
    assert (linked["mlflow.source.git.commit"], linked["mlflow.source.git.branch"]) == (commit, "side")
    git(main, "checkout", "-q", "--detach")
    detached = context_tags({"USER": "a"}, [script])
    assert detached["mlflow.source.git.commit"] == commit
    assert "mlflow.source.git.branch" not in detached


def test_a_broken_work_tree_adds_nothing(tmp_path: Path) -> None:
    """Damage under .git costs the git tags, nothing else."""
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "HEAD").write_bytes(b"\xff\xfe")
    assert "mlflow.source.git.commit" not in context_tags({"USER": "a"}, [str(tmp_path / "x.py")])
    (tmp_path / ".git" / "HEAD").write_text("ref: refs/heads/none\n")
    assert "mlflow.source.git.commit" not in context_tags({"USER": "a"}, [str(tmp_path / "x.py")])


def test_run_context_adds_and_overrides() -> None:
    """MLFLOW_RUN_CONTEXT is a JSON object of tags that beat those found out."""
    tags = context_tags({"USER": "a", "MLFLOW_RUN_CONTEXT": '{"mlflow.source.name": "job", "n": 1}'}, ["x.py"])
    assert (tags["mlflow.source.name"], tags["n"]) == ("job", "1")


@pytest.mark.parametrize("text", ["{", "[1]", "7", '"x"'])
def test_a_bad_run_context_is_said_and_ignored(text: str, caplog: pytest.LogCaptureFixture) -> None:
    """A mistyped MLFLOW_RUN_CONTEXT does not stop the training."""
    assert "mlflow.source.name" in context_tags({"USER": "a", "MLFLOW_RUN_CONTEXT": text}, ["x.py"])
    assert "MLFLOW_RUN_CONTEXT" in caplog.text


def test_names_that_are_not_utf8_can_be_recorded() -> None:
    """A script whose file name is not UTF-8 starts a run like any other."""
    tags = context_tags({"USER": "a\udcff"}, [os.fsdecode(b"/x/\xff.py")])
    assert run_tags(tags, refuse_long) == tags


def test_run_names() -> None:
    """Made-up names are short, sendable, deterministic in their randomness, and there are millions of them."""
    names = {run_name(i * 104_729) for i in range(20_000)}
    assert len(names) > 19_900
    assert max(map(len, names)) <= 20
    assert run_name(1 << 40) == run_name(1 << 40)
    assert all(name.count("-") == 2 for name in names)
