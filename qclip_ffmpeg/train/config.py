"""What a training preset may say (presets/train/*.toml), and the untrained model it describes."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import torch
from msgspec import Meta, Struct
from torch import nn

from qclip_ffmpeg.adapters import AdapterConfig
from qclip_ffmpeg.backbone import BackboneConfig, TowerConfig
from qclip_ffmpeg.checkpoint import SUFFIX, WEIGHTS_DIR, Card, LoadedModel, check_card, read_backbone, sha256_of_file
from qclip_ffmpeg.errors import ModelError, UsageError
from qclip_ffmpeg.fusion import Fusion
from qclip_ffmpeg.heads import Measure, StandardisedHead
from qclip_ffmpeg.model import (
    Joint,
    Levels,
    ModelConfig,
    QClip,
    Statistics,
    context_start,
    level_prompts,
    reads_text,
)
from qclip_ffmpeg.sampling import MOST_FRAMES
from qclip_ffmpeg.scorer import Precision
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.train.heads import Emphasis, feature_weights
from qclip_ffmpeg.train.labels import LabelSource
from qclip_ffmpeg.train.losses import RANK_WEIGHT
from qclip_ffmpeg.train.recipe import LadderRecipe, Positive
from qclip_ffmpeg.train.splits import SplitRecipe
from qclip_ffmpeg.views import Display, View

BUNDLED = "bundled"
BUNDLED_FILE = "clip-vitb16-blocks1to8-int8.safetensors"
BUNDLED_TOWER = TowerConfig(  # all that the file holds
    architecture="ViT-B-16-quickgelu",
    width=768,
    heads=12,
    patch_px=16,
    image_px=224,
    blocks=8,
    image_mean=(0.48145466, 0.4578275, 0.40821073),
    image_std=(0.26862954, 0.26130258, 0.27577711),
)
AtLeast0 = Annotated[float, Meta(ge=0)]


class NetworkRecipe(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A [model] table: the backbone and what is trained beside it (see `model.ModelConfig`)."""

    backbone: str
    """"bundled", or open_clip's name of an architecture, for example "PE-Core-L-14-336"."""
    pretrained: str | None = None
    """open_clip's tag of its weights, for example "meta"."""
    views: tuple[View, ...] = ("whole",)
    view_frames: Literal["same", "own"] = "same"
    readout: Statistics | Joint = Joint()
    adapters: AdapterConfig | None = None
    fusion: Fusion = "mean"
    levels: Levels = "prompts"
    context_tokens: Annotated[int, Meta(ge=0, le=64)] = 3
    measures: tuple[Measure, ...] = ()
    squares: Annotated[int, Meta(ge=0)] = 0


