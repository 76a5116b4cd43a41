"""The end of a cross-validation: a model of all clips, calibrated on what the folds' models made of them."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from qclip_ffmpeg.checkpoint import load_model, save_checkpoint, sha256_of_file
from qclip_ffmpeg.files import make_folder
from qclip_ffmpeg.train.calibration_run import NoiseClips, Seen, calibrated
from qclip_ffmpeg.train.config import TrainRecipe
from qclip_ffmpeg.train.evaluate import evaluate, measured_by, write_evaluation, write_json
from qclip_ffmpeg.train.labels import Clip
from qclip_ffmpeg.train.run_folder import MODEL_FILE
from qclip_ffmpeg.train.splits import Split


def in_order(seen: Sequence[Seen], folds: Sequence[Split]) -> Seen:
    """What each fold's model made of its test part -> what was made of all clips, in their order."""
    order = np.argsort([place for fold in folds for place in fold.test])
    return Seen(*(np.concatenate(values)[order] for values in zip(*seen, strict=True)))


def calibrate_out_of_fold(folder: Path, recipe: TrainRecipe, parts: Sequence[Sequence[Clip]], seen: Seen) -> None:
    """Calibrate the model of all clips on what the folds' models made of them, and report of each label file.

    The figures are those of raw scores from models that had not seen a clip's content; the map to 0..100 was fitted on
    all of them.

    Args:
        folder: holds the model, and gets the calibrated one in its place.
        recipe: the preset.
        parts: the clips of each label file.
        seen: of all clips, in their order.
    """
    path = folder / MODEL_FILE
    model = load_model(str(path))
    ends = np.cumsum([len(part) for part in parts])
    spans = [slice(end - len(part), end) for end, part in zip(ends, parts, strict=True)]
    clips = [clip for part in parts for clip in part]
    name = f"{recipe.id or 'out-of-fold'}-{len(clips)}x{len({clip.content for clip in clips})}"
    noise = noise_clips(recipe, parts, spans, seen)
    card, domain, report = calibrated(model, recipe.names_of(), clips, recipe.sampling, seen, name, noise)
    save_checkpoint(path, card, model.qclip.trained_tensors() | (domain.tensors() if domain else {}))
    write_json(folder / "calibration.json", report)
    by = measured_by(card, sha256_of_file(path), recipe.sampling)
    scores = card.scores(seen.raw)
    for number, (source, part, span) in enumerate(zip(recipe.sources, parts, spans, strict=True)):
        place = folder if len(parts) == 1 else folder / f"data-{number:02}"
        make_folder(place)
        found = evaluate(f"{recipe.names_of([source])}, out of fold", by, part, scores[span])
        write_evaluation(place, found, part, scores[span])


def noise_clips(
    recipe: TrainRecipe, parts: Sequence[Sequence[Clip]], spans: Sequence[slice], seen: Seen
) -> NoiseClips | None:
    """The clips that the preset has the noise band measured on; None where it names none.

    Args:
        recipe: the preset.
        parts: the clips of each label file.
        spans: the places of each of them among all clips.
        seen: of all clips, in their order.
    """
    noisy = [
        (more, part, span)
        for more, part, span in zip(recipe.more_data, parts[1:], spans[1:], strict=True)
        if more.noise_band
    ]
    if not noisy:
        return None
    rows = np.concatenate([np.arange(span.start, span.stop) for _, _, span in noisy])
    return NoiseClips(
        recipe.names_of([more for more, _, _ in noisy]),
        [clip for _, part, _ in noisy for clip in part],
        Seen(*(values[rows] for values in seen)),
    )
