"""The model: the tower is CLIP's, the head turns features into level probabilities and their expectation."""

from collections.abc import Iterator
from typing import Any

import msgspec
import open_clip
import pytest
import torch
from tiny_model import TINY, TINY_PE, TINY_READOUT, TINY_TOWER, random_qclip
from torch import Tensor

from qclip_ffmpeg.adapters import AdapterConfig, ProjectionAdapter, SharedAdapter, VisualPrompts
from qclip_ffmpeg.backbone import ImageTower, OpenClipConfig, Tower, TrunkSizes
from qclip_ffmpeg.checkpoint import DEFAULT_MODEL, WEIGHTS_DIR, find_model, read_backbone, read_checkpoint
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.heads import (
    LEVEL_SCORES,
    LEVELS,
    LevelHead,
    LinearHead,
    PromptHead,
    ZeroShotHead,
    nearest_levels,
)
from qclip_ffmpeg.model import Joint, ModelConfig, QClip, Statistics, context_start, level_prompts, token_statistics
from qclip_ffmpeg.scorer import Scorer

pytest_plugins = ["model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")


replace = msgspec.structs.replace


def random_views(*shape: int, size_px: int = 224) -> Tensor:
    return torch.rand(*shape, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


def after_each_block(tower: Tower, images: Tensor) -> Iterator[Tensor]:
    """Tokens after block 1, 2, ..."""
    tokens = tower.embed(images)
    for number in range(1, tower.blocks + 1):
        tokens = tower.block(number, tokens)
        yield tokens


def test_the_bundled_tower_equals_open_clip(scorer: Scorer) -> None:
    """Our blocks compute what open_clip's do on the same weights, up to the order of additions."""
    card = scorer.model.card
    tower = card.config.backbone
    reference = open_clip.create_model(tower.architecture, pretrained=None).visual.eval()
    weights = read_backbone(WEIGHTS_DIR / card.backbone_file, tower)
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert not unexpected
    beyond = tuple(f"transformer.resblocks.{i}." for i in range(tower.blocks, 12))
    assert all(name.startswith((*beyond, "ln_post.", "proj")) for name in missing)
    theirs = []
    reference.transformer.resblocks[tower.blocks - 1].register_forward_hook(lambda _m, _i, out: theirs.append(out))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        reference(images)
        *_, ours = after_each_block(scorer.model.qclip.tower, images)
    assert ours.shape == (2, 197, 768)
    assert (ours - theirs[0]).abs().max() < 1e-5 * theirs[0].abs().max()


def test_the_tower_normalises_as_open_clip_says() -> None:
    """Mean and deviation of the bundled model are CLIP's."""
    tower = read_checkpoint(find_model(DEFAULT_MODEL))[0].config.backbone
    config = open_clip.get_model_preprocess_cfg(open_clip.create_model(tower.architecture, pretrained=None))
    assert (tower.image_mean, tower.image_std) == (tuple(config["mean"]), tuple(config["std"]))


@pytest.mark.parametrize("exits", [(1,), (2,), (1, 2)])
def test_tokens_come_after_the_blocks_asked_for_in_their_order(exits: tuple[int, ...]) -> None:
    qclip = random_qclip(replace(TINY, views=("whole",), readout=Statistics(exits, ("class",))))
    views = random_views(3, 1)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (TINY_TOWER.image_mean, TINY_TOWER.image_std))
    with torch.inference_mode():
        after = dict(enumerate(after_each_block(qclip.tower, (views[:, 0] - mean) / std), start=1))
        features = qclip.frame_features(views)
    assert all(tokens.shape == (3, 1 + 49, 16) for tokens in after.values())
    assert torch.equal(features, torch.cat([after[number][:, 0] for number in exits], dim=1))


def test_blocks_behind_the_last_one_that_is_read_do_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    qclip = random_qclip(replace(TINY, readout=Statistics((1,), ("mean",))))
    monkeypatch.setattr(qclip.tower.transformer.resblocks[1], "forward", pytest.fail)
    qclip.frame_features(random_views(1, 2))


