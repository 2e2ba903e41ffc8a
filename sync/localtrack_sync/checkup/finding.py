"""A finding: what was found, why it matters, what to do about it. Pure."""

from __future__ import annotations

import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from urllib.parse import quote

HIDDEN = "***"
#: A shorter secret is found in any text by chance.
_SHORTEST_SECRET = 4


class Level(Enum):
    """How much a finding matters; warnings and problems need attention."""

    OK = "ok"
    NOTE = "note"
    WARNING = "warning"
    PROBLEM = "problem"

    @property
    def needs_attention(self) -> bool:
        """Whether somebody should do something."""
        return self in (Level.WARNING, Level.PROBLEM)


class Group(Enum):
    """What a finding is about."""

    MACHINE = "machine"
    STORE = "store"
    DAEMON = "daemon"
    REMOTE = "remote"


@dataclass(frozen=True, slots=True)
class Kind:
    """What can be found, as docs/how-to/troubleshooting.md lists it.

    Attributes:
        id: short and fixed: scripts may look for it.
        title: what, in a few words.
        why: why it matters; "" for what is in order.
        advice: what to do; names in braces are filled in by the finding.
    """

    id: str
    group: Group
    level: Level
    title: str
    why: str = ""
    advice: str = ""

    @property
    def advice_in_general(self) -> str:
        """The advice without a finding: what would be filled in is named in capitals."""
        names = {name for _, name, _, _ in string.Formatter().parse(self.advice) if name}
        return self.advice.format_map({name: name.upper() for name in names})


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        detail: the particulars, one or two sentences or a list.
        advice: what to do.
        remote: the remote's URL, or "".
    """

    kind: Kind
    detail: str = ""
    advice: str = ""
    remote: str = ""

    @property
    def level(self) -> Level:
        """How much it matters."""
        return self.kind.level


@dataclass(frozen=True, slots=True)
class Finder:
    """Makes findings from a table of kinds.

    Attributes:
        remote: the remote that they are about, or "".
    """

    kinds: Mapping[str, Kind]
    remote: str = field(default="")

    def __call__(self, kind_id: str, detail: str = "", **values: str) -> Finding:
        """The finding of a kind; `values` fill in its advice.

        Raises:
            KeyError: there is no such kind, or its advice wants another value.
        """
        kind = self.kinds[kind_id]
        return Finding(kind, detail, kind.advice.format_map(values), self.remote)


def by_id(kinds: Iterable[Kind]) -> dict[str, Kind]:
    """Kinds by their ids, in the same order."""
    return {kind.id: kind for kind in kinds}


def hide(findings: Iterable[Finding], secrets: Iterable[str]) -> list[Finding]:
    """The findings with every secret written as `***`: a server may send back in its words what it was sent."""
    wanted = {
        form for secret in secrets if len(secret) >= _SHORTEST_SECRET for form in (secret, quote(secret, safe=""))
    }
    ordered = sorted(wanted, key=len, reverse=True)  # one may be a part of another

    def hidden(text: str) -> str:
        for secret in ordered:
            text = text.replace(secret, HIDDEN)
        return text

    return [replace(one, detail=hidden(one.detail), advice=hidden(one.advice)) for one in findings]


def exit_code(findings: Iterable[Finding]) -> int:
    """0: nothing needs attention; 4: something does."""
    return 4 if any(finding.level.needs_attention for finding in findings) else 0
