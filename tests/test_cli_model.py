"""qclip-model as people use it, on tiny things: what it takes, where results go, and how it says no."""

import json
import math
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import torch
from official_tiny import official_checkpoint
from safetensors import safe_open
from safetensors.torch import save_file
from tiny_training import PE, clips_of, recipe_for

from qclip_ffmpeg import __version__
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, WEIGHTS_DIR
from qclip_ffmpeg.cli import console
from qclip_ffmpeg.cli import model as model_cli
from qclip_ffmpeg.cli.model import command
from qclip_ffmpeg.train.loop import Trainer

pytest_plugins = ["train_fixtures"]

COMMANDS = ("train", "evaluate", "calibrate", "compare", "list", "info", "import", "backbone")
PRESET = """
[model]
backbone = "bundled"
readout = { kind = "statistics", exit_blocks = [3], statistics = ["class", "mean"] }
levels = "vectors"
adapters = { kind = "shared", share = "core", dim = 8, first_block = 2 }

[data]
labels = "data/labels.csv"
score_range = [0, 100]

[split]
train = 0.5
val = 0.25
test = 0.25

[sampling]
frames = 2
policy = "uniform"
display = [128, 96]

[optimiser]
epochs = 2
batch = 4

[cache]
folder = "cache"
"""
VARIANTS = """
[[variants]]
group = "all"
name = "prompts"
needs_text = true
model = { levels = "prompts", readout = { kind = "joint" } }

[[variants]]
group = "all"
name = "SCMA"

[[variants]]
group = "all"
name = "one frame"
like = "SCMA"
sampling = { frames = 1 }
"""


class Result:
    """How a command ended."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code, self.stdout, self.stderr = code, stdout, stderr


Command = Callable[..., Result]


@pytest.fixture
def qclip_model(capfd: pytest.CaptureFixture[str]) -> Command:
    """qclip_model("train p.toml -o out") -> Result: the command in this process, as its entry point runs it."""

    def run(typed: str) -> Result:
        capfd.readouterr()
        with pytest.raises(SystemExit) as ended:
            console.run_command(command, shlex.split(typed))
        assert isinstance(ended.value.code, int)
        return Result(ended.value.code, *capfd.readouterr())

    return run


@pytest.fixture(scope="session")
def data(rated: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the rated videos and labels.csv, and files that cannot be used."""
    folder = tmp_path_factory.mktemp("rated")
    for clip in clips_of(recipe_for(rated)):
        shutil.copy(clip.path, folder)
    shutil.copy(rated, folder)
    rows = rated.read_text().splitlines()
    header, good = rows[0], rows[1:]
    (folder / "many.csv").write_text("\n".join([header, good[0], "gone.mkv,5,a", good[0], f"{good[1]},1", "x.mkv,?,b"]))
    (folder / "equal.csv").write_text("\n".join([header, *(re.sub(r",[\d.]+,", ",50,", row) for row in good)]))
    (folder / "header.csv").write_text(header)
    (folder / "columns.csv").write_text("\n".join([header.replace("score", "mos"), *good]))
    (folder / "broken.mkv").write_text("not a video")
    (folder / "broken.csv").write_text("\n".join([*rows, "broken.mkv,50,content0"]))
    (folder / "binary.csv").write_bytes(b"\xff\xfe\x00")
    return folder


