"""Training: from the cache or without it, in whole batches or in parts, it is the same; the best epoch is chosen."""

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from tiny_training import (
    ALL_TRAIN,
    PARTS,
    PE,
    cache_in,
    clips_of,
    quiet,
    recipe_for,
    replace,
    tensors_of,
    trainer_for,
)

from qclip_ffmpeg.adapters import ProjectionAdapter, SharedAdapter, VisualPrompts
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.model import Joint, Statistics
from qclip_ffmpeg.train.config import OptimiserRecipe
from qclip_ffmpeg.train.loop import DivergedError, Trainer, score_map, training_places
from qclip_ffmpeg.train.splits import Split, share_of_contents

pytest_plugins = ["train_fixtures"]

pytestmark = pytest.mark.usefixtures("tiny", "undrawn", "asked")

CORE = SharedAdapter(share="core", dim=8, first_block=2)
BEFORE_AND_AFTER = Statistics((1, 4), ("class", "mean", "std"))
VARIANTS: dict[str, dict[str, Any]] = {
    "SCMA core": {"adapters": CORE},
    "SCMA all": {"adapters": SharedAdapter(share="all", dim=8, first_block=2)},
    "SCMA after the last block": {"adapters": SharedAdapter(share="core", dim=8, first_block=4)},
    "VPT": {"adapters": VisualPrompts(tokens=3, first_block=2)},
    "VPT from the first block": {"adapters": VisualPrompts(tokens=3, first_block=1)},
    "CLIP-Adapter": {"adapters": ProjectionAdapter(dim=8)},
    "linear": {"levels": "linear"},
    "fused over time": {"adapters": CORE, "fusion": "transformer"},
}
STEADY = {  # whose first scores differ, where gradients are no hundred million times the rounding
    "SCMA core": {"adapters": CORE, "ridge": 1.0},
    "fused over time": {"adapters": CORE, "ridge": 1.0, "fusion": "transformer"},
    "linear": {"levels": "linear", "ridge": 1.0},
}
PROMPTS = {
    "backbone": PE,
    "levels": "prompts",
    "readout": Joint(),
    "adapters": SharedAdapter(share="core", dim=8, first_block=3, projection=True),
}


def losses(trainer: Trainer) -> list[float]:
    trainer.run(quiet)
    return [row.loss for row in trainer.rows]


# From the cache or without it, whole batches or parts


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_cache_changes_no_loss(variant: str, rated: Path, tmp_path: Path) -> None:
    """Twenty steps, exits before and after the first adapted block, two views."""
    changes = {"readout": BEFORE_AND_AFTER, "views": ("whole", "mosaic"), "learning_rate": 1e-3, **VARIANTS[variant]}
    plain = recipe_for(rated, epochs=20, batch=4, **changes)
    split = Split((0, 1, 2, 3), (), ())
    expected = losses(trainer_for(plain, tmp_path / "plain", split))
    cached = replace(plain, cache=cache_in(tmp_path / "cache"))
    assert losses(trainer_for(cached, tmp_path / "cached", split)) == expected
    assert len(set(expected)) == 20
    assert expected[-1] < expected[1] / 2, "it learns"


