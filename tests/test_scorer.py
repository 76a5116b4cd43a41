"""Windows -> SegmentScores: the same digits however many threads, in order, and honest about what is not a number."""

import dataclasses
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import msgspec
import numpy as np
import pytest
import torch

from qclip_ffmpeg.checkpoint import load_model
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.measurement import probe
from qclip_ffmpeg.sampling import Window
from qclip_ffmpeg.scorer import Scorer, WindowViews, choose_device, cpu_count, segment_score

pytest_plugins = ["model_fixtures"]

DISPLAY_LINE = Fraction(1, 25)
TOLD = torch.tensor([1.0, 0.5, 1.0])  # motion, display and enlargement, which the bundled model wants to know


def window(index: int, frames: int, flags: frozenset[str] = frozenset()) -> Window:
    """A window of 1 s with `frames` frames, without pictures."""
    picked = tuple(
        Frame(
            index=10 * index + i,
            time_s=Fraction(index) + i * DISPLAY_LINE,
            duration_s=DISPLAY_LINE,
            pts=1000 * index + i,
            thumbnail=np.zeros((2, 2), dtype=np.float32),
            motion=1.0,
            keyframe=i == 0,
            flags=frozenset(),
            convert=lambda: np.zeros((3, 2, 2), dtype=np.uint8),
        )
        for i in range(frames)
    )
    return Window(index, Fraction(index), Fraction(index + 1), 1000 * index, picked, 25, 1 / 3, flags)


def inputs(*frames: int, seed: int = 0, measures: torch.Tensor | None = None) -> Iterator[WindowViews]:
    """One window of random views for each number of frames."""
    generator = torch.Generator().manual_seed(seed)
    for index, count in enumerate(frames):
        yield WindowViews(window(index, count), torch.rand(count, 2, 3, 224, 224, generator=generator), measures)


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_a_digit(threads: int, scorer: Scorer) -> None:
    """The unit of work is a frame on one thread, whatever the number of threads."""
    counts = (3, 1, 2)
    one = list(Scorer(scorer.model, "cpu", threads=1).score(inputs(*counts, measures=TOLD)))
    assert list(Scorer(scorer.model, "cpu", threads=threads).score(inputs(*counts, measures=TOLD))) == one


def test_torchs_own_threads_do_not_change_a_digit(scorer: Scorer) -> None:
    """A caller may have set any number of threads an operation."""
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = list(scorer.score(inputs(2, measures=TOLD)))
        torch.set_num_threads(2)
        assert list(scorer.score(inputs(2, measures=TOLD))) == one
    finally:
        torch.set_num_threads(before)


def test_a_window_does_not_depend_on_its_neighbours(tiny_scorer: Scorer) -> None:
    both = list(tiny_scorer.score(inputs(2, 3)))
    second = list(inputs(2, 3))[1:]
    assert list(tiny_scorer.score(second)) == both[1:]


def test_order_and_times_are_kept(tiny_scorer: Scorer) -> None:
    scored = list(tiny_scorer.score(inputs(2, 1, 3, 1, 2)))
    assert [s.index for s in scored] == [0, 1, 2, 3, 4]
    assert [(s.start_s, s.end_s, s.start_pts) for s in scored] == [(i, i + 1, 1000 * i) for i in range(5)]
    assert [[f.pts for f in s.frames] for s in scored] == [
        [1000 * i + n for n in range(count)] for i, count in enumerate((2, 1, 3, 1, 2))
    ]
    assert scored[2].frames[2].time_s == 2.08
    assert {s.frame_count for s in scored} == {25}
    assert {s.motion for s in scored} == {0.3333}


def test_nothing_in_nothing_out(tiny_scorer: Scorer) -> None:
    assert list(tiny_scorer.score([])) == []


def test_windows_are_taken_as_they_are_needed(tiny_scorer: Scorer) -> None:
    """At most two windows are held: memory does not grow with the length of the input."""
    taken = 0

    def counted() -> Iterator[WindowViews]:
        nonlocal taken
        for item in inputs(*[1] * 6):
            taken += 1
            yield item

    for done, _ in enumerate(tiny_scorer.score(counted())):
        assert taken - done <= 2


def test_a_score_is_the_expectation_of_its_levels(tiny_scorer: Scorer) -> None:
    for segment in tiny_scorer.score(inputs(3, 1)):
        assert segment.levels is not None
        levels = msgspec.structs.astuple(segment.levels)
        assert sum(levels) == pytest.approx(1, abs=5e-6)
        assert segment.score == pytest.approx(np.dot(levels, [0, 25, 50, 75, 100]), abs=1e-3)


def test_stderr_is_the_spread_of_the_frames(tiny_scorer: Scorer) -> None:
    item = next(inputs(3))
    alone = [WindowViews(window(i, 1), item.views[i : i + 1]) for i in range(3)]
    scores = [s.score for s in tiny_scorer.score(alone)]
    [segment] = tiny_scorer.score([item])
    assert segment.score_stderr == pytest.approx(np.std(scores, ddof=1) / 3**0.5, abs=2e-4)


def test_one_frame_has_no_stderr(tiny_scorer: Scorer) -> None:
    [segment] = tiny_scorer.score(inputs(1))
    assert segment.score is not None
    assert segment.score_stderr is None


