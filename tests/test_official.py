"""Import of the authors' checkpoints: their numbers come out again, and what is not theirs is refused, never run."""

import math
import pickle
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from official_tiny import EMBEDDING, FIRST_BLOCK, HEADS, official_case, official_checkpoint
from safetensors.torch import load_file
from torch import Tensor

from qclip_ffmpeg.checkpoint import LoadedModel, load_model, read_backbone
from qclip_ffmpeg.errors import ModelError, QClipError, UsageError
from qclip_ffmpeg.model import QClip, level_prompts
from qclip_ffmpeg.official import FIRST_BLOCK as RELEASED_FIRST_BLOCK
from qclip_ffmpeg.official import import_official

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

RopeCls = Literal["last", "first"]
ORDERS: tuple[RopeCls, ...] = ("last", "first")
TOLERANCE = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def case() -> dict[str, Tensor]:
    return official_case()


@pytest.fixture(scope="module")
def views(case: dict[str, Tensor]) -> Tensor:
    """Their normalised video as R'G'B' in 0..1, seen through one view: (2, 8, 1, 3, 96, 96)."""
    return (case["video"] * 0.5 + 0.5).unsqueeze(2)


@pytest.fixture(scope="module")
def pth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("official") / "best.pth"
    torch.save(official_checkpoint(), path)
    yield path
    shutil.rmtree(path.parent)


@pytest.fixture(autouse=True)
def tidy(tmp_path: Path) -> Iterator[None]:
    """Each of these files has 15 MB, and pytest would keep them."""
    yield
    shutil.rmtree(tmp_path)


@pytest.fixture(scope="module")
def imported(pth: Path) -> dict[RopeCls, Path]:
    """The checkpoint in both orders of the rotation table."""
    paths: dict[RopeCls, Path] = {order: pth.with_name(f"{order}.safetensors") for order in ORDERS}
    for order, path in paths.items():
        import_official(pth, path, order, FIRST_BLOCK, HEADS)
    return paths


@pytest.fixture(scope="module", params=ORDERS)
def order(request: pytest.FixtureRequest) -> RopeCls:
    return request.param


@pytest.fixture(scope="module")
def model(order: RopeCls, imported: dict[RopeCls, Path]) -> LoadedModel:
    return load_model(str(imported[order]))


class TestTheirNumbers:
    def test_frame_features(self, order: RopeCls, model: LoadedModel, views: Tensor, case: dict[str, Tensor]) -> None:
        with torch.inference_mode():
            made = model.qclip.frame_features(views[0])
        torch.testing.assert_close(made, case[f"rope_cls_{order}.frame_features_of_clip_0"], **TOLERANCE)

    def test_video_features_similarity_and_score(
        self, order: RopeCls, model: LoadedModel, views: Tensor, case: dict[str, Tensor]
    ) -> None:
        qclip = model.qclip
        with torch.inference_mode():
            fused = qclip.fusion(qclip.frame_features(views.flatten(0, 1)).view(2, 8, -1))
            similarity = qclip.head.similarity(fused)
            _, score = qclip(views)
        torch.testing.assert_close(fused, case[f"rope_cls_{order}.video_features"], **TOLERANCE)
        torch.testing.assert_close(similarity, case[f"rope_cls_{order}.similarity"], **TOLERANCE)
        torch.testing.assert_close(score, case[f"rope_cls_{order}.score"], **TOLERANCE)

    def test_text_features_that_were_kept(self, order: RopeCls, model: LoadedModel, case: dict[str, Tensor]) -> None:
        torch.testing.assert_close(model.qclip.head.text_features, case[f"rope_cls_{order}.text_features"], **TOLERANCE)

    def test_text_features_through_the_text_tower(
        self, order: RopeCls, model: LoadedModel, imported: dict[RopeCls, Path], case: dict[str, Tensor]
    ) -> None:
        qclip = with_text_tower(model, imported[order])
        assert qclip.text is not None
        ids = qclip.text.token_ids(level_prompts(3))
        assert torch.equal(ids, case["text_tokens"])
        with torch.inference_mode():
            made = qclip.text_features(ids)
        torch.testing.assert_close(made, case[f"rope_cls_{order}.text_features"], **TOLERANCE)
        torch.testing.assert_close(made, model.qclip.head.text_features, atol=1e-6, rtol=0)

    def test_the_order_of_the_rotations_matters(self, case: dict[str, Tensor]) -> None:
        """So that the tests above mean something."""
        last, first = (case[f"rope_cls_{order}.frame_features_of_clip_0"] for order in ORDERS)
        assert (last - first).abs().max() > 1e-2

    def test_the_first_block_matters(self, pth: Path, tmp_path: Path, views: Tensor, case: dict[str, Tensor]) -> None:
        import_official(pth, tmp_path / "x.safetensors", "last", FIRST_BLOCK + 1, HEADS)
        with torch.inference_mode():
            made = load_model(str(tmp_path / "x.safetensors")).qclip.frame_features(views[0])
        assert (made - case["rope_cls_last.frame_features_of_clip_0"]).abs().max() > 1e-2

    def test_what_is_released_needs_no_option(self) -> None:
        """Their start block is 18, counted from 0."""
        assert RELEASED_FIRST_BLOCK == 19


