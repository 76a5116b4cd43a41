"""Light that comes and goes: flicker, and the flashes of `flashes.py`.

The change of light from frame to frame is the median of the blocks' relative changes: an object that passes changes
some of them, a lamp or a gain changes all alike. Its sum over time is followed as a zigzag, whose turns are the points
from which it has come back by SWING:

    light  --.   /\\   /\\   /\\   /\\  .----      six fast swings in a row, or more: flicker
              \\/   \\/   \\/   \\/   \\/
"""

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.flashes import (
    BEFORE,
    FLASH,
    FLASH_FRAMES,
    FLASH_S,
    MIN_BLOCKS,
    MIN_LIGHT,
    MIN_TONES,
    flash_gain,
)
from qclip_ffmpeg.temporal.looks import Array, Look
from qclip_ffmpeg.track import Event

SWING = 0.02
"""Relative change of light from one turn to the next. A flicker of 3 % to either side has swings of 6 %."""
SWINGS = 6
"""In a row: three periods."""
SWING_S = 0.3
"""From turn to turn, at most: 1.7 Hz and faster."""
NOT_MOTION = 0.9
"""Correlation of the changes of light with what is left of them when all that shifting the picture could explain is
taken out of the blocks, at least."""
TONES_OVER_BLOCKS = (0.6, 1.5)
"""Change of light by the tones of the whole picture over that by its blocks, over all steps: at least and at most. A
camera that shakes before a bright sky changes one more than the other."""
CLIPPED = 0.2
"""Relative change of a block that counts at most: beyond, something passed."""
BAD_SWING = 0.2
REMEMBERED = 64
"""Frames."""

Changes = NDArray[np.float64]
"""(steps - 1,): relative changes of light."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A point of the zigzag."""

    time_s: float
    value: float
    """Sum of the relative changes of light up to it."""


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """The light of a frame."""

    time_s: float
    value: float
    look: Look


