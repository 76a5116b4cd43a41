"""A model on disk: trained tensors and their configuration in one safetensors file, the frozen backbone in another.

A checkpoint is a `.safetensors` file whose metadata key "qclip" holds a `Card` as JSON. The backbone is named in the
card by file and sha256 and is never part of the checkpoint; it lies beside the checkpoint or comes with the package.
Everything is checked: keys, shapes, types, finite values, the backbone's hash. Nothing is ever unpickled.
"""

import hashlib
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec
import numpy as np
import torch
from msgspec import Struct
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save, save_file
from torch import Tensor

from qclip_ffmpeg.backbone import BackboneConfig, OpenClipConfig, TowerConfig
from qclip_ffmpeg.calibration import Calibration, NoiseBand, calibration_problem, noise_band_problem
from qclip_ffmpeg.domain import DOMAIN_PREFIX, Domain, DomainCard, domain_of
from qclip_ffmpeg.errors import ModelError, UsageError
from qclip_ffmpeg.files import replacing, write_atomically
from qclip_ffmpeg.heads import LEVELS
from qclip_ffmpeg.model import ModelConfig, QClip, Statistics
from qclip_ffmpeg.track import ModelStatus

WEIGHTS_DIR = Path(__file__).parent / "weights"
SUFFIX = ".safetensors"
CARD_KEY = "qclip"
LARGEST_CONTEXT_TOKENS = 64
LARGEST_IMAGE_PX = 1024
DEFAULT_MODEL = "qclip-vitb16"


