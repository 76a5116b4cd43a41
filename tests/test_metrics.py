"""Figures: against scipy, against what they were made from, and where they are undefined."""

import csv
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.train.bootstrap import Figure, draws, weighted_kendall, weighted_pearson, weighted_spearman
from qclip_ffmpeg.train.metrics import (
    figures,
    fit_logistic,
    mean_figure,
    pairs_ordered_right,
    per_content,
    share_of_pairs_right,
    write_predictions,
)

Floats = NDArray[np.float64]
UNDEFINED = Figure(None, None, None)


def sample(count: int, contents: int, seed: int = 0, of_content: float = 0.0) -> tuple[Floats, Floats, list[str]]:
    """(score, label, content): scores with an error of their own and one that the clips of a content share; rounded,
    so that there are ties."""
    rng = np.random.default_rng(seed)
    place = np.arange(count) % contents
    label = rng.uniform(0, 100, count).round()
    score = label + rng.normal(0, 15, count) + rng.normal(0, 1, contents)[place] * of_content
    return score.round(), label, [f"content {i}" for i in place]


def curve(x: Floats, b1: float, b2: float, b3: float, b4: float) -> Floats:
    return (b1 - b2) / (1 + np.exp(-(x - b3) / abs(b4))) + b2


@pytest.mark.parametrize("count", [5, 100])
def test_values_are_those_of_scipy(count: int) -> None:
    score, label, content = sample(count, count)
    found = figures(score, label, content)
    fitted = fit_logistic(score, label)(score)
    assert found.clips == found.contents == count
    assert found.logistic_converged
    assert found.srocc.value == pytest.approx(stats.spearmanr(score, label).statistic)
    assert found.krocc.value == pytest.approx(stats.kendalltau(score, label).statistic)
    assert found.plcc.value == pytest.approx(stats.pearsonr(fitted, label).statistic)
    assert found.rmse.value == pytest.approx(np.sqrt(np.mean((fitted - label) ** 2)))


@pytest.mark.parametrize(
    ("weighted", "plain"),
    [
        (weighted_pearson, stats.pearsonr),
        (weighted_spearman, stats.spearmanr),
        (weighted_kendall, stats.kendalltau),
    ],
)
def test_a_weighted_sample_is_the_sample_written_out(
    weighted: Callable[[Floats, Floats, Floats], Floats],
    plain: Callable[[Floats, Floats], Any],
) -> None:
    score, label, _ = sample(40, 40)
    weights = draws(40, 20, seed=1)
    written_out = [np.repeat(np.arange(40), row.astype(int)) for row in weights]
    expected = [plain(score[clips], label[clips]).statistic for clips in written_out]
    np.testing.assert_allclose(weighted(score, label, weights), expected, atol=1e-12)


def test_draws_are_as_many_as_there_are_things() -> None:
    drawn = draws(7, 50, seed=0)
    assert drawn.shape == (51, 7)
    assert drawn[0].tolist() == [1] * 7
    assert set(drawn.sum(axis=1)) == {7}


def test_the_interval_of_a_mean_is_the_one_of_theory() -> None:
    values = np.random.default_rng(0).normal(5, 2, 400)
    found = mean_figure(values.tolist(), resamples=4000)
    assert found.value == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - 1.96 * values.std() / 20, abs=0.02)
    assert found.high == pytest.approx(values.mean() + 1.96 * values.std() / 20, abs=0.02)


def width(figure: Figure) -> float:
    assert figure.value is not None
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.value < figure.high
    return figure.high - figure.low


def test_clips_that_err_together_count_for_less() -> None:
    """Had each clip been drawn by itself, the intervals would be too narrow."""
    score, label, content = sample(400, 10, of_content=25)
    clustered = figures(score, label, content)
    naive = figures(score, label, [str(i) for i in range(400)])
    assert (clustered.contents, naive.contents) == (10, 400)
    for name in ("srocc", "krocc", "plcc", "rmse"):
        one, other = getattr(clustered, name), getattr(naive, name)
        assert one.value == other.value
        assert width(one) > 1.3 * width(other)


def test_the_seed_decides() -> None:
    case = sample(60, 12)
    assert figures(*case) == figures(*case)
    assert figures(*case, seed=1).srocc.low != figures(*case).srocc.low
    assert figures(*case, seed=1).srocc.value == figures(*case).srocc.value


def test_one_content_has_no_interval() -> None:
    score, label, _ = sample(20, 1)
    found = figures(score, label, ["one"] * 20)
    assert found.srocc.value is not None
    assert (found.srocc.low, found.srocc.high) == (None, None)


