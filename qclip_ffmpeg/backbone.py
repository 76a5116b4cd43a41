"""Frozen backbones, block by block: what every tower can do, and the bundled CLIP image tower.

Towers of open_clip are in `backbone_open_clip`, which imports open_clip; the bundled tower starts without it.
Shapes: B images or prompts, N tokens, W width of a block, P pooled width, J joint space of image and text.
"""

from abc import ABC, abstractmethod
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from msgspec import Meta, Struct
from torch import Tensor, nn

Size = Annotated[int, Meta(ge=1, le=8192)]
Depth = Annotated[int, Meta(ge=1, le=128)]


class TowerConfig(Struct, frozen=True, forbid_unknown_fields=True, tag="clip-image", tag_field="kind"):
    """A CLIP image tower without its joint space, of which the first blocks are built: the bundled one."""

    architecture: str
    """open_clip's name, for example "ViT-B-16-quickgelu"."""
    width: Size
    heads: Size
    patch_px: Size
    image_px: Size
    blocks: Depth
    """Blocks that are built: the tower is left after the last one that is read."""
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]


class TrunkSizes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Sizes of a timm image tower that differ from its architecture's, under timm's names."""

    img_size: Size | None = None
    patch_size: Size | None = None
    embed_dim: Size | None = None
    depth: Depth | None = None
    num_heads: Size | None = None
    ref_feat_shape: tuple[Size, Size] | None = None


class TextSizes(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Sizes of a text tower that differ from its architecture's, under open_clip's names."""

    width: Size | None = None
    heads: Size | None = None
    layers: Depth | None = None


class OpenClipConfig(Struct, frozen=True, forbid_unknown_fields=True, tag="open_clip", tag_field="kind"):
    """Both towers of an open_clip model."""

    architecture: str
    """open_clip's name, for example "PE-Core-L-14-336"."""
    image_px: Size
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    pretrained: str | None = None
    """open_clip's tag of the weights, for example "meta"; None where they come from a file only."""
    rope_cls: Literal["first", "last"] = "first"
    """Row of the rotation table that belongs to the class token. Meta's Perception Encoder and timm have it first; the
    released Q-CLIP appends it, while the class token stays first, so that every patch is rotated one position late.
    Checkpoints trained that way need "last"."""
    joint_dim: Size | None = None
    """J, where it is not the architecture's."""
    trunk: TrunkSizes = TrunkSizes()
    text: TextSizes = TextSizes()


BackboneConfig = TowerConfig | OpenClipConfig


class Tower(nn.Module, ABC):
    """A transformer (or a stack of convolution blocks) taken apart: embed, block after block, pool, project.

    Tokens are channels-last: (B, N, W), or (B, H, W', C) where a block works on feature maps.
    """

    widths: tuple[int, ...]
    """Channels after each block."""
    prefix_tokens: int
    """Tokens in front of the patches: 1 with a class token, else 0."""
    rotary: bool = False
    """Whether blocks rotate tokens by their place, so that none can be put between them."""
    joint_dim: int | None
    """J; None for a tower without a joint space."""
    pooled_dim: int | None
    """P."""

    @abstractmethod
    def embed(self, inputs: Tensor) -> Tensor:
        """What the first block gets. Images: (B, 3, S, S) normalised. Prompts: token embeddings (B, N, W)."""

    @abstractmethod
    def block(self, number: int, tokens: Tensor) -> Tensor:
        """Tokens after block `number`, counted from 1."""

    @abstractmethod
    def modules_of(self, number: int) -> list[nn.Module]:
        """What block `number` consists of, for whoever counts."""

    def pool(self, tokens: Tensor) -> Tensor:
        """Tokens after the last block -> (B, P)."""
        raise TypeError(f"{type(self).__name__} has no joint space")

    def project(self, pooled: Tensor) -> Tensor:
        """(B, P) -> (B, J)."""
        raise TypeError(f"{type(self).__name__} has no joint space")

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return len(self.widths)


class TextTower(Tower):
    """A text tower whose first tokens may be learned vectors."""

    @abstractmethod
    def token_ids(self, prompts: list[str]) -> Tensor:
        """Tokenised prompts, (B, N) int64.

        Raises:
            UsageError: a prompt is longer than N tokens.
            ModelError: the tokeniser of this architecture is not installed.
        """

    @abstractmethod
    def token_embeddings(self, ids: Tensor) -> Tensor:
        """(B, N) -> (B, N, W), before positions are added."""

    @abstractmethod
    def pool_prompts(self, tokens: Tensor, ids: Tensor) -> Tensor:
        """Tokens after the last block -> (B, P): the token that `ids` says stands for the prompt."""


def image_tower(config: BackboneConfig) -> Tower:
    """The image tower of a backbone, without weights.

    Raises:
        ModelError: open_clip has no such architecture, or its tower cannot be taken apart.
    """
    if isinstance(config, TowerConfig):
        return ImageTower(config)
    from qclip_ffmpeg.backbone_open_clip import open_clip_image_tower

    return open_clip_image_tower(config)


def text_tower(config: BackboneConfig) -> TextTower | None:
    """The text tower of a backbone, without weights; None where it has none."""
    if isinstance(config, TowerConfig):
        return None
    from qclip_ffmpeg.backbone_open_clip import open_clip_text_tower

    return open_clip_text_tower(config)


def text_sizes(config: BackboneConfig) -> tuple[tuple[int, ...], int | None]:
    """(width of each block, P) of the text tower, without building it; ((), None) where there is none."""
    if isinstance(config, TowerConfig):
        return (), None
    from qclip_ffmpeg.backbone_open_clip import text_sizes_of

    return text_sizes_of(config)


class ImageTower(Tower):
    """CLIP's vision transformer up to the last block that is read. Parameters are named as in open_clip's `.visual`."""

    prefix_tokens = 1
    joint_dim = pooled_dim = None

    def __init__(self, config: TowerConfig) -> None:
        super().__init__()
        self.widths = (config.width,) * config.blocks
        tokens = 1 + (config.image_px // config.patch_px) ** 2
        self.conv1 = nn.Conv2d(3, config.width, config.patch_px, stride=config.patch_px, bias=False)
        self.class_embedding = nn.Parameter(torch.empty(config.width))
        self.positional_embedding = nn.Parameter(torch.empty(tokens, config.width))
        self.ln_pre = nn.LayerNorm(config.width)
        self.transformer = nn.Module()
        self.transformer.resblocks = nn.ModuleList(Block(config.width, config.heads) for _ in range(config.blocks))

    def embed(self, inputs: Tensor) -> Tensor:
        patches = self.conv1(inputs).flatten(2).transpose(1, 2)
        x = torch.cat([self.class_embedding.expand(inputs.shape[0], 1, -1), patches], dim=1)
        embedded: Tensor = self.ln_pre(x + self.positional_embedding)
        return embedded

    def block(self, number: int, tokens: Tensor) -> Tensor:
        after: Tensor = self.transformer.resblocks[number - 1](tokens)  # type: ignore[index, operator]
        return after

    def modules_of(self, number: int) -> list[nn.Module]:
        return [self.transformer.resblocks[number - 1]]  # type: ignore[index, list-item]


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
