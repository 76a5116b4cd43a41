"""qclip-probe in the middle of a pipe and on what is still being written: --tee, --live, --drop. On the tiny model."""

import hashlib
import itertools
import json
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from jsonschema import Draft202012Validator
from probe_process import PROBE, lines_of, wait_for_lines

from qclip_ffmpeg.emit import ndjson
from qclip_ffmpeg.emit.sidecar import from_json, json_schema, to_json
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.measurement import ProbeSettings, probe
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.track import SegmentScore, pool

pytest_plugins = ["model_fixtures"]

Command = Callable[..., Any]
SIZE = (320, 180)
RAW = ("-f", "rawvideo", "-s", "320x180", "-r", "25", "-pix_fmt", "yuv420p")
FRAME_BYTES = 320 * 180 * 3 // 2


@pytest.fixture
def raw(media: Callable[..., Path]) -> Path:
    """24 s of raw frames, 52 MB."""
    return media("taps.yuv", 24, SIZE, f="rawvideo", pix_fmt="yuv420p")


@pytest.fixture
def ts(media: Callable[..., Path]) -> Path:
    """4 s of mpegts, a key frame each half second."""
    return media("taps.ts", 4, SIZE, c="libx264", preset="ultrafast", g=12)


@contextmanager
def standard_output(path: Path) -> Iterator[None]:
    """File descriptor 1 is a file."""
    before = os.dup(1)
    try:
        with path.open("wb") as file:
            os.dup2(file.fileno(), 1)
        yield
    finally:
        os.dup2(before, 1)
        os.close(before)


@pytest.fixture
def teed(qclip: Command, tmp_path: Path) -> Callable[..., tuple[Any, bytes]]:
    """teed(*arguments, stdin=path) -> how `qclip-probe - --tee` ended, and what it passed on."""

    def run(*arguments: str | Path, stdin: Path) -> tuple[Any, bytes]:
        with standard_output(tmp_path / "passed on"):
            done = qclip("-", "--tee", *arguments, stdin=stdin)
        return done, (tmp_path / "passed on").read_bytes()

    return run


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --tee: whatever happens to the scores, the bytes flow


def test_a_large_stream_is_passed_on_unchanged(teed: Command, qclip: Command, raw: Path, tmp_path: Path) -> None:
    """And the scores are those of the stream without a tee."""
    out = tmp_path / "out.json"
    done, passed_on = teed(*RAW, "-o", out, stdin=raw)
    assert done.code == 0
    assert len(passed_on) > 50_000_000
    assert sha256(passed_on) == sha256(raw.read_bytes())
    assert out.read_text() == qclip("-", *RAW, "--json", stdin=raw).stdout


def test_it_flows_on_after_all_that_was_asked_for(teed: Command, raw: Path, tmp_path: Path) -> None:
    done, passed_on = teed(*RAW, "-t", "1", "-o", tmp_path / "out.json", stdin=raw)
    assert done.code == 0
    assert sha256(passed_on) == sha256(raw.read_bytes())
    assert from_json((tmp_path / "out.json").read_bytes(), "out").complete


FAILURES = {
    "no video": (["-o", "out.json"], 1, "no video format recognised"),
    "another format": (["-f", "flv", "-o", "out.json"], 1, "standard input"),
    "no such format": (["-f", "flvv", "-o", "out.json"], 2, "-f flvv"),
    "no such model": (["--model", "gone.safetensors", "-o", "out.json"], 2, "gone.safetensors"),
    "wrong size": ([*RAW[:2], "-s", "9000x9000", "-o", "out.json"], 1, "-s"),
    "nothing there": (["-ss", "100", *RAW, "-o", "out.json"], 1, "earlier -ss"),
    "disk full": ([*RAW, "-t", "0.4", "-of", "json", "-o", "/dev/full"], 1, "/dev/full"),
    "disk full, live": ([*RAW, "-t", "0.4", "--live", "-of", "ndjson", "-o", "/dev/full"], 1, "/dev/full"),
}


