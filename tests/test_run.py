"""A whole run: killed anywhere it comes to the same, and what is written is what was measured."""

import csv
import itertools
import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from tiny_training import PE, cache_in, clips_of, quiet, recipe_for, replace

from qclip_ffmpeg.adapters import ProjectionAdapter, SharedAdapter, VisualPrompts
from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.errors import ModelError, UsageError
from qclip_ffmpeg.model import Joint
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train import run_folder
from qclip_ffmpeg.train.config import TrainRecipe
from qclip_ffmpeg.train.evaluate import score_clips
from qclip_ffmpeg.train.labels import LabelSource, read_label_file
from qclip_ffmpeg.train.loop import Trainer
from qclip_ffmpeg.train.plots import curves_png
from qclip_ffmpeg.train.run import TEST_FILE, VAL_FILE, train
from qclip_ffmpeg.train.run_folder import LOG_FILE, MODEL_FILE, STATE_FILE
from qclip_ffmpeg.train.splits import SplitRecipe, splits

pytest_plugins = ["train_fixtures"]

pytestmark = pytest.mark.usefixtures("tiny", "asked")

CORE = SharedAdapter(share="core", dim=8, first_block=2)
KINDS: dict[str, dict[str, Any]] = {
    "SCMA core": {"adapters": CORE, "fusion": "state-space"},
    "VPT": {"adapters": VisualPrompts(tokens=2, first_block=2), "levels": "linear", "ridge": 1.0},
    "CLIP-Adapter": {"adapters": ProjectionAdapter(dim=4)},
    "half precision": {"adapters": CORE, "precision": "float16"},
    "prompts": {
        "backbone": PE,
        "levels": "prompts",
        "readout": Joint(),
        "adapters": SharedAdapter(share="core", dim=8, first_block=3, projection=True),
        "accumulate": 2,
    },
    "CoOp": {"backbone": PE, "levels": "prompts", "readout": Joint()},
    "zero-shot": {"backbone": PE, "levels": "zero-shot", "readout": Joint(), "epochs": 0, "context_tokens": 0},
}
RESULTS = (MODEL_FILE, LOG_FILE, "figures.json", "predictions.csv", "per_content.csv", "summary.json")


@pytest.fixture
def recipe(rated: Path, tmp_path: Path) -> Callable[[str], TrainRecipe]:
    """recipe(kind) -> a recipe of KINDS with a cache, of three epochs."""

    def make(kind: str = "SCMA core", **more: Any) -> TrainRecipe:
        changes = {"learning_rate": 1e-3, "cache": cache_in(tmp_path / "cache"), **KINDS[kind], **more}
        return recipe_for(rated, **changes)

    return make


def backbone_of(recipe: TrainRecipe, tiny: Path) -> Path | None:
    return tiny / "PE.safetensors" if recipe.model.backbone == PE else None


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in RESULTS if (folder / name).exists()}


# Killed and run again


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("undrawn")
def test_a_run_interrupted_everywhere_comes_to_the_same(kind: str, recipe: Any, tiny: Path, tmp_path: Path) -> None:
    """The first run is stopped at its first sign of life, the next at its second, and so on until one ends."""
    made = recipe(kind)
    backbone = backbone_of(made, tiny)
    train(made, Path(), tmp_path / "whole", quiet, backbone)
    expected = bytes_of(tmp_path / "whole")
    assert set(expected) >= {MODEL_FILE, "figures.json", "predictions.csv"}
    for allowed in itertools.count():
        calls = itertools.count()

        def stop(stage: str, *_: int, calls: Any = calls, allowed: int = allowed) -> None:
            if stage not in ("hashing clips", "frozen blocks") and next(calls) == allowed:
                raise KeyboardInterrupt

        try:
            train(made, Path(), tmp_path / "stopped", stop, backbone)
            break
        except KeyboardInterrupt:
            assert allowed < 20
    assert allowed >= (2 if kind == "zero-shot" else 6)
    assert bytes_of(tmp_path / "stopped") == expected


