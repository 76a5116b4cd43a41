"""open_clip's towers, taken apart block by block, compute what they do whole; nothing is ever downloaded."""

import os
import subprocess
import sys
from typing import Any

import msgspec
import open_clip
import pytest
import torch
from tiny_model import TINY_PE
from torch import Tensor, nn

from qclip_ffmpeg.backbone import OpenClipConfig, TextSizes, Tower, TrunkSizes, image_tower, text_sizes, text_tower
from qclip_ffmpeg.backbone_open_clip import backbone_weights, open_clip_config
from qclip_ffmpeg.checkpoint import read_backbone, write_tensors
from qclip_ffmpeg.errors import ModelError, UsageError

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

replace = msgspec.structs.replace
SMALL_TEXT = TextSizes(width=64, heads=2, layers=2)
ARCHITECTURES = {
    # class, blocks, width after each, tokens in front, P, J, rotations
    "ViT-B-32": ("OpenClipViTTower", 12, {768}, 1, 768, 512, False),
    "PE-Core-T-16-384": ("EvaTower", 12, {192}, 1, 192, 512, True),
    "ViT-B-16-SigLIP2": ("TimmViTTower", 12, {768}, 0, 768, 768, False),
    "MobileCLIP2-S0": ("FastViTTower", 20, {64, 128, 256, 512}, 0, 1024, 512, False),
    "MobileCLIP-B": ("TimmViTTower", 12, {768}, 1, 768, 512, False),
    "EVA02-B-16": ("EvaTower", 12, {768}, 1, 768, 512, True),
    "ViTamin-S": ("TimmViTTower", 14, {384}, 0, 384, 384, False),
}
SMALLER = {
    "ViT-B-16-SigLIP2": TrunkSizes(depth=3),
    "MobileCLIP-B": TrunkSizes(depth=2),
    "EVA02-B-16": TrunkSizes(depth=2),
}


def smaller(architecture: str) -> OpenClipConfig:
    """The configuration of an architecture with fewer blocks, where that is possible."""
    config = open_clip_config(architecture)
    return replace(config, trunk=SMALLER.get(architecture, TrunkSizes()), text=SMALL_TEXT)


