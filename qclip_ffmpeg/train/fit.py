"""Fit the level head of the bundled model on teacher-labelled encodes, and say how good it is.

    python -m qclip_ffmpeg.train.fit presets/train/provisional.toml ENCODES --transfer OTHER --out NAME.safetensors

ENCODES is a folder made by `train.ladders`. Frames are read, sampled and resampled by the code that serves the probe.
The level vectors start at a ridge regression of the label, written as five collinear vectors, and are then trained by
soft-label cross entropy and the PLCC loss, held near the start. Figures come from five folds split by content; the
head that is written is fitted on all contents with the same settings.
"""

import argparse
import hashlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file

from qclip_ffmpeg.checkpoint import WEIGHTS_DIR, Card, LoadedModel, read_backbone, save_checkpoint, sha256_of_file
from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.model import LevelHead, ModelConfig, QClip, Statistics, nearest_levels
from qclip_ffmpeg.presets import read_toml
from qclip_ffmpeg.probe import frame_views_of
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import windows
from qclip_ffmpeg.scorer import Scorer, WindowViews
from qclip_ffmpeg.train.config import BUNDLED_FILE, BUNDLED_TOWER
from qclip_ffmpeg.train.heads import standardise, start_at_ridge
from qclip_ffmpeg.train.ladders import LabelledEncode, read_labels
from qclip_ffmpeg.train.metrics import figures, pairs_ordered_right, share_of_pairs_right
from qclip_ffmpeg.train.recipe import FitRecipe, Recipe
from qclip_ffmpeg.views import Display

WHOLE_S = Fraction(3600)  # longer than any encode


def config_of(recipe: Recipe) -> ModelConfig:
    """The bundled tower, up to the last block that is read, with level vectors."""
    return ModelConfig(
        backbone=msgspec.structs.replace(BUNDLED_TOWER, blocks=max(recipe.model.exit_blocks)),
        views=recipe.model.views,
        readout=Statistics(recipe.model.exit_blocks, recipe.model.statistics),
    )


def untrained_card(recipe: Recipe) -> Card:
    """The card of `config_of`, with an empty head."""
    return Card(
        id="untrained",
        status="untrained",
        description="",
        config=config_of(recipe),
        backbone_file=BUNDLED_FILE,
        backbone_sha256=sha256_of_file(WEIGHTS_DIR / BUNDLED_FILE),
        display=str(Display(*recipe.ladder.display)),
        frames_per_window=recipe.model.frames_per_window,
    )


def untrained_model(recipe: Recipe) -> LoadedModel:
    """The model of `untrained_card`."""
    card = untrained_card(recipe)
    qclip = QClip(card.config)
    qclip.tower.load_state_dict(read_backbone(WEIGHTS_DIR / BUNDLED_FILE, card.config.backbone))
    return LoadedModel(qclip.eval().requires_grad_(False), card, "")


def features_of(folder: Path, recipe: Recipe) -> tuple[list[LabelledEncode], NDArray[np.float32]]:
    """Labels of a folder of encodes and the mean features of each, (encodes, D); kept beside them for the next fit."""
    rows = read_labels(folder / "labels.csv")
    encodes = [(row.file, (folder / row.file).stat().st_size, (folder / row.file).stat().st_mtime_ns) for row in rows]
    card = untrained_card(recipe)
    decided_by = [recipe.model, recipe.fit.frames_per_encode, recipe.ladder.display, card.backbone_sha256, encodes]
    cache = folder / f"features-{hashlib.sha256(msgspec.json.encode(decided_by)).hexdigest()[:12]}.safetensors"
    if not cache.exists():
        scorer = Scorer(untrained_model(recipe), "cpu")
        save_file(
            {"features": torch.stack(list(scorer.features(window_of(folder / r.file, r, recipe) for r in rows)))}, cache
        )
    return rows, load_file(cache)["features"].numpy()


def window_of(path: Path, row: LabelledEncode, recipe: Recipe) -> WindowViews:
    """The frames of one encode that the head is fitted on, shown as they were labelled."""
    display = Display(recipe.ladder.display[0], row.display_height_px)
    with open_video(str(path), InputOptions()) as video:
        window = next(windows(video, segment_s=WHOLE_S, frames_per_window=recipe.fit.frames_per_encode))
        return WindowViews(window, frame_views_of(window, video.info, display, config_of(recipe), seed=0))


