from __future__ import annotations

import json
import subprocess
import sys

#: What `import localtrack` may load beyond bare Python. Each entry costs every script its time: add with a reason.
_DATACLASSES = (
    "dataclasses copy copyreg inspect ast _ast dis opcode _opcode _opcode_metadata linecache tokenize _tokenize token "
    "keyword enum types re sre_compile sre_constants sre_parse _sre functools operator _operator collections "
    "_collections reprlib itertools importlib weakref _weakrefset typing _typing contextlib warnings annotationlib "
    "__future__"
)
_SQLITE = "sqlite3 _sqlite3 datetime _datetime time math"
_RECORDS = "struct _struct zlib array json _json _bisect bisect"
_PROCESS = "threading _thread _threading_local atexit errno"
ALLOWED = frozenset(f"{_DATACLASSES} {_SQLITE} {_RECORDS} {_PROCESS}".split())
FORBIDDEN = {"httpx", "click", "watchdog", "sqlite_utils", "mlflow", "asyncio", "email", "http", "logging", "random"}


def loaded(code: str) -> set[str]:
    """Top-level modules in sys.modules after `code`, in a new interpreter without site packages' start-up files."""
    script = f"{code}\nimport sys, json; print(json.dumps(sorted(sys.modules)))"
    output = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True, timeout=60
    ).stdout
    return {name.partition(".")[0] for name in json.loads(output.splitlines()[-1])}


def test_import_is_light() -> None:
    """`import localtrack` loads nothing beyond bare Python but the modules listed here."""
    added = loaded("import localtrack") - loaded("pass") - {"localtrack"}
    assert added <= ALLOWED, sorted(added - ALLOWED)
    assert not added & FORBIDDEN


def test_logging_a_run_loads_no_replay() -> None:
    """A whole run, from start to end, loads neither the replay side nor any library of it."""
    code = (
        "import localtrack, os, tempfile\n"
        "with tempfile.TemporaryDirectory() as d:\n"
        "    localtrack.set_tracking_uri(d)\n"
        "    with localtrack.start_run():\n"
        "        localtrack.log_metric('m', 1.0)\n"
        "        localtrack.log_param('p', 1)\n"
        "    localtrack.last_active_run()\n"
    )
    third_party = {
        "httpx",
        "click",
        "watchdog",
        "sqlite_utils",
        "mlflow",
        "localtrack_sync",
        "asyncio",
        "http",
        "socket",
    }
    assert not loaded(code) & third_party