class Card(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What a checkpoint says of itself."""

    format: Literal["qclip-model"] = "qclip-model"
    format_version: Literal[2, 3] = 3
    """2 had no calibration, no noise_band and no domain, and is read like any other card without them."""
    id: str
    status: ModelStatus
    description: str
    config: ModelConfig
    backbone_file: str
    """File that holds the frozen backbone, in the checkpoint's folder or the package's weights folder."""
    backbone_sha256: str
    """Of that file."""
    display: str
    """Display the model was trained at, "WIDTHxHEIGHT"."""
    frames_per_window: int
    """Default T."""
    score_map: tuple[float, float] = (1.0, 0.0)
    """(slope, offset): without a calibration, the score that is reported is slope * the model's raw score + offset."""
    score_range: tuple[float, float] = (0.0, 100.0)
    """What a score can be; scores outside are clipped to it."""
    calibration: Calibration | None = None
    """Map from raw score to 0..100 and the error that is left; in place of `score_map`."""
    noise_band: NoiseBand | None = None
    """What two encodes of one content may differ by and still be called equal."""
    domain: DomainCard | None = None
    """What the model knows; its tensors, `domain.*`, lie beside the trained ones."""

    def scores(self, raw: ArrayLike, clipped: bool = True) -> NDArray[np.float64]:
        """Raw scores of the model, of any shape, as they are reported; not clipped, their spread does not suffer."""
        limits = self.score_range if clipped else (-np.inf, np.inf)
        if self.calibration is not None:
            return self.calibration.map(raw, limits)
        slope, offset = self.score_map
        return np.clip(slope * np.asarray(raw, dtype=np.float64) + offset, *limits)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to score, float32 on the CPU, in evaluation mode."""

    qclip: QClip
    card: Card
    weights_sha256: str
    """Of the checkpoint file."""
    domain: Domain | None = None


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
    card, held = read_file(path)
    check_card(path.name, card)
    domain, trained = domain_of(path.name, card.domain, held)
    backbone_path = find_backbone(path, card)
    qclip = build(path.name, card.config)
    if foreign := [name for name in trained if name.startswith(("tower.", "text."))]:
        shown = foreign[0] if foreign[0].isprintable() else ascii(foreign[0])
        raise ModelError(f"{path.name}: has a tensor {shown}; the backbone is a file of its own")
    tensors = {f"tower.{k}": v for k, v in read_backbone(backbone_path, card.config.backbone).items()} | trained
    check_tensors(path.name, qclip.state_dict(), tensors)
    if "head.level_scores" in tensors and tuple(tensors["head.level_scores"].tolist()) != card.config.level_scores:
        raise ModelError(f"{path.name}: its tensor head.level_scores differs from its card")
    if isinstance(card.config.backbone, OpenClipConfig):  # it computes tables (positions, masks) that are in no file
        qclip = build(path.name, card.config, device="cpu")
    qclip.load_state_dict(tensors, strict=True, assign=True)
    if domain is not None and len(domain.mean) != qclip.feature_dim:
        raise ModelError(
            f"{path.name}: its domain is of {len(domain.mean)} features, the model has {qclip.feature_dim}"
        )
    return LoadedModel(qclip.eval().requires_grad_(False), card, sha256_of_file(path), domain)


def build(name: str, config: ModelConfig, with_text: bool = False, device: Literal["meta", "cpu"] = "meta") -> QClip:
    """A model without weights, of a configuration that may come from a stranger.

    On "meta" it has shapes only: sizes that somebody made up take no memory.

    Raises:
        ModelError: its parts do not fit each other.
    """
    try:
        with torch.device(device):
            return QClip(config, with_text)
    except (UsageError, ModelError, ValueError, RuntimeError, AssertionError, ArithmeticError) as error:
        reason = str(error).partition("\n")[0]
        raise ModelError(f"{name}: its configuration cannot be built: {reason}") from None


def find_backbone(checkpoint: Path, card: Card) -> Path:
    """The file that holds the backbone of a checkpoint.

    Raises:
        ModelError: it is not there, or it is another one.
    """
    name = card.backbone_file
    places = [folder / name for folder in (checkpoint.parent, WEIGHTS_DIR)]
    found = next((place for place in places if Path(name).name == name and place.is_file()), None)
    if found is None:
        backbone = card.config.backbone
        pretrained = backbone.pretrained if isinstance(backbone, OpenClipConfig) else None
        raise ModelError(
            f"{checkpoint.name}: needs the backbone {name}, which is neither beside it nor installed; "
            + (
                f"make it with: qclip-model backbone {backbone.architecture} --pretrained {pretrained} -o {name}"
                if pretrained
                else "put it there, or reinstall qclip-ffmpeg"
            )
        )
    if sha256_of_file(found) != card.backbone_sha256:
        raise ModelError(f"{found.name}: is not the backbone that {checkpoint.name} was trained on (sha256 differs)")
    return found


def save_checkpoint(path: Path, card: Card, trained: dict[str, Tensor]) -> None:
    """Write a checkpoint.

    Args:
        path: where to.
        card: of the model.
        trained: the tensors of QClip apart from its towers (`QClip.trained_tensors`), and, where the card has a domain,
            those of `Domain.tensors`.
    """
    tensors = {name: tensor.detach().float().cpu().contiguous() for name, tensor in trained.items()}
    write_atomically(path, save(tensors, metadata={CARD_KEY: msgspec.json.encode(card).decode()}))


def write_tensors(path: Path, tensors: dict[str, Tensor]) -> None:
    """Write tensors as they are; the file appears whole or not at all.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        with replacing(path.absolute()) as temporary:
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary)
    except (OSError, SafetensorError) as error:
        raise UsageError(f"{path}: cannot be written ({error}); choose another place") from None


def save_backbone(path: Path, config: OpenClipConfig) -> str:
    """Fetch the weights of both towers from where open_clip has them, write them, and return the file's sha256.

    Raises:
        UsageError: the file cannot be written, or is not named like one of ours.
        ModelError: the weights cannot be had.
    """
    from qclip_ffmpeg.backbone_open_clip import backbone_weights

    if path.suffix != SUFFIX:
        raise UsageError(f"{path}: give a name that ends with {SUFFIX}")
    write_tensors(path, backbone_weights(config))
    return sha256_of_file(path)


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
    """The card and the trained tensors of a checkpoint file, without its domain."""
    card, held = read_file(path)
    return card, {name: tensor for name, tensor in held.items() if not name.startswith(DOMAIN_PREFIX)}