@pytest.mark.usefixtures("undrawn")
def test_a_run_interrupted_after_any_file_comes_to_the_same(
    recipe: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the state and the log, the log and the curves, the model and the figures."""
    made = recipe(epochs=2, adapters=None)
    train(made, Path(), tmp_path / "whole", quiet)
    expected = bytes_of(tmp_path / "whole")
    write = run_folder.write_atomically
    for number in itertools.count(1):
        writes = itertools.count(1)

        def stop(path: Path, data: bytes, writes: Any = writes, number: int = number) -> None:
            write(path, data)
            if next(writes) == number:
                raise KeyboardInterrupt

        folder = tmp_path / f"stopped{number}"
        with monkeypatch.context() as patch:
            for module in ("run_folder", "evaluate", "metrics"):
                patch.setattr(f"qclip_ffmpeg.train.{module}.write_atomically", stop)
            patch.setattr("qclip_ffmpeg.checkpoint.write_atomically", stop)
            try:
                train(made, Path(), folder, quiet)
                break
            except KeyboardInterrupt:
                pass
        train(made, Path(), folder, quiet)
        assert bytes_of(folder) == expected
    assert number == 13, "the state three times, the log twice, and eight results, each once"


@pytest.mark.usefixtures("undrawn")
def test_a_run_whose_first_steps_overflowed_goes_on(recipe: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """In half precision such a step is left out; here those of the first epoch are, so the optimiser has no state."""
    made = recipe("half precision")
    step = torch.optim.AdamW.step
    steps = itertools.count()

    def overflowing(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        return step(optimiser, *arguments) if next(steps) >= 2 else None

    def stop(stage: str, *_: int) -> None:
        if stage == "epoch 2 of 3":
            raise KeyboardInterrupt

    monkeypatch.setattr(torch.optim.AdamW, "step", overflowing)
    train(made, Path(), tmp_path / "whole", quiet)
    steps = itertools.count()
    with pytest.raises(KeyboardInterrupt):
        train(made, Path(), tmp_path / "stopped", stop)
    train(made, Path(), tmp_path / "stopped", quiet)
    assert bytes_of(tmp_path / "stopped") == bytes_of(tmp_path / "whole")


@pytest.mark.usefixtures("undrawn")
def test_a_run_killed_outright_comes_to_the_same(recipe: Any, rated: Path, tiny: Path, tmp_path: Path) -> None:
    """SIGKILL in the middle of the second epoch; nothing of the process is left to tidy up."""
    made = recipe(cache=None)
    code = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
import torch
from tiny_training import BACKBONE, cache_in, recipe_for
from test_run import KINDS
from qclip_ffmpeg.train import config, loop, run
torch.set_num_threads(1)
config.BUNDLED_TOWER, config.BUNDLED_FILE, config.WEIGHTS_DIR = BACKBONE, "tiny-bundled.safetensors", Path(sys.argv[2])

def progress(stage, done, of):
    if stage == "epoch 2 of 3" and done == 1:
        os.kill(os.getpid(), signal.SIGKILL)

recipe = recipe_for(Path(sys.argv[3]), learning_rate=1e-3, cache=None, **KINDS["SCMA core"])
run.train(recipe, Path(), Path(sys.argv[4]), progress)
"""
    arguments = [str(Path(__file__).parent), str(tiny), str(rated), str(tmp_path / "killed")]
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len((tmp_path / "killed" / LOG_FILE).read_text().splitlines()) == 1
    assert not (tmp_path / "killed" / MODEL_FILE).exists()
    train(made, Path(), tmp_path / "whole", quiet)
    train(made, Path(), tmp_path / "killed", quiet)
    assert bytes_of(tmp_path / "killed") == bytes_of(tmp_path / "whole")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("undrawn")
def test_a_finished_run_trains_nothing_more(
    kind: str, recipe: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = recipe(kind)
    first = train(made, Path(), tmp_path / "run", quiet, backbone_of(made, tiny))
    expected = bytes_of(tmp_path / "run")
    monkeypatch.setattr(Trainer, "_step", None)
    monkeypatch.setattr(Trainer, "_clip_features", None)
    assert train(made, Path(), tmp_path / "run", quiet, backbone_of(made, tiny)) == first
    assert bytes_of(tmp_path / "run") == expected


def test_what_is_drawn_is_drawn_again(recipe: Any, tmp_path: Path) -> None:
    """Pictures are the same bytes too, and the chosen epoch is marked."""
    for folder in (tmp_path / "one", tmp_path / "two"):
        train(recipe(epochs=2), Path(), folder, quiet)
    for name in ("curves.png", "scatter.png"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    rows = [json.loads(line) for line in (tmp_path / "one" / LOG_FILE).read_text().splitlines()]
    assert sum(row.pop("best", False) for row in rows) == 1
    curves_png(tmp_path / "unmarked.png", rows)
    assert (tmp_path / "unmarked.png").read_bytes() != (tmp_path / "one" / "curves.png").read_bytes()


# Another run in the same folder


@pytest.mark.usefixtures("undrawn")
class TestAnotherRunInTheSameFolder:
    @pytest.fixture
    def folder(self, recipe: Any, tmp_path: Path) -> Path:
        train(recipe(), Path(), tmp_path / "run", quiet)
        return tmp_path / "run"

    @pytest.mark.parametrize(
        "changes",
        [
            {"learning_rate": 2e-3},
            {"epochs": 4},
            {"batch": 5},
            {"seed": 1},
            {"adapters": replace(CORE, dim=4)},
            {"levels": "linear"},
            {"frames": 1},
            {"display": (256, 192)},
            {"split": SplitRecipe(seed=1, train=0.5, val=0.25, test=0.25)},
            {"split": SplitRecipe(train=0.6, val=0.2, test=0.2)},
            {"cache": None},
        ],
    )
    def test_another_preset_is_refused(
        self, changes: dict[str, Any], folder: Path, recipe: Any, asked: list[str]
    ) -> None:
        """Before anything is computed."""
        before = {path: path.read_bytes() for path in folder.iterdir()}
        asked.clear()
        with pytest.raises(UsageError, match="holds a run with another preset or other data; choose another -o"):
            train(recipe(**changes), Path(), folder, quiet)
        assert asked == []
        assert {path: path.read_bytes() for path in folder.iterdir()} == before

    @pytest.mark.parametrize("change", ["score", "content", "fewer", "display"])
    def test_other_labels_are_refused(self, change: str, folder: Path, recipe: Any, rated: Path) -> None:
        rows = list(csv.DictReader(rated.open(newline="")))
        if change == "fewer":
            rows = rows[:-2]
        elif change == "display":
            rows = [row | {"display_height_px": "96"} for row in rows]
        else:
            rows[0][change] = "40.5" if change == "score" else "content3"
        other = rated.with_name(f"labels-{change}.csv")
        with other.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        made = recipe()
        with pytest.raises(UsageError, match="other data"):
            train(replace(made, data=replace(made.data, labels=str(other))), Path(), folder, quiet)

    def test_another_place_of_the_same_data_and_cache_is_not(self, folder: Path, recipe: Any, tmp_path: Path) -> None:
        made = recipe()
        expected = bytes_of(folder)
        moved = tmp_path / "moved"
        moved.mkdir()
        for clip in clips_of(made):
            shutil.copy(clip.path, moved)
        shutil.copy(made.data.labels, moved)
        source = replace(made.data, labels="labels.csv", root=".")
        train(replace(made, data=source, cache=cache_in(tmp_path / "other cache")), moved, folder, quiet)
        assert bytes_of(folder) == expected

    def test_results_without_a_state_are_refused(self, folder: Path, recipe: Any) -> None:
        (folder / STATE_FILE).unlink()
        with pytest.raises(UsageError, match=r"holds log.jsonl but no state to go on from; choose another -o"):
            train(recipe(), Path(), folder, quiet)

    @pytest.mark.parametrize("content", [b"", b"not tensors", None])
    def test_a_damaged_state_is_refused(self, content: bytes | None, folder: Path, recipe: Any) -> None:
        whole = (folder / STATE_FILE).read_bytes()
        (folder / STATE_FILE).write_bytes(whole[:-50] if content is None else content)
        with pytest.raises(UsageError, match=r"damaged .* choose another -o") as raised:
            train(recipe(), Path(), folder, quiet)
        assert "\n" not in str(raised.value)

    def test_another_start_is_refused(self, folder: Path, recipe: Any, tmp_path: Path) -> None:
        """Under the same name, too: what it holds decides."""
        for name, seed in (("a", 5), ("b", 6)):
            train(recipe(seed=seed), Path(), tmp_path / name, quiet)
        start = tmp_path / "start.safetensors"
        shutil.copy(tmp_path / "a" / MODEL_FILE, start)
        fine = recipe(start=str(start))
        train(fine, Path(), tmp_path / "fine", quiet)
        train(fine, Path(), tmp_path / "fine", quiet)
        shutil.copy(tmp_path / "b" / MODEL_FILE, start)
        with pytest.raises(UsageError, match="choose another -o"):
            train(fine, Path(), tmp_path / "fine", quiet)


# What is written is what was measured


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("undrawn")
def test_the_model_scores_as_the_predictions_say(
    kind: str, recipe: Any, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Read from its file, on the videos themselves, without a text tower and without the cache."""
    made = recipe(kind)
    [result] = train(made, Path(), tmp_path / "run", quiet, backbone_of(made, tiny))
    assert result.test is not None
    model = load_model(str(tmp_path / "run" / MODEL_FILE))
    assert model.qclip.text is None
    rows = list(csv.DictReader((tmp_path / "run" / "predictions.csv").open(newline="")))
    by_name = {clip.name: clip for clip in clips_of(made)}
    tested = [by_name[row["name"]] for row in rows]
    assert 2 <= len(tested) == result.test.figures.clips < 12
    raw = score_clips(Scorer(model, "cpu", threads=1), tested, made.sampling, quiet)
    scores = model.card.scores(raw, clipped=False)
    np.testing.assert_allclose([float(row["score"]) for row in rows], scores, rtol=0, atol=1e-4)
    assert [float(row["label"]) for row in rows] == pytest.approx([clip.score for clip in tested])
    assert json.loads((tmp_path / "run" / "figures.json").read_text())["figures"]["clips"] == len(tested)
    assert model.card.status == ("untrained" if kind == "zero-shot" else "trained")
    assert model.card.score_map[0] > 0


@pytest.mark.usefixtures("undrawn")
def test_what_was_held_out_is_written_as_labels(recipe: Any, tmp_path: Path) -> None:
    """So that the model can be calibrated on one part, and anything else be measured on the other."""
    made = replace(recipe(), id="qclip-named")
    train(made, Path(), tmp_path / "run", quiet)
    parts = [
        read_label_file(LabelSource(labels=name, score_column="label", score_range=(0, 100)), tmp_path / "run")
        for name in (VAL_FILE, TEST_FILE)
    ]
    [split] = splits([clip.content for clip in clips_of(made)], made.split)
    for part, places in zip(parts, (split.val, split.test), strict=True):
        expected = [clips_of(made)[i] for i in places]
        assert [(c.path.resolve(), c.score, c.content, c.display_height_px) for c in part] == [
            (c.path.resolve(), c.score, c.content, c.display_height_px) for c in expected
        ]
    assert load_model(str(tmp_path / "run" / MODEL_FILE)).card.id == "qclip-named"


@pytest.mark.usefixtures("undrawn")
def test_the_test_part_is_scored_with_the_chosen_epoch(recipe: Any, tmp_path: Path, monkeypatch: Any) -> None:
    """Not with the last one, and what it is chosen on is the validation part only."""
    statistics = iter([0.2, 0.9, 0.4])
    found = type("Found", (), {"statistic": property(lambda _: next(statistics))})
    monkeypatch.setattr("scipy.stats.spearmanr", lambda *_: found())
    held: list[dict[str, torch.Tensor]] = []
    scored: list[tuple[int, ...]] = []
    trained, scores_of = Trainer._trained, Trainer.scores_of

    def scores(self: Trainer, places: Any, *more: Any) -> Any:
        scored.append(tuple(places))
        return scores_of(self, places, *more)

    monkeypatch.setattr(Trainer, "scores_of", scores)
    monkeypatch.setattr(Trainer, "_save_state", lambda self: held.append(trained(self)))
    [result] = train(recipe(), Path(), tmp_path / "run", quiet)
    assert result.chosen is not None
    assert result.chosen.epoch == 2
    with safe_open(tmp_path / "run" / MODEL_FILE, framework="pt") as file:
        written = {name: file.get_tensor(name) for name in file.keys()}
    same = [all(torch.equal(written[name], of_epoch[name]) for name in written) for of_epoch in held]
    assert same == [False, False, True, False], "the start, and three epochs"
    *validations, fitted_on, test = scored
    assert len(validations) == 3
    assert len(set(validations)) == 1
    assert set(validations[0]) < set(fitted_on)
    assert not set(test) & set(fitted_on)


@pytest.mark.usefixtures("undrawn")
def test_fine_tuning_starts_as_the_checkpoint_scores(recipe: Any, tiny: Path, tmp_path: Path) -> None:
    """Its head too: with no epoch it scores as before, with one it has moved on."""
    for kind in ("SCMA core", "VPT", "prompts"):
        made = recipe(kind, epochs=2)
        backbone = backbone_of(made, tiny)
        train(made, Path(), tmp_path / kind, quiet, backbone)
        start = str(tmp_path / kind / MODEL_FILE)
        split = SplitRecipe(seed=3, train=0.3, val=0.2, test=0.5)
        tuned = {**KINDS[kind], "start": start, "split": split, "ridge": None}
        expected, _ = parts(tmp_path / kind)
        unchanged, _ = parts(run_in(tmp_path / f"{kind}-0", recipe(kind, **{**tuned, "epochs": 0}), backbone))
        assert unchanged.keys() == expected.keys()
        assert all(torch.equal(unchanged[name], expected[name]) for name in expected)
        moved, _ = parts(run_in(tmp_path / f"{kind}-1", recipe(kind, **{**tuned, "epochs": 1}), backbone))
        assert not all(torch.equal(moved[name], expected[name]) for name in expected)


def run_in(folder: Path, recipe: TrainRecipe, backbone: Path | None) -> Path:
    train(recipe, Path(), folder, quiet, backbone)
    return folder


def parts(folder: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """Tensors and metadata of the model in a folder."""
    with safe_open(folder / MODEL_FILE, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()


@pytest.mark.usefixtures("undrawn")
class TestStarts:
    @pytest.fixture
    def start(self, recipe: Any, tmp_path: Path) -> str:
        train(recipe(epochs=1), Path(), tmp_path / "start", quiet)
        return str(tmp_path / "start" / MODEL_FILE)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"adapters": replace(CORE, dim=4)}, r"differs from this preset's \[model\] in adapters"),
            ({"levels": "linear", "fusion": "mean"}, r"differs .* in fusion, levels"),
        ],
    )
    def test_of_another_model(self, changes: Any, said: str, start: str, recipe: Any, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=said):
            train(recipe(start=start, **changes), Path(), tmp_path / "run", quiet)
        assert not (tmp_path / "run").exists()

    @pytest.mark.parametrize("name", ["gone.safetensors", "qclip-large", ""])
    def test_that_are_not_there(self, name: str, recipe: Any, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match=r"start = .*: no such checkpoint"):
            train(recipe(start=name), Path(), tmp_path / "run", quiet)

    def test_that_are_damaged(self, start: str, recipe: Any, tmp_path: Path) -> None:
        whole = Path(start).read_bytes()
        Path(start).write_bytes(whole[:-9])
        with pytest.raises(ModelError, match=r"model.safetensors: .* damaged"):
            train(recipe(start=start), Path(), tmp_path / "run", quiet)

    def test_relative_to_the_preset(self, start: str, recipe: Any, tmp_path: Path) -> None:
        train(recipe(start="start/model.safetensors"), tmp_path, tmp_path / "run", quiet)


@pytest.mark.usefixtures("undrawn")
def test_several_splits(recipe: Any, tmp_path: Path) -> None:
    """Each in a folder of its own, each starting anew; mean and spread are of their figures."""
    said: list[str] = []
    several = recipe(epochs=2, split=SplitRecipe(seed=4, repeats=3, train=0.5, val=0.25, test=0.25))
    results = train(several, Path(), tmp_path / "run", lambda stage, *_: said.append(stage))
    folders = sorted(p for p in (tmp_path / "run").iterdir() if p.is_dir())
    assert [p.name for p in folders] == ["split-00", "split-01", "split-02"]
    assert all((p / name).exists() for p in folders for name in (MODEL_FILE, LOG_FILE, "figures.json"))
    names = [tuple(row["name"] for row in csv.DictReader((p / "predictions.csv").open(newline=""))) for p in folders]
    assert len(set(names)) == 3
    found = [r.test.figures.srocc.value for r in results if r.test is not None]
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["splits"] == 3
    assert summary["mean"]["srocc"] == pytest.approx(np.mean(found))
    assert summary["std"]["srocc"] == pytest.approx(np.std(found, ddof=1))
    assert "3 of 3, epoch 2 of 2" in said
    alone = recipe(epochs=2, split=SplitRecipe(seed=4, train=0.5, val=0.25, test=0.25))
    train(alone, Path(), tmp_path / "alone", quiet)
    assert (tmp_path / "alone" / LOG_FILE).read_bytes() == (folders[0] / LOG_FILE).read_bytes()


@pytest.mark.usefixtures("undrawn")
def test_no_test_part(recipe: Any, tmp_path: Path) -> None:
    [result] = train(recipe(split=SplitRecipe(train=0.7, val=0.3, test=0)), Path(), tmp_path / "run", quiet)
    assert result.test is None
    assert result.chosen is not None
    assert (tmp_path / "run" / MODEL_FILE).exists()
    assert not (tmp_path / "run" / "figures.json").exists()


# What is said before anything is decoded


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"adapters": replace(CORE, first_block=9)}, r"\[model\] adapters.first_block = 9: .* runs 3 blocks"),
        ({"adapters": replace(CORE, projection=True)}, r'\[model\] adapters.projection = true: needs readout "joint"'),
        ({"levels": "prompts"}, r'levels = "prompts": needs readout "joint"'),
        ({"views": ()}, r"\[model\] views: name at least one"),
        ({"frames": 65}, r"\[sampling\] frames = 65: a model scores at most 64"),
        ({"train_share": 0.01, "split": SplitRecipe(train=0.5, val=0.5, test=0)}, None),
        ({"split": SplitRecipe(train=0.5, val=0.5, test=0.5)}, "add up to 1.5"),
        ({"readout": Joint()}, r"the bundled backbone has no joint space"),
    ],
)
def test_what_does_not_fit(changes: Any, said: str | None, recipe: Any, tmp_path: Path, asked: list[str]) -> None:
    if said is None:
        train(recipe(**changes), Path(), tmp_path / "run", quiet)  # one content, of two clips: enough
        return
    with pytest.raises(UsageError, match=said):
        train(recipe(**changes), Path(), tmp_path / "run", quiet)
    assert asked == []
    assert not (tmp_path / "run").exists()


def test_backbones(recipe: Any, tiny: Path, tmp_path: Path, asked: list[str]) -> None:
    cases = [
        ("SCMA core", tiny / "PE.safetensors", UsageError, "the bundled one; leave --backbone out"),
        ("CoOp", None, UsageError, f"give its weights with --backbone FILE.safetensors; qclip-model backbone {PE} "),
        ("CoOp", tmp_path / "gone.safetensors", UsageError, "no such file"),
        ("CoOp", tiny / "tiny-bundled.safetensors", ModelError, "is not the image tower of PE-Core"),
    ]
    for kind, backbone, error, said in cases:
        with pytest.raises(error, match=said):
            train(recipe(kind), Path(), tmp_path / "run", quiet, backbone)
    assert asked == []


@pytest.mark.usefixtures("undrawn")
def test_a_checkpoint_finds_its_backbone(recipe: Any, tiny: Path, tmp_path: Path, monkeypatch: Any) -> None:
    """Which lay elsewhere when it was trained."""
    elsewhere = tmp_path / "backbones"
    elsewhere.mkdir()
    shutil.copy(tiny / "PE.safetensors", elsewhere / "large.safetensors")
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        train(recipe("CoOp", epochs=1), Path(), Path("run"), quiet, Path("backbones/large.safetensors"))
    monkeypatch.chdir(elsewhere)
    model = load_model(str(tmp_path / "run" / MODEL_FILE))
    assert model.card.backbone_file == "large.safetensors"
