"""The GitHub Action and the pre-commit hook, run in a stand-in environment on real sidecars."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from junitparser import JUnitXml
from stand_in import ACTION, SHELL, action_steps, commands
from tiny_ladder import rung, write_sidecars

from qclip_ffmpeg.emit.gate_json import from_gate_json

ROOT = Path(__file__).parent.parent
HOOKS = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
POLICY = '[rules.floor]\nfigure = "pooled.min"\nmin = 40\n'

needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="the action's steps need bash")
needs_git = pytest.mark.skipif(shutil.which("git") is None, reason="pre-commit needs git")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A repository with a ladder of sidecars and a policy; the middle rung is bad. Programs of ours lie beside it."""
    folder, programs = tmp_path / "a checkout", tmp_path / "bin"
    (folder / "ladder").mkdir(parents=True)
    programs.mkdir()
    rungs = [rung("360p", 50.0, 55.0, kbps=800.0), rung("720p", 70.0, 20.0, kbps=2400.0)]
    write_sidecars(folder / "ladder", rungs)
    (folder / "policy.toml").write_text(POLICY)
    (folder / "low.toml").write_text(POLICY.replace("40", "10"))
    program(programs / "qclip-gate", f'exec {shlex.quote(sys.executable)} -m qclip_ffmpeg.cli.gate "$@"')
    pip = '[ "$1 $2" != "-m pip" ] || { echo "$@" >> ../installed.txt; exit; }'
    program(programs / "python", f'{pip}\nexec {shlex.quote(sys.executable)} "$@"')
    return folder


def program(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def environment(checkout: Path, **more: str) -> dict[str, str]:
    """What a runner sets, and our programs before the others; the tests' qclip_ffmpeg is the one that runs."""
    programs = checkout.parent / "bin"
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "RUNNER_", "CI", "GIT_"))}
    return kept | {"PATH": f"{programs}{os.pathsep}{kept['PATH']}", "PYTHONPATH": str(ROOT), "COLUMNS": "200"} | more


Act = Callable[..., tuple[subprocess.CompletedProcess[str], dict[str, str]]]


@pytest.fixture
def act(checkout: Path, tmp_path: Path) -> Act:
    """act(**inputs) -> (the last step that ran, the outputs), as a job that uses the action; "_" stands for "-"."""

    def run(**given: str) -> tuple[subprocess.CompletedProcess[str], dict[str, str]]:
        inputs = {name.replace("_", "-"): value for name, value in given.items()}
        output = tmp_path / "output"
        output.write_text("")
        runner = {
            "GITHUB_OUTPUT": str(output),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            "GITHUB_WORKSPACE": str(checkout),
            "GITHUB_ACTIONS": "true",
            "RUNNER_TEMP": str(tmp_path),
        }
        for script, said in action_steps(inputs, {"action_path": "/the/action"}):
            done = subprocess.run(
                [*SHELL, script],
                capture_output=True,
                text=True,
                check=False,
                cwd=checkout,
                env=environment(checkout, **runner, **said),
            )
            if done.returncode:
                break
        return done, dict(line.split("=", 1) for line in output.read_text().splitlines())

    return run


# The action


def test_no_input_becomes_shell() -> None:
    """Expressions stand in env and with only; what is in env is quoted wherever the scripts use it."""
    for step in ACTION["runs"]["steps"]:
        assert "${{" not in step.get("run", "")
        assert step.get("shell", "bash") == "bash"
        for name in step.get("env", {}):
            befores = re.findall(rf"^(.*)\$\{{?{name}\b", step["run"], re.MULTILINE)
            assert befores, f"${name} is not used"
            assert all(before.count('"') % 2 for before in befores), f"${name} is not quoted"


