"""Scores of a model beside the labels of a data set: figures, predictions and pictures, written to a folder."""

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from qclip_ffmpeg.ahead import run_ahead
from qclip_ffmpeg.checkpoint import Card
from qclip_ffmpeg.description import library_versions
from qclip_ffmpeg.emit.csv import csv_table
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.files import make_folder, write_atomically
from qclip_ffmpeg.scorer import Judged, Scorer
from qclip_ffmpeg.track import ModelStatus
from qclip_ffmpeg.train.activations import CLIPS_AHEAD, Progress
from qclip_ffmpeg.train.bootstrap import Figure
from qclip_ffmpeg.train.clips import SamplingRecipe, views_of
from qclip_ffmpeg.train.labels import Clip
from qclip_ffmpeg.train.metrics import (
    ContentFigures,
    Figures,
    figures,
    fit_logistic,
    mean_figure,
    per_content,
    share_of_pairs_right,
    write_predictions,
)
from qclip_ffmpeg.train.plots import scatter_png

PAIRS_APART = (5.0, 2.0)  # score units


class Measured(Struct, frozen=True):
    """What made the scores: enough to make them again."""

    model: str
    status: ModelStatus
    weights_sha256: str
    backbone: str
    backbone_sha256: str
    sampling: SamplingRecipe
    versions: dict[str, str]


class Evaluation(Struct, frozen=True):
    """How well scores agree with labels."""

    data: str
    """Name of the data set, or of the part of it."""
    by: Measured
    figures: Figures
    pairs_right: dict[str, Figure]
    """Share of the pairs of one content, at least so many score units apart, that are ordered right."""
    content_srocc: Figure
    """Mean SROCC within a content."""
    per_content: list[ContentFigures]


def measured_by(card: Card, weights_sha256: str, sampling: SamplingRecipe) -> Measured:
    """What an evaluation says of the model and of how clips were looked at."""
    return Measured(
        model=card.id,
        status=card.status,
        weights_sha256=weights_sha256,
        backbone=card.config.backbone.architecture,
        backbone_sha256=card.backbone_sha256,
        sampling=sampling,
        versions=library_versions(),
    )


def evaluate(name: str, by: Measured, clips: Sequence[Clip], scores: NDArray[np.float64]) -> Evaluation:
    """Compare the scores of clips, (N,), with their labels."""
    label = [clip.score for clip in clips]
    content = [clip.content for clip in clips]
    contents = per_content(scores, label, content)
    pairs = {f"{apart:g}": share_of_pairs_right(scores, label, content, apart) for apart in PAIRS_APART}
    return Evaluation(
        data=name,
        by=by,
        figures=figures(scores, label, content),
        pairs_right={apart: share for apart, share in pairs.items() if share.value is not None},
        content_srocc=mean_figure([row.srocc for row in contents]),
        per_content=contents,
    )


def judged_clips(
    scorer: Scorer, clips: Sequence[Clip], sampling: SamplingRecipe, progress: Progress
) -> Iterator[Judged]:
    """What a model makes of each clip, the whole clip taken as one window.

    Raises:
        InputError: a clip cannot be read.
        UsageError: the model gives a clip no finite score.
    """
    ahead = run_ahead(views_of(clips, sampling, scorer.model.card.config), CLIPS_AHEAD)
    try:
        for done, (clip, judged) in enumerate(zip(clips, scorer.judged(ahead), strict=True), start=1):
            progress("scoring", done, len(clips))
            if not math.isfinite(judged.raw):
                raise UsageError(f"{clip.name}: the model gives it no finite score; leave it out of the labels")
            yield judged
    finally:
        ahead.close()


def score_clips(
    scorer: Scorer, clips: Sequence[Clip], sampling: SamplingRecipe, progress: Progress
) -> NDArray[np.float64]:
    """Raw score of each clip, (N,); the rest is said of `judged_clips`."""
    return np.array([judged.raw for judged in judged_clips(scorer, clips, sampling, progress)])


def write_json(path: Path, content: Struct | Sequence[Struct]) -> None:
    """Write records as indented JSON."""
    write_atomically(path, msgspec.json.format(msgspec.json.encode(content), indent=2) + b"\n")


def write_csv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Write records as a CSV with a header."""
    write_atomically(path, csv_table(columns, rows))


def write_evaluation(folder: Path, found: Evaluation, clips: Sequence[Clip], scores: NDArray[np.float64]) -> None:
    """Write figures.json, per_content.csv, predictions.csv and scatter.png into a folder.

    Raises:
        UsageError: it cannot be written.
    """
    make_folder(folder)
    label = [clip.score for clip in clips]
    content = [clip.content for clip in clips]
    fit = fit_logistic(scores, label)
    write_json(folder / "figures.json", found)
    write_csv(
        folder / "per_content.csv",
        ContentFigures.__struct_fields__,
        [msgspec.structs.asdict(row) for row in found.per_content],
    )
    write_predictions(folder / "predictions.csv", [clip.name for clip in clips], content, label, scores, fit(scores))
    scatter_png(folder / "scatter.png", scores, label, content, found.figures, found.data, fit)
