"""Pooled figures, checked against numbers worked out by hand."""

import math
from collections.abc import Sequence

import msgspec
import pytest

from qclip_ffmpeg.calibration import NoiseBand
from qclip_ffmpeg.track import FLAGS, Levels, Pooled, SegmentScore, pool


def segments(*rows: tuple[float, float | None] | tuple[float, float | None, float | None]) -> list[SegmentScore]:
    """Segments one after the other from (duration_s, score) or (duration_s, score, score_stderr)."""
    made = []
    start_s = 0.0
    for index, (duration_s, score, *stderr) in enumerate(rows):
        end_s = start_s + duration_s
        made.append(
            SegmentScore(
                index=index,
                start_s=start_s,
                end_s=end_s,
                start_pts=index,
                score=score,
                score_stderr=stderr[0] if stderr else None,
                sampling_stderr=stderr[0] if stderr else None,
                levels=None if score is None else Levels(0.0, 0.0, 1.0, 0.0, 0.0),
                frames=[],
                frame_count=1,
                motion=1.0,
                flags=[],
            )
        )
        start_s = end_s
    return made


def test_equal_segments() -> None:
    pooled = pool(segments((4, 20), (4, 40), (4, 90)))
    assert pooled.mean == 50
    # 3 / (1/21 + 1/41 + 1/91) - 1
    assert pooled.harmonic_mean == pytest.approx(35.1453, abs=1e-4)
    assert (pooled.min, pooled.median, pooled.max) == (20, 40, 90)
    assert (pooled.p5, pooled.p10) == (20, 20)
    assert pooled.stdev == pytest.approx(math.sqrt((900 + 100 + 1600) / 3), abs=1e-4)
    assert pooled.stderr is None


def test_a_segment_counts_by_its_duration() -> None:
    """3 s at 80 and 1 s at 40 are as four seconds, three of them at 80."""
    pooled = pool(segments((3, 80), (1, 40)))
    assert pooled == pool(segments((1, 80), (1, 80), (1, 80), (1, 40)))
    assert pooled.mean == 70
    assert pooled.median == 80
    assert pooled.stdev == pytest.approx(math.sqrt((3 * 100 + 900) / 4), abs=1e-4)


def test_the_harmonic_mean_is_libvmafs() -> None:
    """libvmaf: n / sum(1 / (score + 1)) - 1; so a score of 0 does not make it 0."""
    scores = [0.0, 50.0, 99.0, 12.5]
    expected = len(scores) / sum(1 / (s + 1) for s in scores) - 1
    assert pool(segments(*((2, s) for s in scores))).harmonic_mean == pytest.approx(expected, abs=1e-4)
    assert pool(segments((1, 0.0))).harmonic_mean == 0


@pytest.mark.parametrize("lowest", [-0.5, -1.0, -3.0])
def test_raw_scores_below_0_have_no_harmonic_mean(lowest: float) -> None:
    """score + 1 may be 0 or change its sign. All other figures are there."""
    pooled = pool(segments((1, lowest), (1, 2.0)))
    assert pooled.harmonic_mean is None
    assert (pooled.min, pooled.max, pooled.mean) == (lowest, 2.0, (lowest + 2) / 2)
    assert all(value is not None for value in (pooled.p5, pooled.median, pooled.stdev))


def test_the_order_does_not_matter() -> None:
    rows = [(4.0, 55.5, 1.0), (4.0, 12.25, 2.0), (1.5, 97.0, 3.0), (4.0, 30.0, None)]
    assert pool(segments(*rows)) == pool(segments(*reversed(rows)))