def test_forward_gives_probabilities_and_scores_of_each_window() -> None:
    qclip = random_qclip()
    with torch.inference_mode():
        probabilities, scores = qclip(random_views(2, 4, 2))
    assert probabilities.shape == (2, len(LEVELS))
    assert scores.shape == (2,)
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))
    assert ((probabilities > 0) & (probabilities < 1)).all()
    torch.testing.assert_close(scores, probabilities @ torch.tensor(LEVEL_SCORES))
    assert ((scores > 0) & (scores < 100)).all()


def test_a_window_is_the_mean_of_its_frames_features() -> None:
    qclip = random_qclip()
    views = random_views(1, 3, 2)
    with torch.inference_mode():
        features = qclip.frame_features(views[0])
        assert features.shape == (3, qclip.feature_dim) == (3, 192)
        torch.testing.assert_close(qclip(views), qclip.head(features.mean(dim=0, keepdim=True)))


def test_features_are_normalised_pixels_view_by_view() -> None:
    """Features of a frame: its views one after the other, each all exits, each all statistics."""
    qclip = random_qclip()
    views = random_views(1, 2)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (TINY_TOWER.image_mean, TINY_TOWER.image_std))
    with torch.inference_mode():
        expected = [
            token_statistics(tokens, TINY_READOUT.statistics, prefix_tokens=1)
            for view in views[0]
            for tokens in after_each_block(qclip.tower, ((view - mean) / std).unsqueeze(0))
        ]
        torch.testing.assert_close(qclip.frame_features(views), torch.cat(expected, dim=1))


@pytest.mark.parametrize(
    ("views", "exits", "statistics", "expected"),
    [
        (("whole",), (1,), ("class",), 16),
        (("whole", "mosaic"), (1,), ("mean",), 32),
        (("whole", "mosaic"), (1, 2), ("class", "mean", "std"), 192),
    ],
)
def test_feature_dim(views: tuple, exits: tuple, statistics: tuple, expected: int) -> None:
    qclip = random_qclip(ModelConfig(TINY_TOWER, views, Statistics(exits, statistics)))
    assert qclip.feature_dim == expected
    with torch.inference_mode():
        assert qclip.frame_features(random_views(1, len(views))).shape == (1, expected)


def test_token_statistics_by_hand() -> None:
    """The class token is not among the patches; the deviation is the sample's (n - 1)."""
    tokens = torch.tensor([[[100.0, -100.0], [1.0, 10.0], [2.0, 10.0], [6.0, 10.0]]])
    expected = {"class": [100.0, -100.0], "mean": [3.0, 10.0], "std": [7.0**0.5, 0.0]}
    for order in (("class", "mean", "std"), ("std", "class"), ("mean",)):
        made = token_statistics(tokens, order, prefix_tokens=1)
        torch.testing.assert_close(made, torch.tensor([[v for name in order for v in expected[name]]]))


def test_an_empty_head_knows_nothing() -> None:
    """Without training all levels are alike and the score is the middle of the scale."""
    probabilities, scores = LevelHead(4)(torch.randn(3, 4))
    torch.testing.assert_close(probabilities, torch.full((3, 5), 0.2))
    torch.testing.assert_close(scores, torch.full((3,), 50.0))


def test_the_score_is_the_expectation_of_the_levels() -> None:
    head = LevelHead(5)
    head.level_vectors.data.copy_(torch.eye(5))
    wanted = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0], [0.5, 0, 0, 0.25, 0.25], [0, 0.1, 0.9, 0, 0]])
    probabilities, scores = head(wanted.clamp(min=1e-30).log())
    torch.testing.assert_close(probabilities, wanted)
    assert scores.tolist() == pytest.approx([0, 100, 43.75, 47.5])


