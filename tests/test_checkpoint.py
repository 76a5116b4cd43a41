"""A model on disk: what was saved is what is loaded; anything else is refused in one line that names the file."""

import hashlib
import json
import pickle
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_model import TINY, TINY_PE, TINY_TOWER, TINY_TOWER_FILE, random_qclip, tiny_card

from qclip_ffmpeg import checkpoint
from qclip_ffmpeg.adapters import SharedAdapter
from qclip_ffmpeg.checkpoint import (
    CARD_KEY,
    DEFAULT_MODEL,
    SUFFIX,
    WEIGHTS_DIR,
    bundled_models,
    load_model,
    read_backbone,
    save_checkpoint,
    sha256_of_file,
    write_tensors,
)
from qclip_ffmpeg.errors import ModelError, QClipError, UsageError
from qclip_ffmpeg.model import Joint, ModelConfig
from qclip_ffmpeg.scorer import Scorer

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

replace = msgspec.structs.replace


@pytest.fixture
def good(tiny_weights: Path, tmp_path: Path) -> Path:
    """A checkpoint file that loads."""
    path = tmp_path / "mine.safetensors"
    path.write_bytes((tiny_weights / (DEFAULT_MODEL + SUFFIX)).read_bytes())
    return path


def rewrite(path: Path, card: dict[str, Any] | None = None, **tensors: torch.Tensor | None) -> None:
    """Write a checkpoint again with keys of its card and tensors of its head changed, added, or (None) left out."""
    held = load_file(path) | {f"head.{name}": t for name, t in tensors.items()}
    text = card_of(path) | (card or {})
    save_file({k: v for k, v in held.items() if v is not None}, path, metadata={CARD_KEY: json.dumps(text)})


def card_of(path: Path) -> dict[str, Any]:
    return msgspec.to_builtins(checkpoint.read_checkpoint(path)[0])


def refusal(path: str | Path, kind: type[QClipError] = ModelError) -> str:
    """The message that loading `path` is refused with: one line."""
    with pytest.raises(kind) as raised:
        load_model(str(path))
    message = str(raised.value)
    assert "\n" not in message
    return message


def test_the_bundled_default_loads(scorer: Scorer) -> None:
    model = scorer.model
    assert model.card.id == DEFAULT_MODEL
    assert model.card.status == "trained"
    assert model.card.calibration is not None
    assert model.card.noise_band is not None
    assert model.domain is not None
    assert model.weights_sha256 == hashlib.sha256((WEIGHTS_DIR / (DEFAULT_MODEL + SUFFIX)).read_bytes()).hexdigest()
    assert not model.qclip.training
    assert not any(p.requires_grad for p in model.qclip.parameters())
    assert {p.dtype for p in model.qclip.state_dict().values()} == {torch.float32}
    assert not any(t.is_meta for t in model.qclip.state_dict().values())
    assert DEFAULT_MODEL in bundled_models()


def test_save_and_load_is_exact(good: Path) -> None:
    qclip = random_qclip()
    loaded = load_model(str(good))
    assert loaded.card == tiny_card(loaded.card.backbone_sha256)
    assert loaded.weights_sha256 == hashlib.sha256(good.read_bytes()).hexdigest()
    expected = qclip.state_dict()
    assert loaded.qclip.state_dict().keys() == expected.keys()
    for name, tensor in loaded.qclip.state_dict().items():
        assert torch.equal(tensor, expected[name]), name
    views = torch.rand(1, 2, 2, 3, 224, 224)
    assert torch.equal(loaded.qclip(views)[1], qclip(views)[1])


def test_saving_turns_tensors_into_float32(good: Path, tmp_path: Path) -> None:
    tensors = {name: tensor.double() for name, tensor in random_qclip().trained_tensors().items()}
    save_checkpoint(tmp_path / "double.safetensors", load_model(str(good)).card, tensors)
    assert load_model(str(tmp_path / "double.safetensors")).qclip.head.level_bias.dtype == torch.float32


def test_a_checkpoint_holds_no_tower(good: Path) -> None:
    assert all(name.startswith("head.") for name in load_file(good))


