"""The model: the tower is CLIP's, the head turns features into level probabilities and their expectation."""

import open_clip
import pytest
import torch
from tiny_model import TINY, TINY_TOWER, random_qclip

from qclip_ffmpeg.checkpoint import WEIGHTS_DIR, read_tower
from qclip_ffmpeg.model import LEVEL_SCORES, LEVELS, ImageTower, LevelHead, ModelConfig, QClip, token_statistics
from qclip_ffmpeg.scorer import Scorer

pytest_plugins = ["model_fixtures"]


def random_views(*shape: int) -> torch.Tensor:
    return torch.rand(*shape, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def test_the_bundled_tower_equals_open_clip(scorer: Scorer) -> None:
    """Our blocks compute what open_clip's do on the same weights, up to the order of additions."""
    card = scorer.model.card
    tower = card.config.tower
    reference = open_clip.create_model(tower.architecture, pretrained=None).visual.eval()
    weights = read_tower(WEIGHTS_DIR / card.tower_file, tower.blocks)
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    assert not unexpected
    beyond = tuple(f"transformer.resblocks.{i}." for i in range(tower.blocks, 12))
    assert all(name.startswith((*beyond, "ln_post.", "proj")) for name in missing)
    theirs = []
    reference.transformer.resblocks[tower.blocks - 1].register_forward_hook(lambda _m, _i, out: theirs.append(out))
    images = torch.randn(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        reference(images)
        [ours] = scorer.model.qclip.tower(images, (tower.blocks,))
    assert ours.shape == (2, 197, 768)
    assert (ours - theirs[0]).abs().max() < 1e-4


def test_the_tower_normalises_as_open_clip_says() -> None:
    """Mean and deviation of the bundled model are CLIP's."""
    from qclip_ffmpeg.train.fit import TOWER

    config = open_clip.get_model_preprocess_cfg(open_clip.create_model(TOWER.architecture, pretrained=None))
    assert (TOWER.image_mean, TOWER.image_std) == (tuple(config["mean"]), tuple(config["std"]))


@pytest.mark.parametrize("exits", [(1,), (2,), (1, 2), (2, 1)])
def test_tokens_come_after_the_blocks_asked_for_in_their_order(exits: tuple[int, ...]) -> None:
    tower = random_qclip().tower
    images = random_views(3)
    with torch.inference_mode():
        both = dict(zip((1, 2), tower(images, (1, 2)), strict=True))
        asked = tower(images, exits)
    assert [t.shape for t in asked] == [(3, 1 + 49, 16)] * len(exits)
    for number, tokens in zip(exits, asked, strict=True):
        assert torch.equal(tokens, both[number])


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
        assert features.shape == (3, TINY.feature_dim)
        torch.testing.assert_close(qclip(views)[0], qclip.head(features.mean(dim=0, keepdim=True)))


def test_features_are_normalised_pixels_view_by_view() -> None:
    """Features of a frame: its views one after the other, each all exits, each all statistics."""
    qclip = random_qclip()
    views = random_views(1, 2)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (TINY_TOWER.image_mean, TINY_TOWER.image_std))
    with torch.inference_mode():
        expected = [
            token_statistics(tokens, TINY.statistics)
            for view in views[0]
            for tokens in qclip.tower(((view - mean) / std).unsqueeze(0), TINY.exit_blocks)
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
    config = ModelConfig(tower=TINY_TOWER, views=views, exit_blocks=exits, statistics=statistics)
    assert config.feature_dim == expected
    with torch.inference_mode():
        assert random_qclip(config).frame_features(random_views(1, len(views))).shape == (1, expected)


def test_token_statistics_by_hand() -> None:
    """The class token is not among the patches; the deviation is the sample's (n - 1)."""
    tokens = torch.tensor([[[100.0, -100.0], [1.0, 10.0], [2.0, 10.0], [6.0, 10.0]]])
    expected = {"class": [100.0, -100.0], "mean": [3.0, 10.0], "std": [7.0**0.5, 0.0]}
    for order in (("class", "mean", "std"), ("std", "class"), ("mean",)):
        made = token_statistics(tokens, order)
        torch.testing.assert_close(made, torch.tensor([[v for name in order for v in expected[name]]]))


def test_an_empty_head_knows_nothing() -> None:
    """Without training all levels are alike and the score is the middle of the scale."""
    head = LevelHead(4)
    probabilities = head(torch.randn(3, 4))
    torch.testing.assert_close(probabilities, torch.full((3, 5), 0.2))
    torch.testing.assert_close(head.score(probabilities), torch.full((3,), 50.0))


def test_the_score_is_the_expectation_of_the_levels() -> None:
    head = LevelHead(1)
    probabilities = torch.tensor([[1.0, 0, 0, 0, 0], [0, 0, 0, 0, 1.0], [0.5, 0, 0, 0.25, 0.25], [0, 0.1, 0.9, 0, 0]])
    assert head.score(probabilities).tolist() == pytest.approx([0, 100, 43.75, 47.5])


def test_the_head_standardises_its_features() -> None:
    head = LevelHead(2)
    head.mean.copy_(torch.tensor([1.0, 2.0]))
    head.scale.copy_(torch.tensor([2.0, 4.0]))
    head.level_vectors.data[4] = torch.tensor([3.0, 5.0])
    head.level_bias.data[4] = 0.5
    logit = 3 * (5 - 1) / 2 + 5 * (10 - 2) / 4 + 0.5
    expected = torch.tensor([[0.0, 0, 0, 0, logit]]).softmax(dim=1)
    torch.testing.assert_close(head(torch.tensor([[5.0, 10.0]])), expected)


def test_parameters_are_named_as_in_open_clip() -> None:
    """So that tower files can be made from, and compared with, open_clip's."""
    names = set(ImageTower(TINY_TOWER).state_dict())
    theirs = open_clip.create_model("ViT-B-16-quickgelu", pretrained=None).visual.state_dict()
    assert names <= set(theirs)
    assert not set(LevelHead(1).state_dict()) & names
    assert set(QClip(TINY).state_dict()) == {f"tower.{n}" for n in names} | {
        f"head.{n}" for n in LevelHead(1).state_dict()
    }
