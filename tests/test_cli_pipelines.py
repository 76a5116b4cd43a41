"""ffmpeg | qclip-probe --tee | cat: what is left when one of them ends early. On the tiny model."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probe_process import PROBE, lines_of, wait_for_lines

from qclip_ffmpeg.cli.console import StopSignals
from qclip_ffmpeg.emit.sidecar import from_json
from qclip_ffmpeg.ffmpeg import bundled_executable
from qclip_ffmpeg.taps import READER_GONE

pytest_plugins = ["model_fixtures"]

ENDLESS = ["-v", "error", "-re", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25", "-c:v", "rawvideo"]


class Pipeline:
    """ffmpeg | qclip-probe | cat, where each process holds its own ends only."""

    def __init__(self, folder: Path, weights: Path, *arguments: str) -> None:
        self.passed_on = folder / "passed on"
        started: dict[str, Any] = {"bufsize": 0}
        ffmpeg = [bundled_executable(), *ENDLESS, "-f", "nut", "-"]
        self.ffmpeg = subprocess.Popen(ffmpeg, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, **started)
        command = [sys.executable, "-c", PROBE, str(weights), "-", *arguments]
        self.probe = subprocess.Popen(
            command, stdin=self.ffmpeg.stdout, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=folder, **started
        )
        with self.passed_on.open("wb") as file:
            self.cat = subprocess.Popen(["cat"], stdin=self.probe.stdout, stdout=file, **started)
        for stream in (self.ffmpeg.stdout, self.probe.stdout):
            assert stream is not None
            stream.close()

    def all_end(self) -> bytes:
        """Wait for all of them. Returns what the probe said on stderr."""
        said = self.probe.communicate(timeout=120)[1]
        self.ffmpeg.wait(timeout=30)
        self.cat.wait(timeout=30)
        return bytes(said)

    def kill(self) -> None:
        for process in (self.ffmpeg, self.probe, self.cat):
            process.kill()
            process.wait()


@pytest.fixture
def pipeline(tmp_path: Path, tiny_folder: Path) -> Iterator[Callable[..., Pipeline]]:
    """pipeline(*arguments) -> Pipeline, with the arguments of the probe beside -; nothing of it is left."""
    made: list[Pipeline] = []

    def make(*arguments: str) -> Pipeline:
        made.append(Pipeline(tmp_path, tiny_folder, *arguments))
        return made[-1]

    yield make
    for started in made:
        started.kill()


LIVE = ("--tee", "--live", "--segment", "0.4", "-o", "live.ndjson", "-o", "out.json", "-q")


def test_when_the_sender_is_killed_the_track_ends_there(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipes = pipeline(*LIVE)
    wait_for_lines(tmp_path / "live.ndjson", 3)
    pipes.ffmpeg.kill()
    said = pipes.all_end()
    assert b"Traceback" not in said
    assert pipes.probe.returncode in (0, 1), "as it may have been killed between two frames or in one"
    assert from_json((tmp_path / "out.json").read_bytes(), "out").complete == (pipes.probe.returncode == 0)
    assert pipes.cat.returncode == 0


def test_when_the_reader_is_killed_the_probe_stops_reading(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipes = pipeline(*LIVE)
    wait_for_lines(tmp_path / "live.ndjson", 3)
    pipes.cat.kill()
    said = pipes.all_end()
    assert (pipes.probe.returncode, said) == (1, f"qclip-probe: -: incomplete: {READER_GONE}\n".encode())
    track = from_json((tmp_path / "out.json").read_bytes(), "out")
    assert (track.complete, track.warnings[0]) == (False, READER_GONE)
    assert "truncated" in track.segments[-1].flags
    assert lines_of((tmp_path / "live.ndjson").read_bytes())[-2]["flags"] == track.segments[-1].flags
    assert pipes.ffmpeg.returncode != 0


def test_when_the_probe_is_killed_nothing_half_is_left(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipes = pipeline(*LIVE)
    wait_for_lines(tmp_path / "live.ndjson", 3)
    pipes.probe.kill()
    pipes.all_end()
    assert pipes.cat.returncode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"passed on", "live.ndjson"}


def test_ctrl_c_ends_the_scores_and_not_the_stream(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipes = pipeline(*LIVE)
    wait_for_lines(tmp_path / "live.ndjson", 3)
    pipes.probe.send_signal(signal.SIGINT)
    deadline_s = time.monotonic() + 60
    while not (tmp_path / "out.json").exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    before = pipes.passed_on.stat().st_size
    time.sleep(1)
    assert pipes.passed_on.stat().st_size > before
    pipes.probe.send_signal(signal.SIGINT)  # once more, and the stream ends, too
    assert b"Traceback" not in pipes.all_end()
    assert pipes.probe.returncode == 130
    header, *segments, summary = lines_of((tmp_path / "live.ndjson").read_bytes())
    assert [line["type"] for line in (header, *segments, summary)] == [
        "header",
        *["segment"] * len(segments),
        "summary",
    ]
    assert (summary["complete"], summary["warnings"][0]) == (False, "the measurement was interrupted")


@pytest.mark.parametrize("tee", [("--tee",), ()], ids=["tee", "no tee"])
def test_sigterm_ends_the_probe_after_what_was_measured_is_written(
    tee: tuple[str, ...], pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    """And the stream with it, within the ten seconds that those who send it wait."""
    pipes = pipeline(*tee, *LIVE[1:])
    wait_for_lines(tmp_path / "live.ndjson", 3)
    sent_s = time.monotonic()
    pipes.probe.terminate()
    said = pipes.all_end()
    assert time.monotonic() - sent_s < 10
    assert pipes.probe.returncode == -signal.SIGTERM, "whoever sent it sees that it came"
    assert said == b"qclip-probe: -: incomplete: the measurement was interrupted\n"
    assert pipes.ffmpeg.returncode != 0, "it writes to nobody"
    header, *segments, summary = lines_of((tmp_path / "live.ndjson").read_bytes())
    assert (header["type"], summary["type"]) == ("header", "summary")
    assert (summary["complete"], summary["warnings"][0]) == (False, "the measurement was interrupted")
    track = from_json((tmp_path / "out.json").read_bytes(), "out")
    assert not track.complete
    assert [segment.score for segment in track.segments] == [line["score"] for line in segments]


def test_sigterm_while_only_the_stream_is_left_ends_it(pipeline: Callable[..., Pipeline], tmp_path: Path) -> None:
    pipes = pipeline(*LIVE, "-t", "0.4")
    wait_for_lines(tmp_path / "out.json", 1)
    pipes.probe.terminate()
    assert pipes.all_end() == b"qclip-probe: ended by SIGTERM\n"
    assert pipes.probe.returncode == -signal.SIGTERM
    assert lines_of((tmp_path / "live.ndjson").read_bytes())[-1]["complete"]


def test_sigterm_before_the_first_segment_is_said_and_leaves_nothing_half(
    pipeline: Callable[..., Pipeline], tmp_path: Path
) -> None:
    pipes = pipeline("--tee", "--segment", "1h", "-o", "out.json", "-q")
    deadline_s = time.monotonic() + 120
    while not pipes.passed_on.stat().st_size:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    pipes.probe.terminate()
    assert pipes.all_end() == b"qclip-probe: ended by SIGTERM\n"
    assert pipes.probe.returncode == -signal.SIGTERM
    assert {path.name for path in tmp_path.iterdir()} == {"passed on"}


def test_a_sigterm_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with StopSignals("a command") as signals:
            signal.raise_signal(signal.SIGTERM)
            assert not signals.terminated
        assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGTERM, before)