def test_eight_bit_matrices_have_a_scale_an_output_row(tmp_path: Path) -> None:
    path = tmp_path / "tower.safetensors"
    integers = torch.tensor([[1, -2], [3, 127]], dtype=torch.int8)
    tensors = {
        "transformer.resblocks.0.mlp.c_fc.weight.int8": integers,
        "transformer.resblocks.0.mlp.c_fc.weight.scale": torch.tensor([0.5, 2.0]),
        "transformer.resblocks.1.mlp.c_fc.bias": torch.ones(2),
        "conv1.weight": torch.ones(1, dtype=torch.float16),
    }
    save_file(tensors, path)
    read = read_backbone(path, replace(TINY_TOWER, blocks=1))
    assert read.keys() == {"transformer.resblocks.0.mlp.c_fc.weight", "conv1.weight"}
    assert read["transformer.resblocks.0.mlp.c_fc.weight"].tolist() == [[0.5, -1.0], [6.0, 254.0]]
    assert read["conv1.weight"].dtype == torch.float32


@pytest.mark.parametrize("scale", [(3,), (2, 2), (), (1,), (1000,)])
def test_scales_must_fit_their_matrix(scale: tuple[int, ...], tmp_path: Path) -> None:
    """A few numbers would otherwise become a matrix of any size."""
    path = tmp_path / "tower.safetensors"
    save_file({"proj.int8": torch.ones(2, 4, dtype=torch.int8), "proj.scale": torch.ones(scale)}, path)
    with pytest.raises(ModelError, match=r"^tower\.safetensors: proj\.scale does not fit proj\.int8$"):
        read_backbone(path, TINY_TOWER)


def test_an_unknown_name_lists_the_known_ones(tiny_weights: Path) -> None:
    message = refusal("qclip-vitb61", UsageError)
    assert "qclip-vitb61" in message
    assert DEFAULT_MODEL in message


@pytest.mark.parametrize("name", ["nowhere/mine.safetensors", "mine.safetensors", "/nowhere"])
def test_a_missing_file_is_named(name: str, tiny_weights: Path) -> None:
    assert f"{name}: no such file" in refusal(name, UsageError)


def test_a_folder_is_no_checkpoint(tmp_path: Path, tiny_weights: Path) -> None:
    assert str(tmp_path) in refusal(tmp_path, UsageError)


def test_a_file_that_cannot_be_read_is_named(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("qclip_ffmpeg.checkpoint.safe_open", denied)
    assert re.search(r"mine\.safetensors.*Permission denied", refusal(good))


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: b"",
        lambda data: data[:5],
        lambda data: data[:100],
        lambda data: data[:-1],
        lambda data: data + b"\0",
        lambda data: bytes(range(256)) * 40,
        lambda data: (2**62).to_bytes(8, "little") + data[8:],
        lambda data: b"PK\x03\x04" + data,
    ],
    ids=["empty", "5 bytes", "half a header", "a byte short", "a byte long", "noise", "huge header", "zip"],
)
def test_a_damaged_file_is_refused(damage: Any, good: Path) -> None:
    good.write_bytes(damage(good.read_bytes()))
    assert refusal(good).startswith("mine.safetensors: is not a safetensors file, or is damaged")


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@pytest.mark.parametrize("name", ["best.pth", "best.pt", "best.safetensors"])
def test_a_pickle_is_never_opened(name: str, tmp_path: Path, tiny_weights: Path) -> None:
    sprung, path = tmp_path / "sprung", tmp_path / name
    torch.save({"state_dict": Trap(sprung)}, path)
    assert name in refusal(path)
    path.write_bytes(pickle.dumps(Trap(sprung)))
    assert name in refusal(path)
    assert not sprung.exists()


def test_safetensors_without_a_card_are_foreign(good: Path) -> None:
    save_file(load_file(good), good)
    assert "mine.safetensors: holds tensors but is not a Q-CLIP checkpoint" in refusal(good)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"surprise": 1}, "surprise"),
        ({"format": "qclip-modem"}, "format"),
        ({"format_version": 1}, "format_version"),
        ({"format_version": 4}, "format_version"),
        ({"status": "excellent"}, "status"),
        ({"frames_per_window": "four"}, "frames_per_window"),
        ({"config": None}, "config"),
        ({"id": None}, "id"),
    ],
)
def test_a_card_that_cannot_be_read_is_refused(change: dict[str, Any], said: str, good: Path) -> None:
    rewrite(good, change)
    message = refusal(good)
    assert message.startswith("mine.safetensors: its model card cannot be read")
    assert said in message


