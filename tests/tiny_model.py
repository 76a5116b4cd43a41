"""A tiny random model, built and written as a real one is: real code paths, no time."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import torch
from safetensors.torch import save_file

from qclip_ffmpeg.backbone import OpenClipConfig, TextSizes, TowerConfig, TrunkSizes
from qclip_ffmpeg.checkpoint import Card
from qclip_ffmpeg.model import ModelConfig, QClip, Statistics

TINY_TOWER_FILE = "tiny-tower.safetensors"
TINY_TOWER = TowerConfig(
    architecture="tiny",
    width=16,
    heads=2,
    patch_px=32,
    image_px=224,
    blocks=2,
    image_mean=(0.5, 0.4, 0.3),
    image_std=(0.25, 0.26, 0.27),
)
TINY_READOUT = Statistics(exit_blocks=(1, 2), statistics=("class", "mean", "std"))
TINY = ModelConfig(backbone=TINY_TOWER, views=("whole", "mosaic"), readout=TINY_READOUT)
TINY_PE = OpenClipConfig(  # both towers of a Perception Encoder
    architecture="PE-Core-T-16-384",
    image_px=48,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.5, 0.5, 0.5),
    joint_dim=32,
    trunk=TrunkSizes(img_size=48, patch_size=16, embed_dim=32, depth=4, num_heads=2, ref_feat_shape=(3, 3)),
    text=TextSizes(width=32, heads=2, layers=3),
)


def random_qclip(config: ModelConfig = TINY, seed: int = 0, with_text: bool = False) -> QClip:
    """A model with random tensors, the same ones for the same seed."""
    generator = torch.Generator().manual_seed(seed)
    qclip = QClip(config, with_text).eval().requires_grad_(False)
    for tensor in qclip.parameters():
        tensor.copy_(0.3 * torch.randn(tensor.shape, generator=generator))
    return qclip


def write_tower(folder: Path, qclip: QClip) -> str:
    """Write the tower file and return its sha256."""
    path = folder / TINY_TOWER_FILE
    save_file(dict(qclip.tower.state_dict()), path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def tiny_card(backbone_sha256: str, **changes: Any) -> Card:
    """The card of the tiny model."""
    card = Card(
        id="tiny",
        status="untrained",
        description="random numbers",
        config=TINY,
        backbone_file=TINY_TOWER_FILE,
        backbone_sha256=backbone_sha256,
        display="1920x1080",
        frames_per_window=2,
    )
    return msgspec.structs.replace(card, **changes)
