"""qclip-gate as people use it, on sidecars and on the tiny model: what it takes, says, writes, and how it ends."""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec
import pytest
from tiny_ladder import NOISE, ladder, policy_of, rule, rung, write_sidecars
from tiny_model import random_qclip, tiny_card, write_tower

from qclip_ffmpeg import checkpoint
from qclip_ffmpeg.calibration import Calibration
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, SUFFIX, save_checkpoint
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.gate import command
from qclip_ffmpeg.emit.gate_json import from_gate_json
from qclip_ffmpeg.emit.sidecar import from_json, to_json
from qclip_ffmpeg.gate.inputs import read_baseline
from qclip_ffmpeg.policy import preset_names, read_preset

pytest_plugins = ["model_fixtures"]

HEAVY = {"torch", "av", "open_clip", "torchvision", "scipy", "ffmpeg", "safetensors", "matplotlib", "jinja2"}


@dataclass(frozen=True)
class Result:
    """How the command ended."""

    code: int
    stdout: str
    stderr: str


Gate = Callable[..., Result]


@pytest.fixture
def gate(capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """gate("a.json --preset smoke") -> Result: the command in this process and in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def run(arguments: str, *more: str | Path) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            console.run_command(command, [*arguments.split(), *map(str, more)])
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capfd.readouterr())

    return run


def sidecars(folder: Path, *means: float, **track: Any) -> Sequence[Path]:
    return write_sidecars(folder, ladder(*means, **track))


def lines(height_px: int) -> dict[str, int]:
    """A 16:9 picture of so many lines."""
    return {"width_px": height_px * 16 // 9, "height_px": height_px}


# What it takes


def test_help_starts_without_the_heavy_modules() -> None:
    code = (
        "import sys; from qclip_ffmpeg.cli.gate import command; "
        "code = command.main(['--help'], standalone_mode=False); print(code, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, *modules = done.stderr.split()
    assert exit_code == "0"
    assert not set(modules) & HEAVY
    assert "Exit status: 0 passed" in done.stdout


def test_a_hundred_sidecars_need_neither_torch_nor_av(tmp_path: Path) -> None:
    """In a fresh interpreter, table and JSON and all."""
    paths = write_sidecars(tmp_path, ladder(*[30 + i / 2 for i in range(100)]))
    code = (
        "import sys; from qclip_ffmpeg.cli.gate import command; "
        "code = command.main([*sys.argv[1:], '--json'], standalone_mode=False); "
        "print('modules', code, *sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code, *paths], capture_output=True, text=True, check=True)
    _, exit_code, *modules = done.stderr.splitlines()[-1].split()
    assert exit_code == "0"
    assert len(json.loads(done.stdout)["rungs"]) == 100
    assert not {name.split(".")[0] for name in modules} & HEAVY


def test_every_option_is_in_the_help_and_explained(gate: Gate) -> None:
    done = gate("--help")
    assert (done.code, done.stderr) == (0, "")
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name
            assert all(spelling in done.stdout for spelling in parameter.opts), parameter.name


def test_presets_are_listed_and_shown(gate: Gate, tmp_path: Path) -> None:
    listed = gate("--list-presets")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == preset_names()
    shown = gate("--show-preset strict")
    assert policy_of(tmp_path, shown.stdout).rules, "it can be started from"
    assert gate("--show-preset none").code == 2


# Verdicts


def test_a_ladder_that_passes(gate: Gate, tmp_path: Path) -> None:
    sidecars(tmp_path, 45, 60, 75)
    done = gate("--ladder . --json")
    assert done.code == 0
    report = from_gate_json(done.stdout.encode(), "stdout")
    assert (report.policy, report.passed, [r.name for r in report.rungs]) == ("hls-vod", True, ["r1", "r2", "r3"])
    assert "hls-vod: passed" in done.stderr


def test_a_breach_names_rung_rule_figure_limit_and_seconds(gate: Gate, tmp_path: Path) -> None:
    write_sidecars(
        tmp_path, [rung("360p", 50, 50, kbps=500, **lines(360)), rung("720p", 70, 21, kbps=1500, **lines(720))]
    )
    done = gate("360p.qclip.json 720p.qclip.json")
    assert (done.code, done.stdout) == (3, "")
    [line] = [line for line in done.stderr.splitlines() if "pooled.mean" in line]
    [least] = [r.min for r in read_preset("hls-vod").rules if r.name == "top"]
    assert line.startswith(f"error: 720p: pooled.mean: mean is 45.5; {least:.1f} is the least that is allowed; ")
    assert "worst: 21.0 at 0:04-0:08, 70.0 at 0:00-0:04" in line
    assert "[presets/hls-vod.toml:" in line
    assert done.stderr.splitlines()[-1] == "hls-vod: failed with 1 error, 1 warning"
    [row] = [line for line in done.stderr.splitlines() if line.startswith("720p ")]
    assert row.split() == ["720p", "h264", "1280x720", "1500", "45.5", "±5.0", "failed"]


def test_quiet_says_nothing(gate: Gate, tmp_path: Path) -> None:
    sidecars(tmp_path, 10)
    assert gate("r1.qclip.json -q") == Result(3, "", "")


def test_warnings_pass(gate: Gate, tmp_path: Path) -> None:
    sidecars(tmp_path, 70, 71)
    done = gate("--ladder .")
    assert done.code == 0
    assert (
        "warn: r2 over r1: ladder.redundant: the mean is 1.0 above the next lower rung's; up to 5.0 is noise"
        in done.stderr
    )
    assert done.stderr.splitlines()[-1] == "hls-vod: passed with 1 warning"


def test_two_rungs_that_were_swapped(gate: Gate, tmp_path: Path) -> None:
    """The names declare what the rungs are meant to be."""
    write_sidecars(tmp_path, [rung("360p-500k", 80, kbps=490), rung("1080p-5000k", 40, kbps=4900)])
    (tmp_path / "policy.toml").write_text(rule("ladder.inversion"))
    done = gate("--ladder . --policy policy.toml")
    assert done.code == 3
    assert "1080p-5000k over 360p-500k: ladder.inversion" in done.stderr


def test_names_of_strangers_stay_on_their_line(gate: Gate, tmp_path: Path) -> None:
    (tmp_path / "ladder.toml").write_text(
        '[[rungs]]\nname = "a\\u001b[31m\\n::error::b[bold]"\nfile = "r1.qclip.json"\n'
    )
    sidecars(tmp_path, 10)
    done = gate("--ladder ladder.toml")
    assert done.code == 3
    assert "\x1b" not in done.stderr
    assert not any(line.startswith("::") for line in done.stderr.splitlines())
    assert "b[bold]" in done.stderr


# Baselines


def test_a_baseline_is_saved_and_compared_with(gate: Gate, tmp_path: Path) -> None:
    sidecars(tmp_path, 45, 60, 80)
    assert gate("r1.qclip.json r2.qclip.json r3.qclip.json --save-baseline last.json").code == 0
    assert [r.name for r in read_baseline(tmp_path / "last.json")] == ["r1", "r2", "r3"]
    assert gate("r1.qclip.json r2.qclip.json r3.qclip.json --baseline last.json").code == 0
    sidecars(tmp_path, 45, 60, 65)
    done = gate("r1.qclip.json r2.qclip.json r3.qclip.json --baseline last.json")
    assert done.code == 3
    assert "error: r3: baseline.drop: the mean of 65.0 is 15.0 below the baseline's" in done.stderr
    assert done.stderr.splitlines()[-1].startswith("hls-vod, against last.json: failed")


def test_a_ladder_that_fails_is_no_baseline(gate: Gate, tmp_path: Path) -> None:
    """Else the next one that is as bad would pass."""
    sidecars(tmp_path, 45, 80)
    assert gate("--ladder . -q --save-baseline", tmp_path / "last.bin").code == 0
    before = (tmp_path / "last.bin").read_bytes()
    sidecars(tmp_path, 45, 65)
    done = gate("--ladder . --baseline last.bin --save-baseline last.bin")
    assert done.code == 3
    assert "last.bin: not written, since the gate did not pass" in done.stderr
    assert (tmp_path / "last.bin").read_bytes() == before


def test_another_display_is_refused(gate: Gate, tmp_path: Path) -> None:
    sidecars(tmp_path, 45, 80)
    (tmp_path / "old").mkdir()
    for one in ladder(45, 80):
        settings = msgspec.structs.replace(one.track.settings, display="1280x720")
        track = msgspec.structs.replace(one.track, settings=settings)
        (tmp_path / "old" / f"{one.name}.qclip.json").write_bytes(to_json(track))
    done = gate("r1.qclip.json r2.qclip.json --baseline old")
    assert done.code == 2
    assert "settings.display is 1280x720 and 1920x1080" in done.stderr


# How it says no


REFUSED: dict[str, tuple[str, int, list[str]]] = {
    "no input": ("", 2, ["the ladder is empty", "--ladder"]),
    "a folder without rungs": ("--ladder empty", 2, ["empty", "holds no video file and no sidecar"]),
    "missing": ("gone.json", 2, ["gone.json", "cannot be read"]),
    "no preset": ("r1.qclip.json --preset hls", 2, ["hls: no such preset", "hls-vod"]),
    "two policies": ("r1.qclip.json --preset live --policy p.toml", 2, ["give one", 'extends = "live"']),
    "a typo": ("r1.qclip.json --policy typo.toml", 2, ["typo.toml:3: ", "unknown field `mim`"]),
    "a figure": ("r1.qclip.json --policy figure.toml", 2, ["figure.toml:2: ", "no figure 'pooled.p50'"]),
    "no match": ("r1.qclip.json --policy match.toml", 2, ["match.toml:1: rules.it matches no rung of r1"]),
    "NaN": ("nan.json", 1, ["nan.json:", "is not JSON"]),
    "a newer sidecar": ("newer.json", 1, ["newer.json", "schema version 1.9", "newer than 1.0"]),
    "no sidecar": ("other.json", 1, ["other.json", "not a quality track"]),
    "an untrained model": ("untrained.json", 2, ["the model tiny is untrained and may not decide a gate"]),
    "no baseline": ("r1.qclip.json --baseline gone.json", 2, ["gone.json", "cannot be read"]),
    "a track as a baseline": ("r1.qclip.json --baseline r1.qclip.json", 1, ["r1.qclip.json", "not a baseline"]),
    "a baseline nowhere": ("r1.qclip.json --save-baseline no/where.json", 2, ["no/where.json", "existing folder"]),
    "measuring nothing": ("r1.qclip.json --segment 2", 2, ["--segment", "nothing is measured"]),
    "a display for sidecars": ("r1.qclip.json --display 720", 2, ["--display", "nothing is measured"]),
    "twice": ("r1.qclip.json r1.qclip.json", 2, ["r1.qclip.json", "twice"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_it_refuses_in_one_line(case: str, gate: Gate, tmp_path: Path) -> None:
    arguments, code, said = REFUSED[case]
    sidecars(tmp_path, 80)
    (tmp_path / "empty").mkdir()
    (tmp_path / "typo.toml").write_text('[rules.it]\nfigure = "pooled.mean"\nmim = 40\n')
    (tmp_path / "figure.toml").write_text('[rules.it]\nfigure = "pooled.p50"\nmin = 40\n')
    (tmp_path / "match.toml").write_text(rule("pooled.mean", min=40, rungs="*1080*"))
    track = (tmp_path / "r1.qclip.json").read_bytes()
    (tmp_path / "nan.json").write_bytes(track.replace(b'"score": 80.0', b'"score": NaN'))
    (tmp_path / "newer.json").write_bytes(track.replace(b'"schema_version": "1.0"', b'"schema_version": "1.9"'))
    (tmp_path / "untrained.json").write_bytes(track.replace(b'"trained"', b'"untrained"'))
    (tmp_path / "other.json").write_text("{}")
    done = gate(arguments)
    assert (done.code, done.stdout) == (code, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("qclip-gate: ")
    assert all(part in line for part in said), line


# Measuring


@pytest.fixture
def trained(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """The default model is the tiny one, and says that it is trained, calibrated and has a noise band."""
    folder = tmp_path_factory.mktemp("trained")
    qclip = random_qclip()
    calibration = Calibration(id="tests", raw=(0.0, 100.0), score=(1.0, 99.0), error=(5.0, 5.0), clips=100, contents=10)
    card = tiny_card(write_tower(folder, qclip), status="trained", calibration=calibration, noise_band=NOISE)
    save_checkpoint(folder / (DEFAULT_MODEL + SUFFIX), card, qclip.trained_tensors())
    monkeypatch.setattr(checkpoint, "WEIGHTS_DIR", folder)


@pytest.fixture
def clips(media: Callable[..., Path], tmp_path: Path) -> Path:
    """Two rungs of one content in the working folder."""
    for height_px in (90, 180):
        path = media(f"gate{height_px}.mp4", 1, (height_px * 16 // 9, height_px), c="libx264", preset="ultrafast")
        (tmp_path / f"{height_px}.mp4").write_bytes(path.read_bytes())
    return tmp_path


SMOKE = rule("pooled.mean", min=0.5)


def test_media_and_sidecars_are_one_ladder(gate: Gate, clips: Path, trained: None) -> None:
    (clips / "p.toml").write_text(SMOKE)
    done = gate("--ladder . --policy p.toml --save-sidecars tracks --save-baseline last.bin --json")
    assert done.code == 0
    assert [r.name for r in from_gate_json(done.stdout.encode(), "stdout").rungs] == ["90.mp4", "180.mp4"]
    assert from_json((clips / "tracks" / "90.mp4.qclip.json").read_bytes(), "track").complete
    mixed = gate("tracks/90.mp4.qclip.json 180.mp4 --policy p.toml --baseline last.bin --json")
    assert mixed.code == 0
    assert {r.change for r in from_gate_json(mixed.stdout.encode(), "stdout").rungs} == {0.0}


def test_options_reach_the_measurement(gate: Gate, clips: Path, trained: None) -> None:
    (clips / "p.toml").write_text('display = "1280x720"\n' + SMOKE)
    said = "--segment 500ms --frames 1 --sampling uniform --seed 5 --bars keep -ss 0.4 -t 0.4 --device cpu --threads 1"
    assert gate(f"90.mp4 --policy p.toml --save-sidecars . {said}").code == 0
    settings = from_json((clips / "90.mp4.qclip.json").read_bytes(), "track").settings
    assert (settings.segment, settings.frames_per_window, settings.sampling, settings.seed) == ("0.5s", 1, "uniform", 5)
    assert (settings.bars, settings.start_s, settings.duration_s) == ("keep", 0.4, 0.4)
    assert settings.display == "1280x720", "as the policy says"
    refused = gate("90.mp4 --policy p.toml --display 1080")
    assert (refused.code, "are for a display of 1280x720" in refused.stderr) == (2, True)


def test_one_that_cannot_be_measured_costs_itself_only(gate: Gate, clips: Path, trained: None) -> None:
    (clips / "p.toml").write_text(SMOKE)
    (clips / "100.mp4").write_text("not a video")
    done = gate("90.mp4 100.mp4 180.mp4 --policy p.toml --json")
    report = from_gate_json(done.stdout.encode(), "stdout")
    assert done.code == 1
    assert {(r.subject, r.status) for r in report.results} == {
        ("100.mp4", "not_measured"),
        ("90.mp4", "passed"),
        ("180.mp4", "passed"),
    }
    assert "100.mp4: " in done.stderr
    assert "not measured" in done.stderr
    (clips / "p.toml").write_text(rule("pooled.mean", min=99.5))
    assert gate("90.mp4 100.mp4 --policy p.toml -q").code == 3, "what is broken is broken"


def test_what_cannot_be_compared_is_refused_before_anything_is_measured(
    gate: Gate, clips: Path, trained: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(*_: Any, **__: Any) -> None:
        raise AssertionError("it was measured")

    monkeypatch.setattr("qclip_ffmpeg.measurement.probe", measured)
    write_sidecars(clips, ladder(50))
    (clips / "p.toml").write_text(SMOKE)
    for arguments in ("90.mp4 r1.qclip.json", "90.mp4 --baseline r1"):
        (clips / "r1").mkdir(exist_ok=True)
        write_sidecars(clips / "r1", ladder(50))
        done = gate(f"{arguments} --policy p.toml")
        assert done.code == 2
        assert "cannot be compared: model." in done.stderr
    (clips / "p.toml").write_text(rule("pooled.mean", min=1, rungs="*1080*"))
    assert "matches no rung of 90.mp4" in gate("90.mp4 --policy p.toml").stderr


def test_an_untrained_model_is_refused_before_anything_is_measured(gate: Gate, clips: Path, tiny_weights: Path) -> None:
    done = gate("90.mp4 180.mp4")
    assert (done.code, done.stdout) == (2, "")
    assert "the model tiny is untrained and may not decide a gate" in done.stderr


def test_ctrl_c_gives_no_verdict(gate: Gate, clips: Path, trained: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("qclip_ffmpeg.measurement.probe", interrupted)
    assert gate("90.mp4 180.mp4 --preset smoke --save-baseline last.bin").code == 130
    assert not (clips / "last.bin").exists()


def test_names_of_rungs_leave_no_folder(gate: Gate, clips: Path, trained: None) -> None:
    (clips / "ladder.toml").write_text('[[rungs]]\nname = "../../up\\u0000/720p"\nfile = "90.mp4"\n')
    (clips / "p.toml").write_text(SMOKE)
    assert gate("--ladder ladder.toml --policy p.toml --save-sidecars tracks").code == 0
    assert [path.name for path in (clips / "tracks").iterdir()] == [".._.._up _720p.qclip.json"]
