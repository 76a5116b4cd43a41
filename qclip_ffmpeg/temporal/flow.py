"""How blocks of a picture made small move from one frame to the next, to a fraction of a sample.

Lucas and Kanade, "An iterative image registration technique" (1981), block by block, from coarse to fine: the shift
that best explains the change of a block by its slopes, found again on the shifted picture. Light that changes is no
shift: means of blocks are taken out.
"""

from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.temporal.looks import Array, halved

CELL = 4
"""Samples a side; a block is 2 x 2 cells, and blocks overlap by half."""
ITERATIONS = 2
LEVELS = 2
FIRM = 0.15
"""Added to the slopes' squares, a sample, in code values squared: where there is nothing to see nothing moves."""
MOST_SHIFT = 1.5
"""Samples an iteration."""


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """Shifts of the blocks, (rows, columns, 2) in samples across and down, and how well slopes tell them."""

    shift: Array
    slopes: tuple[Array, Array, Array]
    """Sums over a block of the slopes' products across x across, down x down, across x down, (rows, columns)."""
    rest: Array
    """Mean squared difference of the blocks after the shift, in code values squared."""

    @property
    def doubt(self) -> Array:
        """What slopes are held against, (rows, columns): the rest, and what noise leaves anyway."""
        return self.rest + np.float32(0.5)

    def product(self, a: Array, b: Array) -> Array:
        """Of two fields of shifts, weighed by what can be seen of them: by slopes, and by how well the blocks fit."""
        xx, yy, xy = self.slopes
        seen = xx * a[..., 0] * b[..., 0] + yy * a[..., 1] * b[..., 1]
        seen = seen + xy * (a[..., 0] * b[..., 1] + a[..., 1] * b[..., 0])
        return np.asarray(seen / self.doubt, np.float32)


def flow_of(before: Array, after: Array) -> Flow:
    """The flow between two coarse pictures (height, width) of 2 CELL or more a side."""
    pyramid = [(before, after)]
    for _ in range(LEVELS - 1):
        pyramid.append((halved(pyramid[-1][0]), halved(pyramid[-1][1])))
    found: Flow | None = None
    for a, b in reversed(pyramid):
        if a is before or min(a.shape) >= 3 * CELL:
            found = refined(a, b, None if found is None else 2 * found.shift)
    assert found is not None
    return found


def finer(flow: Flow, before: Array, after: Array) -> Flow:
    """The flow between the same two pictures, (height, width) of twice as many samples a side, give or take one: shifts
    are in those smaller samples, and there are four times as many blocks."""
    return refined(before, after, 2 * flow.shift)


def refined(before: Array, after: Array, start: Array | None) -> Flow:
    """The flow of one level, from a first guess (rows, columns, 2) of any size."""
    rows, columns = (side // CELL for side in before.shape)
    height, width = rows * CELL, columns * CELL
    before, after = before[:height, :width], after[:height, :width]
    shift = np.zeros((rows - 1, columns - 1, 2), np.float32)
    if start is not None:
        down = np.minimum(np.arange(rows - 1) * start.shape[0] // (rows - 1), start.shape[0] - 1)
        across = np.minimum(np.arange(columns - 1) * start.shape[1] // (columns - 1), start.shape[1] - 1)
        shift = start[down][:, across]
    slope_x, slope_y = slopes_of(before)
    count = np.float32((2 * CELL) ** 2)
    for _ in range(ITERATIONS):
        seen = shifted(after, shift)
        seen_x, seen_y = slopes_of(seen)
        x, y, off = (slope_x + seen_x) / 2, (slope_y + seen_y) / 2, before - seen
        sums = block_sums(np.stack([x, y, off, x * x, y * y, x * y, x * off, y * off, off * off]))
        ones, firm = sums[:3], FIRM * count
        xx = sums[3] - ones[0] * ones[0] / count + firm
        yy = sums[4] - ones[1] * ones[1] / count + firm
        xy = sums[5] - ones[0] * ones[1] / count
        xo = sums[6] - ones[0] * ones[2] / count
        yo = sums[7] - ones[1] * ones[2] / count
        step = np.stack([yy * xo - xy * yo, xx * yo - xy * xo], -1) / (xx * yy - xy * xy)[..., None]
        shift = shift + np.clip(step, -MOST_SHIFT, MOST_SHIFT)
    rest: Any = (sums[8] - ones[2] * ones[2] / count) / count
    return Flow(shift, (xx, yy, xy), rest)


def slopes_of(picture: Array) -> tuple[Array, Array]:
    """Across and down, (height, width); none at the edges."""
    x, y = np.zeros_like(picture), np.zeros_like(picture)
    x[:, 1:-1] = (picture[:, 2:] - picture[:, :-2]) / 2
    y[1:-1] = (picture[2:] - picture[:-2]) / 2
    return x, y


def block_sums(planes: Array) -> Array:
    """(planes, rows * CELL, columns * CELL) -> (planes, rows - 1, columns - 1)"""
    _, height, width = planes.shape
    return np.asarray(blocks_along(height) @ planes @ blocks_along(width).T, np.float32)


@cache
def blocks_along(length: int) -> Array:
    """(blocks, samples): 1 where a sample is in a block."""
    count = length // CELL - 1
    member = np.zeros((count, length), np.float32)
    for n in range(count):
        member[n, n * CELL : (n + 2) * CELL] = 1
    return member


def shifted(picture: Array, shift: Array) -> Array:
    """The picture with every cell fetched from where its blocks went, bilinear."""
    rows, columns = (side // CELL for side in picture.shape)
    above, below = cells_beside(rows)
    left_of, right_of = cells_beside(columns)
    of_row = shift[above] + shift[below]
    of_cell = (of_row[:, left_of] + of_row[:, right_of]) / 4
    moved = of_cell[np.arange(rows * CELL) // CELL][:, np.arange(columns * CELL) // CELL]
    height, width = rows * CELL, columns * CELL
    x = np.clip(np.arange(width, dtype=np.float32) + moved[..., 0], 0, np.float32(width - 1.001))
    y = np.clip(np.arange(height, dtype=np.float32)[:, None] + moved[..., 1], 0, np.float32(height - 1.001))
    left, top = x.astype(np.intp), y.astype(np.intp)
    right, low = (x - left).astype(np.float32), (y - top).astype(np.float32)
    flat, place = picture.ravel(), top * width + left
    upper = flat[place] * (1 - right) + flat[place + 1] * right
    lower = flat[place + width] * (1 - right) + flat[place + width + 1] * right
    return np.asarray(upper * (1 - low) + lower * low, np.float32)


@cache
def cells_beside(count: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Of every cell in a row of so many: the first and the last block that it is in, (cells,) each."""
    cell = np.arange(count)
    return np.maximum(cell - 1, 0), np.minimum(cell, count - 2)
