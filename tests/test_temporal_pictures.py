"""What events are told by, on pictures made by hand: blocks, motion, and what speaks for a dropped frame."""

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from qclip_ffmpeg.temporal.drops import bundled_judge
from qclip_ffmpeg.temporal.evidence import (
    BESIDE,
    MOST_SAY,
    Changes,
    evened,
    evidence,
    longer,
    of_the_whole,
    usual_of,
    whole_shift,
)
from qclip_ffmpeg.temporal.flow import finer, flow_of
from qclip_ffmpeg.temporal.looks import GRID, MOST_SAMPLES, block_means, grid_of, halved, thinned


def test_flow_is_found_to_a_fraction_of_a_sample() -> None:
    y, x = np.mgrid[0:33, 0:60].astype(np.float32)

    def picture(dx: float, dy: float) -> Any:
        a, b = x - dx, y - dy
        return (40 * (np.sin(a / 3) + np.cos(b / 4) + np.sin((a + b) / 5)) + 120).astype(np.float32)

    for dx, dy in ((0.1, 0.0), (0.5, -0.3), (1.5, 1.0), (3.0, -2.0)):
        shift = flow_of(picture(0, 0), picture(dx, dy)).shift[1:-1, 1:-1]
        assert np.abs(np.median(shift, axis=(0, 1)) - [dx, dy]).max() < 0.08, (dx, dy)


def test_flow_on_a_finer_picture_is_in_its_own_samples() -> None:
    for dx, dy in ((0.4, 0.0), (1.0, -0.6), (3.0, 2.0)):
        fine = [texture(at * dx, at * dy)[:67, :121].astype(np.float32) for at in (0, 1)]
        flow = finer(flow_of(*(halved(picture) for picture in fine)), *fine)
        assert flow.shift.shape == (15, 29, 2)
        assert np.abs(np.median(flow.shift[1:-1, 1:-1], axis=(0, 1)) - [dx, dy]).max() < 0.08, (dx, dy)


def texture(across: float, down: float, width: int = 320) -> np.ndarray:
    """A picture (120, width) of waves in several directions, moved by so many samples."""
    y, x = np.mgrid[0:120, 0:width].astype(np.float64)
    x, y = x - across, y - down
    return 120 + 25 * (np.sin(x / 2.1 + y / 9) + np.cos(x / 3.7 - y / 5) + np.sin((x + y) / 4.3))


def step_evidence(here: float, beside: tuple[float, float, float, float]) -> tuple[float, float]:
    """(longer, score) of a step of `here` samples across between steps of so many."""

    def picture(at: float) -> np.ndarray:
        return halved(texture(at, 0)[:, :240].astype(np.float32).repeat(2, 0).repeat(2, 1))

    places = np.cumsum([0.0, *beside[:2], here, *beside[2:]]) * 2
    fine = [picture(place) for place in places]
    pictures = [halved(one) for one in fine]
    pairs = pairwise(zip(pictures, fine, strict=True))
    flows = [finer(flow_of(a, b), fine_a, fine_b) for (a, fine_a), (b, fine_b) in pairs]
    by_place = {n: flows[n + 2].shift for n in BESIDE}
    change = [float(np.abs(pictures[b] - pictures[a]).mean()) for a, b in ((1, 2), (3, 4), (0, 2), (3, 5), (2, 3))]
    changes = Changes(1.5, 0.8, (change[0] + change[1]) / 2, (change[2] + change[3]) / 2, change[4])
    figures = evidence(evened(flows[2], usual_of(by_place)), by_place, changes)
    return longer(flows[2], usual_of(by_place)), bundled_judge().score(figures)


def test_a_step_twice_as_long_scores_and_one_of_a_camera_that_speeds_up_does_not() -> None:
    far, sure = step_evidence(2.0, (1.0, 1.0, 1.0, 1.0))
    assert far == pytest.approx(1.0, abs=0.15)
    assert sure > bundled_judge().threshold
    near, unsure = step_evidence(1.3, (1.0, 1.1, 1.5, 1.7))
    assert abs(near) < 0.2
    assert unsure < bundled_judge().threshold


def test_no_block_has_much_more_to_say_than_others() -> None:
    fence = texture(0, 0)[:60, :120].astype(np.float32)
    fence[:, :40] += 60 * (np.arange(40) % 2)
    flow = flow_of(fence, np.roll(fence, 1, axis=1))
    usual = np.ones_like(flow.shift)
    before, after = flow.product(usual, usual), evened(flow, usual).product(usual, usual)
    assert before.max() > 2 * MOST_SAY * np.median(before)
    assert after.max() == pytest.approx(MOST_SAY * np.median(before), rel=1e-3)
    assert np.median(after) == pytest.approx(np.median(before), rel=1e-3)


def test_the_judge_has_a_weight_for_every_figure() -> None:
    judge = bundled_judge()
    flow = flow_of(np.eye(32, dtype=np.float32), np.eye(32, dtype=np.float32))
    figures = evidence(flow, dict.fromkeys(BESIDE, flow.shift), Changes(1, 1, 1, 1, 1))
    assert figures.shape == (len(judge.mean),) == (len(judge.scale),)
    assert {len(row) for row in judge.hidden} == {len(figures)}
    assert len(judge.hidden) == len(judge.hidden_bias) == len(judge.out)
    assert np.isfinite(figures).all()


@pytest.mark.parametrize("shape", [(135, 240), (240, 135), (832, 464), (270, 479)])
def test_pictures_of_any_shape_have_the_same_number_of_blocks(shape: tuple[int, int]) -> None:
    picture = np.arange(shape[0] * shape[1], dtype=np.float32).reshape(shape) % 251
    thin = thinned(picture)
    assert thin.size <= 2 * MOST_SAMPLES
    assert block_means(thin).shape == (GRID[0] * GRID[1],)
    coarse = halved(halved(thin))
    height, width = (side // 4 * 4 for side in thin.shape)
    expected = thin[:height, :width].reshape(height // 4, 4, width // 4, 4).mean((1, 3))
    assert np.abs(coarse - expected).max() < 1e-3
    rows, columns = grid_of(thin)
    tall, wide = (side // count for side, count in zip(thin.shape, (rows, columns), strict=True))
    blocks = thin[: rows * tall, : columns * wide].reshape(rows, tall, columns, wide).mean((1, 3), dtype=np.float64)
    assert np.abs(block_means(thin) - blocks.ravel()).max() < 1e-3


def test_the_whole_moves_as_most_of_it_does_and_a_jerk_moves_it_across() -> None:
    flow = flow_of(texture(0, 0)[:60, :120].astype(np.float32), texture(1, 0)[:60, :120].astype(np.float32))
    steady = np.zeros_like(flow.shift) + np.float32([1, 0])
    walker = steady.copy()
    walker[:3, :4] = (0, 1)  # something goes its own way
    assert whole_shift(flow, steady) == pytest.approx([1, 0], abs=1e-3)
    assert whole_shift(flow, walker) == pytest.approx([1, 0], abs=0.2)
    beside = dict.fromkeys(BESIDE, steady)
    twice = of_the_whole(replace(flow, shift=2 * steady), steady, beside)
    jerk = of_the_whole(replace(flow, shift=steady + np.float32([0, 1])), steady, beside)
    assert twice[:2] == pytest.approx([1, 0], abs=0.2)
    assert jerk[:2] == pytest.approx([0, 1], abs=0.2)
    assert twice[3:] == pytest.approx([0] * 4, abs=0.1)  # over the usual length with a little added
