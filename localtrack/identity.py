"""Who may direct credentials: a secret of this user proves which runs' default remotes this user wrote.

A journal can come from elsewhere (a bundle, a shared directory). Whoever wrote it chose the default remote of its
runs, and a replay that followed that blindly would send this user's credentials there. So each run that names a remote
carries an HMAC-SHA256 over (run id, remote) under a key that only this user has, and a replay follows a remote from a
journal only when the proof holds.
"""

from __future__ import annotations

import os

_DOMAIN = b"localtrack default remote 1"
_KEY_BYTES = 32


def default_key_file() -> str:
    """The key file of this user by the environment: `<config dir>/localtrack/identity.key`."""
    from localtrack.settings import load

    return load(os.environ).identity_key


def proof(run_id: str, remote: str, key_file: str) -> str | None:
    """64 hex digits that show that this user chose `remote` for this run; the key is made at first use.

    None when the key can neither be read nor made: then a replay needs `--to`, and nothing else is lost.
    """
    key = _read(key_file) or _make(key_file)
    return None if key is None else _mac(key, run_id, remote)


def verify(run_id: str, remote: str, given: str | None, key_file: str | None = None) -> bool:
    """Whether `given` is this user's proof for (run_id, remote). Without a key or a proof it is not; nothing raises."""
    if not given:
        return False
    key = _read(key_file or default_key_file())
    if key is None:
        return False
    import hmac

    return hmac.compare_digest(_mac(key, run_id, remote).encode(), given.encode("utf-8", "replace"))


def _mac(key: bytes, run_id: str, remote: str) -> str:
    import hashlib
    import hmac

    message = b"\0".join((_DOMAIN, run_id.encode("utf-8", "surrogatepass"), remote.encode("utf-8", "surrogatepass")))
    return hmac.new(key, message, hashlib.sha256).hexdigest()


def _read(path: str) -> bytes | None:
    """The key in `path`, or None: missing, unreadable, not this user's file, open to others, or not a key."""
    try:
        with open(path, "rb") as file:
            about = os.fstat(file.fileno())
            # A key that others could write or read proves nothing.
            if about.st_uid != os.geteuid() or about.st_mode & 0o077:
                return None
            key = bytes.fromhex(file.read(2 * _KEY_BYTES + 2).decode("ascii").strip())
    except (OSError, ValueError):
        return None
    return key if len(key) == _KEY_BYTES else None


def _make(path: str) -> bytes | None:
    """Make the key file, whole or not at all; of two processes that try at once, one wins and both use its key."""
    draft = f"{path}.{os.getpid()}.{os.urandom(4).hex()}"
    try:
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with open(handle, "w", encoding="ascii") as file:
                file.write(os.urandom(_KEY_BYTES).hex() + "\n")
                file.flush()
                os.fsync(file.fileno())
            _publish(draft, path)
        finally:
            os.unlink(draft)
    except OSError:
        pass
    return _read(path)


def _publish(draft: str, path: str) -> None:
    """Give the draft its name unless the name is taken; link() is the one call that does both at once."""
    try:
        os.link(draft, path)
    except FileExistsError:
        return
