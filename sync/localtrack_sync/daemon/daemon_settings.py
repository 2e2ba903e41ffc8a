"""How the daemon works, as one value; docs/settings.md explains each, `localtrack config` shows where it comes from."""

from __future__ import annotations

from dataclasses import dataclass

WATCH = ("auto", "events", "polling")


@dataclass(frozen=True, slots=True)
class DaemonSettings:
    """How the daemon works. Seconds everywhere.

    Attributes:
        stores: absolute paths of the stores that it delivers.
        poll_seconds: the slow look at everything, in case an event was lost.
        poll_seconds_without_events: how often to look where events do not exist (network file systems).
        artifact_scan_seconds: how often artifact directories are looked through for files that others wrote there.
        retry_cap_seconds: the longest pause before a remote that is away is tried again.
        splay_seconds: the first requests are put off by a random part of this (sites with many daemons).
        reconnect_splay_seconds: the same after a long outage.
        long_outage_seconds: how long a remote must have been away for that.
        connections_max: requests open at once to one remote, at most; how many there are adapts.
        dead_run_grace_seconds: how long after its trainer died a run is still left open; a requeued job may resume it.
        stop_seconds: how long to wait for requests in flight when it is told to stop.
        watch: how it learns of news: events, polling, or auto: events where the file system has them.
        metrics_file: a file for Prometheus' textfile collector, or "".
        metrics_port: port of an endpoint for Prometheus on 127.0.0.1, or 0.
        idle_exit_seconds: end after so long without anything owed and without a living trainer; 0: never.
        log_format: text or json.
    """

    stores: tuple[str, ...]
    poll_seconds: float = 30.0
    poll_seconds_without_events: float = 2.0
    artifact_scan_seconds: float = 30.0
    retry_cap_seconds: float = 300.0
    splay_seconds: float = 0.0
    reconnect_splay_seconds: float = 180.0
    long_outage_seconds: float = 300.0
    connections_max: int = 4
    dead_run_grace_seconds: float = 600.0
    stop_seconds: float = 10.0
    watch: str = "auto"
    metrics_file: str = ""
    metrics_port: int = 0
    idle_exit_seconds: float = 0.0
    log_format: str = "text"
