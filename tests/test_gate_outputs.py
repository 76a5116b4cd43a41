"""The reports of qclip-gate as its options ask for them: what is written where, what is refused before measuring."""

import json
import os
import shlex
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from junitparser import JUnitXml
from tiny_ladder import rung, write_sidecars

from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli.gate import command
from qclip_ffmpeg.cli.gate_outputs import WRITERS
from qclip_ffmpeg.emit.gate_json import from_gate_json
from qclip_ffmpeg.emit.github import SUMMARY_BYTES

POLICY = '[rules.floor]\nfigure = "pooled.min"\nmin = 40\n'
FILES = {
    "-o": "gate.json",
    "--junit": "gate.xml",
    "--markdown": "gate.md",
    "--gitlab": "gl.json",
    "--html": "gate.html",
    "--plot": "gate.png",
}
BEGINNINGS = {
    "-o": b'{\n  "schema": "qclip-gate"',
    "--junit": b"<?xml",
    "--markdown": b"<!-- qclip-gate -->",
    "--gitlab": b"[\n  {",
    "--html": b"<!doctype html>",
    "--plot": b"\x89PNG",
}


class Result(NamedTuple):
    code: int
    stdout: str
    stderr: str


Gate = Callable[..., Result]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder: a ladder of sidecars of which the middle rung is bad, and a policy."""
    monkeypatch.chdir(tmp_path)
    for name in ("GITHUB_STEP_SUMMARY", "GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "ladder").mkdir()
    rungs = [
        rung("360p", 50.0, 55.0, kbps=800.0),
        rung("720p", 70.0, 20.0, kbps=2400.0),
        rung("1080p", 85.0, 90.0, kbps=6000.0),
    ]
    write_sidecars(tmp_path / "ladder", rungs)
    (tmp_path / "policy.toml").write_text(POLICY)
    return tmp_path


@pytest.fixture
def gate(folder: Path, capfd: pytest.CaptureFixture[str]) -> Gate:
    """gate("--junit x.xml") -> Result: the command on the ladder, as its entry point runs it."""

    def run(typed: str = "", policy: str = "policy.toml", quiet: bool = True) -> Result:
        capfd.readouterr()
        listed = [str(path) for path in sorted(Path("ladder").glob("*.json"))]
        with pytest.raises(SystemExit) as ended:
            console.run_command(command, [*listed, "--policy", policy, *(["-q"] * quiet), *shlex.split(typed)])
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capfd.readouterr())

    return run


def test_all_reports_at_once(gate: Gate, folder: Path) -> None:
    done = gate(" ".join(f"{option} {name}" for option, name in FILES.items()))
    assert (done.code, done.stdout, done.stderr) == (3, "", "")
    for option, name in FILES.items():
        assert (folder / name).read_bytes().startswith(BEGINNINGS[option]), option
    report = from_gate_json((folder / "gate.json").read_bytes(), "gate.json")
    assert [rung.name for rung in report.rungs] == ["360p", "720p", "1080p"]
    assert JUnitXml.fromfile(str(folder / "gate.xml")).failures == 1
    [finding] = json.loads((folder / "gl.json").read_text())
    assert finding["location"] == {"path": "policy.toml", "lines": {"begin": 1}}


def test_there_is_a_test_of_every_report() -> None:
    assert {f"--{name}" for name in WRITERS} == {"--output", *FILES.keys() - {"-o"}}


def test_reports_are_written_over_older_ones_and_whole(gate: Gate, folder: Path) -> None:
    """A run that is repeated finds what the run before it wrote."""
    (folder / "gate.xml").write_text("an older one " * 1000)
    written = []
    for _ in range(2):
        assert gate("--junit gate.xml --html gate.html").code == 3
        written.append([(folder / name).read_bytes() for name in ("gate.xml", "gate.html")])
    assert written[0] == written[1]
    assert not list(folder.glob(".gate*"))


@pytest.mark.parametrize("option", ["--json", "-o -", "--junit -", "--markdown -", "--gitlab -"])
def test_one_report_goes_to_stdout(option: str, gate: Gate) -> None:
    done = gate(option)
    assert (done.code, done.stderr) == (3, "")
    assert done.stdout.encode().startswith(BEGINNINGS["-o" if option == "--json" else option.split()[0]])
    assert "720p" in gate(option, quiet=False).stderr


def test_github_gets_annotations_and_a_summary(gate: Gate, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    summary = folder / "summary.md"
    summary.write_text("# Of an earlier command\n")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    monkeypatch.setenv("GITHUB_WORKSPACE", str(folder))
    done = gate("--github -o gate.json")
    assert done.code == 3
    assert done.stderr == ""
    [line] = done.stdout.splitlines()
    assert line.startswith("::error file=policy.toml,line=1,title=720p%3A pooled.min::720p: pooled.min: ")
    first, second, *_ = summary.read_text().splitlines()
    assert (first, second) == ("# Of an earlier command", "<!-- qclip-gate -->")
    before = summary.stat().st_size
    assert gate("--github").code == 3
    assert before < summary.stat().st_size <= SUMMARY_BYTES


def test_github_without_a_runner(gate: Gate) -> None:
    done = gate("--github")
    assert (done.code, done.stdout[:7]) == (3, "::error")
    assert done.stderr == "qclip-gate: --github: $GITHUB_STEP_SUMMARY is not set, no summary is written\n"


def test_a_summary_that_cannot_be_written_is_said(gate: Gate, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(folder / "gone" / "summary.md"))
    (folder / "policy.toml").write_text(POLICY.replace("40", "10"))
    done = gate("--github")
    assert done.code == 2
    assert "--github: " in done.stderr
    assert "summary.md: cannot be written" in done.stderr


@pytest.mark.parametrize("variable", ["GITHUB_WORKSPACE", "CI_PROJECT_DIR", "WORKSPACE"])
def test_paths_are_seen_from_the_repository(
    variable: str, gate: Gate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(folder.parent))
    [finding] = json.loads(gate("--gitlab -").stdout)
    assert finding["location"]["path"] == f"{folder.name}/policy.toml"


def test_a_preset_is_no_file_of_the_repository(gate: Gate, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Its rules are annotated without a place, and GitLab finds them at the rung's file."""
    with pytest.raises(SystemExit):
        console.run_command(
            command, [*map(str, sorted(folder.glob("ladder/*"))), "--preset", "strict", "-q", "--github"]
        )
    lines = capfd.readouterr().out.splitlines()
    assert lines
    assert not [line for line in lines if "file=" in line]


