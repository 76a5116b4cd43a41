"""Which rungs a ladder has: names, folders, patterns, TOML, HLS and DASH; what strangers' files may not do."""

import contextlib
import http.server
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from qclip_ffmpeg.errors import InputError, QClipError, UsageError
from qclip_ffmpeg.ladder_inputs import MAX_RUNGS, Entry, entries_of
from qclip_ffmpeg.manifests import MAX_MANIFEST_BYTES, renditions
from qclip_ffmpeg.measurement import probe
from qclip_ffmpeg.scorer import Scorer

pytest_plugins = ["model_fixtures"]

MASTER = """#EXTM3U
#EXT-X-VERSION:6
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="aac",NAME="English",DEFAULT=YES,URI="audio/en.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=2200000,AVERAGE-BANDWIDTH=2000000,RESOLUTION=1280x720,CODECS="avc1.64001f,mp4a.40.2",AUDIO="aac"
720p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=854x480,CODECS="avc1.4d401e,mp4a.40.2",AUDIO="aac"

480p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=950000,RESOLUTION=854x480,CODECS="avc1.4d401e,ac-3",AUDIO="ac3"
480p/index.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=64000,CODECS="mp4a.40.2"
audio/index.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=100000,RESOLUTION=1280x720,URI="720p/iframes.m3u8"
"""
MPD = """<?xml version="1.0"?>
<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011">
  <BaseURL>media/</BaseURL>
  <Period>
    <AdaptationSet contentType="audio">
      <Representation id="a" bandwidth="64000"><BaseURL>a.mp4</BaseURL></Representation></AdaptationSet>
    <AdaptationSet mimeType="video/mp4">
      <Representation id="hd" bandwidth="2000000" width="1280" height="720">
        <BaseURL>hd.mp4</BaseURL><SegmentBase indexRange="0-99"/></Representation>
      <Representation id="sd" bandwidth="900500" width="854" height="480">
        <BaseURL>sd.mp4</BaseURL><SegmentBase indexRange="0-99"/></Representation>
    </AdaptationSet>
    <AdaptationSet contentType="video">
      <EssentialProperty schemeIdUri="http://dashif.org/guidelines/trickmode" value="1"/>
      <Representation id="seek" bandwidth="1"><BaseURL>seek.mp4</BaseURL></Representation></AdaptationSet>
  </Period>
</MPD>
"""


