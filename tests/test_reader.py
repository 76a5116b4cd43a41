"""The reader on real encodes: how many frames, when, and which pixels; geometry; pixel formats; choice of stream."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest

from qclip_ffmpeg.errors import InputError
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import VideoReader, open_video

Media = Callable[..., Path]
SIZE = (320, 180)  # 240 to 479 columns: the thumbnail is the whole luma plane
X264: dict[str, Any] = {"c": "libx264", "preset": "ultrafast", "bf": 3, "g": 12, "pix_fmt": "yuv420p"}
LOSSLESS_X264 = X264 | {"qp": 0}
X265 = {"c": "libx265", "preset": "ultrafast", "pix_fmt": "yuv420p10le"}
INTERLACED = {"flags": "+ildct+ilme"}

# name -> (output options, exact pixels, codec, pixel format, seconds the first frame starts at)
ENCODES: dict[str, tuple[dict[str, Any], bool, str, str, Fraction | None]] = {
    "h264.mp4": (LOSSLESS_X264, True, "h264", "yuv420p", Fraction(0)),
    "h264.ts": (LOSSLESS_X264, True, "h264", "yuv420p", Fraction(148, 100)),
    "h264-fragmented.mp4": (
        LOSSLESS_X264 | {"movflags": "frag_keyframe+empty_moov"},
        True,
        "h264",
        "yuv420p",
        Fraction(8, 100),
    ),
    "h264.avi": (LOSSLESS_X264, True, "h264", "yuv420p", None),
    "hevc.mkv": (
        X265 | {"x265-params": "lossless=1:bframes=3:keyint=12:log-level=none"},
        True,
        "hevc",
        "yuv420p10le",
        Fraction(0),
    ),
    "vp9.webm": (
        {"c": "libvpx-vp9", "lossless": 1, "deadline": "realtime", "cpu-used": 8, "g": 12},
        True,
        "vp9",
        "yuv420p",
        Fraction(0),
    ),
    "ffv1.mkv": ({"c": "ffv1", "pix_fmt": "yuv420p"}, True, "ffv1", "yuv420p", Fraction(0)),
    "raw.y4m": ({"pix_fmt": "yuv420p"}, True, "rawvideo", "yuv420p", Fraction(0)),
    "raw.nut": ({"c": "rawvideo", "pix_fmt": "yuv420p"}, True, "rawvideo", "yuv420p", Fraction(0)),
    "raw.avi": ({"c": "rawvideo", "pix_fmt": "yuv420p"}, True, "rawvideo", "yuv420p", Fraction(0)),
    "av1.mp4": ({"c": "libsvtav1", "preset": 12, "crf": 20}, False, "libdav1d", "yuv420p", Fraction(0)),
    "prores.mov": ({"c": "prores_ks", "pix_fmt": "yuv422p10le"}, False, "prores", "yuv422p10le", Fraction(0)),
    "mpeg2.ts": ({"c": "mpeg2video", "q": 2, "bf": 2}, False, "mpeg2video", "yuv420p", Fraction(144, 100)),
    "mpeg4.avi": ({"c": "mpeg4", "q": 2, "bf": 2}, False, "mpeg4", "yuv420p", Fraction(4, 100)),
}


def read(source: Path | str, **options: Any) -> tuple[list[Frame], VideoReader]:
    with open_video(str(source), InputOptions(**options)) as reader:
        return list(reader), reader


def times(frames: list[Frame]) -> list[Fraction]:
    return [f.time_s for f in frames]


def raw_frames(path: Path, size: tuple[int, int], pixel_format: str) -> np.ndarray:
    """(frames, rows, width) of a raw file; planes below each other where they are as wide as luma."""
    lines, dtype = {
        "yuv420p": (Fraction(3, 2), np.uint8),
        "yuv444p": (Fraction(3), np.uint8),
        "rgb24": (Fraction(3), np.uint8),
    }[pixel_format]
    return np.fromfile(path, dtype).reshape(-1, int(size[1] * lines), size[0])


def decode_to_rgb24(source: Path, target: Path, size: tuple[int, int]) -> np.ndarray:
    """What the ffmpeg program shows, (frames, 3, height, width): it turns pictures upright by itself."""
    run(ffmpeg.input(str(source)).output(str(target), f="rawvideo", pix_fmt="rgb24"), program=bundled_executable())
    return np.fromfile(target, np.uint8).reshape(-1, size[1], size[0], 3).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def source_luma(media: Media) -> np.ndarray:
    """Luma of the picture that every encode here is made from, (frames, height, width)."""
    raw = media("source.yuv", 1, SIZE, f="rawvideo", pix_fmt="yuv420p")
    return raw_frames(raw, SIZE, "yuv420p")[:, : SIZE[1]].astype(np.float32)


@pytest.mark.parametrize("name", ENCODES)
class TestEveryContainer:
    def test_every_frame_comes_once_in_order_at_its_exact_time(self, media: Media, name: str) -> None:
        frames, reader = read(media(name, 1, SIZE, **ENCODES[name][0]))
        assert times(frames) == [Fraction(n, 25) for n in range(25)]
        assert [f.index for f in frames] == list(range(25))
        assert {f.duration_s for f in frames} == {Fraction(1, 25)}
        assert [f.flags for f in frames] == [frozenset()] * 25
        assert (reader.damage, reader.warnings) == (None, [])

    def test_pixels_are_those_of_the_source(self, media: Media, source_luma: np.ndarray, name: str) -> None:
        frames, _ = read(media(name, 1, SIZE, **ENCODES[name][0]))
        exact = ENCODES[name][1]
        for n, frame in enumerate(frames):
            difference = np.abs(frame.thumbnail - source_luma[n])
            if exact:
                assert difference.max() == 0, f"frame {n}"
            else:
                neighbours = [np.abs(frame.thumbnail - source_luma[k]).mean() for k in (n - 1, n + 1) if 0 <= k < 25]
                assert difference.mean() < min(1.5, *neighbours), f"frame {n}"

    def test_motion_is_the_mean_luma_difference_to_the_frame_before(
        self, media: Media, source_luma: np.ndarray, name: str
    ) -> None:
        frames, _ = read(media(name, 1, SIZE, **ENCODES[name][0]))
        expected = [0.0] + [float(np.abs(b - a).mean()) for a, b in pairwise(source_luma)]
        assert [f.motion for f in frames] == pytest.approx(expected, rel=1e-5 if ENCODES[name][1] else 0.5)
        assert frames[0].keyframe

    def test_info_describes_the_stream(self, media: Media, name: str) -> None:
        _, _, codec, pixel_format, start_s = ENCODES[name]
        frames, reader = read(media(name, 1, SIZE, **ENCODES[name][0]))
        info = reader.info
        assert (info.name, info.codec, info.pixel_format) == (name, codec, pixel_format)
        assert (info.width_px, info.height_px, info.frame_rate) == (*SIZE, Fraction(25))
        assert (info.sample_aspect_ratio, info.rotation_deg, info.transfer) == (Fraction(1), 0, "sdr")
        assert info.duration_s is not None
        assert abs(info.duration_s - 1) <= Fraction(1, 12)
        if start_s is not None:
            assert info.start_s == start_s
            assert frames[0].pts is not None
            assert frames[0].pts * info.time_base == start_s

    def test_decoder_threads_change_nothing(self, media: Media, name: str) -> None:
        path = media(name, 1, SIZE, **ENCODES[name][0])
        one, _ = read(path, threads=1)
        many, _ = read(path, threads=4)
        assert times(one) == times(many)
        assert [f.pts for f in one] == [f.pts for f in many]
        assert all(np.array_equal(a.thumbnail, b.thumbnail) for a, b in zip(one, many, strict=True))
        assert all(np.array_equal(one[n].rgb(), many[n].rgb()) for n in (0, 13, 24))


class TestTimes:
    def test_ntsc_rate_stays_exact_in_mp4(self, media: Media) -> None:
        frames, reader = read(media("ntsc.mp4", 1, SIZE, "24000/1001", **X264))
        assert times(frames) == [Fraction(n * 1001, 24000) for n in range(24)]
        assert reader.info.frame_rate == Fraction(24000, 1001)

    def test_ntsc_rate_is_in_whole_milliseconds_in_matroska(self, media: Media) -> None:
        frames, _ = read(media("ntsc.mkv", 1, SIZE, "24000/1001", **X264))
        assert times(frames) == [Fraction(round(n * 1001 / 24), 1000) for n in range(24)]

    @pytest.mark.parametrize("name", ["vfr.mkv", "vfr.nut", "vfr.mp4"])
    def test_variable_frame_rate_keeps_its_times(self, media: Media, name: str) -> None:
        codec = {"c": "rawvideo"} if name.endswith("nut") else X264
        path = media(name, 1, SIZE, filters="select='not(mod(n,3))+eq(mod(n,7),1)'", fps_mode="passthrough", **codec)
        frames, _ = read(path)
        assert times(frames) == [Fraction(n, 25) for n in range(25) if n % 3 == 0 or n % 7 == 1]
        assert not any(f.flags for f in frames)

    def test_accelerating_times_survive(self, media: Media) -> None:
        path = media(
            "vfr-quadratic.mkv", 4, SIZE, filters="settb=1/1000,setpts=N*N*5", fps_mode="passthrough", **X264
        )
        frames, _ = read(path)
        assert times(frames) == [Fraction(5 * n * n, 1000) for n in range(len(frames))]
        assert len(frames) == 29  # 5 n^2 ms < 4 s

    def test_a_hole_in_time_is_flagged_on_the_frame_after_it(self, media: Media) -> None:
        path = media("hole.mkv", 3, SIZE, filters="select='not(between(n,25,49))'", fps_mode="passthrough", **X264)
        frames, _ = read(path)
        assert times(frames) == [Fraction(n, 25) for n in range(75) if not 25 <= n <= 49]
        assert [f.index for f in frames if "gap" in f.flags] == [25]

    def test_raw_h264_gets_times_from_its_rate_and_says_so(self, media: Media) -> None:
        path = media("stream.h264", 1, SIZE, **X264)
        frames, reader = read(path)
        assert times(frames) == [Fraction(n, 25) for n in range(25)]
        assert {f.pts for f in frames} == {None}
        assert reader.info.start_s is None
        assert len(reader.warnings) == 1
        assert "no time stamps" in reader.warnings[0]
        assert not any(f.flags for f in frames)

    def test_raw_h264_takes_the_users_rate(self, media: Media) -> None:
        frames, _ = read(media("stream.h264", 1, SIZE, **X264), frame_rate=Fraction(50))
        assert times(frames) == [Fraction(n, 50) for n in range(25)]

    def test_key_frames_are_told(self, media: Media) -> None:
        frames, _ = read(media("h264.mp4", 1, SIZE, **LOSSLESS_X264))
        assert [f.index for f in frames if f.keyframe] == [0, 12, 24]


class TestGeometry:
    @pytest.fixture(scope="class")
    def upright(self, media: Media) -> Path:
        return media("rgb.mp4", 0.2, SIZE, c="libx264rgb", crf=0, preset="ultrafast")

    @pytest.mark.parametrize("angle", [90, 180, 270, -90])
    def test_rotation_is_applied_as_ffmpeg_applies_it(
        self, encode: Media, upright: Path, tmp_path: Path, angle: int
    ) -> None:
        rotated = encode(upright, f"rotated{angle}.mp4", input_options={"display_rotation": angle}, c="copy")
        size = SIZE if angle == 180 else (SIZE[1], SIZE[0])
        shown = decode_to_rgb24(rotated, tmp_path / "shown.rgb", size)
        frames, reader = read(rotated)
        originals, _ = read(upright)
        assert len(frames) == len(shown) == 5
        assert reader.info.rotation_deg == angle % 360
        assert (reader.info.width_px, reader.info.height_px) == SIZE
        assert reader.info.display_aspect_ratio == Fraction(*size)
        for frame, original, picture in zip(frames, originals, shown, strict=True):
            assert np.array_equal(frame.rgb(), picture)
            assert np.array_equal(frame.rgb(), np.rot90(original.rgb(), angle // 90, axes=(1, 2)))

    @pytest.mark.parametrize("flip", ["display_hflip", "display_vflip"])
    def test_mirroring_is_applied_as_ffmpeg_applies_it(
        self, encode: Media, upright: Path, tmp_path: Path, flip: str
    ) -> None:
        mirrored = encode(upright, f"{flip}.mp4", input_options={flip: None}, c="copy")
        shown = decode_to_rgb24(mirrored, tmp_path / "shown.rgb", SIZE)
        frames, _ = read(mirrored)
        assert all(np.array_equal(f.rgb(), picture) for f, picture in zip(frames, shown, strict=True))

    @pytest.mark.parametrize("container", ["mp4", "mkv", "ts", "y4m"])
    def test_anamorphic_pictures_have_their_display_aspect(self, media: Media, container: str) -> None:
        codec = {} if container == "y4m" else X264
        _, reader = read(media(f"anamorphic.{container}", 0.2, (720, 576), filters="setsar=64/45", **codec))
        assert reader.info.sample_aspect_ratio == Fraction(64, 45)
        assert reader.info.display_aspect_ratio == Fraction(16, 9)

    def test_rotation_turns_the_display_aspect_too(self, media: Media, encode: Media) -> None:
        path = media("anamorphic.mp4", 0.2, (720, 576), filters="setsar=64/45", **X264)
        turned = encode(path, "anamorphic-turned.mp4", input_options={"display_rotation": 90}, c="copy")
        _, reader = read(turned)
        assert reader.info.display_aspect_ratio == Fraction(9, 16)

    def test_the_users_aspect_wins(self, media: Media) -> None:
        path = media("anamorphic.mp4", 0.2, (720, 576), filters="setsar=64/45", **X264)
        _, reader = read(path, display_aspect_ratio=Fraction(4, 3))
        assert reader.info.display_aspect_ratio == Fraction(4, 3)
        assert reader.info.sample_aspect_ratio == Fraction(16, 15)

    @pytest.mark.parametrize("codec", ["libx264", "mpeg2video"])
    def test_interlaced_frames_are_flagged(self, media: Media, codec: str) -> None:
        options = {"c": codec, "flags": "+ildct+ilme"} | ({"x264-params": "tff=1"} if codec == "libx264" else {})
        frames, _ = read(media(f"interlaced-{codec}.ts", 0.4, (720, 576), filters="setfield=tff", **options))
        assert [f.flags for f in frames] == [frozenset({"interlaced"})] * 10

    def test_a_change_of_size_is_flagged_and_goes_on(self, media: Media, encode: Media, tmp_path: Path) -> None:
        small = media("small.ts", 0.4, SIZE, **X264)
        large = encode(media("large.mp4", 0.4, (640, 360), **X264), "large.ts", c="copy", output_ts_offset=0.4)
        joined = tmp_path / "joined.ts"
        joined.write_bytes(small.read_bytes() + large.read_bytes())
        frames, reader = read(joined)
        assert times(frames) == [Fraction(n, 25) for n in range(20)]
        assert [f.index for f in frames if "resized" in f.flags] == [10]
        assert [f.rgb().shape for f in frames[9:11]] == [(3, 180, 320), (3, 360, 640)]
        assert frames[10].motion == 0  # nothing to compare with
        assert reader.damage is None

    def test_a_kept_frame_can_be_converted_after_the_reader_is_closed(self, media: Media) -> None:
        path = media("h264.mp4", 1, SIZE, **LOSSLESS_X264)
        with open_video(str(path)) as reader:
            at_once = [f.rgb() for f in reader]
        frames, _ = read(path)
        for n in (24, 0, 7):  # any order
            assert np.array_equal(frames[n].rgb(), at_once[n])
