"""Frames that are shown again, on pictures made by hand: what noise, key frames, turns and gaps make of them."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import accumulate

import numpy as np
import pytest
from test_temporal_light import BLACK, RATE, scene
from test_temporal_parts import INFO, frame

from qclip_ffmpeg.sampling import Window
from qclip_ffmpeg.temporal import TemporalWatch
from qclip_ffmpeg.temporal.cadence import Cadences, folded
from qclip_ffmpeg.temporal.looks import Look, Looker, halved
from qclip_ffmpeg.temporal.progress import Progress, Step, progress
from qclip_ffmpeg.temporal.runs import Run, Runs
from qclip_ffmpeg.temporal.sparse import SparseCadence

STEP = 4.0


def pictures(steps: Sequence[float], noise: float = 0.0) -> Iterator[np.ndarray]:
    """A pan that goes so many samples on, frame by frame, each with noise of its own."""
    rng = np.random.default_rng(5)
    for left in accumulate(steps, initial=120.0):
        whole = int(left)
        sides = [scene(1)[:, n : n + 240] for n in (whole, whole + 1)]
        picture = sides[0] + (left - whole) * (sides[1] - sides[0])
        yield (picture + noise * rng.standard_normal(picture.shape)).astype(np.float32)


def looks(steps: Sequence[float], noise: float = 0.0, keys: Sequence[int] = ()) -> list[Look]:
    looker = Looker(BLACK)
    found = [looker.look(frame(n, None, picture)) for n, picture in enumerate(pictures(steps, noise))]
    return [replace(look, keyframe=look.index in keys) for look in found if look is not None]


def cadences(steps: Sequence[float], noise: float = 0.0) -> list[str | None]:
    known, detector = Progress(), Cadences(1 / RATE)
    events = [event for look in looks(steps, noise) for event in detector.add(look, known.add(look))]
    return [event.detail for event in (*events, *detector.end())]


def runs(steps: Sequence[float], keys: Sequence[int] = ()) -> list[Run]:
    detector = Runs()
    return [run for look in looks(steps, keys=keys) if (run := detector.add(look, False)) is not None]


@pytest.mark.parametrize("noise", [0.0, 5.0])
def test_noise_cancels_out_of_the_progress_of_a_frame(noise: float) -> None:
    def of(steps: Sequence[float]) -> float:
        return progress([halved(halved(picture)) for picture in pictures(steps, noise)])

    assert of([2, 2, 2]) == pytest.approx(1 / 3, abs=0.06)
    assert of([2, 0, 2]) == pytest.approx(0, abs=0.06)
    assert of([0, 2, 0]) == pytest.approx(1, abs=0.2)


def test_a_cadence_is_found_under_noise_that_changes_more_than_motion_does() -> None:
    assert cadences([2, 2, 0, 2, 2] * 18, noise=10) == ["20 in 25"]
    assert cadences([2] * 90, noise=10) == []


def test_a_cadence_that_is_known_by_the_end_of_a_short_clip_counts() -> None:
    assert cadences([2, 2, 2, 0] * 8 + [2]) == ["18.75 in 25"]


def test_frames_left_out_at_a_steady_rate_and_slow_motion_of_an_encoder_are_no_cadence() -> None:
    assert cadences([1, 2, 1, 2, 1] * 18) == []
    assert cadences([0.6, 0.6, 0.6, 3] * 20) == []
    assert cadences([0, 0, 0, 3] * 20) == ["6.25 in 25"]


def test_steps_that_go_back_are_light_and_no_repeats() -> None:
    def found(still: float) -> bool:
        moved = np.where(np.arange(30) % 5, still, 0.9) + np.resize([0.01, -0.01], 30)
        return folded([Step(n, n / RATE, float(p), 3.0) for n, p in enumerate(moved)]) is not None

    assert found(0.0)
    assert not found(-0.08)


def sparse(dips: dict[int, float], frames: int = 130, activity: float = 3.0) -> list[str | None]:
    """Of steps that go a third of their way each, but for dips."""
    detector = SparseCadence(1 / RATE)
    steps = [Step(n, n / RATE, dips.get(n, 0.33), activity) for n in range(2, frames)]
    events = [event for step in steps for event in detector.add(step)]
    return [event.detail for event in (*events, *detector.end())]


@pytest.mark.parametrize(
    ("dips", "found"),
    [
        (dict.fromkeys(range(5, 100, 25), 0.19), ["24 in 25"]),
        (dict.fromkeys(range(5, 75, 25), 0.19), []),  # three that are not quite still
        (dict.fromkeys(range(5, 75, 25), 0.02), ["24 in 25"]),
        ({5: 0.02, 30: 0.02, 56: 0.02}, []),  # three that are not quite even
        ({5: 0.02, 29: 0.02, 54: 0.02, 79: 0.02}, ["23.99 in 25"]),
        ({5: 0.15, 29: 0.15, 54: 0.15, 79: 0.15}, []),
        (dict.fromkeys(range(5, 100, 25), 0.02) | {17: 0.05}, ["24 in 25"]),  # one that is none of it
        (dict.fromkeys(range(5, 100, 25), 0.02) | {17: 0.05, 61: 0.05}, []),
        (dict.fromkeys(range(5, 100, 25), -0.15), []),  # light that goes back
        (dict.fromkeys(range(5, 125, 40), 0.02), []),  # too rare
        (dict.fromkeys(range(5, 100, 9), 0.02), []),  # too often: it may be light
        ({n + k: 0.02 + 0.15 * k for n in range(5, 100, 25) for k in (0, 1)}, []),  # light that turns
    ],
)
def test_dips_that_are_even_in_time_are_a_sparse_cadence(dips: dict[int, float], found: list[str]) -> None:
    assert sparse(dips) == found


def test_where_hardly_anything_moves_no_cadence_is_to_be_seen() -> None:
    assert sparse(dict.fromkeys(range(5, 125, 25), 0.02), activity=0.5) == []


def test_a_sparse_cadence_ends_where_places_go_without_a_dip() -> None:
    assert sparse(dict.fromkeys([*range(5, 100, 25), *range(305, 400, 25)], 0.02), 420) == ["24 in 25"] * 2


def test_a_key_frame_of_another_picture_ends_a_freeze() -> None:
    [run] = runs([STEP] * 12 + [0] * 6 + [90] + [STEP] * 12, keys=[0, 19])
    assert (run.first, run.last) == (13, 18)


def test_a_camera_that_turns_is_as_still_as_a_freeze_for_a_moment_only() -> None:
    assert runs([STEP] * 12 + [0] * 3 + [-STEP] * 12) == []
    [run] = runs([STEP] * 12 + [0] * 6 + [-STEP] * 12)
    assert (run.first, run.last) == (13, 18)


def test_black_ends_where_pictures_are_too_small_to_look_at() -> None:
    black, small = np.full((135, 240), BLACK, np.float32), np.full((20, 30), BLACK, np.float32)
    watch = TemporalWatch(INFO)
    for n, picture in enumerate([scene(1)[:, :240]] * 10 + [black] * 10 + [small] * 25 + [scene(2)[:, :240]] * 10):
        watch.see(frame(n, None, picture))
    watch.end()
    [event] = [event for event in watch.events() if event.kind == "black"]
    assert (event.start_s, event.end_s) == (10 / RATE, 20 / RATE)


def test_a_freeze_ends_where_pictures_are_too_small_to_look_at() -> None:
    watch, small = TemporalWatch(INFO), np.full((20, 30), 100, np.float32)
    for n, picture in enumerate([*pictures([STEP] * 20 + [0] * 30), *[small] * 48]):
        watch.see(frame(n, None, picture))
    later = Window(1, Fraction(4), Fraction(8), None, (), 0, 0.0, frozenset())
    assert watch.look(later) == frozenset()
    [event] = [event for event in watch.events() if event.kind == "freeze"]
    assert (event.start_s, event.end_s) == (21 / RATE, 51 / RATE)


@pytest.mark.parametrize(("made_better", "lasts"), [(3, True), (12, False)])
def test_a_freeze_that_lasts_to_the_end_may_be_made_better_at_first(made_better: int, lasts: bool) -> None:
    detector = Runs()
    for look in looks([STEP] * 20 + [0] * 40):
        change = 0.15 * STEP if 20 < look.index <= 20 + made_better else look.change
        assert detector.add(replace(look, change=change), False) is None
    assert (detector.end() is not None) == lasts
    assert detector.end() is None


def test_a_track_that_ends_early_has_what_was_under_way_until_then() -> None:
    watch = TemporalWatch(INFO)
    frames = [frame(n, None, np.full((135, 240), BLACK, np.float32)) for n in range(60)]
    handed_on = watch.over(frames)
    for _ in range(50):
        next(handed_on)
    watch.end()
    [event] = watch.events(until_s=1.5)
    assert (event.kind, event.start_s, event.end_s) == ("black", 0.0, 1.5)
    assert watch.events(until_s=0.0) == []