def test_the_head_standardises_its_features() -> None:
    head = LevelHead(2)
    head.mean.copy_(torch.tensor([1.0, 2.0]))
    head.scale.copy_(torch.tensor([2.0, 4.0]))
    head.level_vectors.data[4] = torch.tensor([3.0, 5.0])
    head.level_bias.data[4] = 0.5
    logit = 3 * (5 - 1) / 2 + 5 * (10 - 2) / 4 + 0.5
    expected = torch.tensor([[0.0, 0, 0, 0, logit]]).softmax(dim=1)
    torch.testing.assert_close(head(torch.tensor([[5.0, 10.0]]))[0], expected)


def test_parameters_are_named_as_in_open_clip() -> None:
    """So that tower files can be made from, and compared with, open_clip's."""
    names = set(ImageTower(TINY_TOWER).state_dict())
    theirs = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).visual.state_dict()
    assert names <= set(theirs)
    assert not set(LevelHead(1).state_dict()) & names
    assert set(QClip(TINY).state_dict()) == {f"tower.{n}" for n in names} | {
        f"head.{n}" for n in LevelHead(1).state_dict()
    }


KINDS: dict[str, AdapterConfig | None] = {
    "no adapter": None,
    "shared core": SharedAdapter("core", 4, first_block=2),
    "shared core from the first block": SharedAdapter("core", 4, first_block=1),
    "shared core after the last block": SharedAdapter("core", 4, first_block=4),
    "all shared": SharedAdapter("all", 4, first_block=2),
    "projection": ProjectionAdapter(4),
    "visual prompts": VisualPrompts(3, first_block=2),
    "visual prompts from the first block": VisualPrompts(3, first_block=1),
    "visual prompts in the last block": VisualPrompts(3, first_block=4),
}
FOUR_BLOCKS = replace(TINY_TOWER, blocks=4, image_px=96)
NO_ROTATIONS = OpenClipConfig(
    architecture="EVA01-g-14",
    image_px=42,
    image_mean=(0.5, 0.4, 0.3),
    image_std=(0.25, 0.26, 0.27),
    joint_dim=24,
    trunk=TrunkSizes(img_size=42, embed_dim=32, depth=4, num_heads=2),
)


def by_hand(qclip: QClip, views: Tensor) -> Tensor:
    """Features of frames, the whole way at once, block after block."""
    config = qclip.config
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (config.backbone.image_mean, config.backbone.image_std))
    found = []
    for view in views.unbind(1):
        x = qclip.tower.embed((view - mean) / std)
        for number in range(1, qclip.last_block + 1):
            place = number - (config.adapters.first_block if hasattr(config.adapters, "first_block") else 99)
            if isinstance(config.adapters, VisualPrompts) and place >= 0:
                learned = qclip.adapters.tokens[place].expand(len(x), -1, -1)
                x = qclip.tower.block(number, torch.cat([x[:, :1], learned, x[:, 1:]], dim=1))
                x = torch.cat([x[:, :1], x[:, 1 + learned.shape[1] :]], dim=1)
            else:
                x = qclip.tower.block(number, x)
            if isinstance(config.adapters, SharedAdapter) and place >= 0:
                x = qclip.adapters.image(place, x)
            if number in qclip.exits:
                found += [token_statistics(x, config.readout.statistics, qclip.tower.prefix_tokens)]
        if isinstance(config.readout, Joint):
            pooled = qclip.tower.pool(x)
            projected = qclip.tower.project(pooled)
            is_shared = isinstance(config.adapters, SharedAdapter)
            found += [qclip.adapters.image_joint(pooled, projected) if is_shared else projected]
    features = torch.cat(found, dim=1)
    return qclip.adapters(features) if isinstance(config.adapters, ProjectionAdapter) else features