def with_text_tower(model: LoadedModel, path: Path) -> QClip:
    """The model with its text tower, as training has it."""
    config = model.card.config
    qclip = QClip(config, with_text=True).eval()
    backbone = path.with_name(model.card.backbone_file)
    towers = {f"tower.{name}": tensor for name, tensor in read_backbone(backbone, config.backbone).items()}
    text = {f"text.{name}": tensor for name, tensor in read_backbone(backbone, config.backbone, "text").items()}
    qclip.load_state_dict(towers | text | load_file(path))
    return qclip


class TestFiles:
    def test_the_same_file_twice_gives_the_same_bytes(
        self, pth: Path, imported: dict[RopeCls, Path], tmp_path: Path
    ) -> None:
        again = import_official(pth, tmp_path / "last.safetensors", "last", FIRST_BLOCK, HEADS)
        assert again == (tmp_path / "last.safetensors", tmp_path / "last.backbone.safetensors")
        for path in again:
            assert path.read_bytes() == imported["last"].with_name(path.name).read_bytes()
        assert sorted(tmp_path.iterdir()) == sorted(again)

    def test_both_orders_have_one_backbone(self, imported: dict[RopeCls, Path]) -> None:
        last, first = (load_model(str(path)).card.backbone_sha256 for path in imported.values())
        assert last == first

    def test_the_checkpoint_holds_what_was_trained_and_is_used(self, imported: dict[RopeCls, Path]) -> None:
        path = imported["last"]
        tensors = load_file(path)
        assert {name.split(".")[0] for name in tensors} == {"adapters", "context", "head"}
        assert {name.split(".")[2] for name in tensors if "bottlenecks" in name} == {"0_width64", "1_width64"}
        assert path.stat().st_size < 40_000
        assert {name.split(".")[0] for name in load_file(path.with_name("last.backbone.safetensors"))} == {
            "visual",
            "text",
        }

    def test_its_card(self, imported: dict[RopeCls, Path]) -> None:
        card = load_model(str(imported["first"])).card
        assert (card.id, card.status, card.calibration) == ("first", "trained", None)
        assert (card.config.views, card.frames_per_window, card.display) == (("whole",), 8, "1920x1080")
        assert (card.config.backbone.image_px, card.config.backbone.image_mean) == (96, (0.5, 0.5, 0.5))
        assert card.config.backbone.rope_cls == "first"
        assert "best.pth" in card.description

    def test_no_score_lies_outside_its_range(self, imported: dict[RopeCls, Path], case: dict[str, Tensor]) -> None:
        """Similarities are cosines: the sum of the magnitudes of the score vector bounds the score."""
        low, high = load_model(str(imported["last"])).card.score_range
        assert high == -low == pytest.approx(official_checkpoint()["state_dict"]["score_proj"].abs().sum().item())
        assert (case["rope_cls_last.score"].abs() < high).all()

    def test_half_precision_is_read(self, tmp_path: Path) -> None:
        changed = tmp_path / "half.pth"
        checkpoint = official_checkpoint()
        halves = {id(t): t.half() for t in checkpoint["state_dict"].values()}
        torch.save(
            checkpoint | {"state_dict": {k: halves[id(t)] for k, t in checkpoint["state_dict"].items()}}, changed
        )
        out, _ = import_official(changed, tmp_path / "half.safetensors", "last", FIRST_BLOCK, HEADS)
        assert {t.dtype for t in load_model(str(out)).qclip.state_dict().values()} == {torch.float32}

    def test_the_names_that_training_on_several_gpus_adds_are_taken_off(self, tmp_path: Path) -> None:
        checkpoint = official_checkpoint()
        checkpoint["state_dict"] = {f"module.{name}": tensor for name, tensor in checkpoint["state_dict"].items()}
        torch.save(checkpoint, tmp_path / "ddp.pth")
        import_official(tmp_path / "ddp.pth", tmp_path / "ddp.safetensors", "last", FIRST_BLOCK, HEADS)

    def test_second_names_may_be_missing(self, tmp_path: Path) -> None:
        checkpoint = official_checkpoint()
        kept = {k: t for k, t in checkpoint["state_dict"].items() if not k.startswith(("vit.", "text_encoder."))}
        torch.save({"state_dict": kept}, tmp_path / "once.pth")
        import_official(tmp_path / "once.pth", tmp_path / "once.safetensors", "last", FIRST_BLOCK, HEADS)


