"""What the model is shown of a clip: a video, and a folder of its frames, which must come to the same."""

import weakref
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from tiny_model import TINY

from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.model import ModelConfig
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import Policy, windows
from qclip_ffmpeg.scorer import WindowViews
from qclip_ffmpeg.showing import frame_views_of, looks_of
from qclip_ffmpeg.train.clips import SamplingRecipe, clip_frames, clip_views
from qclip_ffmpeg.train.labels import Clip, pictures_in
from qclip_ffmpeg.views import Display, View

LOSSLESS = {"c:v": "ffv1", "pix_fmt": "gbrp"}  # R'G'B', as its PNGs are: nothing is converted on the way
FRAMES = 12


@cache
def shows(*views: View) -> ModelConfig:
    """The bundled model, which nothing runs here, with these views."""
    return msgspec.structs.replace(load_model().card.config, views=views, view_frames="same")


def clip_of(path: Path, rate: Fraction | None = None, display_height_px: int | None = None) -> Clip:
    return Clip(path, path.name, 50.0, path.name, rate, display_height_px, 1)


@pytest.fixture(scope="module")
def video(media: Callable[..., Path]) -> Path:
    """12 frames at 24 Hz; NUT keeps exact times."""
    return media("clip.nut", Fraction(FRAMES, 24), rate=24, **LOSSLESS)


