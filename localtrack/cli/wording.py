"""Numbers, ages and sizes as people read them. Pure."""

from __future__ import annotations

from datetime import datetime, timezone

MINUTE, HOUR, DAY = 60, 3600, 86400


def count(number: int, noun: str, plural: str = "") -> str:
    """`1 run`, `1,234 runs`."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"


def runs_and_models(runs: int, models: int) -> str:
    """`3 runs`, `3 runs and 1 model`, `1 model`."""
    told = [count(runs, "run")] if runs or not models else []
    return " and ".join([*told, *([count(models, "model")] if models else [])])


def size(number: int) -> str:
    """Bytes in powers of 1,000: `940 B`, `1.2 MB`."""
    value = float(number)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000:  # noqa: PLR2004 - the step from one unit to the next
            return f"{value:.0f} {unit}" if unit == "B" or value >= 100 else f"{value:.1f} {unit}"  # noqa: PLR2004
        value /= 1000
    return f"{value:.1f} TB"


def span(seconds: float) -> str:
    """A length of time in its two largest useful units: `45 s`, `3 min`, `2 h 5 min`, `12 days`."""
    whole = max(0, round(seconds))
    if whole < MINUTE:
        return f"{whole} s"
    if whole < HOUR:
        return f"{whole // MINUTE} min"
    if whole < DAY:
        return f"{whole // HOUR} h {whole % HOUR // MINUTE} min" if whole % HOUR >= MINUTE else f"{whole // HOUR} h"
    return count(whole // DAY, "day")


def ago(then_ms: int | None, now_ms: int) -> str:
    """How long ago: `3 min ago`; a moment in the future (a clock that is ahead) is said as such."""
    if then_ms is None:
        return "never"
    if then_ms > now_ms + 1000:
        return f"in {span((then_ms - now_ms) / 1000)} (a clock is ahead)"
    return f"{span((now_ms - then_ms) / 1000)} ago"


def moment(ms: int | None) -> str:
    """A time on the reader's clock, to the second: `2025-03-09 14:05:33`; empty when there is none."""
    if ms is None:
        return ""
    try:
        return datetime.fromtimestamp(ms / 1000, tz=timezone.utc).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except (OverflowError, OSError, ValueError):  # a start time that no calendar knows is still a value somebody logged
        return f"{ms} ms"


def number(value: float) -> str:
    """A metric value, short but true to six digits: `0.918333`, `nan`, `inf`."""
    return f"{value:.6g}"
