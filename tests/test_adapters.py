"""What is trained beside the towers: how much it is, where it stands, what it shares, and that it starts harmless."""

import msgspec
import pytest
import torch
from tiny_model import TINY, TINY_PE, TINY_TOWER, random_qclip
from torch import nn

from qclip_ffmpeg.adapters import (
    SCALE_AT_START,
    FeatureAdapter,
    ProjectionAdapter,
    PromptTokens,
    SharedAdapter,
    SharedAdapters,
    VisualPrompts,
    adapted_blocks,
)
from qclip_ffmpeg.backbone import OpenClipConfig
from qclip_ffmpeg.backbone_open_clip import open_clip_config
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.model import Joint, ModelConfig, QClip, Statistics, level_prompts

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

replace = msgspec.structs.replace


def trained_parameters(qclip: QClip) -> int:
    """Numbers that training changes: parameters outside of the towers, no buffers."""
    trained = set(qclip.trained_tensors())
    return sum(parameter.numel() for name, parameter in qclip.named_parameters() if name in trained)


def on_meta(backbone: OpenClipConfig, adapter: SharedAdapter, with_text: bool = True) -> QClip:
    with torch.device("meta"):
        return QClip(ModelConfig(backbone, ("whole",), Joint(), adapter, levels="prompts"), with_text)


class TestHowMuchIsTrained:
    """On PE-Core-L-14-336, as published. 1024 wide, 24 blocks, three context tokens, a score vector of five."""

    CONTEXT_AND_SCORE = 3 * 1024 + 5
    SCALES = 4

    def test_one_bottleneck_for_everything_has_the_papers_0_14_million(self) -> None:
        qclip = on_meta(open_clip_config("PE-Core-L-14-336"), SharedAdapter("all", 64, first_block=1, projection=True))
        bottleneck = (1024 * 64 + 64) + (64 * 1024 + 1024) + 2 * 1024
        assert trained_parameters(qclip) == bottleneck + self.SCALES + self.CONTEXT_AND_SCORE
        assert trained_parameters(qclip) == 137_289
        assert f"{trained_parameters(qclip) / 1e6:.2f}" == "0.14"

    def test_a_shared_core_has_the_released_codes_1_91_million(self) -> None:
        qclip = on_meta(
            open_clip_config("PE-Core-L-14-336"), SharedAdapter("core", 128, first_block=19, projection=True)
        )
        core = 2 * (128 * 128 + 128)
        block = (1024 * 128 + 128) + (128 * 1024 + 1024) + 2 * 1024
        projection = (1024 * 128 + 128) + (128 * 128 + 128) + (128 * 1024 + 1024)
        assert trained_parameters(qclip) == core + 6 * block + projection + self.SCALES + self.CONTEXT_AND_SCORE
        assert trained_parameters(qclip) == 1_907_977
        assert f"{trained_parameters(qclip) / 1e6:.2f}" == "1.91"

    def test_the_text_tower_adds_nothing_of_its_own(self) -> None:
        """What is trained is in a checkpoint whether the text tower is built or not."""
        adapter = SharedAdapter("core", 128, first_block=19, projection=True)
        backbone = open_clip_config("PE-Core-L-14-336")
        with_text, without = on_meta(backbone, adapter), on_meta(backbone, adapter, with_text=False)
        assert list(with_text.trained_tensors()) == list(without.trained_tensors())
        assert with_text.text is not None
        assert without.text is None


