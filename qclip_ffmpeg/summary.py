"""What a model consists of, block by block, what a frame costs, and what is known of its scores."""

from collections.abc import Callable, Iterable

import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from qclip_ffmpeg.adapters import PromptTokens, SharedAdapters
from qclip_ffmpeg.backbone import TextTower, Tower
from qclip_ffmpeg.calibration import Calibration, NoiseBand
from qclip_ffmpeg.checkpoint import Card
from qclip_ffmpeg.domain import DomainCard
from qclip_ffmpeg.model import Joint, ModelConfig, QClip, level_prompts


class Part(Struct, frozen=True, kw_only=True):
    """One line of a summary."""

    tower: str
    """"image", "text", or "" for what belongs to neither."""
    name: str
    """"embed", the number of a block from 1, "pool and project", or what is trained beside the towers."""
    width: int | None = None
    """Channels of its output."""
    frozen_parameters: int = 0
    trained_parameters: int = 0
    """Of what is shared, only in the line where it comes first."""
    gflops: float | None = None
    """Billions of floating point operations, a multiplication and an addition counted as two: of the image tower a
    frame with all its views, of the text tower the five prompts, once a checkpoint."""


class Summary(Struct, frozen=True, kw_only=True):
    """A model's parts and their sums."""

    parts: list[Part]
    frozen_parameters: int
    trained_parameters: int
    gflops_per_frame: float
    calibration: Calibration | None = None
    noise_band: NoiseBand | None = None
    domain: DomainCard | None = None


def summarise(config: ModelConfig, card: Card | None = None) -> Summary:
    """Count a model, and say what its card knows. It is built without weights, so size costs nothing.

    Raises:
        UsageError: its parts do not fit each other.
        ModelError: its backbone cannot be taken apart.
    """
    with torch.device("meta"):
        qclip = QClip(config, with_text=True).eval().requires_grad_(False)
        images = torch.zeros(len(config.views), 3, config.backbone.image_px, config.backbone.image_px)
        parts = tower_parts("image", qclip, qclip.tower, images, qclip.last_block)
        if qclip.text is not None:
            ids = torch.zeros(len(level_prompts(0)), text_length(qclip.text), dtype=torch.int64)
            parts += tower_parts("text", qclip, qclip.text, qclip.text.token_embeddings(ids), qclip.text.blocks, ids)
    parts += beside(qclip)
    return Summary(
        parts=parts,
        frozen_parameters=sum(part.frozen_parameters for part in parts),
        trained_parameters=sum(part.trained_parameters for part in parts),
        gflops_per_frame=round(sum(part.gflops or 0 for part in parts if part.tower == "image"), 3),
        calibration=card.calibration if card else None,
        noise_band=card.noise_band if card else None,
        domain=card.domain if card else None,
    )


def known_lines(summary: Summary) -> list[str]:
    """What is known of a checkpoint's scores, for people."""
    calibration, noise, domain = summary.calibration, summary.noise_band, summary.domain
    lines = ["calibration: none"]
    if calibration is not None:
        knots = zip(calibration.score, calibration.error, strict=True)
        lines = [
            f"calibration: {calibration.id}, from {calibration.clips} clips of {calibration.contents} contents; "
            "error " + ", ".join(f"{error:.1f} at {score:.0f}" for score, error in knots)
        ]
    lines.append("noise band: " + (noise_line(noise) if noise else "none"))
    if domain is None:
        return [*lines, "domain: none"]
    return [
        *lines,
        f"domain: {domain.source}; {100 * domain.flagged:.2f} % of the windows of held-out contents are flagged",
    ]


def noise_line(noise: NoiseBand) -> str:
    """A noise band in a line for people."""
    interval = "" if noise.low is None else f" [{noise.low:.1f}, {noise.high:.1f}]"
    at = ", ".join(f"{band:.1f} at {score:.0f}" for score, band in zip(noise.at_score, noise.at_band, strict=True))
    return (
        f"{noise.band:.1f}{interval} score units ({at}), from {noise.pairs} pairs of {noise.contents} contents "
        f"with labels less than {noise.label_apart:g} apart"
    )


def text_length(tower: TextTower) -> int:
    """Tokens of a prompt, padding included."""
    length: int = tower.text.context_length  # type: ignore[assignment, union-attr]
    return length


