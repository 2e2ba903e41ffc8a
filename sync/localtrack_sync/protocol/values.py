"""Metric values as a remote keeps them, and identities of points. Pure.

SQL servers store infinities as the greatest finite double and -0.0 as 0.0; the file store keeps them. Both are compared
in one canonical domain.
"""

from __future__ import annotations

from typing import Any, TypeAlias

from localtrack.catalog.desired import Point

#: (key, step, timestamp, canonical value): what makes two metric points the same one.
Identity: TypeAlias = tuple[str, int, int, float | str]

LARGEST = 1.7976931348623157e308
INFINITY = float("inf")


def canonical(value: float) -> float | str:
    """One representative for all spellings of a value; NaN becomes the text "nan", so that it equals itself."""
    if value != value:  # noqa: PLR0124 - NaN is what differs from itself
        return "nan"
    if value >= LARGEST:
        return LARGEST
    if value <= -LARGEST:
        return -LARGEST
    return value + 0.0


def identity(point: Point) -> Identity:
    """Identity of a point of ours."""
    return (point.key, point.step, point.ts, canonical(point.value))


def remote_identity(metric: dict[str, Any]) -> Identity:
    """Identity of a metric in a reply (numbers may come as text, zero fields may be left out)."""
    return (
        str(metric.get("key", "")),
        int(metric.get("step") or 0),
        int(metric.get("timestamp") or 0),
        canonical(float(metric.get("value") or 0.0)),
    )
