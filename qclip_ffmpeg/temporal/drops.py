"""Dropped frames: motion that for one step goes twice as far, in the same direction, everywhere.

    shift of a block   2.0  2.1  2.0  4.1  2.0  2.1     a frame is missing before the fourth

How far the blocks move is looked at (`flow`) only where a step changes the picture about as much as two others do, and
on a finer picture where it does look longer: of one step in twenty of a scene that moves. What is known of it then
(`evidence`) is judged by a small network that was trained on clips from which frames were taken
(`benchmarks/temporal/train_drops.py`; a rule set by hand found a third of them).
"""

import math
from collections import deque
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.evidence import (
    BESIDE,
    Changes,
    blocks_with_a_say,
    evened,
    evidence,
    lengths_of,
    longer,
    quantile,
    standing_out,
    usual_of,
)
from qclip_ffmpeg.temporal.flow import Flow, finer, flow_of
from qclip_ffmpeg.temporal.looks import Look
from qclip_ffmpeg.track import Event

REACH = 3
"""Steps to either side that are looked at."""
LIVELIER = 0.5
"""`Changes.livelier`, at least. Of fast motion everything changes at every step."""
UNLIKE = 0.08
"""`Changes.unlike`, at least: there is no stutter."""
MOVING = 0.5
"""Activity of all steps beside it, in 8-bit code values."""
FARTHER = 0.4
"""`Changes.farther`, at least."""
STANDS_OUT, LONGER = 0.15, 0.25
"""`standing_out`, at least, or else `longer` than the two steps beside it: a step is a sixth longer than the longer of
them in the median, or a quarter longer than their mean where much moves, as of a camera that drives on. Those across
dropped frames that are to be found are half as long again, measured with some error."""
GOES, GOING_SHARE = 0.12, 0.3
"""Samples of the coarse picture that such a share of the blocks moves, at least: the camera moves. Those to be found go
four times as far; but of trees that pass the camera faster than blocks can be followed, that is all that is seen."""
LEAST_BLOCKS = 8.0
"""Of 98 blocks, how many must have a say: where less moves it is one thing, that may do as it likes."""
LONGEST_STEP_S = 0.075
"""In slower videos motion is another from step to step: nothing is reported."""
KEY_FRAME_MORE = 3.0
"""Score that is asked beyond the threshold of a frame that is coded anew: it jumps a little by itself."""
BAD_S = 0.2
"""Missing time of full severity."""
SAME_STEP = 1.4
"""Time to the frame before over that of the steps beside it, at most: of a gap in the time stamps `stamps` tells."""


class Judge(msgspec.Struct, frozen=True):
    """A network of one hidden layer: figures of evidence -> score, the log odds that a frame is missing."""

    mean: list[float]
    scale: list[float]
    """(figures,): by which they are centred and divided; 3 is the most that counts then."""
    hidden: list[list[float]]
    """(units, figures)"""
    hidden_bias: list[float]
    out: list[float]
    """(units,)"""
    out_bias: float
    threshold: float
    """Score from which on a drop is reported."""

    def score(self, figures: NDArray[np.float32]) -> float:
        centred = np.clip((figures - np.array(self.mean)) / np.array(self.scale), -3, 3)
        units = np.tanh(np.array(self.hidden) @ centred + np.array(self.hidden_bias))
        return float(np.array(self.out) @ units + self.out_bias)


@cache
def bundled_judge() -> Judge:
    return msgspec.json.decode(files(__package__).joinpath("drops.json").read_bytes(), type=Judge)


class Suspect(NamedTuple):
    """A step that may leave out a frame."""

    look: Look
    """The frame after it."""
    figures: NDArray[np.float32]
    step_s: float
    coded_anew: bool
    """A key frame after one that is none."""


