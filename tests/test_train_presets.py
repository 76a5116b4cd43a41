"""The presets that come with the package: each is read by its command, and trains on a stand-in of its data set."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest
from tiny_training import cache_in, clips_of, quiet, recipe_for, replace

from qclip_ffmpeg.adapters import SharedAdapter
from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.cli.model import command
from qclip_ffmpeg.presets import read_toml
from qclip_ffmpeg.train.compare import ComparePreset
from qclip_ffmpeg.train.config import ModelPreset, TrainRecipe, model_config
from qclip_ffmpeg.train.labels import read_label_file
from qclip_ffmpeg.train.recipe import LadderPreset
from qclip_ffmpeg.train.run import train
from qclip_ffmpeg.train.run_folder import MODEL_FILE
from qclip_ffmpeg.train.splits import SplitRecipe

pytest_plugins = ["train_fixtures"]

FOLDER = Path(__file__).parent.parent / "presets" / "train"
READ_AS: dict[str, list[Any]] = {
    "compare": [ComparePreset, LadderPreset, ModelPreset],
    "default": [TrainRecipe, LadderPreset, ModelPreset],
    "small-videos": [LadderPreset],
    "speeds": [LadderPreset],
    "videos": [LadderPreset],
}
DATA_SETS = {  # two videos of each as its authors name them, and their scores
    "lsvq": {"ia-batch1/ia-AAHSTheTheft.mp4": 61.2, "yfcc-batch2/2455.mp4": 44.25},
    "konvid-1k": {"10053703034.mp4": 3.22, "10173041353.mp4": 2.1},
    "live-vqc": {"A001.mp4": 80.233, "B004.mp4": 22.5},
    "youtube-ugc": {"Animation_1080P-05f8.mkv": 4.12, "Vlog_720P-25aa.mkv": 1.88},
    "cvd2014": {"Test1/City/Test01_City_D01.avi": 67.5, "Test1/Talking head/Test01_Talking_head_D09.avi": -6.5},
    "live-qualcomm": {
        "Artifacts/0723_ManUnderTree_GS5_03_20150723_130016.mkv": 52.1,
        "Focus/0816_TreesPond_Note4_02_20150816_110301.mkv": 38.7,
    },
}


def presets() -> list[str]:
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def test_every_preset_is_tested_here() -> None:
    assert presets() == sorted([*READ_AS, *DATA_SETS])


@pytest.mark.parametrize("name", presets())
def test_a_preset_is_read_by_its_command(name: str) -> None:
    for kind in READ_AS.get(name, [TrainRecipe, ModelPreset]):
        read_toml(FOLDER / f"{name}.toml", kind)


@pytest.mark.parametrize("name", [name for name in presets() if READ_AS.get(name) != [LadderPreset]])
def test_the_commands_in_a_preset_can_be_typed(name: str) -> None:
    """They name the preset, and options that there are."""
    text = (FOLDER / f"{name}.toml").read_text()
    joined = re.sub(r"\\\n# +", "", text)
    typed = [shlex.split(line, comments=True) for line in re.findall(r"^#   (qclip-model .*)$", joined, re.MULTILINE)]
    assert any(f"presets/train/{name}.toml" in words for words in typed)
    for _, verb, *words in typed:
        options = {spelling for parameter in command.commands[verb].params for spelling in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= options


def test_all_data_sets_train_the_same_model() -> None:
    """So that one can start from another; the released code's 1.91 M parameters."""
    models = [read_toml(FOLDER / f"{name}.toml", TrainRecipe).model for name in DATA_SETS]
    assert all(model == models[0] for model in models)
    assert models[0].adapters == SharedAdapter(share="core", dim=128, first_block=19, projection=True)
    assert model_config(models[0]).backbone.image_px == 336


def stand_in(name: str, rated: Path, folder: Path, **changes: Any) -> TrainRecipe:
    """A preset on two tiny videos with its data set's names and label format, for as many blocks as there are."""
    preset = read_toml(FOLDER / f"{name}.toml", TrainRecipe)
    scores = DATA_SETS[name]
    for place, clip in zip(scores, clips_of(recipe_for(rated))[:2], strict=True):
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(clip.path, folder / place)
    rows = [f"{place}, 0.4, 10.0, {score}" for place, score in scores.items()]
    (folder / "labels.txt").write_text("\n".join(rows) + "\n")
    assert isinstance(preset.model.adapters, SharedAdapter)
    return replace(
        preset,
        model=replace(preset.model, adapters=replace(preset.model.adapters, first_block=3, dim=8)),
        data=replace(preset.data, labels=str(folder / "labels.txt")),
        split=SplitRecipe(train=1, val=0, test=0),
        sampling=replace(preset.sampling, frames=2, display=(128, 96)),
        optimiser=replace(preset.optimiser, epochs=1),
        cache=cache_in(folder / "cache", "float16"),
        **changes,
    )


@pytest.mark.usefixtures("undrawn")
def test_data_sets_train_one_after_another(rated: Path, tiny: Path, tmp_path: Path) -> None:
    """LSVQ first, the others from what it has learned, as their presets say."""
    start: str | None = None
    for name in DATA_SETS:
        recipe = stand_in(name, rated, tmp_path / name, start=start)
        clips = read_label_file(recipe.data, Path())
        assert len({clip.content for clip in clips}) == 2
        assert all(0 < clip.score < 100 for clip in clips)
        [result] = train(recipe, Path(), tmp_path / name / "run", quiet, tiny / "PE.safetensors")
        assert result.chosen is not None
        made = tmp_path / name / "run" / MODEL_FILE
        card = load_model(str(made)).card
        assert "2 clips of 2 contents from labels.txt" in card.description
        start = start or str(made)


def test_scenes_are_contents() -> None:
    """Where a data set has few of them."""
    for name, video, scene in (
        ("cvd2014", "Test1/City/Test01_City_D01.avi", "City"),
        ("cvd2014", "Test6/Newspaper/Test06_Newspaper_D13.avi", "Newspaper"),
        ("live-qualcomm", "Exposure/1017_CarRace_LGG2_05_20151017_143012.mp4", "CarRace"),
    ):
        pattern = read_toml(FOLDER / f"{name}.toml", TrainRecipe).data.content_pattern
        assert pattern is not None
        found = re.search(pattern, video)
        assert found is not None
        assert found[1] == scene
