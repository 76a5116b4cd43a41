"""Flashes, flicker and cuts where much moves: on pictures made by hand, and the benchmark's own idea of them."""

from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import cache

import numpy as np
import pytest

from benchmarks.temporal.contents import Clip, own_flashes
from benchmarks.temporal.recipes import flash
from qclip_ffmpeg.temporal.cuts import Cuts
from qclip_ffmpeg.temporal.flashes import BEFORE, flash_gain
from qclip_ffmpeg.temporal.flicker import Flicker
from qclip_ffmpeg.temporal.light import Fades, Moment, span_s
from qclip_ffmpeg.temporal.looks import Look, block_means, grid_of, halved, highest

RATE = 25
BLACK = 16.0
SIZE = (135, 240)


@cache
def scene(seed: int, light: float = 100.0) -> np.ndarray:
    """Soft structure larger than a block, three times as wide as the picture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0 : SIZE[0], 0 : 3 * SIZE[1]].astype(np.float64)
    waves = [np.sin(x * a + y * b + c) for a, b, c in rng.uniform((-0.12, -0.12, 0), (0.12, 0.12, 6), (8, 3))]
    return (light + 18 * np.sum(waves, axis=0)).clip(20, 230).astype(np.float32)


def view(whole: np.ndarray, left: float) -> np.ndarray:
    return whole[:, round(left) : round(left) + SIZE[1]]


def looks_of(pictures: Sequence[np.ndarray]) -> list[Look]:
    """As the looker makes them, but for what neither light nor cuts are told by."""
    looks = []
    for n, picture in enumerate(pictures):
        light = block_means(picture)
        changed = np.zeros_like(light) if n == 0 else block_means(np.abs(picture - pictures[n - 1]))
        looks.append(
            Look(
                index=n,
                time_s=n / RATE,
                end_s=(n + 1) / RATE,
                pts=n,
                keyframe=False,
                light=light,
                mean=float(light.mean()),
                activity=float(highest(changed)),
                change=float(highest(changed)),
                grid=grid_of(picture),
                fine=halved(picture),
                coarse=halved(halved(picture)),
                black_share=0.0,
                plain=float(light.std()) < 4,
                first=n == 0,
            )
        )
    return looks


def brighter(picture: np.ndarray, gain: float) -> np.ndarray:
    return ((picture - BLACK) * gain + BLACK).astype(np.float32)


def pan(count: int, step: float, seed: int = 1) -> list[np.ndarray]:
    return [view(scene(seed), n * step) for n in range(count)]


def flicker_of(pictures: Sequence[np.ndarray]) -> list[tuple[float, float]]:
    """(start, end) in frames."""
    detector = Flicker(BLACK, 1 / RATE)
    events = [event for look in looks_of(pictures) for event in detector.add(look, is_cut=False)] + list(detector.end())
    return [(round(event.start_s * RATE, 3), round(event.end_s * RATE, 3)) for event in events]


def cuts_of(pictures: Sequence[np.ndarray]) -> list[int]:
    """The first frames of scenes."""
    detector = Cuts()
    judged = [pair for look in looks_of(pictures) for pair in detector.add(look)] + list(detector.end())
    return [look.index for look, event in judged if event is not None]


@pytest.mark.parametrize("gain", [1.08, 0.92, 1.3])
@pytest.mark.parametrize("length", [1, 3])
def test_a_flash_is_found_while_the_camera_pans(gain: float, length: int) -> None:
    pictures = pan(40, 6)
    pictures[20 : 20 + length] = [brighter(p, gain) for p in pictures[20 : 20 + length]]
    assert flicker_of(pictures) == [(20, 20 + length)]


def test_a_flash_is_found_in_a_fade_and_in_a_plain_sky() -> None:
    fading = [brighter(p, 0.3 + 0.015 * n) for n, p in enumerate(pan(40, 1))]
    fading[20:22] = [brighter(p, 0.85) for p in fading[20:22]]
    assert flicker_of(fading) == [(20, 22)]
    sky = [np.full(SIZE, 170, np.float32) for _ in range(30)]
    sky[15] = brighter(sky[15], 0.9)
    assert flicker_of(sky) == [(15, 16)]


def test_a_step_of_light_that_stays_is_no_flash() -> None:
    assert flicker_of([brighter(p, 1.0 if n < 20 else 1.15) for n, p in enumerate(pan(40, 2))]) == []


def test_light_that_turns_is_no_flash() -> None:
    assert flicker_of([brighter(p, 0.5 + 0.03 * abs(n - 20)) for n, p in enumerate(pan(41, 2))]) == []


def test_what_passes_in_front_is_no_flash() -> None:
    pictures = [p.copy() for p in pan(40, 2)]
    for n, left in ((19, 0), (20, 60), (21, 120)):
        pictures[n][:, left : left + 120] = 60
    assert flicker_of(pictures) == []


def test_the_gain_of_a_flash_is_its_logarithm() -> None:
    pictures = pan(BEFORE + 3, 1)
    pictures[-2] = brighter(pictures[-2], 1.1)
    assert flash_gain(looks_of(pictures), BLACK) == pytest.approx(np.log(1.1), abs=0.01)
    assert flash_gain(looks_of(pan(BEFORE + 3, 1)), BLACK) == 0.0


def test_slow_flicker_that_rests_between_its_steps_is_found() -> None:
    """2.1 Hz, square, of 3 % to either side."""
    wave = [1 + 0.03 * np.sign(np.sin(2 * np.pi * 2.1 * n / RATE + 0.3)) for n in range(75)]
    [(first, last)] = flicker_of([brighter(p, gain) for p, gain in zip(pan(75, 1), wave, strict=True)])
    assert first < 15
    assert last > 60


@pytest.mark.parametrize(("darker", "flickers"), [(1.05, True), (0.9, False)])
def test_light_that_most_of_the_picture_shares_and_its_tones_do_not_is_no_flicker(
    darker: float, flickers: bool
) -> None:
    """As before a camera that shakes: what is bright covers more, and the rest is another part of the scene."""
    others = np.kron(np.random.default_rng(4).random((9, 16)) < 0.4, np.ones((15, 15), bool))
    pictures = []
    for n, picture in enumerate(pan(60, 0)):
        gains = np.where(others, darker, 1.05) if n % 4 < 2 else np.ones(SIZE)
        pictures.append(((picture - BLACK) * gains + BLACK).astype(np.float32))
    assert bool(flicker_of(pictures)) == flickers


def test_light_that_has_stopped_long_ago_at_a_high_rate_is_no_error() -> None:
    """More still frames than are remembered come before the end, but hardly any time."""
    swings = [1.06 if n // 3 % 2 else 1.0 for n in range(18)]
    pictures = [brighter(pan(1, 0)[0], gain) for gain in [1.0] * 10 + swings + [1.0] * 66]
    detector = Flicker(BLACK, 1 / 240)
    timed = [replace(look, time_s=look.index / 240, end_s=(look.index + 1) / 240) for look in looks_of(pictures)]
    events = [event for look in timed for event in detector.add(look, is_cut=False)]
    assert {event.kind for event in (*events, *detector.end())} == {"flicker"}


@pytest.mark.parametrize("plain", [16.0, 0.0, 235.0, 255.0])
def test_the_span_of_a_fade_is_that_of_its_line(plain: float) -> None:
    """26 frames from 130 to a plain picture, and the other way round."""
    moments = [Moment(1 + n / 25, plain + (130 - plain) * n / 25) for n in range(26)]
    told = moments[2:]  # what is nearly plain is not told
    assert span_s(told, plain) == pytest.approx((1.0, 2.0))
    backward = [Moment(4 - m.time_s, m.mean) for m in told]
    assert span_s(backward, plain) == pytest.approx((2.04, 3.04))


def test_a_gap_within_a_fade_makes_it_no_longer_at_its_ends() -> None:
    moments = [Moment((n + 30 * (n > 13)) / 25, 16 + 4.0 * n) for n in range(26)]
    assert span_s(moments, 16.0) == pytest.approx((0.0, 2.2))


def test_a_fade_begins_no_earlier_than_the_video() -> None:
    pictures = [brighter(p, 0.04 + 0.03 * n) for n, p in enumerate(pan(33, 1))]
    fades = Fades(BLACK)
    looks = [replace(look, plain=look.index == 0) for look in looks_of(pictures)]
    [event] = [event for look in looks for event in fades.add(look, is_cut=False)] + list(fades.end())
    assert event.start_s == 0.0


def test_a_cut_between_scenes_in_which_much_moves_is_found() -> None:
    here, there = pan(30, 10), [view(scene(5, light=130), n * 10) for n in range(30)]
    assert cuts_of([*here, *there]) == [30]


def test_a_cut_to_a_nearly_plain_picture_is_found() -> None:
    wall = 150 + (scene(3) - 100) / 12
    assert 2.5 < block_means(view(wall, 0)).std() < 6
    assert cuts_of([*pan(20, 1), *[view(wall, n) for n in range(20)]]) == [20]


def test_frames_left_out_of_a_fast_pan_are_no_cut() -> None:
    pictures = pan(30, 8)
    assert cuts_of(pictures[:15] + pictures[17:]) == []


def clip_of(pictures: Sequence[np.ndarray]) -> Clip:
    """yuv420p planes of even size."""
    luma = np.stack([p[:134] for p in pictures]).round().astype(np.uint8)
    chroma = np.full((len(luma), 67, luma.shape[2]), 128, np.uint8)
    return Clip(np.concatenate([luma, chroma], axis=1), Fraction(RATE))


def test_the_benchmark_knows_the_flashes_of_a_source_itself() -> None:
    pictures = pan(30, 2)
    assert own_flashes(clip_of(pictures).luma) == []
    pictures[12:14] = [brighter(p, 1.2) for p in pictures[12:14]]
    assert clip_of(pictures).flashes == [(12, 14)]


def test_the_benchmark_asks_for_no_flash_that_white_swallows() -> None:
    grey, white = (clip_of([view(scene(1), 0) * share + 235 * (1 - share)] * 30) for share in (1, 0.02))
    up = [seed for seed in range(8) if flash(grey, np.random.default_rng(seed)).planes.mean() > grey.planes.mean()]
    assert up
    for clip, counts in ((grey, True), (white, False)):
        assert {t.counts for seed in up for t in flash(clip, np.random.default_rng(seed)).truths} == {counts}
