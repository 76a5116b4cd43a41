"""Combing: two fields of different times in one picture, where the stream says that it is progressive.

Where something moves, every other line comes from another time: columns of samples alternate from line to line, at the
highest frequency there is. Pictures that were taken as a whole have little there, and less than at lower frequencies.
So columns are cut into stretches of 8 lines, and those counted whose alternation is strong, and stronger than what they
have at 3/8 and 2/8 cycles a line (discrete Fourier transform).
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
PEAK = 3.0
"""Alternation over what there is at the frequencies below it, at least."""
COMBED_SHARE = 0.004
"""Of the stretches, in a combed picture: clean photographs of fine lines have 0.003."""
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
    """Of columns of luma (height, columns) in 8-bit code values: the share of stretches that are combed."""
    count = columns.shape[0] // STRETCH
    if not count or not columns.shape[1]:
        return 0.0
    stretches = columns[: count * STRETCH].reshape(count, STRETCH, -1)
    found = np.abs(np.tensordot(WAVES, stretches, (1, 1)))  # (waves, stretches, columns)
    lower = np.maximum(np.hypot(found[1], found[2]), np.hypot(found[3], found[4]))
    combed = (found[0] > LIT * STRETCH / 2) & (found[0] > PEAK * lower)
    return float(combed.mean())


def combing(frames: Sequence[Frame], start_s: float, end_s: float) -> Event | None:
    """The event of a window whose picked frames are combed: half of them, MIN_COMBED at least; None of another."""
    shares = [combed_share(f.columns()) for f in frames if "interlaced" not in f.flags]
    combed = sorted(share for share in shares if share >= COMBED_SHARE)
    if len(combed) < max(MIN_COMBED, (len(frames) + 1) // 2):
        return None
    severity = min(1.0, combed[len(combed) // 2] / BAD_SHARE)
    return Event("combing", start_s, end_s, severity, len(combed) / len(frames))
