"""What the sources do not do, and what an installation brings."""

from __future__ import annotations

import ast
import re
import sys
from functools import cache
from importlib.metadata import requires
from pathlib import Path

import pytest

from localtrack.attention import _said
from localtrack.store import Store
from localtrack_sync.protocol.jobs import ReplaySettings
from localtrack_sync.remote.remotes import parse_remote
from localtrack_sync.remote.transport import TransportSettings
from localtrack_sync.shell.session import SyncSettings, connect

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [*sorted((ROOT / "localtrack").rglob("*.py")), *sorted((ROOT / "sync").rglob("*.py"))]
#: Modules and calls that run what they read, or start programs.
DANGEROUS = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "xml"}
CALLS = {"eval", "exec", "compile", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "tempfile.mktemp"}
#: What is there only when somebody installed it: named in the documentation, or an object of the user's.
OPTIONAL = {
    "boto3",
    "fsspec",
    "databricks",
    "pandas",
    "numpy",
    "PIL",
    "matplotlib",
    "plotly",
    "yaml",
    "mlflow",
    "polars",
}


@cache
def trees() -> list[tuple[str, ast.AST]]:
    """Every node of every source, with its file."""
    return [
        (str(path.relative_to(ROOT)), node)
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    ]


def imported(node: ast.AST) -> list[str]:
    """First parts of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name.partition(".")[0] for alias in node.names]
    return [node.module.partition(".")[0]] if isinstance(node, ast.ImportFrom) and node.module else []


def test_nothing_that_is_read_is_run() -> None:
    """No pickle, no eval, no YAML that builds objects: no journal, reply or setting can name code."""
    found = [(path, name) for path, node in trees() for name in imported(node) if name in DANGEROUS]
    calls = [(path, ast.unparse(node.func)) for path, node in trees() if isinstance(node, ast.Call)]
    assert found == []
    assert [one for one in calls if one[1] in CALLS] == []


def test_sql_is_never_put_together_from_values() -> None:
    """Between quotes in a formatted statement stand constants of ours only (upper case); values are parameters."""
    statement = re.compile(r"\b(?:SELECT|INSERT|DELETE|UPDATE)\b.*\b(?:FROM|INTO|SET)\b", re.DOTALL)
    found = []
    for path, node in trees():
        if not isinstance(node, ast.JoinedStr) or not statement.search(ast.unparse(node)):
            continue
        for before, value in zip(node.values, node.values[1:], strict=False):
            quoted = isinstance(before, ast.Constant) and str(before.value).rstrip("(").endswith(("'", '"'))
            if quoted and isinstance(value, ast.FormattedValue):
                name = ast.unparse(value.value).rpartition(".")[2]
                if not name.isupper():
                    found.append((path, name))
    assert found == [("localtrack/catalog/linked_queries.py", "kind")], "which asserts what it may be"


def test_an_installation_brings_what_is_listed_and_no_more() -> None:
    """Every module that the sources import is Python's own, ours, a dependency by name, or optional."""
    base = [one for one in requires("localtrack") or () if "extra" not in one]
    listed = {re.split(r"[><=;\[ ]", one)[0].replace("-", "_") for one in base}
    assert listed == {"click", "httpx", "sqlite_utils", "watchdog", "tomli"}, "tomli on Python 3.10 alone"
    assert "certifi" in (requires("httpx") or []), "the usual authorities come with httpx"
    known = {*sys.stdlib_module_names, *listed, *OPTIONAL, "certifi", "localtrack", "localtrack_sync"}
    assert sorted({(path, name) for path, node in trees() for name in imported(node) if name not in known}) == []


def test_certificates_are_switched_off_in_one_place() -> None:
    """Only remote/tls.py can make a connection that checks nobody, and httpx is never told to by a constant."""
    found = {
        path
        for path, node in trees()
        if isinstance(node, ast.Attribute) and node.attr in ("CERT_NONE", "_create_unverified_context")
    }
    assert found == {"sync/localtrack_sync/remote/tls.py"}
    given = [(path, node) for path, node in trees() if isinstance(node, ast.keyword) and node.arg == "verify"]
    assert [path for path, node in given if ast.unparse(node.value) == "False"] == []


@pytest.mark.parametrize(
    ("url", "environ", "told"),
    [
        ("http://mlflow.lan", {"MLFLOW_TRACKING_TOKEN": "x"}, True),
        ("http://me:pw@mlflow2.lan", {}, True),
        ("http://mlflow3.lan", {}, False),
        ("https://mlflow4.lan", {"MLFLOW_TRACKING_TOKEN": "x"}, False),
        ("http://127.0.0.1:5000", {"MLFLOW_TRACKING_TOKEN": "x"}, False),
    ],
)
def test_credentials_without_encryption_are_told_of_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str, environ: dict[str, str], told: bool
) -> None:
    """By http to another machine, with a login: one line; never for this machine, for https, or without a login."""
    _said.clear()
    given = {"HOME": str(tmp_path), **environ}
    for _ in range(2):
        settings = SyncSettings(ReplaySettings(), TransportSettings(), given)
        connect(Store.at(tmp_path), parse_remote(url, given), settings).close()
    said = [record.message for record in caplog.records if "without encryption" in record.message]
    assert len(said) == told
    assert all("pw" not in one for one in said)