def test_the_verdict_decides_before_the_files(gate: Gate, folder: Path) -> None:
    (folder / "policy.toml").write_text(POLICY.replace("40", "10"))
    assert gate("--junit gate.xml").code == 0
    assert JUnitXml.fromfile("gate.xml").failures == 0
    assert gate("--junit /dev/full --markdown gate.md").code == 1
    assert (folder / "gate.md").exists(), "the others are written"
    (folder / "policy.toml").write_text(POLICY)
    done = gate("--junit /dev/full --markdown gate.md")
    assert done.code == 3
    assert done.stderr == "qclip-gate: --junit: /dev/full: cannot be written (No space left on device); " + (
        "choose another place\n"
    )


REFUSED: dict[str, tuple[str, list[str]]] = {
    "two on stdout": ("--json --junit -", ["--junit and --json: standard output can take one report", "a file each"]),
    "github and stdout": ("--github --markdown -", ["--markdown and --github: standard output"]),
    "a page on stdout": ("--html -", ["--html -", "goes to a file"]),
    "a picture on stdout": ("--plot -", ["--plot -", "goes to a file"]),
    "a page under another name": ("--html gate.txt", ["--html gate.txt", ".html"]),
    "a picture under another name": ("--plot gate.jpg", ["--plot gate.jpg", ".png"]),
    "one file twice": ("--junit a.xml --markdown ./a.xml", ["a.xml", "written twice"]),
    "a sidecar": ("-o ladder/360p.qclip.json", ["-o ladder/360p.qclip.json", "one of the inputs"]),
    "a link to a sidecar": ("-o link.json", ["-o link.json", "one of the inputs"]),
    "the policy": ("--junit policy.toml", ["--junit policy.toml", "one of the inputs"]),
    "the baseline that is saved": ("-o b.json --save-baseline b.json", ["-o b.json", "another option"]),
    "a baseline over a sidecar": ("--save-baseline ladder/360p.qclip.json", ["--save-baseline", "one of the inputs"]),
    "a folder": ("--junit ladder", ["--junit ladder", "not a file"]),
    "no folder": ("--junit gone/a.xml", ["gone/a.xml", "existing folder"]),
    "a folder that nobody can write to": ("--junit /proc/a.xml", ["/proc/a.xml", "cannot be written"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused_before_anything_is_read(
    case: str, gate: Gate, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "link.json").symlink_to("ladder/360p.qclip.json")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    monkeypatch.setattr("qclip_ffmpeg.cli.gate.measure", lambda *_: pytest.fail("it went on"))
    typed, said = REFUSED[case]
    done = gate(typed)
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("qclip-gate: ")
    assert done.stderr.count("\n") == 1
    for part in said:
        assert part in done.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_pipe_is_written_to_and_stays(gate: Gate, folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        assert gate("--junit pipe").code == 3
        assert os.read(reader, 1000).startswith(b"<?xml")
    finally:
        os.close(reader)
    assert stat.S_ISFIFO((folder / "pipe").stat().st_mode)


def test_frames_are_shown_where_the_media_lies_beside_its_sidecar(
    gate: Gate, folder: Path, media: Callable[..., Path]
) -> None:
    """The frames of hand-made tracks are none: what is missing is said, and the report is written."""
    assert gate("--html gate.html").stderr == ""
    video: Any = media("gate.mp4", 1, (192, 108), c="libx264", preset="ultrafast")
    (folder / "ladder" / "720p").write_bytes(video.read_bytes())
    done = gate("--html gate.html")
    assert done.code == 3
    assert "--html: 360p: the scored frames are not shown, only a file can be read a second time" in done.stderr
    assert (folder / "gate.html").read_bytes().startswith(b"<!doctype html>")


def test_reports_of_sidecars_load_nothing_heavy(folder: Path) -> None:
    """In a fresh interpreter: no torch, no av, and matplotlib only for its picture."""
    asked = [part for option, name in FILES.items() if option != "--plot" for part in (option, name)]
    inputs = [str(path) for path in sorted(folder.glob("ladder/*"))]
    arguments = [*inputs, "--policy", "policy.toml", *asked, "--github"]
    script = f"""
import sys
from qclip_ffmpeg.cli.gate import command
assert command.main({arguments!r}, standalone_mode=False) == 3
print(*sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=folder)
    loaded = {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}
    assert {"jinja2", "qclip_ffmpeg"} <= loaded
    assert not loaded & {"torch", "av", "scipy", "matplotlib", "open_clip", "torchvision"}


def test_the_help_names_every_report(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        console.run_command(command, ["--help"])
    shown = " ".join(capfd.readouterr().out.split())
    for option in ("--json", "-o, --output", "--github", "Never done unasked", *(FILES.keys() - {"-o"})):
        assert option in shown
