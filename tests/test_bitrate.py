"""The bitrate of a track: the bytes of the frames that were measured, whatever was read ahead, over their time."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
from tiny_track import VIDEO, tiny_segment, tiny_track

from qclip_ffmpeg.bitrate import CodedBytes, bitrate_kbps
from qclip_ffmpeg.measurement import ProbeSettings, probe
from qclip_ffmpeg.reader import InputOptions, open_video
from qclip_ffmpeg.scorer import Scorer

pytest_plugins = ["model_fixtures"]

RECIPES: dict[str, dict[str, Any]] = {
    "h264.mp4": {"c": "libx264", "bf": 3},
    "h264.ts": {"c": "libx264", "bf": 3},
    "h264.avi": {"c": "libx264", "bf": 3},
    "h264.h264": {"c": "libx264", "bf": 3},
    "fields.ts": {"c": "libx264", "flags": "+ildct+ilme"},
    "hevc.mkv": {"c": "libx265", "x265-params": "log-level=error"},
    "vp8.webm": {"c": "libvpx", "auto-alt-ref": 1, "lag-in-frames": 16, "b:v": "200k"},
    "vp9.webm": {"c": "libvpx-vp9", "b:v": "200k"},
    "mpeg2.mpg": {"c": "mpeg2video", "bf": 2},
    "mpeg4.avi": {"c": "mpeg4", "bf": 2},
    "intra.mov": {"c": "prores"},
}
LENGTH_S = 3
HALF_S = ProbeSettings(segment_s=Fraction(1, 2), frames_per_window=1)


@pytest.fixture(params=RECIPES)
def encoded(request: pytest.FixtureRequest, media: Callable[..., Path]) -> Path:
    """3 s at 25 Hz in some codec and container, with key frames a second apart."""
    name = request.param
    return media(f"rate-{name}", LENGTH_S, (192, 108), 25, g=25, **RECIPES[name])


def packets(path: Path) -> list[tuple[int | None, int]]:
    """(pts, bytes) of every video packet, as FFmpeg's demuxer gives them."""
    with av.open(str(path)) as container:
        return [(p.pts, p.size) for p in container.demux(video=0) if p.size]


def kbps(source: Path | str, scorer: Scorer, **options: Any) -> float | None:
    track = probe(str(source), scorer=scorer, settings=HALF_S, options=InputOptions(**options))
    assert track.source.video is not None
    return track.source.video.bitrate_kbps


def test_the_whole_file_is_the_sum_of_its_packets(encoded: Path, tiny_scorer: Scorer) -> None:
    """Altogether: B-frames, alternate references that are never shown, fields, streams without time stamps."""
    total = sum(size for _, size in packets(encoded))
    assert kbps(encoded, tiny_scorer) == pytest.approx(8 * total / LENGTH_S / 1000, abs=5e-4)


@pytest.mark.parametrize("span_s", [(Fraction(0), Fraction(1)), (Fraction(1), Fraction(1)), (Fraction(8, 5), None)])
def test_a_part_is_the_sum_of_the_packets_of_its_frames(
    span_s: tuple[Fraction, Fraction | None], media: Callable[..., Path], tiny_scorer: Scorer
) -> None:
    """Though the decoder took in more than that, and frames before it were decoded to get there."""
    path = media("rate-h264.mp4", LENGTH_S, (192, 108), 25, g=25, **RECIPES["h264.mp4"])
    start_s, duration_s = span_s
    end_s = LENGTH_S if duration_s is None else start_s + duration_s
    with av.open(str(path)) as container:
        unit_s = container.streams.video[0].time_base
        assert unit_s is not None
    inside = [size for pts, size in packets(path) if pts is not None and start_s <= pts * unit_s < end_s]
    assert len(inside) == 25 * (end_s - start_s)
    expected = 8 * sum(inside) / float(end_s - start_s) / 1000
    measured = kbps(path, tiny_scorer, start_s=start_s, duration_s=duration_s)
    assert measured == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("span_s", [(0, None), (0, 1), (1, 1)])
def test_threads_of_the_decoder_do_not_change_it(
    span_s: tuple[int, int | None], encoded: Path, tiny_scorer: Scorer
) -> None:
    start_s, length_s = Fraction(span_s[0]), None if span_s[1] is None else Fraction(span_s[1])
    found = {kbps(encoded, tiny_scorer, threads=n, start_s=start_s, duration_s=length_s) for n in (1, 2, 8)}
    assert len(found) == 1


