"""What a head is told beside the frames: the motion of the window, the lines of the display, how much is enlarged."""

import math
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch
from test_scorer import inputs, window
from tiny_model import TINY, TINY_PE, random_qclip, tiny_card, write_tower
from tiny_training import ALL_TRAIN, cache_in, quiet, recipe_for, replace, trainer_for

from qclip_ffmpeg.checkpoint import load_model, save_checkpoint
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.heads import LevelHead, Measure
from qclip_ffmpeg.model import Joint, QClip, Statistics
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import windows
from qclip_ffmpeg.scorer import Scorer, WindowViews
from qclip_ffmpeg.showing import shown_of
from qclip_ffmpeg.train.config import check_recipe
from qclip_ffmpeg.train.heads import MEASURE_SHARES, Emphasis, feature_weights, standardise
from qclip_ffmpeg.views import Display

pytest_plugins = ["train_fixtures", "model_fixtures"]
pytestmark = pytest.mark.usefixtures("one_thread")

TOLD = msgspec.structs.replace(TINY, measures=("motion", "display", "enlargement"))
FULL_HD = Display(1920, 1080)


def told_of(path: Path, display: Display = FULL_HD) -> list[float]:
    """(motion, display, enlargement) as the model is told of the first second of a file."""
    with open_video(str(path)) as video:
        first = next(windows(video, segment_s=1, frames_per_window=2))  # type: ignore[arg-type]
        shown = shown_of(first, video.info, display, TOLD, 0)
    assert shown.measures is not None
    return shown.measures.tolist()  # type: ignore[no-any-return]


# What is told


def test_bars_do_not_change_what_is_told(media: Callable[..., Path], encode: Callable[..., Path]) -> None:
    """Nothing moves in bars, and they are not fitted into the display."""
    bare = media("told.mkv", 1, (320, 180), 10, source="testsrc2", c="ffv1")
    boxed = encode(bare, "told-boxed.mkv", c="ffv1", vf="pad=320:240:0:30")
    motion, display, enlargement = told_of(bare)
    assert motion > math.log1p(0.1)
    assert told_of(boxed) == [pytest.approx(motion, rel=0.02), display, enlargement]
    assert display == pytest.approx(math.log2(1080 / 480))
    assert enlargement == pytest.approx(math.log2(1080 / 180))


@pytest.mark.parametrize(
    ("display", "lines"),
    [(Display(None, None), 270), (Display(853, 480), 480), (Display(1280, 720), 720), (Display(3840, 2160), 1080)],
    ids=str,
)
def test_lines_are_told_as_far_as_models_know_them(display: Display, lines: int, media: Callable[..., Path]) -> None:
    clip = media("told-small.mkv", 0.4, (256, 144), 10, c="ffv1")
    assert told_of(clip, display)[1] == pytest.approx(math.log2(lines / 480), abs=1e-3)


@pytest.mark.parametrize(
    ("display", "times"),
    [
        (Display(1280, 720), 5),
        (Display(256, 144), 224 / 144),
        (Display(None, None), 224 / 144),
        (Display(3840, 2160), 8),
    ],
    ids=str,
)
def test_how_much_a_picture_is_enlarged(display: Display, times: float, media: Callable[..., Path]) -> None:
    """At least to the 224 lines that a view has, and no more is told than a model has seen."""
    clip = media("told-small.mkv", 0.4, (256, 144), 10, c="ffv1")
    assert told_of(clip, display)[2] == pytest.approx(math.log2(times), abs=1e-3)


def test_nothing_is_told_of_a_picture_that_is_made_smaller(media: Callable[..., Path]) -> None:
    clip = media("told-large.mkv", 0.4, (640, 360), 10, c="ffv1")
    assert told_of(clip, Display(426, 240))[2] == 0


def test_an_upright_picture_is_enlarged_as_it_is_shown(media: Callable[..., Path], encode: Callable[..., Path]) -> None:
    """Rotated by its side data, 256x144 is shown 256 lines high."""
    lying = media("told-lying.mp4", 0.4, (256, 144), 10, c="libx264")
    upright = encode(lying, "told-upright.mp4", input_options={"display_rotation": 90}, c="copy")
    assert told_of(upright, Display(1920, 1080))[2] == pytest.approx(math.log2(1080 / 256), abs=1e-3)


def test_a_model_without_measures_is_told_nothing(media: Callable[..., Path]) -> None:
    with open_video(str(media("told-small.mkv", 0.4, (256, 144), 10, c="ffv1"))) as video:
        first = next(windows(video, segment_s=1, frames_per_window=2))  # type: ignore[arg-type]
        assert shown_of(first, video.info, FULL_HD, TINY, 0).measures is None


# What comes of it


def test_motion_adds_and_the_display_turns_the_vectors() -> None:
    head = LevelHead(3, ("motion", "display"))
    assert head.level_vectors.shape == (5, 3 + 1 + 3)
    head.mean.copy_(torch.tensor([1.0, 0, 0]))
    head.measure_scale[0] = 2.0
    features, measures = torch.tensor([[2.0, 3.0, 4.0]]), torch.tensor([[6.0, 0.5]])
    assert head.standardise(features, measures).tolist() == [[1, 3, 4, 3, 0.5, 1.5, 2]]


