"""The whole path, with the bundled model on real encodes: the same picture gives the same track however it came."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from qclip_ffmpeg.emit.sidecar import json_schema, to_json
from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.measurement import Measurement, ProbeSettings, probe
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.showing import frame_views_of
from qclip_ffmpeg.track import QualityTrack, SegmentScore
from qclip_ffmpeg.views import Display

pytest_plugins = ["model_fixtures"]

QUICK = ProbeSettings(segment_s=Fraction(2, 5), frames_per_window=1)
SIZE_PX = (320, 180)

replace = msgspec.structs.replace


@pytest.fixture(scope="module")
def short(encode: Callable[..., Path], example_clip: Path) -> Path:
    """One second of the example clip, small, lossless."""
    return encode(example_clip, "probe-short.mp4", t=1, vf="scale=320:180", vcodec="libx264", qp=0, an=None)


def decode_threads() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "decode"]


def no_decode_thread_is_left(within_s: float = 5) -> bool:
    deadline_s = time.monotonic() + within_s
    while decode_threads() and time.monotonic() < deadline_s:
        time.sleep(0.02)
    return not decode_threads()


def measured(track: QualityTrack) -> list[SegmentScore]:
    """What the pictures decide of a track; time stamps are the container's."""
    return [replace(s, start_pts=None, frames=[replace(f, pts=None) for f in s.frames]) for s in track.segments]


def test_the_example_clip_gives_a_complete_valid_track(scorer: Scorer, example_clip: Path) -> None:
    seen: list[int] = []
    track = probe(str(example_clip), scorer=scorer, on_segment=lambda m, s: seen.append(len(m.segments)))
    Draft202012Validator(json_schema()).validate(json.loads(to_json(track)))
    assert track.complete
    assert seen == [1, 2]
    assert [(s.start_s, s.end_s, s.frame_count) for s in track.segments] == [(0, 4, 100), (4, 5.28, 32)]
    assert track.source.name == "bbb-720p.mp4"
    assert track.source.video is not None
    assert (track.source.video.codec, track.source.video.height_px, track.source.duration_s) == ("h264", 720, 5.28)
    assert track.model.status == "trained"
    assert track.model.calibration is not None
    assert track.settings.display_height_px == 1080
    assert track.warnings == []
    for segment in track.segments:
        assert segment.score is not None
        assert 50 < segment.score < 100, "the clip is a fair encode"
        assert 1 <= len(segment.frames) <= track.settings.frames_per_window
        assert all(segment.start_s <= f.time_s < segment.end_s for f in segment.frames)
    assert track.pooled.min == min(s.score for s in track.segments)


def test_two_runs_and_any_threads_give_the_same_bytes(scorer: Scorer, short: Path) -> None:
    settings = ProbeSettings(segment_s=Fraction(1, 2), frames_per_window=2)
    tracks = [
        to_json(probe(str(short), scorer=s, settings=settings, options=InputOptions(threads=threads)))
        for s, threads in [(scorer, 2), (scorer, 2), (Scorer(scorer.model, "cpu", threads=1), 1)]
    ]
    assert tracks[0] == tracks[1] == tracks[2]


RAW = InputOptions(format="rawvideo", size_px=SIZE_PX, frame_rate=Fraction(25), pixel_format="yuv420p")
PIPES = {
    "rawvideo": (["-f", "rawvideo", "-pix_fmt", "yuv420p"], RAW),
    "nut": (["-c:v", "rawvideo", "-f", "nut"], InputOptions()),
    "nut, format said": (["-c:v", "rawvideo", "-f", "nut"], InputOptions(format="nut")),
    "y4m": (["-f", "yuv4mpegpipe"], InputOptions()),
    "matroska": (["-c:v", "ffv1", "-f", "matroska"], InputOptions()),
    "mpegts": (["-c:v", "copy", "-f", "mpegts"], InputOptions()),
}


@pytest.fixture(scope="module")
def track_of_file(scorer: Scorer, short: Path) -> QualityTrack:
    return probe(str(short), scorer=scorer, settings=QUICK)


