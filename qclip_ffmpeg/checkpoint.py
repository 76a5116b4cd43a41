"""A model on disk: trained tensors and their configuration in one safetensors file, the frozen tower in another.

A checkpoint is a `.safetensors` file whose metadata key "qclip" holds a `Card` as JSON. The tower is named in the card
by file and sha256 and is never part of the checkpoint. Everything is checked: keys, shapes, types, finite values, the
tower's hash. Nothing is ever unpickled.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import torch
from msgspec import Struct
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from qclip_ffmpeg.errors import ModelError, UsageError
from qclip_ffmpeg.model import LEVELS, ModelConfig, QClip
from qclip_ffmpeg.track import ModelStatus

WEIGHTS_DIR = Path(__file__).parent / "weights"
SUFFIX = ".safetensors"
CARD_KEY = "qclip"
LARGEST_TOWER = 8192  # width and image_px; 64 times the blocks
DEFAULT_MODEL = "qclip-vitb16-provisional"


class Card(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a checkpoint says of itself."""

    format: Literal["qclip-model"] = "qclip-model"
    format_version: Literal[1] = 1
    id: str
    status: ModelStatus
    description: str
    config: ModelConfig
    tower_file: str
    """File in the weights folder that holds the frozen tower."""
    tower_sha256: str
    display: str
    """Display the model was trained at, "WIDTHxHEIGHT"."""
    frames_per_window: int
    """Default T."""
    calibration: str | None = None


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to score, float32 on the CPU, in evaluation mode."""

    qclip: QClip
    card: Card
    weights_sha256: str
    """Of the checkpoint file."""


def bundled_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(p.name.removesuffix(SUFFIX) for p in WEIGHTS_DIR.glob(f"qclip-*{SUFFIX}"))


def load_model(name_or_path: str = DEFAULT_MODEL) -> LoadedModel:
    """Load a bundled model by name or a checkpoint by path.

    Raises:
        UsageError: no such model or file.
        ModelError: the file is damaged, foreign, or does not fit its configuration.
    """
    path = find_model(name_or_path)
    card, trained = read_checkpoint(path)
    check_card(path.name, card)
    tower_path = WEIGHTS_DIR / card.tower_file
    if Path(card.tower_file).name != card.tower_file or not tower_path.is_file():
        raise ModelError(
            f"{path.name}: needs the image tower {card.tower_file}, which is not installed; reinstall qclip-ffmpeg"
        )
    if sha256_of_file(tower_path) != card.tower_sha256:
        raise ModelError(f"{tower_path.name}: is not the image tower that {path.name} was trained on (sha256 differs)")
    with torch.device("meta"):
        qclip = QClip(card.config)
    if foreign := [name for name in trained if name.startswith("tower.")]:
        raise ModelError(f"{path.name}: has a tensor {foreign[0]}; the tower is a file of its own")
    tensors = {f"tower.{k}": v for k, v in read_tower(tower_path, card.config.tower.blocks).items()} | trained
    check_tensors(path.name, qclip.state_dict(), tensors)
    if tuple(tensors["head.level_scores"].tolist()) != card.config.level_scores:
        raise ModelError(f"{path.name}: its tensor head.level_scores differs from its card")
    qclip.load_state_dict(tensors, strict=True, assign=True)
    return LoadedModel(qclip.eval().requires_grad_(False), card, sha256_of_file(path))


def save_checkpoint(path: Path, card: Card, head: dict[str, Tensor]) -> None:
    """Write a checkpoint: `head` holds the tensors of QClip apart from its tower, float32."""
    tensors = {name: tensor.detach().float().contiguous() for name, tensor in head.items()}
    path.write_bytes(save(tensors, metadata={CARD_KEY: msgspec.json.encode(card).decode()}))


def find_model(name_or_path: str) -> Path:
    """The checkpoint file of a bundled model's name or of a path; UsageError names the models there are."""
    if name_or_path in bundled_models():
        return WEIGHTS_DIR / (name_or_path + SUFFIX)
    path = Path(name_or_path)
    if path.is_file():
        return path
    known = ", ".join(bundled_models())
    if path.suffix or len(path.parts) > 1:
        raise UsageError(f"--model {name_or_path}: no such file; give a checkpoint (*{SUFFIX}) or one of: {known}")
    raise UsageError(f"--model {name_or_path}: no such model; there are: {known}; or give the path of a checkpoint")


