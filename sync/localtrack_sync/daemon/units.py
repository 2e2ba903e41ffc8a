"""Files by which a system starts the daemon: a systemd user unit, a launchd agent, a task of Windows. Pure.

None of them holds a secret: credentials are read by the daemon, from the environment file or the tools' own files.
"""

from __future__ import annotations

import plistlib
import re
from dataclasses import dataclass
from html import escape

#: Stands in every file that we write: by it an older one is known as ours.
MARK = "Written by `localtrack daemon install`"
#: Name of the unit, of the agent and of the task.
SYSTEMD_NAME, LAUNCHD_NAME, WINDOWS_NAME = "localtrack.service", "localtrack.daemon", "localtrack"
#: Seconds that a stop may take beyond `stop_seconds`, before the system ends the daemon.
STOP_MARGIN_S = 20


@dataclass(frozen=True, slots=True)
class Service:
    """What a system has to know.

    Attributes:
        python: absolute path of the interpreter that localtrack is installed for.
        stores: for `--store`; none: the daemon reads its settings.
        environment_file: absolute path of a file of variables, which may be missing (systemd only).
        stop_seconds: as in the settings.
        log: absolute path of the log file (launchd only: systemd keeps the log itself).
        distribution: of the Windows Subsystem for Linux, or "" (Windows only).
    """

    python: str
    stores: tuple[str, ...]
    environment_file: str
    stop_seconds: float
    log: str = ""
    distribution: str = ""

    @property
    def arguments(self) -> list[str]:
        """What follows the interpreter."""
        return ["-m", "localtrack", "daemon", "run", *(word for store in self.stores for word in ("--store", store))]


def systemd_unit(service: Service) -> str:
    """A unit for `systemctl --user`.

    The hardening is what a user manager can do: seccomp filters, no new privileges. Options that need mount namespaces
    (ProtectSystem, PrivateTmp and the like) fail there on many machines, and are left out.
    """
    command = " ".join([systemd_path(service.python), *map(systemd_word, service.arguments)])
    return f"""# {MARK}; that command writes it again.
# Put changes of yours into a drop-in: systemctl --user edit {SYSTEMD_NAME}
[Unit]
Description=localtrack: delivers what was logged to its tracking servers
StartLimitIntervalSec=0

[Service]
Type=notify
NotifyAccess=main
ExecStart={command}
ExecReload=/bin/kill -HUP $MAINPID
# Variables, one NAME=value a line: settings, and credentials if they do not stand in ~/.mlflow/credentials.
EnvironmentFile=-{service.environment_file.replace("%", "%%")}
# Not the home directory: modules that lie there are not taken for Python's own.
WorkingDirectory=/
WatchdogSec=120
Restart=on-failure
RestartSec=10
TimeoutStartSec=300
TimeoutStopSec={service.stop_seconds + STOP_MARGIN_S:.0f}
KillMode=mixed
UMask=0077
NoNewPrivileges=yes
LockPersonality=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service

[Install]
WantedBy=default.target
"""


def systemd_word(text: str) -> str:
    """One word of a command line of systemd: no specifier, variable or escape in it is taken for one."""
    return systemd_path(text).replace("$", "$$")


def systemd_path(text: str) -> str:
    """The same for the program itself, where `$` means nothing."""
    told = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t").replace("%", "%%")
    return told if re.fullmatch(r"[\w./%+:@,=-]+", told) else f'"{told}"'


def launchd_agent(service: Service) -> str:
    """A property list for ~/Library/LaunchAgents."""
    agent = {
        "Label": LAUNCHD_NAME,
        "ProgramArguments": [service.python, *service.arguments, "--log-file", service.log],
        "RunAtLoad": True,
        "KeepAlive": {"SuccessfulExit": False},
        "ThrottleInterval": 10,
        "ExitTimeOut": round(service.stop_seconds + STOP_MARGIN_S),
        "ProcessType": "Background",
        "WorkingDirectory": "/",
        "Umask": 0o077,
    }
    head, rest = plistlib.dumps(agent, sort_keys=False).decode().split("\n", 1)
    return f"{head}\n<!-- {MARK} -->\n{rest}"


def windows_task(service: Service) -> str:
    """A task for `schtasks /Create /XML`: it starts localtrack in the Windows Subsystem for Linux."""
    distribution = ["-d", service.distribution] if service.distribution else []
    words = [*distribution, "--exec", service.python, *service.arguments]
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<!-- {MARK} -->
<Task version="1.2" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>localtrack: delivers what was logged to its tracking servers</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger><Enabled>true</Enabled></LogonTrigger>
  </Triggers>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <RestartOnFailure><Interval>PT1M</Interval><Count>999</Count></RestartOnFailure>
  </Settings>
  <Actions>
    <Exec>
      <Command>wsl.exe</Command>
      <Arguments>{escape(" ".join(map(_windows_word, words)))}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


def _windows_word(text: str) -> str:
    """One word as programs for Windows take their command line apart."""
    if re.fullmatch(r"[^\s\"]+", text):
        return text
    doubled = re.sub(r'(\\*)"', r'\1\1\\"', text)
    return '"' + re.sub(r"(\\+)$", r"\1\1", doubled) + '"'