def test_a_card_that_is_not_json_is_refused(good: Path) -> None:
    save_file(load_file(good), good, metadata={CARD_KEY: "{id: tiny"})
    assert refusal(good).startswith("mine.safetensors: its model card cannot be read")


def test_a_card_without_a_key_is_refused(good: Path) -> None:
    text = card_of(good)
    del text["backbone_sha256"]
    save_file(load_file(good), good, metadata={CARD_KEY: json.dumps(text)})
    assert "backbone_sha256" in refusal(good)


SENSELESS: dict[str, dict[str, Any]] = {
    "reads after a block that is not built": {"readout": {"exit_blocks": [1, 3]}},
    "counts blocks from 0": {"readout": {"exit_blocks": [0, 1]}},
    "reads nothing": {"readout": {"exit_blocks": []}},
    "no statistics": {"readout": {"statistics": []}},
    "no views": {"views": []},
    "four scores for five levels": {"level_scores": [0, 50, 75, 100]},
    "a score beyond 100": {"level_scores": [0, 25, 50, 75, 1000]},
    "width is no multiple of heads": {"backbone": {"heads": 3}},
    "no heads": {"backbone": {"heads": 0}},
    "views of another size": {"backbone": {"image_px": 192}},
    "no patches": {"backbone": {"patch_px": 0}},
    "one patch": {"backbone": {"patch_px": 224}},
    "divides by nothing": {"backbone": {"image_std": [0.2, 0.0, 0.2]}},
    "no frames": {"frames_per_window": 0},
    "fewer than no frames": {"frames_per_window": -1},
    "reads a block twice": {"readout": {"exit_blocks": [1, 1, 2]}},
    "reads backwards": {"readout": {"exit_blocks": [2, 1]}},
    "a joint space of a tower without one": {"readout": {"kind": "joint"}},
    "prompts for a tower without text": {"levels": "prompts"},
    "a negative number of context tokens": {"context_tokens": -1},
    "an empty range": {"score_range": [100, 100]},
    "a range upside down": {"score_range": [100, 0]},
    "a map that falls": {"score_map": [-1, 0]},
    "a map to one score": {"score_map": [0, 50]},
    "adapters after the last block": {"adapters": {"kind": "shared", "share": "all", "dim": 4, "first_block": 3}},
    "prompts after the last block": {"adapters": {"kind": "visual-prompts", "tokens": 4, "first_block": 3}},
    "an adapter of a projection that is not there": {
        "adapters": {"kind": "shared", "share": "all", "dim": 4, "first_block": 1, "projection": True}
    },
    "an adapter without width": {"adapters": {"kind": "projection", "dim": 0}},
    "an adapter of a kind that is not known": {"adapters": {"kind": "lora", "dim": 4}},
    "a fusion that is not known": {"fusion": "median"},
}


@pytest.mark.parametrize("what", SENSELESS)
def test_a_card_that_makes_no_sense_is_refused_when_loaded(what: str, good: Path) -> None:
    """Not when the first window is scored: tensors fit the configuration, and the configuration cannot be run."""
    card, change = card_of(good), SENSELESS[what]
    for key, value in change.items():
        if key in ("backbone", "readout", "adapters"):
            card["config"][key] = (card["config"][key] or {}) | value
        else:
            (card if key in card else card["config"])[key] = value
    tensors = {}
    if "level_scores" in change:
        tensors["level_scores"] = torch.tensor(change["level_scores"], dtype=torch.float32)
    rewrite(good, card, **tensors)
    assert "mine.safetensors" in refusal(good)


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"level_bias": None}, "the tensor head.level_bias is missing"),
        ({"surprise": torch.ones(1)}, "head.surprise"),
        ({"level_bias": torch.ones(4)}, "head.level_bias is (4,), its configuration needs (5,)"),
        ({"level_bias": torch.ones(5, dtype=torch.float64)}, "head.level_bias is torch.float64, not float32"),
        ({"level_bias": torch.ones(5, dtype=torch.bfloat16)}, "head.level_bias is torch.bfloat16, not float32"),
        ({"level_bias": torch.tensor([0, 0, torch.nan, 0, 0])}, "head.level_bias has values that are not finite"),
        ({"level_bias": torch.tensor([0, 0, torch.inf, 0, 0])}, "head.level_bias has values that are not finite"),
    ],
    ids=["missing", "extra", "shape", "float64", "bfloat16", "NaN", "infinite"],
)
def test_tensors_must_fit_the_configuration(tensors: dict[str, torch.Tensor | None], said: str, good: Path) -> None:
    rewrite(good, None, **tensors)
    message = refusal(good)
    assert message.startswith("mine.safetensors: ")
    assert said in message


