"""The reader on damaged, cut, unseekable and searched inputs."""

import os
import struct
import subprocess
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qclip_ffmpeg.errors import InputError
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import VideoReader, open_video

Media = Callable[..., Path]
SIZE = (320, 180)
RAW_FRAME_BYTES = SIZE[0] * SIZE[1] * 3 // 2
X264: dict[str, Any] = {"c": "libx264", "preset": "ultrafast", "bf": 3, "g": 20, "crf": 12, "pix_fmt": "yuv420p"}
OPEN_GOP = X264 | {"x264-params": "open-gop=1:scenecut=0"}
X265_OPEN_GOP = {"c": "libx265", "preset": "ultrafast", "x265-params": "open-gop=1:bframes=3:keyint=20:log-level=none"}


def read(source: Path | str, **options: Any) -> tuple[list[Frame], VideoReader]:
    with open_video(str(source), InputOptions(**options)) as reader:
        return list(reader), reader


def flip_bytes(path: Path, target: Path, first: float, last: float, every: int = 97) -> Path:
    """Every n-th byte between two fractions of the file turned over."""
    data = bytearray(path.read_bytes())
    for i in range(int(first * len(data)), int(last * len(data)), every):
        data[i] ^= 0xFF
    target.write_bytes(data)
    return target


def cut(path: Path, target: Path, keep_bytes: int) -> Path:
    target.write_bytes(path.read_bytes()[:keep_bytes])
    return target


