"""A whole training run: a preset, rated videos, a folder -> a model, its log, and its figures on the test part."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Struct

from qclip_ffmpeg.checkpoint import (
    LoadedModel,
    check_tensors,
    find_model,
    read_checkpoint,
    sha256_of_file,
)
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.files import make_folder
from qclip_ffmpeg.model import ModelConfig
from qclip_ffmpeg.scorer import Device, Scorer
from qclip_ffmpeg.track import ModelStatus
from qclip_ffmpeg.train.activations import Activations, Progress, clip_hashes
from qclip_ffmpeg.train.calibrate import check_enough
from qclip_ffmpeg.train.calibration_run import seen_of
from qclip_ffmpeg.train.config import BUNDLED, TrainRecipe, backbone_path, untrained
from qclip_ffmpeg.train.evaluate import Evaluation, evaluate, measured_by, write_csv, write_evaluation, write_json
from qclip_ffmpeg.train.folds import calibrate_out_of_fold, in_order
from qclip_ffmpeg.train.labels import Clip, read_label_file
from qclip_ffmpeg.train.loop import Trainer, score_map, training_places
from qclip_ffmpeg.train.run_folder import MODEL_FILE, UNMAPPED, EpochRow, refuse_another_run, save_model
from qclip_ffmpeg.train.splits import Split, splits

VAL_FILE, TEST_FILE = "val.csv", "test.csv"
FIGURES = ("srocc", "krocc", "plcc", "rmse")


class Job(NamedTuple):
    """One model to be trained."""

    split: Split
    folder: Path
    """For everything that comes of it."""
    run_id: str
    """See `run_id_of`."""


class SplitResult(Struct, frozen=True):
    """What came of one split."""

    chosen: EpochRow | None
    """The epoch that was chosen; None without training."""
    test: Evaluation | None
    """On the test part; None where the split has none."""
    spent_s: float
    """Training and validation, also what an earlier, killed run spent."""


class Summary(Struct, frozen=True):
    """Over all splits: (mean, standard deviation) of each figure of the test parts, as the field reports them."""

    splits: int
    mean: dict[str, float]
    std: dict[str, float]
    """Sample standard deviation; 0 with one split."""


def train(
    recipe: TrainRecipe,
    base: Path,
    folder: Path,
    progress: Progress,
    backbone_file: Path | None = None,
    device: Device = "auto",
    threads: int | None = None,
) -> list[SplitResult]:
    """Train on every split of a preset, and write into `folder` (with several splits, into split-00/ and so on).

    Everything that can be wrong with the labels, the split, the model or the folder is said before anything is decoded.
    A run that was killed goes on where it was.

    Args:
        recipe: the preset.
        base: folder its paths are relative to.
        folder: for the results: model.safetensors, log.jsonl, curves.png, figures.json, predictions.csv, scatter.png.
        progress: told what is being done.
        backbone_file: weights of an open_clip backbone.
        device: where to run.
        threads: frames side by side on a CPU.

    Raises:
        UsageError: something asked for cannot be.
        ModelError: the backbone or the start checkpoint does not fit.
        InputError: a clip cannot be read.
    """
    parts = [read_label_file(source, base) for source in recipe.sources]
    clips = [clip for part in parts for clip in part]
    drawn = splits([clip.content for clip in clips], recipe.split)
    if recipe.split.folds:
        check_enough([clip.content for clip in clips])
    model = started(recipe, base, backbone_file)
    jobs = jobs_of(recipe, base, folder, clips, drawn, model.card.backbone_sha256, progress)
    make_folder(folder)
    scorer = Scorer(model, device, threads=threads)
    activations = Activations(scorer, clips, recipe.sampling, recipe.cache)
    activations.fill(progress)
    weights = (1.0, *(more.weight for more in recipe.more_data))
    weight = [one for one, part in zip(weights, parts, strict=True) for _ in part]
    results, out_of_fold = [], []
    for number, job in enumerate(jobs):

        def told(what: str, done: int, of: int, number: int = number) -> None:
            progress(what if len(jobs) == 1 else f"{number + 1} of {len(jobs)}, {what}", done, of)

        if number:
            model = started(recipe, base, backbone_file)
        results.append(train_split(model, activations, clips, job, recipe, told, scorer.device, weight))
        link_backbone(job.folder, recipe, backbone_file)
        if recipe.split.folds and job.split.test:
            out_of_fold.append(seen_of(model.qclip, activations.of(job.split.test)))
    if recipe.split.folds:
        results.pop()  # it has no figures of its own
        calibrate_out_of_fold(folder, recipe, parts, in_order(out_of_fold, drawn))
    write_json(folder / "summary.json", summary(results))
    return results


def jobs_of(
    recipe: TrainRecipe,
    base: Path,
    folder: Path,
    clips: Sequence[Clip],
    drawn: Sequence[Split],
    backbone_sha256: str,
    progress: Progress,
) -> list[Job]:
    """What is to be trained: on each of the splits drawn, and after folds on all clips. See `run_id_of`.

    Raises:
        UsageError: a split has too few clips to train on, or a folder holds another run.
    """
    for split in drawn:
        training_places(clips, split, recipe.optimiser)
    places = [folder] if len(drawn) == 1 else [folder / f"split-{number:02}" for number in range(len(drawn))]
    asked = list(zip(drawn, places, strict=True))
    if recipe.split.folds:
        asked.append((Split(tuple(range(len(clips))), (), ()), folder))
    hashes = clip_hashes(clips, recipe.cache, progress)
    jobs = [Job(split, place, run_id_of(recipe, base, clips, hashes, split, backbone_sha256)) for split, place in asked]
    for job in jobs:
        refuse_another_run(job.folder, job.run_id)
    return jobs


def run_id_of(
    recipe: TrainRecipe,
    base: Path,
    clips: Sequence[Clip],
    hashes: Sequence[str],
    split: Split,
    backbone_sha256: str,
) -> str:
    """Hash of what decides a run. Where the labels, the videos and the cache lie does not.

    Args:
        recipe: the preset.
        base: folder its paths are relative to.
        clips: the data.
        hashes: of the clips' bytes, from `clip_hashes`.
        split: of the clips.
        backbone_sha256: of the frozen backbone's file.
    """
    start = start_path(recipe, base)
    decided_by = [
        recipe.model,
        recipe.sampling,
        recipe.optimiser,
        recipe.cache and recipe.cache.precision,
        start and sha256_of_file(start),
        backbone_sha256,
        [(c.name, c.score, c.content, c.display_height_px, str(c.frame_rate)) for c in clips],
        list(hashes),
        split,
        [[more.weight, more.noise_band] for more in recipe.more_data],
    ]
    return hashlib.sha256(msgspec.json.encode(decided_by)).hexdigest()


def link_backbone(folder: Path, recipe: TrainRecipe, backbone_file: Path | None) -> None:
    """A checkpoint finds its backbone beside itself or with the package: link it there where it is elsewhere."""
    if recipe.model.backbone == BUNDLED:
        return
    path = backbone_path(recipe.model, backbone_file).resolve()
    link = folder / path.name
    if not link.exists():
        with suppress(OSError):  # a system without links: loading the checkpoint says what is missing
            link.symlink_to(os.path.relpath(path, folder.resolve()))


def start_path(recipe: TrainRecipe, base: Path) -> Path | None:
    """The checkpoint that a recipe starts from, if it names one.

    Raises:
        UsageError: there is none of that name.
    """
    if recipe.start is None:
        return None
    try:
        return base / recipe.start if (base / recipe.start).is_file() else find_model(recipe.start)
    except UsageError:
        raise UsageError(f"start = {recipe.start!r}: no such checkpoint; the path is relative to the preset") from None


def started(recipe: TrainRecipe, base: Path, backbone_file: Path | None) -> LoadedModel:
    """The model at the start: untrained, or with what another checkpoint has learned.

    Raises:
        UsageError: the parts do not fit each other, a file is missing, or the start is of another model or backbone.
        ModelError: a file is damaged.
    """
    path = start_path(recipe, base)
    model = untrained(recipe, backbone_file)
    if path is not None:
        check_start(recipe, base, model.card.config)
        card, tensors = read_checkpoint(path)
        if card.backbone_sha256 != model.card.backbone_sha256:
            raise UsageError(f"start = {recipe.start!r}: was trained on another backbone, {card.backbone_file}")
        check_tensors(path.name, model.qclip.trained_tensors(), tensors)
        model.qclip.load_state_dict(tensors, strict=False)
    return model


def check_start(recipe: TrainRecipe, base: Path, config: ModelConfig) -> None:
    """Raises UsageError where the checkpoint that a recipe starts from, if it names one, is of another model."""
    if (path := start_path(recipe, base)) is None:
        return
    of_start = read_checkpoint(path)[0].config
    if differ := [f for f in config.__struct_fields__ if getattr(of_start, f) != getattr(config, f)]:
        raise UsageError(f"start = {recipe.start!r}: differs from this preset's [model] in {', '.join(differ)}")


def train_split(
    model: LoadedModel,
    activations: Activations,
    clips: Sequence[Clip],
    job: Job,
    recipe: TrainRecipe,
    progress: Progress,
    device: torch.device,
    weight: Sequence[float] | None = None,
) -> SplitResult:
    """Train on one split, score its test part with the chosen epoch, and write everything into the job's folder.

    weight: (clips,), see `Trainer`.
    """
    split, folder, run_id = job
    trainer = Trainer(
        model,
        activations,
        clips,
        split,
        recipe.optimiser,
        folder,
        run_id,
        device,
        keep_head=recipe.start is not None,
        weight=weight,
    )
    trainer.run(progress)
    chosen = next((row for row in trainer.rows if row.best), None)
    fitted_on = [*trainer.train_places, *split.val]
    mapped = score_map(trainer.scores_of(fitted_on, progress), np.array([clips[i].score for i in fitted_on]))
    contents = len({clips[i].content for i in trainer.train_places})
    said = f"Trained on {len(trainer.train_places)} clips of {contents} contents from {recipe.names_of()}."
    status: ModelStatus = "trained"
    if not recipe.optimiser.epochs and recipe.optimiser.ridge is None and recipe.start is None:
        status, said = "untrained", "Nothing in it was trained."
    elif mapped is None:  # no report may trust it
        status, said = "untrained", f"{said} Its scores do not rise with the labels."
    mapped = mapped or UNMAPPED
    card = save_model(folder, model, run_id, said, status, mapped, recipe.id)
    for part, places in ((VAL_FILE, split.val), (TEST_FILE, split.test)):
        write_labels(folder / part, [clips[i] for i in places])
    if not split.test:
        return SplitResult(chosen, None, trainer.spent_s)
    scores = card.scores(trainer.scores_of(split.test, progress), clipped=False)
    tested = [clips[i] for i in split.test]
    by = measured_by(card, sha256_of_file(folder / MODEL_FILE), recipe.sampling)
    found = evaluate(f"{recipe.names_of()}, test part", by, tested, scores)
    write_evaluation(folder, found, tested, scores)
    return SplitResult(chosen, found, trainer.spent_s)


def write_labels(path: Path, clips: Sequence[Clip]) -> None:
    """Write the label file of a part, so that it can be calibrated on, or scored by something else."""
    rows = [
        {
            "file": os.path.relpath(clip.path, path.parent),
            "label": clip.score,
            "content": clip.content,
            "display_height_px": clip.display_height_px or None,
        }
        for clip in clips
    ]
    write_csv(path, ("file", "label", "content", "display_height_px"), rows)


def summary(results: Sequence[SplitResult]) -> Summary:
    """Mean and spread of the test figures over the splits; figures that are undefined somewhere are left out."""
    tests = [r.test.figures for r in results if r.test is not None]
    values = {name: [getattr(figures, name).value for figures in tests] for name in FIGURES}
    known = {name: [v for v in found if v is not None] for name, found in values.items()}
    full = {name: found for name, found in known.items() if found and len(found) == len(tests)}
    return Summary(
        splits=len(results),
        mean={name: float(np.mean(found)) for name, found in full.items()},
        std={name: float(np.std(found, ddof=1)) if len(found) > 1 else 0.0 for name, found in full.items()},
    )
