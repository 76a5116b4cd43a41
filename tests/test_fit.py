"""Fitting: labels become levels, a head learns them, encodes are labelled by VMAF once."""

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.stats import spearmanr
from tiny_model import TINY, TINY_READOUT, random_qclip, tiny_card

from qclip_ffmpeg.checkpoint import LoadedModel, load_model
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.model import LEVEL_SCORES, Statistics, nearest_levels
from qclip_ffmpeg.presets import read_toml
from qclip_ffmpeg.train import fit, ladders
from qclip_ffmpeg.train.fit import (
    cross_validated,
    features_of,
    figures_line,
    fit_head,
    predict,
    window_of,
)
from qclip_ffmpeg.train.heads import ridge
from qclip_ffmpeg.train.ladders import LabelledEncode, encodes_of, even, read_labels, rng_for, vmaf
from qclip_ffmpeg.train.recipe import Codec, FitRecipe, LadderRecipe, ModelRecipe, Recipe, RungHeight

PRESET = Path(__file__).parent.parent / "presets" / "train" / "provisional.toml"
LADDER = LadderRecipe(
    seed=3,
    encodes_per_source=4,
    display=(640, 360),
    pan_frames=3,
    pan_width_share=0.8,
    video_frames=5,
    codecs=[Codec("libx264", 1.0, (14, 48), {"preset": "ultrafast"})],
    rungs=[RungHeight(1.0, 0.5), RungHeight(0.5, 0.5)],
)
FIT = FitRecipe(
    seed=0, folds=5, frames_per_encode=2, ridge=0.3, level_spread=25.0, steps=50, learning_rate=1e-4, hold=1.0
)
RECIPE = Recipe(LADDER, ModelRecipe(TINY.views, *msgspec.structs.astuple(TINY_READOUT), frames_per_window=2), FIT)

replace = msgspec.structs.replace


