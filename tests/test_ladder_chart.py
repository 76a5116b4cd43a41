"""The picture of a ladder: what it shows of a report, and that it is drawn whatever the report holds."""

import io
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.image import imread
from test_ladder import GOOD, cheaper, rung
from tiny_track import tiny_track

from qclip_ffmpeg.emit.ladder_chart import crossing_words, ladder_chart, ladder_headline
from qclip_ffmpeg.emit.ladder_plot import SIZE_PX, to_ladder_png
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.ladder import Rung, analyse, in_order
from qclip_ffmpeg.track import Tool
from qclip_ffmpeg.verdict import REPORT_VERSION, Compared, GateReport, RungFigures


def reported(rungs: Sequence[Rung], baseline: Sequence[Rung] = (), **changes: Any) -> GateReport:
    """The report of a ladder that no rule was held against; `changes` are fields that are other."""
    old = {rung.name: rung for rung in baseline}
    figures = [
        RungFigures(
            name=r.name,
            source=r.name,
            codec=r.codec,
            width_px=None,
            height_px=r.height_px,
            frame_rate="25",
            bitrate_kbps=r.bitrate_kbps,
            pooled=r.track.pooled,
            worst=[],
            complete=True,
            baseline=old[r.name].score if r.name in old else None,
            baseline_kbps=old[r.name].bitrate_kbps if r.name in old else None,
        )
        for r in in_order(rungs)
    ]
    report = GateReport(
        schema="qclip-gate",
        schema_version=REPORT_VERSION,
        tool=Tool("qclip-ffmpeg", "0.1.0", {}),
        policy="hls-vod",
        model=tiny_track().model,
        display="1920x1080",
        baseline=Compared("last.json", len(old)) if baseline else None,
        passed=True,
        rungs=figures,
        results=[],
        analysis=analyse(rungs, baseline),
        warnings=[],
    )
    return msgspec.structs.replace(report, **changes)


def hevc(rungs: Sequence[Rung]) -> list[Rung]:
    return cheaper([*rungs], 0.5, codec="hevc")


def renamed(rungs: Sequence[Rung], prefix: str) -> list[Rung]:
    return [msgspec.structs.replace(rung, name=prefix + rung.name) for rung in rungs]


OFF = [*GOOD[:2], rung("720p", 2000, 64, 720), *GOOD[3:]]
CODECS = [*GOOD, *renamed(hevc(GOOD), "hevc ")]
CROSSING = [
    *(rung(f"720p {r}", r, 60 + 10 * math.log2(r / 1000), 720) for r in (1000, 4000)),
    *(rung(f"1080p {r}", r, 55 + 15 * math.log2(r / 1000)) for r in (1000, 4000)),
]
RAW_MODEL = msgspec.structs.replace(tiny_track().model, score_range=(-0.6, 0.6))
REPORTS: dict[str, Callable[[], GateReport]] = {
    "good": lambda: reported(GOOD),
    "off the hull, with a baseline": lambda: reported(OFF, GOOD),
    "two codecs": lambda: reported(CODECS, CODECS),
    "crossing": lambda: reported(CROSSING),
    "one rung": lambda: reported(GOOD[:1]),
    "no rung": lambda: reported([]),
    "no bitrate": lambda: reported([rung("a", None, 50)]),
    "no score": lambda: reported([rung("a", 500, None)]),
    "no analysis": lambda: reported(GOOD, analysis=None),
    "no model": lambda: reported(GOOD, model=None),
    "raw scores": lambda: reported([rung("a", 500, -0.2, band=None), rung("b", 900, 0.3)], model=RAW_MODEL),
    "the ends of the scale": lambda: reported([rung("a", 0.01, 0), rung("b", 1e9, 100)]),
    "a hundred rungs": lambda: reported([rung(f"{n}", 100.0 + 50 * n, 40 + n / 2, 144 + 2 * n) for n in range(100)]),
    "names as formulas": lambda: reported([rung("$\\frac{1}{0}$\n\x00", 500, 50), rung("x" * 500, 900, 60)]),
    "a codec without a name": lambda: reported([rung("a", 500, 50, codec="")], policy="$x$\n" * 90),
}


def pixels(png: bytes) -> np.ndarray[Any, np.dtype[np.float32]]:
    return imread(io.BytesIO(png), "png")[:, :, :3]


@pytest.mark.parametrize("name", REPORTS)
def test_any_ladder_is_drawn(name: str) -> None:
    """Twice, with the same bytes."""
    png = to_ladder_png(REPORTS[name]())
    picture = pixels(png)
    assert picture.shape == (SIZE_PX[1], SIZE_PX[0], 3)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 20
    assert png == to_ladder_png(REPORTS[name]())


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'qclip-ffmpeg\[plot\]'"):
        to_ladder_png(reported(GOOD))


