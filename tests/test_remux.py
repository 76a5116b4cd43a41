"""--write-metadata's copy: scores are in it, and everything that was in the source, to the last frame."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest
from tiny_track import tiny_track

from qclip_ffmpeg.contents import Contents, contents, covers
from qclip_ffmpeg.emit import remux
from qclip_ffmpeg.emit.ffmetadata import chapter_title, global_tags
from qclip_ffmpeg.emit.remux import check_metadata_target, write_metadata
from qclip_ffmpeg.emit.sidecar import to_json
from qclip_ffmpeg.errors import InputError, OutputError, UsageError
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.track import QualityTrack

PICTURES = "testsrc2=size=192x108:rate=25:duration=1.2"
TONE = "sine=sample_rate=48000:duration=1.2"
SUBTITLES = "1\n00:00:00,200 --> 00:00:01,000\nHello <i>you</i>\n"
CHAPTERS = """;FFMETADATA1
title=A film
[CHAPTER]
TIMEBASE=1/1000
START=0
END=700
title=Opening
[CHAPTER]
TIMEBASE=1/1000
START=700
END=1200
title=Ending
"""
H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-c:a", "aac")


@pytest.fixture(autouse=True)
def the_bundled_ffmpeg(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same program on every machine."""
    monkeypatch.setattr(remux.ffmpeg, "executable", bundled_executable)


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """make("name.ext", *ffmpeg_options, inputs=[...]) -> Path: 30 frames and a tone, made once a name."""
    folder = tmp_path_factory.mktemp("remux")
    (folder / "s.srt").write_text(SUBTITLES)
    (folder / "c.txt").write_text(CHAPTERS)
    (folder / "font.ttf").write_bytes(bytes(range(256)) * 4)

    def made(name: str, *options: str, inputs: tuple[str, ...] = ()) -> Path:
        path = folder / name
        if not path.exists():
            sources = ("-f", "lavfi", "-i", PICTURES, "-f", "lavfi", "-i", TONE, *inputs)
            ffmpeg(*sources, *options, path, cwd=folder)
        return path

    return made


def ffmpeg(*arguments: str | Path, cwd: Path | None = None) -> bytes:
    command = [bundled_executable(), "-v", "error", "-nostdin", "-y", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True, cwd=cwd).stdout


@pytest.fixture
def mp4(make: Callable[..., Path]) -> Path:
    """H.264 and AAC, which starts before 0, with a language, a title and a time of creation; on its side."""
    tags = ("-metadata", "title=A film", "-metadata", "creation_time=2024-05-06T07:08:09.000000Z")
    upright = make("upright.mp4", *H264, "-metadata:s:a", "language=deu", *tags)
    turned = upright.with_name("turned.mp4")
    if not turned.exists():
        ffmpeg("-display_rotation", "90", "-i", upright, "-map_metadata", "0", "-c", "copy", turned)
        assert "creation_time" in contents(turned).tags
    return turned


def mkv_of(make: Callable[..., Path], name: str, *options: str) -> Path:
    """HEVC, Opus, forced French subtitles and a font."""
    return make(
        name,
        *("-map", "0", "-map", "1", "-map", "2", "-c:v", "libx265", "-x265-params", "log-level=none"),
        *("-preset", "ultrafast", "-c:a", "libopus", "-c:s", "copy", "-disposition:s:0", "forced"),
        *("-metadata:s:s:0", "language=fra", "-metadata:s:a:0", "title=Commentary", "-attach", "font.ttf"),
        *("-metadata:s:t", "mimetype=application/x-truetype-font", *options),
        inputs=("-i", "s.srt", "-i", "c.txt"),
    )


@pytest.fixture
def mkv(make: Callable[..., Path]) -> Path:
    return mkv_of(make, "plain.mkv", "-map_chapters", "-1")