def read_checkpoint(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """The card and the trained tensors of a checkpoint file."""
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, OSError) as error:
        raise ModelError(
            f"{path.name}: is not a safetensors file, or is damaged ({error}); "
            "other formats are not opened, since reading them can run code"
        ) from None
    if CARD_KEY not in metadata:
        raise ModelError(f'{path.name}: holds tensors but is not a Q-CLIP checkpoint (no "{CARD_KEY}" in its metadata)')
    try:
        return msgspec.json.decode(metadata[CARD_KEY], type=Card), tensors
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise ModelError(f"{path.name}: its model card cannot be read: {error}") from None


def check_card(name: str, card: Card) -> None:
    """Raises ModelError where a configuration cannot be run, whatever its tensors."""
    config, tower = card.config, card.config.tower
    for fits, said in (
        (max(tower.width, tower.image_px, tower.blocks * 64) <= LARGEST_TOWER, "a tower larger than any"),
        (max(map(len, (config.exit_blocks, config.views, config.statistics))) <= 64, "endless lists"),
        (min(tower.width, tower.heads, tower.patch_px, tower.blocks) >= 1, "sizes below 1"),
        (tower.heads >= 1 and tower.width % tower.heads == 0, "a width that is no multiple of heads"),
        (all(s > 0 for s in tower.image_std), "an image_std that is not positive"),
        (config.exit_blocks and all(1 <= b <= tower.blocks for b in config.exit_blocks), "exit_blocks not built"),
        (config.views and config.statistics, "no views or no statistics"),
        (
            len(config.level_scores) == len(LEVELS) and all(0 <= s <= 100 for s in config.level_scores),
            "wrong level_scores",
        ),
        (1 <= card.frames_per_window <= 64, "frames_per_window out of 1..64"),
    ):
        if not fits:
            raise ModelError(f"{name}: its model card makes no sense ({said})")


def read_tower(path: Path, blocks: int) -> dict[str, Tensor]:
    """Tensors of the first `blocks` blocks of a tower file in float32.

    `NAME.int8` with `NAME.scale` is a matrix in 8 bits with one scale an output row.
    """
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():
                parts = key.split(".")
                if parts[0] == "transformer" and int(parts[2]) >= blocks:
                    continue
                if key.endswith(".int8"):
                    name = key.removesuffix(".int8")
                    tensors[name] = file.get_tensor(key).float() * file.get_tensor(f"{name}.scale").unsqueeze(1)
                elif not key.endswith(".scale"):
                    tensors[key] = file.get_tensor(key).float()
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name}: is not an image tower, or is damaged ({error})") from None
    return tensors


def check_tensors(name: str, expected: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Raises ModelError naming the first tensor that is missing, unknown, of another shape or type, or not finite."""
    for key in sorted(expected.keys() | given.keys()):
        if key not in given:
            raise ModelError(f"{name}: the tensor {key} is missing")
        if key not in expected:
            raise ModelError(f"{name}: has a tensor {key} that its configuration does not know")
        if given[key].shape != expected[key].shape:
            raise ModelError(
                f"{name}: {key} is {tuple(given[key].shape)}, its configuration needs {tuple(expected[key].shape)}"
            )
        if given[key].dtype != torch.float32:
            raise ModelError(f"{name}: {key} is {given[key].dtype}, not float32")
        if not bool(torch.isfinite(given[key]).all()):
            raise ModelError(f"{name}: {key} has values that are not finite")


def sha256_of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
