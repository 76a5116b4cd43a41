"""Whether a window looks like anything the model was trained on, from its features."""

import math
from dataclasses import dataclass

import torch
from msgspec import Struct
from torch import Tensor

from qclip_ffmpeg.calibration import is_counted, is_text
from qclip_ffmpeg.errors import ModelError

DOMAIN_PREFIX = "domain."
SHORTEST_SIDE_PX, LONGEST_SIDE_PX = 65, 8192
"""Pictures smaller or larger than this are out of the domain by rule: features do not show it (enlarged to the display,
a picture of 64 lines looks like a badly blurred one, of which training has many)."""
LARGEST_BYTES = 2_000_000
"""Of a domain's tensors; also what bounds its directions."""


class DomainCard(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a checkpoint's card says of its domain; the tensors lie beside the trained ones."""

    threshold: float
    """A window whose distance is larger is out of the domain."""
    flagged: float
    """Share of the windows of contents held out of the description that lie beyond the threshold."""
    clips: int
    contents: int
    source: str
    """What it was fitted on."""


@dataclass(frozen=True, slots=True, eq=False)
class Domain:
    """Where the features of training clips lie: a Gaussian along their principal directions, an even one beside them.

    What is odd shows along the directions (captions, bars) or beside them (noise, plain colour), so both count alike.
    """

    card: DomainCard
    mean: Tensor
    """(D,), of the features."""
    scale: Tensor
    """(D,), spread of the features."""
    directions: Tensor
    """(K, D), orthonormal, of the standardised features."""
    spread: Tensor
    """(K + 1,): what a step along each direction, and beside them all, is divided by. On held-out windows the squares
    of the two parts, along and beside, are then one half each on average, and a distance is about 1."""

    def distance(self, features: Tensor) -> Tensor:
        """Features (..., D) -> (...)."""
        z = (features - self.mean) / self.scale
        along = z @ self.directions.T
        beside = (z.square().sum(dim=-1) - along.square().sum(dim=-1)).clamp(min=0)
        return ((along / self.spread[:-1]).square().sum(dim=-1) + beside / self.spread[-1] ** 2).sqrt()

    def is_outside(self, features: Tensor) -> bool:
        """Whether a window's mean features, (D,), are unlike those of training clips."""
        return not float(self.distance(features)) <= self.card.threshold

    def tensors(self) -> dict[str, Tensor]:
        """As a checkpoint holds them, beside the trained ones."""
        return {DOMAIN_PREFIX + name: getattr(self, name) for name in ("mean", "scale", "directions", "spread")}


def is_odd_size(width_px: int, height_px: int) -> bool:
    """Whether a picture is smaller or larger than anything the model was trained on."""
    return min(width_px, height_px) < SHORTEST_SIDE_PX or max(width_px, height_px) > LONGEST_SIDE_PX


def domain_of(name: str, card: DomainCard | None, held: dict[str, Tensor]) -> tuple[Domain | None, dict[str, Tensor]]:
    """The domain among a checkpoint's tensors, which may come from a stranger, and the other tensors.

    Raises:
        ModelError: it is damaged, makes no sense, or is there without a word in the card.
    """
    found = {key.removeprefix(DOMAIN_PREFIX): t for key, t in held.items() if key.startswith(DOMAIN_PREFIX)}
    others = {key: t for key, t in held.items() if not key.startswith(DOMAIN_PREFIX)}
    if card is None:
        if found:
            raise ModelError(f"{name}: holds tensors of a domain that its card does not know")
        return None, others
    if (problem := domain_problem(card, found)) is not None:
        raise ModelError(f"{name}: its domain makes no sense ({problem})")
    return Domain(card, **found), others


def domain_problem(card: DomainCard, found: dict[str, Tensor]) -> str | None:
    """What keeps a domain from being used."""
    shapes = {"mean": 1, "scale": 1, "directions": 2, "spread": 1}
    if found.keys() != shapes.keys():
        return f"its tensors are not {', '.join(shapes)}"
    if any(t.dim() != shapes[key] or t.dtype != torch.float32 for key, t in found.items()):
        return "a tensor of another kind"
    count, size = found["directions"].shape
    if found["mean"].shape != (size,) or found["scale"].shape != (size,) or found["spread"].shape != (count + 1,):
        return "tensors that do not fit each other"
    if not all(bool(torch.isfinite(t).all()) for t in found.values()):
        return "values that are not finite"
    if not bool((found["scale"] > 0).all() and (found["spread"] > 0).all()):
        return "a spread that is not positive"
    if sum(t.numel() * t.element_size() for t in found.values()) > LARGEST_BYTES:
        return f"more than {LARGEST_BYTES / 1e6:g} MB"
    if not (math.isfinite(card.threshold) and card.threshold > 0 and 0 <= card.flagged <= 1):
        return "an impossible threshold"
    return None if is_text(card.source) and is_counted(card.clips, card.contents) else "a domain of nothing"
