"""Lower frame rates inside higher ones: frames shown again at a steady rate.

Dense ones (30 in 60, 24 in 60, 24 in 30) are found by folding: of the last 30 or 60 steps, those at the same place of a
period are put together. What is folded is the progress of each, the share that it has in the way from the frame two
before it to the frame after it: a third of it where all steps are alike, nothing where a frame is shown again, however
fast the scene moves and however much encoding adds. Where the places fall into two groups, still and moving, and the
still ones lie as evenly as frames of a lower rate must, that is a cadence.

    place of 5       0     1     2     3     4
    progress         0.49  0.34  0.48  0.02  0.50      24 in 30
                     0.41  0.35  0.39  0.18  0.43      the same, noisy and coarsely encoded

Sparse ones (24 in 25) have too few repeats to fold: `sparse` finds those.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.temporal.progress import REACH, Step
from qclip_ffmpeg.track import Event

MOVING = 0.8
"""Activity of a scene that moves, in 8-bit code values."""
SEARCH_EVERY = 12
PERIODS = (2, 3, 4, 5, 6)
FOLDED = (30, 60)
"""Steps that are folded: clear cadences, and those that need more of them."""
REPEATED, HELD = 0.21, 0.1
"""Progress of the steps that are to be still, in the mean, at most: less than two thirds of what each of three alike
has. HELD where every frame is shown LONG or more: encoders code slow motion so, a picture and those that lean on it."""
BACK = -0.04
"""The same, at least: light that flickers goes back, a picture that is shown again does not."""
LONG = 3
"""Frames."""
GAP = 0.15
"""Progress at the stillest moving place less that at the liveliest still one, at least."""
CLEAR = 6.0
"""Difference of the two groups' means over its standard error, at least."""
LEAST_ERROR = 0.01
"""Of that, so that a few steps that are alike by chance do not count too much."""
MOST_STILL, MOST_LIVELY = 0.17, 0.25
"""Share of the steps that are to move, and of those that are to be still, that may be on the wrong side."""
AS_STILL, MOST_AS_STILL = 0.05, 0.1
"""Share of the steps that are to move that may go hardly further than the still ones: more of them is judder."""
REMEMBERED = 96
LATELY, MISFITS = 16, 5
"""So many misfits among the steps lately end a cadence, unless its two groups are still APART in progress."""
APART = 0.1

Array = NDArray[np.float64]


@dataclass(slots=True)
class Cadence:
    """A dense cadence under way."""

    period: int
    repeated: frozenset[int]
    """Places in the period that are repeats; the place of a frame is its number's remainder."""
    middle: float
    """Between still and moving, as `Step.progress`."""
    stillness: float
    """Progress of repeated frames, in the mean."""
    start: int = 0
    start_s: float = 0.0
    end_s: float = 0.0

    def expects(self, index: int) -> bool:
        """Whether a frame is to be a repeat."""
        return index % self.period in self.repeated

    def fits(self, step: Step) -> bool:
        return (step.progress < self.middle) == self.expects(step.index)


