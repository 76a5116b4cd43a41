"""What is trained beside the frozen towers: the Shared Cross-Modal Adapter, and the two it is compared with.

The Shared Cross-Modal Adapter (SCMA) of Mi et al., arXiv 2508.06092: after a block, x + s * LN(up(core(down(x)))), the
same bottleneck for image and text, s one learned scalar a modality. Shapes: W width of a block, J joint space.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from msgspec import Meta, Struct
from torch import Tensor, nn

from qclip_ffmpeg.errors import UsageError

Positive = Annotated[int, Meta(gt=0, le=8192)]
SCALE_AT_START = 0.1


class SharedAdapter(Struct, frozen=True, forbid_unknown_fields=True, tag="shared", tag_field="kind"):
    """SCMA: adapters after the last blocks of both towers."""

    share: Literal["core", "all"]
    """"core": each block has its own projections around one core (the released code). "all": one bottleneck for every
    block and both modalities (the paper's 0.14 M)."""
    dim: Positive
    """Width of the bottleneck: 128 in the released code, 64 in the paper."""
    first_block: Positive
    """Block of the image tower, counted from 1, after which the first adapter stands. The text tower has as many."""
    projection: bool = False
    """An adapter beside the projections to the joint space as well."""


class ProjectionAdapter(Struct, frozen=True, forbid_unknown_fields=True, tag="projection", tag_field="kind"):
    """CLIP-Adapter (Gao et al., arXiv 2110.04544): a bottleneck on the frames' features, nothing in the tower."""

    dim: Positive
    ratio: Annotated[float, Meta(gt=0, le=1)] = 0.2
    """Share of the adapted features in the result."""


class VisualPrompts(Struct, frozen=True, forbid_unknown_fields=True, tag="visual-prompts", tag_field="kind"):
    """VPT-Deep (Jia et al., arXiv 2203.12119) on the last blocks: learned tokens join the input of each."""

    tokens: Positive
    """Learned tokens a block."""
    first_block: Positive
    """First block, counted from 1, that gets them."""


AdapterConfig = SharedAdapter | ProjectionAdapter | VisualPrompts


class Bottleneck(nn.Module):
    """LN(up(core(down(x)))): (..., width) -> (..., width). The core is handed in, since it is shared."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.down = nn.Linear(width, dim)
        self.up = nn.Linear(dim, width)
        self.ln = nn.LayerNorm(width)

    def forward(self, x: Tensor, core: nn.Module) -> Tensor:
        adapted: Tensor = self.ln(self.up(core(self.down(x))))
        return adapted


class SharedAdapters(nn.Module):
    """The adapters of both towers; a tower that is not there has none.

    Args:
        config: see `SharedAdapter`.
        image_widths: width of each block of the image tower.
        text_widths: of the text tower; empty without one.
        joint: (pooled width of the image tower, of the text tower, J), for the adapter beside the projections.

    Raises:
        UsageError: the blocks are not there, or their widths cannot share.
    """

    def __init__(
        self,
        config: SharedAdapter,
        image_widths: Sequence[int],
        text_widths: Sequence[int] = (),
        joint: tuple[int, int | None, int] | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        count = adapted_blocks(config.first_block, len(image_widths))
        if text_widths and count > len(text_widths):
            raise UsageError(
                f"adapters.first_block = {config.first_block}: adapts {count} blocks, the text tower has "
                f"{len(text_widths)}; the least is {len(image_widths) - len(text_widths) + 1}"
            )
        image, text = list(image_widths[-count:]), list(text_widths[-count:] if text_widths else [])
        widths = {*image, *text, *(size for size in joint or () if size)} if config.projection else {*image, *text}
        if config.share == "all":
            if len(widths) > 1:
                raise UsageError(
                    f'adapters.share = "all": needs blocks of one width; the image blocks are {said(image)} wide, the '
                    f"text blocks {said(text)}{f', the projections {said(joint or ())}' if config.projection else ''}; "
                    'use share = "core"'
                )
            self.core: nn.Module = nn.GELU()
            self.bottlenecks = nn.ModuleDict({"all": Bottleneck(image[0], config.dim)})
        else:
            self.core = core_of(config.dim)
            self.bottlenecks = nn.ModuleDict(
                {name: Bottleneck(width, config.dim) for name, width in self._names(image, text)}
            )
        self._image_names = [self._name(place, width) for place, width in enumerate(image)]
        self._text_names = [self._name(place, width) for place, width in enumerate(text)]
        self.image_scale = nn.Parameter(torch.tensor(SCALE_AT_START))
        if text:
            self.text_scale = nn.Parameter(torch.tensor(SCALE_AT_START))
        if config.projection:
            if joint is None:
                raise UsageError("adapters.projection = true: this model has no projections to a joint space")
            self._add_projection(config, *joint)

    def _names(self, image: list[int], text: list[int]) -> Iterator[tuple[str, int]]:
        for widths in (image, text):
            yield from ((self._name(place, width), width) for place, width in enumerate(widths))

    def _name(self, place: int, width: int) -> str:
        """Blocks of one depth (counted from the end of the towers) and one width share their projections."""
        return "all" if self.config.share == "all" else f"{place}_width{width}"

    def _add_projection(self, config: SharedAdapter, image_dim: int, text_dim: int | None, joint_dim: int) -> None:
        self.image_projection_scale = nn.Parameter(torch.tensor(SCALE_AT_START))
        if text_dim is not None:
            self.text_projection_scale = nn.Parameter(torch.tensor(SCALE_AT_START))
        if config.share == "core":
            sizes = {size for size in (image_dim, text_dim) if size}
            self.projections = nn.ModuleDict(
                {f"width{size}": projection_of(size, config.dim, joint_dim) for size in sorted(sizes)}
            )

    def image(self, place: int, tokens: Tensor) -> Tensor:
        """Adapt the tokens after the image tower's adapted block `place`, counted from 0."""
        return self._after(self._image_names[place], self.image_scale, tokens)

    def text(self, place: int, tokens: Tensor) -> Tensor:
        """The same of the text tower."""
        return self._after(self._text_names[place], self.text_scale, tokens)

    def bottleneck(self, tower: str, place: int) -> nn.Module:
        """The bottleneck of an adapted block of the "image" or "text" tower."""
        return self.bottlenecks[(self._image_names if tower == "image" else self._text_names)[place]]

    def _after(self, name: str, scale: Tensor, tokens: Tensor) -> Tensor:
        adapted: Tensor = tokens + scale * self.bottlenecks[name](tokens, self.core)
        return adapted

    def image_joint(self, pooled: Tensor, projected: Tensor) -> Tensor:
        """Add to the projected image features, (B, J), what the adapter makes of the pooled ones, (B, P)."""
        if not self.config.projection:
            return projected
        return projected + self.image_projection_scale * self._projection(pooled)

    def text_joint(self, pooled: Tensor, projected: Tensor) -> Tensor:
        """The same of the text tower."""
        if not self.config.projection:
            return projected
        return projected + self.text_projection_scale * self._projection(pooled)

    def _projection(self, pooled: Tensor) -> Tensor:
        if self.config.share == "all":
            adapted: Tensor = self.bottlenecks["all"](pooled, self.core)
        else:
            adapted = self.projections[f"width{pooled.shape[-1]}"](pooled)
        return adapted


def adapted_blocks(first_block: int, blocks: int) -> int:
    """How many blocks are adapted.

    Raises:
        UsageError: the first one is not there.
    """
    if first_block > blocks:
        raise UsageError(f"adapters.first_block = {first_block}: the image tower runs {blocks} blocks")
    return blocks - first_block + 1


def core_of(dim: int) -> nn.Sequential:
    """What every block shares: Linear, GELU, Linear."""
    return nn.Sequential(nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, dim))


