"""Every example runs as its header says: shell scripts and CI steps in a stand-in environment, on the tiny model."""

import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import pytest
import yaml
from stand_in import SHELL, action_steps
from tiny_ladder import NOISE
from tiny_model import random_qclip, tiny_card, write_tower

from qclip_ffmpeg.calibration import Calibration
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, SUFFIX, WEIGHTS_DIR, save_checkpoint
from qclip_ffmpeg.ffmpeg import bundled_executable, run_command
from qclip_ffmpeg.policy import read_policy

pytest_plugins = ["model_fixtures"]

EXAMPLES = Path(__file__).parent.parent / "examples"
SCRIPTS = sorted(EXAMPLES.glob("*.sh"))
JOBS = sorted(EXAMPLES.glob("ci/*.yml"))
BASH = shutil.which("bash")
QUICK = ("--segment", "0.5", "--frames", "2", "--threads", "1")
FRAMES = 50
TIMEOUT_S = 600

with_both_models = pytest.mark.parametrize(
    "weights", ["tiny", pytest.param("bundled", marks=pytest.mark.slow)], indirect=True
)
needs_bash = pytest.mark.skipif(BASH is None, reason="the scripts need bash")
needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="the Makefile needs GNU make on PATH")

COMMAND = """#!{python}
from pathlib import Path
from qclip_ffmpeg import checkpoint
checkpoint.WEIGHTS_DIR = Path({weights!r})
from qclip_ffmpeg.cli.{name} import main
main()
"""


def command_with(name: str, weights: Path) -> str:
    """A program that is qclip-<name>, with the models of a folder."""
    return COMMAND.format(python=sys.executable, weights=str(weights), name=name)