@pytest.fixture
def fifo(tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """fifo(file) -> a named pipe that the file runs through: an input that cannot be searched."""
    writers = []

    def make(path: Path) -> Path:
        pipe = tmp_path / f"{path.stem}.pipe"
        os.mkfifo(pipe)

        def feed() -> None:
            try:
                with pipe.open("wb") as out:
                    out.write(path.read_bytes())
            except BrokenPipeError:
                pass  # the reader had enough

        writer = threading.Thread(target=feed, daemon=True)
        writer.start()
        writers.append(writer)
        return pipe

    yield make
    for writer in writers:
        writer.join(timeout=10)
        assert not writer.is_alive()


class TestDamage:
    def test_cut_faststart_mp4_keeps_the_frames_before_the_cut(self, media: Media, tmp_path: Path) -> None:
        whole = media("faststart.mp4", 4, SIZE, movflags="+faststart", **X264)
        frames, reader = read(cut(whole, tmp_path / "cut.mp4", whole.stat().st_size // 2))
        intact, _ = read(whole)
        sound = [f for f in frames if "corrupt" not in f.flags]
        assert 30 < len(sound) < 70
        assert [f.time_s for f in frames] == [Fraction(n, 25) for n in range(len(frames))]
        assert all(np.array_equal(f.thumbnail, intact[f.index].thumbnail) for f in sound)
        assert reader.damage is not None
        assert "missing at the end" in reader.damage

    @pytest.mark.parametrize("name", ["cut.mkv", "cut.webm", "cut.mov", "cut.flv"])
    def test_every_container_that_declares_its_length_shows_a_cut(
        self, media: Media, tmp_path: Path, name: str
    ) -> None:
        codec = {"c": "libvpx-vp9", "deadline": "realtime", "cpu-used": 8} if name.endswith("webm") else X264
        extra = {"movflags": "+faststart"} if name.endswith("mov") else {}
        whole = media(f"whole-{name}", 4, SIZE, **codec, **extra)
        frames, reader = read(cut(whole, tmp_path / name, whole.stat().st_size // 2))
        assert 20 < len(frames) < 80
        assert reader.damage is not None

    def test_a_whole_file_is_not_damaged(self, media: Media) -> None:
        frames, reader = read(media("faststart.mp4", 4, SIZE, movflags="+faststart", **X264))
        assert (len(frames), reader.damage, reader.warnings) == (100, None, [])
        assert not any(f.flags for f in frames)

    def test_mp4_without_its_index_is_refused(self, media: Media, tmp_path: Path) -> None:
        whole = media("index-at-end.mp4", 1, SIZE, **X264)
        path = cut(whole, tmp_path / "noindex.mp4", whole.stat().st_size // 2)
        with pytest.raises(InputError, match=r"^noindex\.mp4: .*cut off before its index; .*") as caught:
            open_video(str(path))
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("name", ["flipped.mp4", "flipped.mkv", "flipped.ts"])
    def test_turned_bytes_are_told_and_do_not_stop_the_reader(self, media: Media, tmp_path: Path, name: str) -> None:
        whole = media(f"whole-{name}", 4, SIZE, **X264)
        frames, reader = read(flip_bytes(whole, tmp_path / name, 0.4, 0.6))
        corrupt = [f.index for f in frames if "corrupt" in f.flags]
        assert corrupt or reader.warnings
        assert len(frames) > 60
        assert all(20 < n < 80 for n in corrupt), "damage lies between 40 % and 60 %"
        assert all(a.time_s < b.time_s for a, b in pairwise(frames))
        assert all(f.rgb().shape == (3, 180, 320) for f in frames if f.index in corrupt[:3])

    @pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv420p10le"])
    def test_cut_raw_video_says_which_options_to_check(self, media: Media, tmp_path: Path, pixel_format: str) -> None:
        whole = media(f"raw-{pixel_format}.yuv", 0.4, SIZE, f="rawvideo", pix_fmt=pixel_format)
        frame_bytes = RAW_FRAME_BYTES * (2 if "10" in pixel_format else 1)
        path = cut(whole, tmp_path / "cut.yuv", 7 * frame_bytes + 1000)
        frames, reader = read(path, format="rawvideo", size_px=SIZE, pixel_format=pixel_format)
        assert [f.time_s for f in frames] == [Fraction(n, 25) for n in range(7)]
        assert reader.damage is not None
        assert "-s and -pix_fmt" in reader.damage

    def test_raw_video_of_whole_frames_is_not_damaged(self, media: Media) -> None:
        path = media("raw-yuv420p.yuv", 0.4, SIZE, f="rawvideo", pix_fmt="yuv420p")
        frames, reader = read(path, format="rawvideo", size_px=SIZE, frame_rate=Fraction(30000, 1001))
        assert [f.time_s for f in frames] == [Fraction(n * 1001, 30000) for n in range(10)]
        assert (reader.damage, reader.warnings) == (None, [])

    @pytest.mark.parametrize("name", ["cut.nut", "cut.y4m"])
    def test_a_cut_lossless_stream_keeps_whole_frames(self, media: Media, tmp_path: Path, name: str) -> None:
        codec = {"c": "rawvideo"} if name.endswith("nut") else {}
        whole = media(f"whole-{name}", 0.4, SIZE, pix_fmt="yuv420p", **codec)
        intact, _ = read(whole)
        frames, reader = read(cut(whole, tmp_path / name, whole.stat().st_size - RAW_FRAME_BYTES // 2))
        assert [f.time_s for f in frames] == [Fraction(n, 25) for n in range(9)]
        assert all(np.array_equal(f.thumbnail, w.thumbnail) for f, w in zip(frames, intact, strict=False))
        if name == "cut.nut":  # FFmpeg takes a short y4m frame for the end
            assert reader.damage is not None

    def test_less_than_one_raw_frame_is_refused(self, media: Media, tmp_path: Path) -> None:
        whole = media("raw-yuv420p.yuv", 0.4, SIZE, f="rawvideo", pix_fmt="yuv420p")
        path = cut(whole, tmp_path / "short.yuv", 1000)
        with pytest.raises(InputError, match=r"^short\.yuv: .*-s and -pix_fmt") as caught:
            read(path, format="rawvideo", size_px=SIZE)
        assert "\n" not in str(caught.value)

    def test_a_stream_without_a_decodable_frame_is_refused(self, media: Media, tmp_path: Path) -> None:
        data = media("faststart.mp4", 4, SIZE, movflags="+faststart", **X264).read_bytes()
        media_start = data.index(b"mdat") + 4
        path = tmp_path / "zeros.mp4"
        path.write_bytes(data[:media_start] + bytes(len(data) - media_start))
        with pytest.raises(InputError, match=r"^zeros\.mp4: not one frame could be decoded .*; check") as caught:
            read(path)
        assert "\n" not in str(caught.value)


SEARCHED = {
    "h264.mp4": X264,
    "open-gop.mp4": OPEN_GOP,
    "fragmented.mp4": X264 | {"movflags": "frag_keyframe+empty_moov"},
    "h264.mkv": X264,
    "h264.ts": X264,
    "h264.flv": X264,
    "hevc-open-gop.mp4": X265_OPEN_GOP,
    "hevc-open-gop.mkv": X265_OPEN_GOP,
    "mpeg2.ts": {"c": "mpeg2video", "q": 2, "bf": 2, "g": 12},
    "mpeg4.avi": {"c": "mpeg4", "q": 2, "bf": 2, "g": 20},
    "vp9.webm": {"c": "libvpx-vp9", "deadline": "realtime", "cpu-used": 8, "g": 20},
    "stream.h264": X264,
    "raw.nut": {"c": "rawvideo", "pix_fmt": "yuv420p"},
    "playlist.m3u8": X264 | {"hls_time": 0.8, "hls_playlist_type": "vod"},
}


@pytest.mark.parametrize("name", SEARCHED)
class TestStartAndDuration:
    """-ss and -t hand on exactly the frames that decoding all and choosing by time gives."""

    def check(self, path: Path, source: Path | str, start_s: Fraction, duration_s: Fraction | None) -> None:
        everything, _ = read(path)
        frames, reader = read(source, start_s=start_s, duration_s=duration_s)
        stop_s = start_s + duration_s if duration_s is not None else Fraction(1000)
        wanted = [f for f in everything if start_s <= f.time_s < stop_s]
        assert [f.time_s for f in frames] == [f.time_s for f in wanted]
        assert [f.index for f in frames] == list(range(len(wanted)))
        assert [f.pts for f in frames] == [f.pts for f in wanted]
        assert all(np.array_equal(f.thumbnail, w.thumbnail) for f, w in zip(frames, wanted, strict=True))
        assert all(f.motion == w.motion for f, w in zip(frames[1:], wanted[1:], strict=True))
        assert not any(f.flags for f in frames)
        assert reader.damage is None

    @pytest.mark.parametrize("first", [1, 17, 18, 19, 20, 21, 38, 39, 40, 41, 55])
    def test_on_a_frame(self, media: Media, name: str, first: int) -> None:
        path = media(f"searched-{name}", 2.4, SIZE, **SEARCHED[name])
        self.check(path, path, Fraction(first, 25), Fraction(1, 5))

    def test_between_frames_to_the_end(self, media: Media, name: str) -> None:
        path = media(f"searched-{name}", 2.4, SIZE, **SEARCHED[name])
        self.check(path, path, Fraction("1.59"), None)

    def test_past_the_end_is_refused(self, media: Media, name: str) -> None:
        path = media(f"searched-{name}", 2.4, SIZE, **SEARCHED[name])
        with pytest.raises(InputError, match=f"^searched-{name}: .*-ss") as caught:
            read(path, start_s=Fraction(10))
        assert "\n" not in str(caught.value)


class TestPipes:
    @pytest.mark.parametrize("name", ["h264.ts", "h264.mkv", "raw.nut", "fragmented.mp4"])
    def test_start_and_duration_on_an_input_that_cannot_be_searched(
        self, media: Media, fifo: Callable[[Path], Path], name: str
    ) -> None:
        path = media(f"searched-{name}", 2.4, SIZE, **SEARCHED[name])
        everything, _ = read(path)
        source = fifo(path)
        result: list[list[Frame]] = []
        options = {"start_s": Fraction(39, 25), "duration_s": Fraction(1, 5)}
        reading = threading.Thread(target=lambda: result.append(read(source, **options)[0]), daemon=True)
        reading.start()
        reading.join(timeout=20)  # a pipe opened a second time would wait for ever
        assert result
        (frames,) = result
        assert [f.time_s for f in frames] == [Fraction(n, 25) for n in range(39, 44)]
        assert all(np.array_equal(f.thumbnail, everything[n].thumbnail) for n, f in enumerate(frames, 39))

    def test_standard_input_gives_the_frames_of_the_file(self, media: Media) -> None:
        path = media("searched-raw.nut", 2.4, SIZE, **SEARCHED["raw.nut"])
        script = (
            "import sys; from fractions import Fraction;"
            "from qclip_ffmpeg.inputs import InputOptions; from qclip_ffmpeg.reader import open_video\n"
            "with open_video('-', InputOptions(start_s=Fraction(1))) as r:\n"
            "    print(r.info.name, [str(f.time_s) for f in r], r.damage, r.warnings)"
        )
        with path.open("rb") as stdin:
            done = subprocess.run(
                [sys.executable, "-c", script], stdin=stdin, capture_output=True, text=True, check=True
            )
        assert done.stdout == f"- {[str(Fraction(n, 25)) for n in range(25, 60)]} None []\n"

    @pytest.mark.parametrize(("sent", "said"), [("", "nothing arrived"), ("garbage" * 999, "-f rawvideo")])
    def test_nothing_and_garbage_on_standard_input_are_refused(self, sent: str, said: str) -> None:
        script = (
            "from qclip_ffmpeg.errors import InputError; from qclip_ffmpeg.reader import open_video\n"
            "try: open_video('-')\n"
            "except InputError as error: print(error)"
        )
        done = subprocess.run([sys.executable, "-c", script], input=sent, capture_output=True, text=True, check=True)
        assert done.stdout.count("\n") == 1
        assert done.stdout.startswith("standard input: ")
        assert said in done.stdout


class TestWhole:
    """Healthy files that look short at first sight, and short ones that look healthy."""

    @pytest.mark.parametrize("name", ["late.mkv", "late.mp4", "late.webm", "late.flv"])
    def test_video_that_starts_late_is_whole(self, media: Media, encode: Media, name: str) -> None:
        codec = {"c": "libvpx-vp9", "deadline": "realtime", "cpu-used": 8} if name.endswith("webm") else X264
        early = media(f"early-{name}", 3, SIZE, **codec)
        _, reader = read(encode(early, name, c="copy", output_ts_offset=5, avoid_negative_ts="disabled"))
        assert reader.damage is None

    def test_a_last_frame_that_stays_long_is_no_missing_end(self, media: Media) -> None:
        path = media("long-last.mp4", 2, SIZE, filters="setpts='N/25/TB+if(eq(N,49),4/TB,0)'", fps_mode="vfr", **X264)
        _, reader = read(path)
        assert reader.damage is None

    @pytest.mark.parametrize(("asked_s", "damaged"), [(1, False), (15, True)])
    def test_a_cut_file_is_damaged_only_as_far_as_was_asked(
        self, media: Media, tmp_path: Path, asked_s: int, damaged: bool
    ) -> None:
        path = cut(media("faststart-long.mp4", 20, SIZE, movflags="+faststart", **X264), tmp_path / "cut.mp4", 150_000)
        frames, reader = read(path, duration_s=Fraction(asked_s))
        assert (reader.damage is not None) == damaged
        assert frames[-1].time_s < asked_s

    def test_a_playlist_without_its_last_segment_is_damaged(self, media: Media) -> None:
        playlist = media("gone.m3u8", 6, SIZE, **X264 | {"hls_time": 2, "hls_playlist_type": "vod", "g": 25})
        assert read(playlist)[1].damage is None
        max(playlist.parent.glob("gone*.ts")).unlink()
        assert "missing at the end" in str(read(playlist)[1].damage)

    def test_the_last_frame_ends_with_the_measured_span(self, media: Media) -> None:
        path = media("slow.mkv", 4, SIZE, rate=Fraction(1, 2), **X264)
        frames, _ = read(path, duration_s=Fraction(1))
        assert [(f.time_s, f.duration_s) for f in frames] == [(0, 1)]


def test_a_named_colour_profile_does_not_crash(media: Media, tmp_path: Path) -> None:
    """PyAV 18 frees the name of a PNG's ICC profile twice; the crash came with the next garbage collection."""
    data = media("plain.png", 0.04, (64, 64)).read_bytes()
    profile = b"Display P3\0\0" + zlib.compress(bytes(132))
    chunk = b"iCCP" + profile
    after_header = 8 + 25  # signature, IHDR
    with_profile = tmp_path / "profile.png"
    with_profile.write_bytes(
        data[:after_header]
        + struct.pack(">I", len(profile))
        + chunk
        + struct.pack(">I", zlib.crc32(chunk))
        + data[after_header:]
    )
    read = (
        "import gc, sys; from qclip_ffmpeg.reader import open_video\n"
        "for _ in range(8):\n"
        "    with open_video(sys.argv[1]) as video: frames = [f.rgb() for f in video]\n"
        "    del video; gc.collect()\n"
    )
    done = subprocess.run([sys.executable, "-c", read, str(with_profile)], capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr.decode()


@pytest.mark.parametrize("container", ["avi", "mkv", "mp4"])
def test_titles_in_another_encoding_do_not_matter(media: Media, tmp_path: Path, container: str) -> None:
    path = media(
        f"titled.{container}", 0.2, SIZE, metadata="title=QCLIPTITLE", **{"metadata:s:v:0": "title=QCLIPTITLE"}
    )
    in_latin_1 = tmp_path / path.name
    in_latin_1.write_bytes(path.read_bytes().replace(b"QCLIPTITLE", b"Caf\xe9 \xc2\xc2\xc2\xc2\xc2"))
    assert in_latin_1.read_bytes() != path.read_bytes()
    assert len(read(in_latin_1)[0]) == 5