class Cadences:
    """Looks and steps -> repeat events of dense cadences. Holds REMEMBERED steps.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._steps: deque[Step] = deque(maxlen=REMEMBERED)
        self._first: Look | None = None
        self._end_s = 0.0
        self._since_search = 0
        self.current: Cadence | None = None

    def add(self, look: Look, step: Step | None) -> Iterator[Event]:
        """The cadence that is over with this frame.

        Args:
            step: the last one that is known by then.
        """
        if look.first:
            yield from self.end()
            self._first = look
            self._steps.clear()
        self._end_s = look.end_s
        if step is None:
            return
        self._steps.append(step)
        self._since_search += 1
        if self._since_search >= SEARCH_EVERY:
            self._search()
        if self.current is not None:
            lately = list(self._steps)[-LATELY:]
            misfits = [step for step in lately if not self.current.fits(step)]
            if len(misfits) >= MISFITS and self._apart() < APART:
                self.current.end_s = misfits[0].time_s
                yield self._ended()
            else:
                self.current.end_s = look.end_s

    def _apart(self) -> float:
        """How far the two groups of the cadence under way are apart lately, in progress."""
        assert self.current is not None
        steps = list(self._steps)[-FOLDED[0] :]
        moved = np.array([step.progress for step in steps])
        is_still = np.array([self.current.expects(step.index) for step in steps])
        return float(moved[~is_still].mean() - moved[is_still].mean())

    def end(self) -> Iterator[Event]:
        """What was under way when the video ended."""
        if self.current is None and self._since_search:
            self._search()
            if self.current is not None:
                self.current.end_s = self._end_s
        if self.current is not None:
            yield self._ended()

    def _ended(self) -> Event:
        assert self.current is not None
        cadence, self.current = self.current, None
        share = 1 - len(cadence.repeated) / cadence.period
        detail = rates(share / self._frame_s, 1 / self._frame_s)
        uneven = unevenness(shown_for(cadence.repeated, cadence.period))
        sure = 1 - 0.5 * max(0.0, min(1.0, cadence.stillness / REPEATED))
        return Event("repeat", cadence.start_s, cadence.end_s, uneven, sure, detail)

    def _search(self) -> None:
        """Fold the last steps; take up what is found, or set anew where still ends and moving begins."""
        self._since_search = 0
        periods = PERIODS if self.current is None else (self.current.period,)
        for count in FOLDED:
            steps = list(self._steps)[-count:]
            if len(steps) < count or max(step.activity for step in steps) < MOVING:
                return
            if (found := folded(steps, periods)) is None:
                continue
            if self.current is None:
                self._begin(found, count)
            elif (found.period, found.repeated) == (self.current.period, self.current.repeated):
                self.current.middle = found.middle
            return

    def _begin(self, cadence: Cadence, known: int) -> None:
        """From where its pattern goes back to."""
        steps = list(self._steps)
        start, misfits = len(steps) - known, 0
        for n in range(start - 1, -1, -1):
            misfits = 0 if cadence.fits(steps[n]) else misfits + 1
            if misfits > 1:
                break
            start = n if not misfits else start
        if start < cadence.period:  # as far back as is known
            start = 0
        while start and not cadence.expects(steps[start].index):
            start += 1
        cadence.start, cadence.start_s = steps[start].index, steps[start].time_s
        if not start and self._first is not None and steps[0].index - self._first.index < REACH:
            cadence.start, cadence.start_s = self._first.index, self._first.time_s  # those that have no way yet
        self.current = cadence


def folded(steps: list[Step], periods: Sequence[int] = PERIODS) -> Cadence | None:
    """The cadence of some steps, of the first of these periods; None where there is none."""
    moved = np.array([step.progress for step in steps])
    fewest = len(steps) // PERIODS[-1]
    if np.partition(moved, fewest)[:fewest].mean() > REPEATED:
        return None  # not even the stillest steps would do
    index = np.array([step.index for step in steps])
    activity = np.array([step.activity for step in steps])
    for period in periods:
        place = index % period
        means = np.bincount(place, moved, period) / np.bincount(place, minlength=period)
        order = np.argsort(means)
        for count in np.flatnonzero(np.diff(means[order]) >= GAP) + 1:
            repeated = frozenset(order[:count].tolist())
            is_still = np.bincount(order[:count], minlength=period).astype(bool)[place]
            still, moving = float(moved[is_still].mean()), float(moved[~is_still].mean())
            shown = shown_for(repeated, period)
            most = HELD if min(shown) >= LONG else REPEATED
            if not BACK <= still <= most or max(shown) - min(shown) > 1:
                continue  # or the new frames are not shown as evenly as they can be
            lively = np.sort(activity[~is_still])
            if lively[len(lively) // 2] >= MOVING and are_apart(moved, is_still):
                return Cadence(period, repeated, (still + moving) / 2, still)
    return None


def are_apart(moved: Array, is_still: NDArray[np.bool_]) -> bool:
    """Whether the others clearly go further than the still steps."""
    (still, error_of_still), (moving, error_of_moving) = (mean_of(moved[group]) for group in (is_still, ~is_still))
    error = np.sqrt(error_of_still**2 + error_of_moving**2 + LEAST_ERROR**2)
    if moving - still < CLEAR * error:
        return False
    if (moved[~is_still] <= still + AS_STILL).mean() > MOST_AS_STILL:
        return False
    wrong = (moved < (still + moving) / 2) != is_still
    return bool(wrong[~is_still].mean() <= MOST_STILL and wrong[is_still].mean() <= MOST_LIVELY)


def mean_of(values: Array) -> tuple[float, float]:
    """(mean, its standard error)"""
    return float(values.mean()), float(values.std() / np.sqrt(len(values)))


@cache
def shown_for(repeated: frozenset[int], period: int) -> list[int]:
    """How long each new frame of a period is shown, in frames."""
    new = sorted(set(range(period)) - repeated)
    return [b - a for a, b in pairwise([*new, new[0] + period])]


def unevenness(shown: list[int]) -> float:
    """Variance over squared mean of how long frames are shown: 0 of an even cadence, 0.12 of 24 in 30."""
    mean = sum(shown) / len(shown)
    return min(1.0, sum((n - mean) ** 2 for n in shown) / len(shown) / mean**2)


def rates(new_hz: float, shown_hz: float) -> str:
    """ "24 in 30": new frames a second in those shown."""
    return " in ".join(f"{rate:.2f}".rstrip("0").rstrip(".") for rate in (new_hz, shown_hz))