@pytest.fixture
def refuse(tmp_path: Path) -> Callable[..., str]:
    """refuse(path or checkpoint, kind=ModelError, **options) -> the one line it is refused with; nothing is written."""
    before: list[set[Path]] = []

    def refusal(source: Any, kind: type[QClipError] = ModelError, **options: Any) -> str:
        path = source
        if not isinstance(source, Path):
            path = tmp_path / "bad.pth"
            torch.save(source, path)
        before.append(set(tmp_path.iterdir()))
        options = {"first_block": FIRST_BLOCK, "heads": HEADS} | options
        with pytest.raises(QClipError) as raised:
            import_official(path, options.pop("out", tmp_path / "out.safetensors"), **options)
        message = str(raised.value)
        assert type(raised.value) is kind, message
        assert "\n" not in message
        assert set(tmp_path.iterdir()) == before[-1]
        return message

    return refusal


# Python 3.11 pickles as protocol 4, of which torch warns; sparse tensors are checked, of which it warns too.
QUIET = pytest.mark.filterwarnings("ignore:Detected pickle protocol", "ignore:Validating sparse tensor")


def changed(**tensors: Tensor | None) -> dict[str, Any]:
    """Their checkpoint with tensors changed, added or (None) left out, under all of their names."""
    checkpoint = official_checkpoint()
    state = checkpoint["state_dict"]
    for name, tensor in tensors.items():
        names = [name]
        for first, again in (("clip_model.visual.", "vit."), ("clip_model.transformer.", "text_encoder.")):
            names += [again + name.removeprefix(first)] if name.startswith(first) else []
        state |= dict.fromkeys(names, tensor)
    checkpoint["state_dict"] = {name: tensor for name, tensor in state.items() if tensor is not None}
    return checkpoint


class Trap:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.path,))


