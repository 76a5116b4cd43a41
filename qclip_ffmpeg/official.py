"""Import of checkpoints that the authors' code writes: `official.pth` -> our checkpoint and its backbone file.

Their file is a pickle {"state_dict", "validation_results"} that holds the frozen Perception Encoder several times over
and adapters for blocks that never use them. It is read with weights only, so that no code in it can run. What was
trained becomes a checkpoint of a few MB; the backbone becomes a file beside it.
"""

import pickletools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import msgspec
import torch
from torch import Tensor

from qclip_ffmpeg.adapters import SharedAdapter
from qclip_ffmpeg.backbone import OpenClipConfig, TextSizes, TrunkSizes
from qclip_ffmpeg.checkpoint import (
    SUFFIX,
    Card,
    build,
    check_card,
    check_tensors,
    save_checkpoint,
    sha256_of_file,
    write_tensors,
)
from qclip_ffmpeg.errors import ModelError, UsageError
from qclip_ffmpeg.heads import LEVELS
from qclip_ffmpeg.model import Joint, ModelConfig, level_prompts
from qclip_ffmpeg.scorer import reproducible

ARCHITECTURE = "PE-Core-L-14-336"
FIRST_BLOCK = 19  # their start block 18, counted from 0
FRAMES_PER_WINDOW = 8
PREFIX = "clip_model."
PICKLED = re.compile(
    r"collections OrderedDict|torch [A-Za-z0-9]+Storage|torch\.storage UntypedStorage"
    r"|torch\._utils _rebuild_(tensor_v2|parameter)"
)
VISUAL = PREFIX + "visual."
SCALARS = {  # theirs -> ours
    "image_adapter_weight": "adapters.image_scale",
    "text_adapter_weight": "adapters.text_scale",
    "image_proj_adapter_weight": "adapters.image_projection_scale",
    "text_proj_adapter_weight": "adapters.text_projection_scale",
}
PARTS = {"down_proj": "down", "up_proj": "up", "ln": "ln"}
REPEATED = {"vit.": VISUAL, "text_encoder.": PREFIX + "transformer."}  # second names of a module, and the first


def import_official(
    source: Path,
    out: Path,
    rope_cls: Literal["last", "first"] = "last",
    first_block: int = FIRST_BLOCK,
    heads: int | None = None,
) -> tuple[Path, Path]:
    """Write a checkpoint `out` and its backbone beside it from a checkpoint of the authors' code.

    Args:
        source: their .pth file.
        out: NAME.safetensors; the backbone becomes NAME.backbone.safetensors.
        rope_cls: row of the class token in the rotation table; "last" is what the released code trains with.
        first_block: block, counted from 1, after which the first adapter stands. Their file does not say it.
        heads: attention heads, only for towers that are not of PE-Core-L-14-336's size. Their file does not say it.

    Returns:
        The two files.

    Raises:
        UsageError: the file is missing, or `out` is no safetensors name.
        ModelError: the file is damaged, foreign, or not of this architecture.
    """
    if out.suffix != SUFFIX:
        raise UsageError(f"{out}: give a name that ends with {SUFFIX}")
    name = source.name
    theirs = read_official(source)
    config = config_of(name, theirs, rope_cls, first_block, heads)
    blocks, width = count(theirs, VISUAL + "transformer.resblocks."), theirs[VISUAL + "conv1.weight"].shape[0]
    check_keys(name, theirs, blocks)
    towers = towers_of(name, theirs)
    trained = {ours: require(name, theirs, key) for key, ours in trained_names(first_block, blocks, width)}
    trained["context"], trained["head.score_vector"] = trained["context"][0], trained["head.score_vector"].flatten()
    trained["head.text_features"] = torch.zeros(len(LEVELS), require(name, theirs, VISUAL + "proj", 2).shape[1])
    given = trained | {
        f"tower.{key}" if key.startswith("visual.") else f"text.{key}": tensor for key, tensor in towers.items()
    }
    check_tensors(name, build(name, config, with_text=True).state_dict(), given)
    check_first_block(name, trained, first_block)
    qclip = build(name, config, with_text=True, device="cpu").eval().requires_grad_(False)
    qclip.load_state_dict(given, strict=True, assign=True)
    assert qclip.text is not None
    ids = qclip.text.token_ids(level_prompts(config.context_tokens))
    check_prompts(name, theirs, qclip.text.token_embeddings(ids), config.context_tokens)
    with reproducible(torch.device("cpu")), torch.inference_mode():  # the same digits on any number of cores
        trained["head.text_features"] = qclip.text_features(ids)
    backbone_path = backbone_path_of(out)
    bound = float(trained["head.score_vector"].abs().sum())  # similarities are cosines
    card = Card(
        id=out.stem,
        status="trained",
        description=f"Imported from {name}, a checkpoint of the authors' code. Raw scores, not calibrated.",
        config=config,
        backbone_file=backbone_path.name,
        backbone_sha256="",
        display="1920x1080",
        frames_per_window=FRAMES_PER_WINDOW,
        score_range=(-bound, bound),
    )
    check_card(name, card)
    write_tensors(backbone_path, towers)
    card = msgspec.structs.replace(card, backbone_sha256=sha256_of_file(backbone_path))
    save_checkpoint(out, card, trained)
    return out, backbone_path


