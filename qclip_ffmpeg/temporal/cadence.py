"""Lower frame rates inside higher ones: frames shown again at a steady rate.

Dense ones (30 in 60, 24 in 60, 24 in 30) are found by folding: of the last 30 or 60 steps, those at the same place of a
period are put together. Where the places fall into two groups, still and moving, far apart beside their own spread, and
the still ones lie as evenly as frames of a lower rate must, that is a cadence. A single step need not be clear:
encoders make one in ten repeats as lively as half a frame.

    place of 5       0     1     2     3     4
    change           8.1   7.7   7.4   0.3   8.0      24 in 30
                     7.2   8.3   7.9   2.1   7.6

Sparse ones (24 in 25) have too few repeats to fold: `sparse` finds those.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.track import Event

MOVING = 0.8
"""Activity of a scene that moves, in 8-bit code values."""
SEARCH_EVERY = 12
PERIODS = (2, 3, 4, 5, 6)
FLOOR = 0.1
"""Added to a change before its logarithm is taken: below it nothing is to be seen."""
TELLING = 2.0
"""Level of motion, in 8-bit code values, from which on a step tells more than half of what it may: in slower motion the
encoder repeats frames as it likes."""
APART = 0.05
SHARE = 0.15
"""Logarithm of the moving steps over the still ones, SHARE of each left out where they are nearest, at least APART."""
LEVEL_REACH = 6
"""Steps to either side whose mean is the level of motion."""
STILL_ENOUGH = -2.0
"""Logarithm of a change over that level: below it a frame is as still as can be."""
MOST_STILL, MOST_LIVELY = 0.17, 0.34
"""Share of the steps that are to move, and of those that are to be still, that may be on the wrong side."""
REMEMBERED = 96
LATELY, MISFITS = 16, 5
"""So many misfits among the steps lately end a cadence, unless its two groups are still apart."""

Array = NDArray[np.float64]


class Fold(NamedTuple):
    """What is asked of steps that are folded."""

    steps: int
    gap: float
    """Natural logarithm of the change at the stillest moving place over that at the liveliest still one, at least."""
    clear: float
    """Difference of the two groups' means over its standard error, at least."""
    sharp: bool
    """Few steps of one group may be among those of the other."""


FOLDS = (Fold(30, 0.63, 8.4, True), Fold(60, 0.5, 7.0, False))
"""Clear cadences, and those that encoding has blurred: more steps make up for it."""


@dataclass(frozen=True, slots=True)
class Step:
    """A frame and how it differs from the one before."""

    index: int
    time_s: float
    change: float
    """Natural logarithm, FLOOR added."""
    activity: float


@dataclass(slots=True)
class Cadence:
    """A dense cadence under way."""

    period: int
    repeated: frozenset[int]
    """Places in the period that are repeats; the place of a frame is its number's remainder."""
    middle: float
    """Between still and moving, as `Step.change`."""
    stillness: float
    """Change of repeated frames over that of new ones."""
    start: int = 0
    start_s: float = 0.0
    end_s: float = 0.0

    def expects(self, index: int) -> bool:
        """Whether a frame is to be a repeat."""
        return index % self.period in self.repeated

    def fits(self, step: Step) -> bool:
        return (step.change < self.middle) == self.expects(step.index)

    def shown(self) -> list[int]:
        """How long each new frame of a period is shown, in frames."""
        new = sorted(set(range(self.period)) - self.repeated)
        return [b - a for a, b in pairwise([*new, new[0] + self.period])]


