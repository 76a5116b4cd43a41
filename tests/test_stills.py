"""Stills: the frames that were scored and no others, upright, without bars, and a word where there are none."""

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_chart import changed
from tiny_track import tiny_segment

from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.stills import LONG_SIDE_PX, MOST_A_SEGMENT, Still, Stills, spread, stills
from qclip_ffmpeg.track import Area, FrameTime, SegmentScore

FAST = {"c": "libx264", "preset": "ultrafast"}
UNIT = 512  # of the time base of an .mp4 with 25 frames a second


@pytest.fixture(scope="module")
def video(media: Callable[..., Path]) -> Path:
    return media("stills.mp4", 2, (192, 108), **FAST)


def segment_of(*frames: int, index: int = 0, area: Area | None = None) -> SegmentScore:
    """A segment in which these frames were scored, at 25 frames a second."""
    times = [FrameTime(UNIT * n, round(n / 25, 6)) for n in frames]
    return changed(tiny_segment(index), frames=times, active_picture_px=area)


def seen(still: Still) -> np.ndarray:
    """(H, W, 3), 0 to 255."""
    with Image.open(io.BytesIO(still.jpeg)) as picture:
        assert (picture.format, picture.size) == ("JPEG", (still.width_px, still.height_px))
        return np.asarray(picture.convert("RGB")).astype(int)


def test_they_are_the_frames_that_were_scored(video: Path) -> None:
    found = stills(str(video), [segment_of(3, 4, 30), segment_of(45, index=7)])
    assert found.missing is None
    assert {index: [s.time_s for s in of] for index, of in found.of_segment.items()} == {0: [0.12, 0.16, 1.2], 7: [1.8]}
    with open_video(str(video)) as read:
        frames = {frame.pts: frame.rgb().transpose(1, 2, 0) for frame in read}
    for still, number in zip([*found.of_segment[0], *found.of_segment[7]], (3, 4, 30, 45), strict=True):
        assert (still.width_px, still.height_px) == (LONG_SIDE_PX, 180)
        with Image.fromarray(frames[UNIT * number]) as picture:
            wanted = np.asarray(picture.resize((LONG_SIDE_PX, 180), Image.Resampling.BICUBIC)).astype(int)
        assert np.abs(seen(still) - wanted).mean() < 4
    assert found == stills(str(video), [segment_of(3, 4, 30), segment_of(45, index=7)]), "the same bytes"


def test_bars_are_cut_and_pixels_are_square(video: Path, encode: Callable[..., Path]) -> None:
    (still,) = stills(str(video), [segment_of(3, area=Area(0, 14, 192, 80))]).of_segment[0]
    assert (still.width_px, still.height_px) == (320, 133)
    wide = encode(video, "wide.mp4", vf="setsar=2", **FAST)
    (still,) = stills(str(wide), [segment_of(3)]).of_segment[0]
    assert (still.width_px, still.height_px) == (320, 90)
    tall = encode(video, "tall.mp4", input_options={"display_rotation": 90}, c="copy")
    (still,) = stills(str(tall), [segment_of(3)]).of_segment[0]
    assert (still.width_px, still.height_px) == (180, 320)


def test_hdr_is_shown_on_an_sdr_screen(video: Path) -> None:
    (sdr,) = stills(str(video), [segment_of(3)]).of_segment[0]
    (hdr,) = stills(str(video), [segment_of(3)], InputOptions(transfer="smpte2084")).of_segment[0]
    assert np.abs(seen(sdr) - seen(hdr)).mean() > 5


def test_what_was_measured_from_is_no_hindrance(video: Path) -> None:
    options = InputOptions(start_s=Fraction(1), duration_s=Fraction(1, 2))
    assert [s.time_s for s in stills(str(video), [segment_of(30)], options).of_segment[0]] == [1.2]


def test_many_frames_are_thinned_out() -> None:
    frames = segment_of(*range(64)).frames
    thinned = spread(frames, MOST_A_SEGMENT)
    assert [frame.pts for frame in thinned] == [UNIT * n for n in (0, 9, 18, 27, 36, 45, 54, 63)]
    assert spread(frames[:3], MOST_A_SEGMENT) == frames[:3]


def test_what_cannot_be_read_again_is_said(video: Path, tmp_path: Path) -> None:
    for source in ("-", "https://example.com/live.m3u8", str(tmp_path / "gone.mp4")):
        assert "only a file can be read a second time" in (stills(source, [segment_of(3)]).missing or "")
        assert stills(source, []) == Stills(), "nothing is missing where nothing was measured"
    (tmp_path / "notes.mp4").write_text("Not a video.")
    assert "notes.mp4: is not a video" in (stills(str(tmp_path / "notes.mp4"), [segment_of(3)]).missing or "")


def test_frames_that_are_not_there_any_more_are_said(video: Path) -> None:
    elsewhere = changed(segment_of(3), frames=[FrameTime(UNIT * 3 + 1, 0.12)], index=1)
    found = stills(str(video), [segment_of(5), elsewhere])
    assert list(found.of_segment) == [0]
    assert "does not hold them" in (found.missing or "")
    assert stills(str(video), [changed(segment_of(), index=2)]) == Stills(), "nothing was scored in it"
