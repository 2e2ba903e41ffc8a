"""Which file systems a path lies on: WAL needs shared memory, which network file systems do not have."""

from __future__ import annotations

import os

#: File systems on which the shared memory of WAL does not work, or not between hosts (`fuse.sshfs` and the like too).
NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse.", "lustre", "gpfs", "beegfs", "ceph")


MOUNTINFO = "/proc/self/mountinfo"


def on_network(path: str, mountinfo: str = MOUNTINFO) -> bool:
    """Whether `path` lies on a network file system; False where the system does not tell (no /proc)."""
    return is_network(file_system(path, mountinfo))


def is_network(kind: str) -> bool:
    """Whether this kind of file system, as `file_system` names it, is one of the network."""
    return kind.startswith(NETWORK_FILE_SYSTEMS) or kind == "fuse"


def file_system(path: str, mountinfo: str = MOUNTINFO) -> str:
    """Kind of the file system on which `path` lies (`ext4`, `nfs4`); "" where the system does not tell (no /proc)."""
    return _mount(path, mountinfo)[0]


def locks_reach_other_hosts(path: str, mountinfo: str = MOUNTINFO) -> bool:
    """Whether a lock that another host holds on a file at `path` is certainly seen here.

    NFS unless it was mounted with local locks, Lustre with `flock`, GPFS, Ceph. Of others (9p, FUSE, CIFS, BeeGFS) we
    do not know.
    """
    kind, options = _mount(path, mountinfo)
    if kind.startswith("nfs"):
        return not options & {"nolock", "local_lock=all", "local_lock=posix"}
    if kind == "lustre":
        return "flock" in options
    return kind in ("gpfs", "ceph")


def _mount(path: str, mountinfo: str) -> tuple[str, frozenset[str]]:
    """Kind and options of the file system that `path` lies on; "" where the system does not tell."""
    real = os.path.realpath(path)
    best, kind, options = "", "", ""
    try:
        with open(mountinfo, encoding="utf-8", errors="surrogateescape") as file:
            lines = file.readlines()
    except OSError:
        return "", frozenset()
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if len(fields) < 5 or not right:  # noqa: PLR2004 - field 5 is the mount point, see proc(5)
            continue
        point = _unescaped(fields[4])
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind, options = point, right.split()[0], f"{fields[5]},{right.split()[-1]}"
    return kind, frozenset(options.split(","))


def _unescaped(text: str) -> str:
    r"""A path of mountinfo: blanks and the like are written as \040."""
    for code in ("040", "011", "012", "134"):
        text = text.replace("\\" + code, chr(int(code, 8)))
    return text
