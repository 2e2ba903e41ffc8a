"""The settings file: found, opened with care, read once per process, never at import.

It holds no secrets, and nobody else may be able to write it: whoever can chooses where this user's runs go.
"""

from __future__ import annotations

import os
import re
import stat
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from localtrack.errors import SettingsError
from localtrack.settings_table import SHARED

#: Names the file; docs/settings.md says where it lies without it.
VARIABLE = "LOCALTRACK_CONFIG"
#: The table of the daemon's settings, which only the replay side knows (localtrack_sync.daemon.settings_file).
DAEMON = "daemon"
_MOST_BYTES = 1_000_000
# Not compiled here: most processes read no file, and would pay for it at import.
_SECRET = r"(?i)token|passw|secret|credential|api_?key|private_?key|user_?name|\bauth\b"  # noqa: S105 - names of secrets, not one
_USERINFO = r"(?s)://.*[@?]"
_NO_SECRETS = (
    "Secrets do not belong into this file. Give them as MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD, or in ~/.mlflow/credentials."
)


_NOTHING: Mapping[str, object] = {}


class SettingsFile(NamedTuple):
    """What the settings file says.

    Attributes:
        path: where it lies, absolute; "" when there is none.
        content: its keys and values, as TOML has them.
        text: the file, to find lines in.
    """

    path: str = ""
    content: Mapping[str, object] = _NOTHING
    text: str = ""

    def table(self, name: str) -> Mapping[str, object]:
        """One table of it; "" is the top."""
        found = self.content.get(name, {}) if name else self.content
        assert isinstance(found, Mapping), "`read` refuses other things"
        return found

    def place(self, key: str, table: str = "") -> str:
        """The file and, where it is easily found, the line of a key: PATH:LINE."""
        line = line_of(self.text, key, table)
        return f"{self.path}:{line}" if line else self.path

    def beside(self, path: str) -> str:
        """A path of this file, absolute: `~` is the home, a relative path begins at the file's directory."""
        return os.path.abspath(os.path.join(os.path.dirname(self.path), os.path.expanduser(path)))


_read: dict[str, SettingsFile] = {}


def here(env: Mapping[str, str]) -> SettingsFile:
    """The settings file of this user, as it was when this process first asked; an empty one when there is none.

    Raises:
        SettingsError: it cannot be used; the message says why.
    """
    path = path_of(env)
    found = _read.get(path)
    if found is None:
        found = _read[path] = read(path, missing_ok=not env.get(VARIABLE))
    return found


def forget() -> None:
    """Read the file again when it is asked for next; for a process that is told to."""
    _read.clear()


def path_of(env: Mapping[str, str]) -> str:
    """Where the file lies, if there is one: LOCALTRACK_CONFIG, else config.toml in the configuration directory."""
    named = env.get(VARIABLE)
    return os.path.abspath(os.path.expanduser(named)) if named else os.path.join(directory(env), "config.toml")


def directory(env: Mapping[str, str]) -> str:
    """The configuration directory of localtrack for this user."""
    home = env.get("HOME") or os.path.expanduser("~")
    return os.path.join(env.get("XDG_CONFIG_HOME") or os.path.join(home, ".config"), "localtrack")


def read(path: str, *, missing_ok: bool = True) -> SettingsFile:
    """The settings file at `path`, its keys checked at the top; the values of settings are not.

    Args:
        path: absolute; /dev/null is no file, on purpose.
        missing_ok: a missing file is an empty one.

    Raises:
        SettingsError: others may write it, it holds a secret or an unknown key, or it cannot be read.
    """
    if path == os.devnull:
        return SettingsFile()
    try:
        raw = _bytes(path)
    except (FileNotFoundError, NotADirectoryError):
        if missing_ok:
            return SettingsFile()
        raise SettingsError(
            f"{VARIABLE} names {path}, which is not there",
            "Make it (localtrack config --example prints one), or unset the variable.",
        ) from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}", "Look at its permissions.") from None
    try:
        text = raw.decode("utf-8")
        content = _toml().loads(text)
    except UnicodeDecodeError:
        raise SettingsError(f"{path} is not a text file in UTF-8") from None
    except ValueError as error:  # tomllib's own: it names line and column, and quotes no value
        raise SettingsError(
            f"{path} is no TOML: {error}", "localtrack config --example shows how it is written"
        ) from None
    found = SettingsFile(path, content, text)
    _check(found)
    return found