@pytest.fixture
def folder(data: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, undrawn: None) -> Iterator[Path]:
    """The working folder: presets, data, a trained model in `done`."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").symlink_to(data)
    (tmp_path / "p.toml").write_text(PRESET)
    (tmp_path / "compare.toml").write_text(PRESET + VARIANTS)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return tmp_path


# What it takes


def test_help_starts_without_the_heavy_modules() -> None:
    code = (
        "import sys; from qclip_ffmpeg.cli.model import command\n"
        f"for words in ([], *([name] for name in {COMMANDS})):\n"
        "    assert command.main([*words, '--help'], standalone_mode=False) == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    heavy = {"torch", "av", "open_clip", "timm", "scipy", "matplotlib", "numpy", "safetensors", "msgspec"}
    assert not set(done.stderr.split()) & heavy
    assert done.stdout.count("Examples:") == 1
    assert "Exit status: 0 done, 1 failed on the way, 2 wrong usage, 130 interrupted" in done.stdout


def test_looking_at_a_preset_starts_without_what_training_needs() -> None:
    preset = Path(__file__).parents[1] / "presets" / "train" / "default.toml"
    code = (
        "import sys; from qclip_ffmpeg.cli.model import command\n"
        f"assert command.main(['info', {str(preset)!r}], standalone_mode=False) == 0\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not set(done.stderr.split()) & {"scipy", "matplotlib", "open_clip"}
    assert "GFLOP" in done.stdout


def test_every_command_and_option_is_explained(qclip_model: Command) -> None:
    assert isinstance(command, click.Group)
    assert set(command.commands) == set(COMMANDS)
    overview = qclip_model("--help").stdout
    for name, one in command.commands.items():
        assert f"{name} " in overview
        assert "..." not in next(line for line in overview.splitlines() if line.strip().startswith(f"{name} "))
        done = qclip_model(f"{name} --help")
        assert (done.code, done.stderr) == (0, "")
        assert one.help, name
        for parameter in one.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)
                assert all(spelling in done.stdout for spelling in parameter.opts), (name, parameter.name)


def test_the_examples_are_commands_that_there_are() -> None:
    """And options that they take."""
    lines = [line.split() for line in model_cli.EXAMPLES.splitlines() if line.startswith("  qclip-model ")]
    assert len(lines) > 4
    for _, name, *words in lines:
        options = {spelling for parameter in command.commands[name].params for spelling in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options


def test_version(qclip_model: Command) -> None:
    assert qclip_model("--version").stdout == f"qclip-model, version {__version__}\n"


def test_nothing_said_is_answered_with_the_help(qclip_model: Command) -> None:
    done = qclip_model("")
    assert done.code == 2
    assert done.stderr.startswith("Usage: qclip-model")
    assert done.stdout == ""


# From one end to the other


def test_train_evaluate_and_look_at_it(folder: Path, qclip_model: Command) -> None:
    done = qclip_model("train p.toml -o runs/first")
    assert (done.code, done.stdout) == (0, "")
    [line] = done.stderr.splitlines()
    assert re.match(r"epoch [12]: labels.csv, test part: \d clips of \d contents?, SROCC ", line)
    assert {p.name for p in (folder / "runs" / "first").iterdir()} >= {"model.safetensors", "log.jsonl", "figures.json"}
    assert (folder / "cache").is_dir(), "in the folder the command runs in"
    again = qclip_model("train p.toml -o runs/first")
    assert (again.code, again.stderr) == (0, done.stderr)

    done = qclip_model("evaluate runs/first/model.safetensors p.toml -o figures")
    assert (done.code, done.stdout) == (0, "")
    assert re.match(r"qclip-\w+: labels.csv: 12 clips of 6 contents, SROCC ", done.stderr)
    assert json.loads((folder / "figures" / "figures.json").read_text())["figures"]["clips"] == 12
    assert {p.name for p in (folder / "figures").iterdir()} >= {"per_content.csv", "predictions.csv"}

    done = qclip_model("info runs/first/model.safetensors")
    assert (done.code, done.stderr) == (0, "")
    known = "calibration: none\nnoise band: none\ndomain: none\n"
    assert done.stdout == qclip_model("info p.toml").stdout + known, "of a preset nothing is known"
    assert "frozen " in done.stdout
    assert "text tower" not in done.stdout
    found = json.loads(qclip_model("info p.toml --json").stdout)
    assert [part["name"] for part in found["parts"]][:4] == ["embed and the rest", "1", "2", "3"]


def test_options_take_the_place_of_the_preset(folder: Path, data: Path, qclip_model: Command) -> None:
    rows = (data / "labels.csv").read_text().splitlines()
    (folder / "elsewhere.csv").write_text("\n".join(rows[:9]))
    options = "--labels elsewhere.csv --root data --cache other"
    assert qclip_model(f"train p.toml {options} -o out -q --device cpu --threads 1").code == 0
    assert sorted(p.name for p in folder.iterdir() if p.is_dir()) == ["data", "other", "out"]
    for more in ("", "--frames 1", "--sampling motion"):
        done = qclip_model(f"evaluate out/model.safetensors p.toml --labels elsewhere.csv --root data {more} -o eval")
        assert "elsewhere.csv: 8 clips of 4 contents" in done.stderr


def test_quiet_is_quiet(folder: Path, qclip_model: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(console, "PLAIN_PROGRESS_INTERVAL_S", 0.0)
    done = qclip_model("train p.toml -o loud")
    assert "epoch 2 of 2: 1 of 2" in done.stderr
    assert "frozen blocks: 3 of 12" in done.stderr
    for typed in (
        "train p.toml -o out -q",
        "evaluate out/model.safetensors p.toml -o eval -q",
        "compare compare.toml -o c -q",
    ):
        done = qclip_model(typed)
        assert (done.code, done.stdout, done.stderr) == (0, "", "")


def test_a_row_of_splits(folder: Path, qclip_model: Command) -> None:
    (folder / "p.toml").write_text(PRESET.replace("[split]", "[split]\nrepeats = 2"))
    done = qclip_model("train p.toml -o out")
    first, second, over = done.stderr.splitlines()
    assert first.startswith("split 0, epoch ")
    assert second.startswith("split 1, epoch ")
    assert re.match(r"2 splits, mean and standard deviation: SROCC -?\d\.\d{3} ± \d\.\d{3}, KROCC ", over)


def test_without_a_test_part(folder: Path, qclip_model: Command) -> None:
    (folder / "p.toml").write_text(PRESET.replace("test = 0.25", "test = 0").replace("train = 0.5", "train = 0.75"))
    assert re.fullmatch(r"epoch [12]: no test part\n", qclip_model("train p.toml -o out").stderr)


def test_compare(folder: Path, qclip_model: Command) -> None:
    done = qclip_model("compare compare.toml -o out")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout == (folder / "out" / "compare.md").read_text()
    assert [line.split(" | ")[0] for line in done.stdout.splitlines()[2:]] == [
        "| **all**",
        "| prompts",
        "| SCMA",
        "| one frame",
    ]


def test_prompts_and_fine_tuning_with_a_backbone_file(folder: Path, tiny: Path, qclip_model: Command) -> None:
    prompts = re.sub(
        r"levels = .*", "", PRESET.replace('"bundled"', f'"{PE}"').replace("first_block = 2", "first_block = 3")
    )
    (folder / "pe.toml").write_text(re.sub(r"readout = .*", 'readout = { kind = "joint" }', prompts))
    backbone = tiny / "PE.safetensors"
    assert qclip_model(f"train pe.toml --backbone {backbone} -o first -q").code == 0
    start = "--start first/model.safetensors"
    done = qclip_model(f"train pe.toml --backbone {backbone} {start} --root data --labels data/labels.csv -o second")
    assert done.code == 0, done.stderr
    done = qclip_model("evaluate second/model.safetensors pe.toml -o eval")
    assert done.code == 0, done.stderr
    assert "text" in qclip_model("info pe.toml").stdout


def test_list_names_what_is_bundled(qclip_model: Command) -> None:
    done = qclip_model("list")
    assert done.code == 0
    names = [line.split("  ")[0] for line in done.stdout.splitlines()]
    assert names == sorted(p.stem for p in WEIGHTS_DIR.glob("qclip-*.safetensors"))
    assert f"{DEFAULT_MODEL}  trained, the default: " in done.stdout


def test_import_an_official_checkpoint(tmp_path: Path, qclip_model: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(official_checkpoint(), "best.pth")
    typed = "import best.pth -o ours.safetensors --heads 4 --first-block 3"
    done = qclip_model(typed)
    assert done.code == 0
    assert done.stderr == "wrote ours.safetensors and its backbone ours.backbone.safetensors; keep them in one folder\n"
    assert "SCMA" not in done.stdout
    assert "shared core" in qclip_model("info ours.safetensors").stdout
    done = qclip_model(typed)
    assert (done.code, "add -y to overwrite it" in done.stderr) == (2, True)
    assert qclip_model(f"{typed} -y").code == 0


def test_ctrl_c_and_again(folder: Path, qclip_model: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    assert qclip_model("train p.toml -o whole").code == 0
    update = console.StageProgress.update

    def interrupted(self: console.StageProgress, stage: str, done: int, total: int) -> None:
        if (stage, done) == ("epoch 2 of 2", 1):
            raise KeyboardInterrupt
        update(self, stage, done, total)

    with monkeypatch.context() as patch:
        patch.setattr(console.StageProgress, "update", interrupted)
        done = qclip_model("train p.toml -o out")
    assert (done.code, done.stderr) == (130, "\nqclip-model: interrupted\n"), "a line of its own after ^C"
    assert qclip_model("train p.toml -o out").code == 0
    for name in ("model.safetensors", "log.jsonl", "figures.json"):
        assert (folder / "out" / name).read_bytes() == (folder / "whole" / name).read_bytes()


# How it says no

CHANGED: dict[str, tuple[str, str, list[str]]] = {
    "unknown key": ("epochs = 2", "epoch = 2", ["bad.toml", "unknown field `epoch`", "$.optimiser"]),
    "unknown table": ("[split]", "[splits]", ["bad.toml", "unknown field `splits`"]),
    "not a number": ("epochs = 2", 'epochs = "two"', ["bad.toml", "Expected `int`", "$.optimiser.epochs"]),
    "out of range": ("batch = 4", "batch = 1", ["bad.toml", ">= 2", "$.optimiser.batch"]),
    "no such policy": ("uniform", "best", ["bad.toml", "'best'", "$.sampling.policy"]),
    "no such adapter": ('"shared"', '"lora"', ["bad.toml", "'lora'", "$.model.adapters.kind"]),
    "no TOML": ("[model]", "[model", ["bad.toml", "is not TOML"]),
    "no data": ("[data]", "[data2]", ["bad.toml", "data"]),
    "no such backbone": ('"bundled"', '"PE-Core-L-14"', ["PE-Core-L-14", "open_clip knows no", "PE-Core-L-14-336"]),
    "no such weights": ('"bundled"', f'"{PE}"\npretrained = "metal"', ["no weights 'metal'", "it has: meta"]),
    "no backbone file": ('"bundled"', f'"{PE}"', [PE, "--backbone FILE", f"qclip-model backbone {PE} --pretrained"]),
    "first block too high": ("first_block = 2", "first_block = 4", ["first_block = 4", "runs 3 blocks"]),
    "exit too high": ("[3]", "[5]", ["exit_blocks", "has 4 blocks"]),
    "exits out of order": ("[3]", "[3, 2]", ["exit_blocks", "ascending"]),
    "no exit": ("[3]", "[]", ["readout", "name at least one"]),
    "joint space": (
        '{ kind = "statistics", exit_blocks = [3], statistics = ["class", "mean"] }',
        '{ kind = "joint" }',
        ["joint", "bundled"],
    ),
    "prompts without text": ('"vectors"', '"prompts"', ['levels = "prompts"', "joint"]),
    "zero-shot is not trained": ('"vectors"', '"zero-shot"', ['levels = "zero-shot"']),
    "shares": ("train = 0.5", "train = 0.9", ["[split]", "add up to 1.4"]),
    "too many frames": ("frames = 2", "frames = 65", ["[sampling]", "65", "64"]),
    "score range": ("[0, 100]", "[100, 0]", ["score_range"]),
    "start": ("[model]", 'start = "gone.safetensors"\n[model]', ["gone.safetensors", "no such checkpoint"]),
    "cache": ('"cache"', '"p.toml/cache"', ["p.toml/cache", "choose another [cache] folder"]),
}
REFUSED: dict[str, tuple[str, int, list[str]]] = {
    "missing preset": ("train gone.toml -o out", 2, ["gone.toml", "check the path"]),
    "preset is a folder": ("train data -o out", 2, ["data", "check the path"]),
    "no preset": ("train -o out", 2, ["PRESET.toml", "see qclip-model train --help"]),
    "no output": ("train p.toml", 2, ["-o", "see qclip-model train --help"]),
    "output is a file": ("train p.toml -o p.toml", 2, ["p.toml", "choose another -o"]),
    "output cannot be made": ("train p.toml -o /proc/out", 2, ["/proc/out", "choose another -o"]),
    "missing labels": ("train p.toml --labels gone.csv -o out", 2, ["gone.csv", "check"]),
    "missing root": ("train p.toml --root gone -o out", 2, ["gone", "no such folder"]),
    "equal labels": ("train p.toml --labels data/equal.csv -o out", 2, ["equal.csv", "nothing can be learned"]),
    "no label": ("train p.toml --labels data/header.csv -o out", 2, ["header.csv", "at least two"]),
    "no such column": ("train p.toml --labels data/columns.csv -o out", 2, ["columns.csv", "'score'", "'mos'"]),
    "labels that are no text": ("train p.toml --labels data/binary.csv -o out", 2, ["binary.csv", "UTF-8"]),
    "a clip that is no video": ("train p.toml --labels data/broken.csv -o out", 1, ["broken.mkv", "not a video"]),
    "no CUDA": ("train p.toml --device cuda -o out", 2, ["--device cuda", "--device cpu"]),
    "backbone not used": ("train p.toml --backbone p.toml -o out", 2, ["--backbone p.toml", "leave --backbone out"]),
    "start of another model": (
        f"train p.toml --start {WEIGHTS_DIR / DEFAULT_MODEL}.safetensors -o out",
        2,
        ["differs"],
    ),
    "unknown command": ("trian p.toml", 2, ["trian", "train", "see qclip-model --help"]),
    "unknown option": ("train p.toml -o out --epochs 3", 2, ["--epochs", "see qclip-model train --help"]),
    "variants in train": ("train compare.toml -o out", 2, ["compare.toml", "variants"]),
    "no variants in compare": ("compare p.toml -o out", 2, ["p.toml", "variants"]),
    "model is missing": ("evaluate gone.safetensors p.toml -o out", 2, ["gone.safetensors", "no such file"]),
    "model is unknown": ("evaluate qclip-large p.toml -o out", 2, ["qclip-large", "no such model"]),
    "model is none": ("evaluate p.toml p.toml -o out", 1, ["p.toml", "not a safetensors file"]),
    "evaluate without labels": ("evaluate gone.safetensors gone.toml -o out", 2, ["gone.toml"]),
    "evaluate cannot cache": (
        "evaluate gone p.toml --cache c -o out",
        2,
        ["--cache", "see qclip-model evaluate --help"],
    ),
    "info of nothing": ("info qclip-large", 2, ["qclip-large", "no such model"]),
    "info of a missing preset": ("info gone.toml", 2, ["gone.toml"]),
    "import of nothing": ("import gone.pth -o x.safetensors", 2, ["gone.pth", "no such file"]),
    "import of something else": ("import p.toml -o x.safetensors", 1, ["p.toml", "weights only"]),
    "import to a bad name": ("import p.toml -o x.pth", 2, ["x.pth", ".safetensors"]),
    "import to nowhere": ("import p.toml -o gone/x.safetensors", 2, ["gone/x.safetensors", "existing folder"]),
    "backbone of no name": ("backbone PE-Core-L --pretrained meta -o x.safetensors", 2, ["PE-Core-L", "close to it"]),
    "backbone of no weights": (f"backbone {PE} --pretrained x -o x.safetensors", 2, ["no weights 'x'", "meta"]),
}


def refused(done: Result, said: list[str], folder: Path, before: set[str]) -> None:
    """One line with all that was said, and no results."""
    assert done.stdout == ""
    assert done.stderr.startswith("qclip-model: ")
    assert done.stderr.count("\n") == 1, done.stderr
    assert "Traceback" not in done.stderr
    for words in said:
        assert words in done.stderr
    assert {p.name for p in folder.iterdir()} - before <= {"out", "cache"}
    assert not list(folder.glob("out/*"))


@pytest.mark.parametrize("what", CHANGED)
def test_a_preset_that_cannot_be_used_is_one_clear_line(
    what: str, folder: Path, qclip_model: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new, said = CHANGED[what]
    assert old in PRESET
    if "such" in what:  # open_clip's own list of names
        monkeypatch.undo()
        monkeypatch.chdir(folder)
    (folder / "bad.toml").write_text(PRESET.replace(old, new))
    before = {p.name for p in folder.iterdir()}
    done = qclip_model("train bad.toml -o out")
    assert done.code == 2
    refused(done, said, folder, before)


@pytest.mark.parametrize("what", REFUSED)
def test_what_cannot_be_done_is_one_clear_line(
    what: str, folder: Path, qclip_model: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed, code, said = REFUSED[what]
    if what.startswith("backbone of"):
        monkeypatch.undo()
        monkeypatch.chdir(folder)
    before = {p.name for p in folder.iterdir()}
    done = qclip_model(typed)
    assert done.code == code
    refused(done, said, folder, before)


def test_everything_wrong_with_the_labels_is_said_at_once(folder: Path, qclip_model: Command) -> None:
    """With the line of each, and before anything is decoded."""
    for typed in (
        "train p.toml --labels data/many.csv -o out",
        "compare compare.toml --labels data/many.csv -o out",
        "evaluate gone p.toml --labels data/many.csv -o out",
    ):
        done = qclip_model(typed)
        assert done.code == 2
        assert "Traceback" not in done.stderr
        lines = done.stderr.splitlines()
        assert [re.search(r"many.csv:(\d+): ", line)[1] for line in lines] == ["3", "4", "5", "6", "6"]  # type: ignore[index]
        assert not (folder / "out").exists()
        assert not (folder / "cache").exists()


def test_one_bottleneck_for_towers_of_unequal_widths(folder: Path, qclip_model: Command, monkeypatch: Any) -> None:
    """ViT-B/16: image blocks of 768, text blocks of 512 channels."""
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    changed = PRESET.replace('"bundled"', '"ViT-B-16-quickgelu"').replace('share = "core"', 'share = "all"')
    changed = re.sub(r"readout = .*", 'readout = { kind = "joint" }', changed).replace('"vectors"', '"prompts"')
    (folder / "bad.toml").write_text(changed)
    for typed in ("train bad.toml --backbone p.toml -o out", "info bad.toml"):
        done = qclip_model(typed)
        assert done.code == 2
        refused(done, ['share = "all"', "768", "512", 'use share = "core"'], folder, {p.name for p in folder.iterdir()})


def test_another_run_in_the_folder(folder: Path, qclip_model: Command) -> None:
    assert qclip_model("train p.toml -o out -q").code == 0
    (folder / "q.toml").write_text(PRESET.replace("epochs = 2", "epochs = 3"))
    done = qclip_model("train q.toml -o out")
    assert (done.code, done.stderr) == (
        2,
        "qclip-model: out: holds a run with another preset or other data; choose another -o\n",
    )
    done = qclip_model("evaluate out/model.safetensors p.toml -o out")
    assert done.code == 2
    assert "holds a training run" in done.stderr


def test_a_wrong_backbone_file(folder: Path, tiny: Path, qclip_model: Command) -> None:
    (folder / "pe.toml").write_text(PRESET.replace('"bundled"', f'"{PE}"'))
    for backbone, code, said in (
        (tiny / "tiny-bundled.safetensors", 1, "is not the image tower of PE-Core-"),
        ("p.toml", 1, "is not a backbone, or is damaged"),
        ("gone.safetensors", 2, "no such file"),
    ):
        done = qclip_model(f"train pe.toml --backbone {backbone} -o out")
        assert (done.code, said in done.stderr, done.stderr.count("\n")) == (code, True, 1), done.stderr


def test_a_model_without_its_backbone(folder: Path, tiny: Path, qclip_model: Command) -> None:
    (folder / "pe.toml").write_text(PRESET.replace('"bundled"', f'"{PE}"'))
    shutil.copy(tiny / "PE.safetensors", "large.safetensors")
    assert qclip_model("train pe.toml --backbone large.safetensors -o out -q").code == 0
    (folder / "moved").mkdir()
    shutil.move(folder / "out" / "model.safetensors", folder / "moved")
    done = qclip_model("evaluate moved/model.safetensors pe.toml -o figures")
    assert done.code == 1
    assert "needs the backbone large.safetensors" in done.stderr
    shutil.copy("large.safetensors", folder / "moved")
    assert qclip_model("evaluate moved/model.safetensors pe.toml -o figures").code == 0


def test_a_damaged_cache_is_named(folder: Path, qclip_model: Command) -> None:
    assert qclip_model("train p.toml -o out -q").code == 0
    [shard] = (folder / "cache").glob("*.safetensors")
    shard.write_bytes(shard.read_bytes()[:-1])
    done = qclip_model("train p.toml -o other")
    assert done.code == 1
    assert f"cache/{shard.name}: is damaged" in done.stderr
    assert "delete it, it will be computed again" in done.stderr
    assert done.stderr.count("\n") == 1
    shard.unlink()
    assert qclip_model("train p.toml -o other").code == 0


def test_a_checkpoint_that_describes_no_model(folder: Path, qclip_model: Command) -> None:
    """That is the file's fault: it is named, and the exit code is not that of wrong usage."""
    assert qclip_model("train p.toml -o out -q").code == 0
    with safe_open(folder / "out" / "model.safetensors", framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        card = file.metadata()["qclip"]
    save_file(tensors, folder / "odd.safetensors", {"qclip": card.replace('"first_block":2', '"first_block":9')})
    for typed in ("info odd.safetensors", "evaluate odd.safetensors p.toml -o figures"):
        done = qclip_model(typed)
        assert (done.code, done.stdout, done.stderr.count("\n")) == (1, "", 1)
        assert "odd.safetensors: its configuration cannot be built: adapters.first_block = 9" in done.stderr


def test_training_that_diverges_is_one_line(
    folder: Path, qclip_model: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Trainer, "_step", lambda *_: (math.nan, 0.0, 0.0))
    done = qclip_model("train p.toml -o out")
    assert done.code == 1
    assert done.stderr.count("\n") == 1
    assert "say a lower learning_rate" in done.stderr
