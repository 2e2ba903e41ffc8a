"""When to look at a store again: often while it is busy, seldom while it is quiet, never at much cost. Pure."""

from __future__ import annotations

from dataclasses import dataclass

#: Seconds between two looks at a busy store: a logged value has to be on the remote within a second.
BUSY_S = 0.2
#: Seconds without news after which a store is quiet.
QUIET_AFTER_S = 5.0
#: A look may take this share of the time until the next.
SHARE = 0.1
#: Files of others are looked for with this share of the time: that goes through every artifact directory.
SCAN_SHARE = 0.01

#: Seconds until what failed is tried again; doubles with each failure in a row, up to the cap.
AGAIN_BASE_S, AGAIN_CAP_S = 1.0, 60.0


def pause_after_failure(before_s: float, worked_s: float) -> float:
    """Seconds until what failed is tried again.

    Args:
        before_s: the pause before this attempt, 0 for the first.
        worked_s: how long it worked this time; long enough, and this failure is the first again.
    """
    if before_s <= 0 or worked_s > 2 * AGAIN_CAP_S:
        return AGAIN_BASE_S
    return min(2 * before_s, AGAIN_CAP_S)


@dataclass(slots=True)
class Pace:
    """When to look again.

    Attributes:
        poll_s: seconds between two looks at a quiet store whose writes are told by events.
        eventless_s: the same where there are no events.
        news_at: clock reading of the last news.
    """

    poll_s: float
    eventless_s: float
    news_at: float = float("-inf")

    def busy(self, now: float) -> bool:
        """Whether there was news lately."""
        return now < self.news_at + QUIET_AFTER_S

    def next_look(self, now: float, cost_s: float, *, events: bool) -> float:
        """Seconds from `now` until the next look, if nothing rings before.

        Args:
            now: when the last look ended.
            cost_s: what it cost: time of a processor, or of a network file system.
            events: writes are told by events.
        """
        calm = self.poll_s if events else self.eventless_s
        return max(BUSY_S if self.busy(now) else calm, cost_s / SHARE)

    @staticmethod
    def next_scan(took_s: float, every_s: float) -> float:
        """Seconds until files of others are looked for again, if nothing rings before."""
        return max(every_s, took_s / SCAN_SHARE)
