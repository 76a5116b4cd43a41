"""What may be named as an input: files of any name, URLs, playlists, stills; which stream is taken; what is refused."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import ffmpeg
import numpy as np
import pytest

from qclip_ffmpeg.errors import InputError, QClipError, UsageError
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.inputs import InputOptions, displayed_name, ffmpeg_url, is_url
from qclip_ffmpeg.reader import VideoReader, library_versions, open_video

Media = Callable[..., Path]
SIZE = (320, 180)
X264: dict[str, Any] = {"c": "libx264", "preset": "ultrafast", "bf": 3, "g": 20, "crf": 12, "pix_fmt": "yuv420p"}


def read(source: Path | str, **options: Any) -> tuple[list[Frame], VideoReader]:
    with open_video(str(source), InputOptions(**options)) as reader:
        return list(reader), reader


def check_message(error: pytest.ExceptionInfo[QClipError], name: str) -> None:
    """One line: what it is about, what is wrong; what to do next."""
    message = str(error.value)
    assert "\n" not in message
    assert message.startswith(f"{name}: ")
    assert ";" in message
    assert not message.endswith(".")


@pytest.fixture(scope="module")
def clip(media: Media) -> Path:
    return media("clip.mp4", 2, SIZE, movflags="+faststart", **X264)


class RangeHandler(http.server.SimpleHTTPRequestHandler):
    """Files with Range requests, which Python's own handler lacks. /plain/ goes without, /half/ breaks off."""

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.replace("/plain/", "/").replace("/half/", "/"))

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        asked = None if self.path.startswith(("/plain/", "/half/")) else self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").split("-")[0]) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("Content-Length", str(len(data) - first))
        if asked:
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("Content-Range", f"bytes {first}-{len(data) - 1}/{len(data)}")
        self.end_headers()
        body = data[first : len(data) // 2] if self.path.startswith("/half/") else data[first:]
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the reader had enough
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    """serve(folder) -> "127.0.0.1:port" of a server of its files."""
    servers = []

    def start(folder: Path) -> str:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(RangeHandler, directory=str(folder)))
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        servers.append(server)
        return f"127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "with space.mp4",
            "co:lon.mp4",
            "http:.mp4",
            "100%.mp4",
            "%03d.mp4",
            "a%20b.mp4",
            "#1?x=y&z.mp4",
            "-dash.mp4",
            "[a]*{b}.mp4",
            'it\'s "quoted".mp4',
            "ünïcödé 映像.mp4",
        ],
    )
    def test_any_file_name_opens(self, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
        (tmp_path / name).write_bytes(clip.read_bytes())
        monkeypatch.chdir(tmp_path)
        for source in (name, str(tmp_path / name)):
            frames, reader = read(source)
            assert (len(frames), reader.info.name) == (50, name)

    @pytest.mark.parametrize("name", ["shot%03d.png", "shot[1].png", "*.png", "a b.png"])
    def test_a_stills_name_is_no_pattern(self, media: Media, tmp_path: Path, name: str) -> None:
        still = media("still.png", 0.04, SIZE, **{"frames:v": 1})
        (tmp_path / "shot001.png").write_bytes(media("other.png", 0.04, (64, 64), **{"frames:v": 1}).read_bytes())
        (tmp_path / name).write_bytes(still.read_bytes())
        frames, reader = read(tmp_path / name)
        assert (len(frames), reader.info.width_px) == (1, SIZE[0])

    @pytest.mark.parametrize(
        ("source", "url", "name"),
        [
            ("-", False, "-"),
            ("videos/a.mp4", False, "a.mp4"),
            ("/videos/a b.mp4", False, "a b.mp4"),
            ("https://host/a/b.mp4", True, "https://host/a/b.mp4"),
            ("https://user:secret@host/b.mp4", True, "https://host/b.mp4"),
            ("https://host:8443/b.m3u8?token=secret#secret", True, "https://host:8443/b.m3u8"),
            ("rtmp://user:secret@host:1935/live", True, "rtmp://host:1935/live"),
        ],
    )
    def test_displayed_name_has_no_secrets(self, source: str, url: bool, name: str) -> None:
        assert is_url(source) == url
        assert displayed_name(source) == name

    def test_a_path_is_marked_as_a_file_for_ffmpeg(self, clip: Path) -> None:
        assert ffmpeg_url(str(clip)) == f"file:{clip}"
        assert ffmpeg_url("-") == "pipe:0"
        assert ffmpeg_url("http://host/a.mp4") == "http://host/a.mp4"


class TestNetwork:
    def test_http_gives_the_frames_of_the_file(self, clip: Path, serve: Callable[[Path], str]) -> None:
        host = serve(clip.parent)
        expected, _ = read(clip)
        frames, reader = read(f"http://user:secret@{host}/clip.mp4?token=secret")
        assert reader.info.name == f"http://{host}/clip.mp4"
        assert reader.damage is None
        assert [f.time_s for f in frames] == [f.time_s for f in expected]
        assert all(np.array_equal(f.thumbnail, e.thumbnail) for f, e in zip(frames, expected, strict=True))

    def test_mp4_with_its_index_at_the_end_is_searched_over_http(
        self, media: Media, serve: Callable[[Path], str]
    ) -> None:
        path = media("index-last.mp4", 2, SIZE, **X264)
        frames, _ = read(f"http://{serve(path.parent)}/index-last.mp4")
        assert len(frames) == 50

    @pytest.mark.parametrize("folder", ["", "plain/"], ids=["ranges", "no-ranges"])
    @pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
    def test_start_and_duration_over_http(
        self, media: Media, serve: Callable[[Path], str], container: str, folder: str
    ) -> None:
        faststart = {"movflags": "+faststart"} if container == "mp4" else {}
        path = media(f"served.{container}", 4, SIZE, **X264, **faststart)
        expected, _ = read(path)
        url = f"http://{serve(path.parent)}/{folder}served.{container}"
        frames, reader = read(url, start_s=Fraction(79, 25), duration_s=Fraction(1, 5))
        assert [f.time_s for f in frames] == [Fraction(n, 25) for n in range(79, 84)]
        assert all(np.array_equal(f.thumbnail, expected[n].thumbnail) for n, f in enumerate(frames, 79))
        assert (reader.damage, reader.warnings) == (None, [])

    @pytest.mark.parametrize("container", ["mp4", "mkv", "ts"])
    def test_a_transfer_that_breaks_off_is_damage(
        self, media: Media, serve: Callable[[Path], str], container: str
    ) -> None:
        faststart = {"movflags": "+faststart"} if container == "mp4" else {}
        path = media(f"served.{container}", 4, SIZE, **X264, **faststart)
        frames, reader = read(f"http://{serve(path.parent)}/half/served.{container}")
        assert 20 < len(frames) < 80
        assert reader.damage is not None

    @pytest.mark.parametrize("segments", ["mpegts", "fmp4"])
    @pytest.mark.parametrize("over", ["file", "http"])
    def test_hls_playlist_gives_the_frames_of_the_file(
        self, clip: Path, encode: Media, serve: Callable[[Path], str], segments: str, over: str
    ) -> None:
        playlist = encode(
            clip, f"{segments}.m3u8", c="copy", hls_time=0.8, hls_playlist_type="vod", hls_segment_type=segments
        )
        source = str(playlist) if over == "file" else f"http://{serve(playlist.parent)}/{playlist.name}"
        expected, _ = read(clip)
        frames, reader = read(source)
        assert reader.info.container == "hls"
        assert reader.damage is None
        assert [f.time_s for f in frames] == [f.time_s for f in expected]
        assert all(np.array_equal(f.thumbnail, e.thumbnail) for f, e in zip(frames, expected, strict=True))

    def test_a_missing_url_is_told_without_its_secrets(self, clip: Path, serve: Callable[[Path], str]) -> None:
        host = serve(clip.parent)
        with pytest.raises(InputError) as error:
            open_video(f"http://user:secret@{host}/missing.mp4?token=secret")
        check_message(error, f"http://{host}/missing.mp4")
        assert "secret" not in str(error.value)

    def test_a_server_that_is_not_there_is_told(self) -> None:
        with pytest.raises(InputError) as error:
            open_video("http://127.0.0.1:9/a.mp4?token=secret")
        check_message(error, "http://127.0.0.1:9/a.mp4")
        assert "secret" not in str(error.value)

    def test_an_unknown_protocol_is_a_usage_error(self) -> None:
        with pytest.raises(UsageError) as error:
            open_video("gopher3://host/a.mp4")
        check_message(error, "gopher3://host/a.mp4")


def with_cover(video_or_audio: Path, cover: Path, target: Path, **options: Any) -> Path:
    """Both as streams of one file, copied, the second marked as attached picture."""
    streams = [ffmpeg.input(str(video_or_audio)), ffmpeg.input(str(cover))]
    run(ffmpeg.output(*streams, str(target), c="copy", **options), program=bundled_executable())
    return target


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sound") / "sound.mp3"
    run(ffmpeg.input("sine", f="lavfi").output(str(path), t=1), program=bundled_executable())
    return path


class TestStreams:
    def test_audio_only_is_refused(self, sound: Path) -> None:
        with pytest.raises(InputError, match="audio") as error:
            open_video(str(sound))
        check_message(error, "sound.mp3")

    def test_cover_art_of_music_is_no_video(self, media: Media, sound: Path, tmp_path: Path) -> None:
        still = media("still.png", 0.04, SIZE, **{"frames:v": 1})
        path = with_cover(sound, still, tmp_path / "song.mp3", id3v2_version=3)
        with pytest.raises(InputError, match="no video stream") as error:
            open_video(str(path))
        check_message(error, "song.mp3")

    @pytest.mark.parametrize("container", ["mp4", "mkv"])
    def test_cover_art_of_a_video_is_passed_over(
        self, media: Media, clip: Path, tmp_path: Path, container: str
    ) -> None:
        cover = media("cover.png", 0.04, (640, 640), **{"frames:v": 1})
        path = with_cover(clip, cover, tmp_path / f"covered.{container}", **{"disposition:v:1": "attached_pic"})
        frames, reader = read(path)
        assert (len(frames), reader.info.codec, reader.info.width_px) == (50, "h264", SIZE[0])
        # A cover is no other video that went unmeasured; ffmpeg writes it to Matroska as a plain second video stream.
        assert len(reader.warnings) == (0 if container == "mp4" else 1)

    def test_video_beside_audio_is_read_whole(self, clip: Path, sound: Path, tmp_path: Path) -> None:
        path = tmp_path / "both.mkv"
        streams = [ffmpeg.input(str(sound)), ffmpeg.input(str(clip))]
        run(ffmpeg.output(*streams, str(path), c="copy"), program=bundled_executable())
        frames, reader = read(path)
        assert [f.time_s for f in frames] == [Fraction(n, 25) for n in range(50)]
        assert reader.damage is None

    @pytest.mark.parametrize("container", ["mp4", "mkv", "flv", "ts"])
    def test_sound_that_lasts_longer_is_no_damage(self, clip: Path, tmp_path: Path, container: str) -> None:
        path = tmp_path / f"long-sound.{container}"
        streams = [ffmpeg.input("sine", f="lavfi", t=6), ffmpeg.input(str(clip))]
        run(ffmpeg.output(*streams, str(path), **{"c:v": "copy", "c:a": "aac"}), program=bundled_executable())
        frames, reader = read(path)
        assert (len(frames), reader.damage) == (50, None)

    @pytest.mark.parametrize(
        ("name", "options", "tolerance"),
        [
            ("still.png", {}, 0),
            ("still.jpg", {"q": 2, "pix_fmt": "yuvj444p"}, 3),
            ("still.webp", {"lossless": 1, "pix_fmt": "bgra"}, 0),
            ("still.bmp", {"pix_fmt": "bgr24"}, 0),
            ("still.tiff", {"pix_fmt": "rgb24"}, 0),
        ],
    )
    def test_a_still_image_is_one_frame(
        self, media: Media, name: str, options: dict[str, Any], tolerance: float
    ) -> None:
        raw = media("still.rgb", 0.04, SIZE, f="rawvideo", pix_fmt="rgb24")
        expected = np.fromfile(raw, np.uint8).reshape(SIZE[1], SIZE[0], 3).transpose(2, 0, 1)
        frames, reader = read(media(name, 0.04, SIZE, **{"frames:v": 1}, **options))
        assert [f.time_s for f in frames] == [Fraction(0)]
        assert frames[0].motion == 0
        assert reader.damage is None
        assert np.abs(frames[0].rgb().astype(float) - expected).mean() <= tolerance

    def test_the_example_clip_reads_whole(self, example_clip: Path) -> None:
        frames, reader = read(example_clip, duration_s=Fraction(1))
        assert (reader.info.width_px, reader.info.height_px, reader.info.codec) == (1280, 720, "h264")
        assert reader.info.frame_rate is not None
        assert len(frames) == round(reader.info.frame_rate)


class TestRefusals:
    def test_a_missing_file_is_a_usage_error(self, tmp_path: Path) -> None:
        source = str(tmp_path / "missing.mp4")
        with pytest.raises(UsageError, match="no such file") as error:
            open_video(source)
        check_message(error, source)

    def test_a_folder_is_a_usage_error(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is a folder") as error:
            open_video(str(tmp_path))
        check_message(error, str(tmp_path))

    @pytest.mark.parametrize("content", [b"", b"\0", b"this is no video\n" * 300, bytes(5000), bytes(range(256)) * 99])
    def test_garbage_is_refused(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "garbage.mp4").write_bytes(content)
        with pytest.raises(InputError) as error:
            read(tmp_path / "garbage.mp4")
        check_message(error, "garbage.mp4")

    def test_a_format_that_does_not_fit_is_refused(self, clip: Path) -> None:
        with pytest.raises(InputError) as error:
            open_video(str(clip), InputOptions(format="matroska"))
        check_message(error, "clip.mp4")

    def test_a_header_that_claims_an_absurd_size_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.y4m"
        path.write_bytes(b"YUV4MPEG2 W60000 H60000 F25:1 C420\nFRAME\n" + bytes(100_000))
        with pytest.raises(InputError) as error:
            read(path)
        check_message(error, "huge.y4m")

    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"format": "rawvideo"}, "-s WIDTHxHEIGHT"),
            ({"format": "rawvideo", "size_px": SIZE, "pixel_format": "yuv999"}, "yuv999"),
            ({"format": "nosuchformat"}, "nosuchformat"),
            ({"size_px": SIZE}, "-f rawvideo"),
            ({"pixel_format": "yuv420p"}, "-f rawvideo"),
        ],
    )
    def test_options_that_contradict_each_other_are_usage_errors(
        self, clip: Path, options: dict[str, Any], said: str
    ) -> None:
        with pytest.raises(UsageError) as error:
            open_video(str(clip), InputOptions(**options))
        assert said in str(error.value)
        assert "\n" not in str(error.value)

    def test_exit_codes_follow_the_kind(self) -> None:
        assert (QClipError.exit_code, InputError.exit_code, UsageError.exit_code) == (1, 1, 2)

    def test_versions_for_provenance_are_numbers(self) -> None:
        versions = library_versions()
        assert {"av", "libavformat", "libavcodec", "libswscale"} <= set(versions)
        assert all(v.split(".")[0].isdigit() for v in versions.values())


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("http://me:secret@[::1]:80/a/b.mp4?key=secret#x", "http://[::1]:80/a/b.mp4"),
        ("http://h:abc/x.mp4", "http://h:abc/x.mp4"),
        ("http://h:99999/x.mp4", "http://h:99999/x.mp4"),
        ("https://h/" + 5000 * "a", "https://h/" + 5000 * "a"),
    ],
)
def test_odd_addresses_keep_their_name_and_lose_their_secrets(url: str, name: str) -> None:
    assert displayed_name(url) == name


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(UsageError, match="not a URL"):
        displayed_name("http://[::1/x")
