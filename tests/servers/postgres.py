"""A PostgreSQL server of a test's own, from the binaries of Debian's packages: on 127.0.0.1, in a temporary place."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from glob import glob
from pathlib import Path
from types import TracebackType
from typing import final

from tests.servers.mlflow_server import free_port

#: Seconds until it must accept connections, and until it must have ended.
START_TIMEOUT, STOP_TIMEOUT = 60.0, 30.0
#: Who runs it when we are root, which PostgreSQL refuses to be run by: the first of these that exists.
USERS = ("postgres", "nobody")
INSTALL = "install it: apt-get install postgresql (or another PostgreSQL with initdb in /usr/lib/postgresql/*/bin)"


def postgres_bin() -> Path | None:
    """The directory with initdb and postgres, of the newest version; None when there is none."""
    homes = [Path(path).parent for path in glob("/usr/lib/postgresql/*/bin/initdb")]
    on_path = shutil.which("initdb")
    homes += [Path(on_path).parent] if on_path else []
    return max(homes, key=lambda home: (home.parent.name.isdigit() and int(home.parent.name), str(home)), default=None)


def why_not() -> str:
    """Why no server can be started here, and what to do about it; "" when one can."""
    if postgres_bin() is None:
        return f"no PostgreSQL server here; {INSTALL}"
    if os.geteuid() == 0 and (shutil.which("setpriv") is None or not _user()):
        return "PostgreSQL does not run as root, and there is no setpriv or no other user to run it as"
    return ""


def _user() -> str:
    known = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in USERS if name in known), "")


@final
class PostgresServer:
    """One server with a user `mlflow` and a password; a context manager. `new_database` gives each test its own."""

    def __init__(self) -> None:
        home = postgres_bin()
        assert home is not None, why_not()
        self._bin = home
        self._home = Path(tempfile.mkdtemp(prefix="localtrack-postgres-"))
        self._password = secrets.token_hex(16)
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0

    def start(self) -> PostgresServer:
        """Make the cluster, start it, return when it answers.

        Raises:
            RuntimeError: it did not come up; the end of its log is in the message.
        """
        data, secret = self._home / "data", self._home / "password"
        secret.write_text(self._password)
        secret.chmod(0o600)
        if os.geteuid() == 0:
            for path in (self._home, secret):
                shutil.chown(path, _user(), pwd.getpwnam(_user()).pw_gid)
        self._run("initdb", "-D", str(data), "-U", "mlflow", "-A", "scram-sha-256", f"--pwfile={secret}",
                  "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
        command = self._command("postgres", "-D", str(data), "-p", str(self.port), "-h", "127.0.0.1",
                                "-c", "unix_socket_directories=", "-c", "fsync=off")  # fmt: skip
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, cwd=self._home, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._wait()
        return self

    def new_database(self) -> str:
        """Make an empty database; its SQLAlchemy URL."""
        self._databases += 1
        name = f"mlflow_{self._databases}"
        self._run("createdb", "-h", "127.0.0.1", "-p", str(self.port), "-U", "mlflow", name)
        return f"postgresql+psycopg2://mlflow:{self._password}@127.0.0.1:{self.port}/{name}"

    def stop(self) -> None:
        """End it and remove its files."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)  # PostgreSQL's fast shutdown: connections are ended
            try:
                process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(STOP_TIMEOUT)
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> PostgresServer:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        pause = threading.Event()  # never set: a pause between two looks
        ready = [str(self._bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        while time.monotonic() < deadline:
            assert self._process is not None
            if self._process.poll() is not None:
                break
            if subprocess.run(ready, env=self._environment(), timeout=30, check=False).returncode == 0:
                return
            pause.wait(0.1)
        raise RuntimeError(f"PostgreSQL did not come up:\n{(self._home / 'server.log').read_text()[-2000:]}")

    def _run(self, program: str, *arguments: str) -> None:
        done = subprocess.run(
            self._command(program, *arguments), cwd=self._home, env=self._environment(), stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=START_TIMEOUT, check=False,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} ended with {done.returncode}:\n{(done.stdout + done.stderr)[-2000:]}")

    def _command(self, program: str, *arguments: str) -> list[str]:
        command = [str(self._bin / program), *arguments]
        if os.geteuid() != 0:
            return command
        gid = pwd.getpwnam(_user()).pw_gid
        return ["setpriv", f"--reuid={_user()}", f"--regid={gid}", "--clear-groups", *command]

    def _environment(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("PG")}
        return {**kept, "PGPASSWORD": self._password, "LC_ALL": "C", "HOME": str(self._home)}