@pytest.mark.parametrize(
    ("durations_s", "p5", "p10", "median"),
    [
        ([1] * 5, 10, 10, 30),
        ([1] * 4, 10, 10, 20),  # half of the time scores 20 or less
        ([0.04, 1, 1, 1, 1], 20, 20, 30),  # the worst takes less than 5 % of the time
        ([0.4, 1, 1, 1, 1], 10, 20, 30),  # 9 %
        ([1, 1, 1, 1, 100], 50, 50, 50),
        ([100, 1, 1, 1, 1], 10, 10, 10),
    ],
)
def test_quantiles_are_scores_that_a_segment_has(
    durations_s: Sequence[float], p5: float, p10: float, median: float
) -> None:
    """The lowest score such that at least that share of the time scores it or less."""
    pooled = pool(segments(*((d, 10.0 * (i + 1)) for i, d in enumerate(durations_s))))
    assert (pooled.p5, pooled.p10, pooled.median) == (p5, p10, median)


def test_one_segment_is_every_figure() -> None:
    pooled = pool(segments((2.5, 61.25, 0.75)))
    assert pooled == Pooled(61.25, 61.25, 61.25, 61.25, 61.25, 61.25, 61.25, 0.0, 0.75, 0.75)


def test_segments_without_a_score_are_left_out() -> None:
    assert pool(segments((4, 20), (400, None), (4, 40))) == pool(segments((4, 20), (4, 40)))


@pytest.mark.parametrize("rows", [[], [(4, None)], [(4, None), (1, None)]])
def test_without_a_score_every_figure_is_null(rows: list[tuple[float, None]]) -> None:
    pooled = pool(segments(*rows))
    assert all(value is None for value in msgspec.structs.astuple(pooled))


def test_stderr_of_the_mean_comes_from_the_segments() -> None:
    """Independent segments, weighted by duration: sqrt(sum (w e)^2) / sum w."""
    pooled = pool(segments((4, 50, 3.0), (4, 60, 4.0)))
    assert pooled.stderr == 2.5
    assert pool(segments((3, 50, 1.0), (1, 60, 3.0))).stderr == pytest.approx(math.sqrt(18) / 4, abs=1e-4)


def test_segments_of_unknown_stderr_do_not_count_in_it() -> None:
    assert pool(segments((4, 50, 3.0), (400, 60, None), (4, 60, 4.0))).stderr == 2.5


def test_the_models_error_is_the_same_in_every_segment() -> None:
    """3, 12 and 12 beside sampling of 4, 5 and unknown: their mean by duration, which does not shrink."""
    made = segments((4, 50, 5.0), (4, 60, 13.0), (8, 70, 12.0))
    parts = [msgspec.structs.replace(s, sampling_stderr=e) for s, e in zip(made, (4.0, 5.0, None), strict=True)]
    pooled = pool(parts)
    assert pooled.sampling_stderr == pytest.approx(math.hypot(4, 5) / 2, abs=1e-4)
    assert pooled.stderr == pytest.approx(math.hypot(math.hypot(4, 5) / 2, (3 + 12 + 2 * 12) / 4), abs=1e-4)


def test_the_noise_band_is_that_of_the_mean() -> None:
    noise = NoiseBand(
        band=5, low=4, high=6, at_score=(20, 80), at_band=(8, 2), label_apart=1, pairs=90, contents=9, source="t"
    )
    assert pool(segments((4, 40), (4, 60)), noise).noise_band == 5
    assert pool(segments((4, 99)), noise).noise_band == 2
    assert pool(segments((4, 99))).noise_band is None
    assert pool(segments((4, None)), noise).noise_band is None


def test_a_segment_without_length_still_counts() -> None:
    """The single frame of a stream without a rate may have no duration."""
    assert pool(segments((0, 30))).mean == 30
    assert pool(segments((0, 30), (4, 50))).min == 30


def test_figures_have_four_decimals() -> None:
    pooled = pool(segments((1, 10), (1, 10), (1, 11)))
    assert pooled.mean == 10.3333
    assert pooled.stdev == 0.4714


def test_every_flag_is_explained_in_the_schema() -> None:
    described = msgspec.json.schema(SegmentScore)["$defs"]["SegmentScore"]["properties"]["flags"]["description"]
    assert all(f"{flag}: {meaning}" in described for flag, meaning in FLAGS.items())