class TestWhereTheyStand:
    @pytest.mark.parametrize(("first_block", "blocks", "expected"), [(1, 24, 24), (19, 24, 6), (24, 24, 1)])
    def test_from_the_first_block_to_the_last(self, first_block: int, blocks: int, expected: int) -> None:
        assert adapted_blocks(first_block, blocks) == expected

    @pytest.mark.parametrize("share", ["core", "all"])
    def test_a_first_block_past_the_last_is_refused(self, share: str) -> None:
        with pytest.raises(UsageError, match=r"^adapters.first_block = 25: the image tower runs 24 blocks$"):
            SharedAdapters(SharedAdapter(share, 8, first_block=25), [16] * 24)
        with pytest.raises(UsageError, match=r"^adapters.first_block = 25: the image tower runs 24 blocks$"):
            PromptTokens(VisualPrompts(2, first_block=25), [16] * 24, 1)

    def test_a_text_tower_with_fewer_blocks_than_are_adapted_is_refused(self) -> None:
        with pytest.raises(UsageError, match=r"adapts 14 blocks, the text tower has 12; the least is 13"):
            SharedAdapters(SharedAdapter("core", 8, first_block=11), [16] * 24, [16] * 12)
        SharedAdapters(SharedAdapter("core", 8, first_block=13), [16] * 24, [16] * 12)

    def test_no_adapter_is_built_for_a_block_that_uses_none(self) -> None:
        made = SharedAdapters(SharedAdapter("core", 8, first_block=22), [16] * 24, [16] * 24)
        assert {name.split(".")[1] for name in names(made, "bottlenecks")} == {"0_width16", "1_width16", "2_width16"}
        assert not names(made, "projections")
        assert names(SharedAdapters(SharedAdapter("all", 8, first_block=3), [16] * 24), "bottlenecks") == {
            f"bottlenecks.all.{part}.{kind}" for part in ("down", "up", "ln") for kind in ("weight", "bias")
        }

    def test_every_parameter_is_used(self) -> None:
        """By the image or the text; a parameter that no gradient reaches would be a number that lies."""
        for share in ("core", "all"):
            adapter = SharedAdapter(share, 4, first_block=3, projection=True)
            config = ModelConfig(TINY_PE, ("whole",), Joint(), adapter, levels="prompts")
            qclip = random_qclip(config, with_text=True).requires_grad_(True)
            assert qclip.text is not None
            views = torch.rand(2, 1, 3, 48, 48)
            text = qclip.text_features(qclip.text.token_ids(level_prompts(3)))
            (qclip.frame_features(views).square().sum() + text.square().sum()).backward()
            for name, parameter in qclip.adapters.named_parameters():
                assert parameter.grad is not None, f"{share} {name}"
                assert parameter.grad.abs().sum() > 0, f"{share} {name}"

    def test_without_text_there_is_nothing_for_it(self) -> None:
        made = SharedAdapters(SharedAdapter("core", 8, 1, projection=True), [16] * 2, (), (16, None, 8))
        assert not any("text" in name for name, _ in made.named_parameters())


def names(module: nn.Module, start: str) -> set[str]:
    return {name for name, _ in module.named_parameters() if name.startswith(start)}


