"""What the truth knows of motion: how far tiles of clean pictures move from frame to frame, by phase correlation.

Kuglin and Hines, "The phase correlation image alignment method" (1975), in tiles of an eighth of the width. It shares
nothing with the detector, which follows slopes on a smaller picture.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft2, rfft2

TILES_ACROSS = 8
"""Tiles overlap by half."""
TEXTURE = 4.0
"""Standard deviation within a tile, in 8-bit code values: below it no motion is seen."""
PEAK = 0.08
"""Of the phase correlation, the highest value over that of a perfect match: below it a tile has no match."""
LEAST_TILES = 8
THUMBNAIL_PX = 240
"""Width of the thumbnail that events are found on; its samples are the unit of motion."""
MOVING = 1.0
"""Thumbnail samples a frame that half of the tiles move, at least, in a moving scene. 1/240 of the width is 8 minutes
of arc where the picture is 32 degrees wide: a jump of it is seen."""
JUMP = 1.5
"""The step across a dropped frame over the longer one of those beside it, half of the tiles, at least: below it motion
turned or slowed just there, and no step stands out."""
LIKE_A_JUMP = 1.3
"""The same of steps of a clean clip that may as well be one: less than JUMP, for what is between the two is not known
well enough to call a report of it right or wrong."""
ONWARD = 0.8
"""Cosine of a tile's step and of those beside it, at least, that goes on in their direction."""
GOING = 0.5
"""Thumbnail samples a frame over the steps beside it, at least, of such a tile."""


@dataclass(frozen=True)
class Instant:
    """Motion around one frame that is to be dropped."""

    moving: bool
    """The scene moves both to the frame and on from it."""
    jump: bool
    """Without the frame, a step stands out."""


def around(luma: NDArray[np.uint8], n: int) -> Instant:
    """Of clean pictures (frames, height, width), at frame n; 2 <= n < frames - 2."""
    return instant(*(shifts(luma[k - 1], luma[k]) for k in (n - 1, n, n + 1, n + 2)))


def instant(
    before: NDArray[np.float64], to: NDArray[np.float64], on: NDArray[np.float64], after: NDArray[np.float64]
) -> Instant:
    """Of the `shifts` over the two steps that a drop makes one, `to` and `on`, and over those beside them."""
    seen = ~np.isnan(to + on).any(axis=-1)
    if np.count_nonzero(seen) < LEAST_TILES:
        return Instant(moving=False, jump=False)
    moving = min(float(np.median(np.linalg.norm(step[seen], axis=-1))) for step in (to, on)) >= MOVING
    return Instant(moving, moving and stands_out(before, to + on, after))


def stands_out(
    before: NDArray[np.float64], step: NDArray[np.float64], after: NDArray[np.float64], least: float = JUMP
) -> bool:
    """Whether a step is so many times as long as the longer one of those before and after it, all as `shifts`."""
    known = ~np.isnan(before + step + after).any(axis=-1)
    if np.count_nonzero(known) < LEAST_TILES:
        return False
    beside = np.maximum(*(np.linalg.norm(other[known], axis=-1) for other in (before, after)))
    return float(np.median(np.linalg.norm(step[known], axis=-1) / np.maximum(beside, 0.25))) >= least


def own_jump(before: NDArray[np.float64], step: NDArray[np.float64], after: NDArray[np.float64]) -> bool:
    """Whether a step is what one across a dropped frame may be: nobody can know that none is missing.

    What moves on is asked, the rest of the picture may stand: cars jump in front of a camera that does not move.
    """
    length, *lengths = (np.linalg.norm(one, axis=-1) for one in (step, before, after))
    along = (step * (before + after)).sum(axis=-1)
    onward = along >= ONWARD * length * np.linalg.norm(before + after, axis=-1)
    goes = onward & (length >= 2 * MOVING) & (np.minimum(*lengths) >= GOING)  # none that cannot be told
    return stands_out(before[goes], step[goes], after[goes], LIKE_A_JUMP)


def own_jumps(moved: Sequence[NDArray[np.float64]]) -> list[int]:
    """Frames whose step is an `own_jump`, of the `all_shifts` of a clip."""
    return [n for n in range(2, len(moved) - 1) if own_jump(*moved[n - 1 : n + 2])]


def all_shifts(luma: Sequence[NDArray[np.uint8]]) -> list[NDArray[np.float64]]:
    """`shifts` to every picture (height, width) from the one before it; to the first from itself."""
    return [shifts(luma[max(0, n - 1)], picture) for n, picture in enumerate(luma)]


def shifts(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Of two pictures (height, width): where tiles went, (tiles, 2) across and down, in thumbnail samples; nan where
    it cannot be told."""
    width = before.shape[1]
    side = max(16, width // TILES_ACROSS // 2 * 2)
    a, b = (tiles(picture, side) for picture in (before, after))
    window = np.outer(np.hanning(side), np.hanning(side)).astype(np.float32)
    textured = np.minimum(a.std(axis=(1, 2)), b.std(axis=(1, 2))) >= TEXTURE
    spectra = [rfft2((p - p.mean(axis=(1, 2), keepdims=True)) * window) for p in (a, b)]
    cross = spectra[1] * np.conj(spectra[0])
    found, height = peaks(irfft2(cross / (np.abs(cross) + 1e-6), s=(side, side)))
    found[~textured | (height < PEAK)] = np.nan
    return found * THUMBNAIL_PX / width


def tiles(picture: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """(tiles, side, side)"""
    step = side // 2
    seen = np.lib.stride_tricks.sliding_window_view(picture, (side, side))[::step, ::step]
    return seen.reshape(-1, side, side).astype(np.float32)


def peaks(surfaces: NDArray[np.float32]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Of surfaces (tiles, side, side) that wrap around: their highest places, (tiles, 2) across and down, between
    samples by the weights of the 3 x 3 about them, and how high they are, (tiles,)."""
    count, side, _ = surfaces.shape
    top, left = np.divmod(surfaces.reshape(count, -1).argmax(axis=1), side)
    about = np.arange(-1, 2)
    tile = np.arange(count)
    rows, columns = (top[:, None] + about) % side, (left[:, None] + about) % side
    near = surfaces[tile[:, None, None], rows[:, :, None], columns[:, None]]
    near = np.maximum(near, 0).astype(np.float64)
    total = near.sum(axis=(1, 2)) + 1e-9
    across, down = left + near.sum(axis=1) @ about / total, top + near.sum(axis=2) @ about / total
    places = np.stack([across, down], axis=1)
    return np.where(places > side / 2, places - side, places), surfaces[tile, top, left]