@pytest.mark.parametrize("kind", PIPES)
def test_a_lossless_pipe_gives_the_files_track(
    kind: str, scorer: Scorer, short: Path, track_of_file: QualityTrack, stdin_from: Callable[..., Any]
) -> None:
    """To the last digit."""
    sent, options = PIPES[kind]
    with stdin_from(["-i", str(short), *sent, "-"]):
        piped = probe("-", scorer=scorer, settings=QUICK, options=options)
    assert len(piped.segments) == 3
    assert measured(piped) == measured(track_of_file)
    assert piped.pooled == track_of_file.pooled
    assert piped.complete
    assert piped.source.name == "-"


def test_the_readmes_pipe_in_a_shell(short: Path, qclip_probe: Callable[..., Any]) -> None:
    """Two processes and a pipe, as people type it; and the same bytes as in this process."""
    sent = ["-i", str(short), "-c:v", "rawvideo", "-f", "nut", "-"]
    arguments = ["-", "--json", "--frames", "1", "-t", "0.4", "--threads", "1"]
    with subprocess.Popen([bundled_executable(), "-v", "error", *sent], stdout=subprocess.PIPE) as ffmpeg:
        done = subprocess.run(
            [sys.executable, "-m", "qclip_ffmpeg.cli.probe", *arguments],
            stdin=ffmpeg.stdout,
            capture_output=True,
            check=False,
        )
        ffmpeg.kill()
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode() == qclip_probe(*arguments, stdin=sent).stdout


def test_scores_fall_as_compression_rises(scorer: Scorer, example_clip: Path, encode: Callable[..., Path]) -> None:
    """One x264 ladder of one content: every step down is a step down."""
    settings = ProbeSettings(segment_s=Fraction(2), frames_per_window=3)
    scores = []
    for crf in (18, 24, 30, 36, 42, 48):
        rung = encode(example_clip, f"probe-crf{crf}.mp4", t=2, vf="scale=640:360", vcodec="libx264", crf=crf, an=None)
        scores.append(probe(str(rung), scorer=scorer, settings=settings).pooled.mean)
    assert scores == sorted(scores, reverse=True)
    assert len(set(scores)) == len(scores)
    assert scores[0] - scores[-1] > 20


def test_segments_are_as_long_as_asked(tiny_scorer: Scorer, example_clip: Path) -> None:
    track = probe(str(example_clip), scorer=tiny_scorer, settings=ProbeSettings(segment_s=Fraction(2)))
    assert [(s.start_s, s.end_s) for s in track.segments] == [(0, 2), (2, 4), (4, 5.28)]
    assert track.settings.segment == "2s"


def test_segments_from_key_frame_to_key_frame(tiny_scorer: Scorer, media: Callable[..., Path]) -> None:
    clip = media(
        "probe-gop.mp4", 5, SIZE_PX, 10, c="libx264", preset="ultrafast", **{"x264-params": "keyint=15:scenecut=0"}
    )
    track = probe(str(clip), scorer=tiny_scorer, settings=ProbeSettings(segment_s="keyframes"))
    assert [(s.start_s, s.end_s) for s in track.segments] == [(0, 1.5), (1.5, 3), (3, 4.5), (4.5, 5)]
    assert track.settings.segment == "keyframes"


@pytest.mark.parametrize(
    ("start_s", "duration_s", "expected"),
    [
        ("1.5", None, [(1.5, 3.5), (3.5, 5)]),
        ("0", "3", [(0, 2), (2, 3)]),
        ("2", "1", [(2, 3)]),
        ("4.9", "100", [(4.9, 5)]),
    ],
)
def test_segments_start_where_asked(
    start_s: str, duration_s: str | None, expected: list[Any], tiny_scorer: Scorer, media: Callable[..., Path]
) -> None:
    clip = media(
        "probe-gop.mp4", 5, SIZE_PX, 10, c="libx264", preset="ultrafast", **{"x264-params": "keyint=15:scenecut=0"}
    )
    options = InputOptions(start_s=Fraction(start_s), duration_s=Fraction(duration_s) if duration_s else None)
    track = probe(str(clip), scorer=tiny_scorer, settings=ProbeSettings(segment_s=Fraction(2)), options=options)
    assert [(s.start_s, s.end_s) for s in track.segments] == expected
    assert track.complete
    assert (track.settings.start_s, track.settings.duration_s) == (
        float(start_s),
        float(duration_s) if duration_s else None,
    )


