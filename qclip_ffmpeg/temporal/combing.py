"""Combing: two fields of different times in one picture, where the stream says that it is progressive.

Where something moves, every other line is of another time, and shifted: a line differs from the mean of the two beside
it by its slope times the shift, to one side on even lines, to the other on odd ones:

    line  slope   less the lines beside it
     0     +10    +4         products of the two    +40  -40  +40  -40: a shift of 0.4 samples, combed
     1     +10    -4
     2     +10    +4         a picture that was taken as a whole has products, too, of all signs: fine
     3     +10    -4         texture, noise. They prefer no order

So in blocks of 16 x 16 samples the products are summed with alternating signs and, to compare, with signs that come
and go at 3/8 and 2/8 cycles a line. What of a block's difference the first explains, over what the others explain, on
average over all blocks of the pictures of a window, is 1 of whole pictures and more of combed ones. A shift of a tenth
of a sample is found that way, since all blocks count.

Fine drawn lines, and what a fast encoder makes of fractals, alternate, too. But in a combed block the lines of a field
are of one picture, and so nearer to each other than to the lines between them, if the shift is more than the slope of
a line down. In some blocks of nearly every combed picture it is; in hardly any of the others.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.track import Event

Array = NDArray[np.float32]

BLOCK = 16
"""Lines and samples."""
ACROSS, DOWN = 1.3, 1.8
"""What alternation explains over the most that another order does, of shifts across and down, from which on a window
is combed. Texture that was sampled too coarsely alternates down by itself."""
LEAST_ACTIVITY = 0.5
"""`Look.activity` of a window's median picture, in 8-bit code values: where nothing moves fields are alike."""
NOISE = 500.0
"""Added to the energy a block's sums are held against, in code values to the fourth."""
FLOOR = 0.05
"""Added to what other orders explain."""
EXPLAINED = 1.0
"""Of a block, from which on it counts as combed: a 16th of its difference is alternation along its slope."""
CLEARNESS = (0.65, 1.0, 1.6, 1.7)
"""What alternation explains over the most of the others, over ACROSS or DOWN, and"""
OF_TWO_FIELDS = (0.28, 0.08, 0.08, 0.0)
"""the share of the combed blocks in which lines two apart are nearer to each other than lines side by side, that is
asked for there, and in between by straight lines. Where noise alternates in many ways fields still show; whole pictures
have 0.56 at a share of a quarter, and less at more. What is drawn has up to 1.6, and no share."""
CERTAIN_S = 0.5
"""Windows that are shorter need the second of these shares at least: pictures next to each other are one look at
one texture."""
BAD_SHARE = 0.3


@dataclass(frozen=True, slots=True)
class Combs:
    """How combed a picture is, by shifts across and by shifts down."""

    explained: NDArray[np.float64]
    """(2, 3): mean over the blocks of what alternation and the two other orders explain, across and down."""
    share: NDArray[np.float64]
    """(2, 3): of the blocks, those of which they explain EXPLAINED."""
    combed: NDArray[np.bool_]
    """(2, bands, blocks across): those that alternation explains, across and down."""


def over_others(explained: NDArray[np.float64]) -> NDArray[np.float64]:
    """`Combs.explained`, of one picture or several -> (2,): what alternation explains over the most of the others."""
    most: NDArray[np.float64] = explained[:, 1:].max(axis=1)
    return explained[:, 0] / (most + FLOOR)


@cache
def orders() -> Array:
    """(4, BLOCK): signs of the lines, alternating, at 2/8 cycles a line, and at 3/8 in two phases."""
    line = np.arange(BLOCK)
    waves = [(-1.0) ** line, np.where(line % 4 < 2, 1.0, -1.0)]
    waves += [np.sqrt(2) * wave(2 * np.pi * 3 / 8 * line) for wave in (np.cos, np.sin)]
    return np.stack(waves).astype(np.float32)


