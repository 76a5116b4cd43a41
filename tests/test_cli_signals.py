"""SIGTERM and Ctrl-C while qclip-probe writes what it has measured. On the tiny model."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probe_process import PROBE, lines_of

from qclip_ffmpeg import files, measurement
from qclip_ffmpeg.cli import taps
from qclip_ffmpeg.emit.sidecar import from_json

pytest_plugins = ["model_fixtures"]

Command = Callable[..., Any]
SIZE = (64, 36)
PIPE_BYTES = 1 << 16


@pytest.fixture(autouse=True)
def _ctrl_c_as_in_a_terminal() -> Iterator[None]:
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def clip(media: Callable[..., Path]) -> Path:
    """A second."""
    return media("signals.mp4", 1, SIZE, c="libx264", preset="ultrafast", g=1)


@pytest.fixture
def long_clip(media: Callable[..., Path]) -> Path:
    """30 s in 300 segments of a frame each, whose track is more than a pipe holds."""
    return media("signals-long.mp4", 30, SIZE, 10, c="libx264", preset="ultrafast", g=1)


def interrupts(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, at: int) -> None:
    """Ctrl-C comes when a function has been called so often and has done its work."""
    real = getattr(owner, name)
    calls = 0

    def interrupted(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        result = real(*arguments, **options)
        if calls == at:
            signal.raise_signal(signal.SIGINT)
        return result

    monkeypatch.setattr(owner, name, interrupted)


@pytest.fixture
def stuck(long_clip: Path, tiny_folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A probe that has begun to write its track to a pipe that nobody reads."""
    command = [sys.executable, "-c", PROBE, str(tiny_folder), str(long_clip), "--segment", "0.1", "--json", "-q"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0) as probing:
        assert probing.stdout is not None
        assert os.read(probing.stdout.fileno(), 1) == b"{"
        time.sleep(0.3)  # until the pipe is full
        yield probing
        probing.kill()


@pytest.mark.parametrize(
    ("number", "code", "said"),
    [(signal.SIGTERM, -signal.SIGTERM, b"ended by SIGTERM"), (signal.SIGINT, 130, b"interrupted")],
    ids=["SIGTERM", "ctrl-c"],
)
def test_what_is_being_written_is_written_to_its_end(
    number: int, code: int, said: bytes, stuck: subprocess.Popen[bytes]
) -> None:
    stuck.send_signal(number)
    time.sleep(0.3)
    assert stuck.poll() is None
    written, complaint = stuck.communicate(timeout=60)
    assert len(written) > PIPE_BYTES
    track = from_json(b"{" + written, "stdout")
    assert (len(track.segments), track.complete) == (300, True)
    assert (stuck.returncode, complaint.strip()) == (code, b"qclip-probe: " + said)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "ctrl-c"])
def test_a_second_signal_ends_the_writing_at_once(number: int, stuck: subprocess.Popen[bytes]) -> None:
    stuck.send_signal(signal.SIGTERM)
    time.sleep(0.3)
    stuck.send_signal(number)
    assert stuck.wait(timeout=5) == -number, "though nobody reads"


def test_ctrl_c_while_files_are_written_drops_none(
    qclip: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts(monkeypatch, files, "write_atomically", at=1)
    names = ("a.json", "b.csv", "c.vtt")
    done = qclip(clip, *(word for name in names for word in ("-o", tmp_path / name)), "-q")
    assert (done.code, done.stderr.strip()) == (130, "qclip-probe: interrupted")
    assert {path.name for path in tmp_path.iterdir()} == set(names)
    assert from_json((tmp_path / "a.json").read_bytes(), "a").complete


def test_ctrl_c_while_the_copy_is_made_or_before_leaves_none(
    qclip: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupts(monkeypatch, files, "write_atomically", at=1)
    done = qclip(clip, "-o", tmp_path / "a.json", "--write-metadata", tmp_path / "copy.mkv", "-q")
    assert done.code == 130
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_ctrl_c_while_a_sidecar_is_written_ends_after_it(
    qclip: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The input after it keeps its place."""
    sources = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for source in sources:
        source.write_bytes(clip.read_bytes())
    interrupts(monkeypatch, tempfile, "mkstemp", at=1)  # before anything is in it
    done = qclip(*sources, "--sidecar", "--json", "-q")
    assert (done.code, done.stderr) == (130, "qclip-probe: b.mp4: incomplete: the measurement was interrupted\n")
    assert from_json((tmp_path / "a.mp4.qclip.json").read_bytes(), "a").complete
    assert not (tmp_path / "b.mp4.qclip.json").exists()
    assert [track["complete"] for track in json.loads(done.stdout)] == [True, False]


def test_ctrl_c_when_all_is_scored_keeps_it(
    qclip: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes while the figures of the track are made."""
    interrupts(monkeypatch, measurement.Measurement, "track", at=1)
    done = qclip(clip, "--segment", "0.1", "-o", tmp_path / "a.json", "-q")
    assert done.code == 130
    track = from_json((tmp_path / "a.json").read_bytes(), "a")
    assert (len(track.segments), track.complete) == (10, False)


def test_ctrl_c_while_the_last_sidecar_is_written_is_said(
    qclip: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "a.mp4"
    source.write_bytes(clip.read_bytes())
    interrupts(monkeypatch, tempfile, "mkstemp", at=1)
    done = qclip(source, "--sidecar", "--json", "-q")
    assert (done.code, done.stderr) == (130, "qclip-probe: interrupted when all had been measured\n")
    assert (tmp_path / "a.mp4.qclip.json").read_text() == done.stdout


@pytest.mark.parametrize("at", [1, 2, 3, 4, 5, 6, 7, 8])
def test_a_line_is_written_once_to_each_output_when_ctrl_c_comes(
    at: int, qclip: Command, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After it has been written, and before anybody could note that: of the header, two segments and the summary."""
    interrupts(monkeypatch, taps, "write_all", at=at)
    x, y = tmp_path / "x.ndjson", tmp_path / "y.ndjson"
    stdin = ["-i", str(clip), "-c", "copy", "-f", "mpegts", "-"]
    asked = ("--segment", "0.4", "--frames", "1", "-t", "0.8", "--live", "-o", x, "-o", y, "-q")
    done = qclip("-", *asked, stdin=stdin)
    assert done.code == 130
    header, *segments, summary = lines_of(x.read_bytes())
    assert (header["type"], summary["type"]) == ("header", "summary")
    assert [line.get("index") for line in segments] == list(range(len(segments)))
    assert len(segments) == (1 if at <= 4 else 2)
    assert summary["complete"] == (at > 6)
    assert x.read_bytes() == y.read_bytes()


@pytest.mark.parametrize("live", [True, False], ids=["live", "several"])
def test_an_input_that_is_interrupted_before_its_first_segment_is_named(
    live: bool, qclip: Command, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = measurement.probe

    def interrupted(source: str, **options: Any) -> Any:
        if source == "second":
            signal.raise_signal(signal.SIGINT)
        return measure(source, **options)

    monkeypatch.setattr(measurement, "probe", interrupted)
    done = qclip("second", "--live", "-q") if live else qclip(clip, "second", "third", "--json", "-q")
    assert (done.code, done.stderr) == (130, "qclip-probe: second: incomplete: the measurement was interrupted\n")
    if live:
        assert [line["type"] for line in lines_of(done.stdout.encode())] == ["header", "summary"]