def perturbed(module: Any, seed: int = 0) -> Any:
    """Weights and running statistics that are nowhere 0 or 1, so that every one of them counts."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            if tensor.is_floating_point() and tensor.isfinite().all():
                tensor += 0.05 * torch.rand(tensor.shape, generator=generator)
    return module.eval()


def whole_way(tower: Tower, x: Tensor) -> list[Tensor]:
    """Tokens after each block."""
    x = tower.embed(x)
    after = []
    for number in range(1, tower.blocks + 1):
        x = tower.block(number, x)
        after.append(x)
    return after


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_image_tower_taken_apart_is_open_clips(architecture: str) -> None:
    config = smaller(architecture)
    tower = perturbed(image_tower(config))
    images = torch.randn(2, 3, config.image_px, config.image_px, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        after = whole_way(tower, images)
        pooled = tower.pool(after[-1])
        joint = tower.project(pooled)
        visual = tower.visual
        expected = visual.head(visual.trunk(images)) if hasattr(visual, "trunk") else visual(images)
    torch.testing.assert_close(joint, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-2
    assert tuple(x.shape[-1] for x in after) == tower.widths
    assert (pooled.shape, joint.shape) == ((2, tower.pooled_dim), (2, tower.joint_dim))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_what_a_tower_says_of_itself(architecture: str) -> None:
    with torch.device("meta"):
        tower = image_tower(open_clip_config(architecture))
    said = (type(tower).__name__, tower.blocks, set(tower.widths), tower.prefix_tokens, tower.pooled_dim)
    assert (*said, tower.joint_dim, tower.rotary) == ARCHITECTURES[architecture]


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_an_unchanged_architecture_is_open_clips_own(architecture: str) -> None:
    """The same parameters under the same names: a backbone file fits both."""
    with torch.device("meta"):
        cfg = open_clip.get_model_config(architecture)
        model = open_clip.CustomTextCLIP(**{k: v for k, v in cfg.items() if k != "custom_text"})
        config = open_clip_config(architecture)
        towers = (image_tower(config), text_tower(config))
    theirs = {k: t.shape for k, t in model.state_dict().items() if k.startswith(("visual.", "text."))}
    assert {k: t.shape for tower in towers for k, t in tower.state_dict().items()} == theirs


def test_sizes_change_nothing_but_sizes() -> None:
    """A tower whose sizes are all stated as they are is the one that open_clip builds."""
    config = open_clip_config("PE-Core-T-16-384")
    sizes = TrunkSizes(img_size=384, patch_size=16, embed_dim=192, depth=12, num_heads=3, ref_feat_shape=(24, 24))
    plain, stated = (perturbed(image_tower(c)) for c in (config, replace(config, trunk=sizes)))
    stated.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 384, 384)
    with torch.inference_mode():
        assert torch.equal(stated.trunk(images), plain.trunk(images))


@pytest.mark.parametrize("architecture", ["PE-Core-T-16-384", "ViT-B-16-SigLIP2", "MobileCLIP2-S0", "ViT-B-32"])
def test_a_text_tower_taken_apart_is_open_clips(architecture: str) -> None:
    config = smaller(architecture)
    tower = text_tower(config)
    assert tower is not None
    perturbed(tower)
    ids = torch.zeros(3, tower.text.context_length, dtype=torch.int64)  # token ids are given: tokenisers may be missing
    for row, length in enumerate((5, 12, ids.shape[1])):
        ids[row, : length - 1] = torch.randint(1, 400, (length - 1,), generator=torch.Generator().manual_seed(row))
        ids[row, length - 1] = tower.text.vocab_size - 1  # the end, the highest number
    with torch.inference_mode():
        after = whole_way(tower, tower.token_embeddings(ids))
        pooled = tower.pool_prompts(after[-1], ids)
        joint = tower.project(pooled)
        expected = tower.text(ids)
    torch.testing.assert_close(joint, expected, atol=1e-5, rtol=1e-5)
    assert expected.std(dim=0).max() > 1e-2, "the prompts differ"
    assert (pooled.shape, joint.shape) == ((3, tower.pooled_dim), (3, tower.joint_dim))
    assert text_sizes(config) == (tower.widths, tower.pooled_dim)


def test_the_last_row_of_the_rotations_is_the_class_tokens() -> None:
    """As the released code has it: the table of the patches, then one row that rotates nothing, from token 0 on."""
    first, last = (image_tower(replace(TINY_PE, rope_cls=order)) for order in ("first", "last"))
    table, shifted = first.rotations(), last.rotations()
    patches, columns = table.shape
    assert torch.equal(shifted[:patches], table)
    assert shifted[patches:].tolist() == [[0.0] * (columns // 2) + [1.0] * (columns // 2)]
    last.load_state_dict(perturbed(first).state_dict())
    images = torch.randn(1, 3, 48, 48)
    with torch.inference_mode():
        one, other = (tower.block(1, tower.embed(images)) for tower in (first.eval(), last.eval()))
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize("architecture", ["ViT-B-32", "MobileCLIP-B", "EVA01-g-14"])
def test_an_order_of_rotations_needs_rotations(architecture: str) -> None:
    config = replace(open_clip_config(architecture), rope_cls="last")
    with torch.device("meta"):
        if architecture.startswith("EVA"):
            with pytest.raises(ModelError, match="rotary positions"):
                image_tower(config)
        else:
            assert not image_tower(config).rotary


@pytest.mark.parametrize(("name", "close"), [("PE-Core-L14-336", "PE-Core-L-14-336"), ("ViT-B32", "ViT-B-32")])
def test_an_unknown_architecture_names_close_ones(name: str, close: str) -> None:
    with pytest.raises(UsageError, match=rf"^{name}: open_clip knows no such architecture; close to it are .*{close}"):
        open_clip_config(name)


@pytest.mark.parametrize("name", ["", "zzzzzzzzz", "hf-hub:someone/model", "local-dir:/etc", "../ViT-B-32"])
def test_what_is_no_name_is_unknown(name: str) -> None:
    with pytest.raises(UsageError, match="knows no such architecture"):
        open_clip_config(name)
    with pytest.raises(UsageError, match="knows no such architecture"):
        image_tower(replace(TINY_PE, architecture=name))


def test_unknown_weights_name_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"^PE-Core-T-16-384: open_clip has no weights 'laion2b' .* it has: meta$"):
        open_clip_config("PE-Core-T-16-384", "laion2b")
    assert open_clip_config("PE-Core-T-16-384", "meta").pretrained == "meta"


@pytest.mark.parametrize(
    ("architecture", "px", "mean"),
    [
        ("PE-Core-L-14-336", 336, 0.5),
        ("ViT-B-16-SigLIP2", 224, 0.5),
        ("ViT-B-32", 224, 0.48145466),
        ("MobileCLIP2-S0", 256, 0.0),
    ],
)
def test_pictures_are_normalised_as_the_weights_want(architecture: str, px: int, mean: float) -> None:
    config = open_clip_config(architecture)
    assert (config.image_px, config.image_mean[0]) == (px, mean)


@pytest.mark.parametrize(
    "architecture",
    ["RN50", "convnext_base", "coca_ViT-B-32", "swin_base_patch4_window7_224", "vit_relpos_medium_patch16_cls_224"],
)
def test_towers_that_cannot_be_taken_apart_are_refused(architecture: str) -> None:
    with torch.device("meta"), pytest.raises(ModelError, match=rf"^{architecture}: its image tower, \w+, is of a kind"):
        image_tower(open_clip_config(architecture))


@pytest.mark.parametrize("architecture", ["xlm-roberta-base-ViT-B-32", "coca_ViT-B-32"])
def test_text_towers_that_cannot_be_taken_apart_are_refused(architecture: str) -> None:
    config = open_clip_config(architecture)
    with torch.device("meta"), pytest.raises(ModelError, match=rf"^{architecture}: its text tower"):
        text_tower(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"image_px": 64},
        {"trunk": TrunkSizes(num_heads=5)},
        {"trunk": TrunkSizes(embed_dim=33)},
        {"trunk": TrunkSizes(embed_dim=20, num_heads=5)},
        {"trunk": TrunkSizes(patch_size=64)},
        {"architecture": "ViT-B-32", "trunk": TrunkSizes(depth=2), "image_px": 224},
        {"architecture": "MobileCLIP2-S0", "trunk": TrunkSizes(depth=2), "image_px": 256},
        {"architecture": "ViT-B-16-SigLIP2", "joint_dim": 100, "trunk": TrunkSizes(), "image_px": 224},
    ],
    ids=str,
)
def test_sizes_that_cannot_be_built_are_refused(changes: dict[str, Any]) -> None:
    trunk = changes.get("trunk")
    sizes = {name: value for name, value in msgspec.structs.asdict(trunk or TrunkSizes()).items() if value is not None}
    if trunk is not None and "architecture" not in changes:
        changes = changes | {"trunk": replace(TINY_PE.trunk, **sizes), "image_px": sizes.get("img_size", 48)}
    with torch.device("meta"), pytest.raises(ModelError) as raised:
        image_tower(replace(TINY_PE, **changes))
    assert str(raised.value).startswith(changes.get("architecture", TINY_PE.architecture))
    assert "\n" not in str(raised.value)


def test_text_sizes_that_cannot_be_built_are_refused() -> None:
    with pytest.raises(ModelError, match="32 wide cannot have 5 heads"):
        text_tower(replace(TINY_PE, text=TextSizes(width=32, heads=5)))


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_backbone_file_holds_both_towers(tower: Any, tmp_path: Any) -> None:
    both: dict[str, nn.Module] = {"image": image_tower(TINY_PE), "text": text_tower(TINY_PE)}
    path = tmp_path / "backbone.safetensors"
    write_tensors(path, {name: tensor for part in both.values() for name, tensor in part.state_dict().items()})
    read = read_backbone(path, TINY_PE, tower)
    both[tower].load_state_dict(read, strict=True)
    assert all(torch.equal(read[name], tensor) for name, tensor in both[tower].state_dict().items())


NO_NETWORK = """
import socket
def refused(*_, **__):
    raise AssertionError("the network was asked for")
