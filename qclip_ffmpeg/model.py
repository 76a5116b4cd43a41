"""Q-CLIP, the whole model, read top to bottom.

Mi et al., "Q-CLIP: Unleashing the Power of Vision-Language Models for Video Quality Assessment through Unified
Cross-Modal Adaptation", arXiv 2508.06092. Frames go through a frozen image tower (`backbone`) with small adapters in
its last blocks (`adapters`); their features are fused over time (`fusion`) and set against five quality levels
(`heads`): the text features of five prompts, or, where there is no text tower, five learned vectors. Quality lives in
the middle of a tower, so it may be left early and read by statistics of its tokens in place of its joint space.

Shapes: B clips, T frames, F = B * T, V views, N tokens, W width, P pooled width, J joint space, D features of a frame,
M measures.
"""

from typing import Literal

import torch
from msgspec import Struct
from torch import Tensor, nn

from qclip_ffmpeg.adapters import (
    AdapterConfig,
    FeatureAdapter,
    ProjectionAdapter,
    PromptTokens,
    SharedAdapter,
    SharedAdapters,
    VisualPrompts,
)
from qclip_ffmpeg.backbone import BackboneConfig, TextTower, Tower, image_tower, text_sizes, text_tower
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.fusion import Fusion, fusion_of
from qclip_ffmpeg.heads import LEVEL_SCORES, LEVELS, LevelHead, LinearHead, Measure, PromptHead, ZeroShotHead
from qclip_ffmpeg.views import View

PROMPT = "a video of {level} quality"
CONTEXT_WORD = "X"  # stands where a learned context token goes

Levels = Literal["prompts", "zero-shot", "vectors", "linear"]
"""What features are set against: five "prompts" with learned context and score vector; the same with nothing learned
("zero-shot", after CLIP-IQA, Wang et al., arXiv 2207.12396); five learned "vectors"; nothing, a "linear" probe."""
MOST_SQUARES = 1024
Frozen = dict[str, Tensor]
"""What the frozen blocks make of frames. "early": (F, V, k), statistics of exits before anything trained; "tokens":
(F, V, N, W), input of the first trained thing; "pooled": (F, V, P), where nothing in the tower is trained. Beside them
"measures": (F, M), those of the window that a frame is of."""


class Statistics(Struct, frozen=True, forbid_unknown_fields=True, tag="statistics", tag_field="kind"):
    """Features are statistics of the tokens after some blocks."""

    exit_blocks: tuple[int, ...]
    """Tokens are read after these blocks, counted from 1, ascending; the last is the last block that runs."""
    statistics: tuple[Literal["class", "mean", "std"], ...]
    """Of the tokens: "class" (the class token), "mean" and "std" (over the patch tokens)."""


class Joint(Struct, frozen=True, forbid_unknown_fields=True, tag="joint", tag_field="kind"):
    """Features are those of the joint space of image and text, after the last block."""


class ModelConfig(Struct, frozen=True, forbid_unknown_fields=True):
    """What a Q-CLIP model is, apart from its tensors."""

    backbone: BackboneConfig
    views: tuple[View, ...]
    """What a frame is looked at through (see `views`)."""
    readout: Statistics | Joint
    adapters: AdapterConfig | None = None
    fusion: Fusion = "mean"
    levels: Levels = "vectors"
    context_tokens: int = 3
    """Learned tokens in front of each prompt."""
    level_scores: tuple[float, ...] = LEVEL_SCORES
    """Score of each of LEVELS, of "vectors"."""
    measures: tuple[Measure, ...] = ()
    """What the head is told of a window beside its frames. Not with "prompts" and "zero-shot"."""
    squares: int = 0
    """Directions whose squares the head of "vectors" or "linear" sees beside the features: a quadratic form of so low a
    rank. What one feature says depends on others (sharp edges are detail in one content and ringing in another)."""
    view_frames: Literal["same", "own"] = "same"
    """"same": every frame is seen through every view. "own": each view has a frame of its own, so that T frames make
    T / V looks: as much is seen in time, at a V-th of the cost. A still is seen through every view either way."""