class Flicker:
    """Looks -> flicker events. Holds REMEMBERED looks.

    Args:
        black: 8-bit code value of black.
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, black: float, frame_s: float) -> None:
        self._black = black
        self._flash_s = max(FLASH_S, FLASH_FRAMES * frame_s) + frame_s / 2
        self._reset()

    def _reset(self) -> None:
        self._path: deque[Step] = deque(maxlen=REMEMBERED)
        self._turn: Turn | None = None  # the last one
        self._extreme: Turn | None = None  # may become the next
        self._rising = False
        self._swings: list[tuple[float, float]] = []  # in a row: (when it began, size)
        self._since_s: float | None = None
        self._end_s = 0.0
        self._flashes: deque[Event] = deque(maxlen=REMEMBERED)

    @property
    def since_s(self) -> float | None:
        """Since when it has flickered; None where it does not."""
        return self._since_s

    def add(self, look: Look, is_cut: bool) -> Iterator[Event]:
        """The events that are known to be over with this frame."""
        dark = look.plain and float(look.light.mean()) < self._black + MIN_LIGHT
        if look.first or dark or is_cut or not self._path:
            yield from self.end()
            self._path.append(Step(look.time_s, 0.0, look))
            return
        last = self._path[-1]
        change = light_change(last.look.light - self._black, look.light - self._black)
        self._path.append(Step(look.time_s, last.value + change, look))
        if self._since_s is None and abs(change) >= FLASH / 2 and (flash := self._flash()) is not None:
            self._flashes.append(flash)
        yield from self._follow(Turn(look.time_s, last.value + change))
        if self._turn is None or look.time_s - self._turn.time_s > 2 * SWING_S:
            yield from self._over()

    def end(self) -> Iterator[Event]:
        """What was under way; then everything begins anew."""
        if self._swings and self._extreme is not None and self._turn is not None:
            self._count(self._turn, self._extreme, self._turn.time_s)
        yield from self._over()
        self._reset()

    def _follow(self, now: Turn) -> Iterator[Event]:
        if self._turn is None or self._extreme is None:
            base = self._path[0]
            if abs(now.value - base.value) > SWING:
                self._turn, self._extreme, self._rising = Turn(base.time_s, base.value), now, now.value > base.value
            return
        if (now.value >= self._extreme.value) == self._rising:
            self._extreme = now
        elif abs(now.value - self._extreme.value) > SWING:
            yield from self._turned(self._turn, self._extreme)
            self._turn, self._extreme, self._rising = self._extreme, now, not self._rising

    def _turned(self, base: Turn, peak: Turn) -> Iterator[Event]:
        """A swing from turn to turn is over."""
        left_s = self._left_s(base, peak)
        if peak.time_s - left_s > SWING_S:
            yield from self._over()
            return
        if left_s > base.time_s + SWING_S:  # it rested in between
            yield from self._over()
        self._count(base, peak, left_s)

    def _count(self, base: Turn, peak: Turn, left_s: float) -> None:
        self._swings.append((left_s, abs(peak.value - base.value)))
        self._end_s = peak.time_s
        if self._since_s is None:
            del self._swings[:-SWINGS]
            since_s = self._swings[0][0]
            if len(self._swings) == SWINGS and self._is_light(since_s):
                self._since_s = since_s
        del self._swings[: -4 * SWINGS]

    def _left_s(self, base: Turn, peak: Turn) -> float:
        """When the light left the value of a turn for good."""
        reach = 0.25 * abs(peak.value - base.value)
        between = [s for s in self._path if base.time_s <= s.time_s < peak.time_s]
        return max((s.time_s for s in between if abs(s.value - base.value) <= reach), default=base.time_s)

    def _flash(self) -> Event | None:
        """The flash that is over with the last step, the shortest one."""
        path = list(self._path)
        back = path[-1].value - path[-2].value
        for first in range(len(path) - 2, BEFORE, -1):
            if path[-1].time_s - path[first].time_s > self._flash_s:
                return None
            there = path[first].value - path[first - 1].value
            if there * back >= 0 or abs(there) < FLASH / 2:
                continue
            size = abs(flash_gain([step.look for step in path[first - 1 - BEFORE :]], self._black))
            if size:
                severity, sure = min(1.0, size / BAD_SWING), min(1.0, size / (2 * FLASH))
                return Event("flicker", path[first].time_s, path[-1].time_s, severity, sure)
        return None

    def _is_light(self, since_s: float) -> bool:
        """Whether light makes the swings, and nothing that moves."""
        steps = [s for s in self._path if s.time_s >= since_s]
        by_block = np.diff([s.value for s in steps])
        return not self._motion_explains(steps, by_block) and self._is_a_gain(steps, by_block)

    def _motion_explains(self, steps: Sequence[Step], by_block: Changes) -> bool:
        """Whether shifts of the picture make the swings: over a slope of light, a camera that shakes makes some."""
        blocks = [s.look.light.reshape(s.look.grid) - self._black for s in steps]
        rest = np.array([unmoved_change(a, b) for a, b in pairwise(blocks)])
        raw, rest = by_block - by_block.mean(), rest - rest.mean()
        return float((raw * rest).sum()) < NOT_MOTION * float(np.sqrt((raw * raw).sum() * (rest * rest).sum()))

    def _is_a_gain(self, steps: Sequence[Step], by_block: Changes) -> bool:
        """Whether the tones of the picture follow the light of its blocks: a gain changes both alike. True where too
        little is bright to tell."""
        size = float(by_block @ by_block)
        if not size:
            return False
        tones = np.array([s.look.tones() for s in steps]) - self._black
        lit = tones.min(axis=0) > MIN_LIGHT
        if np.count_nonzero(lit) < MIN_TONES:
            return True
        by_tone = np.median(np.diff(np.log(tones[:, lit]), axis=0), axis=1)
        return TONES_OVER_BLOCKS[0] <= float(by_tone @ by_block) / size <= TONES_OVER_BLOCKS[1]

    def _over(self) -> Iterator[Event]:
        """The swings so far were all."""
        sizes = [size for _, size in self._swings]
        flashes, since_s = self._flashes, self._since_s
        self._swings, self._flashes, self._since_s = [], deque(maxlen=REMEMBERED), None
        if since_s is not None:
            mean = sum(sizes) / len(sizes)
            yield Event("flicker", since_s, self._end_s, min(1.0, mean / BAD_SWING), min(1.0, mean / (2 * SWING)))
        else:
            yield from flashes


def light_change(before: Array, after: Array) -> float:
    """Relative change of light: median over the blocks, which are over black."""
    both = before + after
    lit = both > 2 * MIN_LIGHT
    if np.count_nonzero(lit) < MIN_BLOCKS:
        return 0.0
    return middle(2 * (after - before)[lit] / both[lit])


def middle(values: Array) -> float:
    """The (upper) median; in a tenth of the time of numpy's."""
    half = len(values) // 2
    return float(np.partition(values, half)[half])


def unmoved_change(before: Array, after: Array) -> float:
    """`light_change`, less what the shift of the picture that fits best explains (least squares over its slopes)."""
    both = np.maximum(before + after, 2 * MIN_LIGHT)
    relative: NDArray[np.float64] = np.clip(2.0 * (after - before) / both, -CLIPPED, CLIPPED)
    down, across = np.gradient(np.log(both))
    slopes = np.stack([down.ravel(), across.ravel()])
    shift = np.linalg.solve(slopes @ slopes.T + 1e-3 * np.eye(2), slopes @ relative.ravel())
    return middle(np.asarray(relative.ravel() - shift @ slopes, np.float32))