@pytest.mark.parametrize("constant", ["score", "label", "both"])
@pytest.mark.parametrize("value", [0.0, 0.1, 73.3])
def test_where_nothing_varies_nothing_correlates(constant: str, value: float) -> None:
    score, label, content = sample(30, 10)
    if constant != "label":
        score = np.full(30, value)
    if constant != "score":
        label = np.full(30, value)
    found = figures(score, label, content)
    assert found.srocc == found.krocc == found.plcc == UNDEFINED
    assert found.rmse.value == pytest.approx(label.std(), abs=1e-6)  # the best that a constant can do
    assert all(row.srocc is row.krocc is row.plcc is None for row in per_content(score, label, content))


def test_one_clip() -> None:
    found = figures([3.0], [50.0], ["a"])
    assert found.srocc == found.krocc == found.plcc == UNDEFINED
    assert found.rmse == Figure(0.0, None, None)
    assert not found.logistic_converged


@pytest.mark.parametrize(
    "parameters",
    [(90, 10, 50, 8), (5, 1, 0.3, 0.05), (10, 90, 50, 8), (1, 0, -4e6, 1e5)],
    ids=["rising", "small", "falling", "far away"],
)
def test_the_logistic_is_found_again(parameters: tuple[float, float, float, float]) -> None:
    _, _, b3, b4 = parameters
    x = np.linspace(b3 - 5 * b4, b3 + 4 * b4, 200)
    fit = fit_logistic(x, curve(x, *parameters))
    assert fit.converged
    assert fit.logistic == pytest.approx(parameters, rel=1e-5, abs=1e-6)
    np.testing.assert_allclose(fit(x), curve(x, *parameters), rtol=1e-6)


def test_the_logistic_is_found_in_noise() -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 100, 2000)
    fit = fit_logistic(x, curve(x, 95, 5, 40, 9) + rng.normal(0, 5, 2000))
    assert fit.logistic == pytest.approx((95, 5, 40, 9), rel=0.1)


def labels_like(kind: str, x: Floats) -> Floats:
    rng = np.random.default_rng(1)
    made = {
        "line": 2 * x + 1,
        "falling line": 1 - 2 * x,
        "step": np.where(x > 0.5, 90.0, 10.0),
        "noise": rng.normal(size=len(x)),
        "parabola": (x - 0.5) ** 2,
        "outlier": np.where(x == x[-1], 1e6, x),
    }
    return made[kind]


@pytest.mark.parametrize("kind", ["line", "falling line", "step", "noise", "parabola", "outlier"])
@pytest.mark.parametrize("count", [2, 3, 4, 50])
def test_the_map_is_monotone_and_no_worse_than_a_line(kind: str, count: int) -> None:
    x = np.linspace(0, 1, count)
    y = labels_like(kind, x)
    fit = fit_logistic(x, y)
    steps = np.diff(fit(np.linspace(-1, 2, 500)))
    assert (steps >= 0).all() or (steps <= 0).all()
    line = np.polyval(np.polyfit(x, y, 1), x)
    assert np.std(fit(x) - y) <= np.std(line - y) + 2e-3 * np.std(y)


def test_a_fit_that_fails_is_said_and_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def gives_up(*_: object, **__: object) -> None:
        raise RuntimeError("Optimal parameters not found")

    monkeypatch.setattr("qclip_ffmpeg.train.metrics.curve_fit", gives_up)
    score, label, content = sample(30, 10)
    fit = fit_logistic(score, label)
    assert not fit.converged
    np.testing.assert_allclose(fit(score), np.polyval(np.polyfit(score, label, 1), score))
    found = figures(score, label, content)
    assert not found.logistic_converged
    assert found.plcc.value == pytest.approx(stats.pearsonr(score, label).statistic)


def test_three_clips_have_a_line() -> None:
    fit = fit_logistic([1, 2, 3], [10, 20, 40])
    assert not fit.converged
    assert fit.line == pytest.approx((15, -20 / 3))


def test_figures_of_each_content() -> None:
    score, label, content = np.array([1.0, 2, 3, 9, 8, 7, 1, 2]), np.arange(8.0), [*"aaabbbcc"]
    rising, falling = per_content(score, label, content)
    assert (rising.content, rising.clips, rising.srocc, rising.krocc) == ("a", 3, 1, 1)
    assert (falling.content, falling.clips, falling.srocc, falling.krocc) == ("b", 3, -1, -1)
    assert (rising.plcc, falling.plcc) == (pytest.approx(1), pytest.approx(-1))
    assert [row.content for row in per_content(score, label, content, at_least=2)] == ["a", "b", "c"]
    assert mean_figure([row.srocc for row in (rising, falling)]) == Figure(0, -1, 1)


