"""A model, and labelled clips that it was not trained on -> the model with its calibration, noise band and domain."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import NDArray

from qclip_ffmpeg.calibration import Calibration, NoiseBand, calibration_problem
from qclip_ffmpeg.checkpoint import Card, LoadedModel
from qclip_ffmpeg.domain import Domain, DomainCard
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.model import Frozen, QClip
from qclip_ffmpeg.scorer import Judged, Scorer, judge_window, stderr_of_mean
from qclip_ffmpeg.train.activations import Progress
from qclip_ffmpeg.train.bootstrap import RESAMPLES, Figure, Floats, bootstrapped, draws, weighted_spearman
from qclip_ffmpeg.train.calibrate import cross_fitted, fit_calibration, fit_domain, noise_band
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.train.evaluate import Measured, judged_clips, measured_by
from qclip_ffmpeg.train.labels import Clip


class Seen(NamedTuple):
    """What a model makes of labelled clips, each taken as one window."""

    raw: Floats
    """(N,)."""
    sampling: Floats
    """(N,), standard error of the raw score from the spread of the frames; 0 with one frame."""
    features: NDArray[np.float32]
    """(N, D), means over the frames."""


class NoiseClips(NamedTuple):
    """Clips that the noise band is measured on: many encodes of each content, compared with one reference."""

    data: str
    """Name of the label file."""
    clips: Sequence[Clip]
    seen: Seen


class CalibrationReport(Struct, frozen=True, kw_only=True):
    """What `qclip-model calibrate` did. Figures after it are of contents that the map was not fitted on."""

    data: str
    by: Measured
    """The model before."""
    clips: int
    contents: int
    rmse_before: Figure
    """Of score less label, without any logistic."""
    rmse_after: Figure
    srocc_before: Figure
    srocc_after: Figure
    """Of the map that is kept: what rises everywhere changes no order."""
    calibration: Calibration
    noise_band: NoiseBand | None
    domain: DomainCard | None
    notes: list[str]
    """What could not be measured, and why."""


def calibrated(
    model: LoadedModel,
    data: str,
    clips: Sequence[Clip],
    sampling: SamplingRecipe,
    seen: Seen,
    name: str | None = None,
    noise_clips: NoiseClips | None = None,
) -> tuple[Card, Domain | None, CalibrationReport]:
    """Calibrate a model on clips that it was not trained on.

    Args:
        model: as it was loaded.
        data: name of the label file.
        clips: the labelled clips.
        sampling: how they were looked at.
        seen: what the model made of them, from `look`.
        name: of the calibration; made of the data's name when None.
        noise_clips: what the noise band is measured on; `clips` when None, each scored by a map of the others.

    Returns:
        The new card, its domain (the model's own if it has one, else one of these clips if they are enough), and what
        was measured.

    Raises:
        UsageError: too few clips or contents, or the labels do not rise with the scores.
    """
    content = [clip.content for clip in clips]
    label = np.array([clip.score for clip in clips])
    score_range = (0.0, 100.0)
    contents = len(set(content))
    source = f"{len(clips)} clips of {contents} contents from {data}"
    calibration = fit_calibration(
        seen.raw, label, content, name=name or f"{Path(data).stem}-{len(clips)}x{contents}", sampling=seen.sampling
    )
    notes = []
    held_out, _ = cross_fitted(seen.raw, label, content, score_range)
    noise, domain = None, model.domain
    try:
        if noise_clips is None:
            noise = noise_among(clips, held_out, source)
        else:
            noise = noise_among(
                noise_clips.clips,
                calibration.map(noise_clips.seen.raw, score_range),
                f"{len(noise_clips.clips)} clips of {len({c.content for c in noise_clips.clips})} contents "
                f"from {noise_clips.data}",
            )
    except UsageError as error:
        notes.append(f"no noise band: {error}")
    if domain is None:
        try:
            domain = fit_domain(seen.features, content, source=source)
        except UsageError as error:
            notes.append(f"no domain: {error}")
    card = msgspec.structs.replace(
        model.card,
        calibration=calibration,
        score_map=(1.0, 0.0),
        score_range=score_range,
        noise_band=noise,
        domain=domain.card if domain else None,
    )
    if (problem := calibration_problem(calibration, score_range)) is not None:
        raise UsageError(f"{data}: nothing that can be used came of it ({problem}); give another --id or other clips")
    before, after = model.card.scores(seen.raw), card.scores(seen.raw)
    names, clusters = np.unique(np.asarray(content), return_inverse=True)
    drawn = draws(len(names), RESAMPLES, seed=0)

    def rmse(score: Floats) -> Figure:
        return bootstrapped(
            lambda w: np.sqrt(w[:, clusters] @ (score - label) ** 2 / w[:, clusters].sum(axis=1)), drawn
        )

    def srocc(score: Floats) -> Figure:
        return bootstrapped(lambda w: weighted_spearman(score, label, w[:, clusters]), drawn)

    report = CalibrationReport(
        data=data,
        by=measured_by(model.card, model.weights_sha256, sampling),
        clips=len(clips),
        contents=contents,
        rmse_before=rmse(before),
        rmse_after=rmse(held_out),
        srocc_before=srocc(before),
        srocc_after=srocc(after),
        calibration=calibration,
        noise_band=noise,
        domain=card.domain,
        notes=notes,
    )
    return card, domain, report


def noise_among(clips: Sequence[Clip], score: Floats, source: str) -> NoiseBand:
    """`noise_band` of calibrated scores, (N,): pairs are formed within a content at one display."""
    label = np.array([clip.score for clip in clips])
    group = [f"{clip.content} at {clip.display_height_px}" for clip in clips]
    return noise_band(score, label, group, source=source, cluster=[clip.content for clip in clips])


def look(scorer: Scorer, clips: Sequence[Clip], sampling: SamplingRecipe, progress: Progress) -> Seen:
    """Run a model over clips; the rest is said of `judged_clips`."""
    return put_together(judged_clips(scorer, clips, sampling, progress))


def seen_of(qclip: QClip, clips: Iterable[Frozen]) -> Seen:
    """As `look`, from what the frozen blocks made of each clip."""
    return put_together(judged_frozen(qclip, clips))


@torch.no_grad()
def judged_frozen(qclip: QClip, clips: Iterable[Frozen]) -> Iterator[Judged]:
    """What a model makes of each clip, the whole clip taken as one window, from what its frozen blocks made of it."""
    device = next(qclip.parameters()).device
    for frozen in clips:
        features = qclip.features_of({name: tensor.to(device) for name, tensor in frozen.items()}).float()
        yield judge_window(qclip, features, frozen["measures"][0] if "measures" in frozen else None)


def put_together(clips: Iterable[Judged]) -> Seen:
    """What was made of each clip -> arrays over the clips."""
    raw, spread, features = [], [], []
    for judged in clips:
        raw.append(judged.raw)
        spread.append(stderr_of_mean(judged.of_frames) or 0.0)
        features.append(judged.features.numpy())
    return Seen(np.array(raw), np.array(spread), np.stack(features))