class OptimiserRecipe(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An [optimiser] table: AdamW, linear warm-up, cosine to zero."""

    epochs: Annotated[int, Meta(ge=0)] = 8
    warmup_epochs: Annotated[float, Meta(ge=0, le=1000)] = 1.0
    batch: Annotated[int, Meta(ge=2)] = 12
    """Clips a step; the losses are of the whole batch."""
    accumulate: Positive = 1
    """Parts a batch goes through the model in, to save memory. The gradients stay those of the whole batch."""
    learning_rate: Annotated[float, Meta(gt=0, le=1e30)] = 1e-3
    weight_decay: AtLeast0 = 1e-4
    gradient_norm: Annotated[float, Meta(gt=0)] = 1.0
    """The gradient of a step is shortened to this. The PLCC loss is steep where scores are nearly constant, as those of
    a head that starts at zero are: one such gradient would stay in AdamW's mean of squares and stop the head."""
    rank_weight: AtLeast0 = RANK_WEIGHT
    """Of the rank loss beside the PLCC loss."""
    precision: Precision = "float32"
    """Of the part that is trained; float32 on a CPU is reproducible to the bit."""
    seed: Annotated[int, Meta(ge=0)] = 0
    """Of the initial tensors and the order of the clips."""
    ridge: Annotated[float, Meta(gt=0)] | None = None
    """Start the head ("vectors" or "linear") at a ridge regression of the label, with this penalty per sample and per
    thousand features, in place of zero."""
    emphasis: list[Emphasis] = []
    """Features that the regression holds back less."""
    train_share: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """Share of the training contents that is used, to see what fewer data do."""


class CacheRecipe(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A [cache] table: what the frozen blocks output, kept on disk (see `activations`)."""

    folder: str
    """Relative to the folder the command runs in, as results are."""
    precision: Literal["float16", "float32"] = "float16"


class ModelPreset(Struct, frozen=True, kw_only=True):
    """The [model] table of any training preset."""

    model: NetworkRecipe


class DataPreset(Struct, frozen=True, kw_only=True):
    """The tables of any training preset that say how clips are labelled and looked at."""

    data: LabelSource
    sampling: SamplingRecipe


class MoreData(LabelSource, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A [[more_data]] table: another label file, trained on beside that of [data]."""

    weight: Annotated[float, Meta(gt=0, le=1e6)] = 1.0
    """Of each clip's squared error in the ridge regression; that of [data] is 1."""
    noise_band: bool = False
    """Whether the noise band is measured on these clips: many encodes of each content, as gates compare them."""


class TrainRecipe(DataPreset, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A whole training preset."""

    id: str | None = None
    """What reports call the model; made of what decided the run when None."""
    model: NetworkRecipe
    more_data: tuple[MoreData, ...] = ()
    split: SplitRecipe = SplitRecipe()
    optimiser: OptimiserRecipe = OptimiserRecipe()
    cache: CacheRecipe | None = None
    ladder: LadderRecipe | None = None
    """How the data were made; read by `train.ladders`, and of no consequence here."""
    start: str | None = None
    """A checkpoint whose trained tensors are the start, relative to the preset: fine-tuning."""

    @property
    def sources(self) -> tuple[LabelSource, ...]:
        """All label files: that of [data], then those of [[more_data]]."""
        return (self.data, *self.more_data)

    def names_of(self, chosen: Sequence[LabelSource] = ()) -> str:
        """What reports call label files, all or those chosen: "labels.csv", "a/labels.csv and b/labels.csv"."""
        names = {Path(source.labels).name for source in self.sources}
        paths = [Path(source.labels) for source in chosen or self.sources]
        return " and ".join(
            path.name if len(names) == len(self.sources) else f"{path.parent.name}/{path.name}" for path in paths
        )


def backbone_config(recipe: NetworkRecipe) -> BackboneConfig:
    """The backbone of a recipe, of which the bundled one is built up to the last block that is read.

    Raises:
        UsageError: open_clip knows no such architecture, or the bundled one has no such block.
    """
    if recipe.backbone != BUNDLED:
        from qclip_ffmpeg.backbone_open_clip import open_clip_config

        return open_clip_config(recipe.backbone, recipe.pretrained)
    if isinstance(recipe.readout, Joint):
        raise UsageError('[model] readout "joint": the bundled backbone has no joint space; read "statistics"')
    blocks = max(recipe.readout.exit_blocks, default=1)
    if blocks > BUNDLED_TOWER.blocks:
        raise UsageError(f"[model] exit_blocks: the bundled backbone has {BUNDLED_TOWER.blocks} blocks")
    return msgspec.structs.replace(BUNDLED_TOWER, blocks=blocks)


def model_config(recipe: NetworkRecipe) -> ModelConfig:
    """The model of a recipe.

    Raises:
        UsageError: see `backbone_config`.
    """
    return ModelConfig(
        backbone=backbone_config(recipe),
        views=recipe.views,
        view_frames=recipe.view_frames,
        readout=recipe.readout,
        adapters=recipe.adapters,
        fusion=recipe.fusion,
        levels=recipe.levels,
        context_tokens=recipe.context_tokens,
        measures=recipe.measures,
        squares=recipe.squares,
    )


def check_recipe(recipe: TrainRecipe) -> None:
    """Raises UsageError where the parts of a recipe do not fit each other. Nothing large is built."""
    config = model_config(recipe.model)
    try:
        with torch.device("meta"):
            QClip(config)
    except UsageError as error:
        raise UsageError(f"[model] {error}") from None
    if recipe.sampling.frames > MOST_FRAMES:
        raise UsageError(f"[sampling] frames = {recipe.sampling.frames}: a model scores at most {MOST_FRAMES}")
    if recipe.optimiser.ridge is not None and reads_text(config):
        raise UsageError(f'[optimiser] ridge: levels = "{config.levels}" cannot start at a ridge regression')
    if recipe.model.squares and (recipe.optimiser.ridge is None and not recipe.optimiser.epochs):
        raise UsageError("[model] squares: nothing would set them; say [optimiser] ridge or epochs")
    if recipe.optimiser.ridge is None and any(more.weight != 1 for more in recipe.more_data):
        raise UsageError("[[more_data]] weight: is that of a ridge regression; say [optimiser] ridge")
    if recipe.optimiser.emphasis:
        feature_weights(config, 1, recipe.optimiser.emphasis)
    if recipe.optimiser.epochs and config.levels == "zero-shot" and config.adapters is None and config.fusion == "mean":
        raise UsageError('[optimiser] epochs: levels = "zero-shot" learns nothing; say epochs = 0')


def backbone_path(recipe: NetworkRecipe, backbone_file: Path | None) -> Path:
    """The file of a recipe's backbone: the bundled one, or else the one that was given.

    Raises:
        UsageError: it is missing, or given where it is not used.
    """
    if recipe.backbone == BUNDLED:
        if backbone_file is not None:
            raise UsageError(f"--backbone {backbone_file}: [model] backbone is the bundled one; leave --backbone out")
        return WEIGHTS_DIR / BUNDLED_FILE
    if backbone_file is None:
        raise UsageError(
            f"[model] backbone {recipe.backbone}: give its weights with --backbone FILE{SUFFIX}; "
            f"qclip-model backbone {recipe.backbone} --pretrained {recipe.pretrained or 'TAG'} -o FILE{SUFFIX} makes it"
        )
    if not backbone_file.is_file():
        raise UsageError(f"--backbone {backbone_file}: no such file; give the one that qclip-model backbone wrote")
    return backbone_file


def untrained(recipe: TrainRecipe, backbone_file: Path | None, with_text: bool = True) -> LoadedModel:
    """The model of a recipe at the start of training: frozen towers with weights, everything else from the seed.

    Args:
        recipe: the whole preset.
        backbone_file: weights of an open_clip backbone, as `qclip-model backbone` writes them; None: the bundled one.
        with_text: build the text tower too, where the levels are prompts.

    Raises:
        UsageError: the parts do not fit each other, or the backbone's file is missing.
        ModelError: the backbone's file is damaged or of another backbone.
    """
    config = model_config(recipe.model)
    check_recipe(recipe)
    backbone_file = backbone_path(recipe.model, backbone_file)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.optimiser.seed)
        qclip = QClip(config, with_text=with_text)
        if isinstance(qclip.head, StandardisedHead) and qclip.head.directions is not None:
            nn.init.normal_(
                qclip.head.directions, std=1 / qclip.head.directions.shape[1]
            )  # no gradient leads from zero
    card = Card(
        id="untrained",
        status="untrained",
        description="",
        config=config,
        backbone_file=backbone_file.name,
        backbone_sha256=sha256_of_file(backbone_file),
        display=str(Display(*recipe.sampling.display)),
        frames_per_window=recipe.sampling.frames,
    )
    check_card("[model]", card)
    load_towers(qclip, backbone_file)
    if qclip.text is not None and qclip.context is not None:
        ids = qclip.text.token_ids(level_prompts(config.context_tokens))
        qclip.context_start = first = context_start(qclip.text, config.context_tokens)
        words = qclip.text.token_embeddings(ids)[0, first : first + config.context_tokens]
        qclip.context.data.copy_(words)  # the context starts as the word it stands for
    return LoadedModel(qclip.eval(), card, "")


def load_towers(qclip: QClip, backbone_file: Path) -> None:
    """Put a backbone's weights into both towers and freeze them.

    Raises:
        ModelError: the file is damaged, or of another backbone.
    """
    backbone = qclip.config.backbone
    for tower, which in ((qclip.tower, "image"), (qclip.text, "text")):
        if tower is None:
            continue
        tensors = read_backbone(backbone_file, backbone, "image" if which == "image" else "text")
        wanted = tower.state_dict()
        if wrong := sorted(k for k in wanted.keys() ^ tensors.keys()) or sorted(
            k for k in wanted if wanted[k].shape != tensors[k].shape
        ):
            raise ModelError(
                f"{backbone_file.name}: is not the {which} tower of {backbone.architecture} (tensor {wrong[0]})"
            )
        tower.load_state_dict(tensors)
        tower.requires_grad_(False)