@pytest.mark.parametrize("accumulate", [2, 5, 12])
@pytest.mark.parametrize("variant", [*STEADY, "prompts"])
def test_a_batch_in_parts_is_one_batch(
    variant: str, accumulate: int, rated: Path, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Gradients of every step are those of the whole batch: 12 clips, of which a part has 6, 3 or 1."""
    seen: list[torch.Tensor] = []
    step = torch.optim.AdamW.step

    def spy(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        seen.append(torch.cat([p.grad.flatten() for group in optimiser.param_groups for p in group["params"]]))
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    changes, backbone = (PROMPTS, tiny / "PE.safetensors") if variant == "prompts" else (STEADY[variant], None)
    rows = []
    for parts in (1, accumulate):
        recipe = recipe_for(
            rated,
            epochs=3,
            batch=12,
            accumulate=parts,
            warmup_epochs=0,
            learning_rate=1e-3,
            **changes,
            cache=cache_in(tmp_path / "cache"),
        )
        rows.append(losses(trainer_for(recipe, tmp_path / f"run{parts}", backbone=backbone)))
    assert len(seen) == 6
    for whole, in_parts in zip(seen[:3], seen[3:], strict=True):
        assert float((whole - in_parts).norm()) < 1e-3 * float(whole.norm())
    np.testing.assert_allclose(rows[1], rows[0], rtol=5e-5)
    assert len(set(rows[0])) == 3


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_trains_and_scores_are_of_float32(precision: Any, rated: Path, tmp_path: Path) -> None:
    changes = {**STEADY["SCMA core"], "learning_rate": 1e-3, "cache": cache_in(tmp_path / "cache")}
    full, half = (trainer_for(recipe_for(rated, **changes, precision=p), tmp_path / p) for p in ("float32", precision))
    expected, found = losses(full), losses(half)
    assert found != expected
    np.testing.assert_allclose(found, expected, atol=0.05)
    full.qclip.load_state_dict(half.qclip.state_dict())
    assert full.scores_of(ALL_TRAIN.train, quiet).tolist() == half.scores_of(ALL_TRAIN.train, quiet).tolist()


# What is trained, and from where


def test_a_head_that_starts_at_zero_learns(rated: Path, tmp_path: Path) -> None:
    """Its first scores are all equal, where the PLCC loss is steepest; one such gradient must not end the training."""
    for levels in ("vectors", "linear"):
        changes = {"levels": levels, "epochs": 20, "batch": 6, "cache": cache_in(tmp_path / "cache")}
        found = losses(trainer_for(recipe_for(rated, **changes, learning_rate=1e-3), tmp_path / levels))
        assert found[0] > 0.25
        assert found[-1] < 0.2


@pytest.mark.parametrize("variant", [*VARIANTS, "prompts"])
def test_the_towers_stay_as_they_are(variant: str, rated: Path, tiny: Path, tmp_path: Path) -> None:
    changes, backbone = (PROMPTS, tiny / "PE.safetensors") if variant == "prompts" else (VARIANTS[variant], None)
    recipe = recipe_for(
        rated, cache=cache_in(tmp_path / "cache"), weight_decay=0.1, **{"readout": BEFORE_AND_AFTER, **changes}
    )
    trainer = trainer_for(recipe, tmp_path / "run", backbone=backbone)
    before = tensors_of(trainer.model)
    trainer.run(quiet)
    after = tensors_of(trainer.model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert not [name for name in changed if name.startswith(("tower.", "text."))]
    unmoved = {name for name in trainer.parameters if name not in changed}
    assert not unmoved, "everything that is trained has a gradient"


def test_gradients_reach_the_prompts_through_the_text_tower(rated: Path, tiny: Path, tmp_path: Path) -> None:
    trainer = trainer_for(recipe_for(rated, **PROMPTS, epochs=1), tmp_path / "run", backbone=tiny / "PE.safetensors")
    before = tensors_of(trainer.model)
    trainer.run(quiet)
    after = tensors_of(trainer.model)
    for name in ("context", "head.score_vector", "head.text_features", "adapters.text_scale", "adapters.core.0.weight"):
        assert not torch.equal(before[name], after[name]), name
    assert trainer.model.qclip.text is not None


def test_zero_shot_learns_nothing(rated: Path, tiny: Path, tmp_path: Path) -> None:
    changes = {**PROMPTS, "levels": "zero-shot", "adapters": None, "context_tokens": 0}
    backbone = tiny / "PE.safetensors"
    trainer = trainer_for(recipe_for(rated, **changes, epochs=0), tmp_path / "run", backbone=backbone)
    assert trainer.parameters == {}
    before = tensors_of(trainer.model)
    trainer.run(quiet)
    after = tensors_of(trainer.model)
    assert [name for name in before if not torch.equal(before[name], after[name])] == ["head.text_features"]
    with pytest.raises(UsageError, match="say epochs = 0"):
        trainer_for(recipe_for(rated, **changes, epochs=1), tmp_path / "more", backbone=backbone)


def test_a_ridge_start_is_where_training_starts(rated: Path, tmp_path: Path) -> None:
    """With little penalty it fits the training clips, with no epoch at all."""
    cache = cache_in(tmp_path / "cache")
    for levels in ("vectors", "linear"):
        recipe = recipe_for(rated, levels=levels, epochs=0, ridge=0.01, cache=cache)
        trainer = trainer_for(recipe, tmp_path / levels)
        trainer.run(quiet)
        label = np.array([clip.score for clip in clips_of(recipe)])
        assert np.corrcoef(trainer.scores_of(ALL_TRAIN.train, quiet), label)[0, 1] > 0.95
        assert trainer.rows == []


# The chosen epoch


@pytest.fixture
def validation(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The SROCC that each epoch will have on the validation part."""
    queue: list[float] = []

    class Found:
        def __init__(self) -> None:
            self.statistic = queue.pop(0)

    monkeypatch.setattr(scipy.stats, "spearmanr", lambda *_: Found())
    return queue


@pytest.mark.parametrize(
    ("srocc", "chosen"),
    [
        ([0.1, 0.7, 0.3, 0.6], 2),
        ([0.9, 0.7, 0.3, 0.6], 1),
        ([0.1, 0.2, 0.3, 0.6], 4),
        ([-0.4, -0.2, -0.3, -0.5], 2),
        ([0.5, 0.7, 0.7, 0.7], 2),
    ],
)
def test_the_epoch_with_the_best_validation_srocc_is_chosen(
    srocc: list[float], chosen: int, validation: list[float], rated: Path, tmp_path: Path
) -> None:
    """And it is what the model holds afterwards, and what a log says."""
    validation += srocc
    recipe = recipe_for(rated, adapters=CORE, epochs=4, cache=cache_in(tmp_path / "cache"))
    trainer = trainer_for(recipe, tmp_path / "run", PARTS)
    held: list[dict[str, torch.Tensor]] = []
    judge = trainer._judge_epoch
    trainer._judge_epoch = lambda *arguments: (held.append(tensors_of(trainer.model)), judge(*arguments))  # type: ignore
    trainer.run(quiet)
    assert [row.epoch for row in trainer.rows if row.best] == [chosen]
    after = tensors_of(trainer.model)
    differ = [n for n, of_epoch in enumerate(held, 1) if any(not torch.equal(of_epoch[k], after[k]) for k in after)]
    assert differ == [n for n in range(1, 5) if n != chosen]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in log] == [1, 2, 3, 4]
    assert [row["epoch"] for row in log if row.get("best")] == [chosen]
    assert [row["val_srocc"] for row in log] == srocc


