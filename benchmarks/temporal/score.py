"""Found and true events -> precision, recall, onset error and false events a kind."""

from collections.abc import Sequence
from statistics import median

import msgspec

from benchmarks.temporal.detectors import Found
from benchmarks.temporal.items import ItemTruth, TruthEvent

POINT_KINDS = ("cut", "drop", "pts_gap", "pts_duplicate")
SLACK_FRAMES = 1.5
"""By how much a found event may miss a true one and still be it."""


class Figures(msgspec.Struct):
    """Of one kind, by one detector."""

    detector: str
    kind: str
    true: int = 0
    recalled: int = 0
    found: int = 0
    right: int = 0
    onset_frames: list[float] = []
    missed: list[str] = []
    false: list[str] = []
    groups: dict[str, tuple[int, int]] = {}
    """By group: (true, recalled)."""

    @property
    def recall(self) -> float | None:
        return self.recalled / self.true if self.true else None

    @property
    def precision(self) -> float | None:
        return self.right / self.found if self.found else None

    @property
    def f1(self) -> float | None:
        """Harmonic mean of recall and precision: what detectors that report more, or less, are held against each other
        by. None where one of them is."""
        if self.recall is None or self.precision is None:
            return None
        return 2 * self.recall * self.precision / (self.recall + self.precision or 1)

    @property
    def onset(self) -> float | None:
        return median(self.onset_frames) if self.onset_frames else None


def score(detector: str, kind: str, measured: Sequence[tuple[str, ItemTruth, list[Found]]]) -> Figures:
    """Figures of one kind over (name, truth, what was found) of all clips."""
    figures = Figures(detector, kind, onset_frames=[], missed=[], false=[], groups={})
    for name, truth, found in measured:
        slack_s = SLACK_FRAMES / truth.rate
        of_kind = [f for f in found if f.kind == kind]
        true = [e for e in truth.events if e.kind == kind]
        for event in true:
            hits = [f for f in of_kind if touch(f, event, slack_s)]
            count, recalled = figures.groups.get(event.group, (0, 0))
            figures.groups[event.group] = (count + 1, recalled + bool(hits))
            if not event.counts:
                continue
            figures.true += 1
            figures.recalled += bool(hits)
            if hits:
                figures.onset_frames.append(min(abs(f.start_s - event.start_s) for f in hits) * truth.rate)
            else:
                figures.missed.append(f"{name} {event.start_s:.2f} {event.group}")
        for f in of_kind:
            if any(touch(f, event, slack_s) for event in true):
                if any(touch(f, event, slack_s) for event in true if event.counts):
                    figures.found += 1
                    figures.right += 1
                continue
            if kind in truth.ignored:
                continue
            figures.found += 1
            figures.false.append(f"{name} {f.start_s:.2f}-{f.end_s:.2f} {f.severity:.2f} {f.confidence:.2f} {f.detail}")
    return figures


def touch(found: Found, event: TruthEvent, slack_s: float) -> bool:
    return found.start_s <= event.end_s + slack_s and found.end_s >= event.start_s - slack_s


def false_on_clean(measured: Sequence[tuple[str, ItemTruth, list[Found]]]) -> tuple[list[str], float]:
    """(events on clean clips that are not theirs, minutes of clean clips)."""
    said, minutes = [], 0.0
    for name, truth, found in measured:
        if truth.recipe != "clean":
            continue
        minutes += truth.duration_s / 60
        slack_s = SLACK_FRAMES / truth.rate
        for f in found:
            if not any(e.kind in (f.kind, "fade") and touch(f, e, slack_s) for e in truth.events):
                said.append(
                    f"{name} {f.kind} {f.start_s:.2f}-{f.end_s:.2f} {f.severity:.2f} {f.confidence:.2f} {f.detail}"
                )
    return said, minutes