socket.socket.connect = socket.getaddrinfo = refused

import torch
from qclip_ffmpeg.backbone import image_tower, text_tower
from qclip_ffmpeg.backbone_open_clip import backbone_weights, open_clip_config
from qclip_ffmpeg.errors import ModelError
from qclip_ffmpeg.model import level_prompts

for name in ("PE-Core-T-16-384", "MobileCLIP2-S0", "ViT-B-32-quickgelu"):
    config = open_clip_config(name, {"PE-Core-T-16-384": "meta", "MobileCLIP2-S0": "dfndr2b"}.get(name, "openai"))
    with torch.device("meta"):
        image_tower(config)
        text = text_tower(config)
    assert text.token_ids(level_prompts(3)).shape[0] == 5
try:
    backbone_weights(open_clip_config("PE-Core-T-16-384", "meta"))
except ModelError as error:
    print(error)
"""


def test_nothing_is_downloaded(tmp_path: Any) -> None:
    """In a fresh interpreter with an empty cache: towers and tokenisers need nothing, weights say what to do."""
    environment = os.environ | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", NO_NETWORK], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr
    [said] = done.stdout.splitlines()
    assert said.startswith("PE-Core-T-16-384: its weights 'meta' cannot be had (")
    assert said.endswith("check the network, or give them as a file")


def test_a_tokeniser_that_is_missing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(*_: object, **__: object) -> None:
        raise ImportError("no transformers\nand more")

    monkeypatch.setattr(open_clip, "get_tokenizer", missing)
    text = text_tower(TINY_PE)
    assert text is not None
    with pytest.raises(
        ModelError, match=r"^PE-Core-T-16-384: its tokeniser cannot be had \(no transformers\)"
    ) as raised:
        text.token_ids(["a video"])
    assert "\n" not in str(raised.value)


def test_weights_without_a_name_are_not_looked_for() -> None:
    with pytest.raises(ModelError, match="no weights are named"):
        backbone_weights(open_clip_config("ViT-B-32"))