class Cadences:
    """Looks -> repeat events of dense cadences. Holds REMEMBERED numbers.

    Args:
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, frame_s: float) -> None:
        self._frame_s = frame_s
        self._steps: deque[Step] = deque(maxlen=REMEMBERED)
        self._since_search = 0
        self.current: Cadence | None = None

    def add(self, look: Look) -> Iterator[Event]:
        """The cadence that is over with this frame."""
        if look.first:
            yield from self.end()
            self._steps.clear()
            return
        self._steps.append(Step(look.index, look.time_s, float(np.log(look.change + FLOOR)), look.activity))
        self._since_search += 1
        if self._since_search >= SEARCH_EVERY:
            self._since_search = 0
            self._search()
        if self.current is not None:
            lately = list(self._steps)[-LATELY:]
            misfits = [step for step in lately if not self.current.fits(step)]
            if len(misfits) >= MISFITS and self._apart() < FOLDS[-1].gap / 2:
                self.current.end_s = misfits[0].time_s
                yield self._ended()
            else:
                self.current.end_s = look.end_s

    def _apart(self) -> float:
        """How far the two groups of the cadence under way are apart lately: natural logarithm of new over repeated."""
        assert self.current is not None
        steps = list(self._steps)[-FOLDS[0].steps :]
        change, _ = levelled(np.array([step.change for step in steps]))
        is_still = np.array([self.current.expects(step.index) for step in steps])
        return float(change[~is_still].mean() - change[is_still].mean())

    def end(self) -> Iterator[Event]:
        """What was under way when the video ended."""
        if self.current is not None:
            yield self._ended()

    def _ended(self) -> Event:
        assert self.current is not None
        cadence, self.current = self.current, None
        share = 1 - len(cadence.repeated) / cadence.period
        detail = rates(share / self._frame_s, 1 / self._frame_s)
        sure = 1 - 0.5 * min(1.0, cadence.stillness / np.exp(-FOLDS[-1].gap))
        return Event("repeat", cadence.start_s, cadence.end_s, unevenness(cadence.shown()), float(sure), detail)

    def _search(self) -> None:
        """Fold the last steps; take up what is found, or set anew where still ends and moving begins."""
        for fold in FOLDS:
            steps = list(self._steps)[-fold.steps :]
            if len(steps) < fold.steps or max(step.activity for step in steps) < MOVING:
                return
            if (found := folded(steps, fold)) is None:
                continue
            if self.current is None:
                self._begin(found, fold.steps)
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
        if not start:
            cadence.start_s = max(0.0, cadence.start_s - self._frame_s)  # the frame before the first step
        self.current = cadence


def folded(steps: list[Step], fold: Fold) -> Cadence | None:
    """The cadence of some steps, of the shortest period; None where there is none."""
    index = np.array([step.index for step in steps])
    raw = np.array([step.change for step in steps])
    change, level = levelled(raw)
    weight = level / (level + TELLING)
    for period in PERIODS:
        place = index % period
        means = np.bincount(place, weight * change, period) / np.bincount(place, weight, period)
        order = np.argsort(means)
        for count in np.flatnonzero(np.diff(means[order]) >= fold.gap) + 1:
            repeated = frozenset(order[:count].tolist())
            if not is_even(repeated, period):
                continue
            is_still = np.bincount(order[:count], minlength=period).astype(bool)[place]
            if not are_apart(change, weight, is_still, fold):
                continue
            if moves(np.array([step.activity for step in steps]), is_still, fold):
                middle = float(raw[is_still].mean() + raw[~is_still].mean()) / 2
                stillness = float(np.exp(change[is_still].mean() - change[~is_still].mean()))
                return Cadence(period, repeated, middle, stillness)
    return None


def levelled(change: Array) -> tuple[Array, Array]:
    """Logarithms of changes less the level around them, so that motion may come and go; and that level itself."""
    around = np.ones(2 * LEVEL_REACH + 1)
    level = np.convolve(np.exp(change), around, "same") / np.convolve(np.ones(len(change)), around, "same")
    return np.maximum(change - np.log(level), STILL_ENOUGH), level


def are_apart(change: Array, weight: Array, is_still: NDArray[np.bool_], fold: Fold) -> bool:
    """Whether the still steps are clearly stiller than the others."""
    (still, error_of_still), (moving, error_of_moving) = (mean_of(change[g], weight[g]) for g in (is_still, ~is_still))
    if moving - still < fold.clear * np.sqrt(error_of_still**2 + error_of_moving**2 + 1e-4):
        return False
    if not fold.sharp:
        return True
    lowest, highest = np.sort(change[~is_still]), np.sort(change[is_still])
    if lowest[int(SHARE * len(lowest))] - highest[-1 - int(SHARE * len(highest))] < APART:
        return False
    wrong = (change < (still + moving) / 2) != is_still
    return bool(wrong[~is_still].mean() <= MOST_STILL and wrong[is_still].mean() <= MOST_LIVELY)


def mean_of(change: Array, weight: Array) -> tuple[float, float]:
    """(weighted mean, its standard error)"""
    share = weight / weight.sum()
    mean = float((share * change).sum())
    return mean, float(np.sqrt(((share * (change - mean)) ** 2).sum()))


def moves(activity: Array, is_still: NDArray[np.bool_], fold: Fold) -> bool:
    """Whether the other steps move, and the still ones less: light that flickers makes a beat, too."""
    still, moving = (np.log(activity[group] + FLOOR) for group in (is_still, ~is_still))
    return bool(np.median(activity[~is_still]) >= MOVING and moving.mean() - still.mean() >= fold.gap / 2)


@cache
def is_even(repeated: frozenset[int], period: int) -> bool:
    """Whether new frames are shown as evenly as they can be: n or n + 1 frames long."""
    shown = Cadence(period, repeated, 0.0, 0.0).shown()
    return max(shown) - min(shown) <= 1


def unevenness(shown: list[int]) -> float:
    """Variance over squared mean of how long frames are shown: 0 of an even cadence, 0.12 of 24 in 30."""
    mean = sum(shown) / len(shown)
    return min(1.0, sum((n - mean) ** 2 for n in shown) / len(shown) / mean**2)


def rates(new_hz: float, shown_hz: float) -> str:
    """ "24 in 30": new frames a second in those shown."""
    return " in ".join(f"{rate:.2f}".rstrip("0").rstrip(".") for rate in (new_hz, shown_hz))
