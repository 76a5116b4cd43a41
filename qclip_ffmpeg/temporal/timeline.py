"""The events of one video: in order, rounded, those of a kind that touch as one, and bounded in number."""

import msgspec

from qclip_ffmpeg.track import EVENTS, SCORE_DECIMALS, TIME_DECIMALS, Event

MOST_OF_A_KIND = 1000
"""Events; more are counted, and not kept."""
CADENCE_APART_S = 0.5
"""Between two stretches of one cadence: a key frame, a moment without motion."""
RECENT = 64
"""Events of a kind that are looked through for those of a segment that is just over."""
SINGLE = ("cut", "drop", "fade", "pts_duplicate", "pts_gap")
"""Kinds that do not merge: each is one of its own. One fade may seem to begin before the other is over."""


class Timeline:
    """Takes events in the order in which they are known; memory is bounded."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Event]] = {kind: [] for kind in EVENTS}
        self._left_out = dict.fromkeys(EVENTS, 0)

    def add(self, event: Event) -> None:
        kept = self._kept[event.kind]
        if kept and event.kind not in SINGLE and same(kept[-1], event):
            kept[-1] = merged(kept[-1], event)
        elif len(kept) == MOST_OF_A_KIND:
            self._left_out[event.kind] += 1
        else:
            kept.append(event)

    def events(self) -> list[Event]:
        """All that are kept, by time."""
        found = [rounded(event) for kept in self._kept.values() for event in list(kept)]
        return sorted(found, key=lambda event: (event.start_s, event.kind, event.end_s))

    def kinds_between(self, start_s: float, end_s: float) -> set[str]:
        """Kinds of which an event has a part in a span."""
        return {
            kind
            for kind, kept in self._kept.items()
            if any(event.start_s < end_s and event.end_s > start_s for event in reversed(kept[-RECENT:]))
        }

    def warnings(self) -> list[str]:
        """What was left out, a sentence."""
        said = ", ".join(f"{count} of {kind}" for kind, count in self._left_out.items() if count)
        return [] if not said else [f"only the first {MOST_OF_A_KIND} events of a kind are listed; left out: {said}"]


def same(before: Event, event: Event) -> bool:
    """Whether two events of a kind are one."""
    apart_s = CADENCE_APART_S if event.kind == "repeat" else 0.0
    return event.start_s <= before.end_s + apart_s and before.detail == event.detail


def merged(before: Event, event: Event) -> Event:
    """One event of two that touch: the severity and confidence of the worse and the surer one."""
    return msgspec.structs.replace(
        before,
        end_s=max(before.end_s, event.end_s),
        severity=max(before.severity, event.severity),
        confidence=max(before.confidence, event.confidence),
    )


def rounded(event: Event) -> Event:
    """With as many decimals as the sidecar has."""
    return msgspec.structs.replace(
        event,
        start_s=round(event.start_s, TIME_DECIMALS),
        end_s=round(event.end_s, TIME_DECIMALS),
        severity=round(float(event.severity), SCORE_DECIMALS),
        confidence=round(float(event.confidence), SCORE_DECIMALS),
    )
