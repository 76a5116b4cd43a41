"""The reader on real encodes: how many frames, when, and which pixels; geometry; pixel formats; choice of stream."""

from collections.abc import Callable
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import ffmpeg
import numpy as np
import pytest

from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import VideoReader, open_video

Media = Callable[..., Path]
SIZE = (320, 180)  # 240 to 479 columns: the thumbnail is the whole luma plane
X264: dict[str, Any] = {"c": "libx264", "preset": "ultrafast", "bf": 3, "g": 12, "crf": 12, "pix_fmt": "yuv420p"}
X265: dict[str, Any] = {"c": "libx265", "preset": "ultrafast", "pix_fmt": "yuv420p10le"}
X265_LOSSLESS = X265 | {"x265-params": "lossless=1:bframes=3:keyint=12:log-level=none"}
VP9_LOSSLESS = {"c": "libvpx-vp9", "lossless": 1, "deadline": "realtime", "cpu-used": 8, "g": 12}


class Encode(NamedTuple):
    options: dict[str, Any]
    codec: str
    pixel_format: str = "yuv420p"
    start_s: Fraction | None = Fraction(0)
    lossless: bool = False


ENCODES = {
    "h264.mp4": Encode(X264, "h264"),
    "h264-fragmented.mp4": Encode(X264 | {"movflags": "frag_keyframe+empty_moov"}, "h264", start_s=Fraction(8, 100)),
    "h264.ts": Encode(X264, "h264", start_s=Fraction(148, 100)),  # 1.4 s and the reordering delay
    "h264.avi": Encode(X264, "h264", start_s=None),  # AVI stores no presentation times: they follow from decoding
    "hevc.mkv": Encode(X265_LOSSLESS, "hevc", "yuv420p10le", lossless=True),
    "vp9.webm": Encode(VP9_LOSSLESS, "vp9", lossless=True),
    "av1.mp4": Encode({"c": "libsvtav1", "preset": 12, "crf": 20}, "av1"),
    "prores.mov": Encode({"c": "prores_ks", "pix_fmt": "yuv422p10le"}, "prores", "yuv422p10le"),
    "mpeg2.ts": Encode({"c": "mpeg2video", "q": 2, "bf": 2}, "mpeg2video", start_s=Fraction(144, 100)),
    "mpeg4.avi": Encode({"c": "mpeg4", "q": 2, "bf": 2}, "mpeg4", start_s=None),
    "ffv1.mkv": Encode({"c": "ffv1", "pix_fmt": "yuv420p"}, "ffv1", lossless=True),
    "raw.y4m": Encode({"pix_fmt": "yuv420p"}, "rawvideo", lossless=True),
    "raw.nut": Encode({"c": "rawvideo", "pix_fmt": "yuv420p"}, "rawvideo", lossless=True),
    "raw.avi": Encode({"c": "rawvideo", "pix_fmt": "yuv420p"}, "rawvideo", lossless=True),
}


def read(source: Path | str, **options: Any) -> tuple[list[Frame], VideoReader]:
    with open_video(str(source), InputOptions(**options)) as reader:
        return list(reader), reader


def times(frames: list[Frame]) -> list[Fraction]:
    return [f.time_s for f in frames]


def luma_of(raw: Path, bits: int, chroma: Fraction) -> np.ndarray:
    """Luma of a raw planar file in 8-bit code values, (frames, height, width). chroma: samples of it a luma sample."""
    samples = np.fromfile(raw, np.uint8 if bits == 8 else "<u2").astype(np.float32) / (1 << (bits - 8))
    return samples.reshape(-1, int(SIZE[1] * (1 + chroma)), SIZE[0])[:, : SIZE[1]]


def decode_to_rgb24(source: Path, target: Path, size: tuple[int, int]) -> np.ndarray:
    """What the ffmpeg program shows, (frames, 3, height, width): it turns pictures upright by itself."""
    run(ffmpeg.input(str(source)).output(str(target), f="rawvideo", pix_fmt="rgb24"), program=bundled_executable())
    return np.fromfile(target, np.uint8).reshape(-1, size[1], size[0], 3).transpose(0, 3, 1, 2)


@pytest.fixture(scope="module")
def source_luma(media: Media) -> np.ndarray:
    """Luma of the picture that every encode here is made from."""
    return luma_of(media("source.yuv", 1, SIZE, f="rawvideo", pix_fmt="yuv420p"), 8, Fraction(1, 2))