def fit_head(features: NDArray[np.float32], label: NDArray[np.float64], recipe: FitRecipe) -> LevelHead:
    """Fit the level vectors.

    Args:
        features: (N, D).
        label: (N,), 0..100.
    """
    head = LevelHead(features.shape[1])
    seen = torch.from_numpy(features)
    y = torch.from_numpy(label).float()
    standardise(head, seen)
    start_at_ridge(head, seen, y, recipe.ridge, recipe.level_spread)
    x, levels = head.standardise(seen), head.level_scores
    vectors = head.level_vectors.detach().clone()
    target = nearest_levels(y)
    optimiser = torch.optim.Adam([head.level_vectors, head.level_bias], lr=recipe.learning_rate)
    for _ in range(recipe.steps):
        logits = x @ head.level_vectors.T + head.level_bias
        score = logits.softmax(dim=1) @ levels
        cross_entropy = -(target * logits.log_softmax(dim=1)).sum(dim=1).mean()
        plcc_loss = (1 - torch.corrcoef(torch.stack([score, y]))[0, 1]) / 2
        loss = cross_entropy + plcc_loss + recipe.hold * (head.level_vectors - vectors).square().sum()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return head.requires_grad_(False)


def predict(head: LevelHead, features: NDArray[np.float32]) -> NDArray[np.float64]:
    with torch.inference_mode():
        scores: NDArray[np.float64] = head(torch.from_numpy(features))[1].double().numpy()
        return scores


def figures_line(name: str, score: NDArray[np.float64], rows: Sequence[LabelledEncode]) -> str:
    """One line: how well scores agree with the labels, and with the order within a content, with 95 % intervals."""
    label = np.array([r.vmaf for r in rows])
    content = [r.content for r in rows]
    group = [f"{r.content}/{r.kind}" for r in rows]  # what was compared with one reference
    found = figures(score, label, content)
    order = [
        f", pairs >= {apart} apart {share_of_pairs_right(score, label, group, apart, cluster=content):.1%} of {pairs}"
        for apart in (5, 2)
        if (pairs := pairs_ordered_right(score, label, group, apart)[1])
    ]
    raw_rmse = float(np.sqrt(np.mean((score - label) ** 2)))
    return (
        f"{name}: {found.clips} encodes of {found.contents} contents, SROCC {found.srocc}, PLCC {found.plcc}, "
        f"RMSE {found.rmse:.1f} ({raw_rmse:.1f} before the logistic){''.join(order)}"
    )


def cross_validated(
    rows: Sequence[LabelledEncode], features: NDArray[np.float32], recipe: FitRecipe
) -> NDArray[np.float64]:
    """Score of every encode from a head fitted without its content."""
    label = np.array([r.vmaf for r in rows])
    contents = np.array(sorted({r.content for r in rows}))
    np.random.default_rng(recipe.seed).shuffle(contents)
    score = np.zeros(len(rows))
    for fold in range(recipe.folds):
        held_out = np.isin([r.content for r in rows], contents[fold :: recipe.folds])
        score[held_out] = predict(fit_head(features[~held_out], label[~held_out], recipe), features[held_out])
    return score


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", type=Path, help="training preset, for example presets/train/provisional.toml")
    parser.add_argument("encodes", type=Path, help="folder made by train.ladders")
    parser.add_argument("--transfer", type=Path, action="append", default=[], help="encodes to score only")
    parser.add_argument("--out", type=Path, required=True, help="checkpoint to write")
    options = parser.parse_args()
    recipe = read_toml(options.recipe, Recipe)
    rows, features = features_of(options.encodes, recipe)
    print(
        figures_line(f"held-out contents of {options.encodes.name}", cross_validated(rows, features, recipe.fit), rows)
    )
    head = fit_head(features, np.array([r.vmaf for r in rows]), recipe.fit)
    for folder in options.transfer:
        other_rows, other_features = features_of(folder, recipe)
        print(figures_line(f"never fitted: {folder.name}", predict(head, other_features), other_rows))
    card = msgspec.structs.replace(
        untrained_card(recipe),
        id=options.out.stem,
        status="provisional",
        description=f"Five level vectors fitted on VMAF v0.6.1 of {len(rows)} encodes of "
        f"{len({r.content for r in rows})} photographs.",
    )
    save_checkpoint(options.out, card, {f"head.{name}": t for name, t in head.state_dict().items()})


if __name__ == "__main__":
    main()