@pytest.fixture
def mkv_with_chapters(make: Callable[..., Path]) -> Path:
    return mkv_of(make, "chapters.mkv", "-map_metadata", "3")


@pytest.fixture
def mov(make: Callable[..., Path]) -> Path:
    """ProRes and PCM with a track of time codes."""
    return make("pro.mov", "-c:v", "prores", "-profile:v", "0", "-c:a", "pcm_s16le", "-timecode", "01:02:03:04")


@pytest.fixture
def webm(make: Callable[..., Path]) -> Path:
    return make("web.webm", "-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus")


@pytest.fixture
def nut(make: Callable[..., Path]) -> Path:
    return make("pipe.nut", "-c:v", "libx264", "-preset", "ultrafast", "-c:a", "pcm_s16le", "-metadata", "title=A film")


def frames(path: Path, streams: int) -> bytes:
    """Time stamps and hashes of every decoded picture and sound, and of every packet of the other streams."""
    maps = [part for index in range(streams) for part in ("-map", f"0:{index}")]
    return ffmpeg("-i", path, *maps, "-c:s", "copy", "-c:d", "copy", "-f", "framehash", "-")


def flowing(held: Contents) -> int:
    """Streams with packets; attachments come last."""
    return sum(stream.kind != "attachment" for stream in held.streams)


def is_copy(source: Path, copy: Path) -> None:
    """Every stream with all its properties, every tag, and every frame at its time."""
    before, after = contents(source), contents(copy)
    count = flowing(before)
    assert after.streams[:count] == before.streams[:count]
    assert [s for s in after.streams if s.kind == "attachment"] == [s for s in before.streams if s.kind == "attachment"]
    assert {k: v for k, v in after.tags.items() if not k.startswith("QCLIP_") and k.lower() != "encoder"} == {
        k: v for k, v in before.tags.items() if k.lower() != "encoder"
    }
    assert frames(copy, count) == frames(source, count)


def rotated(track: QualityTrack) -> QualityTrack:
    """The track of a video that stands on its side, as the reader says it."""
    video = msgspec.structs.replace(track.source.video, rotation_deg=90)  # type: ignore[type-var]
    return msgspec.structs.replace(track, source=msgspec.structs.replace(track.source, video=video))


