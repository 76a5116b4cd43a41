"""What is kept of a frame to find events by: block means of its luma thumbnail, and of its change to the two before.

What changes in a block is told apart into light, the change of its mean, and the rest, which is motion: a lamp that is
switched on moves nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Frame

Array = NDArray[np.float32]

GRID = (9, 16)
"""Blocks down and across a landscape picture, across and down a portrait one."""
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
    mean: float
    """Of these."""
    activity: float
    """What moves: mean absolute change of the blocks to the frame before, less the change of their means; the highest
    fifth of them. 0 where there is no frame before."""
    change: float
    """The same with the change of their means: light and all."""
    grid: tuple[int, int]
    """Rows and columns of blocks."""
    fine: Array
    """(height, width), half of the thumbnail a side."""
    coarse: Array
    """(height, width), a quarter of the thumbnail a side: noise and grain are averaged out."""
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


class Seen(NamedTuple):
    """What is kept of a frame until it is looked at, with the names that `Frame` has for it: not its picture."""

    thumbnail: Array
    """`thinned`"""
    time_s: Fraction
    duration_s: Fraction
    pts: int | None
    keyframe: bool

    @classmethod
    def of(cls, frame: Frame) -> "Seen":
        return cls(thinned(frame.thumbnail), frame.time_s, frame.duration_s, frame.pts, frame.keyframe)


class Looker:
    """Frames -> Looks, in order. Holds one thumbnail.

    Args:
        black: 8-bit code value up to which a sample is black.
    """

    def __init__(self, black: float) -> None:
        self._black = black
        self._before: Array | None = None
        self._count = 0

    def look(self, frame: Frame) -> Look | None:
        """Of the next frame; None where the picture is too small to look at."""
        return self.looks([Seen.of(frame)])[0]

    def looks(self, frames: Sequence[Seen]) -> list[Look | None]:
        """Of the next frames: together they cost less."""
        looks: list[Look | None] = []
        for shape, alike in groupby(frames, lambda frame: frame.thumbnail.shape):
            group = list(alike)
            if min(shape) < MIN_SIDE // 2 or max(shape) < MIN_SIDE:
                self._before = None
                looks += [None] * len(group)
            else:
                looks += self._look(group)
        return looks

    def _look(self, frames: Sequence[Seen]) -> list[Look]:
        """Of frames whose thumbnails are of one size."""
        samples = [frame.thumbnail for frame in frames]
        first = self._before is None or self._before.shape != samples[0].shape
        before = samples[0] if first or self._before is None else self._before
        self._before = samples[-1]
        # Picture by picture: it is in the processor's cache then.
        lights, changes, fine, coarse = [block_means(before)], [], [], []
        for a, b in pairwise((before, *samples)):
            lights.append(block_means(b))
            changes.append(block_means(difference(a, b)))
            fine.append(halved(b))
            coarse.append(halved(fine[-1]))
        light, changed = np.array(lights), np.array(changes)
        moved = np.maximum(changed - np.abs(light[1:] - light[:-1]), 0)
        light = light[1:]
        means, spreads = light.mean(axis=1), light.max(axis=1) - light.min(axis=1)
        plain = (spreads < 8 * PLAIN) & (light.std(axis=1) < PLAIN)
        figures = zip(*(row.tolist() for row in (means, plain, highest(moved), highest(changed))), strict=True)
        looks = []
        for n, (mean, is_plain, activity, change) in enumerate(figures):
            frame, picture, time_s = frames[n], samples[n], float(frames[n].time_s)
            is_dark = mean <= 2 * self._black
            looks.append(
                Look(
                    index=self._count,
                    time_s=time_s,
                    end_s=time_s + float(frame.duration_s),  # as fractions they cost as much as a block mean
                    pts=frame.pts,
                    keyframe=frame.keyframe,
                    light=light[n],
                    mean=mean,
                    activity=activity,
                    change=change,
                    grid=grid_of(picture),
                    fine=fine[n],
                    coarse=coarse[n],
                    black_share=float(np.count_nonzero(picture <= self._black) / picture.size) if is_dark else 0.0,
                    plain=is_plain,
                    first=first and n == 0,
                )
            )
            self._count += 1
        return looks


def difference(before: Array, after: Array) -> Array:
    """Absolute, sample by sample."""
    changed = after - before
    np.abs(changed, out=changed)
    return changed


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
    lines = samples[: rows * tall].reshape(rows, tall, width).sum(axis=1)
    sums = lines[:, : columns * wide] @ blocks_across(columns, wide)
    return np.asarray(sums.ravel() / np.float32(tall * wide), np.float32)


@cache
def blocks_across(columns: int, wide: int) -> Array:
    """(columns * wide, columns): 1 where a sample is in a block. To multiply by it takes a third of the time of a sum
    by blocks."""
    return np.eye(columns, dtype=np.float32).repeat(wide, axis=0)


def halved(samples: Array) -> Array:
    """Means of 2 x 2 samples."""
    height, width = (side // 2 * 2 for side in samples.shape)
    lines = samples[:height:2, :width] + samples[1:height:2, :width]
    return np.asarray((lines[:, ::2] + lines[:, 1::2]) * np.float32(0.25), np.float32)


def highest(moved: Array) -> NDArray[np.float64]:
    """(..., blocks) -> (...): mean of the highest fifth."""
    count = moved.shape[-1] // TOP_SHARE
    sums = np.partition(moved, -count)[..., -count:].sum(axis=-1)
    return np.asarray(sums / np.float64(count))
