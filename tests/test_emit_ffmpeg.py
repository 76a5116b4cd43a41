"""The text formats as FFmpeg reads them: lavfi, FFMETADATA, WebVTT, ASS, filtergraph, against the real program."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from tiny_track import tiny_track

from qclip_ffmpeg.contents import contents
from qclip_ffmpeg.emit.ffmetadata import global_tags
from qclip_ffmpeg.emit.figures import segment_figures
from qclip_ffmpeg.emit.registry import FORMATS
from qclip_ffmpeg.emit.sidecar import to_json
from qclip_ffmpeg.ffmpeg import bundled_executable

FRAME = re.compile(r"frame:(\d+)\s+pts:(-?\d+)\s+pts_time:(-?[0-9.]+)")
PAIR = re.compile(r"(lavfi\.[\w.]+)=(.*)")


def ffmpeg(*arguments: str | Path) -> bytes:
    """What ffmpeg writes to standard output."""
    command = [bundled_executable(), "-v", "error", "-nostdin", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, check=True).stdout


def printed(text: str) -> list[tuple[tuple[str, ...], dict[str, str]]]:
    """The output of metadata=print: (frame, pts, pts_time) and pairs of each block; no line is anything else."""
    blocks: list[tuple[tuple[str, ...], dict[str, str]]] = []
    for line in text.splitlines():
        if frame := FRAME.fullmatch(line):
            blocks.append((frame.groups(), {}))
        else:
            pair = PAIR.fullmatch(line)
            assert pair, line
            blocks[-1][1][pair[1]] = pair[2]
    return blocks


@pytest.fixture
def clip(media: Callable[..., Path]) -> Path:
    """30 frames in 1.2 s, as the tiny track says; time base 1/12800."""
    return media("emit.mp4", 1.2, (192, 108), c="libx264", preset="ultrafast")


def test_lavfi_is_what_metadata_print_prints(clip: Path) -> None:
    """One parser reads both, and the lines of our segments' first frames are those that FFmpeg prints for them."""
    theirs_text = ffmpeg("-i", clip, "-vf", "signalstats,metadata=mode=print:file=-", "-f", "null", "-").decode()
    ours_text = FORMATS["lavfi"].one(tiny_track()).decode()
    theirs, ours = printed(theirs_text), printed(ours_text)
    assert len(theirs) == 30
    assert [frame for frame, _ in ours] == [theirs[number][0] for number in (0, 10, 20)]
    assert {line for line in ours_text.splitlines() if line.startswith("frame:")} <= set(theirs_text.splitlines())
    assert ours[1][1]["lavfi.qclip.score"] == "12.5"
    assert ours[1][1]["lavfi.qclip.flags"] == "few_frames low_motion"
    assert "lavfi.qclip.score" not in ours[2][1]


def test_the_filtergraph_puts_the_scores_on_the_frames(clip: Path) -> None:
    """Each frame gets the figures of its segment, and a frame on a boundary those of the segment it begins."""
    chain = FORMATS["filtergraph"].one(tiny_track()).decode()
    text = ffmpeg("-i", clip, "-vf", chain.rstrip() + ",metadata=mode=print:file=-", "-f", "null", "-").decode()
    blocks = printed(text)
    expected = [
        {f"lavfi.qclip.{key}": figures[key] for key in ("score", "score_stderr", "flags") if key in figures}
        for segment in tiny_track().segments
        for figures in [segment_figures(segment)] * segment.frame_count
    ]
    assert [pairs for _, pairs in blocks] == expected


def test_a_filtergraph_of_nothing_is_a_filtergraph(clip: Path) -> None:
    nothing = msgspec.structs.replace(tiny_track(), segments=[])
    chain = FORMATS["filtergraph"].one(nothing).decode().rstrip()
    assert ffmpeg("-i", clip, "-vf", chain, "-frames:v", "1", "-f", "framemd5", "-") == ffmpeg(
        "-i", clip, "-frames:v", "1", "-f", "framemd5", "-"
    )


@pytest.mark.parametrize("model", ["tiny", "a=b;c#d\\e\n[CHAPTER]\nmine 最终"])
def test_ffmetadata_is_read_back_as_it_was_meant(model: str, clip: Path, tmp_path: Path) -> None:
    track = tiny_track()
    track = msgspec.structs.replace(track, model=msgspec.structs.replace(track.model, id=model))
    (tmp_path / "t.ffmeta").write_bytes(FORMATS["ffmetadata"].one(track))
    ffmpeg("-i", clip, "-i", tmp_path / "t.ffmeta", "-map", "0", "-c", "copy", "-map_metadata", "1", tmp_path / "t.nut")
    found = contents(tmp_path / "t.nut")
    assert found.tags.items() >= global_tags(track).items()
    assert found.tags["QCLIP_MODEL"] == model
    assert [(float(c.start_s), float(c.end_s)) for c in found.chapters] == [(0, 0.4), (0.4, 0.8), (0.8, 1.2)]
    assert [c.tags.get("QCLIP_SCORE") for c in found.chapters] == ["67.876", "12.5", None]


def test_webvtt_goes_through_ffmpeg_unchanged(tmp_path: Path) -> None:
    track = tiny_track()
    path = tmp_path / "t.vtt"
    path.write_bytes(FORMATS["webvtt"].one(track))
    text = ffmpeg("-i", path, "-c", "copy", "-f", "webvtt", "-").decode()
    cues = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    assert cues == json.loads(to_json(track))["segments"]
    assert re.findall(r"(\S+) --> (\S+)", text) == [
        ("00:00.000", "00:00.400"),
        ("00:00.400", "00:00.800"),
        ("00:00.800", "00:01.200"),
    ]


def test_the_overlay_is_drawn(clip: Path, tmp_path: Path) -> None:
    """libass draws on every frame; the bars alone, without any font, are another length in each segment."""
    path = tmp_path / "t.ass"
    path.write_bytes(FORMATS["ass"].one(tiny_track()))
    raw = ("-f", "rawvideo", "-pix_fmt", "gray", "-")
    plain = ffmpeg("-f", "lavfi", "-i", "color=black:s=960x540:r=25:d=1.2", *raw)
    drawn = ffmpeg("-f", "lavfi", "-i", "color=black:s=960x540:r=25:d=1.2", "-vf", f"ass={path}", *raw)
    size = 960 * 540
    assert len(plain) == len(drawn) == 30 * size
    frames = [drawn[n * size : (n + 1) * size] for n in range(30)]
    assert all(frame != plain[:size] for frame in frames)
    assert frames[0] == frames[9] != frames[10] == frames[19] != frames[20]
    bar = [frame[62 * 960 + 20 : 62 * 960 + 240] for frame in frames]  # a line through it: y = 62, x = 20 to 240
    assert sum(v == bar[0][5] for v in bar[0]) > sum(v == bar[10][5] for v in bar[10]) > 0