def test_the_level_scores_are_the_cards(good: Path) -> None:
    """They are in the card and in the tensors; where these disagree nobody knows what the score means."""
    rewrite(good, None, level_scores=torch.tensor([100.0, 75.0, 50.0, 25.0, 0.0]))
    assert "level_scores" in refusal(good)


def test_a_checkpoint_cannot_replace_the_tower(good: Path) -> None:
    """The tower is the file whose hash is reported, whatever tensors a checkpoint brings along."""
    card = card_of(good)
    tower = {"tower.class_embedding": torch.zeros(TINY_TOWER.width)}
    save_file(load_file(good) | tower, good, metadata={CARD_KEY: json.dumps(card)})
    assert "tower.class_embedding" in refusal(good)


def test_another_tower_is_refused(good: Path) -> None:
    rewrite(good, {"backbone_sha256": "0" * 64})
    message = refusal(good)
    assert TINY_TOWER_FILE in message
    assert "mine.safetensors" in message


def test_a_missing_tower_is_named(good: Path) -> None:
    rewrite(good, {"backbone_file": "clip-vitl14.safetensors"})
    message = refusal(good)
    assert "mine.safetensors" in message
    assert "clip-vitl14.safetensors" in message


def test_a_tower_with_too_few_blocks_is_refused(good: Path) -> None:
    rewrite(good, {"config": msgspec.to_builtins(replace(TINY, backbone=replace(TINY_TOWER, blocks=3)))})
    assert "transformer.resblocks.2" in refusal(good)


@pytest.mark.parametrize("name", ["../outside.safetensors", "{folder}/outside.safetensors", "", ".", "..", "../"])
def test_the_tower_is_never_looked_for_outside_the_weights_folder(name: str, good: Path, tiny_weights: Path) -> None:
    outside = tiny_weights.parent / "outside.safetensors"
    outside.write_bytes((tiny_weights / TINY_TOWER_FILE).read_bytes())
    rewrite(good, {"backbone_file": name.format(folder=tiny_weights.parent)})
    assert "mine.safetensors" in refusal(good)


def test_a_tower_that_holds_no_tensors_is_refused(good: Path, tiny_weights: Path) -> None:
    """A card may name any file of the weights folder, for example the README."""
    readme = tiny_weights / "README.md"
    readme.write_text("not a tower")
    rewrite(good, {"backbone_file": readme.name, "backbone_sha256": sha256_of_file(readme)})
    assert "README.md" in refusal(good)


TWO_TOWERS = ModelConfig(
    TINY_PE, ("whole",), Joint(), SharedAdapter("core", 4, 3, projection=True), "transformer", levels="prompts"
)


@pytest.fixture
def two_towers(tmp_path: Path, tiny_weights: Path) -> Path:
    """A checkpoint on both towers of an open_clip model, its backbone beside it."""
    qclip = random_qclip(TWO_TOWERS, with_text=True)
    assert qclip.text is not None
    backbone = tmp_path / "pe.safetensors"
    write_tensors(backbone, qclip.tower.state_dict() | qclip.text.state_dict())
    card = tiny_card(sha256_of_file(backbone), backbone_file=backbone.name, config=TWO_TOWERS)
    save_checkpoint(tmp_path / "mine.safetensors", card, qclip.trained_tensors())
    return tmp_path / "mine.safetensors"


def test_a_model_on_two_towers_comes_back_without_its_text_tower(two_towers: Path) -> None:
    loaded = load_model(str(two_towers)).qclip
    expected = random_qclip(TWO_TOWERS, with_text=True)
    assert loaded.text is None
    kept = {name for name in expected.state_dict() if not name.startswith("text.")}
    assert loaded.state_dict().keys() == kept
    assert not any(tensor.is_meta for tensor in (*loaded.parameters(), *loaded.buffers()))
    views = torch.rand(1, 3, 1, 3, 48, 48)
    assert torch.equal(loaded(views)[1], expected(views)[1])