class QClip(nn.Module):
    """Frames in, level probabilities and a score out.

    Args:
        config: the model. Tensors are not initialised from weights; see `checkpoint`.
        with_text: build the text tower, which only training needs: a checkpoint keeps the prompts' text features.

    Raises:
        UsageError: the parts of the configuration do not fit each other.
        ModelError: the backbone cannot be built or taken apart.
    """

    def __init__(self, config: ModelConfig, with_text: bool = False) -> None:
        super().__init__()
        self.config = config
        self.tower = image_tower(config.backbone)
        check_parts(config, self.tower)
        self.exits = config.readout.exit_blocks if isinstance(config.readout, Statistics) else ()
        self.last_block = max(self.exits) if self.exits else self.tower.blocks
        self.feature_dim = len(config.views) * self._view_dim()
        text_widths, text_pooled_dim = text_sizes(config.backbone) if reads_text(config) else ((), None)
        self.text: TextTower | None = text_tower(config.backbone) if with_text and text_widths else None
        image_widths = self.tower.widths[: self.last_block]
        self.adapters: SharedAdapters | FeatureAdapter | PromptTokens | None = None
        self.frozen_blocks = self.last_block
        if isinstance(config.adapters, SharedAdapter):
            joint = None
            if isinstance(config.readout, Joint) and self.tower.pooled_dim and self.tower.joint_dim:
                joint = (self.tower.pooled_dim, text_pooled_dim, self.tower.joint_dim)
            self.adapters = SharedAdapters(config.adapters, image_widths, text_widths, joint)
            self.frozen_blocks = config.adapters.first_block
        elif isinstance(config.adapters, VisualPrompts):
            self.adapters = PromptTokens(config.adapters, image_widths, self.tower.prefix_tokens)
            self.frozen_blocks = config.adapters.first_block - 1
        elif isinstance(config.adapters, ProjectionAdapter):
            self.adapters = FeatureAdapter(config.adapters, self.feature_dim)
        self.fusion = fusion_of(config.fusion, self.feature_dim)
        self.head = head_of(config, self.feature_dim)
        self.context = nn.Parameter(torch.zeros(config.context_tokens, text_widths[0])) if text_widths else None
        self.context_start = 1  # of tokenisers with a start token, CLIP's among them; see `context_start`

    def train(self, mode: bool = True) -> "QClip":
        """As of any module, but the frozen towers stay as they score: batch statistics do not change, nothing drops."""
        super().train(mode)
        for tower in (self.tower, self.text):
            if tower is not None:
                tower.eval()
        return self

    def _view_dim(self) -> int:
        """Features of one view."""
        if isinstance(self.config.readout, Joint):
            return self.tower.joint_dim or 0
        return sum(self.tower.widths[n - 1] for n in self.exits) * len(self.config.readout.statistics)

    def frozen(self, views: Tensor) -> Frozen:
        """What the frozen blocks make of frames: (F, V, 3, S, S) R'G'B' in 0..1. Never changes in training."""
        backbone = self.config.backbone
        mean = views.new_tensor(backbone.image_mean).view(3, 1, 1)
        std = views.new_tensor(backbone.image_std).view(3, 1, 1)
        shape = views.shape[:2]
        x = self.tower.embed((views.flatten(0, 1) - mean) / std)
        early = []
        for number in range(1, self.frozen_blocks + 1):
            x = self.tower.block(number, x)
            if number in self.exits and not self._is_adapted(number):
                early.append(self._statistics(x))
        kept = {"early": torch.cat(early, dim=1)} if early else {}
        if isinstance(self.adapters, SharedAdapters | PromptTokens):
            kept["tokens"] = x
        elif isinstance(self.config.readout, Joint):
            kept["pooled"] = self.tower.pool(x)
        return {name: tensor.view(*shape, *tensor.shape[1:]) for name, tensor in kept.items()}

    def features_of(self, frozen: Frozen) -> Tensor:
        """The rest of the way, where gradients flow: (F, D)."""
        found = []
        pooled = frozen["pooled"].flatten(0, 1) if "pooled" in frozen else None
        if "early" in frozen:
            found.append(frozen["early"].flatten(0, 1))
        if "tokens" in frozen:
            x = frozen["tokens"].flatten(0, 1)
            for number in range(self.first_adapted(), self.last_block + 1):
                x = self._adapted_block(number, x)
                if number in self.exits:
                    found.append(self._statistics(x))
            if isinstance(self.config.readout, Joint):
                pooled = self.tower.pool(x)
        if pooled is not None:
            projected = self.tower.project(pooled)
            if isinstance(self.adapters, SharedAdapters):
                projected = self.adapters.image_joint(pooled, projected)
            found.append(projected)
        frames = next(iter(frozen.values())).shape[0]
        features = torch.cat(found, dim=1).reshape(frames, -1)  # (F, V * D / V)
        if isinstance(self.adapters, FeatureAdapter):
            features = self.adapters(features)
        return features

    def first_adapted(self) -> int:
        """Number of the first block that is adapted, from 1; 0 where none is."""
        return (
            self.config.adapters.first_block if isinstance(self.config.adapters, SharedAdapter | VisualPrompts) else 0
        )

    def has_tower_adapters(self) -> bool:
        """Whether anything is trained inside the image tower."""
        return self.first_adapted() > 0

    def _is_adapted(self, number: int) -> bool:
        return 0 < self.first_adapted() <= number

    def _adapted_block(self, number: int, x: Tensor) -> Tensor:
        """Tokens after an adapted block; the first one's own, frozen part is done where SCMA comes after it."""
        place = number - self.first_adapted()
        if isinstance(self.adapters, PromptTokens):
            return self.adapters.remove(place, self.tower.block(number, self.adapters.insert(place, x)))
        assert isinstance(self.adapters, SharedAdapters)
        return self.adapters.image(place, x if place == 0 else self.tower.block(number, x))

    def _statistics(self, tokens: Tensor) -> Tensor:
        assert isinstance(self.config.readout, Statistics)
        return token_statistics(tokens, self.config.readout.statistics, self.tower.prefix_tokens)

    def frame_features(self, views: Tensor) -> Tensor:
        """Features of frames: (F, V, 3, S, S) R'G'B' in 0..1 -> (F, D)."""
        return self.features_of(self.frozen(views))

    def judge(self, features: Tensor, measures: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Features of clips' frames (B, T, D), measures (B, M) if any -> level probabilities (B, 5), scores (B,)."""
        judged: tuple[Tensor, Tensor] = self.head(self.fusion(features), measures)
        return judged

    def forward(self, views: Tensor, measures: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Clips: (B, T, V, 3, S, S), measures (B, M) if any -> level probabilities (B, 5) and scores (B,)."""
        return self.judge(self.frame_features(views.flatten(0, 1)).view(*views.shape[:2], -1), measures)

    def text_features(self, ids: Tensor) -> Tensor:
        """Features of the tokenised level prompts, (5, N) -> (5, J), not normalised.

        From `self.context_start` on, the context words are replaced by the learned context.

        Raises:
            RuntimeError: built without its text tower.
        """
        if self.text is None or self.context is None:
            raise RuntimeError("this model was built without its text tower")
        tower = self.text
        embedded = tower.token_embeddings(ids)
        first, after = self.context_start, self.context_start + len(self.context)
        context = self.context.expand(len(ids), -1, -1)
        x = tower.embed(torch.cat([embedded[:, :first], context, embedded[:, after:]], dim=1))
        shared = self.adapters if isinstance(self.adapters, SharedAdapters) else None
        adapted = self.last_block - self.first_adapted() + 1 if shared else 0
        for number in range(1, tower.blocks + 1):
            x = tower.block(number, x)
            place = number - (tower.blocks - adapted) - 1
            if shared and place >= 0:
                x = shared.text(place, x)
        pooled = tower.pool_prompts(x, ids)
        projected = tower.project(pooled)
        return shared.text_joint(pooled, projected) if shared else projected

    def trained_tensors(self) -> dict[str, Tensor]:
        """What a checkpoint holds, by name: all but the frozen towers. They are the model's own tensors, not copies."""
        return {name: t for name, t in self.state_dict().items() if not name.startswith(("tower.", "text."))}


def context_start(tower: TextTower, context_tokens: int) -> int:
    """Place of the first context word among the tokens of a prompt: tokenisers differ in their start token.

    Raises:
        UsageError: the context words are not one token each.
    """
    with_context = tower.token_ids(level_prompts(context_tokens))[0].tolist()
    without = tower.token_ids(level_prompts(0))[0].tolist()
    first = next((i for i, (a, b) in enumerate(zip(with_context, without, strict=True)) if a != b), 1)
    after = first + context_tokens
    rest = len(with_context) - after
    if context_tokens and (
        len(set(with_context[first:after])) > 1 or with_context[after:] != without[first : first + rest]
    ):
        raise UsageError(f"context_tokens: {CONTEXT_WORD!r} is not one token for this backbone; use context_tokens = 0")
    return first


def reads_text(config: ModelConfig) -> bool:
    """Whether the levels are text features."""
    return config.levels in ("prompts", "zero-shot")


def check_parts(config: ModelConfig, tower: Tower) -> None:
    """Raises UsageError where the parts of a configuration do not fit each other."""
    has_joint = isinstance(config.readout, Joint)
    exits = config.readout.exit_blocks if isinstance(config.readout, Statistics) else (1,)
    statistics = config.readout.statistics if isinstance(config.readout, Statistics) else ("mean",)
    for wrong, said in (
        (not config.views, "views: name at least one"),
        (not exits or not statistics, "readout: name at least one of exit_blocks and one of statistics"),
        (min(exits, default=1) < 1, "exit_blocks: count from 1"),
        (sorted(set(exits)) != list(exits), "exit_blocks: say them in ascending order, each once"),
        (has_joint and tower.joint_dim is None, 'readout "joint": this backbone has no joint space; read "statistics"'),
        (reads_text(config) and not has_joint, f'levels = "{config.levels}": needs readout "joint", where the text is'),
        (
            config.levels == "zero-shot" and config.context_tokens > 0,
            'levels = "zero-shot": learns nothing; say context_tokens = 0',
        ),
        (reads_text(config) and config.measures, f'levels = "{config.levels}": knows no measures; leave them out'),
        (reads_text(config) and config.squares, f'levels = "{config.levels}": knows no squares; leave them out'),
        (not 0 <= config.squares <= MOST_SQUARES, f"squares: say 0 to {MOST_SQUARES}"),
        (reads_text(config) and len(config.views) > 1, f'levels = "{config.levels}": works on one view'),
        (
            reads_text(config) and text_sizes(config.backbone) == ((), None),
            f'levels = "{config.levels}": this backbone has no text tower; use levels = "vectors"',
        ),
        (
            isinstance(config.adapters, SharedAdapter) and config.adapters.projection and not has_joint,
            'adapters.projection = true: needs readout "joint"',
        ),
        (
            max(exits, default=1) > tower.blocks,
            f"exit_blocks: the backbone has {tower.blocks} blocks",
        ),
        (
            "class" in statistics and tower.prefix_tokens == 0,
            'statistics: "class" needs a tower with a class token; use "mean" and "std"',
        ),
        (
            isinstance(config.adapters, VisualPrompts) and tower.prefix_tokens == 0,
            "adapters: visual prompts need a tower with a class token",
        ),
        (
            isinstance(config.adapters, VisualPrompts) and tower.rotary,
            "adapters: visual prompts do not fit the rotary positions of this backbone",
        ),
    ):
        if wrong:
            raise UsageError(said)


def token_statistics(tokens: Tensor, statistics: tuple[str, ...], prefix_tokens: int) -> Tensor:
    """(B, N, W), or (B, H, W', W) feature maps, -> (B, len(statistics) * W)."""
    tokens = tokens.flatten(1, -2)
    patches = tokens[:, prefix_tokens:]
    made = {"class": lambda: tokens[:, 0], "mean": lambda: patches.mean(dim=1), "std": lambda: patches.std(dim=1)}
    return torch.cat([made[name]() for name in statistics], dim=1)


def head_of(config: ModelConfig, feature_dim: int) -> nn.Module:
    """The head of a configuration: (B, D), measures (B, M) if any -> level probabilities (B, 5), scores (B,)."""
    if config.levels == "prompts":
        return PromptHead(feature_dim)
    if config.levels == "zero-shot":
        return ZeroShotHead(feature_dim, config.level_scores)
    if config.levels == "linear":
        return LinearHead(feature_dim, config.measures, config.squares)
    return LevelHead(feature_dim, config.measures, config.level_scores, config.squares)


def level_prompts(context_tokens: int) -> list[str]:
    """The five prompts, with CONTEXT_WORD where learned tokens go: "X X X a video of bad quality"."""
    return [" ".join([CONTEXT_WORD] * context_tokens + [PROMPT.format(level=level)]) for level in LEVELS]