def assert_halves_make_the_whole(qclip: QClip, views: Tensor, kept: set[str]) -> None:
    with torch.inference_mode():
        frozen = qclip.frozen(views)
        assert frozen.keys() == kept
        assert all(tensor.shape[:2] == views.shape[:2] for tensor in frozen.values())
        features = qclip.features_of(frozen)
        assert torch.equal(features, qclip.frame_features(views))
        torch.testing.assert_close(features, by_hand(qclip, views), atol=1e-4, rtol=1e-5)
        one = qclip.features_of({name: tensor[1:2] for name, tensor in frozen.items()})
        torch.testing.assert_close(one, features[1:2], atol=1e-4, rtol=1e-5)
    assert features.shape == (len(views), qclip.feature_dim)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("exits", [(4,), (1, 4), (1, 2, 3, 4)])
def test_the_frozen_half_and_the_trained_half_make_the_whole(kind: str, exits: tuple[int, ...]) -> None:
    """Exits before, at and after the first adapted block, two views."""
    adapters = KINDS[kind]
    readout = Statistics(exits, ("class", "std", "mean"))
    qclip = random_qclip(ModelConfig(FOUR_BLOCKS, ("whole", "mosaic"), readout, adapters))
    in_tower = isinstance(adapters, SharedAdapter | VisualPrompts)
    early = [n for n in exits if not in_tower or n < adapters.first_block]
    kept = ({"tokens"} if in_tower else set()) | ({"early"} if early else set())
    assert_halves_make_the_whole(qclip, random_views(2, 2, size_px=96), kept)


@pytest.mark.parametrize(("kind", "projection"), [(k, p) for k in KINDS for p in sorted({False, "shared" in k})])
def test_the_halves_of_a_joint_space_make_the_whole(kind: str, projection: bool) -> None:
    """A Perception Encoder, or, where its rotations are in the way, a tower without them."""
    adapters = KINDS[kind]
    backbone = NO_ROTATIONS if isinstance(adapters, VisualPrompts) else TINY_PE
    if isinstance(adapters, SharedAdapter):
        adapters = replace(adapters, projection=projection)
    in_tower = isinstance(adapters, SharedAdapter | VisualPrompts)
    qclip = random_qclip(ModelConfig(backbone, ("whole", "mosaic"), Joint(), adapters))
    views = random_views(2, 2, size_px=backbone.image_px)
    assert_halves_make_the_whole(qclip, views, {"tokens" if in_tower else "pooled"})


@pytest.mark.parametrize("kind", KINDS)
def test_the_frozen_half_has_no_gradient_path_and_the_trained_half_has(kind: str) -> None:
    """What is trained is all that gets a gradient."""
    qclip = random_qclip(ModelConfig(FOUR_BLOCKS, ("whole",), Statistics((1, 4), ("class", "mean")), KINDS[kind]))
    for name, parameter in qclip.named_parameters():
        parameter.requires_grad_(name in qclip.trained_tensors())
    frozen = qclip.frozen(random_views(2, 1, size_px=96))
    assert not any(tensor.requires_grad for tensor in frozen.values())
    qclip.judge(qclip.features_of(frozen).unsqueeze(0))[1].sum().backward()
    for name, parameter in qclip.named_parameters():
        assert (parameter.grad is not None) == (name in qclip.trained_tensors()), name


def test_training_does_not_wake_the_towers() -> None:
    """Batch statistics of a frozen tower must not change, nor may it drop anything."""
    qclip = random_qclip(ModelConfig(TINY_PE, ("whole",), Joint(), levels="prompts"), with_text=True)
    assert qclip.train() is qclip
    assert qclip.training
    assert qclip.head.training
    assert not any(module.training for tower in (qclip.tower, qclip.text) for module in tower.modules())
    assert not qclip.eval().training