def test_every_input_and_output_is_used_and_described() -> None:
    text = (ROOT / "action.yml").read_text()
    page = (ROOT / "docs" / "ci.md").read_text()
    for name, said in ACTION["inputs"].items():
        assert said["description"]
        assert f"inputs.{name}" in text
        assert f"`{name}`" in page
    for name, said in ACTION["outputs"].items():
        assert said["description"]
        assert said["value"] == f"${{{{ steps.gate.outputs.{name} }}}}"
        assert f"`{name}`" in page


@needs_bash
def test_a_ladder_that_passes(act: Act, checkout: Path, tmp_path: Path) -> None:
    done, outputs = act(files="ladder/*.qclip.json", policy="low.toml")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (outputs["passed"], outputs["exit-code"]) == ("true", "0")
    assert {name for name, path in outputs.items() if Path(path).is_file()} == {"json", "junit", "markdown", "html"}
    assert from_gate_json(Path(outputs["json"]).read_bytes(), "gate.json").passed
    assert commands(done.stdout) == ["::notice title=qclip-gate::passed: 2 checks; 2 rungs, policy low"]
    assert "passed: 2 checks" in (tmp_path / "summary.md").read_text()
    assert "360p" in done.stdout, "the table is in the log"
    installed = (tmp_path / "installed.txt").read_text().splitlines()
    assert installed == [
        "-m pip install torch torchvision --index-url https://download.pytorch.org/whl/cpu",
        "-m pip install -- /the/action",
    ]
    assert sorted(path.name for path in checkout.iterdir()) == ["ladder", "low.toml", "policy.toml"]


@needs_bash
def test_a_ladder_that_fails_fails_the_step(act: Act, tmp_path: Path) -> None:
    done, outputs = act(ladder="ladder", policy="policy.toml", package="installed")
    assert done.returncode == 3
    assert (outputs["passed"], outputs["exit-code"]) == ("false", "3")
    [line] = commands(done.stdout)
    assert line.startswith("::error file=policy.toml,line=1,title=720p%3A pooled.min::720p: pooled.min: ")
    assert JUnitXml.fromfile(outputs["junit"]).failures == 1
    assert not (tmp_path / "installed.txt").exists()


@needs_bash
def test_what_cannot_be_judged_is_no_pass(act: Act) -> None:
    done, outputs = act(files="gone.qclip.json", package="installed")
    assert (done.returncode, outputs) == (2, {"exit-code": "2", "passed": "false"})
    assert "gone.qclip.json" in done.stdout
    done, outputs = act(package="installed")
    assert done.returncode == 2
    assert "the ladder is empty" in done.stdout


@needs_bash
def test_a_baseline_is_saved_and_then_compared_with(act: Act, checkout: Path) -> None:
    asked = {"ladder": "ladder", "preset": "", "policy": "base.toml", "package": "installed"}
    (checkout / "base.toml").write_text('[rules.drop]\nfigure = "baseline.drop"\n' + POLICY.replace("40", "10"))
    done, _ = act(**asked, baseline="last.json", save_baseline="last.json")
    assert done.returncode == 0, done.stdout
    assert "There is no baseline yet: last.json" in done.stdout
    write_sidecars(checkout / "ladder", [rung("360p", 35.0, 35.0, kbps=800.0)])
    done, _ = act(**asked, baseline="last.json")
    assert done.returncode == 3
    assert "baseline.drop" in commands(done.stdout)[0]


@needs_bash
def test_arguments_one_a_line(act: Act, checkout: Path) -> None:
    arguments = "--gitlab\ncode quality.json\r\n--policy=low.toml\n\n"
    done, outputs = act(
        package="installed", files="ladder/360p.qclip.json\r\nladder/720p.qclip.json\r\n", args=arguments
    )
    assert done.returncode == 0, done.stdout
    report = from_gate_json(Path(outputs["json"]).read_bytes(), "gate.json")
    assert [rung.name for rung in report.rungs] == ["360p", "720p"]
    assert (checkout / "code quality.json").read_text() == "[]\n"


