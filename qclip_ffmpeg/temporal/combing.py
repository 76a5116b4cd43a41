"""Combing: two fields of different times in one picture, where the stream says that it is progressive.

Where something moves, every other line comes from another time: columns of samples alternate from line to line, at the
highest frequency there is. Pictures that were taken as a whole have little there, and less than at lower frequencies.
So columns are cut into stretches of 8 lines (discrete Fourier transform), and those counted whose alternation is
strong, and stronger than what they have at 3/8 and 2/8 cycles a line. Pictures of fine lines have such stretches, too;
but they have as many that are strongest at 3/8.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.track import Event

STRETCH = 8
"""Lines."""
LIT = 6.0
"""8-bit code values by which lines alternate about their mean, at least."""
PEAK = 2.0
"""What is strongest in a stretch, over what there is at the other two frequencies, at least."""
COMBED_SHARE = 0.0035
"""Of the stretches, in a combed picture, at least."""
OVER_FINE = 1.4
"""Combed stretches over those strongest at 3/8 cycles a line, at least."""
BAD_SHARE = 0.05
MIN_COMBED = 2
"""Pictures of a window."""
LINES = np.arange(STRETCH)
WAVES: NDArray[np.float32] = np.stack(
    [
        (-1.0) ** LINES,
        *(wave(2 * math.pi * n * LINES / STRETCH) for n in (3, 2) for wave in (np.cos, np.sin)),
    ]
).astype(np.float32)


def combed_share(columns: NDArray[np.float32]) -> float:
    """Of columns of luma (height, columns) in 8-bit code values: the share of stretches that are combed; 0 where fine
    lines may be all there is."""
    count = columns.shape[0] // STRETCH
    if not count or not columns.shape[1]:
        return 0.0
    stretches = columns[: count * STRETCH].reshape(count, STRETCH, -1)
    found = np.abs(np.tensordot(WAVES, stretches, (1, 1)))  # (waves, stretches, columns)
    high, fine, coarse = found[0], np.hypot(found[1], found[2]), np.hypot(found[3], found[4])
    combed = float(strongest(high, np.maximum(fine, coarse)).mean())
    return combed if combed >= OVER_FINE * float(strongest(fine, np.maximum(high, coarse)).mean()) else 0.0


def strongest(wave: NDArray[np.float32], others: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Where a wave is strong, and clearly the strongest."""
    return np.asarray((wave > LIT * STRETCH / 2) & (wave > PEAK * others))


def combing(frames: Sequence[Frame], start_s: float, end_s: float) -> Event | None:
    """The event of a window whose picked frames are combed: most of them, MIN_COMBED at least; None of another."""
    shares = [combed_share(f.columns()) for f in frames if "interlaced" not in f.flags]
    combed = sorted(share for share in shares if share >= COMBED_SHARE)
    if len(combed) < max(MIN_COMBED, len(frames) // 2 + 1):
        return None
    severity = min(1.0, combed[len(combed) // 2] / BAD_SHARE)
    return Event("combing", start_s, end_s, severity, len(combed) / len(frames))