def test_rungs_are_grouped_by_codec_and_lines() -> None:
    curves = ladder_chart(reported(CODECS)).curves
    assert [c.label for c in curves] == [
        f"{codec} {lines}p" for codec in ("h264", "hevc") for lines in (360, 480, 720, 1080)
    ]
    assert [dot.name for dot in curves[3].dots] == ["1080p", "1080p+"], "by bitrate"
    assert curves[0].dots[0].margin == 1, "half of 2"


def test_everything_lies_within_the_axes() -> None:
    for make in REPORTS.values():
        chart = ladder_chart(make())
        places = [(d.bitrate_kbps, d.score) for c in chart.curves for d in c.dots]
        places += [point for line in (*chart.hulls, *chart.baseline) for point in line.points]
        assert all(0 <= chart.x(kbps) <= 1 and 0 <= chart.y(score) <= 1 for kbps, score in places)
        assert chart.rates[1] / chart.rates[0] >= 9.999
        assert chart.scores[0] < chart.scores[1]


def test_equal_factors_are_equal_steps() -> None:
    chart = ladder_chart(reported(GOOD))
    assert chart.x(2000) - chart.x(1000) == pytest.approx(chart.x(1000) - chart.x(500))
    assert (chart.x(chart.rates[0]), chart.x(chart.rates[1])) == (0, 1)
    assert (chart.y(chart.scores[0]), chart.y(chart.scores[1])) == (0, 1)
    assert chart.rate_marks() == [500, 1000, 2000, 5000, 10_000]


def test_a_rung_off_the_hull_knows_the_hull_above_it() -> None:
    chart = ladder_chart(reported(OFF))
    [off] = [dot for curve in chart.curves for dot in curve.dots if dot.hull_score is not None]
    assert off.name == "720p"
    assert off.hull_score == pytest.approx(58 + (86 - 58) * (2000 - 900) / (4500 - 900), abs=1e-4)


def test_the_hull_is_straight_over_the_bitrate_and_level_after_its_end() -> None:
    [hull] = ladder_chart(reported([GOOD[0], GOOD[4], rung("top", 12_000, 90)])).hulls
    assert hull.points[0] == (400, 40)
    assert hull.points[-1] == (12_000, 93)
    assert all(score == pytest.approx(40 + 53 * (kbps - 400) / 7600) for kbps, score in hull.points if kbps <= 8000)
    assert {score for kbps, score in hull.points if kbps >= 8000} == {93}


def test_the_baseline_is_that_of_the_rungs_that_are_still_there() -> None:
    baseline = cheaper(GOOD, 1.1, 1)
    [line] = ladder_chart(reported(GOOD[1:], baseline)).baseline
    assert line.points == tuple((r.bitrate_kbps, r.score) for r in baseline[1:])
    assert ladder_chart(reported(GOOD)).baseline == ()


def test_the_headline_has_the_verdict_and_the_change() -> None:
    assert ladder_headline(reported(GOOD)) == "passed · hls-vod · 5 rungs"
    assert ladder_headline(reported(GOOD[:1], passed=False)) == "failed · hls-vod · 1 rung"
    assert "BD-rate -20.0 % · BD-score +" in ladder_headline(reported(cheaper(GOOD, 0.8), GOOD))


def test_crossings_are_told_in_words() -> None:
    assert crossing_words(reported(CROSSING)) == ["h264: 1080p looks better than 720p from 2000 kbps"]


def test_what_was_found_leaves_its_ink() -> None:
    """The baseline, the hull and what lies below it, the noise bands."""
    whole = reported(OFF, cheaper(GOOD, 1, 3))
    assert whole.analysis is not None
    without_band = [msgspec.structs.replace(r.pooled, noise_band=None) for r in whole.rungs]
    others = [
        msgspec.structs.replace(whole, rungs=[msgspec.structs.replace(r, baseline=None) for r in whole.rungs]),
        msgspec.structs.replace(whole, analysis=msgspec.structs.replace(whole.analysis, off_hull=[])),
        msgspec.structs.replace(whole, analysis=msgspec.structs.replace(whole.analysis, hull=[])),
        msgspec.structs.replace(
            whole,
            rungs=[msgspec.structs.replace(r, pooled=p) for r, p in zip(whole.rungs, without_band, strict=True)],
        ),
    ]
    drawn = pixels(to_ladder_png(whole))
    assert all((pixels(to_ladder_png(other)) != drawn).any() for other in others)