@pytest.mark.parametrize("name", ["h264.ts", "hevc.mkv", "vp8.webm"])
@pytest.mark.parametrize("start_s", [0, 1])
def test_a_pipe_gives_the_rate_of_the_file(
    name: str, start_s: int, media: Callable[..., Path], tiny_scorer: Scorer, stdin_from: Callable[..., Any]
) -> None:
    """The file is searched for its start, the pipe is decoded up to it."""
    path = media(f"rate-{name}", LENGTH_S, (192, 108), 25, g=25, **RECIPES[name])
    of_file = kbps(path, tiny_scorer, start_s=Fraction(start_s))
    with stdin_from(path):
        assert kbps("-", tiny_scorer, start_s=Fraction(start_s)) == of_file
    assert of_file is not None


def test_raw_video_has_none(media: Callable[..., Path], tiny_scorer: Scorer, stdin_from: Callable[..., Any]) -> None:
    path = media("rate-h264.mp4", LENGTH_S, (192, 108), 25, g=25, **RECIPES["h264.mp4"])
    with stdin_from(["-i", str(path), "-c:v", "rawvideo", "-f", "nut", "-"]):
        assert kbps("-", tiny_scorer) is None
    assert kbps(media("rate.y4m", 1, (64, 36)), tiny_scorer) is None
    assert kbps(media("rate-v210.mov", 1, (64, 36), c="v210"), tiny_scorer) is None


def test_a_picture_has_none(media: Callable[..., Path], tiny_scorer: Scorer) -> None:
    assert kbps(media("rate.png", 1, (64, 36), 1, **{"frames:v": 1}), tiny_scorer) is None


def test_every_byte_belongs_to_one_frame(encoded: Path) -> None:
    with open_video(str(encoded)) as video:
        sizes = [frame.coded_bytes for frame in video]
    assert len(sizes) == 25 * LENGTH_S
    assert sum(sizes) == sum(size for _, size in packets(encoded))
    assert min(sizes) > 0


def test_a_segment_that_was_dropped_counts_with_its_bytes(tiny_scorer: Scorer, media: Callable[..., Path]) -> None:
    """Its time is in the track, so its bytes must be."""
    path = media("rate-h264.mp4", LENGTH_S, (192, 108), 25, g=25, **RECIPES["h264.mp4"])
    settings = ProbeSettings(segment_s=Fraction(1, 10), frames_per_window=1, drop=True)
    track = probe(str(path), scorer=tiny_scorer, settings=settings)
    assert track.source.video is not None
    assert track.source.video.bitrate_kbps == pytest.approx(8 * sum(s for _, s in packets(path)) / 3000, abs=5e-4)


def test_packets_that_are_never_shown_go_with_the_picture_after_them() -> None:
    coded = CodedBytes()
    for pts, size in [(0, 100), (39, 50), (40, 10), (80, 20)]:
        coded.add(pts, size)
    assert [coded.take(pts) for pts in (0, 40, 80)] == [100, 60, 20]


def test_what_cannot_be_decoded_before_the_first_picture_is_nobodys() -> None:
    """After a jump to a key frame: pictures shown before it lean on what was not read."""
    coded = CodedBytes()
    for pts, size in [(120, 100), (40, 7), (80, 7), (160, 30)]:
        coded.add(pts, size)
    assert [coded.take(pts) for pts in (120, 160)] == [100, 30]


def test_a_packet_without_a_stamp_goes_with_the_one_before_it() -> None:
    coded = CodedBytes()
    for pts, size in [(0, 100), (None, 90), (40, 10), (None, 9)]:
        coded.add(pts, size)
    assert [coded.take(pts) for pts in (0, 40)] == [190, 19]


def test_no_time_no_rate() -> None:
    segments = tiny_track().segments
    assert bitrate_kbps(VIDEO, 150_000, segments) == 1000
    assert bitrate_kbps(VIDEO, 150_000, []) is None
    assert bitrate_kbps(VIDEO, 0, segments) is None
    assert bitrate_kbps(VIDEO, 1000, [tiny_segment(0, length_s=0.04)]) is None