def test_a_part_scores_as_it_does_in_the_whole(tiny_scorer: Scorer, media: Callable[..., Path]) -> None:
    """-ss 2 -t 2 is the second segment: the same frames, the same digits (its first frame has no motion to know)."""
    clip = media(
        "probe-gop.mp4", 5, SIZE_PX, 10, c="libx264", preset="ultrafast", **{"x264-params": "keyint=15:scenecut=0"}
    )
    settings = ProbeSettings(segment_s=Fraction(2), sampling="uniform")
    whole = probe(str(clip), scorer=tiny_scorer, settings=settings).segments[1]
    options = InputOptions(start_s=Fraction(2), duration_s=Fraction(2))
    [part] = probe(str(clip), scorer=tiny_scorer, settings=settings, options=options).segments
    assert replace(part, index=1, motion=whole.motion) == whole


def test_the_display_is_a_setting_and_another_one_is_warned_of(tiny_scorer: Scorer, short: Path) -> None:
    default, native = (
        probe(str(short), scorer=tiny_scorer, settings=ProbeSettings(display=display))
        for display in (Display(1920, 1080), Display(None, None))
    )
    assert (default.settings.display, default.settings.display_height_px) == ("1920x1080", 1080)
    assert (native.settings.display, native.settings.display_height_px) == ("native", 224)
    assert native.segments[0].score != default.segments[0].score
    [said] = set(native.warnings) - set(default.warnings)
    assert "native" in said


@pytest.mark.parametrize("sampling", ["motion", "uniform", "random", "mixed"])
def test_every_sampling_is_repeatable(sampling: Any, tiny_scorer: Scorer, short: Path) -> None:
    settings = ProbeSettings(Fraction(1), sampling, frames_per_window=3, seed=7)
    first, second = (probe(str(short), scorer=tiny_scorer, settings=settings) for _ in range(2))
    assert first == second
    assert len(first.segments[0].frames) == 3
    assert (first.settings.sampling, first.settings.seed) == (sampling, 7)


def test_a_still_is_one_segment_of_one_frame(tiny_scorer: Scorer, media: Callable[..., Path]) -> None:
    track = probe(str(media("probe-one.png", 1, SIZE_PX, 1, frames="1")), scorer=tiny_scorer)
    [segment] = track.segments
    assert track.complete
    assert segment.score is not None
    assert segment.score_stderr is None
    assert (segment.frame_count, len(segment.frames)) == (1, 1)
    assert "few_frames" in segment.flags
    assert segment.end_s > segment.start_s


@pytest.fixture(scope="module")
def truncated(media: Callable[..., Path]) -> Path:
    """The first half of an mp4 that has its index in front."""
    whole = media("probe-front.mp4", 8, SIZE_PX, 10, c="libx264", movflags="+faststart")
    path = whole.with_name("cut.mp4")
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    return path


def test_what_came_before_the_damage_is_kept(tiny_weights: Path, truncated: Path, qclip_probe: Any) -> None:
    done = qclip_probe(truncated, "--json", "--segment", "2s")
    assert done.code == 1
    track = json.loads(done.stdout)
    assert track["complete"] is False
    assert 1 <= len(track["segments"]) <= 3
    assert all(s["score"] is not None for s in track["segments"])
    assert ["truncated" in s["flags"] for s in track["segments"]][-2:] == [False, True][-len(track["segments"]) :]
    assert track["warnings"][0] in done.stderr
    assert "cut.mp4" in done.stderr
    assert done.stderr.count("\n") == 1


def test_timing_is_only_there_when_asked_for(tiny_scorer: Scorer, short: Path) -> None:
    timed = probe(str(short), scorer=tiny_scorer, timing=True)
    assert set(timed.timing) == {"spent_s", "frames_per_s"}
    assert timed.timing["frames_per_s"] > 0
    assert probe(str(short), scorer=tiny_scorer).timing is msgspec.UNSET


def test_the_decode_thread_ends_with_the_probe(tiny_scorer: Scorer, short: Path) -> None:
    probe(str(short), scorer=tiny_scorer)
    assert not decode_threads()


@pytest.mark.parametrize(("source", "kind"), [("gone.mp4", UsageError), (__file__, InputError)])
def test_the_decode_thread_ends_with_an_error(source: str, kind: type[Exception], tiny_scorer: Scorer) -> None:
    with pytest.raises(kind):
        probe(source, scorer=tiny_scorer)
    assert not decode_threads()


