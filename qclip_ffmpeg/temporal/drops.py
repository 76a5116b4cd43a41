"""Dropped frames: steady motion that for one step goes twice as far, in the same direction, everywhere.

    shift of a block   2.0  2.1  2.0  4.1  2.0  2.1     a frame is missing before the fourth
                       1.0  3.0  0.5  4.0  2.0  0.2     a hand shakes: nothing can be said

How far the blocks move is looked at closely (`flow`) only where a step changes the picture as much as two others do.
What it should be is taken from the two steps before and the two after it; all blocks vote, each as much as its motion
can be seen. Where the steps beside it are not alike, there is no vote.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from qclip_ffmpeg.temporal.flow import Flow, flow_of
from qclip_ffmpeg.temporal.looks import Array, Look
from qclip_ffmpeg.track import Event

BESIDE = 3
"""Steps to either side that are looked at."""
LIVELIER = 0.75
"""Activity of the step over the highest beside it, at least. Of fast motion everything changes at every step."""
MOVING = 1.0
"""Activity of all of them, in 8-bit code values."""
FARTHER = 0.6
"""Where the change of the step lies between that of one usual step (0) and that of two at once (1), at least. It costs
little, and leaves two steps in a hundred to be looked at closely."""
UNLIKE = 0.35
"""Activity of the weakest of the steps beside over the mean, at least: there is no stutter."""
MOST_EXTRA = 1.6


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of the flow. "Extra" is how much longer a step is than it should be, over that: 1 for a frame."""

    extra: float
    """Of the whole picture, at least."""
    fit: float
    """What is left of the surprise if a frame is missing, at most: squares of shifts."""
    unsteady: float
    """Mean square of how far the steps beside are off, over what they should be, at most."""
    ahead: float
    """By how much one of the steps beside may be longer than it should be."""
    votes: tuple[float, float, float]
    """The blocks' own: 70 % are above the first, half above the second, 70 % below the third."""


ASKED = (
    Asked(0.6, 0.7, 0.33, 0.35, (0.2, 0.6, 1.6)),
    Asked(0.45, 1.0, 0.12, 0.2, (0.3, 0.5, 1.4)),  # of steadier motion less
)
BAD_S = 0.2
"""Missing time of full severity."""
SAME_STEP = 1.4
"""Time to the frame before over that of the steps beside it, at most: of a gap in the time stamps `stamps` tells."""


class Drops:
    """Looks -> drop events, BESIDE looks later. Holds 2 BESIDE + 2 looks."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=2 * BESIDE + 2)
        self._cuts: deque[bool] = deque(maxlen=2 * BESIDE + 2)
        self._flows: dict[int, Flow] = {}

    def add(self, look: Look, is_cut: bool) -> Iterator[Event]:
        """The drop before the look BESIDE back, if there is one."""
        self._looks.append(look)
        self._cuts.append(is_cut or look.first or look.plain)
        if len(self._looks) == self._looks.maxlen and not any(self._cuts) and self._may_be():
            self._flows = {n: flow for n, flow in self._flows.items() if n >= self._looks[0].index}
            if (sure := self._sure()) is not None:
                here, before = self._looks[BESIDE + 1], self._looks[BESIDE]
                missing_s = (here.time_s - before.time_s) / BAD_S
                yield Event("drop", here.time_s, here.end_s, min(1.0, missing_s), sure)

    def _may_be(self) -> bool:
        """Whether the step is livelier than those beside it, and all of them move."""
        steps = [look.activity for look in self._looks][1:]
        here = steps.pop(BESIDE)
        if here < LIVELIER * max(steps) or min(steps) < max(MOVING, UNLIKE * sum(steps) / len(steps)):
            return False
        times_s = [look.time_s for look in self._looks]
        lengths_s = [b - a for a, b in pairwise(times_s)]
        step_s = lengths_s.pop(BESIDE)
        return step_s <= SAME_STEP * sorted(lengths_s)[len(lengths_s) // 2] and self._farther() >= FARTHER

    def _farther(self) -> float:
        """Where the step lies between one and two usual ones, by how much of the coarse picture changes."""
        at = BESIDE + 1
        one = (self._change(at - 2, at - 1) + self._change(at, at + 1)) / 2
        two = (self._change(at - 3, at - 1) + self._change(at, at + 2)) / 2
        return (self._change(at - 1, at) - one) / max(two - one, 0.02 * one + 0.01)

    def _change(self, before: int, after: int) -> float:
        """Mean absolute difference of two coarse pictures, by their place among the looks."""
        return float(np.abs(self._looks[after].coarse - self._looks[before].coarse).mean())

    def _sure(self) -> float | None:
        """How sure it is that a frame is missing, 0.5 to 1; None where nothing speaks for it."""
        at = BESIDE + 1
        here = self._flow(at)
        beside = [self._flow(at + n).shift for n in (-1, 1)]
        if extra_of(here, np.asarray((beside[0] + beside[1]) / 2, np.float32)) < ASKED[-1].extra / 2:
            return None  # saves the other two
        beside += [self._flow(at + n).shift for n in (-2, 2)]
        usual = np.asarray((beside[0] + beside[1]) / 3 + (beside[2] + beside[3]) / 6, np.float32)
        weight = here.product(usual, usual)
        total = max(float(weight.sum()), 1e-3)
        extra = extra_of(here, usual)
        fit = squares(here, here.shift - 2 * usual) / max(squares(here, here.shift - usual), 1e-3)
        unsteady = sum(squares(here, shift - usual) for shift in beside) / len(beside) / total
        ahead = max(float(here.product(usual, shift - usual).sum()) / total for shift in beside)
        votes = here.product(usual, here.shift - usual) / np.maximum(weight, 1e-9)
        low, middle, high = weighted_quantiles(votes.ravel(), weight.ravel(), (0.3, 0.5, 0.7))
        for asked in ASKED:
            if (
                asked.extra < extra < MOST_EXTRA
                and fit < asked.fit
                and unsteady < asked.unsteady
                and ahead < asked.ahead
                and low > asked.votes[0]
                and middle > asked.votes[1]
                and high < asked.votes[2]
            ):
                return 1 - 0.5 * max(fit / asked.fit, unsteady / asked.unsteady)
        return None

    def _flow(self, at: int) -> Flow:
        """The flow to look `at` from the one before it."""
        before, after = self._looks[at - 1], self._looks[at]
        if after.index not in self._flows:
            self._flows[after.index] = flow_of(before.coarse, after.coarse)
        return self._flows[after.index]


def extra_of(flow: Flow, usual: Array) -> float:
    """By how much a flow is longer than the usual shifts (rows, columns, 2), over them: 0 as usual, 1 twice as far."""
    total = max(float(flow.product(usual, usual).sum()), 1e-3)
    return float(flow.product(usual, flow.shift - usual).sum()) / total


def squares(flow: Flow, shift: Array) -> float:
    return float(flow.product(shift, shift).sum())


def weighted_quantiles(values: Any, weights: Array, shares: tuple[float, ...]) -> list[float]:
    """The lowest value such that at least that share of the weight lies at it or below, for every share."""
    order = np.argsort(values)
    sums = np.cumsum(np.maximum(weights[order], 0) + 1e-9)
    return [float(values[order[int(np.searchsorted(sums, share * sums[-1]))]]) for share in shares]