def refusal(*inputs: str, ladders: tuple[str, ...] = (), kind: type[QClipError] = UsageError) -> str:
    """What is said, in one line."""
    with pytest.raises(kind) as raised:
        entries_of(inputs, ladders)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def files(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names(entries: list[Entry]) -> list[str]:
    return [entry.name for entry in entries]


def test_inputs_go_by_their_file_names() -> None:
    found = entries_of(["out/720p.mp4", "out/480p.mp4.qclip.json", "last/360p.json", "https://x.org/a/b.mp4?t=1", "-"])
    assert names(found) == ["720p.mp4", "480p.mp4", "360p", "b.mp4", "-"]
    assert [e.is_sidecar for e in found] == [False, True, True, False, False]
    assert found[3].source == "https://x.org/a/b.mp4?t=1"


def test_names_that_are_equal_get_their_folders() -> None:
    """As much of the path as tells them apart, and no more."""
    found = entries_of(["a/x264/720p.mp4", "a/x265/720p.mp4", "b/x265/720p.mp4", "a/480p.mp4"])
    assert names(found) == ["x264/720p.mp4", "a/x265/720p.mp4", "b/x265/720p.mp4", "480p.mp4"]


def test_addresses_that_differ_in_their_query_are_numbered() -> None:
    found = entries_of(["https://x.org/play?level=1", "https://x.org/play?level=2"])
    assert names(found) == ["play#1", "play#2"], "and what may be a secret in it is not shown"


def test_a_rung_is_named_once() -> None:
    assert refusal("a.mp4", "a.mp4") == "a.mp4: is named twice; a ladder has each rung once"
    assert refusal("a.mp4", "a.mp4.qclip.json").startswith("two rungs are called a.mp4; ")


@pytest.mark.parametrize(
    ("name", "kbps", "lines"),
    [
        ("clip-720p-1500k.mp4", 1500, 720),
        ("1080p60_4500kbps.mp4", 4500, 1080),
        ("movie.1280x720.mp4", None, 720),
        ("640x360@800k.mkv", 800, 360),
        ("4.5mbps_1080P.mp4", 4500, 1080),
        ("movie-4k.mp4", None, None),
        ("h264.mp4", None, None),
        ("s01e720p.mp4", None, None),
        ("720p-vs-1080p.mp4", None, None),
        ("scene-2500.mp4", None, None),
        ("500k-1000k.mp4", None, None),
        ("trip-2024x.mp4", None, None),
    ],
)
def test_what_a_name_says_a_rung_is_meant_to_be(name: str, kbps: float | None, lines: int | None) -> None:
    [found] = entries_of([name])
    assert (found.declared_kbps, found.declared_height_px) == (kbps, lines)


def test_a_folder_gives_its_videos(tmp_path: Path) -> None:
    files(tmp_path, "720p.mp4", "480p.MKV", "480p.MKV.qclip.json", "log.txt", ".hidden.mp4", "sub/1080p.mp4")
    found = entries_of(ladders=[str(tmp_path)])
    assert names(found) == ["480p.MKV", "720p.mp4"]
    assert found[0].source == str(tmp_path / "480p.MKV")


def test_a_folder_without_videos_gives_its_sidecars(tmp_path: Path) -> None:
    files(tmp_path, "720p.mp4.qclip.json", "480p.mp4.qclip.json", "package.json")
    assert names(entries_of(ladders=[str(tmp_path)])) == ["480p.mp4", "720p.mp4"]


def test_a_pattern_gives_what_it_matches(tmp_path: Path) -> None:
    files(tmp_path, "a/720p.mp4", "a/480p.mp4", "a/720p.json", "b/720p.mp4", "b/note.txt")
    assert names(entries_of(ladders=[f"{tmp_path}/a/*"])) == ["480p.mp4", "720p.mp4"]
    assert names(entries_of(ladders=[f"{tmp_path}/*/720p.mp4"])) == ["a/720p.mp4", "b/720p.mp4"]
    assert names(entries_of(ladders=[f"{tmp_path}/a/*.json"])) == ["720p"]


@pytest.mark.parametrize("ladder", ["empty", "empty/*.mp4"])
def test_a_folder_or_pattern_with_nothing_is_refused(
    ladder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files(tmp_path, "empty/log.txt")
    monkeypatch.chdir(tmp_path)
    assert refusal(ladders=(ladder,)) == f"--ladder {ladder}: holds no video file and no sidecar; check the path"


def test_segments_are_not_taken_for_rungs(tmp_path: Path) -> None:
    files(tmp_path, "master.m3u8", "seg0.ts", "seg1.ts")
    assert f"name {tmp_path}/master.m3u8" in refusal(ladders=(str(tmp_path),))


def test_what_is_no_ladder_is_refused(tmp_path: Path) -> None:
    files(tmp_path, "clip.mp4")
    assert "give a video as an input" in refusal(ladders=(f"{tmp_path}/clip.mp4",))
    assert "no such folder or file" in refusal(ladders=(f"{tmp_path}/gone",))
    assert "cannot be read (No such file" in refusal(ladders=(f"{tmp_path}/gone.toml",))
    assert "must be that of an .m3u8 or .mpd" in refusal(ladders=("https://x.org/ladder?token=secret",))


def test_more_rungs_than_any_ladder_has_are_refused() -> None:
    assert "too many" in refusal(*(f"{n}.mp4" for n in range(MAX_RUNGS + 1)))


def toml(folder: Path, text: str) -> str:
    path = folder / "ladder.toml"
    path.write_text(text)
    return str(path)


def test_a_ladder_in_toml(tmp_path: Path) -> None:
    """Paths are relative to it, whatever the working directory is."""
    ladder = toml(
        tmp_path,
        """
        [[rungs]]
        name = "low"
        file = "out/a.mp4"
        bitrate_kbps = 800
        height_px = 480
        [[rungs]]
        name = "high 720p"
        url = "https://x.org/b.mp4"
        """,
    )
    assert entries_of(ladders=[ladder]) == [
        Entry(name="low", source=str(tmp_path / "out/a.mp4"), declared_kbps=800, declared_height_px=480),
        Entry(name="high 720p", source="https://x.org/b.mp4", declared_height_px=720),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "rungs"),
        ("rungs = []", "length"),
        ('[[rungs]]\nname = "a"\nfile = "a.mp4"\nbitrate = 5', "unknown field `bitrate`"),
        ('[[rungs]]\nname = "a"\nfile = "a.mp4"\n[rung]\n', "unknown field `rung`"),
        ('[[rungs]]\nfile = "a.mp4"', "`name`"),
        ('[[rungs]]\nname = ""\nfile = "a.mp4"', "length"),
        ('[[rungs]]\nname = "a"', "give either file or url"),
        ('[[rungs]]\nname = "a"\nfile = "a"\nurl = "http://b"', "give either file or url"),
        ('[[rungs]]\nname = "a"\nurl = "file:///etc/passwd"', "http or https"),
        ('[[rungs]]\nname = "a"\nurl = "concat:a|b"', "http or https"),
        ('[[rungs]]\nname = "a"\nfile = "a"\nbitrate_kbps = -5', "> 0"),
        ('[[rungs]]\nname = "a"\nfile = "a"\nbitrate_kbps = nan', "> 0"),
        ('[[rungs]]\nname = "a"\nfile = "a"\nbitrate_kbps = inf', "<= 1000000000"),
        ('[[rungs]]\nname = "a"\nfile = "a"\nheight_px = 720.5', "int"),
        ('[[rungs]]\nname = "a"\nfile = "a.mp4"\n[[rungs]]\nname = "a"\nfile = "b.mp4"', "two rungs are called a"),
        ("[[rungs]", "TOML"),
    ],
)
def test_a_mistake_in_toml_is_refused(text: str, said: str, tmp_path: Path) -> None:
    assert said in refusal(ladders=(toml(tmp_path, text),))