def read_file(path: Path) -> tuple[Card, dict[str, Tensor]]:
    """The card and all tensors of a checkpoint file."""
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
    config, backbone, readout = card.config, card.config.backbone, card.config.readout
    exits = readout.exit_blocks if isinstance(readout, Statistics) else (1,)
    statistics = readout.statistics if isinstance(readout, Statistics) else ("class",)
    low, high = card.score_range
    for fits, said in (
        (
            not isinstance(backbone, TowerConfig) or backbone.width % backbone.heads == 0,
            "a width that is no multiple of heads",
        ),
        (not isinstance(backbone, TowerConfig) or 2 * backbone.patch_px <= backbone.image_px, "too few patches"),
        (all(s > 0 for s in backbone.image_std), "an image_std that is not positive"),
        (max(map(len, (exits, statistics))) <= 64, "endless lists"),
        (len(set(config.views)) == len(config.views), "a view twice"),
        (backbone.image_px <= LARGEST_IMAGE_PX, "pictures larger than any tower's"),
        (exits and all(n >= 1 for n in exits), "exit_blocks not built"),
        (sorted(set(exits)) == list(exits), "exit_blocks out of order"),
        (not isinstance(backbone, TowerConfig) or max(exits, default=1) <= backbone.blocks, "exit_blocks not built"),
        (config.views and statistics, "no views or no statistics"),
        (
            len(config.level_scores) == len(LEVELS) and all(0 <= s <= 100 for s in config.level_scores),
            "wrong level_scores",
        ),
        (0 <= config.context_tokens <= LARGEST_CONTEXT_TOKENS, "context_tokens out of 0..64"),
        (1 <= card.frames_per_window <= 64, "frames_per_window out of 1..64"),
        (math.isfinite(low) and math.isfinite(high) and low < high, "an empty score_range"),
        (all(map(math.isfinite, card.score_map)) and card.score_map[0] > 0, "a score_map that does not rise"),
    ):
        if not fits:
            raise ModelError(f"{name}: its model card makes no sense ({said})")
    for problem in (
        calibration_problem(card.calibration, card.score_range) if card.calibration else None,
        "a score_map beside a calibration" if card.calibration and card.score_map != (1.0, 0.0) else None,
        noise_band_problem(card.noise_band, card.score_range) if card.noise_band else None,
    ):
        if problem is not None:
            raise ModelError(f"{name}: its model card makes no sense ({problem})")


def read_backbone(path: Path, config: BackboneConfig, tower: Literal["image", "text"] = "image") -> dict[str, Tensor]:
    """Tensors of one tower of a backbone file in float32, of a `TowerConfig` those of its blocks only.

    `NAME.int8` with `NAME.scale` is a matrix in 8 bits with one scale an output row.

    Raises:
        ModelError: it is not such a file.
    """
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            for key in file.keys():
                if not is_wanted(key, config, tower):
                    continue
                if key.endswith(".int8"):
                    name = key.removesuffix(".int8")
                    matrix, scale = file.get_tensor(key), file.get_tensor(f"{name}.scale")
                    if matrix.dim() != 2 or scale.shape != matrix.shape[:1]:
                        raise ModelError(f"{path.name}: {name}.scale does not fit {key}")
                    tensors[name] = matrix.float() * scale.unsqueeze(1)
                elif not key.endswith(".scale"):
                    tensors[key] = file.get_tensor(key).float()
    except (SafetensorError, OSError) as error:
        raise ModelError(f"{path.name}: is not a backbone, or is damaged ({error})") from None
    return tensors


def is_wanted(key: str, config: BackboneConfig, tower: Literal["image", "text"]) -> bool:
    """Whether a backbone's tensor belongs to a tower that is built."""
    parts = key.split(".")
    if isinstance(config, TowerConfig):
        numbered = parts[:2] == ["transformer", "resblocks"] and len(parts) > 2 and parts[2].isdecimal()
        return not numbered or int(parts[2]) < config.blocks
    return parts[0] == ("visual" if tower == "image" else "text")


def check_tensors(name: str, expected: dict[str, Tensor], given: dict[str, Tensor]) -> None:
    """Raises ModelError naming the first tensor that is missing, unknown, of another shape or type, or not finite."""
    for key in sorted(expected.keys() | given.keys()):
        if key not in given:
            raise ModelError(f"{name}: the tensor {key} is missing")
        if key not in expected:
            shown = key if key.isprintable() else ascii(key)
            raise ModelError(f"{name}: has a tensor {shown} that its configuration does not know")
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