@pytest.fixture
def told_scorer(tmp_path: Path) -> Scorer:
    """The tiny model with a head that is told everything."""
    qclip = random_qclip(TOLD)
    card = tiny_card(write_tower(tmp_path, qclip), config=TOLD)
    save_checkpoint(tmp_path / "told.safetensors", card, qclip.trained_tensors())
    return Scorer(load_model(str(tmp_path / "told.safetensors")), "cpu", threads=1)


def test_each_changes_the_score_and_nothing_else_does(told_scorer: Scorer) -> None:
    views = next(inputs(3)).views

    def score(*told: float) -> float:
        [segment] = told_scorer.score([WindowViews(window(0, 3), views, torch.tensor(told))])
        assert segment.score is not None
        return segment.score

    assert score(1.0, 0.5, 1.0) == score(1.0, 0.5, 1.0)
    assert len({score(0.0, 0.5, 1.0), score(1.0, 0.5, 1.0), score(1.0, 0.0, 1.0), score(1.0, 0.5, 0.0)}) == 4


def test_each_frame_is_judged_with_what_its_window_is_told(told_scorer: Scorer) -> None:
    item, told = next(inputs(3)), torch.tensor([1.0, 0.5, 1.0])
    alone = [WindowViews(window(i, 1), item.views[i : i + 1], told) for i in range(3)]
    [judged] = told_scorer.judged([WindowViews(item.window, item.views, told)])
    assert judged.of_frames.tolist() == pytest.approx([j.raw for j in told_scorer.judged(alone)], abs=1e-4)


# Training


def test_a_trained_head_uses_what_it_is_told(rated: Path, tiny: object, tmp_path: Path) -> None:
    """With a cache or without: the same head."""
    changes = {"measures": ("motion", "display"), "epochs": 0, "ridge": 1.0}
    heads = []
    for name, cache in (("plain", None), ("cached", cache_in(tmp_path / "cache"))):
        trainer = trainer_for(recipe_for(rated, cache=cache, **changes), tmp_path / name, ALL_TRAIN)
        heads.append(trainer.run(quiet).head)
    assert torch.equal(heads[0].level_vectors, heads[1].level_vectors)
    features = heads[0].mean.numel()
    assert heads[0].level_vectors.shape == (5, 2 * features + 1)
    assert heads[0].level_vectors[:, features].abs().max() > 0
    assert heads[0].measure_mean[0] > 0
    assert (heads[0].measure_mean[1], heads[0].measure_scale[1]) == (0, 1), "the display multiplies as it is"


@pytest.mark.parametrize("measure", ["motion", "enlargement"])
def test_a_measure_weighs_a_share_of_all_features(measure: Measure) -> None:
    rng = np.random.default_rng(0)
    features, measures = (torch.from_numpy(rng.normal(3, 2, size=(500, n))).float() for n in (40, 1))
    head = LevelHead(40, (measure,))
    weights = torch.ones(40)
    weights[:10] = 4.0
    standardise(head, features, measures, weights)
    seen = head.standardise(features, measures)
    assert seen.mean(dim=0).abs().max() < 1e-4
    variance = seen.var(dim=0, correction=0)
    torch.testing.assert_close(variance[:40], weights, rtol=2e-3, atol=0)
    assert variance[40].item() == pytest.approx(MEASURE_SHARES[measure] * weights.sum().item(), rel=2e-3)


def test_where_emphasis_lies() -> None:
    """Features are in the order of views, blocks, statistics: as the model makes them."""
    config = msgspec.structs.replace(TINY, readout=Statistics((1, 2), ("class", "std")))
    weights = feature_weights(config, 16, [Emphasis(view="mosaic", exit_block=1, statistic="std", weight=7.0)])
    assert weights.numel() == QClip(config).feature_dim
    assert weights.nonzero().numel() == weights.numel()
    assert (weights == 7).nonzero().flatten().tolist() == list(range(2 * 2 * 16 + 16, 2 * 2 * 16 + 2 * 16))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"view": "mosaic"}, 'the class of block 3 of view "mosaic"'),
        ({"exit_block": 2}, 'the class of block 2 of view "whole"'),
        ({"statistic": "std"}, 'the std of block 3 of view "whole"'),
    ],
)
def test_emphasis_on_what_is_not_read(wrong: dict[str, object], said: str, rated: Path, tiny: object) -> None:
    right = Emphasis(view="whole", exit_block=3, statistic="class", weight=2.0)
    check_recipe(recipe_for(rated, emphasis=[right]))
    with pytest.raises(UsageError, match=said):
        check_recipe(recipe_for(rated, emphasis=[replace(right, **wrong)]))


def test_prompts_know_no_measures() -> None:
    config = msgspec.structs.replace(
        TINY, backbone=TINY_PE, views=("whole",), readout=Joint(), levels="prompts", measures=("motion",)
    )
    with pytest.raises(UsageError, match="knows no measures"):
        QClip(config)