def test_a_huge_toml_is_not_parsed(tmp_path: Path) -> None:
    assert "more than 1 MiB" in refusal(ladders=(toml(tmp_path, "# " + "x" * (1 << 20)),))


def manifest(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.write_text(text)
    return str(path)


def test_a_master_playlist_gives_its_video_renditions(tmp_path: Path) -> None:
    """Once each, whatever sound they are offered with; audio alone and pictures for seeking are none."""
    found = entries_of(ladders=[manifest(tmp_path, "master.m3u8", MASTER)])
    assert found == [
        Entry(
            name="720p/index.m3u8",
            source=str(tmp_path / "720p/index.m3u8"),
            declared_kbps=2000,
            declared_height_px=720,
        ),
        Entry(
            name="480p/index.m3u8", source=str(tmp_path / "480p/index.m3u8"), declared_kbps=900, declared_height_px=480
        ),
    ]


def test_a_reference_keeps_its_query_where_the_file_has_it(tmp_path: Path) -> None:
    """Tools that fetch a presentation name its files either way."""
    text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8?x=1\n#EXT-X-STREAM-INF:BANDWIDTH=2\nb.m3u8?x=1"
    files(tmp_path, "a.m3u8", "b.m3u8?x=1")
    found = entries_of(ladders=[manifest(tmp_path, "m.m3u8", text)])
    assert names(found) == ["a.m3u8", "b.m3u8?x=1"]


def test_a_variant_that_says_nothing_of_its_codecs_is_video(tmp_path: Path) -> None:
    text = "\ufeff#EXTM3U\r\n#EXT-X-STREAM-INF:BANDWIDTH=500000\r\nlow.m3u8\r\n"
    [found] = entries_of(ladders=[manifest(tmp_path, "m.m3u8", text)])
    assert (found.name, found.declared_kbps, found.declared_height_px) == ("low.m3u8", 500, None)


def test_an_mpd_gives_its_video_representations(tmp_path: Path) -> None:
    found = entries_of(ladders=[manifest(tmp_path, "m.mpd", MPD)])
    assert found == [
        Entry(name="hd", source=str(tmp_path / "media/hd.mp4"), declared_kbps=2000, declared_height_px=720),
        Entry(name="sd", source=str(tmp_path / "media/sd.mp4"), declared_kbps=900.5, declared_height_px=480),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("#EXTM3U\n#EXTINF:4,\nseg.ts\n#EXT-X-ENDLIST", "give it as an input"),
        ('#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS="mp4a.40.2"\na.m3u8', "names no video rendition"),
        ("#EXTM3U\n", "names no video rendition"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://x.org/a.m3u8", "may only name files"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n//x.org/a.m3u8", "may only name files"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nfile:///etc/passwd", "may only name files"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nconcat:a|b", "may only name files"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/etc/passwd", "may only name files"),
        ("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttp://[x/a", "no address"),
        (MPD.replace("hd.mp4", "https://x.org/hd.mp4"), "may only name files"),
        (
            MPD.replace('<SegmentBase indexRange="0-99"/>', '<SegmentTemplate media="$Number$.m4s"/>'),
            "'hd' is in segments",
        ),
        (MPD.replace("<Period>", "<Period><SegmentList/>"), "'hd' is in segments"),
        (MPD.replace('<SegmentBase indexRange="0-99"/>', "<ContentProtection/>"), "'hd' is encrypted"),
        (MPD.replace("<BaseURL>hd.mp4</BaseURL>", ""), "'hd' names no file"),
        (MPD.replace("</Period>", "</Period><Period/>"), "has 2 periods"),
        (MPD.replace('id="sd"', 'id="hd"'), "two rungs are called hd"),
        ("<MPD/>", "names no video rendition"),
    ],
)
def test_a_manifest_that_cannot_be_measured_is_refused(text: str, said: str, tmp_path: Path) -> None:
    said_of_it = refusal(ladders=(manifest(tmp_path, "m.m3u8", text),))
    assert said in said_of_it
    assert said_of_it.startswith(("m.m3u8: ", "two rungs"))


BILLION_LAUGHS = """<!DOCTYPE MPD [<!ENTITY a "lol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">
<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;">]><MPD>&c;</MPD>"""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "neither an HLS playlist nor an MPD"),
        (b"hello", "neither an HLS playlist nor an MPD"),
        (b"\xff\xfe\x00", "not text in UTF-8"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=lots\na.m3u8", "not a valid HLS playlist"),
        (b"#EXTM3U\n#EXT-X-STREAM-INF:RESOLUTION=big\na.m3u8", "not a valid HLS playlist"),
        (b"<MPD><Period></MPD>", "not an MPD that may be read"),
        (b"<html/>", "XML but no MPD"),
        (BILLION_LAUGHS.encode(), "not an MPD that may be read"),
        (b'<!DOCTYPE MPD SYSTEM "file:///etc/passwd"><MPD/>', "not an MPD that may be read"),
        (b"<a>" * 100_000, "not an MPD that may be read"),
    ],
)
def test_what_is_no_manifest_is_refused(data: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "m.mpd").write_bytes(data)
    assert said in refusal(ladders=(f"{tmp_path}/m.mpd",), kind=InputError)


