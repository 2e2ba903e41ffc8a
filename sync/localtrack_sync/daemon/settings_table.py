"""The daemon's settings as data: one row for each field of DaemonSettings, beside those of `localtrack`."""

from __future__ import annotations

from localtrack.settings_file import DAEMON as TABLE
from localtrack.settings_table import Kind, Setting
from localtrack_sync.daemon.daemon_settings import WATCH, DaemonSettings

_DAY = 86_400.0
_FORMATS = ("text", "json")
#: The shortest time between two looks: less would keep a core busy.
_SHORTEST = 0.05
#: The defaults; which stores there are is not one of them.
_USUAL = DaemonSettings(stores=())


def _seconds(key: str, variable: str, meaning: str, least: float, most: float) -> Setting:
    usual = getattr(_USUAL, key)
    return Setting(key, variable, Kind.NUMBER, meaning, usual, least=least, most=most, table=TABLE)


DAEMON = (
    Setting(
        "stores",
        "LOCALTRACK_DAEMON_STORES",
        Kind.PATHS,
        "stores that the daemon delivers; in the variable separated by colons",
        default_words="the store that training code logs to",
        example=["/scratch/me/store", "~/other"],
        table=TABLE,
    ),
    _seconds(
        "poll_seconds",
        "LOCALTRACK_DAEMON_POLL_SECONDS",
        "the slow look at everything, in case an event was lost",
        _SHORTEST,
        _DAY,
    ),
    _seconds(
        "poll_seconds_without_events",
        "LOCALTRACK_DAEMON_POLL_SECONDS_WITHOUT_EVENTS",
        "how often to look where events do not exist (network file systems)",
        _SHORTEST,
        _DAY,
    ),
    _seconds(
        "artifact_scan_seconds",
        "LOCALTRACK_DAEMON_ARTIFACT_SCAN_SECONDS",
        "how often artifact directories are looked through for files that others wrote there",
        _SHORTEST,
        _DAY,
    ),
    _seconds(
        "retry_cap_seconds",
        "LOCALTRACK_DAEMON_RETRY_CAP_SECONDS",
        "the longest pause before a remote that is away is tried again",
        _SHORTEST,
        _DAY,
    ),
    _seconds(
        "splay_seconds",
        "LOCALTRACK_DAEMON_SPLAY_SECONDS",
        "the first requests are put off by a random part of this, for sites with many daemons",
        0,
        _DAY,
    ),
    _seconds(
        "reconnect_splay_seconds",
        "LOCALTRACK_DAEMON_RECONNECT_SPLAY_SECONDS",
        "the same when a remote is back after a long outage",
        0,
        _DAY,
    ),
    _seconds(
        "long_outage_seconds",
        "LOCALTRACK_DAEMON_LONG_OUTAGE_SECONDS",
        "how long a remote must have been away for that",
        0,
        30 * _DAY,
    ),
    Setting(
        "connections_max",
        "LOCALTRACK_DAEMON_CONNECTIONS_MAX",
        Kind.WHOLE,
        "requests open at once to one remote, at most; how many there are adapts to it",
        _USUAL.connections_max,
        least=1,
        most=64,
        table=TABLE,
    ),
    _seconds(
        "dead_run_grace_seconds",
        "LOCALTRACK_DAEMON_DEAD_RUN_GRACE_SECONDS",
        "how long after its trainer died a run is left open; a requeued job may resume it",
        0,
        30 * _DAY,
    ),
    _seconds(
        "stop_seconds",
        "LOCALTRACK_DAEMON_STOP_SECONDS",
        "how long to wait for requests in flight when it is told to stop",
        0,
        3600,
    ),
    Setting(
        "watch",
        "LOCALTRACK_DAEMON_WATCH",
        Kind.CHOICE,
        "how it learns of news; auto is events where the file system has them",
        _USUAL.watch,
        choices=WATCH,
        table=TABLE,
    ),
    Setting(
        "metrics_file",
        "LOCALTRACK_DAEMON_METRICS_FILE",
        Kind.PATH,
        "a file for Prometheus' textfile collector ([monitoring.md](how-to/monitoring.md))",
        _USUAL.metrics_file,
        default_words="none",
        example="/var/lib/node_exporter/localtrack.prom",
        table=TABLE,
    ),
    Setting(
        "metrics_port",
        "LOCALTRACK_DAEMON_METRICS_PORT",
        Kind.WHOLE,
        "port of an endpoint for Prometheus on 127.0.0.1; 0: none",
        _USUAL.metrics_port,
        most=65_535,
        table=TABLE,
    ),
    _seconds(
        "idle_exit_seconds",
        "LOCALTRACK_DAEMON_IDLE_EXIT_SECONDS",
        "end after so long without anything owed and without a living trainer; 0: never",
        0,
        30 * _DAY,
    ),
    Setting(
        "log_format",
        "LOCALTRACK_DAEMON_LOG_FORMAT",
        Kind.CHOICE,
        "how its log is written",
        _USUAL.log_format,
        choices=_FORMATS,
        table=TABLE,
    ),
)
