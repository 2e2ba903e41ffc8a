"""`localtrack daemon install` and `uninstall`: the file by which the system starts the daemon, and what to run then."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress

import click

from localtrack.errors import LocaltrackError, ReplayError
from localtrack.store import Store
from localtrack_sync.commands.daemon_parts import parts, stores_option
from localtrack_sync.commands.daemon_places import Place, environment_file, place_of
from localtrack_sync.daemon import units
from localtrack_sync.daemon.log_file import default_log
from localtrack_sync.daemon.settings_file import load_daemon_settings

KINDS = ("systemd", "launchd", "windows")
_BY_PLATFORM = {"darwin": "launchd", "win32": "windows", "cygwin": "windows"}
#: Variables that the daemon or a library of its reads; only their names are shown.
_OURS = ("LOCALTRACK_", "MLFLOW_", "DATABRICKS_", "AWS_", "AZURE_", "GOOGLE_")
_ALSO = (
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "XDG_DATA_HOME",
)
_SYSTEMCTL = ("systemctl", "--user")

kind_option = click.option(
    "--kind", type=click.Choice(KINDS), help="What starts it. Default: by this machine; systemd on Linux."
)


@click.command(short_help="Have the system start it: systemd, launchd, Windows.")
@kind_option
@click.option("--now", is_flag=True, help="Run systemctl too: it is started now and whenever you log in.")
@stores_option
def install(stores: tuple[str, ...], *, kind: str | None, now: bool) -> None:
    """Write the file by which the system starts the daemon, and say what to run next.

    A systemd user unit, a launchd agent, or a task of Windows that starts it in the Windows Subsystem for Linux. No
    secret is written: credentials are read from ~/.mlflow/credentials, or from the environment file that is named.
    """
    how = _kind(kind, now=now)
    place, environ = place_of(how, os.environ), os.environ
    service = _service(stores, how, environ)
    _write(place, _text(how, service))
    click.echo(f"Wrote {place.path}")
    for store in load_daemon_settings(environ, stores).stores:
        click.echo(f"  it delivers {store}")
    _say_credentials(how, service.environment_file, environ)
    if now:
        _systemctl(["daemon-reload"])
        _systemctl(["enable", "--now", units.SYSTEMD_NAME])
        click.echo("It runs. To have it run while you are not logged in: loginctl enable-linger")
        return
    click.echo("Run next:")
    for command, reason in place.enable:
        click.echo(f"  {command}" + (f"   # {reason}" if reason else ""))


@click.command(short_help="Remove what install has written.")
@kind_option
@click.option("--now", is_flag=True, help="Run systemctl too: it is ended first.")
def uninstall(*, kind: str | None, now: bool) -> None:
    """Remove the file that install has written, and say what to run. Stores, logs and the environment file stay."""
    how = _kind(kind, now=now)
    place = place_of(how, os.environ)
    if not _is_ours(place):
        click.echo(f"Nothing is installed: there is no {place.path}")
        return
    if now:
        _systemctl(["disable", "--now", units.SYSTEMD_NAME])
    os.unlink(place.path)
    _unlink_wanted(place.path)
    click.echo(f"Removed {place.path}")
    if os.path.exists(environment_file(os.environ)):
        click.echo(f"{environment_file(os.environ)} stays; remove it if you do not need it any more.")
    if now:
        _systemctl(["daemon-reload"])
        return
    click.echo("If it was started, run:")
    for command in place.disable:
        click.echo(f"  {command}")


def _kind(given: str | None, *, now: bool) -> str:
    kind = given or _BY_PLATFORM.get(parts().platform, "systemd")
    if now and kind != "systemd":
        raise click.UsageError("--now is for systemd only; run the commands that are named without it.")
    return kind


def _service(stores: tuple[str, ...], kind: str, environ: Mapping[str, str]) -> units.Service:
    settings = load_daemon_settings(environ, stores)
    named = settings.stores if stores or settings.stores != _bare_stores(environ) else ()
    log = default_log(environ, Store(settings.stores[0])) if kind == "launchd" else ""
    distribution = environ.get("WSL_DISTRO_NAME", "")
    return units.Service(
        os.path.abspath(sys.executable), named, environment_file(environ), settings.stop_seconds, log, distribution
    )


def _bare_stores(environ: Mapping[str, str]) -> tuple[str, ...]:
    """The stores that a service finds by itself: it has none of the variables of this shell."""
    try:
        return load_daemon_settings({"HOME": environ.get("HOME") or os.path.expanduser("~")}).stores
    except LocaltrackError:
        return ()


def _text(kind: str, service: units.Service) -> str:
    makers = {"systemd": units.systemd_unit, "launchd": units.launchd_agent, "windows": units.windows_task}
    return makers[kind](service)


def _is_ours(place: Place) -> bool:
    """Whether our file is there; False when none is.

    Raises:
        ReplayError: a file of somebody else is there.
    """
    try:
        with open(place.path, encoding=place.encoding, errors="replace") as file:
            text = file.read()
    except FileNotFoundError:
        return False
    except UnicodeError:
        text = ""
    if units.MARK not in text:
        raise ReplayError(
            f"{place.path} was not written by `localtrack daemon install`; it was left alone.", "Move it away first."
        )
    return True


def _write(place: Place, text: str) -> None:
    _is_ours(place)
    os.makedirs(os.path.dirname(place.path), mode=0o700, exist_ok=True)
    beside = f"{place.path}.{os.getpid()}"
    try:
        handle = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(handle, "w", encoding=place.encoding) as file:
            file.write(text)
        os.replace(beside, place.path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(beside)


def _say_credentials(kind: str, path: str, environ: Mapping[str, str]) -> None:
    unseen = sorted(
        name for name in environ if name.startswith(_OURS) or (name.upper() in _ALSO and environ[name].strip())
    )
    if kind == "systemd":
        _make_environment_file(path)
        click.echo(f"It reads variables from {path} (0600: only you can read it), credentials also from")
        click.echo("~/.mlflow/credentials and ~/.databrickscfg.")
    else:
        click.echo("It reads credentials from ~/.mlflow/credentials and ~/.databrickscfg.")
    if unseen:
        where = f"; put what it needs into {path}" if kind == "systemd" else ""
        click.echo(f"It does not see these variables of this shell{where}:")
        click.echo("  " + " ".join(unseen))


def _make_environment_file(path: str) -> None:
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        if os.stat(path).st_mode & 0o077:
            raise ReplayError(
                f"{path} can be read by others, and may hold credentials.", f"Run: chmod 600 {path}"
            ) from None
        return
    with open(handle, "w", encoding="utf-8") as file:
        file.write("# Variables of the localtrack daemon, one NAME=value a line; restart it after a change:\n")
        file.write(f"# systemctl --user restart {units.SYSTEMD_NAME}\n")


def _unlink_wanted(unit: str) -> None:
    """The link by which an enabled unit is started: without its file it would lead nowhere."""
    link = os.path.join(os.path.dirname(unit), "default.target.wants", os.path.basename(unit))
    if os.path.islink(link) and os.path.realpath(link) == os.path.realpath(unit):
        os.unlink(link)


def _systemctl(words: Sequence[str]) -> None:
    command = " ".join([*_SYSTEMCTL, *words])
    try:
        done = subprocess.run([*_SYSTEMCTL, *words], capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        raise ReplayError(f"{command} could not be run: {error}", "Run it by hand, in a session of yours.") from None
    if done.returncode:
        raise ReplayError(
            f"{command} failed: {done.stderr.strip() or done.returncode}",
            "Where there is no systemd user manager (after su, in containers): localtrack daemon start, or run.",
        )
