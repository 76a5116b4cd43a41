"""A picture of a ladder as PNG: score over bitrate, noise bands, hull, what lies off it, the baseline beside."""

from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from qclip_ffmpeg.drawing import BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, canvas, png_bytes
from qclip_ffmpeg.emit.ladder_chart import FULL_RANGE, Dot, LadderChart, crossing_words, ladder_chart
from qclip_ffmpeg.emit.ladder_chart import ladder_headline as headline
from qclip_ffmpeg.emit.plot import INK, draw_zones, plain

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from qclip_ffmpeg.verdict import GateReport

SIZE_PX = (1500, 900)
LINES_COLOURS = (SKY, BLUE, GREEN, ORANGE, VERMILION, PURPLE)
"""Of the numbers of lines, few to many, and again."""
CODEC_STYLES = (("o", "-"), ("s", (0, (5, 2))), ("^", (0, (2, 2))), ("D", (0, (5, 2, 1, 2))))
"""(marker, dashes) of the codecs by name, and again."""
GREY = "#9aa1ae"
MAX_NAMED = 16
"""More rungs than that are not named, and more curves are not in the legend: names would lie on one another."""
NAMES_LEFT_FROM = 0.7
"""Share of the width from where on names stand to the left of their rungs."""
MAX_CROSSINGS = 3
MAX_COLUMNS = 3


def to_ladder_png(report: "GateReport") -> bytes:
    """The rate-quality picture of a ladder, SIZE_PX large.

    Raises:
        UsageError: matplotlib is not installed.
    """
    chart = ladder_chart(report)
    with canvas(SIZE_PX) as drawing:
        axes = drawing.subplots()
        axes.set_xscale("log")
        axes.set(xlim=chart.rates, ylim=chart.scores, xlabel="bitrate in kbps", ylabel="score")
        marks = chart.rate_marks()
        axes.set_xticks(marks, [f"{mark:g}" for mark in marks])
        axes.set_xticks([], minor=True)
        if report.model is None or report.model.score_range == FULL_RANGE:
            draw_zones(axes, *chart.scores)
        draw_lines(axes, chart)
        draw_curves(axes, chart)
        if not chart.curves:
            axes.text(0.5, 0.5, "no rung has a bitrate and a score", transform=axes.transAxes, ha="center", fontsize=14)
        named = replace(report, policy=plain(report.policy))
        bands = any(dot.margin for curve in chart.curves for dot in curve.dots)
        drawing.suptitle(f"Picture quality over bitrate\n{headline(named)}", fontsize=11)
        said = ["bars: ± half the noise band: rungs whose bars overlap count as equal"] if bands else []
        said += crossing_words(report)[:MAX_CROSSINGS]
        axes.set_title("\n".join(said), loc="left", fontsize=8, color=INK)
        if chart.curves:
            axes.legend(loc="lower right", ncols=min(len(chart.hulls), MAX_COLUMNS) or 1)
        return png_bytes(drawing)


def draw_lines(axes: "Axes", chart: LadderChart) -> None:
    """The baseline and the hulls, behind the rungs."""
    styles = codec_styles(chart)
    for number, line in enumerate(chart.baseline):
        marker, dashes = styles.get(line.codec, CODEC_STYLES[0])
        rates, scores = zip(*line.points, strict=True)
        look: dict[str, Any] = {"color": GREY, "markerfacecolor": "white", "markersize": 5, "alpha": 0.8}
        axes.plot(rates, scores, linestyle=dashes, marker=marker, linewidth=1.2, zorder=1.5, **look)
        if number == 0:
            axes.plot([], [], linestyle=dashes, marker=marker, label="baseline", **look)
    for line in chart.hulls:
        rates, scores = zip(*line.points, strict=True)
        name = "convex hull, straight in kbps" if len(chart.hulls) == 1 else f"convex hull of {plain(line.codec)}"
        _, dashes = styles[line.codec]
        axes.plot(rates, scores, linestyle=dashes, color="#222222", linewidth=0.9, alpha=0.55, zorder=1.8, label=name)


def draw_curves(axes: "Axes", chart: LadderChart) -> None:
    """The rungs: colour by lines, marker by codec; hollow, with the distance, what lies below the hull."""
    styles, colours = codec_styles(chart), lines_colours(chart)
    named = sum(len(curve.dots) for curve in chart.curves) <= MAX_NAMED
    for curve in chart.curves:
        (marker, dashes), colour = styles[curve.codec], colours[curve.height_px]
        rates, scores = [dot.bitrate_kbps for dot in curve.dots], [dot.score for dot in curve.dots]
        bars: dict[str, Any] = {"color": colour, "alpha": 0.3, "linewidth": 6, "zorder": 2}
        axes.vlines(rates, [d.score - d.margin for d in curve.dots], [d.score + d.margin for d in curve.dots], **bars)
        axes.plot(rates, scores, linestyle=dashes, color=colour, linewidth=1.8, zorder=2.5)
        if len(chart.curves) <= MAX_NAMED:
            axes.plot([], [], linestyle=dashes, marker=marker, color=colour, linewidth=1.8, label=plain(curve.label))
        for dot in curve.dots:
            draw_dot(axes, dot, marker, colour)
            if named:
                draw_name(axes, dot, chart.x(dot.bitrate_kbps) > NAMES_LEFT_FROM)


def draw_dot(axes: "Axes", dot: Dot, marker: str, colour: str) -> None:
    """One rung, and what it lacks to the hull."""
    face = colour if dot.hull_score is None else "white"
    look: dict[str, Any] = {"markerfacecolor": face, "markeredgecolor": colour, "markeredgewidth": 1.6}
    axes.plot([dot.bitrate_kbps], [dot.score], marker=marker, markersize=7, zorder=3, **look)
    if dot.hull_score is not None:
        axes.vlines(
            dot.bitrate_kbps, dot.score, dot.hull_score, color="#222222", linewidth=0.9, linestyle=":", zorder=2.2
        )
        middle = (dot.score + dot.hull_score) / 2
        place: dict[str, Any] = {"textcoords": "offset points", "xytext": (-6, 0), "ha": "right", "va": "center"}
        place["bbox"] = {"facecolor": "white", "alpha": 0.7, "edgecolor": "none", "pad": 0.8}
        axes.annotate(f"{dot.score - dot.hull_score:.1f}", (dot.bitrate_kbps, middle), fontsize=8, color=INK, **place)


def draw_name(axes: "Axes", dot: Dot, to_the_left: bool) -> None:
    """A rung's name, below and to the right of it, or above and to the left: curves rise to the right.

    What lies below the hull has its distance above it.
    """
    above = to_the_left and dot.hull_score is None
    place: dict[str, Any] = {"textcoords": "offset points", "xytext": (-7 if to_the_left else 7, 5 if above else -12)}
    place["ha"] = "right" if to_the_left else "left"
    axes.annotate(plain(dot.name), (dot.bitrate_kbps, dot.score), fontsize=8, color=INK, zorder=4, **place)


def codec_styles(chart: LadderChart) -> dict[str, tuple[str, Any]]:
    """(marker, dashes) of each codec."""
    codecs = sorted({curve.codec for curve in chart.curves})
    return {codec: CODEC_STYLES[n % len(CODEC_STYLES)] for n, codec in enumerate(codecs)}


def lines_colours(chart: LadderChart) -> dict[int | None, str]:
    """The colour of each number of lines."""
    heights = sorted({curve.height_px for curve in chart.curves}, key=lambda lines: lines or 0)
    return {lines: LINES_COLOURS[n % len(LINES_COLOURS)] for n, lines in enumerate(heights)}