def combs(bands: Array) -> Combs | None:
    """Of luma in bands of lines, (bands, BLOCK + 2, width) in 8-bit code values; None where they are too small."""
    if not len(bands) or bands.shape[2] < BLOCK + 2:
        return None
    by_block = told_by_block(bands)
    told = by_block > EXPLAINED
    return Combs(by_block.mean(axis=(2, 3), dtype=np.float64), told.mean(axis=(2, 3)), told[:, 0])


def told_by_block(bands: Array) -> Array:
    """(2, 3, bands, blocks across): what alternation and the two other orders explain of a block, across and down."""
    inner = bands[:, 1:-1, 1:-1]
    above, below = bands[:, :-2, 1:-1], bands[:, 2:, 1:-1]
    rest = inner - (above + below) / 2
    energy = in_blocks((rest * rest).sum(axis=1))
    ways = []
    for slope in ((bands[:, 1:-1, 2:] - bands[:, 1:-1, :-2]) / 2, (below - above) / 2):
        sums = in_blocks(orders() @ (rest * slope))
        most = energy * in_blocks((slope * slope).sum(axis=1)) / BLOCK + NOISE
        told = np.moveaxis(sums * sums, 1, 0) / most
        ways.append(np.stack([told[0], told[1], (told[2] + told[3]) / 2]))
    return np.stack(ways)


def of_two_fields(pictures: Sequence[tuple[Array, Combs]], way: int) -> float:
    """Share of the combed blocks in which lines two apart are nearer to each other than lines beside each other.

    Args:
        pictures: each (bands, BLOCK + 2, width) in 8-bit code values, and what `combs` says of it.
        way: 0 for shifts across, 1 for shifts down.
    """
    combed = nearer = 0
    for bands, found in pictures:
        apart = [in_blocks(((bands[:, n:] - bands[:, :-n])[..., 1:-1] ** 2).mean(axis=1)) for n in (1, 2)]
        combed += int(np.count_nonzero(found.combed[way]))
        nearer += int(np.count_nonzero(found.combed[way] & (apart[1] < apart[0])))
    return nearer / combed if combed else 0.0


def in_blocks(samples: Any) -> Any:
    """(..., width) -> sums along it, (..., blocks across). As a product it takes a tenth of the time of a sum."""
    count = samples.shape[-1] // BLOCK
    blocks = samples[..., : count * BLOCK].reshape(*samples.shape[:-1], count, BLOCK)
    return blocks @ np.ones(BLOCK, np.float32)


def combing(frames: Sequence[Frame], start_s: float, end_s: float, activity: float) -> Event | None:
    """The event of a window whose picked frames are combed, together; None of another.

    Args:
        frames: that were picked.
        start_s: of the window.
        end_s: of the window.
        activity: of its median frame.
    """
    looked_at = [frame for frame in frames if "interlaced" not in frame.flags]
    if activity < LEAST_ACTIVITY or 2 * len(looked_at) <= len(frames):
        return None
    found = [(bands, combed) for frame in looked_at if (combed := combs(bands := frame.lines())) is not None]
    if not found:
        return None
    explained, shares = (np.mean([getattr(c, name) for _, c in found], axis=0) for name in ("explained", "share"))
    clear = over_others(explained) / (ACROSS, DOWN)
    least = 0.0 if end_s - start_s >= CERTAIN_S else OF_TWO_FIELDS[1]
    asked = np.maximum(np.interp(clear, CLEARNESS, OF_TWO_FIELDS), least)
    ways = [int(way) for way in np.argsort(-clear) if clear[way] >= CLEARNESS[0]]
    sure = [way for way in ways if of_two_fields(found, way) >= asked[way]]
    if not sure:
        return None
    way = sure[0]
    share = float(shares[way, 0] - shares[way, 1:].max())
    return Event("combing", start_s, end_s, min(1.0, max(0.0, share / BAD_SHARE)), min(1.0, float(clear[way]) / 2))
