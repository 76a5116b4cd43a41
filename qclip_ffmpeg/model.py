"""Q-CLIP, the whole model, read top to bottom.

A frozen CLIP image tower looks at each view of a frame; quality lives in the middle of the tower, so it is left early.
The statistics of the tokens are set against five learned vectors, one a quality level; the similarities become level
probabilities, and their expectation is the score. After Mi et al., "Q-CLIP: Unleashing the Power of Vision-Language
Models for Video Quality Assessment through Unified Cross-Modal Adaptation", arXiv 2508.06092. With an image tower
alone there is no text tower to encode the five prompts: the level vectors are learned in the image features' space.

Shapes: B windows, T frames, V views, N = 1 + patches tokens, W width of the tower, D features.
"""

from typing import Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = ("bad", "poor", "fair", "good", "excellent")
LEVEL_SCORES = (0.0, 25.0, 50.0, 75.0, 100.0)


class TowerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Architecture of a CLIP image tower, as open_clip names it."""

    architecture: str
    """open_clip's name, for example "ViT-B-16-quickgelu"."""
    width: int
    heads: int
    patch_px: int
    image_px: int
    blocks: int
    """Blocks that are built: the tower is left after the last one that is read."""
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]


class ModelConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a Q-CLIP model is, apart from its tensors."""

    tower: TowerConfig
    views: tuple[Literal["whole", "mosaic"], ...]
    """What each frame is looked at through (see `views`)."""
    exit_blocks: tuple[int, ...]
    """Tokens are read after these blocks, counted from 1."""
    statistics: tuple[Literal["class", "mean", "std"], ...]
    """Of the tokens: "class" (the class token), "mean" and "std" (over the patch tokens)."""
    level_scores: tuple[float, ...] = LEVEL_SCORES
    """Score of each of LEVELS."""

    @property
    def feature_dim(self) -> int:
        """D: features of one frame."""
        return len(self.views) * len(self.exit_blocks) * len(self.statistics) * self.tower.width


class QClip(nn.Module):
    """Frames in, level probabilities out."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.tower = ImageTower(config.tower)
        self.head = LevelHead(config.feature_dim, config.level_scores)

    def frame_features(self, views: Tensor) -> Tensor:
        """Features of frames: (T, V, 3, S, S) R'G'B' in 0..1 -> (T, D)."""
        frames = views.shape[0]
        mean = views.new_tensor(self.config.tower.image_mean).view(3, 1, 1)
        std = views.new_tensor(self.config.tower.image_std).view(3, 1, 1)
        tokens = self.tower((views.flatten(0, 1) - mean) / std, self.config.exit_blocks)
        pooled = torch.cat([token_statistics(t, self.config.statistics) for t in tokens], dim=1)  # (T * V, D / V)
        return pooled.view(frames, -1)

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Windows of frames: (B, T, V, 3, S, S) -> level probabilities (B, 5) and scores (B,) in 0..100."""
        features = self.frame_features(views.flatten(0, 1)).view(*views.shape[:2], -1)
        probabilities = self.head(features.mean(dim=1))
        return probabilities, self.head.score(probabilities)


class LevelHead(nn.Module):
    """Features to level probabilities: similarity with five learned level vectors, and their expectation."""

    mean: Tensor
    scale: Tensor
    level_scores: Tensor

    def __init__(self, feature_dim: int, level_scores: tuple[float, ...] = LEVEL_SCORES) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(feature_dim))
        self.register_buffer("scale", torch.ones(feature_dim))
        self.register_buffer("level_scores", torch.tensor(level_scores))
        self.level_vectors = nn.Parameter(torch.zeros(len(LEVELS), feature_dim))
        self.level_bias = nn.Parameter(torch.zeros(len(LEVELS)))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) -> (B, 5) probabilities that sum to 1."""
        standard = (features - self.mean) / self.scale
        return (standard @ self.level_vectors.T + self.level_bias).softmax(dim=-1)

    def score(self, probabilities: Tensor) -> Tensor:
        """Expectation of the level scores: (B, 5) -> (B,) in 0..100."""
        return probabilities @ self.level_scores


def token_statistics(tokens: Tensor, statistics: tuple[str, ...]) -> Tensor:
    """(B, N, W) -> (B, len(statistics) * W)."""
    patches = tokens[:, 1:]
    made = {"class": lambda: tokens[:, 0], "mean": lambda: patches.mean(dim=1), "std": lambda: patches.std(dim=1)}
    return torch.cat([made[name]() for name in statistics], dim=1)


class ImageTower(nn.Module):
    """CLIP's vision transformer up to the last block that is read. Parameters are named as in open_clip's `.visual`."""

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        tokens = 1 + (config.image_px // config.patch_px) ** 2
        self.conv1 = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.blocks))

    def forward(self, images: Tensor, exit_blocks: tuple[int, ...]) -> list[Tensor]:
        """(B, 3, S, S) normalised -> tokens (B, N, W) after each of exit_blocks (from 1), in their order."""
        patches = self.conv1(images).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(images.shape[0], 1, -1), patches], dim=1)
        x = self.ln_pre(x + self.positional_embedding)
        after: dict[int, Tensor] = {}
        for number, block in enumerate(self.transformer.resblocks, start=1):  # type: ignore[arg-type]
            x = block(x)
            if number in exit_blocks:
                after[number] = x
        return [after[number] for number in exit_blocks]


class Block(nn.Module):
    """Pre-norm transformer block with CLIP's QuickGELU."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.ln_1 = nn.LayerNorm(width)
        self.attn = Attention(width, heads)
        self.ln_2 = nn.LayerNorm(width)
        self.mlp = nn.ModuleDict({"c_fc": nn.Linear(width, 4 * width), "c_proj": nn.Linear(4 * width, width)})

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln_1(x))
        hidden = self.mlp["c_fc"](self.ln_2(x))
        x = x + self.mlp["c_proj"](hidden * torch.sigmoid(1.702 * hidden))
        return x


class Attention(nn.Module):
    """Multi-head self-attention, parameters as nn.MultiheadAttention names them."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * width))
        self.out_proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, tokens, width = x.shape
        qkv = F.linear(x, self.in_proj_weight, self.in_proj_bias)
        q, k, v = qkv.view(batch, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(q, k, v)  # (B, heads, N, W / heads)
        joined: Tensor = self.out_proj(mixed.transpose(1, 2).reshape(batch, tokens, width))
        return joined