class Suspects:
    """Looks -> steps that are worth a judgement, REACH looks later. Holds 2 REACH + 2 looks."""

    def __init__(self) -> None:
        self._looks: deque[Look] = deque(maxlen=2 * REACH + 2)
        self._cuts: deque[bool] = deque(maxlen=2 * REACH + 2)
        self._flows: dict[int, Flow] = {}
        self._fine_flows: dict[int, Flow] = {}

    def add(self, look: Look, is_cut: bool) -> Suspect | None:
        """The step to the look REACH back, if it is one."""
        self._looks.append(look)
        self._cuts.append(is_cut or look.first or look.plain)
        if len(self._looks) < 2 * REACH + 2 or any(self._cuts) or (changes := self._changes()) is None:
            return None
        for flows in (self._flows, self._fine_flows):
            for n in [n for n in flows if n < self._looks[0].index]:
                del flows[n]
        at = REACH + 1
        flow = self._flow(at)
        beside = {n: self._flow(at + n).shift for n in (-1, 1)}
        near = np.asarray((beside[-1] + beside[1]) / 2, np.float32)
        here = evened(flow, near)
        if standing_out(here, beside)[0] < STANDS_OUT and longer(here, near) < LONGER:
            return None
        beside |= {n: self._flow(at + n).shift for n in BESIDE if n not in beside}
        usual = usual_of(beside)
        here = evened(flow, usual)
        if (
            blocks_with_a_say(here.product(usual, usual)) < LEAST_BLOCKS
            or quantile(here, lengths_of(here.shift), 1 - GOING_SHARE) < GOES
        ):
            return None
        look, before = self._looks[at], self._looks[at - 1]
        fine = {n: self._fine_flow(at + n) for n in (0, *BESIDE)}
        shifts = {n: fine[n].shift for n in BESIDE}
        figures = evidence(evened(fine[0], usual_of(shifts)), shifts, changes)
        coded_anew = look.keyframe and not before.keyframe
        return Suspect(look, figures, look.time_s - before.time_s, coded_anew)

    def _changes(self) -> Changes | None:
        """None where the step is clearly none that leaves out a frame."""
        at = REACH + 1
        steps = [look.activity for look in self._looks][1:]
        here = steps.pop(REACH)
        weakest, mean = min(steps), sum(steps) / len(steps)
        if here < LIVELIER * max(steps) or weakest < max(MOVING, UNLIKE * mean):
            return None
        times_s = [look.time_s for look in self._looks]
        lengths_s = [b - a for a, b in pairwise(times_s)]
        step_s = lengths_s.pop(REACH)
        if not 0 < step_s <= min(LONGEST_STEP_S, SAME_STEP * sorted(lengths_s)[len(lengths_s) // 2]):
            return None
        one = (self._change(at - 2, at - 1) + self._change(at, at + 1)) / 2
        two = (self._change(at - 3, at - 1) + self._change(at, at + 2)) / 2
        changes = Changes(here / max(steps), weakest / mean, one, two, self._change(at - 1, at))
        return changes if changes.farther >= FARTHER else None

    def _change(self, before: int, after: int) -> float:
        """Mean absolute difference of two coarse pictures, by their place among the looks."""
        return float(np.abs(self._looks[after].coarse - self._looks[before].coarse).mean())

    def _flow(self, at: int) -> Flow:
        """The flow to look `at` from the one before it, of the coarse pictures."""
        before, after = self._looks[at - 1], self._looks[at]
        if after.index not in self._flows:
            self._flows[after.index] = flow_of(before.coarse, after.coarse)
        return self._flows[after.index]

    def _fine_flow(self, at: int) -> Flow:
        """The same of the fine pictures."""
        before, after = self._looks[at - 1], self._looks[at]
        if after.index not in self._fine_flows:
            self._fine_flows[after.index] = finer(self._flow(at), before.fine, after.fine)
        return self._fine_flows[after.index]


class Drops:
    """Looks -> drop events, REACH looks later."""

    def __init__(self) -> None:
        self._suspects = Suspects()

    def add(self, look: Look, is_cut: bool) -> Iterator[Event]:
        """The drop before the look REACH back, if there is one."""
        if (suspect := self._suspects.add(look, is_cut)) is None:
            return
        judge = bundled_judge()
        over = judge.score(suspect.figures) - judge.threshold - KEY_FRAME_MORE * suspect.coded_anew
        if over >= 0:
            severity = min(1.0, suspect.step_s / BAD_S)
            sure = 1 / (1 + math.exp(-over))
            yield Event("drop", suspect.look.time_s, suspect.look.end_s, severity, sure)