class TestHeads:
    def test_a_linear_probe(self) -> None:
        head = LinearHead(2)
        _, untrained = head(torch.randn(3, 2))
        assert untrained.tolist() == [50, 50, 50]
        head.mean.copy_(torch.tensor([1.0, 2.0]))
        head.scale.copy_(torch.tensor([2.0, 4.0]))
        head.slope.data.copy_(torch.tensor([3.0, -5.0]))
        head.offset.data.fill_(40.0)
        levels, score = head(torch.tensor([[5.0, 10.0], [1.0, 2.0]]))
        assert score.tolist() == [40 + 3 * 2 - 5 * 2, 40]
        assert torch.equal(levels, nearest_levels(score))

    @pytest.mark.parametrize(
        ("score", "weights"),
        [
            (0, [1, 0, 0, 0, 0]),
            (25, [0, 1, 0, 0, 0]),
            (100, [0, 0, 0, 0, 1]),
            (37.5, [0, 0.5, 0.5, 0, 0]),
            (95, [0, 0, 0, 0.2, 0.8]),
            (-3, [1, 0, 0, 0, 0]),
            (104, [0, 0, 0, 0, 1]),
        ],
    )
    def test_nearest_levels_by_hand(self, score: float, weights: list[float]) -> None:
        assert nearest_levels(torch.tensor([float(score)]))[0].tolist() == pytest.approx(weights, abs=1e-6)

    def test_the_expectation_of_the_nearest_levels_is_the_score(self) -> None:
        scores = torch.linspace(0, 100, 401)
        weights = nearest_levels(scores)
        torch.testing.assert_close(weights @ torch.tensor(LEVEL_SCORES), scores, atol=1e-4, rtol=0)
        torch.testing.assert_close(weights.sum(dim=1), torch.ones(401))
        assert ((weights > 0).sum(dim=1) <= 2).all()

    def test_a_prompt_head_compares_directions(self) -> None:
        """Cosines, whatever the lengths; levels at a temperature of 0.01; the raw score weighs the cosines."""
        head = PromptHead(5)
        head.text_features.copy_(torch.diag(torch.tensor([1.0, 2.0, 0.5, 7.0, 1.0])))
        head.score_vector.data.copy_(torch.tensor([-1.0, 0.0, 2.0, 0.0, 1.0]))
        features = torch.tensor([[3.0, 0, 4.0, 0, 0], [0, 0, 0, 0, 0.1]])
        cosines = torch.tensor([[0.6, 0, 0.8, 0, 0], [0, 0, 0, 0, 1.0]])
        torch.testing.assert_close(head.similarity(features), cosines)
        levels, raw = head(features)
        assert raw.tolist() == pytest.approx([1.0, 1.0])
        torch.testing.assert_close(levels, (100 * cosines).softmax(dim=1))
        torch.testing.assert_close(head(1000 * features), head(features))

    def test_no_features_are_no_catastrophe(self) -> None:
        head = PromptHead(4)
        levels, raw = head(torch.zeros(2, 4))
        assert torch.isfinite(raw).all()
        torch.testing.assert_close(levels, torch.full((2, 5), 0.2))

    def test_zero_shot_is_the_expectation_of_the_levels(self) -> None:
        head = ZeroShotHead(5)
        assert not list(head.parameters())
        head.text_features.copy_(torch.eye(5))
        levels, score = head(torch.tensor([[0.0, 0, 0, 0, 2.0], [3.0, 0, 3.0, 0, 0]]))
        torch.testing.assert_close(levels, torch.tensor([[0.0, 0, 0, 0, 1], [0.5, 0, 0.5, 0, 0]]))
        assert score.tolist() == pytest.approx([100.0, 25.0])


