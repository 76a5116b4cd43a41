"""Fixtures for training: a dozen tiny rated encodes, a tiny tower in place of the bundled one, a tiny Perception
Encoder in place of every open_clip backbone.

Test modules ask for them with `pytest_plugins = ["train_fixtures"]`.
"""

import csv
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import open_clip
import pytest
import torch
from safetensors.torch import save_file
from tiny_model import TINY_PE, random_qclip
from tiny_training import BACKBONE, BLUR, CONTENTS, FRAMES, quiet

from qclip_ffmpeg import backbone_open_clip, checkpoint
from qclip_ffmpeg.model import Joint, ModelConfig, Statistics
from qclip_ffmpeg.train import activations, config, evaluate, loop
from qclip_ffmpeg.train.clips import SamplingRecipe
from qclip_ffmpeg.train.labels import Clip

BACKBONE_FILE = "tiny-bundled.safetensors"


@pytest.fixture(scope="session")
def rated(media: Callable[..., Path]) -> Path:
    """labels.csv of twelve videos of 96x64 and four frames: six contents, each sharp and blurred."""
    rows = []
    for number, source in enumerate(CONTENTS):
        for name, sigma in BLUR.items():
            filters = f"gblur=sigma={sigma}"
            options = {"c": "ffv1", "pix_fmt": "yuv420p"}
            path = media(
                f"rated{number}-{name}.mkv", FRAMES / 10, (96, 64), 10, source=source, filters=filters, **options
            )
            rows.append((path.name, 80 - 20 * sigma + number, f"content{number}"))
    labels = path.with_name("labels.csv")
    with labels.open("w", newline="") as file:
        csv.writer(file).writerows([("file", "score", "content"), *rows])
    return labels


@pytest.fixture(scope="session")
def backbones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A weights folder with the tiny tower that stands in for the bundled one, and PE.safetensors, both at random."""
    folder = tmp_path_factory.mktemp("backbones")
    tower = random_qclip(ModelConfig(BACKBONE, ("whole",), Statistics((4,), ("class",)))).tower
    save_file(dict(tower.state_dict()), folder / BACKBONE_FILE)
    qclip = random_qclip(ModelConfig(TINY_PE, ("whole",), Joint(), levels="prompts"), with_text=True)
    assert qclip.text is not None
    both = {**qclip.tower.state_dict(), **qclip.text.state_dict()}
    save_file({name: tensor.contiguous() for name, tensor in both.items()}, folder / "PE.safetensors")
    return folder


remembered_tokenizer = functools.cache(open_clip.get_tokenizer)  # it reads its vocabulary at every call


@pytest.fixture
def tiny(backbones: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`backbone = "bundled"` is the tiny tower, every open_clip backbone the tiny Perception Encoder; their folder."""
    monkeypatch.setattr(config, "BUNDLED_TOWER", BACKBONE)
    monkeypatch.setattr(config, "BUNDLED_FILE", BACKBONE_FILE)
    monkeypatch.setattr(config, "WEIGHTS_DIR", backbones)
    monkeypatch.setattr(checkpoint, "WEIGHTS_DIR", backbones)

    def open_clip_config(architecture: str, pretrained: str | None = None) -> Any:
        return msgspec.structs.replace(TINY_PE, pretrained=pretrained)

    monkeypatch.setattr(backbone_open_clip, "open_clip_config", open_clip_config)
    monkeypatch.setattr(open_clip, "get_tokenizer", remembered_tokenizer)
    return backbones


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Tensors are so small here that threads wait for each other longer than they work."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training here."""
    monkeypatch.setattr(loop, "curves_png", quiet)
    monkeypatch.setattr(evaluate, "scatter_png", quiet)


DECODED: dict[Any, Any] = {}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the clips that activations are computed of. Each is decoded once for all tests."""
    names: list[str] = []
    decode = activations.views_of

    def views_of(clips: Sequence[Clip], sampling: SamplingRecipe, model: ModelConfig) -> Iterator[Any]:
        for clip in clips:
            names.append(clip.name)
            key = (clip.path, clip.path.stat().st_mtime_ns, clip.display_height_px, sampling, model.views)
            if (of_model := (*key, model.backbone.image_px)) not in DECODED:
                DECODED[of_model] = list(decode([clip], sampling, model))
            yield from DECODED[of_model]

    monkeypatch.setattr(activations, "views_of", views_of)
    return names