@pytest.mark.parametrize("what", FAILURES)
def test_it_flows_on_when_nothing_can_be_scored(
    what: str, teed: Command, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of all failures but those of the command line itself; the exit code tells."""
    monkeypatch.chdir(tmp_path)
    arguments, code, said = FAILURES[what]
    stream = tmp_path / "stream"
    stream.write_bytes(raw.read_bytes()[:2_000_000] if "-s" in arguments else bytes(range(256)) * 8000)
    done, passed_on = teed(*arguments, "-q", stdin=stream)
    assert done.code == code
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert sha256(passed_on) == sha256(stream.read_bytes())
    assert not (tmp_path / "out.json").exists()


def test_it_flows_on_when_the_model_fails_in_the_middle(
    teed: Command, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was measured before is written."""
    model_that_fails(monkeypatch, 4, torch.OutOfMemoryError())
    done, passed_on = teed(*RAW, "--frames", "2", "-o", tmp_path / "out.json", stdin=raw)
    assert done.code == 1
    assert "out of memory" in done.stderr
    assert sha256(passed_on) == sha256(raw.read_bytes())
    track = from_json((tmp_path / "out.json").read_bytes(), "out")
    assert (len(track.segments), track.complete) == (2, False)


def model_that_fails(monkeypatch: pytest.MonkeyPatch, after: int, failure: Exception) -> None:
    """After so many frames, each of which --frames 1 makes a segment of."""
    features = Scorer._frame_features
    calls = itertools.count()

    def fails(self: Scorer, views: Any) -> Any:
        if next(calls) >= after:
            raise failure
        return features(self, views)

    monkeypatch.setattr(Scorer, "_frame_features", fails)


@pytest.mark.parametrize("live", [True, False], ids=["live", "at the end"])
def test_what_was_measured_before_the_model_failed_is_written(
    live: bool, qclip: Command, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In all formats, and marked incomplete."""
    lines, out = tmp_path / "x.ndjson", tmp_path / "out.json"
    asked = ("-", *RAW, "--segment", "0.4", "--frames", "1", *["--live"] * live, "-o", lines, "-o", out, "-q")
    model_that_fails(monkeypatch, 3, torch.OutOfMemoryError())
    done = qclip(*asked, stdin=raw)
    why = "--device cpu: out of memory with 1 frames; say fewer --frames, --precision bfloat16, or --device cpu"
    assert done == type(done)(1, "", f"qclip-probe: -: incomplete: {why}\n")
    header, *segments, summary = lines_of(lines.read_bytes())
    assert [line["type"] for line in (header, *segments, summary)] == ["header", *["segment"] * 3, "summary"]
    assert (summary["complete"], summary["warnings"][0]) == (False, why)
    track = from_json(out.read_bytes(), "out")
    assert [segment.score for segment in track.segments] == [line["score"] for line in segments]
    assert (track.complete, track.warnings) == (False, summary["warnings"])
    assert summary["pooled"]["mean"] == track.pooled.mean


def test_a_model_that_fails_at_once_has_measured_nothing(
    qclip: Command, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model_that_fails(monkeypatch, 0, torch.OutOfMemoryError())
    done = qclip("-", *RAW, "--frames", "1", "--live", "-o", tmp_path / "x.ndjson", stdin=raw)
    assert done.code == 1
    assert done.stderr.startswith("qclip-probe: --device cpu: out of memory")
    assert not (tmp_path / "x.ndjson").read_bytes()


def test_the_lines_end_with_a_summary_whatever_fails(
    qclip: Command, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also what nobody foresaw, which is not kept from coming out."""
    model_that_fails(monkeypatch, 3, RuntimeError("CUDA error: an illegal memory access\nand what it may mean"))
    asked = ("--segment", "0.4", "--frames", "1", "--live", "-o", tmp_path / "x.ndjson", "-q")
    with pytest.raises(RuntimeError, match="illegal memory access"):
        qclip("-", *RAW, *asked, stdin=raw)
    header, *segments, summary = lines_of((tmp_path / "x.ndjson").read_bytes())
    assert [line["type"] for line in (header, *segments, summary)] == ["header", *["segment"] * 3, "summary"]
    assert summary["complete"] is False
    assert summary["warnings"][0] == "the measurement failed: CUDA error: an illegal memory access"


def test_a_broken_stream_is_passed_on_as_it_is(teed: Command, ts: Path, tmp_path: Path) -> None:
    data = bytearray(ts.read_bytes())
    for place in range(len(data) // 4, len(data) // 2, 97):
        data[place] ^= 0xFF
    broken = tmp_path / "broken.ts"
    broken.write_bytes(data)
    done, passed_on = teed("-o", tmp_path / "out.json", stdin=broken)
    assert passed_on == data
    track = from_json((tmp_path / "out.json").read_bytes(), "out")
    assert done.code == (0 if track.complete else 1)
    assert track.segments


# --live


def test_a_segment_whose_line_was_interrupted_has_one(
    qclip: Command, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line_of, calls = ndjson.segment, itertools.count(1)

    def interrupted(scored: SegmentScore) -> bytes:
        if next(calls) == 3:
            raise KeyboardInterrupt
        return line_of(scored)

    monkeypatch.setattr(ndjson, "segment", interrupted)
    done = qclip("-", *RAW, "--segment", "0.4", "--live", "-o", tmp_path / "x.ndjson", "-q", stdin=raw)
    assert done.code == 130
    _, *segments, summary = lines_of((tmp_path / "x.ndjson").read_bytes())
    assert [segment["index"] for segment in segments] == [0, 1, 2]
    assert not summary["complete"]


def test_live_lines_are_those_of_the_whole(qclip: Command, ts: Path, tmp_path: Path) -> None:
    """A finished file gives the lines it gives without --live, but for what says that it was followed."""
    said = ("--segment", "1s")
    live = qclip(ts, *said, "--live", "--idle", "0.5")
    whole = qclip(ts, *said, "-of", "ndjson")
    assert (live.code, live.stderr) == (0, "")
    header, *segments, summary = lines_of(live.stdout)
    expected_header, *expected_segments, expected_summary = lines_of(whole.stdout)
    assert segments == expected_segments
    assert len(segments) == 4
    assert header | {"source": 0} == expected_header | {"source": 0}
    assert summary["pooled"] == expected_summary["pooled"]
    assert summary["complete"]
    assert summary["warnings"] == [
        "the file was followed until it had not grown for 0.5 s",
        *expected_summary["warnings"],
    ]
    out = tmp_path / "x.ndjson"
    assert qclip(ts, *said, "--live", "--idle", "0.5", "-o", out, "-q") == type(live)(0, "", "")
    assert out.read_text() == live.stdout


def test_a_line_comes_soon_after_its_last_frame(tiny_folder: Path, raw: Path) -> None:
    """Frames come in real time; the line of a segment within its length and two seconds."""
    command = [sys.executable, "-c", PROBE, str(tiny_folder), "-", *RAW, "--live", "--segment", "1s", "-q"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as probing:
        assert probing.stdin is not None
        assert probing.stdout is not None
        sent_s: list[float] = []

        def send() -> None:
            assert probing.stdin is not None
            data = raw.read_bytes()[: 101 * FRAME_BYTES]
            for frame in range(101):
                probing.stdin.write(data[frame * FRAME_BYTES : (frame + 1) * FRAME_BYTES])
                probing.stdin.flush()
                sent_s.append(time.monotonic())
                time.sleep(1 / 25)

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        came = [(json.loads(line), time.monotonic()) for _, line in zip(range(5), probing.stdout, strict=False)]
        sending.join()
        probing.stdin.close()
        assert [line["type"] for line, _ in came] == ["header"] + ["segment"] * 4
        delays_s = [came_s - sent_s[25 * (n + 1) - 1] for n, (_, came_s) in enumerate(came[1:])]
        print("delays", [round(d, 2) for d in delays_s])
        assert max(delays_s) < 1 + 2
        assert lines_of(probing.stdout.read())[-1]["complete"]


def test_a_growing_file_is_followed(qclip: Command, ts: Path, tmp_path: Path) -> None:
    """Its second half is written only when the first has been reported."""
    growing, out = tmp_path / "growing.ts", tmp_path / "live.ndjson"
    data = ts.read_bytes()
    growing.write_bytes(data[:5000])

    def grow() -> None:
        for part in (data[5000 : len(data) * 2 // 3], data[len(data) * 2 // 3 :]):
            with growing.open("ab") as file:
                file.write(part)
            wait_for_lines(out, 2)

    writer = threading.Thread(target=grow)
    writer.start()
    done = qclip(growing, "--live", "--idle", "3", "--segment", "0.8", "-o", out, "-q")
    writer.join()
    assert (done.code, done.stderr) == (0, "")
    _, *segments, summary = lines_of(out.read_bytes())
    assert segments == lines_of(qclip(ts, "--segment", "0.8", "-of", "ndjson").stdout)[1:-1]
    assert summary["complete"]


@pytest.mark.parametrize(("name", "code", "said"), [("late.mp4", 1, "no index before it is finished"), ("e.ts", 1, "")])
def test_a_growing_file_that_cannot_be_read(
    name: str, code: int, said: str, qclip: Command, media: Callable[..., Path], tmp_path: Path
) -> None:
    data = media("taps-late.mp4", 1, SIZE, c="libx264", preset="ultrafast").read_bytes()
    (tmp_path / name).write_bytes(data[: len(data) // 2] if name == "late.mp4" else b"")
    done = qclip(tmp_path / name, "--live", "--idle", "0.3", "-o", tmp_path / "x.ndjson")
    assert done.code == code
    assert name in done.stderr
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_playlist_that_has_ended_is_not_waited_for(qclip: Command, media: Callable[..., Path]) -> None:
    playlist = media("taps.m3u8", 3, SIZE, c="libx264", preset="ultrafast", g=25, hls_time=1, hls_playlist_type="vod")
    began_s = time.monotonic()
    done = qclip(playlist, "--live", "--idle", "60")
    assert (done.code, lines_of(done.stdout)[-1]["complete"]) == (0, True)
    assert time.monotonic() - began_s < 30


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a web server of a folder."""
    command = [sys.executable, "-u", "-m", "http.server", "--bind", "127.0.0.1", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as server:
        assert server.stdout is not None
        port = server.stdout.readline().split("port ")[1].split()[0]
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()


@pytest.mark.slow
@pytest.mark.parametrize("place", ["folder", "http"])
def test_live_hls_is_followed_to_its_end(place: str, tiny_folder: Path, tmp_path: Path) -> None:
    """An encoder writes a live playlist; lines come while it does, and when it is told to stop they end, too."""
    encode = "-v error -re -f lavfi -i testsrc=size=320x180:rate=25 -c:v libx264 -preset ultrafast -g 25 -f hls"
    listed = "-hls_time 1 -hls_list_size 8 -hls_flags delete_segments+temp_file live.m3u8"
    command = [bundled_executable(), *encode.split(), *listed.split()]
    out, playlist = tmp_path / "live.ndjson", tmp_path / "live.m3u8"
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, cwd=tmp_path) as encoder, served(tmp_path) as address:
        wait_for_lines(playlist, 12)
        source = str(playlist) if place == "folder" else f"{address}/live.m3u8"
        arguments = [source, "--live", "--segment", "1s", "-o", str(out), "-q"]
        with subprocess.Popen([sys.executable, "-c", PROBE, str(tiny_folder), *arguments]) as probing:
            try:
                wait_for_lines(out, 8)
                encoder.terminate()  # it writes the end of the playlist
                assert probing.wait(timeout=60) == 0
            finally:
                encoder.kill()
                probing.kill()
    header, *segments, summary = lines_of(out.read_bytes())
    assert (header["source"]["container"], summary["complete"]) == ("hls", True)
    assert [s["start_s"] for s in segments] == list(range(len(segments)))
    assert not any(s["flags"] for s in segments[:-1])


# --drop


def slow_scorer(monkeypatch: pytest.MonkeyPatch, frame_s: float) -> None:
    features = Scorer._frame_features

    def slow(self: Scorer, views: Any) -> Any:
        time.sleep(frame_s)
        return features(self, views)

    monkeypatch.setattr(Scorer, "_frame_features", slow)


def test_what_comes_while_the_model_is_busy_is_dropped_and_said(
    tiny_scorer: Scorer, raw: Path, qclip: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_scorer(monkeypatch, 0.5)
    reported = []
    settings = ProbeSettings(segment_s=Fraction(1), frames_per_window=1, drop=True)
    options = InputOptions(format="rawvideo", size_px=SIZE)
    track = probe(
        str(raw),
        scorer=tiny_scorer,
        settings=settings,
        options=options,
        on_segment=lambda _, s: reported.append(s),
    )
    Draft202012Validator(json_schema()).validate(json.loads(to_json(track)))
    assert reported == track.segments
    assert [(s.index, s.start_s, s.end_s) for s in track.segments] == [(n, n, n + 1) for n in range(24)]
    dropped = [s for s in track.segments if "dropped" in s.flags]
    scored = [s for s in track.segments if "dropped" not in s.flags]
    assert len(dropped) > 12
    assert [s.index for s in scored[:2]] == [0, 1], "one was scored, one waited"
    assert all(s.score is not None and len(s.frames) == 1 for s in scored)
    assert all(
        (s.score, s.levels, s.score_stderr, s.frames, s.frame_count) == (None, None, None, [], 25) for s in dropped
    )
    assert all("not_finite" not in s.flags for s in dropped)
    assert msgspec.structs.replace(track.pooled, temporal=None, mean_with_temporal=None) == pool(scored)
    assert track.pooled.temporal is not None, "events were looked for in what was dropped, too"
    assert track.complete
    assert f"{len(dropped)} of 24 segments were not scored" in " ".join(track.warnings)


def test_with_drop_the_stream_does_not_wait_for_the_model(
    teed: Command, raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow_scorer(monkeypatch, 1)
    asked = ("--segment", "1s", "--frames", "1", "--threads", "1", "-q", "-o", tmp_path / "out.json")
    began_s = time.monotonic()
    done, passed_on = teed(*RAW, *asked, "--drop", stdin=raw)
    assert time.monotonic() - began_s < 24 * 1
    assert done.code == 0
    assert sha256(passed_on) == sha256(raw.read_bytes())


# What makes no sense

REFUSED = {
    "tee of a file": ("clip.ts --tee -o x.json", "--tee: passes standard input on; give -"),
    "tee of two": ("- clip.ts --tee -o x.json", "--tee: passes standard input on; give -"),
    "tee of a URL": ("http://127.0.0.1:9/a.ts --tee -o x.json", "--tee: passes standard input on"),
    "tee with JSON on stdout": ("- --tee --json", "--tee: standard output is the stream's; write"),
    "tee with a format on stdout": ("- --tee -of csv", "--tee: standard output is the stream's"),
    "tee with lines on stdout": ("- --tee --live", "--tee: standard output is the stream's"),
    "tee with a file that is stdout": ("- --tee -of json -o /dev/fd/1 -y", "--tee: standard output is the stream's"),
    "tee of a sidecar": ("- --tee --from-sidecar", "--from-sidecar: nothing is measured, --tee would do nothing"),
    "live of two": ("clip.ts - --live", "--live: measures one input"),
    "live in another format": ("clip.ts --live -o x.csv", "--live: writes lines of NDJSON"),
    "live in JSON": ("clip.ts --live --json", "--live: writes lines of NDJSON"),
    "live of a sidecar": ("clip.ts --live --from-sidecar", "--from-sidecar: nothing is measured, --live would"),
    "drop of a file": ("clip.ts --drop", "--drop: nothing waits"),
    "idle alone": ("clip.ts --idle 5", "--idle: says when a growing file is finished; add --live"),
    "idle of a pipe": ("- --live --idle 5", "--idle: says when a growing file is finished"),
    "idle of nothing": ("clip.ts --live --idle 0", "'0'"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_makes_no_sense_is_refused_before_anything_is_read(
    what: str, qclip: Command, ts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "clip.ts").write_bytes(ts.read_bytes())
    typed, said = REFUSED[what]
    done = qclip(*shlex.split(typed))
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("qclip-probe: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["clip.ts"]