def backbone_path_of(out: Path) -> Path:
    """Where the backbone of an imported checkpoint goes."""
    return out.with_name(f"{out.stem}.backbone{SUFFIX}")


def read_official(path: Path) -> dict[str, Tensor]:
    """The tensors of their file, float32, read without running anything that is in it."""
    if not path.is_file():
        raise UsageError(f"{path}: no such file; give a .pth checkpoint of the authors' code")
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged file makes of the reader
        reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
        raise ModelError(
            f"{path.name}: is not a checkpoint with weights only, or is damaged ({reason}); it was not opened further, "
            "since other pickles can run code"
        ) from None
    state = content.get("state_dict") if isinstance(content, dict) else None
    if not isinstance(state, dict) or not state:
        raise ModelError(f'{path.name}: is not a checkpoint of the authors\' code (no "state_dict" of tensors)')
    for key, tensor in state.items():
        if not isinstance(key, str) or not key.isprintable() or not is_plain(tensor):
            raise ModelError(f"{path.name}: {key!a:.100} in its state_dict is not a tensor of floating point numbers")
    return {key.removeprefix("module."): tensor.detach().float() for key, tensor in state.items()}


def check_archive(path: Path) -> None:
    """Raises ValueError where reading the file could take more memory than its size.

    torch.save writes a zip archive of stored entries; its pickle names tensors and dictionaries and nothing else.
    """
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("it has compressed entries, which torch.save does not write")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("its entries are larger than the file")
        for entry in entries:
            if not entry.filename.endswith(".pkl"):
                continue
            for opcode, argument, _ in pickletools.genops(archive.read(entry)):
                if opcode.name in ("STACK_GLOBAL", "INST") or (
                    opcode.name == "GLOBAL" and not PICKLED.fullmatch(str(argument))
                ):
                    raise ValueError(f"its pickle asks for {argument or 'something by name'}")


def is_plain(value: object) -> bool:
    """Whether a value is a dense tensor of real numbers that are all in the file, and not one that is repeated."""
    return (
        isinstance(value, Tensor)
        and value.is_floating_point()
        and value.layout == torch.strided
        and value.device.type == "cpu"
        and value.numel() * value.element_size() <= value.untyped_storage().nbytes()
    )


def config_of(
    name: str, theirs: dict[str, Tensor], rope_cls: Literal["last", "first"], first_block: int, heads: int | None
) -> ModelConfig:
    """The model's configuration, read off the shapes."""
    backbone = backbone_of(name, theirs, rope_cls, heads)
    blocks = count(theirs, VISUAL + "transformer.resblocks.")
    if not 1 <= first_block <= blocks:
        raise UsageError(f"{name}: has {blocks} blocks; the first adapted one cannot be {first_block}")
    config = ModelConfig(
        backbone=backbone,
        views=("whole",),
        readout=Joint(),
        adapters=SharedAdapter(
            share="core",
            dim=require(name, theirs, "shared_core.0.weight", 2).shape[0],
            first_block=first_block,
            projection=True,
        ),
        levels="prompts",
        context_tokens=require(name, theirs, "context_tokens", 3).shape[1],
    )
    try:
        return msgspec.convert(msgspec.to_builtins(config), ModelConfig)
    except msgspec.ValidationError as error:
        raise ModelError(f"{name}: its sizes make no sense: {error}") from None


def backbone_of(
    name: str, theirs: dict[str, Tensor], rope_cls: Literal["last", "first"], heads: int | None
) -> OpenClipConfig:
    """The backbone's configuration, read off the shapes."""
    from qclip_ffmpeg.backbone_open_clip import architecture_of, open_clip_config

    published = open_clip_config(ARCHITECTURE)
    cfg = architecture_of(ARCHITECTURE)["text_cfg"]
    patches = require(name, theirs, VISUAL + "positional_embedding", 2).shape[0] - 1
    width, _, patch_px, _ = require(name, theirs, VISUAL + "conv1.weight", 4).shape
    grid = round(max(patches, 0) ** 0.5)
    joint_dim = require(name, theirs, VISUAL + "proj", 2).shape[1]
    depth = count(theirs, VISUAL + "transformer.resblocks.")
    text_width = require(name, theirs, PREFIX + "positional_embedding", 2).shape[1]
    text_layers = count(theirs, PREFIX + "transformer.resblocks.")
    if (width, patch_px, depth, grid * patch_px) == (1024, 14, 24, 336) and (text_width, text_layers) == (
        cfg["width"],
        cfg["layers"],
    ):
        return msgspec.structs.replace(published, rope_cls=rope_cls)
    if heads is None:
        raise UsageError(
            f"{name}: its towers ({width} wide, {depth} blocks, patches of {patch_px} px) are not those of "
            f"{ARCHITECTURE}; say how many attention heads they have with --heads"
        )
    return OpenClipConfig(
        architecture=ARCHITECTURE,
        image_px=grid * patch_px,
        image_mean=published.image_mean,
        image_std=published.image_std,
        rope_cls=rope_cls,
        joint_dim=joint_dim,
        trunk=TrunkSizes(
            img_size=grid * patch_px,
            patch_size=patch_px,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            ref_feat_shape=(grid, grid),
        ),
        text=TextSizes(width=text_width, heads=heads, layers=text_layers),
    )


