"""What a model consists of: every parameter is counted once, every block has a line, the costs are the textbook's."""

from typing import Any

import pytest
import torch
from tiny_training import PE

from qclip_ffmpeg.adapters import ProjectionAdapter, SharedAdapter, VisualPrompts
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, find_model, read_checkpoint
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.model import Joint, QClip, Statistics
from qclip_ffmpeg.summary import Part, Summary, summarise
from qclip_ffmpeg.train.config import BUNDLED, NetworkRecipe, model_config

PAPER = SharedAdapter(share="all", dim=64, first_block=1, projection=True)
RELEASED = SharedAdapter(share="core", dim=128, first_block=19, projection=True)
FIRST_SIX = {"backbone": BUNDLED, "readout": Statistics((4, 6), ("class", "mean", "std")), "levels": "vectors"}


def summary_of(**network: Any) -> Summary:
    return summarise(model_config(NetworkRecipe(**network)))


def lines_of(found: Summary, tower: str) -> dict[str, Part]:
    return {part.name: part for part in found.parts if part.tower == tower}


@pytest.mark.parametrize(("adapters", "trained"), [(PAPER, 137_289), (RELEASED, 1_907_977)])
def test_the_published_variants(adapters: SharedAdapter, trained: int) -> None:
    """The paper's 0.14 M, and the 1.91 M that the released code uses; both towers have 24 blocks."""
    found = summary_of(backbone=PE, adapters=adapters)
    assert found.trained_parameters == trained
    for tower in ("image", "text"):
        lines = lines_of(found, tower)
        assert list(lines) == ["embed and the rest", *map(str, range(1, 25)), "pool and project"]
        assert {lines[str(number)].width for number in range(1, 25)} == {1024}
        first = [n for n in range(1, 25) if lines[str(n)].trained_parameters]
        assert (
            first
            == {"all": {"image": [1], "text": []}, "core": {"image": [*range(19, 25)], "text": []}}[adapters.share][
                tower
            ]
        ), "what both towers share is counted with the image tower"


MODELS: dict[str, dict[str, Any]] = {
    "SCMA all": {"backbone": PE, "adapters": PAPER},
    "SCMA core": {"backbone": PE, "adapters": RELEASED, "fusion": "transformer"},
    "left early": {
        "backbone": PE,
        "adapters": SharedAdapter(share="core", dim=64, first_block=19),
        "readout": Statistics((4, 20), ("class",)),
        "levels": "vectors",
    },
    "towers of unequal widths": {
        "backbone": "ViT-B-16-quickgelu",
        "adapters": SharedAdapter(share="core", dim=8, first_block=10, projection=True),
    },
    "convolutions": {"backbone": "MobileCLIP2-S0", "adapters": SharedAdapter(share="core", dim=8, first_block=10)},
    "zero-shot": {"backbone": "MobileCLIP2-S0", "levels": "zero-shot", "context_tokens": 0},
    "linear": {"backbone": "MobileCLIP2-S0", "levels": "linear", "fusion": "state-space"},
    "bundled": {**FIRST_SIX, "views": ("whole", "mosaic")},
    "bundled, VPT": {**FIRST_SIX, "adapters": VisualPrompts(tokens=8, first_block=5)},
    "bundled, CLIP-Adapter": {**FIRST_SIX, "adapters": ProjectionAdapter(dim=64)},
}


@pytest.mark.parametrize("model", MODELS)
def test_every_parameter_is_counted_once_and_every_block_has_a_line(model: str) -> None:
    found = summary_of(**MODELS[model])
    with torch.device("meta"):
        qclip = QClip(model_config(NetworkRecipe(**MODELS[model])), with_text=True)
    frozen = sum(p.numel() for name, p in qclip.named_parameters() if name.startswith(("tower.", "text.")))
    assert found.frozen_parameters == sum(part.frozen_parameters for part in found.parts) == frozen
    assert found.trained_parameters == sum(p.numel() for p in qclip.parameters()) - frozen
    assert found.trained_parameters == sum(part.trained_parameters for part in found.parts)
    assert len({(part.tower, part.name) for part in found.parts}) == len(found.parts)
    for name, tower, runs in (
        ("image", qclip.tower, qclip.last_block),
        ("text", qclip.text, qclip.text.blocks if qclip.text else 0),
    ):
        lines = lines_of(found, name)
        assert [int(part) for part in lines if part.isdecimal()] == list(range(1, runs + 1))
        assert all(part.gflops is not None and part.gflops > 0 for part in lines.values() if part.name.isdecimal())
        if tower is not None and runs < tower.blocks:
            assert lines[f"{runs + 1} to {tower.blocks}, not run"].frozen_parameters > 0


def test_a_block_costs_what_the_textbook_says() -> None:
    """ViT-B/16: four projections, two products of attention, an MLP of four times the width; 197 tokens of 768."""
    tokens, width = 197, 768
    expected = (8 * tokens * width**2 + 4 * tokens**2 * width + 16 * tokens * width**2) / 1e9
    lines = lines_of(summary_of(**FIRST_SIX), "image")
    assert [lines[str(n)].gflops for n in range(1, 7)] == pytest.approx([expected] * 6, rel=0.01)
    patches = 2 * 196 * width * 3 * 16**2 / 1e9
    assert lines["embed and the rest"].gflops == pytest.approx(patches, rel=0.01)
    two = summary_of(**FIRST_SIX | {"views": ("whole", "mosaic")})
    assert two.gflops_per_frame == pytest.approx(2 * (6 * expected + patches), rel=0.01)


def test_what_is_trained_costs_too() -> None:
    """Prompt tokens lengthen the sequence; an adapter is two matrices and its core."""
    tokens, width, plain = 197, 768, lines_of(summary_of(**FIRST_SIX), "image")["5"].gflops
    assert plain is not None
    adapter = SharedAdapter(share="core", dim=64, first_block=5)
    adapted = lines_of(summary_of(**FIRST_SIX, adapters=adapter), "image")
    cost = 2 * tokens * (2 * width * 64 + 2 * 64**2) / 1e9
    assert adapted["5"].gflops == pytest.approx(plain + cost, abs=1e-3)
    assert adapted["4"].gflops == plain
    prompted = lines_of(summary_of(**FIRST_SIX, adapters=VisualPrompts(tokens=50, first_block=5)), "image")
    longer = (24 * 247 * width**2 + 4 * 247**2 * width) / 1e9
    assert [prompted[n].gflops for n in ("4", "5")] == pytest.approx([plain, longer], rel=1e-3)


def test_the_bundled_model() -> None:
    card, trained = read_checkpoint(find_model(DEFAULT_MODEL))
    found = summarise(card.config)
    assert found.trained_parameters == sum(
        trained[f"head.{name}"].numel() for name in ("level_vectors", "level_bias", "directions")
    )
    assert found.gflops_per_frame > 10


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            {"backbone": "ViT-B-16-quickgelu", "adapters": PAPER},
            r'share = "all": needs blocks of one width; .* 768 wide',
        ),
        (
            {"backbone": PE, "adapters": SharedAdapter("core", 8, 25)},
            "first_block = 25: the image tower runs 24 blocks",
        ),
        ({**FIRST_SIX, "readout": Joint()}, "the bundled backbone has no joint space"),
        (
            {"backbone": "PE-Core-L-14-337"},
            "PE-Core-L-14-337: open_clip knows no such architecture; close to it are PE",
        ),
        ({"backbone": PE, "pretrained": "mta"}, "open_clip has no weights 'mta' for it; it has: meta"),
    ],
)
def test_what_cannot_be_built(network: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        summary_of(**network)