def projection_of(width: int, dim: int, joint_dim: int) -> nn.Sequential:
    """The adapter beside a projection, as released: (B, width) -> (B, joint_dim)."""
    return nn.Sequential(nn.Linear(width, dim), nn.Linear(dim, dim), nn.GELU(), nn.Linear(dim, joint_dim))


def said(widths: Sequence[int | None]) -> str:
    return ", ".join(str(w) for w in sorted({w for w in widths if w})) or "not there"


class FeatureAdapter(nn.Module):
    """CLIP-Adapter: (1 - ratio) * f + ratio * up(relu(down(f))), (B, D) -> (B, D)."""

    def __init__(self, config: ProjectionAdapter, feature_dim: int) -> None:
        super().__init__()
        self.ratio = config.ratio
        self.down = nn.Linear(feature_dim, config.dim)
        self.up = nn.Linear(config.dim, feature_dim)

    def forward(self, features: Tensor) -> Tensor:
        adapted: Tensor = self.up(F.relu(self.down(features)))
        return (1 - self.ratio) * features + self.ratio * adapted


class PromptTokens(nn.Module):
    """VPT-Deep: learned tokens between the class token and the patches while one block runs."""

    def __init__(self, config: VisualPrompts, widths: Sequence[int], prefix_tokens: int) -> None:
        super().__init__()
        self.first_block = config.first_block
        self.prefix_tokens = prefix_tokens
        count = adapted_blocks(config.first_block, len(widths))
        self.tokens = nn.ParameterList(
            nn.Parameter(torch.randn(config.tokens, width) * 0.02) for width in widths[-count:]
        )

    def insert(self, place: int, tokens: Tensor) -> Tensor:
        """(B, N, W) -> (B, N + learned, W)."""
        learned = self.tokens[place].expand(tokens.shape[0], -1, -1)
        return torch.cat([tokens[:, : self.prefix_tokens], learned, tokens[:, self.prefix_tokens :]], dim=1)

    def remove(self, place: int, tokens: Tensor) -> Tensor:
        """The inverse of `insert`."""
        after = self.prefix_tokens + self.tokens[place].shape[0]
        return torch.cat([tokens[:, : self.prefix_tokens], tokens[:, after:]], dim=1)
