"""The gate on a real ladder: five rungs of one clip, three sizes, x264 and x265, scored by the bundled model."""

import shutil
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import pytest

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.gate import command
from qclip_ffmpeg.emit.gate_json import from_gate_json
from qclip_ffmpeg.emit.sidecar import to_json
from qclip_ffmpeg.ffmpeg import bundled_executable, run
from qclip_ffmpeg.measurement import ProbeSettings, probe_many
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.verdict import GateReport

pytest_plugins = ["model_fixtures"]

RUNGS = (
    ("360p-500k", "libx264", 360, 500),
    ("540p-hevc-800k", "libx265", 540, 800),
    ("540p-1100k", "libx264", 540, 1100),
    ("720p-hevc-1800k", "libx265", 720, 1800),
    ("720p-2400k", "libx264", 720, 2400),
)
QUARTER = ("quarter-of-720p", "libx264", 720, 600)
LENGTH_S = 2


@pytest.fixture(scope="module")
def tracks(example_clip: Path, scorer: Scorer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sidecar of each rung, and of the top rung at a quarter of its bitrate."""
    folder = tmp_path_factory.mktemp("ladder")
    paths = []
    for name, codec, height_px, kbps in (*RUNGS, QUARTER):
        path = folder / f"{name}.mp4"
        quiet = {"x265-params": "log-level=error"} if codec == "libx265" else {}
        options: dict[str, Any] = {
            **{"t": LENGTH_S, "vf": f"scale=-2:{height_px}", "c:v": codec, "preset": "veryfast", "pix_fmt": "yuv420p"},
            **{"b:v": f"{kbps}k", "maxrate": f"{2 * kbps}k", "bufsize": f"{2 * kbps}k"},
        }
        run(ffmpeg.input(str(example_clip)).output(str(path), **options, **quiet), program=bundled_executable())
        paths.append(path)
    settings = ProbeSettings(segment_s=Fraction(1), frames_per_window=2)
    for path, track in zip(paths, probe_many(paths, scorer=scorer, settings=settings), strict=True):
        assert track.complete
        (folder / f"{path.stem}.qclip.json").write_bytes(to_json(track))
        path.unlink()
    return folder


@pytest.fixture
def judged(
    tracks: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, GateReport, str]]:
    """judged({"rung": "whose track it has"}, options) -> exit code, report, what people see."""

    def run_gate(changes: dict[str, str], *options: str | Path) -> tuple[int, GateReport, str]:
        ladder = tmp_path / "ladder"
        shutil.rmtree(ladder, ignore_errors=True)
        ladder.mkdir()
        for name in (*(name for name, *_ in RUNGS), *changes):
            track = changes.get(name, name)
            shutil.copy(tracks / f"{track}.qclip.json", ladder / f"{name}.qclip.json")
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            console.run_command(command, ["--ladder", str(ladder), "--json", *map(str, options)])
        said = capfd.readouterr()
        assert isinstance(ended.value.code, int)
        return ended.value.code, from_gate_json(said.out.encode(), "stdout"), said.err

    return run_gate


def breaches(report: GateReport) -> set[tuple[str, str]]:
    """(rule, subject) of every error."""
    return {(r.rule, r.subject) for r in report.results if r.status != "passed" and r.level == "error"}


def test_it_passes_hls_vod(judged: Any) -> None:
    code, report, said = judged({})
    assert (code, breaches(report)) == (0, set())
    assert [r.name for r in report.rungs] == [name for name, *_ in RUNGS], "in the order that their names declare"
    assert len({(r.height_px, r.codec) for r in report.rungs}) == 5
    assert said.splitlines()[-1].startswith("hls-vod: passed")


def test_a_rung_at_a_quarter_of_its_bitrate_fails(judged: Any) -> None:
    """By its score and by its bitrate, without a baseline; with one also by how far it fell."""
    code, report, said = judged({"720p-2400k": "quarter-of-720p"})
    assert code == 3
    assert breaches(report) >= {
        ("pooled.mean", "720p-2400k"),
        ("ladder.declared_bitrate_percent", "720p-2400k"),
    }
    assert {subject.split(" over ")[0] for _, subject in breaches(report)} == {"720p-2400k"}, "no other rung"
    [mean] = [r for r in report.results if r.rule == "pooled.mean" and r.status == "failed"]
    assert mean.value is not None
    assert mean.value < (mean.limit or 0) == 68
    assert mean.moments
    assert mean.moments[0].score == min(m.score for m in mean.moments if m.score is not None)
    [line] = [line for line in said.splitlines() if line.startswith("error: 720p-2400k: pooled.mean")]
    assert f"mean is {mean.value:.1f}; 68.0 is the least that is allowed; worst: " in line
    assert f"{mean.moments[0].score:.1f} at 0:0" in line


def test_any_rung_that_lost_three_quarters_fails_its_baseline(judged: Any, tmp_path: Path) -> None:
    assert judged({}, "--save-baseline", tmp_path / "last.bin")[0] == 0
    code, report, _ = judged({}, "--baseline", tmp_path / "last.bin")
    assert (code, {r.change for r in report.rungs}) == (0, {0.0})
    code, report, _ = judged({"720p-2400k": "quarter-of-720p"}, "--baseline", tmp_path / "last.bin")
    assert code == 3
    assert ("baseline.drop", "720p-2400k") in breaches(report)
    assert ("baseline.segment_drop", "720p-2400k") in breaches(report)
    assert {subject.split(" over ")[0] for _, subject in breaches(report)} == {"720p-2400k"}, "no other rung"


def test_two_rungs_that_were_swapped_are_an_inversion(judged: Any) -> None:
    code, report, said = judged({"360p-500k": "720p-2400k", "720p-2400k": "360p-500k"})
    assert code == 3
    assert ("ladder.inversion", "720p-2400k over 360p-500k") in breaches(report)
    assert "error: 720p-2400k over 360p-500k: ladder.inversion: the mean of " in said


def test_a_rung_that_is_there_twice_is_redundant(judged: Any) -> None:
    """A warning; the gate passes."""
    code, report, said = judged({"720p-2500k": "720p-2400k"})
    assert (code, breaches(report)) == (0, set())
    [found] = [r for r in report.results if r.rule == "ladder.redundant" and r.subject.startswith("720p-2500k")]
    assert (found.subject, found.level, found.status) == ("720p-2500k over 720p-2400k", "warn", "failed")
    assert found.value == 0
    assert "warn: 720p-2500k over 720p-2400k: ladder.redundant" in said
