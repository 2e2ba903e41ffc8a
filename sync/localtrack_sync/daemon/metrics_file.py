"""A file for the textfile collector of Prometheus: always whole, because it is renamed into its place."""

from __future__ import annotations

import os
import stat

#: The owner writes, the group reads: store paths and server names are nobody else's business.
MODE = 0o640
#: What an existing file may have of its mode: nobody else writes it, nobody runs it.
_ALLOWED = 0o644


def write_metrics_file(path: str, text: str) -> None:
    """Put `text` at `path`, whole or not at all.

    Whoever reads the file gets the old text or the new one. A new file has mode 0640; one that is there already and
    belongs to this user keeps its mode, so that it can be opened to the collector once for all. A link is replaced,
    not followed.

    Raises:
        OSError: the directory is missing, or the file system refuses; what was there is untouched.
    """
    # The collector reads *.prom: a draft must not have that ending. The name is random: others may write there too.
    directory, name = os.path.split(path)
    draft = os.path.join(directory, f".{name}.{os.urandom(8).hex()}.draft")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(handle, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fchmod(handle, _mode(path))  # after the text is in it, and whatever the umask is
        os.replace(draft, path)
    except BaseException:
        os.unlink(draft)
        raise


def _mode(path: str) -> int:
    try:
        about = os.lstat(path)
    except FileNotFoundError:
        return MODE
    own = stat.S_ISREG(about.st_mode) and about.st_uid == os.geteuid()
    return stat.S_IMODE(about.st_mode) & _ALLOWED if own else MODE
