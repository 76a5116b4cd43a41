"""What the benchmark of events takes for true, and what the judge of dropped frames learns from."""

import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from benchmarks.temporal.contents import LEAST_BITS, longest_scene, stamp_gaps, unclean
from benchmarks.temporal.displacement import all_shifts, own_jump, own_jumps
from benchmarks.temporal.drop_examples import left_out, source_of, suspects
from benchmarks.temporal.kept import STILL, source_steps
from benchmarks.temporal.recipes import flashes, flickers
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.reader import open_video


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


def pan(count: int) -> list[Frame]:
    """A picture of waves that moves by two samples of the thumbnail a frame."""
    rng = np.random.default_rng(2)
    y, x = np.mgrid[0:135, 0:240].astype(np.float32)
    waves = [(*rng.uniform(-0.25, 0.25, 2), rng.uniform(0, 6)) for _ in range(24)]
    frames = []
    for n in range(count):
        picture = sum(7 * np.sin(a * (x - 2 * n) + b * y + phase) for a, b, phase in waves) + 120
        time_s = Fraction(n, 25)
        frames.append(
            Frame(
                index=n,
                time_s=time_s,
                duration_s=Fraction(1, 25),
                pts=n,
                thumbnail=np.clip(picture, 16, 235).astype(np.float32),
                motion=0.0,
                keyframe=False,
                flags=frozenset(),
                convert=lambda: np.zeros((3, 135, 240), np.uint8),
            )
        )
    return frames


def test_a_frame_left_out_of_looks_is_what_it_is_left_out_of_a_video() -> None:
    frames = pan(14)
    across, *_ = left_out(frames, all_shifts([frame.thumbnail.astype(np.uint8) for frame in frames]))
    assert across is not None
    timed = [frame for frame in frames if frame.index != 5]
    for n, frame in enumerate(timed):
        object.__setattr__(frame, "time_s", Fraction(n, 25))
    found = {suspect.look.index: suspect for suspect in suspects(timed)}
    assert found[5].figures == pytest.approx(across.figures, abs=1e-4)
    assert found[5].look.activity == across.look.activity


def test_a_steady_pan_has_no_step_to_be_looked_at() -> None:
    assert list(suspects(pan(14))) == []


def test_pieces_of_one_video_are_one_source_and_photographs_are_their_own() -> None:
    assert source_of("sam2_dog_3") == source_of("sam2_dog_720p") == "sam2_dog"
    assert source_of("debian_lomiri_free+pan") != source_of("debian_lomiri_bridge+pan")


def test_a_step_that_is_twice_as_long_is_a_jump_of_the_clip_itself() -> None:
    luma = [frame.thumbnail.astype(np.uint8) for frame in pan(8) if frame.index != 4]
    moved = all_shifts(luma)
    assert [own_jump(*moved[n - 1 : n + 2]) for n in range(2, 6)] == [False, False, True, False]
    assert own_jumps(moved) == [4]


def steps_of(*lengths: float, standing: int = 0) -> list[np.ndarray]:
    """Shifts of 20 tiles by so many samples to the right in each step, of which some stand."""
    shifts = [np.tile([length, 0.0], (20, 1)) for length in lengths]
    for shift in shifts:
        shift[:standing] = 0
    return shifts


@pytest.mark.parametrize(
    ("steps", "jumps"),
    [
        (steps_of(2.0, 4.0, 2.0), True),
        (steps_of(2.0, 2.7, 2.0), True),  # not clear enough to be a drop, nor to be none
        (steps_of(2.0, 2.4, 2.0), False),
        (steps_of(2.0, 4.0, 3.8), False),  # the camera speeds up
        (steps_of(0.8, 1.6, 0.8), False),  # too slow to be seen
        (steps_of(-2.0, 4.0, -2.0), False),  # there and back
        (steps_of(2.0, 4.0, 2.0, standing=12), True),  # cars jump before a camera that stands
        (steps_of(2.0, 4.0, 2.0, standing=13), False),  # of few tiles nothing is known
    ],
)
def test_what_may_be_a_jump_of_the_clip_itself(steps: list[np.ndarray], jumps: bool) -> None:
    assert own_jump(*steps) == jumps


def test_videos_that_were_coded_hard_or_would_be_enlarged_are_not_clean(media: Callable[..., Path]) -> None:
    with open_video(str(media("clean-source.mp4", 1, (640, 360)))) as video:
        info = video.info
    assert info.duration_s is not None
    assert info.frame_rate is not None
    frames = float(info.duration_s * info.frame_rate)
    enough = math.ceil(LEAST_BITS * 480 * 270 * frames / 8)
    assert unclean(info, enough, (480, 270)) is None
    assert "coded hard" in (unclean(info, enough // 2, (480, 270)) or "")
    assert "640x360 would be enlarged" in (unclean(info, enough * 100, (720, 270)) or "")


def test_frames_that_time_stamps_leave_out_end_a_clean_run(media: Callable[..., Path]) -> None:
    whole = media("stamps-whole.mkv", 1, (160, 90))
    gappy = media("stamps-gappy.mkv", 1, (160, 90), filters="select='not(eq(n,5)+eq(n,12))'", fps_mode="vfr")
    assert stamp_gaps(whole, 25) == []
    assert stamp_gaps(gappy, 23) == [5, 11]
    assert stamp_gaps(gappy, 8) == [5]
    planes = np.zeros((23, 135, 160), np.uint8)
    assert len(longest_scene(planes, 90, [5, 11])) == 12


def test_light_counts_where_enough_of_it_is_left() -> None:
    dim = np.full((12, 8, 16), 80, np.uint8)  # 64 over black
    shown = dim.copy()
    shown[::2] += 2
    shown[1::2] -= 2
    assert flickers(dim, shown)
    assert not flickers(dim, np.where(shown > 80, 81, dim))
    assert flashes(dim[:2], dim[:2] + 6)
    assert flashes(dim[:2], dim[:2] - 6)
    assert not flashes(dim[:2], np.stack([dim[0] + 6, dim[1]]))