def test_a_huge_manifest_is_not_parsed(tmp_path: Path) -> None:
    (tmp_path / "m.m3u8").write_bytes(b"#EXTM3U\n" + b"#" * MAX_MANIFEST_BYTES)
    assert "more than 4 MiB" in refusal(ladders=(f"{tmp_path}/m.m3u8",))


def test_what_never_ends_is_not_read() -> None:
    with pytest.raises(UsageError, match="is no regular file"):
        renditions("/dev/zero")


class Answers(http.server.SimpleHTTPRequestHandler):
    """Files; /moved/ is answered with a redirection."""

    def do_GET(self) -> None:
        if self.path.startswith("/moved/"):
            self.send_response(302)
            self.send_header("Location", self.path.replace("/moved/", "/there/"))
            self.end_headers()
            return
        super().do_GET()

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """(folder, address of a server of its files)."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Answers, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    with contextlib.closing(server.socket):
        yield tmp_path, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_manifest_from_the_web(served: tuple[Path, str]) -> None:
    """References are relative to where it was in the end."""
    folder, address = served
    (folder / "there").mkdir()
    manifest(folder / "there", "m.m3u8", MASTER)
    found = entries_of(ladders=[f"{address}/moved/m.m3u8?token=1"])
    assert [entry.source for entry in found] == [f"{address}/there/{n}/index.m3u8" for n in ("720p", "480p")]
    assert names(found) == ["720p/index.m3u8", "480p/index.m3u8"]


def test_a_manifest_from_the_web_names_no_files(served: tuple[Path, str]) -> None:
    folder, address = served
    for reference in ("file:///etc/passwd", "ftp://x.org/a", "concat:a|b"):
        manifest(folder, "m.m3u8", f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n{reference}")
        assert "may only name http(s)" in refusal(ladders=(f"{address}/m.m3u8",))


def test_a_manifest_that_does_not_come(served: tuple[Path, str]) -> None:
    said = refusal(ladders=(f"{served[1]}/gone.m3u8?token=secret",), kind=InputError)
    assert "cannot be fetched" in said
    assert "secret" not in said
    assert "http or https; fetch it" in refusal(ladders=("rtsp://x.org/a.m3u8",))


def test_the_renditions_of_a_real_playlist_are_measured(
    media: Callable[..., Path], tiny_scorer: Scorer, served: tuple[Path, str]
) -> None:
    """From a file and from the web, the same: each rung by its own playlist."""
    hls = {"f": "hls", "c": "libx264", "hls_time": 1, "hls_list_size": 0, "g": 10}
    low = media("hls-low.m3u8", 2, (128, 72), 10, **hls)
    high = media("hls-high.m3u8", 2, (256, 144), 10, **hls)
    folder, address = served
    for file in low.parent.glob("hls-*"):
        (folder / file.name).write_bytes(file.read_bytes())
    lines = [
        f"#EXT-X-STREAM-INF:BANDWIDTH={rate},RESOLUTION={size}\n{path.name}"
        for path, rate, size in ((high, 300_000, "256x144"), (low, 100_000, "128x72"))
    ]
    master = manifest(folder, "master.m3u8", "\n".join(["#EXTM3U", *lines]))
    local = [probe(entry.source, scorer=tiny_scorer) for entry in entries_of(ladders=[master])]
    remote = [probe(entry.source, scorer=tiny_scorer) for entry in entries_of(ladders=[f"{address}/master.m3u8"])]
    assert [t.source.video.height_px for t in local if t.source.video] == [144, 72]
    assert [t.complete for t in (*local, *remote)] == [True] * 4
    assert [t.pooled for t in local] == [t.pooled for t in remote]
    rates = [t.source.video.bitrate_kbps or 0 for t in (*local, *remote) if t.source.video]
    assert rates[0] > rates[1] > 0
    assert rates[:2] == rates[2:]


def test_the_representations_of_an_mpd_are_measured(
    media: Callable[..., Path], tiny_scorer: Scorer, tmp_path: Path
) -> None:
    path = media("dash-hd.mp4", 1, (256, 144), 10, c="libx264", movflags="+dash+global_sidx")
    (tmp_path / "media").mkdir()
    for name in ("hd", "sd"):
        (tmp_path / "media" / f"{name}.mp4").write_bytes(path.read_bytes())
    tracks = [probe(r.source, scorer=tiny_scorer) for r in renditions(manifest(tmp_path, "m.mpd", MPD))]
    assert [t.complete for t in tracks] == [True, True]