HOSTILE = [
    "$(touch owned) `touch owned` ${IFS}",
    "; touch owned; && touch owned | touch owned #",
    "\"; touch owned; '\"'",
    "--save-baseline=owned",
    "x\npassed=true\nowned=1",
    "::set-output name=owned::1\n::add-mask::a\n##[add-mask]b",
    "/*/*/passwd?",
]


@needs_bash
@pytest.mark.parametrize("where", ["files", "ladder", "preset", "policy", "baseline", "package", "args"])
def test_hostile_inputs_do_nothing(where: str, act: Act, checkout: Path) -> None:
    said = "\n".join(line for line in HOSTILE if where != "args" or not line.startswith("--"))
    given = {"files": "ladder/*.json", "policy": "low.toml", "package": "installed", where: said}
    done, outputs = act(**given)
    assert list(checkout.parent.rglob("owned*")) == []
    assert outputs.keys() <= ACTION["outputs"].keys()
    assert outputs["passed"] == ("true" if where in ("baseline", "package") else "false")
    assert all(line.startswith(("::notice ", "::error ")) for line in commands(done.stdout))


@needs_bash
def test_names_with_spaces_and_patterns_in_them_are_names(act: Act, checkout: Path) -> None:
    for number, name in enumerate(["a b.qclip.json", "[x].qclip.json", "--help.qclip.json"]):
        one = rung(name, 60.0 + number, 61.0, kbps=3000.0 + number)
        (checkout / name).write_bytes(write_sidecars(checkout / "ladder", [one])[0].read_bytes())
    files = "a b.qclip.json\n[x].qclip.json\n--*.json\n"
    done, outputs = act(files=files, policy="low.toml", package="installed")
    assert done.returncode == 0, done.stdout
    report = from_gate_json(Path(outputs["json"]).read_bytes(), "gate.json")
    assert sorted(rung.name for rung in report.rungs) == ["--help", "[x]", "a b"]


# pre-commit


def test_the_hook_is_the_command() -> None:
    [hook] = HOOKS
    assert (hook["id"], hook["entry"], hook["pass_filenames"]) == ("qclip-gate", "qclip-gate", False)


@needs_git
def test_the_hook_judges_the_ladder_when_a_sidecar_changes(checkout: Path, tmp_path: Path) -> None:
    """Through pre-commit itself, with the hooks of this repository in one of their own."""
    pytest.importorskip("pre_commit")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    shutil.copy(ROOT / ".pre-commit-hooks.yaml", hooks)
    names = {"GIT_AUTHOR_NAME": "a", "GIT_AUTHOR_EMAIL": "a@b", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@b"}
    home = {"PRE_COMMIT_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path), **names}

    def run(*arguments: str, cwd: Path = checkout, code: int = 0) -> str:
        done = subprocess.run(
            arguments, capture_output=True, text=True, cwd=cwd, check=False, env=environment(checkout, **home)
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    run("git", "init", "-q", cwd=hooks)
    run("git", "add", ".", cwd=hooks)
    run("git", "commit", "-qm", "hooks", cwd=hooks)
    revision = run("git", "rev-parse", "HEAD", cwd=hooks).strip()
    arguments = ["--ladder", "ladder", "--policy", "low.toml"]
    config = {"repos": [{"repo": str(hooks), "rev": revision, "hooks": [{"id": "qclip-gate", "args": arguments}]}]}
    (checkout / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
    run("git", "init", "-q")
    run("git", "add", ".")
    pre_commit = (sys.executable, "-m", "pre_commit")
    run(*pre_commit, "install")
    assert "Passed" in run("git", "commit", "-m", "a good ladder")
    (checkout / "notes.txt").write_text("no ladder")
    run("git", "add", ".")
    assert "Skipped" in run("git", "commit", "-m", "notes")
    write_sidecars(checkout / "ladder", [rung("360p", 5.0, 6.0, kbps=800.0)])
    run("git", "add", ".")
    said = run("git", "commit", "-m", "a bad ladder", code=1)
    assert "exit code: 3" in said
    assert "360p: pooled.min" in said