def synthetic(count: int, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Features (count, 40) of which some directions carry the label linearly, and the labels 0..100."""
    rng = np.random.default_rng(seed)
    direction = np.random.default_rng(99).normal(size=40)
    label = rng.uniform(5, 95, size=count)
    noise = rng.normal(size=(count, 40))
    features = 3 + np.outer((label - 50) / 30, direction) + 0.5 * noise
    return features.astype(np.float32), label


@pytest.mark.parametrize(
    ("score", "weights"),
    [
        (0, [1, 0, 0, 0, 0]),
        (25, [0, 1, 0, 0, 0]),
        (100, [0, 0, 0, 0, 1]),
        (37.5, [0, 0.5, 0.5, 0, 0]),
        (5, [0.8, 0.2, 0, 0, 0]),
        (95, [0, 0, 0, 0.2, 0.8]),
        (-3, [1, 0, 0, 0, 0]),
        (104, [0, 0, 0, 0, 1]),
    ],
)
def test_nearest_levels_by_hand(score: float, weights: list[float]) -> None:
    assert nearest_levels(torch.tensor([float(score)])).tolist()[0] == pytest.approx(weights, abs=1e-6)


def test_the_expectation_of_nearest_levels_is_the_score() -> None:
    scores = torch.linspace(0, 100, 401)
    weights = nearest_levels(scores)
    torch.testing.assert_close(weights @ torch.tensor(LEVEL_SCORES), scores, atol=1e-4, rtol=0)
    torch.testing.assert_close(weights.sum(dim=1), torch.ones(401))
    assert ((weights > 0).sum(dim=1) <= 2).all()


def test_a_head_learns_what_is_linear() -> None:
    features, label = synthetic(120)
    head = fit_head(features, label, FIT)
    unseen, truth = synthetic(80, seed=1)
    score = predict(head, unseen)
    assert ((score >= 0) & (score <= 100)).all()
    assert spearmanr(score, truth).statistic > 0.95
    assert np.abs(score - truth).mean() < 10
    assert not any(p.requires_grad for p in head.parameters())


def test_fitting_is_deterministic() -> None:
    features, label = synthetic(40)
    one, two = (fit_head(features, label, FIT).state_dict() for _ in range(2))
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_feature_that_never_changes_does_no_harm() -> None:
    features, label = synthetic(40)
    features[:, 7] = 2.0
    assert np.isfinite(predict(fit_head(features, label, FIT), features)).all()


def test_ridge_finds_the_slope_and_shrinks_it() -> None:
    x = torch.tensor([[-1.0], [0.0], [1.0]], dtype=torch.float64)
    slope, offset = ridge(x, 50 + 10 * x[:, 0], strength=0.3)
    assert offset == 50
    # closed form: sum(x y) / (sum(x^2) + penalty), penalty = 0.3 a sample and thousand features
    assert slope.tolist() == pytest.approx([20 / (2 + 0.3 * 3 / 1000)])


def row(content: str, score: float, kind: str = "still") -> LabelledEncode:
    return LabelledEncode(f"{content}.{score}.mkv", content, kind, "libx264", 30, 360, 360, score)


def test_the_score_of_an_encode_comes_from_a_head_that_never_saw_its_content(monkeypatch: pytest.MonkeyPatch) -> None:
    features, label = synthetic(30)
    rows = [row(f"content{i % 10}", score) for i, score in enumerate(label)]
    seen: list[set[float]] = []

    def spy(some: NDArray[np.float32], labels: NDArray[np.float64], recipe: FitRecipe) -> torch.nn.Module:
        seen.append(set(labels))
        return fit_head(some, labels, recipe)

    monkeypatch.setattr(fit, "fit_head", spy)
    score = cross_validated(rows, features, FIT)
    assert len(seen) == 5
    for fold in seen:
        held_out = {r.content for r in rows if r.vmaf not in fold}
        assert len(held_out) == 2
        assert not held_out & {r.content for r in rows if r.vmaf in fold}
    assert spearmanr(score, label).statistic > 0.9


def test_figures_are_one_line_about_one_prediction() -> None:
    label = [10.0, 30.0, 50.0, 70.0]
    rows = [row(f"content{i // 2}", score) for i, score in enumerate(label)]
    said = figures_line("held out", np.array(label) + 1, rows)
    assert said.startswith("held out: 4 encodes of 2 contents, SROCC 1.000 [1.000, 1.000], PLCC 1.000 [1.000, 1.000], ")
    assert "RMSE 0.0 [0.0, 0.0] (1.0 before the logistic)" in said
    assert said.endswith("pairs >= 5 apart 100.0% [100.0%, 100.0%] of 2, pairs >= 2 apart 100.0% [100.0%, 100.0%] of 2")
    assert "\n" not in said


def test_encodes_of_two_references_are_no_pair() -> None:
    """A still and a pan of one photograph have labels of their own."""
    rows = [row("content", 10.0), row("content", 30.0, "pan"), row("content", 50.0)]
    assert "pairs >= 5 apart 100.0% of 1" in figures_line("one photograph", np.array([1.0, 2.0, 3.0]), rows)


def test_figures_without_a_pair_to_compare() -> None:
    """One encode a content is a fair set to score."""
    rows = [row(f"content{i}", score) for i, score in enumerate([10.0, 30.0, 50.0])]
    said = figures_line("one each", np.array([1.0, 2.0, 3.0]), rows)
    assert "SROCC 1.000" in said
    assert "pairs" not in said


@pytest.mark.parametrize(("value", "expected"), [(0.2, 2), (2.9, 2), (3.1, 4), (359.64, 360), (143.6, 144)])
def test_even(value: float, expected: int) -> None:
    assert even(value) == expected


def test_the_seed_and_the_name_decide_everything() -> None:
    draws = {(s, n): rng_for(s, n).integers(2**32) for s in (0, 1) for n in ("a/still", "a/pan")}
    assert len(set(draws.values())) == 4
    assert rng_for(0, "a/still").integers(2**32) == draws[0, "a/still"]


@pytest.fixture
def still(tmp_path: Path, media: Callable[..., Path]) -> Path:
    """A small still in a folder of its own."""
    folder = tmp_path / "stills"
    folder.mkdir()
    path = folder / "mandelbrot.png"
    path.write_bytes(media("mandelbrot.png", 1, (320, 180), 1, source="mandelbrot", frames="1").read_bytes())
    return path


Run = Callable[[], tuple[Path, list[str]]]


@pytest.fixture
def label(still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """label() -> (the folder of encodes, the names encoded in this run): python -m qclip_ffmpeg.train.ladders."""
    out = tmp_path / "encodes"
    encoded: list[str] = []

    def counted(encode: Path, reference: Path, size_px: tuple[int, int]) -> float:
        encoded.append(encode.name)
        return vmaf(encode, reference, size_px)

    monkeypatch.setattr(ladders, "vmaf", counted)
    monkeypatch.setattr(ladders, "read_toml", lambda *_: RECIPE)
    monkeypatch.setattr(sys, "argv", ["ladders", "recipe.toml", str(still.parent), str(out)])

    def run() -> tuple[Path, list[str]]:
        encoded.clear()
        ladders.main()
        return out, list(encoded)

    return run


def test_a_still_becomes_labelled_encodes(label: Run) -> None:
    out, encoded = label()
    rows = read_labels(out / "labels.csv")
    assert (
        [r.file for r in rows] == encoded == [f"mandelbrot.{kind}.mkv" for kind in ("still0", "still1", "pan0", "pan1")]
    )
    assert {p.name for p in out.iterdir()} == {*encoded, "labels.csv"}
    for r in rows:
        assert r.content == "mandelbrot"
        assert r.codec == "libx264"
        assert r.height_px in (90, 180)
        assert r.display_height_px == 180
        assert 0 <= r.vmaf <= 100
        assert 14 <= r.crf <= 48
    assert [r.kind for r in rows] == ["still", "still", "pan", "pan"]
    assert len({r.vmaf for r in rows}) > 1


def test_finished_encodes_are_not_made_again(label: Run) -> None:
    """And one that was not finished comes out as it would have."""
    out, first = label()
    labels = (out / "labels.csv").read_text()
    made = {name: (out / name).stat().st_mtime_ns for name in first}
    assert label() == (out, [])
    lines = labels.splitlines(keepends=True)
    (out / "labels.csv").write_text("".join(lines[:-1]))
    assert label() == (out, first[-1:])
    assert (out / "labels.csv").read_text() == labels
    assert {name: (out / name).stat().st_mtime_ns for name in first[:-1]} == {name: made[name] for name in first[:-1]}


@pytest.mark.parametrize("rows_kept", [0, 1])
def test_a_run_that_was_killed_goes_on(rows_kept: int, label: Run) -> None:
    """Killed before its first row was written, labels.csv holds the header alone."""
    out, first = label()
    labels = (out / "labels.csv").read_text()
    lines = labels.splitlines(keepends=True)
    (out / "labels.csv").write_text("".join(lines[: 1 + rows_kept]))
    assert label() == (out, first[rows_kept:])
    assert [r.file for r in read_labels(out / "labels.csv")] == first


def test_vmaf_prefers_the_better_encode(media: Callable[..., Path], tmp_path: Path) -> None:
    """And the reference itself is as good as it gets."""
    recipe = {"source": "mandelbrot", "c": "libx264", "preset": "ultrafast"}
    size_px = (320, 180)
    reference = media("mandelbrot.mkv", 0.4, size_px, 10, **recipe, qp=0)
    good, bad = (media(f"mandelbrot{crf}.mkv", 0.4, size_px, 10, **recipe, crf=crf) for crf in (20, 45))
    scores = [vmaf(path, reference, size_px) for path in (reference, good, bad)]
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > 95
    assert scores[2] < 70


def test_labels_survive_a_round_trip(tmp_path: Path) -> None:
    rows = [row("a, b", 12.345678901234567), row("c", 100.0, "pan")]
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(LabelledEncode.__dataclass_fields__))
        writer.writeheader()
        writer.writerows([r.__dict__ for r in rows])
    assert read_labels(tmp_path / "labels.csv") == rows


def test_encodes_follow_from_the_seed(still: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same source and seed give the same rungs; another seed gives others."""
    monkeypatch.setattr(ladders, "vmaf", lambda *_: 50.0)
    drawn = [encodes_of(still, tmp_path, replace(LADDER, seed=seed), set()) for seed in (0, 0, 1)]
    assert drawn[0] == drawn[1]
    assert drawn[0] != drawn[2]


def test_a_video_is_encoded_as_a_video(tmp_path: Path, media: Callable[..., Path]) -> None:
    source = media("moving.mp4", 0.4, (320, 180), 25)
    rows = encodes_of(source, tmp_path, replace(LADDER, encodes_per_source=1), set())
    assert [(r.file, r.kind, r.content) for r in rows] == [("moving.video0.mkv", "video", "moving")]


@pytest.fixture
def labelled(tmp_path: Path, media: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two labelled encodes; features come from the tiny model."""
    monkeypatch.setattr(fit, "untrained_model", lambda recipe: LoadedModel(random_qclip(), tiny_card(""), ""))
    for name in ("a.mkv", "b.mkv"):
        made = media(name, 0.4, (320, 180), 10, filters="negate" if name == "b.mkv" else "null", c="ffv1")
        (tmp_path / name).write_bytes(made.read_bytes())
    write_labels(tmp_path, "a", "b")
    return tmp_path


def write_labels(folder: Path, *contents: str) -> None:
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(LabelledEncode.__dataclass_fields__))
        writer.writeheader()
        writer.writerows(replaced(row(content, 50.0), file=f"{content}.mkv").__dict__ for content in contents)


def replaced(encode: LabelledEncode, **changes: str) -> LabelledEncode:
    return LabelledEncode(**(encode.__dict__ | changes))


def test_features_are_made_once(labelled: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rows, features = features_of(labelled, RECIPE)
    assert [r.content for r in rows] == ["a", "b"]
    assert features.shape == (2, random_qclip().feature_dim)
    assert not np.array_equal(features[0], features[1])
    with monkeypatch.context() as patch:
        patch.delattr("qclip_ffmpeg.train.fit.window_of")
        assert np.array_equal(features_of(labelled, RECIPE)[1], features)


def test_features_of_an_encode_made_anew_are_not_reused(labelled: Path) -> None:
    _, before = features_of(labelled, RECIPE)
    (labelled / "a.mkv").write_bytes((labelled / "b.mkv").read_bytes())
    _, after = features_of(labelled, RECIPE)
    assert np.array_equal(after[0], after[1])
    assert np.array_equal(after[1], before[1])
    assert not np.array_equal(after[0], before[0])


def test_as_many_frames_of_an_encode_are_seen_as_the_recipe_says(labelled: Path) -> None:
    row, *_ = read_labels(labelled / "labels.csv")
    for count in (1, 2, 3):
        recipe = replace(RECIPE, fit=replace(FIT, frames_per_encode=count))
        assert len(window_of(labelled / row.file, row, recipe).views) == count


def test_features_of_another_recipe_are_not_reused(labelled: Path) -> None:
    _, small = features_of(labelled, RECIPE)
    _, large = features_of(labelled, replace(RECIPE, fit=replace(FIT, frames_per_encode=1)))
    assert not np.array_equal(small, large)


def test_every_label_has_its_features(labelled: Path) -> None:
    """Also when encodes were added since."""
    write_labels(labelled, "b")
    features_of(labelled, RECIPE)
    write_labels(labelled, "a", "b")
    rows, features = features_of(labelled, RECIPE)
    assert len(rows) == len(features) == 2


def test_the_preset_is_complete() -> None:
    recipe = read_toml(PRESET, Recipe)
    assert sum(c.chance for c in recipe.ladder.codecs) == pytest.approx(1)
    assert sum(r.chance for r in recipe.ladder.rungs) == pytest.approx(1)
    card = load_model().card
    assert card.config.backbone.blocks == max(recipe.model.exit_blocks)
    assert card.config.views == recipe.model.views, "the bundled model was fitted by it"
    assert card.config.readout == Statistics(recipe.model.exit_blocks, recipe.model.statistics)
    assert card.frames_per_window == recipe.model.frames_per_window


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("ridge = 0.3", "rigde = 0.3"), "rigde"),
        (("steps = 200", "steps = 0"), "steps"),
        (("folds = 5 ", 'folds = "5" '), "folds"),
        (("[fit]", "[fit"), "is not TOML"),
    ],
)
def test_a_mistyped_preset_never_passes(change: tuple[str, str], said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(PRESET.read_text().replace(*change))
    with pytest.raises(UsageError, match=rf"mine\.toml: .*{said}") as raised:
        read_toml(path, Recipe)
    assert "\n" not in str(raised.value)


def test_a_missing_preset_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"mine\.toml: cannot be read"):
        read_toml(tmp_path / "mine.toml", Recipe)