def _bytes(path: str) -> bytes:
    """What the file holds.

    Raises:
        OSError: the file system refuses.
        SettingsError: it is no file, too long, or others may write it.
    """
    # O_NONBLOCK: opening a pipe that nobody writes to would wait for ever.
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise SettingsError(f"{path} is not a file")
        if about.st_uid not in (0, os.geteuid()) or about.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise SettingsError(
                f"{path} is not used: others may write it, and so choose where your runs go",
                f"Look at what it says, then: chown {os.geteuid()} {path}; chmod go-w {path}",
            )
        with open(handle, "rb", closefd=False) as file:
            raw = file.read(_MOST_BYTES + 1)
    finally:
        os.close(handle)
    if len(raw) > _MOST_BYTES:
        raise SettingsError(f"{path} is longer than {_MOST_BYTES:,} bytes: no settings file")
    return raw


def _toml() -> Any:
    """The reader of TOML: of the standard library, since Python 3.11."""
    import importlib

    name = "tomllib" if sys.version_info >= (3, 11) else "tomli"
    try:
        return importlib.import_module(name)
    except ImportError:
        raise SettingsError(
            "On Python 3.10 the settings file is read by the package tomli, which is not installed here",
            f"{sys.executable} -m pip install tomli; or say it with variables instead (docs/settings.md)",
        ) from None


def _check(file: SettingsFile) -> None:
    """Refuse secrets, unknown keys at the top, and our keys in the daemon's table, where nobody would look for them."""
    _refuse_secrets(file, file.content, "")
    known = [setting.key for setting in SHARED]
    refuse_unknown(file, "", [*known, DAEMON])
    if not isinstance(file.content.get(DAEMON, {}), Mapping):
        raise SettingsError(f"{DAEMON} ({file.place(DAEMON)}): must be a table: [daemon]")
    for key in file.table(DAEMON):
        if key in known:
            raise SettingsError(
                f"{key} ({file.place(key, DAEMON)}) stands below [{DAEMON}], where it means nothing",
                f"Move it above the line [{DAEMON}].",
            )


def refuse_unknown(file: SettingsFile, table: str, known: Iterable[str]) -> None:
    """Refuse keys of a table of the file that are not `known`.

    Raises:
        SettingsError: there is one; it is named, with its place and the nearest known one.
    """
    known = list(known)
    for key in file.table(table):
        if key not in known:
            import difflib

            where = f" in [{table}]" if table else ""
            near = difflib.get_close_matches(key, known, 1)
            hint = f"Did you mean {near[0]}? " if near else ""
            raise SettingsError(
                f"There is no setting {key!r}{where} ({file.place(key, table)})",
                f"{hint}localtrack config --example shows all of them.",
            )


def _refuse_secrets(file: SettingsFile, values: Mapping[str, object], table: str) -> None:
    for key, value in values.items():
        place = file.place(key, table)
        if re.search(_SECRET, key):
            raise SettingsError(f"{key} ({place}) looks like a secret", _NO_SECRETS)
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, Mapping):
                _refuse_secrets(file, one, key)
            elif isinstance(one, str) and re.search(_USERINFO, one):
                raise SettingsError(f"{key} ({place}) holds an address with a user, a password or a query", _NO_SECRETS)


def line_of(text: str, key: str, table: str = "") -> int:
    """The line of a key, counted from 1; 0 when it is not written in one of the usual ways."""
    bare = rf"[\"']?{re.escape(key)}[\"']?\s*(?:=|\.)"
    dotted = rf"[\"']?{re.escape(table)}[\"']?\s*\.\s*{bare}"
    within = ""
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[\[?\s*([^\]]*?)\s*\]", line):
            within = head[1].strip("\"'")
            if not table and within == key:
                return number
        elif re.match(rf"\s*{bare if within == table else dotted}", line) and within in ("", table):
            return number
    return 0
