"""The settings as data: names, types, ranges, defaults, meanings; and how one given value is checked.

Loading, `localtrack config` and docs/settings.md all go by this table (and by the daemon's, which is made of the same
rows). A row has two names: a variable of the environment, and a key of the settings file.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from enum import Enum
from typing import NamedTuple

from localtrack.errors import SettingsError

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
LOCKING = ("auto", "normal", "exclusive")
DIALECTS = ("auto", "mlflow", "databricks")
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86_400.0, "w": 7 * 86_400.0}
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
#: Characters of a wrong value that an error shows.
_SHOWN = 80


class Kind(Enum):
    """What values a setting has."""

    FLAG = "true or false"
    NUMBER = "number"
    WHOLE = "whole number"
    CHOICE = "one of"
    TEXT = "text"
    FOLDER = "an absolute path in the workspace, such as /Shared/team"
    PATH = "a path"
    PATHS = "a list of paths"
    AGE = "an age such as 12h, 7d or 4w, or 0"
    SIZE = "a size such as 500MB, 20GB or 1.5TiB, or a number of bytes"


class Setting(NamedTuple):
    """One setting.

    A named tuple: it is made in a tenth of the time of a dataclass, and every script pays for it.

    Attributes:
        key: its name in the settings file, and of the attribute that holds it.
        variable: its name in the environment.
        kind: what values it has.
        meaning: one line for people, in Markdown.
        default: the value when nobody says anything.
        default_words: the default in words, where the value alone says too little.
        least, most: range of a number.
        choices: values of a choice.
        table: table of the settings file that it stands in; "" is the top.
        example: a value for an example file, where the default is not one.
    """

    key: str
    variable: str
    kind: Kind
    meaning: str
    default: object = None
    default_words: str = ""
    least: float = 0.0
    most: float = 0.0
    choices: tuple[str, ...] = ()
    table: str = ""
    example: object = None

    @property
    def name(self) -> str:
        """The key with its table, as TOML writes it."""
        return f"{self.table}.{self.key}" if self.table else self.key

    @property
    def range(self) -> str:
        """The values that a number or a choice may have, in words; "" for other kinds."""
        if self.kind in (Kind.NUMBER, Kind.WHOLE):
            return f"{_figure(self.least)} to {_figure(self.most)}"
        return ", ".join(self.choices)

    @property
    def rule(self) -> str:
        """What a value has to be, in words."""
        if self.kind in (Kind.NUMBER, Kind.WHOLE):
            return f"a {self.kind.value} from {self.range}"
        return f"one of {self.range}" if self.kind is Kind.CHOICE else self.kind.value

    def of_text(self, text: str) -> object:
        """The value that a variable's text means; paths are not yet made absolute.

        Raises:
            SettingsError: it means none; the message names the variable, the text and the rule.
        """
        try:
            return self._checked(self._read(text))
        except ValueError:
            raise SettingsError(f"{self.variable}={_cut(text)!r}: must be {self.rule}") from None

    def of_value(self, given: object, place: Callable[[], str]) -> object:
        """The value that stands in a file; `place` says where, in words; paths are not yet made absolute.

        Raises:
            SettingsError: the setting cannot have it; the message names key, value, place and rule.
        """
        try:
            if self.kind in (Kind.AGE, Kind.SIZE) and isinstance(given, int) and not isinstance(given, bool):
                given = str(given)
            if self.kind in (Kind.PATHS, Kind.AGE, Kind.SIZE) and isinstance(given, str):
                given = self._read(given)
            return self._checked(given)
        except ValueError:
            raise SettingsError(f"{self.name} = {written(given)} ({place()}): must be {self.rule}") from None

    def _read(self, text: str) -> object:
        """The value of the right type that `text` stands for."""
        plain = text.strip().lower()
        if self.kind is Kind.FLAG:
            if plain not in _TRUE | _FALSE:
                raise ValueError
            return plain in _TRUE
        if self.kind in (Kind.NUMBER, Kind.WHOLE):
            return int(plain) if self.kind is Kind.WHOLE else float(plain)
        if self.kind is Kind.PATHS:
            return [one for one in text.split(os.pathsep) if one]
        if self.kind in (Kind.AGE, Kind.SIZE):
            return seconds_of(plain) if self.kind is Kind.AGE else bytes_of(plain)
        return plain if self.kind is Kind.CHOICE else text

    def _checked(self, value: object) -> object:
        """The value in its normal form.

        Raises:
            ValueError: it has the wrong type, or is out of range.
        """
        if self.kind is Kind.FLAG:
            good = isinstance(value, bool)
        elif self.kind in (Kind.NUMBER, Kind.WHOLE):
            return self._number(value)
        elif self.kind is Kind.PATHS:
            good = isinstance(value, list) and len(value) > 0 and all(_is_path(one) for one in value)
            value = tuple(value) if isinstance(value, list) else value
        elif self.kind in (Kind.AGE, Kind.SIZE):
            good = isinstance(value, (int, float)) and not isinstance(value, bool)
        else:
            return self._text(value)
        if not good:
            raise ValueError
        return value

    def _number(self, value: object) -> float | int:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not self.least <= value <= self.most:
            raise ValueError
        if self.kind is Kind.NUMBER:
            return float(value)
        if isinstance(value, float):
            raise ValueError  # noqa: TRY004 - the caller tells every mistake in the same words
        return value

    def _text(self, value: object) -> str:
        if not isinstance(value, str):
            raise ValueError  # noqa: TRY004
        if self.kind is Kind.CHOICE and value not in self.choices:
            raise ValueError
        if self.kind is Kind.PATH and value and not _is_path(value):
            raise ValueError
        if self.kind is Kind.FOLDER:
            folder = value.strip()
            if folder and not folder.startswith("/"):
                raise ValueError
            return folder.removeprefix("/Workspace").rstrip("/")
        return value if self.kind is Kind.PATH else value.strip()


def seconds_of(text: str) -> float:
    """Seconds in an age: a number and m, h, d or w (minutes, hours, days, weeks), or 0.

    Raises:
        ValueError: it is none; the message says what is.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([mhdw])|0+", text.strip().lower(), re.ASCII)
    if found is None:
        raise ValueError(f"must be {Kind.AGE.value}")
    return float(found[1]) * _SECONDS[found[2]] if found[1] else 0.0