def test_features_are_what_the_head_is_given(tiny_scorer: Scorer) -> None:
    features = [judged.features for judged in tiny_scorer.judged(inputs(2, 1))]
    qclip = tiny_scorer.model.qclip
    assert all(f.shape == (qclip.feature_dim,) and f.dtype == torch.float32 for f in features)
    for made, segment in zip(features, tiny_scorer.score(inputs(2, 1)), strict=True):
        assert float(qclip.head(made[None])[1]) == pytest.approx(segment.score, abs=1e-3)


@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_is_null_and_flagged(value: float, tiny_weights: Path) -> None:
    model = load_model()
    model.qclip.head.level_bias[2] = value
    given = [WindowViews(window(0, 2, frozenset({"gap"})), next(inputs(2)).views)]
    [segment] = Scorer(model, "cpu").score(given)
    expected_finite = value == -torch.inf  # a level that is never chosen is fine
    assert (segment.score is not None) == expected_finite
    if not expected_finite:
        assert (segment.score, segment.score_stderr, segment.levels) == (None, None, None)
        assert segment.flags == ["gap", "not_finite"]


def test_values_are_rounded_and_kept_in_range() -> None:
    segment = segment_score(window(0, 1), 100.00001, 0.123456, [0.0, 0.0, 0.0, 0.12345678, 0.87654321])
    assert (segment.score, segment.score_stderr) == (100, 0.1235)
    assert segment.levels is not None
    assert (segment.levels.good, segment.levels.excellent) == (0.123457, 0.876543)
    assert segment_score(window(0, 1), -1e-6, None, [1.0, 0, 0, 0, 0]).score == 0


def test_raw_scores_are_mapped_and_kept_in_their_range(tiny_scorer: Scorer) -> None:
    """Card.score_map is applied to the score and to its spread; outside of Card.score_range there is nothing."""
    model = tiny_scorer.model
    raw = list(tiny_scorer.score(inputs(3, 2)))
    low, high = sorted(-40 + 2 * s.score for s in raw if s.score is not None)
    card = msgspec.structs.replace(model.card, score_map=(2.0, -40.0), score_range=(low - 1, (low + high) / 2))
    mapped = list(Scorer(dataclasses.replace(model, card=card), "cpu", threads=2).score(inputs(3, 2)))
    for before, after in zip(raw, mapped, strict=True):
        assert before.score is not None
        assert after.score == pytest.approx(min(-40 + 2 * before.score, (low + high) / 2), abs=3e-4)
        assert after.score_stderr == pytest.approx(2 * (before.score_stderr or 0), abs=3e-4)
        assert after.levels == before.levels


def test_torchs_thread_count_is_restored(tiny_scorer: Scorer) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        list(tiny_scorer.score(inputs(1, 1)))
        assert torch.get_num_threads() == 2
        scoring = tiny_scorer.score(inputs(1, 1, 1))
        next(scoring)
        del scoring  # given up early
        assert torch.get_num_threads() == 2

        def failing() -> Iterator[WindowViews]:
            yield from inputs(1)
            raise ValueError("the decoder broke")

        with pytest.raises(ValueError, match="decoder"):
            list(tiny_scorer.score(failing()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_is_close(precision: str, scorer: Scorer) -> None:
    [exact] = scorer.score(inputs(1, measures=TOLD))
    half = Scorer(scorer.model, "cpu", precision, threads=2)
    [close] = half.score(inputs(1, measures=TOLD))
    assert half.precision == precision
    assert close.score is not None
    assert close != exact, "the tower did run in another precision"
    assert close.score == pytest.approx(exact.score, abs=1.5)


def test_cuda_is_not_replaced(tiny_scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UsageError, match=r"^--device cuda: .*use --device cpu"):
        Scorer(tiny_scorer.model, "cuda")
    assert choose_device("auto").type == "cpu"


def test_cpu_count_is_what_the_process_may_use() -> None:
    assert 1 <= cpu_count() <= (os.cpu_count() or 1)


@pytest.fixture
def cuda_scorer() -> Scorer:
    """The bundled model on the GPU. A run that must have one (QCLIP_REQUIRE_GPU=1) does not pass by skipping."""
    if not torch.cuda.is_available():
        if os.environ.get("QCLIP_REQUIRE_GPU") == "1":
            pytest.fail("QCLIP_REQUIRE_GPU=1 and torch finds no CUDA device")
        pytest.skip("torch finds no CUDA device")
    return Scorer(load_model(), "cuda")


@pytest.mark.gpu
def test_cuda_agrees_with_the_cpu(cuda_scorer: Scorer, scorer: Scorer, example_clip: Path) -> None:
    """On real pictures, in float32; all that does not come from the tower is the same to the last digit."""
    on_cpu = probe(str(example_clip), scorer=scorer)
    on_gpu = probe(str(example_clip), scorer=cuda_scorer)
    assert on_gpu.settings.device == "cuda"
    for a, b in zip(on_cpu.segments, on_gpu.segments, strict=True):
        assert a.score is not None
        assert b.score is not None
        assert abs(a.score - b.score) < 0.05
        assert (
            msgspec.structs.replace(
                b, score=a.score, levels=a.levels, score_stderr=a.score_stderr, sampling_stderr=a.sampling_stderr
            )
            == a
        )


@pytest.mark.gpu
def test_cuda_gives_the_same_digits_twice(cuda_scorer: Scorer, example_clip: Path) -> None:
    first, second = (probe(str(example_clip), scorer=cuda_scorer) for _ in range(2))
    assert first == second
