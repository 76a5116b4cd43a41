"""Whether an encode still shows a frame again: the truth of the benchmark's repeats."""

import numpy as np

from benchmarks.temporal.kept import STILL, source_steps


def clean_frames() -> np.ndarray:
    """A slow pan over blurred stripes, (12, 8, 40)."""
    across = np.arange(40)[None, None, :] + 0.5 * np.arange(12)[:, None, None]
    return np.repeat(100 + 50 * np.sin(across / 5), 8, axis=1).astype(np.float32)


def test_repeats_that_are_kept_do_not_step_and_those_drawn_between_do() -> None:
    clean = clean_frames()
    order = [0, 1, 2, 2, 3, 4, 4, 5, 6, 6, 7]
    kept = source_steps(clean, clean[order], order)
    even = np.linspace(0, 7, len(order))
    below, share = even.astype(int), (even % 1).astype(np.float32)[:, None, None]
    drawn = (1 - share) * clean[below] + share * clean[np.minimum(below + 1, 11)]
    smooth = source_steps(clean, drawn, order)
    repeats = [3, 6, 9]
    new = [n for n in range(1, len(order)) if n not in repeats]
    assert np.abs(kept[repeats]).max() < 1e-6
    assert np.abs(kept[new] - 1).max() < 0.01
    assert np.median(smooth[repeats]) > STILL * np.median(smooth[new])