@pytest.mark.parametrize("name", ENCODES)
class TestEveryContainer:
    def test_every_frame_comes_once_in_order_at_its_exact_time(self, media: Media, name: str) -> None:
        frames, reader = read(media(name, 1, SIZE, **ENCODES[name].options))
        assert times(frames) == [Fraction(n, 25) for n in range(25)]
        assert [f.index for f in frames] == list(range(25))
        assert {f.duration_s for f in frames} == {Fraction(1, 25)}
        assert [f.flags for f in frames] == [frozenset()] * 25
        assert (reader.damage, reader.warnings) == (None, [])

    def test_pixels_are_those_of_the_source(self, media: Media, source_luma: np.ndarray, name: str) -> None:
        frames, _ = read(media(name, 1, SIZE, **ENCODES[name].options))
        for n, frame in enumerate(frames):
            difference = np.abs(frame.thumbnail - source_luma[n])
            if ENCODES[name].lossless:
                assert difference.max() == 0, f"frame {n}"
            else:
                neighbours = [np.abs(frame.thumbnail - source_luma[k]).mean() for k in (n - 1, n + 1) if 0 <= k < 25]
                assert difference.mean() < min(1.5, *neighbours), f"frame {n}"

    def test_pixels_and_motion_are_those_the_ffmpeg_program_decodes(
        self, media: Media, encode: Media, name: str
    ) -> None:
        path = media(name, 1, SIZE, **ENCODES[name].options)
        pixel_format = ENCODES[name].pixel_format
        raw = encode(path, f"{name}.yuv", f="rawvideo", pix_fmt=pixel_format, fps_mode="passthrough")
        decoded = luma_of(
            raw, 10 if "10le" in pixel_format else 8, Fraction(1) if "422" in pixel_format else Fraction(1, 2)
        )
        frames, _ = read(path)
        assert len(decoded) == 25
        assert all(np.array_equal(f.thumbnail, picture) for f, picture in zip(frames, decoded, strict=True))
        motion = [0.0] + [float(np.abs(b - a).mean()) for a, b in pairwise(decoded)]
        assert [f.motion for f in frames] == pytest.approx(motion, rel=1e-5)

    def test_info_describes_the_stream(self, media: Media, name: str) -> None:
        _, codec, pixel_format, start_s, _ = ENCODES[name]
        frames, reader = read(media(name, 1, SIZE, **ENCODES[name].options))
        info = reader.info
        assert (info.name, info.codec, info.pixel_format) == (name, codec, pixel_format)
        assert (info.width_px, info.height_px, info.frame_rate) == (*SIZE, Fraction(25))
        assert (info.sample_aspect_ratio, info.rotation_deg, info.transfer) == (Fraction(1), 0, "sdr")
        assert frames[0].keyframe
        assert info.duration_s is not None
        assert abs(info.duration_s - 1) <= Fraction(1, 12)
        if start_s is not None:
            assert info.start_s == start_s
            assert frames[0].pts is not None
            assert frames[0].pts * info.time_base == start_s

    def test_decoder_threads_change_nothing(self, media: Media, name: str) -> None:
        path = media(name, 1, SIZE, **ENCODES[name].options)
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
        assert times(frames) == [Fraction((n * 1001 + 12) // 24, 1000) for n in range(24)]

    @pytest.mark.parametrize("name", ["vfr.mkv", "vfr.nut", "vfr.mp4"])
    def test_variable_frame_rate_keeps_its_times(self, media: Media, name: str) -> None:
        codec = {"c": "rawvideo"} if name.endswith("nut") else X264
        path = media(name, 1, SIZE, filters="select='not(mod(n,3))+eq(mod(n,7),1)'", fps_mode="passthrough", **codec)
        frames, _ = read(path)
        assert times(frames) == [Fraction(n, 25) for n in range(25) if n % 3 == 0 or n % 7 == 1]
        assert not any(f.flags for f in frames)

    def test_a_frame_lasts_as_long_as_its_container_says(self, media: Media) -> None:
        select = {"filters": "select='not(mod(n,3))+eq(mod(n,7),1)'", "fps_mode": "passthrough"}
        frames, _ = read(media("vfr-no-b.mp4", 1, SIZE, **select, **X264 | {"bf": 0}))
        assert [f.duration_s for f in frames[:-1]] == [b.time_s - a.time_s for a, b in pairwise(frames)]
        assert len({f.duration_s for f in frames}) > 1

    def test_accelerating_times_survive(self, media: Media) -> None:
        quadratic = {"filters": "settb=1/1000,setpts=N*N*5", "fps_mode": "passthrough", "enc_time_base": "filter"}
        path = media("vfr-quadratic.mkv", 4, SIZE, **quadratic, **X264)
        frames, _ = read(path)
        assert times(frames) == [Fraction(5 * n * n, 1000) for n in range(len(frames))]
        assert len(frames) == 29  # 5 n^2 ms < 4 s

    def test_a_hole_in_time_is_flagged_on_the_frame_after_it(self, media: Media) -> None:
        path = media("hole.mkv", 3, SIZE, filters="select='not(between(n,25,49))'", fps_mode="passthrough", **X264)
        frames, _ = read(path)
        assert times(frames) == [Fraction(n, 25) for n in range(75) if not 25 <= n <= 49]
        assert [f.index for f in frames if "gap" in f.flags] == [25]

    def test_a_clock_that_begins_anew_is_flagged_once_and_time_goes_on(self, media: Media, tmp_path: Path) -> None:
        part = media("part.ts", 2, SIZE, **X264).read_bytes()
        joined = tmp_path / "joined.ts"
        joined.write_bytes(part + part + part)
        frames, reader = read(joined)
        assert times(frames) == [Fraction(n, 25) for n in range(150)]
        assert [f.index for f in frames if "gap" in f.flags] == [50, 100]
        assert reader.damage is None

    def test_frames_before_an_edit_list_begins_are_not_shown(self, media: Media, encode: Media) -> None:
        """A copy from 0.7 s on keeps the frames since the key frame at 0.48 s, and an edit list that hides them."""
        whole = media("h264.mp4", 1, SIZE, **X264)
        edited = encode(whole, "edited.mp4", input_options={"ss": 0.7}, c="copy")
        shown = encode(edited, "edited.yuv", f="rawvideo", pix_fmt="yuv420p", fps_mode="passthrough")
        expected = luma_of(shown, 8, Fraction(1, 2))
        frames, reader = read(edited)
        assert len(frames) == len(expected) < 9
        assert all(np.array_equal(f.thumbnail, picture) for f, picture in zip(frames, expected, strict=True))
        assert times(frames) == [Fraction(n, 25) for n in range(len(frames))]
        assert reader.damage is None

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
        frames, _ = read(media("h264.mp4", 1, SIZE, **X264))
        assert [f.index for f in frames if f.keyframe] == [0, 12, 24]


@pytest.fixture(scope="module")
def upright(media: Media) -> Path:
    """Five lossless R'G'B' frames."""
    return media("rgb.mp4", 0.2, SIZE, c="libx264rgb", crf=0, preset="ultrafast")


class TestGeometry:
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

    @pytest.mark.parametrize(
        "matrix", [{"display_hflip": None}, {"display_vflip": None}, {"display_rotation": 90, "display_hflip": None}]
    )
    def test_mirroring_is_applied_as_ffmpeg_applies_it(
        self, encode: Media, upright: Path, tmp_path: Path, matrix: dict[str, Any]
    ) -> None:
        mirrored = encode(upright, f"{'-'.join(matrix)}.mp4", input_options=matrix, c="copy")
        size = (SIZE[1], SIZE[0]) if "display_rotation" in matrix else SIZE
        shown = decode_to_rgb24(mirrored, tmp_path / "shown.rgb", size)
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

    @pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv444p10le", "gbrp"])
    def test_odd_sizes_lose_no_line(self, media: Media, encode: Media, pixel_format: str) -> None:
        size = (321, 181)
        crop = f"format={pixel_format},crop=321:181:0:0:exact=1"
        path = media(f"odd-{pixel_format}.mkv", 0.2, (322, 182), filters=crop, c="ffv1", pix_fmt=pixel_format)
        options = {"f": "rawvideo", "pix_fmt": "rgb24", "sws_flags": "bicubic+accurate_rnd+full_chroma_int"}
        shown = np.fromfile(encode(path, f"odd-{pixel_format}.rgb", **options), np.uint8)
        expected = shown.reshape(-1, size[1], size[0], 3).transpose(0, 3, 1, 2)
        frames, reader = read(path)
        assert (reader.info.width_px, reader.info.height_px) == size
        assert len(frames) == len(expected) == 5
        for frame, picture in zip(frames, expected, strict=True):
            scale = 257 if pixel_format == "yuv444p10le" else 1
            assert frame.thumbnail.shape == (181, 321)
            assert np.abs(frame.rgb() / scale - picture).mean() < 2

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

    @pytest.mark.parametrize(("size", "step"), [((160, 90), 1), ((478, 90), 1), ((480, 90), 2), ((1280, 720), 5)])
    def test_thumbnail_is_the_middle_of_every_nth_sample(self, media: Media, size: tuple[int, int], step: int) -> None:
        raw = media(f"raw-{size[0]}.yuv", 0.04, size, f="rawvideo", pix_fmt="yuv420p")
        luma = np.fromfile(raw, np.uint8)[: size[0] * size[1]].reshape(size[1], size[0])
        ((frame,), _) = read(raw, format="rawvideo", size_px=size)
        assert np.array_equal(frame.thumbnail, luma[step // 2 :: step, step // 2 :: step])

    def test_a_kept_frame_can_be_converted_after_the_reader_is_closed(self, media: Media) -> None:
        path = media("h264.mp4", 1, SIZE, **X264)
        with open_video(str(path)) as reader:
            at_once = [f.rgb() for f in reader]
        frames, _ = read(path)
        for n in (24, 0, 7):  # any order
            assert np.array_equal(frames[n].rgb(), at_once[n])