@dataclass(frozen=True)
class Box:
    """A stand-in environment: programs of our choice before those of the system, and a folder for temporary files."""

    bin: Path
    temporary: Path

    def program(self, name: str, text: str) -> None:
        path = self.bin / name
        path.write_text(text)
        path.chmod(0o755)

    def run(self, *command: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, in the folder above ours."""
        path = f"{self.bin}{os.pathsep}{os.environ['PATH']}"
        ours = {"PATH": path, "FFMPEG": bundled_executable(), "TMPDIR": str(self.temporary), "COLUMNS": "200"}
        return subprocess.run(
            [str(part) for part in command],
            capture_output=True,
            text=True,
            cwd=self.bin.parent,
            env=os.environ | ours | environment,
            timeout=TIMEOUT_S,
            check=False,
        )


@pytest.fixture
def weights(request: pytest.FixtureRequest, tiny_folder: Path) -> Path:
    """Folder of the model that the stand-in qclip-probe scores with: the tiny one's unless a test says "bundled"."""
    return WEIGHTS_DIR if getattr(request, "param", "tiny") == "bundled" else tiny_folder


@pytest.fixture
def box(tmp_path: Path, weights: Path) -> Box:
    box = Box(tmp_path / "bin", tmp_path / "tmp")
    box.bin.mkdir()
    box.temporary.mkdir()
    box.program("python3", f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n')
    box.program("qclip-probe", command_with("probe", weights))
    return box


@pytest.fixture
def trained_weights(tmp_path: Path) -> Path:
    """A folder whose default model is the tiny one, and says that it is trained and calibrated."""
    folder = tmp_path / "weights"
    folder.mkdir()
    qclip = random_qclip()
    calibration = Calibration(id="tests", raw=(0.0, 100.0), score=(1.0, 99.0), error=(5.0, 5.0), clips=100, contents=10)
    card = tiny_card(write_tower(folder, qclip), status="trained", calibration=calibration, noise_band=NOISE)
    save_checkpoint(folder / (DEFAULT_MODEL + SUFFIX), card, qclip.trained_tensors())
    return folder


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, example_clip: Path) -> Path:
    """Two seconds of the example clip at 320x180, with a sound, under a name that shells stumble over."""
    path = tmp_path_factory.mktemp("it's a folder") / "it's a source.mp4"
    inputs = ["-i", str(example_clip), "-f", "lavfi", "-i", "sine"]
    options = ["-t", "2", "-vf", "scale=320:180", "-c:v", "libx264", "-crf", "16", "-c:a", "aac"]
    run_command([bundled_executable(), "-v", "error", "-nostdin", *inputs, *options, str(path)])
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "what it's worth"
    path.mkdir()
    return path


def scores(track: dict[str, Any]) -> dict[str, Any]:
    """What the pictures decide of a track; time stamps are the container's."""
    segments = [{**s, "start_pts": None, "frames": [f["time_s"] for f in s["frames"]]} for s in track["segments"]]
    return {"segments": segments, "pooled": track["pooled"], "complete": track["complete"]}


def frame_count(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


# Beside an encode


@needs_bash
@with_both_models
def test_loopback_scores_are_those_of_the_finished_files(box: Box, source: Path, folder: Path) -> None:
    """The encoded pictures never leave the encoding process but for the scorer, and score as the files do."""
    done = box.run(EXAMPLES / "ladder-loopback.sh", source, folder, *QUICK)
    assert (done.returncode, done.stderr) == (0, "")
    means = []
    for rung in ("360p", "180p"):
        live = json.loads((folder / f"{rung}.json").read_text())
        finished = json.loads(box.run("qclip-probe", folder / f"{rung}.mp4", "--json", *QUICK).stdout)
        for way, track in (("loopback", live), ("file", finished)):
            print(rung, way, [segment["score"] for segment in track["segments"]])
        assert scores(live) == scores(finished)
        assert [s["frame_count"] for s in live["segments"]] == [13, 12, 13, 12]
        assert live["source"]["video"]["color_matrix"] == finished["source"]["video"]["color_matrix"] == "bt709"
        means.append(live["pooled"]["mean"])
        assert f"{rung} {means[-1]}\n" in done.stdout
    assert len(set(means)) == 2, "two rungs, two scores"
    assert list(box.temporary.iterdir()) == []


@needs_bash
def test_a_scorer_that_fails_costs_no_encode(box: Box, source: Path, folder: Path) -> None:
    box.program("qclip-probe", "#!/bin/sh\nexit 7\n")
    for script in SCRIPTS:
        assert box.run(script, source, folder).returncode == 7, script
    encodes = sorted(folder.iterdir())
    assert [path.name for path in encodes] == ["180p.mp4", "360p.mp4", "encoded.mp4"]
    assert [frame_count(path) for path in encodes] == [FRAMES] * 3
    assert list(box.temporary.iterdir()) == []


@needs_bash
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_source_that_is_missing_ends_it(script: Path, box: Box, folder: Path) -> None:
    done = box.run(script, "gone.mp4", folder)
    assert done.returncode != 0
    assert "No such file or directory" in done.stderr
    assert list(box.temporary.iterdir()) == []


@needs_bash
@with_both_models
def test_tee_scores_are_those_of_the_finished_file(box: Box, source: Path, folder: Path) -> None:
    done = box.run(EXAMPLES / "tee.sh", source, folder, *QUICK)
    assert done.returncode == 0, done.stderr
    live = json.loads((folder / "encoded.json").read_text())
    finished = json.loads(box.run("qclip-probe", folder / "encoded.mp4", "--json", *QUICK).stdout)
    assert scores(live) == scores(finished)
    assert frame_count(folder / "encoded.mp4") == FRAMES


@needs_bash
@with_both_models
def test_split_scores_are_those_of_the_source(box: Box, source: Path, folder: Path) -> None:
    done = box.run(EXAMPLES / "split.sh", source, folder, *QUICK)
    assert done.returncode == 0, done.stderr
    live = json.loads((folder / "source.json").read_text())
    alone = json.loads(box.run("qclip-probe", source, "--json", *QUICK).stdout)
    assert scores(live) == scores(alone)
    assert frame_count(folder / "encoded.mp4") == FRAMES


@needs_bash
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_which_ffmpeg_a_script_takes(script: Path, tmp_path: Path) -> None:
    """$FFMPEG, the one on PATH, the one of imageio-ffmpeg: as qclip_ffmpeg.ffmpeg does."""
    [line] = [line for line in script.read_text().splitlines() if line.startswith("ffmpeg=")]
    (tmp_path / "python3").symlink_to(sys.executable)
    python = f'python3() {{ {shlex.quote(sys.executable)} "$@"; }}'

    def taken(**environment: str) -> str:
        inherited = {k: v for k, v in os.environ.items() if k not in ("FFMPEG", "PATH")}
        command = [str(BASH), "-euc", f'{python}\n{line}\necho "$ffmpeg"']
        return subprocess.run(
            command, capture_output=True, text=True, env=inherited | {"PATH": str(tmp_path)} | environment, check=True
        ).stdout.strip()

    assert taken() == bundled_executable()
    (tmp_path / "ffmpeg").symlink_to(bundled_executable())
    assert taken() == str(tmp_path / "ffmpeg")
    assert taken(FFMPEG="/opt/ffmpeg 9/ffmpeg") == "/opt/ffmpeg 9/ffmpeg"


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_stop_at_the_first_failure(script: Path) -> None:
    assert "\nset -euo pipefail\n" in script.read_text()
    assert os.access(script, os.X_OK)


# Ladders


@pytest.fixture
def hls(source: Path, tmp_path: Path) -> Path:
    """A master playlist of two rungs, the better one first."""
    folder = tmp_path / "an hls"  # FFmpeg cannot read one in a folder with a # or ?
    variants = ["-map", "0:v", "-map", "0:v", "-c:v", "libx264", "-b:v:0", "400k", "-b:v:1", "60k"]
    muxer = ["-f", "hls", "-master_pl_name", "master.m3u8", "-var_stream_map", "v:0 v:1"]
    command = [bundled_executable(), "-v", "error", "-nostdin", "-i", str(source), *variants, *muxer]
    run_command([*command, str(folder / "%v" / "index.m3u8")])
    return folder / "master.m3u8"


def run_python(name: str, arguments: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")


def test_the_rungs_of_a_master_playlist(
    hls: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_python("hls_ladder.py", [hls], monkeypatch)
    lines = capsys.readouterr().out.splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == [str(hls.parent / n / "index.m3u8") for n in ("1", "0")]
    rates, scores = zip(*(re.match(r" *(\d+) kbit/s  ([\d.]+)  ", line).groups() for line in lines), strict=True)
    assert int(rates[0]) < int(rates[1])
    assert scores[0] != scores[1]


def test_a_rung_that_is_missing_is_said(
    hls: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(hls.parent / "0")
    run_python("hls_ladder.py", [hls], monkeypatch)
    good, missing = capsys.readouterr().out.splitlines()
    assert "no such file" not in good
    assert "no such file" in missing


def test_playlists_as_they_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CRLF, AVERAGE-BANDWIDTH in front, I-frame playlists, renditions, addresses; from wherever it is named."""
    rungs = runpy.run_path(str(EXAMPLES / "hls_ladder.py"))["rungs"]
    folder = tmp_path / "d#1 é?x"
    folder.mkdir()
    master = folder / "master.m3u8"
    text = """#EXTM3U
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",URI="a.m3u8"
#EXT-X-STREAM-INF:AVERAGE-BANDWIDTH=1,BANDWIDTH=900000,CODECS="avc1,mp4a"

hi/index.m3u8?x=1
#EXT-X-STREAM-INF:BANDWIDTH=300000
https://cdn.example.com/lo.m3u8
#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=5,URI="i.m3u8"
"""
    master.write_bytes(text.replace("\n", "\r\n").encode())
    expected = {"https://cdn.example.com/lo.m3u8": 300000, str(folder / "hi" / "index.m3u8") + "?x=1": 900000}
    assert list(rungs(str(master)).items()) == list(expected.items())
    monkeypatch.chdir(folder)
    assert rungs("master.m3u8") == expected


def test_the_python_api(
    source: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run_python("python_api.py", [source, source.with_name("gone.mp4")], monkeypatch)
    good, missing = capsys.readouterr().out.splitlines()
    assert re.fullmatch(r"it's a source\.mp4: [\d.]+, p5 [\d.]+, noise band \S+, worst [\d.]+ at 0\.00 s", good)
    assert "gone.mp4: not measured: " in missing


@needs_make
def test_the_makefile_scores_what_has_changed(box: Box, source: Path) -> None:
    make = ("make", "-f", EXAMPLES / "ladder.mk", f"SOURCE={source}", "OUT=rungs", "PROBE_OPTIONS=--threads 1")
    done = box.run(*make, "RUNGS=90:40k 180:250k")
    assert done.returncode == 0, done.stderr
    rungs = box.bin.parent / "rungs"
    first = (rungs / "90p.mp4.qclip.json").read_text()
    assert {path.name for path in rungs.glob("*p.mp4*")} == {
        *("90p.mp4", "90p.mp4.qclip.json", "180p.mp4", "180p.mp4.qclip.json")
    }
    assert "Nothing to be done" in box.run(*make, "RUNGS=90:40k 180:250k").stdout
    added = box.run(*make, "RUNGS=90:40k 180:250k 120:100k")
    assert re.findall(r"(\d+)p\.mp4 ", added.stderr) == ["120"], "one was scored"
    assert (rungs / "90p.mp4.qclip.json").read_text() == first
    assert box.run(*make, "RUNGS=90:40k 180:250k 120:100k", "clean").returncode == 0
    assert list(rungs.iterdir()) == []


@needs_make
def test_the_makefile_does_not_keep_what_failed(box: Box, tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("no video")
    done = box.run("make", "-f", EXAMPLES / "ladder.mk", "SOURCE=notes.mp4")
    assert done.returncode != 0
    assert list((tmp_path / "ladder").iterdir()) == []


# Pipelines


Step = tuple[str, dict[str, str]]


def steps_of(path: Path) -> list[Step]:
    """(script, environment) of the steps of a pipeline that run scripts, those of our action among them."""
    pipeline = yaml.safe_load(path.read_text())
    [job] = [job for name, job in pipeline.get("jobs", pipeline).items() if isinstance(job, dict)]
    known = {name: str(value) for name, value in (pipeline.get("env") or job.get("variables")).items()}
    if "script" in job:
        return [("\n".join(job["before_script"]), known), ("\n".join(job["script"]), known)]
    steps: list[Step] = []
    for step in job["steps"]:
        if step.get("uses") == "./tools/qclip-ffmpeg":
            steps += [
                (script, known | said) for script, said in action_steps(step["with"], {"action_path": "/the/action"})
            ]
        elif "run" in step:
            steps.append((step["run"], known))
    return steps


@needs_bash
@needs_make
@pytest.mark.parametrize("path", JOBS, ids=lambda path: path.name)
def test_the_steps_of_a_pipeline(path: Path, box: Box, source: Path, trained_weights: Path, tmp_path: Path) -> None:
    """In a repository laid out as the file's header says: one policy passes, another one stops it."""
    box.program("qclip-gate", command_with("gate", trained_weights))
    for name in ("pip", "apt-get"):
        box.program(name, f'#!/bin/sh\necho {name} "$@" >> installed.txt\n')
    python = f'#!/bin/sh\n[ "$1" != -m ] || {{ shift; exec "$@"; }}\nexec {shlex.quote(sys.executable)} "$@"\n'
    box.program("python", python)
    (tmp_path / "quality").mkdir()
    (tmp_path / "media").mkdir()
    shutil.copy(EXAMPLES / "ladder.mk", tmp_path / "quality")
    shutil.copy(source, tmp_path / "media" / "source.mp4")
    (tmp_path / "quality" / "gate.toml").write_text(FLOOR.format(0))
    runner = {
        "GITHUB_OUTPUT": str(tmp_path / "output"),
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
        "RUNNER_TEMP": str(box.temporary),
    }
    steps = steps_of(path)
    for script, environment in steps:
        done = box.run(*SHELL, script, **environment, **runner)
        assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"180p.*\n.*360p.*\n", done.stdout + done.stderr), "the table of the rungs"
    installed = (tmp_path / "installed.txt").read_text()
    assert "pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu\n" in installed
    assert "pip install -- /the/action\n" in installed or "pip install tools/qclip-ffmpeg imageio-ffmpeg\n" in installed
    (tmp_path / "quality" / "gate.toml").write_text(FLOOR.format(100))
    script, environment = steps[-1]
    stopped = box.run(*SHELL, script, **environment, **runner)
    assert stopped.returncode == 3
    assert len(re.findall(r"(?:180|360)p\.mp4: pooled\.mean", stopped.stdout + stopped.stderr)) >= 2
    made = {found.name for found in tmp_path.rglob("gate.*") if found.parent.name != "quality"}
    assert made >= {"gate.xml", "gate.html"}


FLOOR = '[rules.floor]\nfigure = "pooled.mean"\nmin = {}\n'


def test_the_policy_of_the_pipelines_is_one() -> None:
    policy = read_policy(EXAMPLES / "ci" / "gate.toml")
    assert {"floor", "order", "damage"} <= {rule.name for rule in policy.rules}


# What is there


def test_the_table_names_every_example() -> None:
    table = (EXAMPLES / "README.md").read_text()
    files = [p.relative_to(EXAMPLES).as_posix() for p in EXAMPLES.rglob("*") if p.is_file() and p.name != "README.md"]
    named = re.findall(r"^\| \[([^]]+)\]\(\1\)", table, re.MULTILINE)
    assert sorted(named) == sorted(f for f in files if "__pycache__" not in f)


@pytest.mark.parametrize(
    "path",
    [*SCRIPTS, *JOBS, *EXAMPLES.glob("*.py"), *EXAMPLES.glob("*.mk"), *EXAMPLES.glob("ci/*.toml")],
    ids=lambda p: p.name,
)
def test_an_example_says_what_you_will_see(path: Path) -> None:
    assert "You will see" in path.read_text()[:1500]
