"""`localtrack config`: each setting, its value and who says so; or an example of a settings file. Shows no secret."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import click

from localtrack import settings, settings_file
from localtrack.cli import screen
from localtrack.cli.options import json_option
from localtrack.cli.table import Column
from localtrack.errors import TrackingError
from localtrack.settings import Found
from localtrack.settings_file import SettingsFile
from localtrack.settings_table import SHARED, Kind, Setting, written
from localtrack.store import Store
from localtrack.tracking_uri import parse
from localtrack_sync.daemon.settings_file import resolve_daemon
from localtrack_sync.daemon.settings_table import DAEMON

#: Variables that are not ours, and may be shown.
SHOWN = (
    "MLFLOW_EXPERIMENT_NAME", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID", "MLFLOW_ACTIVE_MODEL_ID",
    "MLFLOW_TRACKING_INSECURE_TLS", "MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH",
    "REQUESTS_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "MLFLOW_WORKSPACE", "MLFLOW_HTTP_REQUEST_TIMEOUT",
    "MLFLOW_TRACKING_AWS_SIGV4", "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CONFIG_FILE", "DATABRICKS_AUTH_TYPE",
    "DATABRICKS_WORKSPACE_ID", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "NO_PROXY",
)  # fmt: skip
#: Those that are addresses of servers: user, password and query are left out.
ADDRESSES = ("MLFLOW_TRACKING_URI", "DATABRICKS_HOST")
#: Those of which only is told whether they are set.
HIDDEN = (
    "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_TRACKING_AUTH",
    "MLFLOW_RUN_CONTEXT", "MLFLOW_S3_ENDPOINT_URL", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET", "HTTP_PROXY", "HTTPS_PROXY",
)  # fmt: skip
NOT_SHOWN = "(set, not shown)"
_WIDTH = 100
_HEAD = """\
# Settings of localtrack for this user. Everything is optional; what stands here is what counts without it.
# It is read from $LOCALTRACK_CONFIG, else from config.toml in ~/.config/localtrack. Only you may be able to write it.
# Variables of the environment win over it. No secrets: those belong into MLFLOW_TRACKING_* or ~/.mlflow/credentials.
"""


@click.command(short_help="Show each setting, and where it comes from.")
@click.option("--example", is_flag=True, help="Print an example of a settings file instead, with every setting.")
@click.option("--store", metavar="PATH", help="Store directory, as for the other commands.")
@json_option
@click.pass_context
def config(context: click.Context, *, example: bool, store: str | None, as_json: bool) -> None:
    """Show each setting: its value, and where it comes from.

    That is a command-line option, a variable of the environment, the settings file, or the default; the first of them
    wins. Secrets are not shown. Reads no store and asks no server.

    Ends with 2 when a setting has a value that it cannot have, or the settings file cannot be used.
    """
    if example:
        if as_json:
            raise click.UsageError("--example prints a settings file, which is no JSON.")
        click.echo(example_file(), nl=False)
        return
    given = store or context.find_root().params.get("store")
    file = settings_file.here(os.environ)
    found = effective(os.environ, given)
    if as_json:
        screen.document(
            {
                "schema": 1,
                "file": file.path or None,
                "settings": [_described(one, file) for one in found],
                "variables": [
                    {"variable": name, "is_set": bool(os.environ.get(name)), "value": shown_variable(os.environ, name)}
                    for name in (*ADDRESSES, *SHOWN, *HIDDEN)
                ],
            }
        )
        return
    _print(file, found)


def effective(environ: Mapping[str, str], store: str | None = None) -> list[Found]:
    """Every setting as it is in force; `store` is the one given on the command line.

    Raises:
        SettingsError: something has a value that it cannot have, or the file cannot be used.
    """
    shared = settings.resolve(environ)
    if store:
        shared[0] = shared[0]._replace(value=Store.at(store).path, origin="option", source="--store")
    assert shared[0].setting.key == "store"
    return [*shared, *resolve_daemon(environ, [store] if store else [])]


def _print(file: SettingsFile, found: Sequence[Found]) -> None:
    path = settings_file.path_of(os.environ)
    click.echo(f"Settings file {path}" + ("" if file.path else "  (there is none)"))
    click.echo()
    columns = (Column("setting"), Column("value", least=20), Column("from", least=20))
    screen.table(columns, [(one.setting.name, shown(one), came_from(one, file)) for one in found])
    others = [name for name in (*ADDRESSES, *SHOWN, *HIDDEN) if os.environ.get(name)]
    if others:
        click.echo()
        screen.table(
            (Column("other variables"), Column("value", least=20)),
            [(name, shown_variable(os.environ, name) or NOT_SHOWN) for name in others],
        )


def came_from(found: Found, file: SettingsFile) -> str:
    """Who says so: default, the file with the line, the variable or the option."""
    if found.origin == "file":
        return file.place(found.setting.key, found.setting.table)
    return found.source or found.origin


def shown(found: Found) -> str:
    """The value in words, without secrets."""
    if found.value in (None, ""):
        return plain(found.setting.default_words) or "none"
    if found.setting.key == "remote":
        return _address(found.value) or NOT_SHOWN
    if isinstance(found.value, tuple):
        return os.pathsep.join(found.value)
    return found.value if isinstance(found.value, str) else written(found.value)


def _described(found: Found, file: SettingsFile) -> dict[str, Any]:
    setting = found.setting
    value = found.value if setting.key != "remote" or found.value is None else _address(found.value)
    return {
        "setting": setting.name,
        "variable": setting.variable,
        "value": value,
        "default": setting.default,
        "origin": found.origin,
        "source": came_from(found, file) if found.origin != "default" else "",
    }


def shown_variable(environ: Mapping[str, str], name: str) -> str | None:
    """The value of a variable that is not ours; None when it is unset, or is not to be shown."""
    value = environ.get(name, "")
    if name in ADDRESSES:
        return _address(value)
    return value or None if name in SHOWN else None


def _address(uri: str) -> str | None:
    """An address or path without user, password and query; None for anything else, whatever it may hold."""
    try:
        target = parse(uri)
    except TrackingError:
        return None
    return target.remote or target.store


def plain(text: str) -> str:
    """A text of the table without Markdown."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("`", "")


def example_file() -> str:
    """A settings file in which every setting stands, as a comment."""
    tables = "".join(f"\n{_entry(one)}" for one in SHARED), "".join(f"\n{_entry(one)}" for one in DAEMON)
    return f"{_HEAD}{tables[0]}\n[{settings_file.DAEMON}]\n{tables[1]}"


def _entry(setting: Setting) -> str:
    words = plain(setting.meaning)
    if setting.range:
        words += f" ({setting.range})"
    if setting.default_words:
        words += f"; default: {plain(setting.default_words)}"
    value = setting.default if setting.example is None else setting.example
    lines = textwrap.wrap(words[0].upper() + words[1:] + ".", _WIDTH, initial_indent="# ", subsequent_indent="# ")
    return "\n".join([*lines, f"# {setting.key} = {_toml(setting, value)}"]) + "\n"


def _toml(setting: Setting, value: object) -> str:
    assert value is not None, f"{setting.name} needs an example"
    whole = setting.kind is Kind.NUMBER and isinstance(value, float) and value.is_integer()
    return f"{value:.0f}" if whole else f'"{value}"' if isinstance(value, str) else written(value)