class TestPrompts:
    def test_the_five_prompts(self) -> None:
        assert level_prompts(3) == [f"X X X a video of {level} quality" for level in LEVELS]
        assert level_prompts(0)[4] == "a video of excellent quality"

    @pytest.mark.parametrize("context_tokens", [0, 1, 3])
    def test_the_context_takes_the_place_of_the_words(self, context_tokens: int) -> None:
        """With the embeddings of the words it stands for, the context changes nothing."""
        config = ModelConfig(TINY_PE, ("whole",), Joint(), levels="prompts", context_tokens=context_tokens)
        qclip = random_qclip(config, with_text=True)
        assert qclip.text is not None
        ids = qclip.text.token_ids(level_prompts(context_tokens))
        assert ids.shape == (5, 32)
        embedded = qclip.text.token_embeddings(ids)
        with torch.inference_mode():
            x = qclip.text.embed(embedded)
            for number in range(1, qclip.text.blocks + 1):
                x = qclip.text.block(number, x)
            plain = qclip.text.project(qclip.text.pool_prompts(x, ids))
            learned = qclip.text_features(ids)
            assert (torch.equal(learned, plain)) == (context_tokens == 0)
            qclip.context.copy_(embedded[0, 1 : 1 + context_tokens])
            torch.testing.assert_close(qclip.text_features(ids), plain)
        assert plain.shape == (5, 32)

    def test_gradients_reach_the_context_and_the_text_adapters(self) -> None:
        adapters = SharedAdapter("core", 4, first_block=3, projection=True)
        qclip = random_qclip(ModelConfig(TINY_PE, ("whole",), Joint(), adapters, levels="prompts"), with_text=True)
        assert qclip.text is not None
        wanted = {"context", "adapters.text_scale", "adapters.text_projection_scale"}
        for name, parameter in qclip.named_parameters():
            parameter.requires_grad_(name in qclip.trained_tensors())
        qclip.text_features(qclip.text.token_ids(level_prompts(3))).square().sum().backward()
        with_gradient = {name for name, parameter in qclip.named_parameters() if parameter.grad is not None}
        assert wanted <= with_gradient <= set(qclip.trained_tensors())
        assert all(float(qclip.get_parameter(name).grad.abs().sum()) > 0 for name in wanted)

    def test_text_adapters_stand_after_the_last_blocks(self) -> None:
        """Of 4 image blocks 3 and 4 are adapted; of 3 text blocks then 2 and 3: counted from the end."""
        adapters = SharedAdapter("core", 4, first_block=3)
        qclip = random_qclip(ModelConfig(TINY_PE, ("whole",), Joint(), adapters, levels="prompts"), with_text=True)
        assert qclip.text is not None
        ids = qclip.text.token_ids(level_prompts(3))
        with torch.inference_mode():
            embedded = qclip.text.token_embeddings(ids)
            embedded[:, 1:4] = qclip.context
            x = qclip.text.block(1, qclip.text.embed(embedded))
            x = qclip.adapters.text(0, qclip.text.block(2, x))
            x = qclip.adapters.text(1, qclip.text.block(3, x))
            expected = qclip.text.project(qclip.text.pool_prompts(x, ids))
            assert torch.equal(qclip.text_features(ids), expected)

    def test_without_its_text_tower_there_are_no_text_features(self) -> None:
        qclip = random_qclip(ModelConfig(TINY_PE, ("whole",), Joint(), levels="prompts"))
        assert qclip.text is None
        with pytest.raises(RuntimeError, match="without its text tower"):
            qclip.text_features(torch.zeros(5, 32, dtype=torch.int64))

    def test_prompts_that_the_tower_would_cut_are_refused(self) -> None:
        """It reads 32 tokens: a start, the context, five words and an end."""
        config = ModelConfig(TINY_PE, ("whole",), Joint(), levels="prompts", context_tokens=25)
        text = random_qclip(config, with_text=True).text
        assert text is not None
        assert text.token_ids(level_prompts(25)).argmax(dim=1).tolist() == [31] * 5
        with pytest.raises(UsageError, match=r"reads 32 tokens, the prompts have more; use fewer context_tokens"):
            text.token_ids(level_prompts(26))


