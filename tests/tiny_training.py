"""What tests of training share: recipes and trainers for the rated encodes and tiny backbones of `train_fixtures`."""

from pathlib import Path
from typing import Any

import msgspec
import torch
from tiny_model import TINY_TOWER

from qclip_ffmpeg.checkpoint import LoadedModel
from qclip_ffmpeg.model import Statistics
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.train.activations import Activations
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.train.config import BUNDLED, CacheRecipe, NetworkRecipe, OptimiserRecipe, TrainRecipe, untrained
from qclip_ffmpeg.train.labels import Clip, LabelSource, read_label_file
from qclip_ffmpeg.train.loop import Trainer
from qclip_ffmpeg.train.splits import Split, SplitRecipe

BACKBONE = msgspec.structs.replace(TINY_TOWER, blocks=4, image_px=64, patch_px=16)
CONTENTS = ("testsrc2", "mandelbrot", "smptebars", "rgbtestsrc", "yuvtestsrc", "cellauto=random_seed=1")
BLUR = {"good": 0.4, "bad": 3.0}
FRAMES = 4
ALL_TRAIN = Split(tuple(range(2 * len(CONTENTS))), (), ())
PARTS = Split(tuple(range(6)), (6, 7, 8, 9), (10, 11))
PE = "PE-Core-L-14-336"  # what presets name; a tiny one stands in for it

replace = msgspec.structs.replace


def quiet(*_: object) -> None:
    """Progress that nobody wants to see."""


def recipe_for(labels: Path, **changes: Any) -> TrainRecipe:
    """A recipe for `rated`: level vectors on the tokens after block 3.

    changes: whole tables, or fields of the table that has them ("epochs", "views", ...; "seed" of the optimiser).
    """
    made = TrainRecipe(
        model=NetworkRecipe(backbone=BUNDLED, readout=Statistics((3,), ("class", "mean")), levels="vectors"),
        data=LabelSource(labels=str(labels), score_range=(0, 100)),
        sampling=SamplingRecipe(frames=2, policy="uniform", display=(128, 96)),
        split=SplitRecipe(train=0.5, val=0.25, test=0.25),
        optimiser=OptimiserRecipe(epochs=3, batch=4, learning_rate=1e-2),
    )
    for field, value in changes.items():
        if field in TrainRecipe.__struct_fields__:
            made = replace(made, **{field: value})
            continue
        table = next(t for t in ("model", "optimiser", "sampling") if hasattr(getattr(made, t), field))
        made = replace(made, **{table: replace(getattr(made, table), **{field: value})})
    return made


def clips_of(recipe: TrainRecipe) -> list[Clip]:
    """The rated clips of a recipe."""
    return read_label_file(recipe.data, Path())


def trainer_for(recipe: TrainRecipe, folder: Path, split: Split = ALL_TRAIN, backbone: Path | None = None) -> Trainer:
    """A trainer with its cache filled."""
    clips = clips_of(recipe)
    model = untrained(recipe, backbone)
    filled = Activations(Scorer(model, "cpu", threads=2), clips, recipe.sampling, recipe.cache)
    filled.fill(quiet)
    return Trainer(model, filled, clips, split, recipe.optimiser, folder, "run")


def tensors_of(model: LoadedModel) -> dict[str, torch.Tensor]:
    """A copy of everything a model holds."""
    return {name: tensor.detach().clone() for name, tensor in model.qclip.state_dict().items()}


def cache_in(folder: Path, precision: Any = "float32") -> CacheRecipe:
    return CacheRecipe(folder=str(folder), precision=precision)