def bytes_of(text: str) -> int:
    """Bytes in a size: a number and, if any, B, kB, MB, GB, TB (powers of 1,000) or KiB, MiB, GiB, TiB (of 1,024).

    Raises:
        ValueError: it is none; the message says what is.
    """
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(?:([kmgt]?)(i?)b)?", text.strip().lower(), re.ASCII)
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"must be {Kind.SIZE.value}")
    unit: int = (1024 if found[3] else 1000) ** _POWERS[found[2] or ""]
    return round(float(found[1]) * unit)


def _is_path(value: object) -> bool:
    # An address where a path belongs would become a directory named `http:`.
    return isinstance(value, str) and bool(value) and "\0" not in value and "://" not in value


def _figure(number: float) -> str:
    return f"{number:,.12g}"


def _cut(text: str) -> str:
    scheme, colon, address = text.partition("://")
    if colon and address:
        return f"{scheme}://..."  # it may hold a password
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "..."


def written(value: object) -> str:
    """A value as TOML writes it, nearly: for messages and tables."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(written(one) for one in value)}]"
    if isinstance(value, str):
        escaped = _cut(value).replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, float):
        return f"{value:.12g}"
    return "a table" if isinstance(value, dict) else _cut(str(value))


SHARED = (
    Setting(
        "store",
        "LOCALTRACK_STORE",
        Kind.PATH,
        "the store directory, when no tracking URI names one; for the commands too",
        default_words="`localtrack` in the user's data directory",
        example="/scratch/me/store",
    ),
    Setting(
        "strict",
        "LOCALTRACK_STRICT",
        Kind.FLAG,
        "trouble of the machine (disk full, read-only, damaged file) raises in the training code; otherwise it warns "
        "once and is counted",
        default=False,
    ),
    Setting(
        "attach",
        "LOCALTRACK_ATTACH",
        Kind.FLAG,
        "logging to a run that the store does not know attaches to it: it is taken to exist elsewhere, and nobody is "
        "asked ([api.md](api.md#attached-runs))",
        default=False,
    ),
    Setting(
        "autostart",
        "LOCALTRACK_AUTOSTART",
        Kind.FLAG,
        "the first run of a process has a daemon started for its store, unless one runs; it ends by itself "
        "([notebooks and jobs](how-to/notebooks-and-jobs.md))",
        default=False,
    ),
    Setting(
        "locking",
        "LOCALTRACK_LOCKING",
        Kind.CHOICE,
        "how a journal locks its file; auto is exclusive on network file systems, normal elsewhere",
        default="auto",
        choices=LOCKING,
    ),
    Setting(
        "truncate_long_values",
        "MLFLOW_TRUNCATE_LONG_VALUES",
        Kind.FLAG,
        "param values over 6000 characters and run tag values over 8000 are cut, with a warning each time, as MLflow "
        "cuts them; false: they are refused",
        default=True,
    ),
    Setting(
        "async_logging",
        "MLFLOW_ENABLE_ASYNC_LOGGING",
        Kind.FLAG,
        "log calls return a `RunOperations`; it is finished when the call returns, because the record is in the "
        "journal",
        default=False,
    ),
    Setting(
        "remote",
        "LOCALTRACK_REMOTE",
        Kind.TEXT,
        "where runs go that name no remote of their own; `MLFLOW_TRACKING_URI`, when it names a server, comes after "
        "the variable and before the file",
        default_words="none",
        example="https://tracking.example",
    ),
    Setting(
        "dialect",
        "LOCALTRACK_DIALECT",
        Kind.CHOICE,
        "how to talk to a server that is named by an http(s) address; auto is databricks for hosts of Databricks, "
        "mlflow elsewhere",
        default="auto",
        choices=DIALECTS,
    ),
    Setting(
        "connections",
        "LOCALTRACK_CONNECTIONS",
        Kind.WHOLE,
        "requests that `localtrack sync` and `verify` keep open at once",
        default=2,
        least=1,
        most=64,
    ),
    Setting(
        "settle_seconds",
        "LOCALTRACK_SETTLE_SECONDS",
        Kind.NUMBER,
        "how long a remote may still execute a request whose reply was lost",
        default_words="120; Databricks: 300",
        example=120.0,
        most=86_400,
    ),
    Setting(
        "databricks_folder",
        "LOCALTRACK_DATABRICKS_FOLDER",
        Kind.FOLDER,
        "workspace folder of experiments whose names are no absolute paths, such as `/Shared/team`",
        default="",
        default_words="the user's home",
        example="/Shared/team",
    ),
    Setting(
        "gc_older_than",
        "LOCALTRACK_GC_OLDER_THAN",
        Kind.AGE,
        "`localtrack gc` leaves runs and models that were logged to within this age: 12h, 7d, 4w, or 0",
        default=30 * 86_400.0,
        default_words="30d",
        example="30d",
    ),
    Setting(
        "gc_max_bytes",
        "LOCALTRACK_GC_MAX_BYTES",
        Kind.SIZE,
        "`localtrack gc` removes only until the files of the store take no more: 500MB, 20GB, 1.5TiB",
        default_words="none: whatever may go",
        example="20GB",
    ),
)
