"""One table of everything the method could have been, on the same data."""

import csv
import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tiny_training import PE, cache_in, clips_of, quiet, recipe_for, replace

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.model import Joint, Statistics
from qclip_ffmpeg.presets import read_toml
from qclip_ffmpeg.train import compare as compare_module
from qclip_ffmpeg.train.bootstrap import Figure
from qclip_ffmpeg.train.compare import ComparePreset, Row, Variant, compare, has_text, markdown, recipe_of
from qclip_ffmpeg.train.loop import Trainer, training_places
from qclip_ffmpeg.train.splits import SplitRecipe, splits

pytest_plugins = ["train_fixtures"]

pytestmark = pytest.mark.usefixtures("tiny", "undrawn", "asked")

PRESET = Path(__file__).parent.parent / "presets" / "train" / "compare.toml"
CORE = {"kind": "shared", "share": "core", "dim": 8, "first_block": 2}
ZERO_SHOT = {"levels": "zero-shot", "context_tokens": 0, "readout": {"kind": "joint"}, "adapters": None}
COOP = {"levels": "prompts", "readout": {"kind": "joint"}, "adapters": None}


def variant(name: str, **settings: Any) -> Variant:
    return Variant(group=settings.pop("group", "one"), name=name, **settings)


@pytest.fixture
def preset(rated: Path, tmp_path: Path) -> Any:
    """preset(*variants, **changes of the base) -> a preset of one epoch with a cache."""

    def make(*variants: Variant, **changes: Any) -> ComparePreset:
        base = {"epochs": 1, "learning_rate": 1e-3, "cache": cache_in(tmp_path / "cache"), **changes}
        return ComparePreset(**msgspec.structs.asdict(recipe_for(rated, **base)), variants=list(variants))

    return make


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The rows of the last picture."""
    rows: list[Any] = []
    monkeypatch.setattr(
        compare_module, "intervals_png", lambda path, shown, title: rows.__setitem__(slice(None), shown)
    )
    return rows


def test_the_table_has_a_row_for_each_variant(preset: Any, tmp_path: Path, asked: list[str]) -> None:
    """On a backbone with an image tower only; what reads prompts says so."""
    made = preset(
        variant("zero-shot", needs_text=True, model=ZERO_SHOT, optimiser={"epochs": 0}),
        variant("CoOp", needs_text=True, model=COOP),
        variant("level vectors"),
        variant("ridge", model={"levels": "linear"}, optimiser={"epochs": 0, "ridge": 30.0}),
        variant("SCMA", model={"adapters": CORE}),
        variant("one frame", like="SCMA", sampling={"frames": 1}, group="two"),
    )
    folder = tmp_path / "out"
    rows = compare(made, Path(), folder, quiet)
    assert [row.name for row in rows] == [v.name for v in made.variants]
    assert [bool(row.note) for row in rows] == [True, True, False, False, False, False]
    assert rows[0].note == "needs a text tower; this backbone has none"
    assert [row.trained_parameters for row in rows[2:4]] == [5 * 32 + 5, 32 + 1]
    assert rows[4].trained_parameters == rows[5].trained_parameters > 165
    assert [row.epoch for row in rows[2:]] == [1, None, 1, 1]
    assert all(row.srocc is not None and row.plcc is not None and row.rmse is not None for row in rows[2:])
    lines = (folder / "compare.md").read_text().splitlines()
    assert len(lines) == 2 + 2 + 6
    assert all(line.count("|") == 10 for line in lines)
    table = list(csv.DictReader((folder / "compare.csv").open(newline="")))
    assert [line["name"] for line in table] == [row.name for row in rows]
    assert float(table[4]["srocc"]) == pytest.approx(rows[4].srocc.value)  # type: ignore[union-attr]
    assert json.loads((folder / "compare.json").read_text()) == json.loads(msgspec.json.encode(rows))
    assert (folder / "compare.png").read_bytes().startswith(b"\x89PNG")
    assert sorted(p.name for p in (folder / "runs").iterdir()) == ["level-vectors", "one-frame", "ridge", "scma"]
    assert len(asked) == 3 * 12, "features, the tokens of two frames, and of one"


def test_with_a_text_tower_every_row_runs(preset: Any, tiny: Path, tmp_path: Path) -> None:
    made = preset(
        variant("zero-shot", needs_text=True, model=ZERO_SHOT, optimiser={"epochs": 0}),
        variant("CoOp", needs_text=True, model=COOP),
        variant("SCMA", model={"adapters": {**CORE, "projection": True}}),
        variant("linear", model={"levels": "linear"}),
        backbone=PE,
        levels="prompts",
        readout=Joint(),
    )
    rows = compare(made, Path(), tmp_path / "out", quiet, tiny / "PE.safetensors")
    assert [row.note for row in rows] == ["", "", "", ""]
    assert [row.trained_parameters for row in rows[:2]] == [0, 3 * 32 + 5]
    assert all((tmp_path / "out" / "runs" / name / "PE.safetensors").exists() for name in ("coop", "scma"))


def test_a_variant_that_fails_becomes_a_note(
    preset: Any, tmp_path: Path, drawn: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others still run."""
    made = preset(
        variant("good"),
        variant("wild", model={"adapters": CORE}, optimiser={"epochs": 3}),
        variant("better", model={"levels": "linear"}),
    )
    step = Trainer._step

    def wild(self: Trainer, places: Any) -> Any:
        return (math.nan, 0.0, 0.0) if self.recipe.epochs == 3 else step(self, places)

    monkeypatch.setattr(Trainer, "_step", wild)
    rows = compare(made, Path(), tmp_path / "out", quiet)
    assert [row.note[:7] for row in rows] == ["", "failed:", ""]
    assert "learning_rate" in rows[1].note
    assert [name for _, name, _ in drawn] == ["good", "better"]
    assert "| wild | failed: " in (tmp_path / "out" / "compare.md").read_text()