def test_an_epoch_that_cannot_be_judged_is_not_chosen(
    validation: list[float], rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The scores of the first and the last epoch are all the same here."""
    validation += [0.2, 0.4]
    trainer = trainer_for(recipe_for(rated, epochs=4, cache=cache_in(tmp_path / "cache")), tmp_path / "run", PARTS)
    scores_of = trainer.scores_of

    def scores(*arguments: Any) -> Any:
        found = scores_of(*arguments)
        return found * 0 if len(trainer.rows) in (0, 3) else found

    monkeypatch.setattr(trainer, "scores_of", scores)
    trainer.run(quiet)
    assert [row.val_srocc for row in trainer.rows] == [None, 0.2, 0.4, None]
    assert [row.best for row in trainer.rows] == [False, False, True, False]


@pytest.mark.parametrize("split", [ALL_TRAIN, Split((0, 1, 2, 3), (4,), (5,))], ids=["no part", "one clip"])
def test_with_nothing_to_choose_on_the_last_epoch_is_chosen(split: Split, rated: Path, tmp_path: Path) -> None:
    trainer = trainer_for(recipe_for(rated, cache=cache_in(tmp_path / "cache")), tmp_path / "run", split)
    trainer.run(quiet)
    assert [row.best for row in trainer.rows] == [False, False, True]
    assert [row.val_srocc for row in trainer.rows] == [None] * 3


@pytest.mark.parametrize("changes", [{"learning_rate": 1e30}, {"learning_rate": 1e30, "levels": "linear"}])
def test_a_run_that_leaves_the_numbers_says_so(changes: Any, rated: Path, tmp_path: Path) -> None:
    trainer = trainer_for(recipe_for(rated, adapters=CORE, epochs=5, **changes), tmp_path / "run", PARTS)
    with pytest.raises(DivergedError, match="say a lower learning_rate") as raised:
        trainer.run(quiet)
    assert "\n" not in str(raised.value)


# Schedule, shares, the scale of the scores


def test_warm_up_and_cosine(rated: Path, tmp_path: Path) -> None:
    recipe = recipe_for(rated, epochs=9, warmup_epochs=1, learning_rate=2.0)
    rate = trainer_for(recipe, tmp_path / "run").learning_rate
    assert [rate(epoch) for epoch in (0.25, 0.5, 1, 5, 9)] == pytest.approx([0.5, 1, 2, 1, 0], abs=1e-12)
    assert rate(3) == pytest.approx(1 + math.cos(math.pi / 4))
    for warmup in (0, 9, 20):
        rate = trainer_for(recipe_for(rated, epochs=9, warmup_epochs=warmup, learning_rate=2.0), tmp_path).learning_rate
        rates = [rate(quarter / 4) for quarter in range(1, 37)]
        assert all(0 <= rate <= 2 for rate in rates)


def test_every_step_has_its_rate(rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps an epoch, warm-up of one epoch; the log has the last of each."""
    rates: list[float] = []
    step = torch.optim.AdamW.step

    def spy(optimiser: torch.optim.AdamW, *arguments: Any) -> Any:
        rates.append(optimiser.param_groups[0]["lr"])
        return step(optimiser, *arguments)

    monkeypatch.setattr(torch.optim.AdamW, "step", spy)
    trainer = trainer_for(recipe_for(rated, epochs=2, batch=4, learning_rate=3e-3), tmp_path / "run")
    trainer.run(quiet)
    assert rates == pytest.approx([1e-3, 2e-3, 3e-3, 2.25e-3, 0.75e-3, 0], abs=1e-9)
    assert [row.learning_rate for row in trainer.rows] == pytest.approx([3e-3, 0], abs=1e-9)


def test_every_clip_is_seen_once_an_epoch_in_another_order(
    rated: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five clips in batches of two: one is left over, another one each time."""
    trainer = trainer_for(recipe_for(rated, epochs=6, batch=2), tmp_path / "run", Split((0, 2, 4, 6, 8), (), ()))
    seen: list[int] = []
    step = trainer._step
    monkeypatch.setattr(trainer, "_step", lambda places: (seen.extend(places), step(places))[1])
    trainer.run(quiet)
    epochs = [seen[i : i + 4] for i in range(0, len(seen), 4)]
    assert len(epochs) == 6
    assert all(len(set(epoch)) == 4 and set(epoch) < {0, 2, 4, 6, 8} for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 3
    assert set(seen) == {0, 2, 4, 6, 8}


def test_smaller_shares_of_the_contents_are_parts_of_larger_ones(rated: Path) -> None:
    clips = clips_of(recipe_for(rated))
    everything = tuple(range(12))
    kept = [set(share_of_contents(clips, everything, share, 3)) for share in (0.01, 0.34, 0.5, 0.67, 1.0)]
    assert [len(places) for places in kept] == [2, 4, 6, 8, 12]
    assert all(small < large for small, large in itertools.pairwise(kept))
    for places in kept:
        assert {clips[i].content for i in places}.isdisjoint(clips[i].content for i in set(everything) - places)
    assert kept[1] != set(share_of_contents(clips, everything, 0.34, 4))


def test_too_little_to_train_on(rated: Path) -> None:
    clips = clips_of(recipe_for(rated))
    with pytest.raises(UsageError, match="has 1 clip;"):
        training_places(clips, Split((3,), (), ()), OptimiserRecipe())
    with pytest.raises(UsageError, match="has 0 clips;"):
        training_places(clips, Split((), (), ()), OptimiserRecipe())
    assert training_places(clips, Split((3,), (), ()), OptimiserRecipe(epochs=0)) == (3,)


def test_raw_scores_are_mapped_onto_labels_if_they_rise() -> None:
    raw = np.array([0.1, 0.2, 0.4])
    assert score_map(raw, 100 * raw + 5) == pytest.approx((100, 5))
    assert score_map(raw, -raw) is None
    assert score_map(np.array([0.3, 0.3]), np.array([1.0, 2.0])) is None