def test_the_decode_thread_ends_when_a_caller_fails(tiny_scorer: Scorer, media: Callable[..., Path]) -> None:
    """And the caller's exception comes through; long input is not read to its end."""
    clip = media("probe-long.mp4", 60, SIZE_PX, 10, c="libx264", preset="ultrafast")

    def fail(measurement: Measurement, segment: SegmentScore) -> None:
        raise RuntimeError("the caller broke")

    began_s = time.monotonic()
    with pytest.raises(RuntimeError, match="the caller broke"):
        probe(str(clip), scorer=tiny_scorer, settings=ProbeSettings(segment_s=Fraction(1)), on_segment=fail)
    assert no_decode_thread_is_left()
    assert time.monotonic() - began_s < 5


def test_decoding_does_not_run_away_from_scoring(
    tiny_scorer: Scorer, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow scorer slows the decoder: only a few windows are decoded ahead, so memory does not grow."""
    clip = media("probe-long.mp4", 60, SIZE_PX, 10, c="libx264", preset="ultrafast")
    made: list[int] = []
    ahead: list[int] = []

    def counted(*arguments: Any) -> Any:
        made.append(1)
        return frame_views_of(*arguments)

    def slow(measurement: Measurement, segment: SegmentScore) -> None:
        time.sleep(0.02)
        ahead.append(len(made) - segment.index)

    monkeypatch.setattr("qclip_ffmpeg.showing.frame_views_of", counted)
    probe(str(clip), scorer=tiny_scorer, settings=ProbeSettings(segment_s=Fraction(1)), on_segment=slow)
    assert len(ahead) == 60
    assert max(ahead) <= 2 + 2 + 2  # queue, scorer, one in each hand


INTERRUPTIBLE = """
import signal, sys
from qclip_ffmpeg.cli import console, probe
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits it ignored
update = console.ProbeProgress.update
def announced(self, *arguments):
    update(self, *arguments)
    print("scored", file=sys.stderr, flush=True)
console.ProbeProgress.update = announced
probe.main()
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_ctrl_c_keeps_what_was_measured() -> None:
    """An endless live input, stopped after its first segment: valid JSON, complete false, exit 130."""
    endless = ["-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=10", "-c:v", "rawvideo", "-f", "nut", "-"]
    ffmpeg = subprocess.Popen([bundled_executable(), "-v", "error", *endless], stdout=subprocess.PIPE)
    probing = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTIBLE, "-", "--json", "--segment", "0.5", "--frames", "1"],
        stdin=ffmpeg.stdout,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert ffmpeg.stdout is not None
    assert probing.stderr is not None
    ffmpeg.stdout.close()  # the probe alone holds it, so that ffmpeg ends with the probe
    impatience = threading.Timer(120, probing.kill)
    impatience.start()
    try:
        assert probing.stderr.readline() == b"scored\n"
        probing.send_signal(signal.SIGINT)
        stdout, stderr = probing.communicate()
    finally:
        impatience.cancel()
        probing.kill()
        ffmpeg.kill()
        probing.communicate()
        ffmpeg.wait()
    assert probing.returncode == 130
    assert b"Traceback" not in stderr
    track = json.loads(stdout)
    Draft202012Validator(json_schema()).validate(track)
    assert track["complete"] is False
    assert "interrupted" in track["warnings"][0]
    assert len(track["segments"]) >= 1


PEAK_MEMORY = """
import resource, sys
from qclip_ffmpeg.measurement import ProbeSettings, probe
peaks_kb = []
note = lambda *_: peaks_kb.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
probe(sys.argv[1], settings=ProbeSettings(frames_per_window=1), on_segment=note)
print(len(peaks_kb), peaks_kb[len(peaks_kb) // 4], peaks_kb[-1])
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_length(media: Callable[..., Path]) -> None:
    """Ten minutes take no more than their first quarter did; a frame is 0.7 MB as R'G'B', there are 6000."""
    clip = media("probe-600s.mp4", 600, (640, 360), 10, c="libx264", preset="ultrafast")
    done = subprocess.run([sys.executable, "-c", PEAK_MEMORY, str(clip)], capture_output=True, check=True)
    segments, early_kb, last_kb = map(int, done.stdout.split())
    assert segments == 150
    assert last_kb - early_kb < 40_000