class TestWhatTheyShare:
    def test_image_and_text_of_one_width_share_their_tensors(self) -> None:
        made = randomised(SharedAdapters(SharedAdapter("core", 4, 1, projection=True), [8] * 3, [8] * 3, (8, 8, 8)))
        x = torch.randn(2, 5, 8)
        with torch.no_grad():
            made.text_scale.copy_(made.image_scale)
            made.text_projection_scale.copy_(made.image_projection_scale)
            for place in range(3):
                assert torch.equal(made.image(place, x), made.text(place, x))
            assert torch.equal(made.image_joint(x[:, 0], x[:, 1]), made.text_joint(x[:, 0], x[:, 1]))
            assert not torch.equal(made.image(0, x), made.image(1, x)), "each block has projections of its own"
        assert len(made.bottlenecks) == 3
        assert len(made.projections) == 1

    def test_depth_is_counted_from_the_end(self) -> None:
        """The last block of 24 shares with the last of 12."""
        made = randomised(SharedAdapters(SharedAdapter("core", 4, first_block=23), [8] * 24, [8] * 12))
        x = torch.randn(1, 3, 8)
        with torch.no_grad():
            made.text_scale.copy_(made.image_scale)
            assert torch.equal(made.image(1, x), made.text(1, x))

    def test_one_bottleneck_serves_every_place(self) -> None:
        made = randomised(
            SharedAdapters(SharedAdapter("all", 4, 1, projection=True), [8] * 3, [8] * 2 + [8], (8, 8, 8))
        )
        x = torch.randn(2, 5, 8)
        with torch.no_grad():
            made.image_projection_scale.copy_(made.image_scale)
            assert torch.equal(made.image(0, x), made.image(2, x))
            assert torch.equal(made.image_joint(x[:, 0], x[:, 0]), made.image(0, x)[:, 0])
        assert len(made.bottlenecks) == 1

    def test_the_formula(self) -> None:
        """x + s * LN(up(core(down(x)))), the core of "core" being Linear, GELU, Linear and of "all" GELU."""
        x = torch.randn(2, 5, 8)
        for share in ("core", "all"):
            made = randomised(SharedAdapters(SharedAdapter(share, 4, 1), [8]))
            part = next(iter(made.bottlenecks.values()))
            hidden = x @ part.down.weight.T + part.down.bias
            if share == "core":
                hidden = hidden @ made.core[0].weight.T + made.core[0].bias
            hidden = torch.nn.functional.gelu(hidden)
            if share == "core":
                hidden = hidden @ made.core[2].weight.T + made.core[2].bias
            up = hidden @ part.up.weight.T + part.up.bias
            normal = (up - up.mean(-1, keepdim=True)) / (up.var(-1, unbiased=False, keepdim=True) + 1e-5).sqrt()
            expected = x + made.image_scale * (normal * part.ln.weight + part.ln.bias)
            torch.testing.assert_close(made.image(0, x), expected)

    @pytest.mark.parametrize("text", [[16] * 3, [8, 8, 16]])
    def test_all_shared_needs_one_width(self, text: list[int]) -> None:
        with pytest.raises(
            UsageError, match=r'share = "all": .*image blocks are 8 wide, the text blocks (16|8, 16); use'
        ):
            SharedAdapters(SharedAdapter("all", 4, 1), [8] * 3, text)
        with pytest.raises(UsageError, match=r"blocks are 16, 32 wide"):
            SharedAdapters(SharedAdapter("all", 4, 1), [16, 32, 32])
        with pytest.raises(UsageError, match=r"the projections 16, 512"):
            SharedAdapters(SharedAdapter("all", 4, 1, projection=True), [16] * 2, [16] * 2, (16, 16, 512))

    def test_all_shared_on_towers_of_two_widths_is_refused_by_name(self) -> None:
        with pytest.raises(UsageError, match=r'needs blocks of one width.* 768 wide.* 512.*use share = "core"'):
            on_meta(open_clip_config("ViT-B-32"), SharedAdapter("all", 64, first_block=12))

    def test_widths_that_are_not_adapted_do_not_matter(self) -> None:
        SharedAdapters(SharedAdapter("all", 4, first_block=3), [8, 8, 16, 16], [32, 16, 16])

    def test_a_core_joins_towers_of_two_widths(self) -> None:
        """ViT-B-32: image 768 wide, text 512."""
        qclip = on_meta(open_clip_config("ViT-B-32"), SharedAdapter("core", 64, first_block=11, projection=True))
        kinds = {name.split(".")[2]: tensor.shape for name, tensor in qclip.named_parameters() if "down.weight" in name}
        assert kinds == {
            "0_width768": (64, 768),
            "1_width768": (64, 768),
            "0_width512": (64, 512),
            "1_width512": (64, 512),
        }
        projections = {name: part[-1].weight.shape for name, part in qclip.adapters.projections.items()}
        assert projections == {"width512": (512, 64), "width768": (512, 64)}
        assert len([name for name in qclip.trained_tensors() if ".core." in name]) == 4

    def test_features_of_towers_of_two_widths(self) -> None:
        wide = replace(TINY_PE, trunk=replace(TINY_PE.trunk, embed_dim=48))
        adapter = SharedAdapter("core", 4, first_block=3, projection=True)
        qclip = random_qclip(ModelConfig(wide, ("whole",), Joint(), adapter, levels="prompts"), with_text=True)
        assert qclip.text is not None
        with torch.inference_mode():
            assert qclip.frame_features(torch.rand(2, 1, 3, 48, 48)).shape == (2, 32)
            assert qclip.text_features(qclip.text.token_ids(level_prompts(3))).shape == (5, 32)

    def test_a_tower_that_widens_has_adapters_of_each_width(self) -> None:
        """MobileCLIP: feature maps, whose width doubles from stage to stage."""
        made = randomised(SharedAdapters(SharedAdapter("core", 4, first_block=2), [8, 8, 16]))
        assert made.image(0, torch.randn(2, 6, 6, 8)).shape == (2, 6, 6, 8)
        assert made.image(1, torch.randn(2, 3, 3, 16)).shape == (2, 3, 3, 16)

    def test_a_projection_needs_a_joint_space(self) -> None:
        for share in ("core", "all"):
            with pytest.raises(UsageError, match="no projections to a joint space"):
                SharedAdapters(SharedAdapter(share, 4, 1, projection=True), [8])