def tower_parts(
    name: str, qclip: QClip, tower: Tower, inputs: Tensor, blocks: int, ids: Tensor | None = None
) -> list[Part]:
    """The lines of one tower."""
    modules = [module for number in range(1, tower.blocks + 1) for module in tower.modules_of(number)]
    in_blocks = parameters(modules)
    tokens, gflops = counted(lambda: tower.embed(inputs))
    lines = []
    seen: set[int] = set()
    for number in range(1, blocks + 1):
        adapter = adapter_of(name, qclip, number, blocks)
        tokens, block_gflops = counted(lambda number=number, x=tokens: run_block(name, qclip, tower, number, blocks, x))  # type: ignore[misc]
        new = [module for module in [adapter] if module is not None and id(module) not in seen]
        if name == "text" and new and id(new[0]) in {id(m) for m in image_adapters(qclip)}:
            new = []
        seen |= {id(module) for module in new}
        lines.append(
            Part(
                tower=name,
                name=str(number),
                width=tower.widths[number - 1],
                frozen_parameters=parameters(tower.modules_of(number)),
                trained_parameters=parameters(new),
                gflops=round(block_gflops, 3),
            )
        )
    pooled_gflops: float | None = None
    pooled = None
    if isinstance(tower, TextTower):
        assert ids is not None
        pooled, pooled_gflops = counted(lambda: tower.project(tower.pool_prompts(tokens, ids)))
    elif isinstance(qclip.config.readout, Joint):
        pooled, pooled_gflops = counted(lambda: tower.project(tower.pool(tokens)))
    rest = parameters([tower]) - in_blocks
    first = Part(tower=name, name="embed and the rest", frozen_parameters=rest, gflops=round(gflops, 3))
    unread = parameters(modules) - sum(line.frozen_parameters for line in lines)
    lines.insert(0, first)
    if unread:
        lines.append(Part(tower=name, name=f"{blocks + 1} to {tower.blocks}, not run", frozen_parameters=unread))
    if pooled is not None:
        lines.append(
            Part(tower=name, name="pool and project", width=pooled.shape[-1], gflops=round(pooled_gflops or 0, 3))
        )
    return lines


def run_block(name: str, qclip: QClip, tower: Tower, number: int, blocks: int, tokens: Tensor) -> Tensor:
    """Tokens after block `number` of a tower and what is trained with it."""
    adapters, place = qclip.adapters, number - (blocks - adapted_count(qclip)) - 1
    if adapter_of(name, qclip, number, blocks) is None:
        return tower.block(number, tokens)
    if isinstance(adapters, PromptTokens):
        return adapters.remove(place, tower.block(number, adapters.insert(place, tokens)))
    assert isinstance(adapters, SharedAdapters)
    return (adapters.image if name == "image" else adapters.text)(place, tower.block(number, tokens))


def adapted_count(qclip: QClip) -> int:
    """Blocks of a tower that have adapters."""
    return qclip.last_block - qclip.first_adapted() + 1


def adapter_of(tower: str, qclip: QClip, number: int, blocks: int) -> nn.Module | None:
    """What is trained with block `number` of a tower."""
    if not qclip.has_tower_adapters():
        return None
    place = number - (blocks - adapted_count(qclip)) - 1
    if place < 0:
        return None
    if isinstance(qclip.adapters, SharedAdapters):
        return qclip.adapters.bottleneck(tower, place)
    if isinstance(qclip.adapters, PromptTokens) and tower == "image":
        return nn.ParameterList([qclip.adapters.tokens[place]])
    return None


def image_adapters(qclip: QClip) -> list[nn.Module]:
    """The bottlenecks of the image tower."""
    if not isinstance(qclip.adapters, SharedAdapters):
        return []
    return [qclip.adapters.bottleneck("image", place) for place in range(adapted_count(qclip))]


def beside(qclip: QClip) -> list[Part]:
    """What is trained and belongs to no block."""
    adapters = qclip.adapters
    found: list[tuple[str, int]] = []
    if isinstance(adapters, SharedAdapters):
        core, all_of_them = parameters([adapters.core]), parameters([adapters])
        bottlenecks = parameters([adapters.bottlenecks])
        projections = parameters([adapters.projections]) if hasattr(adapters, "projections") else 0
        found += [("shared core", core), ("adapter beside the projections", projections)]
        found += [("scales of the adapters", all_of_them - core - bottlenecks - projections)]
    elif adapters is not None and not isinstance(adapters, PromptTokens):
        found.append(("adapter of the features", parameters([adapters])))
    if qclip.context is not None:
        found.append(("context tokens", qclip.context.numel()))
    found += [(f"fusion: {qclip.config.fusion}", parameters([qclip.fusion]))]
    found += [(f"head: {qclip.config.levels}", parameters([qclip.head]))]
    return [Part(tower="", name=name, trained_parameters=count) for name, count in found if count]


def parameters(modules: Iterable[nn.Module]) -> int:
    """Parameters of modules."""
    return sum(p.numel() for module in modules for p in module.parameters())


def counted(work: Callable[[], Tensor]) -> tuple[Tensor, float]:
    """The result and its cost in 10^9 floating point operations."""
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        result = work()
    return result, counter.get_total_flops() / 1e9
