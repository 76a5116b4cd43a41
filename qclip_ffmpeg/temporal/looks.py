"""What is kept of a frame to find events by: block means of its luma thumbnail, and of its change to the two before.

What changes in a block is told apart into light, the change of its mean, and the rest, which is motion: a lamp that is
switched on moves nothing.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Frame

Array = NDArray[np.float32]

GRID = (9, 16)
"""Blocks down and across a landscape picture, across and down a portrait one."""
SHRINK = 4
"""Thumbnail samples a side that become one of the coarse picture: noise and grain are averaged out."""
MOST_SAMPLES = 48_000
"""Larger thumbnails (those of narrow pictures are) are thinned out first."""
MIN_SIDE = 4 * GRID[1]
"""Smaller thumbnails are not looked at: a block would be a few samples."""
PLAIN = 4.0
"""Standard deviation of the blocks of a plain picture, in 8-bit code values."""
TOP_SHARE = 5
"""The liveliest fifth of the blocks says how much moves: what moves may be small."""
TONE_SHARES = np.arange(1, 20) / 20


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """What is known of one frame. Blocks are in rows, (GRID[0] * GRID[1],), in 8-bit code values."""

    index: int
    time_s: float
    end_s: float
    """When it leaves the screen by its own stamp and duration."""
    pts: int | None
    keyframe: bool
    light: Array
    """Mean of each block."""
    activity: float
    """What moves: mean absolute change of the blocks to the frame before, less the change of their means; the highest
    fifth of them. 0 where there is no frame before."""
    change: float
    """The same with the change of their means: light and all."""
    grid: tuple[int, int]
    """Rows and columns of blocks."""
    coarse: Array
    """(height, width), a quarter of the thumbnail a side."""
    black_share: float
    """Of the samples, those that are black."""
    plain: bool
    """All of one tone: black, white, or nothing to see."""
    first: bool
    """There is no frame before it that it could be held against."""

    def tones(self) -> NDArray[np.float64]:
        """(19,): levels below which a twentieth of the coarse samples lies, two twentieths and so on, in 8-bit code
        values. What moves within the picture leaves them as they are.
        """
        return np.asarray(np.quantile(self.coarse, TONE_SHARES), np.float64)


class Looker:
    """Frames -> Looks, in order. Holds one thumbnail.

    Args:
        black: 8-bit code value up to which a sample is black.
    """

    def __init__(self, black: float) -> None:
        self._black = black
        self._before: Array | None = None
        self._light: Array | None = None
        self._count = 0

    def look(self, frame: Frame) -> Look | None:
        """None where the picture is too small to look at."""
        samples = thinned(frame.thumbnail)
        if min(samples.shape) < MIN_SIDE // 2 or max(samples.shape) < MIN_SIDE:
            self._before = self._light = None
            return None
        before, light_before = self._before, self._light
        first = before is None or before.shape != samples.shape
        light = block_means(samples)
        if first or before is None or light_before is None:
            changed = moved = np.zeros_like(light)
        else:
            difference = samples - before
            changed = block_means(np.abs(difference, out=difference))
            moved = np.maximum(changed - np.abs(light - light_before), 0)
        self._before, self._light = samples, light
        dark = float(light.mean()) <= 2 * self._black
        look = Look(
            index=self._count,
            time_s=float(frame.time_s),
            end_s=float(frame.time_s) + float(frame.duration_s),  # as fractions they cost as much as a block mean
            pts=frame.pts,
            keyframe=frame.keyframe,
            light=light,
            activity=highest(moved),
            change=highest(changed),
            grid=grid_of(samples),
            coarse=shrunk(samples),
            black_share=float(np.count_nonzero(samples <= self._black) / samples.size) if dark else 0.0,
            plain=float(light.max() - light.min()) < 8 * PLAIN and float(light.std()) < PLAIN,
            first=first,
        )
        self._count += 1
        return look


def thinned(thumbnail: Array) -> Array:
    """Every n-th sample where there are too many."""
    step = max(1, round(float(np.sqrt(thumbnail.size / MOST_SAMPLES))))
    return thumbnail if step == 1 else np.ascontiguousarray(thumbnail[step // 2 :: step, step // 2 :: step])


def grid_of(samples: Array) -> tuple[int, int]:
    return GRID if samples.shape[1] >= samples.shape[0] else GRID[::-1]


def block_means(samples: Array) -> Array:
    """(height, width) -> (blocks,)"""
    height, width = samples.shape
    rows, columns = grid_of(samples)
    tall, wide = height // rows, width // columns
    sums: Array = samples[: rows * tall].reshape(rows, tall, width).sum(axis=1)
    means: Any = sums[:, : columns * wide].reshape(rows, columns, wide).sum(axis=2) / np.float32(tall * wide)
    return np.asarray(means.ravel(), np.float32)


def shrunk(samples: Array) -> Array:
    """Means of SHRINK x SHRINK samples. Sums of slices: a third of the time of reshaping."""
    height, width = (side // SHRINK * SHRINK for side in samples.shape)
    rows = samples[0:height:SHRINK, :width] + samples[1:height:SHRINK, :width]
    for n in range(2, SHRINK):
        rows += samples[n:height:SHRINK, :width]
    coarse = rows[:, 0::SHRINK] + rows[:, 1::SHRINK]
    for n in range(2, SHRINK):
        coarse += rows[:, n::SHRINK]
    coarse /= SHRINK * SHRINK
    return coarse


def highest(moved: Array) -> float:
    """Mean of the highest fifth."""
    count = len(moved) // TOP_SHARE
    return float(np.partition(moved, -count)[-count:].sum()) / count