JOINT = ModelConfig(TINY_PE, ("whole",), Joint())
MISFITS: dict[str, tuple[ModelConfig, str]] = {
    "no joint space": (replace(TINY, readout=Joint()), 'readout "joint".*no joint space; read "statistics"'),
    "no text tower": (replace(TINY, readout=Joint(), levels="prompts"), "no joint space"),
    "prompts in no joint space": (
        replace(TINY, views=("whole",), levels="prompts"),
        'levels = "prompts": needs readout',
    ),
    "prompts on two views": (replace(JOINT, views=("whole", "mosaic"), levels="prompts"), "works on one view"),
    "a projection that is not read": (replace(TINY, adapters=SharedAdapter("all", 4, 1, True)), "adapters.projection"),
    "no views": (replace(TINY, views=()), "views: name at least one"),
    "no exits": (replace(TINY, readout=Statistics((), ("mean",))), "name at least one of exit_blocks"),
    "no statistics": (replace(TINY, readout=Statistics((1,), ())), "one of statistics"),
    "a block too many": (
        replace(TINY, readout=Statistics((1, 3), ("mean",))),
        "exit_blocks: .* has 2 blocks",
    ),
    "block 0": (replace(TINY, readout=Statistics((0, 1), ("mean",))), "exit_blocks: count from 1"),
    "out of order": (replace(TINY, readout=Statistics((2, 1), ("mean",))), "exit_blocks: .*ascending"),
    "a block twice": (replace(TINY, readout=Statistics((1, 1), ("mean",))), "exit_blocks: .*each once"),
    "prompts among rotations": (replace(JOINT, adapters=VisualPrompts(2, 1)), "rotary positions"),
    "adapters after the end": (replace(TINY, adapters=SharedAdapter("all", 4, 3)), r"first_block = 3: .* 2 blocks"),
    "prompts after the end": (replace(TINY, adapters=VisualPrompts(2, 3)), r"first_block = 3: .* 2 blocks"),
    "adapters after the last exit": (
        replace(TINY, readout=Statistics((1,), ("mean",)), adapters=SharedAdapter("all", 4, 2)),
        r"first_block = 2: the image tower runs 1 blocks",
    ),
}


@pytest.mark.parametrize("what", MISFITS)
def test_parts_that_do_not_fit_are_refused(what: str) -> None:
    config, said = MISFITS[what]
    with torch.device("meta"), pytest.raises(UsageError, match=said) as raised:
        QClip(config)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("statistics", [("class",), ("mean", "class")])
@pytest.mark.parametrize("adapters", [None, VisualPrompts(2, 1)])
def test_a_tower_without_a_class_token_has_none_to_read(statistics: Any, adapters: Any) -> None:
    from qclip_ffmpeg.backbone_open_clip import open_clip_config

    siglip = open_clip_config("ViT-B-16-SigLIP2")
    with torch.device("meta"):
        with pytest.raises(UsageError, match="class token"):
            QClip(ModelConfig(siglip, ("whole",), Statistics((6,), statistics), adapters))
        QClip(ModelConfig(siglip, ("whole",), Statistics((6,), ("mean", "std"))))


class WordTokeniser:
    """A tokeniser that gives every word a number, with or without a start token, in eight tokens."""

    def __init__(self, start: list[int], split_context: bool = False) -> None:
        self.start, self.split_context = start, split_context
        self.words: dict[str, int] = {}

    def token_ids(self, prompts: list[str]) -> torch.Tensor:
        rows = []
        for prompt in prompts:
            words = prompt.replace("X", "X x") if self.split_context else prompt
            ids = self.start + [self.words.setdefault(word, 10 + len(self.words)) for word in words.split()]
            rows.append((ids + [0] * 16)[:16])
        return torch.tensor(rows)


@pytest.mark.parametrize(("start", "place"), [([1], 1), ([], 0), ([1, 2], 2)])
def test_context_goes_where_its_words_are(start: list[int], place: int) -> None:
    """SigLIP's tokenisers have no start token."""
    assert context_start(WordTokeniser(start), 3) == place  # type: ignore[arg-type]


def test_a_context_word_of_two_tokens_is_refused() -> None:
    with pytest.raises(UsageError, match="is not one token for this backbone"):
        context_start(WordTokeniser([1], split_context=True), 3)  # type: ignore[arg-type]
