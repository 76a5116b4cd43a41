"""Cross-validation: each clip judged by a model that has not seen its content; a model of all, calibrated on that."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_training import clips_of, quiet, recipe_for, replace

from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train.config import MoreData, TrainRecipe
from qclip_ffmpeg.train.evaluate import score_clips
from qclip_ffmpeg.train.run import train
from qclip_ffmpeg.train.run_folder import MODEL_FILE
from qclip_ffmpeg.train.splits import SplitRecipe, splits

pytest_plugins = ["train_fixtures"]
pytestmark = pytest.mark.usefixtures("tiny", "undrawn")


@pytest.fixture
def two_files(rated: Path, tmp_path: Path) -> TrainRecipe:
    """36 clips of 12 contents in a label file: blurred more, rated less. 12 of one content, rated alike, in another."""
    lines: dict[str, list[str]] = {"first": ["file,score,content"], "second": ["file,score,content"]}
    for number, clip in enumerate(clips_of(recipe_for(rated))):
        for copy in range(4):
            name = "first" if copy < 3 else "second"
            content, score = (f"c{number}", clip.score + 0.2 * copy) if name == "first" else ("other", 50 + number / 20)
            shutil.copy(clip.path, tmp_path / f"{number}-{copy}.mkv")
            lines[name].append(f"{number}-{copy}.mkv,{score},{content}")
    for name, rows in lines.items():
        (tmp_path / f"{name}.csv").write_text("\n".join(rows))
    return recipe_for(
        tmp_path / "first.csv",
        epochs=0,
        ridge=1.0,
        more_data=(MoreData(labels=str(tmp_path / "second.csv"), score_range=(0, 100), weight=2.0, noise_band=True),),
        split=SplitRecipe(seed=1, folds=4),
    )


def test_a_model_of_all_clips_calibrated_on_what_others_made_of_them(two_files: TrainRecipe, tmp_path: Path) -> None:
    results = train(two_files, Path(), tmp_path / "run", quiet)
    assert len(results) == 4
    model = load_model(str(tmp_path / "run" / MODEL_FILE))
    assert model.card.calibration is not None
    assert model.card.calibration.clips == 48
    assert "Trained on 48 clips of 13 contents from first.csv and second.csv." in model.card.description
    notes = json.loads((tmp_path / "run" / "calibration.json").read_text())["notes"]
    assert any(note.startswith("no noise band: 66 pairs of encodes") for note in notes), "those of the second file"
    for number, name, clips in ((0, "first.csv", 36), (1, "second.csv", 12)):
        place = tmp_path / "run" / f"data-{number:02}"
        figures = json.loads((place / "figures.json").read_text())
        assert figures["data"] == f"{name}, out of fold"
        assert figures["figures"]["clips"] == clips
        rows = list(csv.DictReader((place / "predictions.csv").open(newline="")))
        assert [row["name"] for row in rows] == [c.name for c in clips_of(recipe_for(tmp_path / name))]


def test_what_is_said_of_a_clip_comes_from_the_fold_that_left_it_out(two_files: TrainRecipe, tmp_path: Path) -> None:
    train(two_files, Path(), tmp_path / "run", quiet)
    of_folds: dict[str, float] = {}
    for fold in range(4):
        for row in csv.DictReader((tmp_path / "run" / f"split-{fold:02}" / "predictions.csv").open(newline="")):
            assert row["name"] not in of_folds
            of_folds[row["name"]] = float(row["score"])
    rows = [
        row
        for number in range(2)
        for row in csv.DictReader((tmp_path / "run" / f"data-{number:02}" / "predictions.csv").open(newline=""))
    ]
    assert of_folds.keys() == {row["name"] for row in rows}
    card = load_model(str(tmp_path / "run" / "split-00" / MODEL_FILE)).card
    first = {row["name"]: float(row["score"]) for row in rows}
    left_out = list(csv.DictReader((tmp_path / "run" / "split-00" / "predictions.csv").open(newline="")))
    assert card.calibration is None
    by_fold = sorted(left_out, key=lambda row: float(row["score"]))
    in_the_end = [first[row["name"]] for row in by_fold]
    assert in_the_end == sorted(in_the_end), "the map to 0..100 rises"


def test_a_run_that_is_repeated_comes_to_the_same(two_files: TrainRecipe, tmp_path: Path) -> None:
    train(two_files, Path(), tmp_path / "run", quiet)
    before = (tmp_path / "run" / MODEL_FILE).read_bytes()
    train(two_files, Path(), tmp_path / "run", quiet)
    assert (tmp_path / "run" / MODEL_FILE).read_bytes() == before


def test_weights_count(two_files: TrainRecipe, tmp_path: Path) -> None:
    """What one label file asks for is followed the more it weighs."""
    [more] = two_files.more_data
    spread = {}
    for weight in (0.01, 1, 100):
        weighed = replace(more, weight=weight)
        alone = replace(two_files, more_data=(weighed,), split=SplitRecipe(train=1, val=0, test=0))
        place = tmp_path / f"{weight}"
        train(alone, Path(), place, quiet)
        clips = clips_of(replace(alone, data=more))
        scores = score_clips(Scorer(load_model(str(place / MODEL_FILE)), "cpu"), clips, alone.sampling, quiet)
        spread[weight] = float(scores.std())
    assert spread[0.01] > spread[1] > spread[100], "their labels are nearly one"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"split": SplitRecipe(folds=1)}, "say 2 to as many"),
        ({"split": SplitRecipe(folds=17)}, "the labels have 13 contents"),
        ({"ridge": None, "epochs": 1}, "weight: is that of a ridge regression"),
        ({"more_data": (), "data": None}, None),
    ],
)
def test_what_cannot_be(changes: Any, said: str | None, two_files: TrainRecipe, rated: Path, tmp_path: Path) -> None:
    if said is None:
        wrong, said = recipe_for(rated, epochs=0, ridge=1.0, split=SplitRecipe(folds=2)), "too few to calibrate on"
    else:
        wrong = two_files
        for field, value in changes.items():
            of_recipe = field in TrainRecipe.__struct_fields__
            wrong = replace(
                wrong, **({field: value} if of_recipe else {"optimiser": replace(wrong.optimiser, **{field: value})})
            )
    with pytest.raises(UsageError, match=said):
        train(wrong, Path(), tmp_path / "run", quiet)
    assert not (tmp_path / "run").exists()


def test_folds_deal_out_every_content_once() -> None:
    contents = [f"c{i % 7}" for i in range(30)]
    drawn = splits(contents, SplitRecipe(seed=3, folds=3))
    assert sorted(place for split in drawn for place in split.test) == list(range(30))
    for split in drawn:
        assert sorted(split.train + split.test) == list(range(30))
        assert not {contents[i] for i in split.train} & {contents[i] for i in split.test}
        assert not split.val
    assert splits(contents, SplitRecipe(seed=4, folds=3)) != drawn
