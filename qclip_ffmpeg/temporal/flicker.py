"""Light that comes and goes: flicker and flashes.

The change of light from frame to frame is the median of the blocks' relative changes: an object that passes changes
some of them, a lamp or a gain changes all alike. Its sum over time is followed as a zigzag, whose turns are the points
from which it has come back by SWING:

    light  --.   /\\   /\\   /\\   /\\  .----      six fast swings in a row, or more: flicker
              \\/   \\/   \\/   \\/   \\/
    light  ------.  .------------             there and back at once: a flash
                  \\/
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.looks import Array, Look
from qclip_ffmpeg.track import Event

MIN_LIGHT = 10.0
"""Of a block over black, for its relative change to mean something."""
MIN_BLOCKS = 30
SWING = 0.02
"""Relative change of light from one turn to the next. A flicker of 3 % to either side has swings of 6 %."""
SWINGS = 6
"""In a row: three periods."""
SWING_S = 0.3
"""From turn to turn, at most: 1.7 Hz and faster."""
NOT_MOTION = 0.9
"""Correlation of the changes of light with what is left of them when all that shifting the picture could explain is
taken out of the blocks, at least."""
CLIPPED = 0.2
"""Relative change of a block that counts at most: beyond, something passed."""
FLASH = 0.08
"""Relative change of light, there and back within FLASH_S."""
FLASH_S = 0.16
FLASH_FRAMES = 4
"""At low frame rates, in place of FLASH_S."""
FLASH_RETURN = 0.65
"""Share of a flash that is undone, at least."""
FLASH_UNEVEN = 0.5
"""Median distance of the blocks' changes from their median, over it, at most."""
BAD_SWING = 0.2
REMEMBERED = 64
"""Frames."""


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
    uneven: float
    """Median distance of the blocks' relative changes from their median."""
    blocks: Array
    """(rows, columns), over black."""


class Flicker:
    """Looks -> flicker events. Holds the block means of REMEMBERED frames.

    Args:
        black: 8-bit code value of black.
        frame_s: how long a frame is shown, on average, in seconds.
    """

    def __init__(self, black: float, frame_s: float) -> None:
        self._black = np.float32(black)
        self._flash_s = max(FLASH_S, FLASH_FRAMES * frame_s)
        self._reset()

    def _reset(self) -> None:
        self._path: deque[Step] = deque(maxlen=REMEMBERED)
        self._turn: Turn | None = None  # the last one
        self._extreme: Turn | None = None  # may become the next
        self._rising = False
        self._swings: list[float] = []
        self._start_s = 0.0
        self._end_s = 0.0
        self._is_motion = False
        self._flash: tuple[Turn, Turn, float] | None = None  # (base, peak, unevenness)
        self._flashes: list[Event] = []

    @property
    def since_s(self) -> float | None:
        """Since when it has flickered; None where it does not."""
        return self._start_s if len(self._swings) >= SWINGS and not self._is_motion else None

    def add(self, look: Look, is_cut: bool) -> Iterator[Event]:
        """The events that are known to be over with this frame."""
        blocks = look.light.reshape(look.grid) - self._black
        if look.first or look.plain or is_cut or not self._path:
            yield from self.end()
            self._path.append(Step(look.time_s, 0.0, 0.0, blocks))
            return
        last = self._path[-1]
        change, uneven = light_change(last.blocks, blocks)
        step = Step(look.time_s, last.value + change, uneven, blocks)
        self._path.append(step)
        yield from self._follow(Turn(step.time_s, step.value))

    def end(self) -> Iterator[Event]:
        """What was under way; then everything begins anew."""
        if self._swings and self._extreme is not None and self._turn is not None:
            self._count(self._turn, self._extreme)
        self._flash = None
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
        self._look_for_return(now)
        if now.time_s - self._turn.time_s > 2 * SWING_S:
            yield from self._over()

    def _turned(self, base: Turn, peak: Turn) -> Iterator[Event]:
        """A swing from turn to turn is over."""
        left_s = self._left_s(base, peak)
        if peak.time_s - left_s > SWING_S:
            yield from self._over()
            return
        if left_s > base.time_s + SWING_S / 2:  # it rested in between
            yield from self._over()
        if not self._swings:
            self._start_s = left_s
        self._count(base, peak)
        if len(self._swings) == SWINGS:
            self._is_motion = self._motion_explains()
        size = abs(peak.value - base.value)
        if size >= FLASH and peak.time_s - left_s <= self._flash_s:
            uneven = max(s.uneven for s in self._path if left_s < s.time_s <= peak.time_s)
            self._flash = (Turn(left_s, base.value), peak, uneven)

    def _count(self, base: Turn, peak: Turn) -> None:
        self._swings.append(abs(peak.value - base.value))
        del self._swings[: -4 * SWINGS]
        self._end_s = peak.time_s

    def _left_s(self, base: Turn, peak: Turn) -> float:
        """When the light left the value of a turn for good."""
        reach = 0.25 * abs(peak.value - base.value)
        between = [s for s in self._path if base.time_s <= s.time_s < peak.time_s]
        return max((s.time_s for s in between if abs(s.value - base.value) <= reach), default=base.time_s)

    def _look_for_return(self, now: Turn) -> None:
        """Whether the light is back where it was before a flash."""
        if self._flash is None:
            return
        base, peak, uneven = self._flash
        size = abs(peak.value - base.value)
        if now.time_s - base.time_s > 2 * self._flash_s:
            self._flash = None
        elif abs(now.value - base.value) <= (1 - FLASH_RETURN) * size:
            self._flash = None
            if uneven <= FLASH_UNEVEN * size:
                start_s = min(s.time_s for s in self._path if s.time_s > base.time_s)
                sure = min(1.0, size / (2 * FLASH))
                self._flashes.append(Event("flicker", start_s, now.time_s, min(1.0, size / BAD_SWING), sure))

    def _motion_explains(self) -> bool:
        """Whether shifts of the picture make the swings: over a slope of light, a camera that shakes makes some."""
        steps = [s for s in self._path if s.time_s >= self._start_s]
        raw = np.diff([s.value for s in steps])
        rest = np.array([unmoved_change(a.blocks, b.blocks) for a, b in pairwise(steps)])
        raw, rest = raw - raw.mean(), rest - rest.mean()
        return float((raw * rest).sum()) < NOT_MOTION * float(np.sqrt((raw * raw).sum() * (rest * rest).sum()))

    def _over(self) -> Iterator[Event]:
        """The swings so far were all."""
        swings, self._swings = self._swings, []
        flashes, self._flashes = self._flashes, []
        is_motion, self._is_motion = self._is_motion, False
        if len(swings) >= SWINGS and not is_motion:
            mean = sum(swings) / len(swings)
            yield Event("flicker", self._start_s, self._end_s, min(1.0, mean / BAD_SWING), min(1.0, mean / (2 * SWING)))
        elif not is_motion:
            yield from flashes


def light_change(before: Array, after: Array) -> tuple[float, float]:
    """(relative change of light, how far the blocks are apart in it): median, and median distance from it."""
    both = before + after
    lit = both > 2 * MIN_LIGHT
    if np.count_nonzero(lit) < MIN_BLOCKS:
        return 0.0, 1.0
    relative = 2 * (after - before)[lit] / both[lit]
    change = middle(relative)
    return change, middle(np.abs(relative - change))


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