@pytest.fixture(scope="module")
def folder(video: Path, encode: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its frames as frame1.png .. frame12.png: natural order, not that of the alphabet."""
    made = tmp_path_factory.mktemp("frames")
    encode(video, str(made / "frame%d.png"))
    assert len(pictures_in(made)) == FRAMES
    return made


def picked(shown: WindowViews) -> list[int]:
    return [frame.index for frame in shown.window.frames]


@pytest.mark.parametrize("policy", ["uniform", "motion", "mixed", "random"])
def test_a_folder_of_frames_is_the_video_it_came_from(video: Path, folder: Path, policy: Policy) -> None:
    sampling = SamplingRecipe(frames=4, policy=policy)
    of_video = clip_views(clip_of(video), sampling, shows("whole", "mosaic"))
    of_folder = clip_views(clip_of(folder, Fraction(24)), sampling, shows("whole", "mosaic"))
    assert of_folder.views.shape == (4, 2, 3, 224, 224)
    assert picked(of_folder) == picked(of_video)
    assert torch.equal(of_folder.views, of_video.views)
    assert of_folder.window.motion == pytest.approx(of_video.window.motion, abs=0.01)
    assert of_folder.window.end_s == of_video.window.end_s == Fraction(1, 2)


def test_times_and_motion_of_a_folder(video: Path, folder: Path) -> None:
    with clip_frames(clip_of(folder, Fraction(24))) as (info, frames):
        of_folder = list(frames)
    with open_video(str(video)) as reader:
        of_video = list(reader)
        assert (info.width_px, info.height_px) == (reader.info.width_px, reader.info.height_px)
    assert [f.index for f in of_folder] == list(range(FRAMES))
    assert [f.time_s for f in of_folder] == [Fraction(n, 24) for n in range(FRAMES)]
    assert {f.duration_s for f in of_folder} == {Fraction(1, 24)}
    assert [f.motion for f in of_folder] == pytest.approx([f.motion for f in of_video], abs=0.01)
    assert of_folder[0].motion == 0 < of_folder[1].motion
    for a, b in zip(of_folder, of_video, strict=True):
        assert np.array_equal(a.rgb(), b.rgb())
    assert (info.name, info.frame_rate, info.duration_s) == (folder.name, 24, Fraction(1, 2))


def test_the_rate_of_a_folder(folder: Path) -> None:
    for clip_rate, rate in [(None, 25), (Fraction(50), 50)]:
        with clip_frames(clip_of(folder, clip_rate)) as (info, frames):
            assert (info.frame_rate, [f.time_s for f in frames][-1]) == (rate, Fraction(FRAMES - 1, rate))


def test_the_whole_clip_is_one_window(media: Callable[..., Path]) -> None:
    long = media("long.mkv", 3, (64, 36), rate=2, **LOSSLESS)
    shown = clip_views(clip_of(long), SamplingRecipe(frames=3, policy="uniform"), shows("whole"))
    assert (shown.window.frame_count, shown.window.start_s, shown.window.end_s) == (6, 0, 3)
    assert picked(shown) == [1, 3, 5]
    assert shown.views.shape == (3, 1, 3, 224, 224)
    few = clip_views(clip_of(long), SamplingRecipe(frames=8), shows("whole"))
    assert len(few.views) == 6
    assert "few_frames" in few.window.flags


def test_it_is_what_the_probe_shows(example_clip: Path) -> None:
    shown = clip_views(clip_of(example_clip), SamplingRecipe(frames=3), shows("whole", "mosaic"))
    with open_video(str(example_clip)) as reader:
        window = next(windows(reader, segment_s=Fraction(60), frames_per_window=3))
        views = frame_views_of(window, reader.info, Display(1920, 1080), shows("whole", "mosaic"), 0)
    assert torch.equal(shown.views, views)


def test_the_display_height_of_the_label_wins(video: Path) -> None:
    sampling = SamplingRecipe(frames=1, display=(640, 720))
    low = clip_views(clip_of(video, display_height_px=240), sampling, shows("mosaic")).views
    assert torch.equal(
        low, clip_views(clip_of(video), SamplingRecipe(frames=1, display=(640, 240)), shows("mosaic")).views
    )
    assert not torch.equal(low, clip_views(clip_of(video), sampling, shows("mosaic")).views)


def test_only_frames_that_may_be_picked_keep_their_pixels(folder: Path) -> None:
    seen: list[weakref.ref[object]] = []
    held = []

    def watched(frames: Iterator[Frame]) -> Iterator[Frame]:
        for frame in frames:
            held.append(sum(ref() is not None for ref in seen))
            seen.append(weakref.ref(frame.convert))
            yield frame

    with clip_frames(clip_of(folder)) as (_, frames):
        next(windows(watched(frames), segment_s=Fraction(60), frames_per_window=1, policy="uniform"))
    assert len(held) == FRAMES
    assert max(held) <= 2 + 1  # 2T, and the frame that was last in hand


def test_a_video_that_breaks_off_is_flagged(video: Path, tmp_path: Path, media: Callable[..., Path]) -> None:
    whole = media("whole.mkv", 4, (64, 36), rate=25, **LOSSLESS)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    sampling = SamplingRecipe(frames=2)
    with pytest.raises(InputError, match=r"cut\.mkv, line \d+ of the labels: .*; get the whole clip"):
        clip_views(clip_of(cut), sampling, shows("whole"))
    assert len(clip_views(clip_of(whole), sampling, shows("whole")).views) == 2


def test_folders_that_cannot_be_used(folder: Path, encode: Callable[..., Path], tmp_path: Path) -> None:
    sampling = SamplingRecipe(frames=2)
    with pytest.raises(UsageError, match="is a folder without pictures"):
        clip_views(clip_of(tmp_path), sampling, shows("whole", "mosaic"))
    (tmp_path / "1.png").write_bytes((folder / "frame1.png").read_bytes())
    encode(folder / "frame1.png", str(tmp_path / "2.png"), s="64x36")
    with pytest.raises(UsageError, match=r"2\.png: is 64x36, 1\.png is 320x180; the frames of a clip have one size"):
        clip_views(clip_of(tmp_path), sampling, shows("whole", "mosaic"))
    (tmp_path / "2.png").write_bytes((folder / "frame2.png").read_bytes()[:300])
    with pytest.raises(
        InputError, match=rf"line \d+ of the labels: {tmp_path}: 2\.png: not one frame could be decoded"
    ):
        clip_views(clip_of(tmp_path), sampling, shows("whole", "mosaic"))


def test_a_clip_that_is_no_video(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        clip_views(clip_of(tmp_path / "gone.mp4"), SamplingRecipe(frames=2), shows("whole", "mosaic"))
    (tmp_path / "text.mp4").write_text("text")
    with pytest.raises(InputError, match=r"text\.mp4: is not a video"):
        clip_views(clip_of(tmp_path / "text.mp4"), SamplingRecipe(frames=2), shows("whole", "mosaic"))


def test_other_kinds_of_pictures(folder: Path, encode: Callable[..., Path], tmp_path: Path) -> None:
    for name in ("1.jpg", "2.bmp", "3.webp"):
        encode(folder / "frame1.png", str(tmp_path / name))
    shown = clip_views(clip_of(tmp_path), SamplingRecipe(frames=3), shows("whole"))
    assert len(shown.views) == 3
    assert float((shown.views - shown.views[:1]).abs().mean()) < 0.02


@pytest.mark.parametrize("wrong", [{}, {"frames": 0}, {"frames": 2, "policy": "best"}, {"frames": 2, "seed": -1}])
def test_a_preset_cannot_say_nonsense(wrong: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, SamplingRecipe)


class TestLooks:
    """Which frames are seen through which views."""

    def looks(self, count: int, views: tuple[str, ...], view_frames: str) -> list[list[tuple[int, tuple[str, ...]]]]:
        config = msgspec.structs.replace(TINY, views=views, view_frames=view_frames)
        found = looks_of(list(range(count)), config)  # type: ignore[arg-type]
        return found  # type: ignore[return-value]

    def test_the_same_frame_through_every_view(self) -> None:
        both = ("whole", "mosaic")
        assert self.looks(2, both, "same") == [[(0, both)], [(1, both)]]

    @pytest.mark.parametrize(
        ("frames", "expected"),
        [(1, [(0, 0)]), (2, [(0, 1)]), (3, [(0, 1), (2, 2)]), (4, [(0, 1), (2, 3)])],
    )
    def test_a_frame_of_its_own_for_each_view(self, frames: int, expected: list[tuple[int, int]]) -> None:
        assert self.looks(frames, ("whole", "mosaic"), "own") == [
            [(a, ("whole",)), (b, ("mosaic",))] for a, b in expected
        ]

    def test_one_view_is_one_view(self) -> None:
        assert self.looks(2, ("whole",), "own") == self.looks(2, ("whole",), "same")