def test_only_notes_are_a_table_too(preset: Any, tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    rows = compare(preset(variant("CoOp", needs_text=True, model=COOP)), Path(), tmp_path, quiet)
    assert len(rows) == 1
    assert (tmp_path / "compare.md").exists()
    assert [str(w.message) for w in recwarn if issubclass(w.category, UserWarning)] == []


def test_a_stopped_comparison_goes_on(preset: Any, tmp_path: Path, drawn: list[Any], monkeypatch: Any) -> None:
    made = preset(
        variant("ridge", optimiser={"epochs": 0, "ridge": 1.0}),
        variant("a", optimiser={"epochs": 2}),
        variant("b", model={"levels": "linear"}),
    )
    whole = compare(made, Path(), tmp_path / "whole", quiet)

    def stop(stage: str, *_: int) -> None:
        if stage == "2 of 3: a, epoch 2 of 2":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compare(made, Path(), tmp_path / "out", stop)
    assert [row["name"] for row in json.loads((tmp_path / "out" / "compare.json").read_text())] == ["ridge"]
    epochs: list[int] = []
    epoch_of = Trainer._epoch
    monkeypatch.setattr(
        Trainer, "_epoch", lambda self, epoch, told: (epochs.append(epoch), epoch_of(self, epoch, told))[1]
    )
    rows = compare(made, Path(), tmp_path / "out", quiet)
    assert epochs == [2, 1]
    assert [replace(row, spent_s=0) for row in rows] == [replace(row, spent_s=0) for row in whole]
    again = compare(made, Path(), tmp_path / "out", quiet)
    assert again == rows, "the seconds, too, are those of the training"
    assert epochs == [2, 1]


# What a preset may say


def test_like_takes_over_settings_and_changes_some(preset: Any) -> None:
    made = preset(
        variant("a", model={"adapters": CORE, "levels": "linear"}, sampling={"frames": 1}),
        variant("b", like="a", model={"levels": "vectors"}, optimiser={"epochs": 4}),
        variant("c", like="b", sampling={"policy": "random"}),
        variant("d"),
    )
    a, b, c, d = (recipe_of(made, v) for v in made.variants)
    assert (a.model.levels, b.model.levels, c.model.levels) == ("linear", "vectors", "vectors")
    assert a.model.adapters == b.model.adapters == c.model.adapters is not None
    assert (c.sampling.frames, c.sampling.policy, c.optimiser.epochs) == (1, "random", 4)
    assert d.model == made.model
    assert a.data == made.data
    assert a.cache == made.cache


@pytest.mark.parametrize(
    ("variants", "said"),
    [
        ([variant("a", like="b"), variant("b")], r"\[\[variants\]\] a: like = 'b' names no earlier variant"),
        ([variant("a", like="a")], "names no earlier variant"),
        ([variant("a"), variant("a")], "'a' and 'a': are one name"),
        ([variant("10 %"), variant("10-%")], "'10 %' and '10-%': are one name"),
        ([variant("a", model={"level": "linear"})], r"\[\[variants\]\] a: .*`level` - at `\$.model`"),
        ([variant("a", optimiser={"epochs": "3"})], r"\[\[variants\]\] a: Expected `int`, got `str`"),
        ([variant("a", optimiser={"epochs": -1})], r"\[\[variants\]\] a: "),
        ([variant("a", sampling={"policy": "best"})], r"\[\[variants\]\] a: Invalid enum value 'best'"),
        (
            [variant("a"), variant("b", model={"adapters": {**CORE, "first_block": 9}})],
            r"\[\[variants\]\] b: \[model\] ",
        ),
        ([variant("a", model=COOP)], r"\[\[variants\]\] a: .*joint"),
        ([variant("a"), variant("b", optimiser={"train_share": 0.001})], None),
    ],
)
def test_what_a_variant_cannot_say(
    variants: Any, said: str | None, preset: Any, tmp_path: Path, asked: list[str]
) -> None:
    """Said before the first one is trained."""
    made = preset(*variants)
    if said is None:
        compare(made, Path(), tmp_path / "out", quiet)  # a content of two clips is enough
        return
    with pytest.raises(UsageError, match=said):
        compare(made, Path(), tmp_path / "out", quiet)
    assert asked == []
    assert not (tmp_path / "out").exists()


def test_too_few_clips_for_one_of_the_variants(preset: Any, rated: Path, tmp_path: Path, asked: list[str]) -> None:
    """Every clip a content of its own, so that a tenth of six is one."""
    made = preset(variant("all"), variant("10 %", optimiser={"train_share": 0.1}))
    made = replace(made, data=replace(made.data, content_column=None))
    with pytest.raises(UsageError, match=r"\[\[variants\]\] 10 %: the training part has 1 clip;"):
        compare(made, Path(), tmp_path / "out", quiet)
    assert asked == []


@pytest.mark.parametrize("split", [SplitRecipe(train=0.5, val=0.5, test=0), SplitRecipe(train=0.5, val=0, test=0.5)])
def test_a_split_without_a_part(split: SplitRecipe, preset: Any, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="needs a val part to choose on and a test part"):
        compare(preset(variant("a"), split=split), Path(), tmp_path / "out", quiet)


def test_a_folder_of_another_comparison(preset: Any, tmp_path: Path, drawn: list[Any], asked: list[str]) -> None:
    compare(preset(variant("a"), variant("b", model={"levels": "linear"})), Path(), tmp_path, quiet)
    asked.clear()
    changed = preset(variant("a"), variant("b", model={"levels": "linear"}, sampling={"frames": 1}))
    with pytest.raises(UsageError, match=r"runs/b: holds a run with another preset"):
        compare(changed, Path(), tmp_path, quiet)
    assert asked == []


def test_data_efficiency_shares_are_nested(preset: Any) -> None:
    shares = (0.2, 0.34, 0.67, 1.0)
    variants = [variant(f"{share}", optimiser={"train_share": share}) for share in shares]
    made = preset(*variants)
    clips = clips_of(made)
    split = splits([clip.content for clip in clips], made.split)[0]
    places = [set(training_places(clips, split, recipe_of(made, v).optimiser)) for v in variants]
    assert [len(p) for p in places] == [2, 2, 4, 6]
    assert places[0] <= places[1] < places[2] < places[3] == set(split.train)


def test_text_is_there_or_not(preset: Any) -> None:
    assert not has_text(preset(variant("a")))
    assert has_text(preset(variant("a"), backbone=PE))


# The preset that comes with the package


def test_the_preset_fits_the_bundled_backbone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every variant is a recipe; what needs no text can be built."""
    monkeypatch.undo()
    made = read_toml(PRESET, ComparePreset)
    recipes = {v.name: recipe_of(made, v) for v in made.variants}
    assert len(recipes) == len(made.variants) >= 15
    for v in made.variants:
        if not v.needs_text:
            compare_module.check_recipe(recipes[v.name])
    assert made.ladder is not None
    assert [scene.display for scene in made.ladder.scenes] == [made.sampling.display]
    assert isinstance(made.model.readout, Statistics)


def test_a_figure_in_the_table() -> None:
    found, alone = Figure(0.5, 0.25, 0.75), Figure(9.04, None, None)
    row = Row(group="g", name="n", srocc=found, plcc=found, rmse=alone, pairs_right=Figure(1, 1, 1))
    line = markdown([row]).splitlines()[-1]
    said = "0.500 [0.250, 0.750]"
    assert line == f"| n | 0 |  |  | {said} | {said} | 9.0 | 100.0 [100.0, 100.0] % | 0 |"
    undefined = Figure(None, None, None)
    line = markdown([replace(row, srocc=undefined, rmse=undefined, pairs_right=None)]).splitlines()[-1]
    assert line == f"| n | 0 |  |  | undefined | {said} | undefined |  | 0 |"