def test_the_mean_leaves_out_what_is_undefined() -> None:
    assert mean_figure([0.5, None, 0.5]) == Figure(0.5, 0.5, 0.5)
    assert mean_figure([0.5]) == Figure(0.5, None, None)
    assert mean_figure([None]) == mean_figure([]) == UNDEFINED


def test_pairs_are_counted_within_a_content_and_apart() -> None:
    label = np.array([10.0, 20.0, 30.0, 10.0, 90.0])
    score = np.array([1.0, 3.0, 2.0, 9.0, 0.0])
    content = ["a", "a", "a", "b", "b"]
    # a: 10-20 right, 10-30 right, 20-30 wrong; b: 10-90 wrong
    assert pairs_ordered_right(score, label, content, apart=5) == (2, 4)
    assert pairs_ordered_right(score, label, content, apart=20) == (1, 2)
    assert pairs_ordered_right(score, label, content, apart=100) == (0, 0)
    assert pairs_ordered_right(label, label, ["x"] * 5, apart=1) == (9, 9)
    assert share_of_pairs_right(score, label, content, apart=5).value == 0.5
    assert share_of_pairs_right(score, label, content, apart=100) == UNDEFINED


@pytest.mark.parametrize("label", [[10, 20], [20, 10]])
def test_a_tie_of_scores_is_not_right_whichever_comes_first(label: list[float]) -> None:
    assert pairs_ordered_right([5, 5], label, ["a", "a"], apart=5) == (0, 1)


def test_equal_labels_are_no_pair() -> None:
    assert pairs_ordered_right([1, 2, 3], [5, 5, 6], ["a"] * 3, apart=0) == (2, 2)


def test_pairs_are_drawn_by_cluster() -> None:
    """Two kinds of one photograph are compared apart but drawn together."""
    rng = np.random.default_rng(0)
    group = [f"{i // 20}/{i % 2}" for i in range(200)]
    label = rng.uniform(0, 100, 200)
    bad = np.arange(200) // 20 < 3
    score = label * np.where(bad, -1, 1)
    finely = share_of_pairs_right(score, label, group, 5)
    by_photograph = share_of_pairs_right(score, label, group, 5, cluster=[g.split("/")[0] for g in group])
    assert finely.value == by_photograph.value == pytest.approx(0.7, abs=0.05)
    assert width(by_photograph) > 1.2 * width(finely)


@pytest.mark.parametrize(
    "case",
    [
        ([1.0, 2.0], [1.0], ["a", "b"]),
        ([1.0, 2.0], [1.0, 2.0], ["a"]),
        ([], [], []),
        ([[1.0]], [[1.0]], ["a"]),
        ([1.0, np.nan], [1.0, 2.0], ["a", "b"]),
        ([1.0, 2.0], [1.0, np.inf], ["a", "b"]),
    ],
)
def test_what_is_no_sample_is_refused(case: tuple[list[float], list[float], list[str]]) -> None:
    for measure in (
        figures,
        per_content,
        lambda *c: pairs_ordered_right(*c, 5),
        lambda *c: share_of_pairs_right(*c, 5),
    ):
        with pytest.raises(UsageError, match=r"every clip|not a finite number"):
            measure(*case)


def test_a_figure_is_written_with_its_interval() -> None:
    assert str(Figure(0.91234, 0.88, 0.9345)) == "0.912 [0.880, 0.934]"
    assert f"{Figure(8.36, 7.8, 9.0):.1f}" == "8.4 [7.8, 9.0]"
    assert f"{Figure(0.5, None, None)}" == "0.500"
    assert str(UNDEFINED) == f"{UNDEFINED:.1%}" == "undefined"


def test_predictions_read_back_the_same(tmp_path: Path) -> None:
    score, label, content = sample(20, 5)
    score = score / 3
    names = [f'a, "b" {i}.mp4' for i in range(20)]
    fitted = fit_logistic(score, label)(score)
    path = tmp_path / "predictions.csv"
    write_predictions(path, names, content, label, score, fitted)
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["name", "content", "label", "score", "fitted"]
    assert [row["name"] for row in rows] == names
    assert [row["content"] for row in rows] == content
    for key, values in (("label", label), ("score", score), ("fitted", fitted)):
        assert [float(row[key]) for row in rows] == values.tolist()
    assert b"\r" not in path.read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["predictions.csv"]


def test_predictions_that_do_not_fit_together_are_not_written(tmp_path: Path) -> None:
    path = tmp_path / "predictions.csv"
    with pytest.raises(UsageError, match="every clip"):
        write_predictions(path, ["a"], ["a", "b"], [1, 2], [1, 2], [1, 2])
    assert not path.exists()
    with pytest.raises(UsageError, match=re.escape("cannot be written")):
        write_predictions(tmp_path / "missing" / "p.csv", ["a"], ["a"], [1], [1], [1])