@QUIET
class TestRefused:
    @pytest.mark.parametrize("place", ["whole", "state_dict", "validation_results", "tensor"])
    @pytest.mark.parametrize("zipped", [True, False])
    def test_code_in_a_pickle_is_never_run(
        self, place: str, zipped: bool, tmp_path: Path, refuse: Callable[..., str]
    ) -> None:
        sprung, path = tmp_path / "sprung", tmp_path / "bad.pth"
        checkpoint = official_checkpoint()
        if place == "tensor":
            checkpoint["state_dict"]["score_proj"] = Trap(sprung)
        content = (
            Trap(sprung) if place == "whole" else checkpoint | ({} if place == "tensor" else {place: Trap(sprung)})
        )
        torch.save(content, path, _use_new_zipfile_serialization=zipped)
        assert "bad.pth: is not a checkpoint with weights only" in refuse(path)
        assert not sprung.exists()
        path.write_bytes(pickle.dumps(Trap(sprung)))
        refuse(path)
        assert not sprung.exists()

    def test_a_missing_file(self, tmp_path: Path, refuse: Callable[..., str]) -> None:
        assert "nowhere.pth: no such file" in refuse(tmp_path / "nowhere.pth", UsageError)
        assert "no such file" in refuse(tmp_path, UsageError)

    @pytest.mark.parametrize(
        "damage",
        [
            lambda data: b"",
            lambda data: data[:100],
            lambda data: data[: len(data) // 2],
            lambda data: data[:-1],
            lambda data: bytes(range(256)) * 40,
            lambda data: data.replace(b"state_dict", b"state_dikt"),
        ],
        ids=["empty", "100 bytes", "half", "a byte short", "noise", "renamed"],
    )
    def test_a_damaged_file(self, damage: Any, pth: Path, tmp_path: Path, refuse: Callable[..., str]) -> None:
        bad = tmp_path / "bad.pth"
        bad.write_bytes(damage(pth.read_bytes()))
        assert refuse(bad).startswith("bad.pth: is not a checkpoint")

    def test_other_archives(self, tmp_path: Path, refuse: Callable[..., str]) -> None:
        with zipfile.ZipFile(tmp_path / "bad.pth", "w") as archive:
            archive.writestr("readme.txt", "hello")
        assert refuse(tmp_path / "bad.pth").startswith("bad.pth: is not a checkpoint")

    @pytest.mark.parametrize(
        "content", [{}, [], 3, {"state_dict": {}}, {"state_dict": []}, {"model": {}}, {"state_dict": None}]
    )
    def test_other_contents(self, content: Any, refuse: Callable[..., str]) -> None:
        assert "is not a checkpoint of the authors' code" in refuse(content)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("score_proj", torch.ones(5, 1, dtype=torch.int64)),
            ("score_proj", torch.ones(5, 1, dtype=torch.complex64)),
            ("score_proj", torch.ones(1).expand(5, 1)),
            ("score_proj", [1.0] * 5),
            (7, torch.ones(5, 1)),
        ],
        ids=["integers", "complex", "one number five times", "list", "number for a name"],
    )
    def test_what_is_no_tensor_of_numbers(self, name: Any, value: Any, refuse: Callable[..., str]) -> None:
        checkpoint = official_checkpoint()
        checkpoint["state_dict"][name] = value
        assert f"{name!r} in its state_dict is not a tensor" in refuse(checkpoint)

    @pytest.mark.parametrize("value", [torch.ones(5, 1).to_sparse(), torch.ones(5, 1, device="meta"), bytearray(8)])
    def test_what_only_a_function_makes(self, value: Any, refuse: Callable[..., str]) -> None:
        """A few bytes could ask a function for gigabytes: `bytearray` with a number, say."""
        checkpoint = official_checkpoint()
        checkpoint["state_dict"]["score_proj"] = value
        assert "its pickle asks for" in refuse(checkpoint)

    def test_compressed_entries(self, pth: Path, tmp_path: Path, refuse: Callable[..., str]) -> None:
        """Half a megabyte of zeros, deflated, could become any number of gigabytes."""
        bad = tmp_path / "bad.pth"
        with zipfile.ZipFile(pth) as stored, zipfile.ZipFile(bad, "w", zipfile.ZIP_DEFLATED) as deflated:
            for entry in stored.infolist():
                deflated.writestr(entry.filename, stored.read(entry))
        assert "it has compressed entries" in refuse(bad)

    def test_a_name_that_would_write_to_the_terminal(self, refuse: Callable[..., str]) -> None:
        assert r"'clip\n\x1b[2J' in its state_dict" in refuse(changed(**{"clip\n\x1b[2J": torch.ones(1)}))

    @pytest.mark.parametrize(
        "name",
        [
            "score_proj",
            "context_tokens",
            "prompt_suffix",
            "image_proj_adapter_weight",
            "shared_core.2.bias",
            "proj_adapter.3.weight",
            "encoder_adapters.3.ln.bias",
            "clip_model.visual.conv1.weight",
            "clip_model.visual.class_embedding",
            "clip_model.visual.proj",
            "clip_model.positional_embedding",
        ],
    )
    def test_a_missing_tensor_is_named(self, name: str, refuse: Callable[..., str]) -> None:
        assert f"the tensor {name} is missing" in refuse(changed(**{name: None}))

    @pytest.mark.parametrize(
        ("name", "said"),
        [
            ("clip_model.visual.ln_post.bias", "tower.visual.trunk.norm.bias is missing"),
            ("clip_model.visual.attn_pool.mlp.c_fc.bias", "tower.visual.trunk.attn_pool.mlp.fc1.bias is missing"),
            ("clip_model.transformer.resblocks.2.ln_1.bias", "text.text.transformer.resblocks.2.ln_1.bias is missing"),
            ("clip_model.text_projection", "text.text.text_projection is missing"),
            (EMBEDDING, "text.text.token_embedding.weight is missing"),
        ],
    )
    def test_a_missing_tensor_of_the_towers_is_named_as_ours(
        self, name: str, said: str, refuse: Callable[..., str]
    ) -> None:
        assert f"bad.pth: the tensor {said}" in refuse(changed(**{name: None}))

    def test_another_model(self, refuse: Callable[..., str]) -> None:
        assert "the tensor clip_model.visual.positional_embedding is missing" in refuse(
            {"state_dict": torch.nn.Linear(3, 4).state_dict()}
        )

    @pytest.mark.parametrize("name", ["temporal.weight", "encoder_adapters.4.ln.bias", "shared_core.1.weight", "vit"])
    def test_a_tensor_too_many_is_named(self, name: str, refuse: Callable[..., str]) -> None:
        """Another version of their code would score otherwise."""
        assert f"has a tensor {name} that the released code does not have" in refuse(changed(**{name: torch.ones(64)}))

    def test_a_tensor_too_many_in_the_towers_is_named(self, refuse: Callable[..., str]) -> None:
        name = "clip_model.visual.transformer.resblocks.0.ls_1.gamma"
        assert "visual.trunk.blocks.0.gamma_1" in refuse(changed(**{name: torch.ones(64)}))

    @pytest.mark.parametrize("name", ["vit.proj", "text_encoder.resblocks.3.ln_2.bias"])
    def test_two_names_of_one_tensor_that_differ(self, name: str, refuse: Callable[..., str]) -> None:
        checkpoint = official_checkpoint()
        checkpoint["state_dict"][name] = checkpoint["state_dict"][name] + 1
        assert name in refuse(checkpoint)

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    @pytest.mark.parametrize(
        "name",
        ["score_proj", "context_tokens", "encoder_adapters.2.down_proj.bias", "clip_model.visual.proj", EMBEDDING],
    )
    def test_numbers_that_are_not_finite(self, name: str, value: float, refuse: Callable[..., str]) -> None:
        tensor = official_checkpoint()["state_dict"][name].clone()
        tensor.view(-1)[3] = value
        assert "has values that are not finite" in refuse(changed(**{name: tensor}))

    @pytest.mark.parametrize(
        ("name", "shape"),
        [
            ("score_proj", (4, 1)),
            ("context_tokens", (64,)),
            ("context_tokens", (1, 0, 64)),
            ("context_tokens", (1, 3, 32)),
            ("context_tokens", ()),
            ("shared_core.0.weight", ()),
            ("shared_core.0.weight", (12, 16)),
            ("encoder_adapters.2.up_proj.weight", (16, 64)),
            ("image_adapter_weight", (1,)),
            ("prompt_prefix", (5, 1, 63)),
            ("clip_model.visual.conv1.weight", (64, 768)),
            ("clip_model.visual.conv1.weight", (64, 3, 16, 8)),
            ("clip_model.visual.class_embedding", ()),
            ("clip_model.visual.class_embedding", (65,)),
            ("clip_model.visual.positional_embedding", (64,)),
            ("clip_model.visual.positional_embedding", (38, 64)),
            ("clip_model.visual.positional_embedding", (1, 64)),
            ("clip_model.visual.proj", (64, 65)),
            ("clip_model.visual.attn_pool.attn.in_proj_weight", ()),
            ("clip_model.positional_embedding", (77, 64)),
            ("clip_model.positional_embedding", (32, 63)),
            ("clip_model.text_projection", (64, 32)),
            (EMBEDDING, (10, 64)),
        ],
    )
    def test_tensors_of_another_size(self, name: str, shape: tuple[int, ...], refuse: Callable[..., str]) -> None:
        assert refuse(changed(**{name: torch.ones(shape)})).startswith("bad.pth: ")

    @pytest.mark.parametrize(
        "name", ["model", "module", "state_dict", "model_ema", "transformer.resblocks.x.ln_1.bias"]
    )
    def test_names_that_mislead_the_conversion(self, name: str, refuse: Callable[..., str]) -> None:
        assert refuse(changed(**{f"clip_model.visual.{name}": torch.ones(64)})).startswith("bad.pth: ")

    def test_towers_that_share_their_memory_are_written(self, tmp_path: Path) -> None:
        ones = torch.ones(64)
        names = ("clip_model.visual.ln_pre.weight", "clip_model.visual.ln_post.weight", "clip_model.ln_final.weight")
        torch.save(changed(**dict.fromkeys(names, ones)), tmp_path / "one.pth")
        out, _ = import_official(tmp_path / "one.pth", tmp_path / "one.safetensors", "last", FIRST_BLOCK, HEADS)
        assert torch.equal(load_model(str(out)).qclip.state_dict()["tower.visual.trunk.norm.weight"], ones)

    @pytest.mark.parametrize("first_block", [0, -1, 5, 19])
    def test_a_first_block_that_is_not_there(self, first_block: int, refuse: Callable[..., str]) -> None:
        said = refuse(official_checkpoint(), UsageError, first_block=first_block)
        assert said == f"bad.pth: has 4 blocks; the first adapted one cannot be {first_block}"

    def test_a_first_block_that_was_never_trained(self, refuse: Callable[..., str]) -> None:
        """Their unused adapters keep their initial values."""
        untouched = {"encoder_adapters.1.ln.weight": torch.ones(64), "encoder_adapters.1.ln.bias": torch.zeros(64)}
        said = refuse(changed(**untouched), UsageError, first_block=2)
        assert said == "bad.pth: the adapter of block 2 was never trained; say a later --first-block"

    def test_sizes_without_heads(self, refuse: Callable[..., str]) -> None:
        said = refuse(official_checkpoint(), UsageError, heads=None)
        assert "64 wide, 4 blocks, patches of 16 px" in said
        assert "--heads" in said

    @pytest.mark.parametrize("heads", [0, -4, 3, 5, 64, 100_000])
    def test_heads_that_do_not_fit(self, heads: int, refuse: Callable[..., str]) -> None:
        refuse(official_checkpoint(), heads=heads)

    @pytest.mark.parametrize("name", ["prompt_suffix", "prompt_prefix"])
    def test_other_prompts(self, name: str, refuse: Callable[..., str]) -> None:
        tensor = official_checkpoint()["state_dict"][name].clone()
        tensor[2, 0] += 0.01
        assert 'was trained with other prompts than "X X X a video of bad quality"' in refuse(changed(**{name: tensor}))

    def test_levels_in_another_order(self, refuse: Callable[..., str]) -> None:
        suffix = official_checkpoint()["state_dict"]["prompt_suffix"].flip(0)
        assert "other prompts" in refuse(changed(prompt_suffix=suffix))

    @pytest.mark.parametrize("count", [2, 4, 40])
    def test_another_number_of_context_tokens(self, count: int, refuse: Callable[..., str]) -> None:
        """The prompts say "X X X"."""
        context = torch.ones(1, count, 64)
        refuse(changed(context_tokens=context), UsageError if count == 40 else ModelError)

    def test_a_score_vector_of_zeros(self, refuse: Callable[..., str]) -> None:
        assert "empty score_range" in refuse(changed(score_proj=torch.zeros(5, 1)))

    @pytest.mark.parametrize("out", ["out.pth", "out", "nowhere/out.safetensors"])
    def test_a_place_that_cannot_be_written(self, out: str, tmp_path: Path, refuse: Callable[..., str]) -> None:
        assert out in refuse(official_checkpoint(), UsageError, out=tmp_path / out).replace(".backbone.", ".")


def test_a_backbone_made_up_to_take_all_memory_is_refused_first(tmp_path: Path) -> None:
    """Sizes are compared before anything is built: a few numbers cannot ask for gigabytes."""
    wide = changed(
        **{
            "clip_model.visual.conv1.weight": torch.ones(8192, 3, 1, 1),
            "clip_model.visual.proj": torch.ones(1, 8192),
            "clip_model.visual.positional_embedding": torch.ones(2, 1),
        }
    )
    torch.save(wide, tmp_path / "wide.pth")
    with pytest.raises(ModelError, match=r"^wide\.pth: "):
        import_official(tmp_path / "wide.pth", tmp_path / "wide.safetensors", "last", FIRST_BLOCK, 64)
