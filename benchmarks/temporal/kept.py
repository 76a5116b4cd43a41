"""Whether an encode still shows what the recipe did: a frame again, or a change of light.

x264 draws frames of slow motion between the pictures before and after them, and skips what hardly changes: a slow pan
of 24 in 60 leaves it as even steps, or as three pictures that stand still and one that jumps, wherever its own pattern
of frames falls. A flash of one frame between its key frames it may leave out. What is not in the file counts neither
if it is found nor if it is missed. It is measured against the clean frames, which no detector has.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.temporal.contents import Clip, Planes, decoded
from benchmarks.temporal.recipes import Damaged, flashes, flickers

STILL = 0.5
"""Step at repeated frames over that at new ones, in the median, at most."""


def keeps_repeats(clip: Clip, damaged: Damaged, path: Path) -> bool:
    """Of the encode of a damaged clip, between the first and the last frame of what was put in."""
    order = damaged.order
    assert order is not None
    first, last = damaged.truths[0].start, min(damaged.truths[0].end, len(order) - 1)
    steps = source_steps(coarse(clip.luma), coarse(encoded_luma(clip, path, len(order))), order)
    numbers = range(max(1, first), last + 1)
    repeated = [steps[n] for n in numbers if order[n] == order[n - 1]]
    new = [steps[n] for n in numbers if order[n] != order[n - 1]] or [1.0]  # none within a freeze
    return not repeated or float(np.median(repeated)) <= STILL * float(np.median(new))


def keeps_light(clip: Clip, damaged: Damaged, path: Path) -> bool:
    """Of the encode of a clip that flickers or flashes, by what its recipe asks of the frames themselves."""
    truth = damaged.truths[0]
    shown = encoded_luma(clip, path, len(clip.planes))[truth.start : truth.end]
    asked = flashes if truth.group == "abrupt" else flickers
    return asked(clip.luma[truth.start : truth.end], shown)


def encoded_luma(clip: Clip, path: Path, frames: int) -> Planes:
    """(frames, height, width) of the encode of a clip, in the clip's size."""
    return decoded(path, (clip.planes.shape[2], clip.height_px), frames)[:, : clip.height_px]


def source_steps(clean: NDArray[np.float32], shown: NDArray[np.float32], order: list[int]) -> NDArray[np.float64]:
    """How far each encoded frame (frames, rows, columns) goes from the one before, along the way the clean frames go.

    Returns:
        (frames,): 0 where it is the same picture, 1 where it goes as far as they do.
    """
    steps = np.zeros(len(order))
    for n in range(1, len(order)):
        before, after = order[n - 1], order[n]
        if before == after:
            before, after = max(0, after - 1), min(len(clean) - 1, after + 1)
            way = (clean[after] - clean[before]) / (after - before)
        else:
            way = clean[after] - clean[before]
        way -= way.mean()
        steps[n] = abs(float(((shown[n] - shown[n - 1]) * way).sum())) / max(float((way * way).sum()), 1e-6)
    return steps


def coarse(luma: Planes) -> NDArray[np.float32]:
    """(frames, height, width) -> means of 4 x 4 samples."""
    count, height, width = luma.shape
    cut = luma[:, : height // 4 * 4, : width // 4 * 4].astype(np.float32)
    return np.asarray(cut.reshape(count, height // 4, 4, width // 4, 4).mean(axis=(2, 4)), np.float32)