def test_a_backbone_beside_the_checkpoint_comes_first(two_towers: Path, tiny_weights: Path) -> None:
    (tiny_weights / "pe.safetensors").write_bytes(b"another one")
    try:
        load_model(str(two_towers))
        (two_towers.parent / "pe.safetensors").rename(two_towers.parent / "away.safetensors")
        assert "is not the backbone that mine.safetensors was trained on" in refusal(two_towers)
    finally:
        (tiny_weights / "pe.safetensors").unlink()


def test_a_missing_backbone_says_how_to_get_it(two_towers: Path) -> None:
    (two_towers.parent / "pe.safetensors").unlink()
    assert "put it there" in refusal(two_towers)
    card = card_of(two_towers)
    card["config"]["backbone"]["pretrained"] = "meta"
    rewrite(two_towers, card)
    assert "qclip-model backbone PE-Core-T-16-384 --pretrained meta -o pe.safetensors" in refusal(two_towers)


STRANGE: dict[str, dict[str, Any]] = {
    "a name that is none": {"architecture": "PE-Core-XL"},
    "an address": {"architecture": "hf-hub:someone/model"},
    "a path": {"architecture": "local-dir:/"},
    "another architecture": {"architecture": "ViT-B-32", "trunk": {}},
    "a tower that cannot be taken apart": {"architecture": "RN50", "trunk": {}},
    "a text tower of another library": {"architecture": "roberta-ViT-B-32", "trunk": {}, "image_px": 224},
    "pictures of another size": {"image_px": 64},
    "one head more": {"trunk": {"num_heads": 3}},
    "no heads": {"trunk": {"num_heads": 0}},
    "one text head more": {"text": {"heads": 3}},
    "a block more": {"trunk": {"depth": 5}},
    "terabytes": {"trunk": {"embed_dim": 8192, "depth": 128}},
    "terabytes of text": {"text": {"width": 8192, "layers": 128}},
    "more than there can be": {"trunk": {"embed_dim": 10**9}},
    "an enormous picture": {"image_px": 8192, "trunk": {"img_size": 8192, "patch_size": 1}},
    "less than a patch": {"image_px": 8, "trunk": {"img_size": 8}},
    "a joint space of another size": {"joint_dim": 33},
    "rotations of a kind that is not known": {"rope_cls": "middle"},
    "a size that is not known": {"trunk": {"mlp_ratio": 4}},
}


@pytest.mark.parametrize("what", STRANGE)
def test_a_backbone_that_makes_no_sense_is_refused_when_loaded(what: str, two_towers: Path) -> None:
    """At once and without taking memory: sizes are compared before anything is built."""
    card = card_of(two_towers)
    backbone = card["config"]["backbone"]
    for key, value in STRANGE[what].items():
        backbone[key] = (backbone[key] | value if value else {}) if isinstance(value, dict) else value
    rewrite(two_towers, card)
    assert "mine.safetensors" in refusal(two_towers)


@pytest.mark.parametrize("name", ["head.\n\x1b[2J", "tower.\n\x1b[2J"])
def test_a_name_that_would_write_to_the_terminal_is_not_written(name: str, good: Path) -> None:
    save_file(load_file(good) | {name: torch.ones(1)}, good, metadata={CARD_KEY: json.dumps(card_of(good))})
    assert r"\n\x1b[2J" in refusal(good)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_backbone_that_is_not_finite_is_refused(value: float, two_towers: Path) -> None:
    path = two_towers.parent / "pe.safetensors"
    tensors = load_file(path)
    tensors["visual.trunk.norm.weight"][3] = value
    write_tensors(path, tensors)
    rewrite(two_towers, {"backbone_sha256": sha256_of_file(path)})
    assert "tower.visual.trunk.norm.weight has values that are not finite" in refusal(two_towers)


def test_tensors_that_cannot_be_written_say_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.*cannot be written"):
        write_tensors(tmp_path / "nowhere" / "x.safetensors", {"a": torch.ones(1)})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("key", ["transformer", "transformer.resblocks.x.ln_1.bias", "transformer.resblocks", "a.int8"])
def test_a_backbone_with_names_that_mislead_is_refused(key: str, good: Path, tiny_weights: Path) -> None:
    path = good.parent / "odd.safetensors"
    write_tensors(path, load_file(tiny_weights / TINY_TOWER_FILE) | {key: torch.ones(2)})
    rewrite(good, {"backbone_file": path.name, "backbone_sha256": sha256_of_file(path)})
    refusal(good)