def trained_names(first_block: int, blocks: int, width: int) -> Iterator[tuple[str, str]]:
    """(their name, ours) of what was trained and is used: not the adapters of blocks before the first adapted one."""
    yield from SCALARS.items()
    yield "context_tokens", "context"
    yield "score_proj", "head.score_vector"
    for kind in ("weight", "bias"):
        yield from ((f"shared_core.{i}.{kind}", f"adapters.core.{i}.{kind}") for i in (0, 2))
        yield from ((f"proj_adapter.{i}.{kind}", f"adapters.projections.width{width}.{i}.{kind}") for i in (0, 1, 3))
        for place, block in enumerate(range(first_block - 1, blocks)):
            for part, ours in PARTS.items():
                yield (
                    f"encoder_adapters.{block}.{part}.{kind}",
                    f"adapters.bottlenecks.{place}_width{width}.{ours}.{kind}",
                )


def check_keys(name: str, theirs: dict[str, Tensor], blocks: int) -> None:
    """Raises ModelError where it has a tensor that the released code does not have, or two that should be one."""
    known = {key for key, _ in trained_names(1, blocks, 1)} | {"prompt_prefix", "prompt_suffix"}
    for key, tensor in theirs.items():
        once = next((key.replace(again, first, 1) for again, first in REPEATED.items() if key.startswith(again)), None)
        if once is not None:
            first = require(name, theirs, once)
            if tensor.shape != first.shape or not torch.equal(tensor.nan_to_num(), first.nan_to_num()):
                raise ModelError(f"{name}: {key} and {once} differ; in the released code they are one")
        elif key not in known and not key.startswith(PREFIX):
            raise ModelError(f"{name}: has a tensor {key} that the released code does not have")


def check_first_block(name: str, trained: dict[str, Tensor], first_block: int) -> None:
    """Raises UsageError where the first adapter is as it was before training: it was never used, nothing moved it."""
    ln = next(key.removesuffix("weight") for key in trained if ".bottlenecks.0_" in key and key.endswith(".ln.weight"))
    if bool((trained[ln + "weight"] == 1).all()) and not bool(trained[ln + "bias"].any()):
        raise UsageError(f"{name}: the adapter of block {first_block} was never trained; say a later --first-block")


def towers_of(name: str, theirs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Both frozen towers under our names: "visual.*" and "text.*"."""
    from qclip_ffmpeg.backbone_open_clip import perception_encoder_to_timm

    require(name, theirs, VISUAL + "class_embedding", 1)
    visual = {key.removeprefix(VISUAL): tensor for key, tensor in theirs.items() if key.startswith(VISUAL)}
    text = {
        key.removeprefix(PREFIX): tensor
        for key, tensor in theirs.items()
        if key.startswith(PREFIX) and not key.startswith(VISUAL) and key != PREFIX + "logit_scale"
    }
    towers = {f"visual.{key}": tensor for key, tensor in perception_encoder_to_timm(name, visual).items()}
    return each_its_own(towers | {f"text.{key}": tensor for key, tensor in text.items()})


def each_its_own(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of which no two share memory, which cannot be written."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor.contiguous()
        seen.add(place)
    return apart


def check_prompts(name: str, theirs: dict[str, Tensor], embedded: Tensor, context_tokens: int) -> None:
    """Raises ModelError where its prompts are not the five level prompts: embedded is (5, N, W)."""
    prefix, suffix = require(name, theirs, "prompt_prefix"), require(name, theirs, "prompt_suffix")
    ours = embedded[:, :1], embedded[:, 1 + context_tokens :]
    if not all(a.shape == b.shape and torch.equal(a, b) for a, b in zip((prefix, suffix), ours, strict=True)):
        raise ModelError(f'{name}: was trained with other prompts than "{level_prompts(context_tokens)[0]}" and so on')


def count(theirs: dict[str, Tensor], prefix: str) -> int:
    """Blocks under a prefix."""
    return len({key.removeprefix(prefix).split(".")[0] for key in theirs if key.startswith(prefix)})


def require(name: str, theirs: dict[str, Tensor], key: str, dimensions: int | None = None) -> Tensor:
    """A tensor of theirs, which must be there, and have as many dimensions."""
    if key not in theirs:
        raise ModelError(f"{name}: is not a Q-CLIP checkpoint of the authors' code: the tensor {key} is missing")
    tensor = theirs[key]
    if tensor.numel() == 0 or (dimensions is not None and tensor.dim() != dimensions):
        raise ModelError(f"{name}: is not a Q-CLIP checkpoint: {key} is of size {tuple(tensor.shape)}")
    return tensor