def cues(path: Path) -> list[Any]:
    """The JSON of the last subtitle stream's cues, as ffmpeg extracts them."""
    place = sum(stream.kind == "subtitle" for stream in contents(path).streams) - 1
    text = ffmpeg("-i", path, "-map", f"0:s:{place}", "-c", "copy", "-f", "webvtt", "-").decode()
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("kind", ["mp4", "mov", "mkv", "webm", "nut"])
def test_a_copy_has_the_scores_and_all_of_the_source(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    source: Path = request.getfixturevalue(kind)
    before = source.read_bytes()
    track = rotated(tiny_track()) if kind == "mp4" else tiny_track()
    out = tmp_path / f"out.{kind}"
    write_metadata(source, track, out)
    is_copy(source, out)
    found = contents(out)
    assert found.tags.items() >= global_tags(track).items()
    assert [c.title for c in found.chapters] == [chapter_title(s) for s in track.segments]
    assert [(float(c.start_s), float(c.end_s)) for c in found.chapters] == [(0, 0.4), (0.4, 0.8), (0.8, 1.2)]
    if kind in ("mkv", "nut"):
        assert [c.tags.get("QCLIP_SCORE") for c in found.chapters] == ["67.876", "12.5", None]
    if kind in ("mkv", "webm"):
        assert cues(out) == json.loads(to_json(track))["segments"]
        assert "default" not in next(s for s in found.streams if s.codec == "webvtt").dispositions
    assert source.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [out.name]


def test_ffmpeg_reads_the_tags_back(mp4: Path, tmp_path: Path) -> None:
    """The program itself, not the library: rotation, language, tags and chapters."""
    write_metadata(mp4, rotated(tiny_track()), tmp_path / "out.mp4")
    text = ffmpeg("-i", tmp_path / "out.mp4", "-f", "ffmetadata", "-").decode()
    assert "QCLIP_MEAN=40.188\n" in text
    assert "title=qclip 12.5 few_frames low_motion\n" in text
    listing = subprocess.run([bundled_executable(), "-i", tmp_path / "out.mp4"], capture_output=True, check=False)
    assert b"Display Matrix: rotation of 90.00 degrees" in listing.stderr
    assert b"(deu): Audio: aac" in listing.stderr


def test_attachments_are_the_same_bytes(mkv: Path, tmp_path: Path) -> None:
    write_metadata(mkv, tiny_track(), tmp_path / "out.mkv")
    with av.open(str(tmp_path / "out.mkv")) as container:
        [font] = [stream for stream in container.streams if stream.type == "attachment"]
        assert font.metadata["filename"] == "font.ttf"
        assert font.data == bytes(range(256)) * 4


def test_time_codes_are_kept(mov: Path, tmp_path: Path) -> None:
    write_metadata(mov, tiny_track(), tmp_path / "out.mov")
    with av.open(str(tmp_path / "out.mov")) as container:
        assert container.streams.video[0].metadata["timecode"] == "01:02:03:04"


def test_chapters_of_the_source_stay_and_ours_are_cues(mkv_with_chapters: Path, tmp_path: Path) -> None:
    track = tiny_track()
    write_metadata(mkv_with_chapters, track, tmp_path / "out.mkv")
    is_copy(mkv_with_chapters, tmp_path / "out.mkv")
    assert contents(tmp_path / "out.mkv").chapters == contents(mkv_with_chapters).chapters
    assert cues(tmp_path / "out.mkv") == json.loads(to_json(track))["segments"]


@pytest.mark.parametrize("kind", ["mkv", "mov", "webm"])
def test_scores_of_an_earlier_copy_are_replaced(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """A copy of a copy is the copy: no tag, chapter or track of the older track is left."""
    source: Path = request.getfixturevalue(kind)
    older = tiny_track(2)
    older = msgspec.structs.replace(older, model=msgspec.structs.replace(older.model, id="old", calibration="old"))
    first, second, direct = (tmp_path / f"{name}.{kind}" for name in ("first", "second", "direct"))
    write_metadata(source, older, first)
    assert contents(first).tags["QCLIP_CALIBRATION"] == "old"
    write_metadata(first, tiny_track(), second)
    write_metadata(source, tiny_track(), direct)
    assert contents(second) == contents(direct)
    is_copy(source, second)


def test_times_are_on_the_clock_of_the_copy(make: Callable[..., Path], tmp_path: Path) -> None:
    """An mpegts starts at 1.4 s: chapters and cues begin with the first picture all the same."""
    source = make("late.ts", *H264)
    with av.open(str(source)) as container:
        start_s = container.streams.video[0].start_time * float(container.streams.video[0].time_base)
    assert start_s > 1
    write_metadata(source, tiny_track(start_s=start_s), tmp_path / "out.mkv")
    assert float(contents(tmp_path / "out.mkv").chapters[1].start_s) == pytest.approx(start_s + 0.4, abs=0.001)
    text = ffmpeg("-i", tmp_path / "out.mkv", "-copyts", "-map", "0:s", "-c", "copy", "-f", "webvtt", "-").decode()
    assert f"00:{start_s + 0.4:06.3f} --> " in text


def test_mp4_to_mkv(mp4: Path, tmp_path: Path) -> None:
    """Another container: the same pictures and sounds, and the brands of the mp4 are not among the tags."""
    write_metadata(mp4, rotated(tiny_track()), tmp_path / "out.mkv")
    hashes = [
        [line.split(b",")[-1] for line in frames(path, 2).splitlines() if not line.startswith(b"#")]
        for path in (mp4, tmp_path / "out.mkv")
    ]
    assert hashes[0] == hashes[1]
    assert not {"MAJOR_BRAND", "COMPATIBLE_BRANDS"} & contents(tmp_path / "out.mkv").tags.keys()


@pytest.mark.parametrize("name", ["out.ts", "out.avi", "out.mka", "out", "out.flv"])
def test_containers_that_would_lose_it_are_named(name: str, mp4: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"is no container that keeps tags and chapters; write one of \.mkv"):
        check_metadata_target(mp4, tmp_path / name)


def test_an_mp4_has_no_place_for_two_kinds_of_chapters(mkv_with_chapters: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"chapters of its own.*write an \.mkv"):
        write_metadata(mkv_with_chapters, tiny_track(), tmp_path / "out.mp4")


@pytest.fixture
def covered(mp4: Path, make: Callable[..., Path]) -> Path:
    """An mp4 with a cover."""
    picture, path = make("cover.png", "-frames:v", "1"), mp4.with_name("covered.mp4")
    ffmpeg("-i", mp4, "-i", picture, "-map", "0", "-map", "1", "-c", "copy", "-disposition:v:1", "attached_pic", path)
    return path


def test_a_cover_becomes_an_attachment_and_stays_one(covered: Path, tmp_path: Path) -> None:
    """ffmpeg alone would make a video of it. The second copy is from Matroska to Matroska."""
    write_metadata(covered, rotated(tiny_track()), tmp_path / "first.mkv")
    write_metadata(tmp_path / "first.mkv", rotated(tiny_track()), tmp_path / "second.mkv")
    for name in ("first.mkv", "second.mkv"):
        [cover] = covers(tmp_path / name)
        assert (cover.name, cover.mimetype) == ("cover.png", "image/png")
        assert cover.data == covered.with_name("cover.png").read_bytes()
        assert sum(s.kind == "video" for s in contents(tmp_path / name).streams) == 2


def test_a_cover_is_not_lost(covered: Path, tmp_path: Path) -> None:
    """mp4 has covers among the tags that custom tags replace."""
    for suffix in (".mp4", ".webm", ".nut"):
        with pytest.raises(UsageError, match=r"cannot hold the cover of .*write an \.mkv"):
            check_metadata_target(covered, tmp_path / f"out{suffix}")


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("mkv", "out.mp4", "ffmpeg could not write it .*codec not currently supported in container"),
        ("mov", "out.webm", "ffmpeg could not write it .*Only VP8 or VP9 or AV1"),
        ("mp4", "out.nut", "ffmpeg could not write it .*Negative pts"),
        ("webm_turned", "out.nut", "would lack its rotation"),
        ("mkv_titled", "out.mp4", r"would lack its aac audio stream \(default, comment\)"),
    ],
)
def test_what_a_container_cannot_hold_is_found(
    kind: str, name: str, said: str, make: Callable[..., Path], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    track = rotated(tiny_track())
    if kind == "webm_turned":
        source = tmp_path / "turned.webm"
        ffmpeg("-display_rotation", "90", "-i", request.getfixturevalue("webm"), "-an", "-c", "copy", source)
    elif kind == "mkv_titled":
        source = make("titled.mkv", *H264, "-metadata:s:a", "title=Commentary", "-disposition:a", "comment+default")
        track = tiny_track()
    else:
        source = request.getfixturevalue(kind)
    before = source.read_bytes()
    out = tmp_path / name
    out.write_bytes(b"what was there")
    with pytest.raises(OutputError, match=said) as raised:
        write_metadata(source, track, out)
    assert "\n" not in str(raised.value)
    assert out.read_bytes() == b"what was there"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]
    assert source.read_bytes() == before


def test_what_is_no_media_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("Not a video.")
    with pytest.raises(InputError, match=r"notes\.mp4: cannot be read"):
        check_metadata_target(tmp_path / "notes.mp4", tmp_path / "out.mkv")