def randomised(module: SharedAdapters, seed: int = 0) -> SharedAdapters:
    generator = torch.Generator().manual_seed(seed)
    for parameter in module.requires_grad_(False).parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


class TestTheStart:
    def test_scales_are_a_tenth(self) -> None:
        made = SharedAdapters(SharedAdapter("core", 4, 1, projection=True), [8], [8], (8, 8, 8))
        scales = {name: p.item() for name, p in made.named_parameters() if name.endswith("scale")}
        assert scales == pytest.approx(
            dict.fromkeys(
                ("image_scale", "text_scale", "image_projection_scale", "text_projection_scale"), SCALE_AT_START
            )
        )

    @pytest.mark.parametrize("share", ["core", "all"])
    def test_at_scale_0_nothing_changes(self, share: str) -> None:
        adapter = SharedAdapter(share, 4, first_block=2, projection=True)
        config = ModelConfig(TINY_PE, ("whole",), Joint(), adapter, levels="prompts")
        text_of_4 = replace(config, backbone=replace(TINY_PE, text=replace(TINY_PE.text, layers=4)))
        adapted = random_qclip(text_of_4, with_text=True)
        plain = QClip(replace(text_of_4, adapters=None), with_text=True).eval()
        plain.load_state_dict({name: adapted.state_dict()[name] for name in plain.state_dict()})
        views = torch.rand(2, 1, 3, 48, 48)
        ids = adapted.text.token_ids(level_prompts(3))
        with torch.inference_mode():
            assert not torch.allclose(adapted.frame_features(views), plain.frame_features(views), atol=1e-2)
            for name, parameter in adapted.adapters.named_parameters():
                if name.endswith("scale"):
                    parameter.zero_()
            assert torch.equal(adapted.frame_features(views), plain.frame_features(views))
            assert torch.equal(adapted.text_features(ids), plain.text_features(ids))

    @pytest.mark.parametrize("share", ["core", "all"])
    def test_at_scale_0_statistics_do_not_change_either(self, share: str) -> None:
        adapted = random_qclip(replace(TINY, adapters=SharedAdapter(share, 4, first_block=1)))
        plain = QClip(TINY).eval()
        plain.load_state_dict({name: adapted.state_dict()[name] for name in plain.state_dict()})
        views = torch.rand(1, 2, 3, 224, 224)
        with torch.inference_mode():
            assert not torch.allclose(adapted.frame_features(views), plain.frame_features(views), atol=1e-2)
            adapted.adapters.image_scale.zero_()
            assert torch.equal(adapted.frame_features(views), plain.frame_features(views))


class TestFeatureAdapter:
    def test_by_hand(self) -> None:
        adapter = FeatureAdapter(ProjectionAdapter(dim=2, ratio=0.25), 3).requires_grad_(False)
        adapter.down.weight.copy_(torch.tensor([[1.0, 0, 0], [0, -1.0, 0]]))
        adapter.down.bias.copy_(torch.tensor([0.0, 1.0]))
        adapter.up.weight.copy_(torch.tensor([[1.0, 0], [0, 2.0], [1.0, 1.0]]))
        adapter.up.bias.copy_(torch.tensor([0.0, 0.0, 4.0]))
        features = torch.tensor([[2.0, 3.0, 4.0]])
        # down: (2, -3 + 1 = -2), relu: (2, 0), up: (2, 0, 2 + 4)
        torch.testing.assert_close(adapter(features), 0.75 * features + 0.25 * torch.tensor([[2.0, 0, 6.0]]))

    def test_ratio_0_is_no_adapter(self) -> None:
        features = torch.randn(4, 6)
        assert torch.equal(FeatureAdapter(ProjectionAdapter(2, ratio=0.0), 6)(features), features)

    def test_every_parameter_gets_a_gradient_and_the_tower_none(self) -> None:
        qclip = random_qclip(replace(TINY, adapters=ProjectionAdapter(3)))
        assert gradients_reach(qclip) == {
            f"adapters.{part}.{kind}" for part in ("down", "up") for kind in ("weight", "bias")
        }


def gradients_reach(qclip: QClip) -> set[str]:
    """Parameters that get a gradient when everything is trained that a checkpoint holds."""
    for name, parameter in qclip.named_parameters():
        parameter.requires_grad_(name in qclip.trained_tensors())
    qclip.frame_features(torch.rand(2, len(qclip.config.views), 3, 224, 224)).square().sum().backward()
    return {name for name, p in qclip.named_parameters() if p.grad is not None and bool(p.grad.abs().sum() > 0)}


class TestVisualPrompts:
    @pytest.mark.parametrize("prefix_tokens", [0, 1, 3])
    @pytest.mark.parametrize("tokens", [1, 4])
    def test_remove_is_the_inverse_of_insert(self, prefix_tokens: int, tokens: int) -> None:
        prompts = PromptTokens(VisualPrompts(tokens, first_block=2), [6] * 3, prefix_tokens)
        x = torch.randn(2, 7, 6)
        assert len(prompts.tokens) == 2
        for place in range(2):
            longer = prompts.insert(place, x)
            assert longer.shape == (2, 7 + tokens, 6)
            assert torch.equal(longer[1, prefix_tokens : prefix_tokens + tokens], prompts.tokens[place])
            assert torch.equal(longer[:, :prefix_tokens], x[:, :prefix_tokens])
            assert torch.equal(prompts.remove(place, longer), x)

    def test_they_start_small_and_apart(self) -> None:
        prompts = PromptTokens(VisualPrompts(50, first_block=1), [64] * 2, 1)
        for learned in prompts.tokens:
            assert learned.std().item() == pytest.approx(0.02, rel=0.1)
        assert not torch.equal(*prompts.tokens)

    @pytest.mark.parametrize("first_block", [1, 2])
    def test_they_change_features_and_alone_get_gradients(self, first_block: int) -> None:
        prompted = random_qclip(replace(TINY, adapters=VisualPrompts(3, first_block)))
        plain = QClip(TINY).eval()
        plain.load_state_dict({name: prompted.state_dict()[name] for name in plain.state_dict()})
        views = torch.rand(1, 2, 3, 224, 224)
        with torch.inference_mode():
            after, before = prompted.frame_features(views), plain.frame_features(views)
        assert after.shape == before.shape
        changed = (after - before).abs().view(2, 2, -1).amax(dim=(0, 2)) > 1e-4  # of each exit
        assert changed.tolist() == [first_block == 1, True]
        assert gradients_reach(prompted) == {f"adapters.tokens.{place}" for place in range(3 - first_block)}

    def test_they_are_trained_parameters(self) -> None:
        config = ModelConfig(TINY_TOWER, ("whole",), Statistics((2,), ("class",)), VisualPrompts(5, 1), levels="linear")
        assert trained_parameters(QClip(config)) == 2 * 5 * 16 + 16 + 1


@pytest.mark.parametrize(
    ("of_type", "text", "fits"),
    [
        (SharedAdapter, '{"kind": "shared", "share": "core", "dim": 8, "first_block": 1}', True),
        (SharedAdapter, '{"kind": "shared", "share": "some", "dim": 8, "first_block": 1}', False),
        (SharedAdapter, '{"kind": "shared", "share": "all", "dim": 0, "first_block": 1}', False),
        (SharedAdapter, '{"kind": "shared", "share": "all", "dim": 8, "first_block": 0}', False),
        (SharedAdapter, '{"kind": "shared", "share": "all", "dim": 100000, "first_block": 1}', False),
        (ProjectionAdapter, '{"kind": "projection", "dim": 8, "ratio": 1.5}', False),
        (ProjectionAdapter, '{"kind": "projection", "dim": 8, "ratio": 1.0}', True),
        (VisualPrompts, '{"kind": "visual-prompts", "tokens": 8, "first_block": 1, "dropout": 0.1}', False),
    ],
)
def test_configurations_are_checked_when_they_are_read(of_type: type, text: str, fits: bool) -> None:
    if fits:
        assert msgspec.json.decode(msgspec.json.encode(msgspec.json.decode(text, type=of_type)), type=of_type)
    else:
        with pytest.raises(msgspec.ValidationError):
            msgspec.json.decode(text, type=of_type)
