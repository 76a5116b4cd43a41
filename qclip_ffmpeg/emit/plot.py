"""A picture of tracks as PNG: score over time with its band, the levels, flags, and how much moves."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from qclip_ffmpeg.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, canvas, png_bytes
from qclip_ffmpeg.emit.chart import (
    LEVELS,
    band_name,
    caution,
    clock,
    has_levels,
    headline,
    margin,
    runs,
    scored,
    shown_range,
    shown_span,
    spans,
    time_marks,
    worst_segments,
    zones,
)
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.track import QualityTrack, SegmentScore

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

SIZE_PX = (1500, 900)
TRACK_COLOURS = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY)
LEVEL_COLOURS = ("#d7301f", "#fc9d59", "#fee08b", "#91bfdb", "#2f6db5")
"""Bad to excellent, red to blue: told apart by the colour-blind (after ColorBrewer's RdYlBu)."""
INK = "#3c4250"
MAX_NAME = 48
MAX_TICKS = 200
ZONE_LEAST = 2
"""Score units of a level that must be in sight."""
SCORE_HEIGHT, LEVELS_HEIGHT, LANE_HEIGHT, MOTION_HEIGHT = 6.0, 1.4, 0.32, 1.3
"""Of the panels, to each other; of flags for each of them."""


def to_png(tracks: Sequence[QualityTrack]) -> bytes:
    """The picture of one track, or of several in one picture, SIZE_PX large.

    Raises:
        UsageError: matplotlib is not installed.
    """
    alone = len(tracks) == 1
    with_levels = alone and any(s.levels for s in tracks[0].segments)
    lanes = sorted({name for track in tracks for name in spans(track)})
    heights = [SCORE_HEIGHT]
    heights += [LEVELS_HEIGHT] * with_levels + [0.2 + LANE_HEIGHT * len(lanes)] * bool(lanes) + [MOTION_HEIGHT]
    with canvas(SIZE_PX) as drawing:
        panels = drawing.subplots(len(heights), sharex=True, squeeze=False, height_ratios=heights)[:, 0].tolist()
        draw_scores(panels[0], tracks, alone)
        if with_levels:
            draw_levels(panels[1], tracks[0])
        if lanes:
            draw_lanes(panels[-2], tracks, lanes)
        draw_motion(panels[-1], tracks)
        draw_time(panels, tracks)
        write_titles(drawing, panels[0], tracks)
        drawing.align_ylabels()
        return png_bytes(drawing)


def draw_scores(axes: "Axes", tracks: Sequence[QualityTrack], alone: bool) -> None:
    """A step a segment in its band, over the zones of the levels, and a ring at the worst."""
    low, high = shown_range(tracks)
    if has_levels(tracks):
        axes.set_yticks(range(0, 101, 25))
        axes.grid(visible=False, axis="y")
        draw_zones(axes)
    for track, colour in zip(tracks, TRACK_COLOURS, strict=False):
        for run in runs(segment for _, segment in scored(track)):
            edges, scores = steps(run, [s.score or 0.0 for s in run])
            _, margins = steps(run, [margin(track, s, alone) for s in run])
            below = [max(low, score - m) for score, m in zip(scores, margins, strict=True)]
            above = [min(high, score + m) for score, m in zip(scores, margins, strict=True)]
            axes.fill_between(edges, below, above, color=colour, alpha=0.16, linewidth=0)
            axes.plot(edges, scores, color=colour, linewidth=1.5, solid_joinstyle="round")
        for worst in worst_segments(track, 1):
            ring: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": colour, "markeredgewidth": 1.5}
            middle_s = (worst.start_s + worst.end_s) / 2
            axes.plot([middle_s], [worst.score or 0.0], marker="o", markersize=7, clip_on=False, zorder=3, **ring)
    if not any(map(scored, tracks)):
        axes.text(0.5, 0.5, "nothing was scored", transform=axes.transAxes, ha="center", va="center", fontsize=14)
    axes.set(ylim=(low, high), ylabel="score")


def draw_zones(axes: "Axes", low: float = 0, high: float = 100) -> None:
    """The levels from one score to another, each around the score it stands for: a strip in its colour, its name."""
    for (level, zone_bottom, zone_top), colour in zip(zones(), LEVEL_COLOURS, strict=True):
        bottom, top = max(zone_bottom, low), min(zone_top, high)
        if top - bottom < ZONE_LEAST:  # no room for its name
            continue
        axes.axhspan(bottom, top, color=colour, alpha=0.13, linewidth=0, zorder=0)
        beside: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False}
        axes.fill_between([1.004, 1.014], bottom, top, color=colour, linewidth=0, **beside)
        axes.text(1.022, (bottom + top) / 2, level, color=INK, va="center", fontsize=8, **beside)


def draw_levels(axes: "Axes", track: QualityTrack) -> None:
    """The probabilities of the levels, on top of each other."""
    scored = [s for s in track.segments if s.levels]
    lefts, widths = [s.start_s for s in scored], [s.end_s - s.start_s for s in scored]
    bottom = [0.0] * len(scored)
    for level, colour in zip(LEVELS, LEVEL_COLOURS, strict=True):
        share = [getattr(s.levels, level) for s in scored]
        axes.bar(lefts, share, widths, bottom, align="edge", color=colour, edgecolor=colour, linewidth=0.2)
        bottom = [b + s for b, s in zip(bottom, share, strict=True)]
    axes.set(ylim=(0, 1), ylabel="levels", yticks=[0, 1], yticklabels=["0", "100 %"])


def draw_lanes(axes: "Axes", tracks: Sequence[QualityTrack], lanes: Sequence[str]) -> None:
    """A lane for each flag and kind of event; in it the tracks under one another."""
    height = 0.7 / len(tracks)
    for number, track in enumerate(tracks):
        found = spans(track)
        for lane, name in enumerate(lanes):
            bars = [(start_s, end_s - start_s) for start_s, end_s in found.get(name, [])]
            colour = INK if len(tracks) == 1 else TRACK_COLOURS[number]
            axes.broken_barh(bars, (lane - 0.35 + number * height, height), facecolors=colour)
    axes.set_yticks(range(len(lanes)), [plain(name) for name in lanes], fontsize=8)
    axes.set_ylim(len(lanes) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def draw_motion(axes: "Axes", tracks: Sequence[QualityTrack]) -> None:
    """How much moves, a step a segment; ticks where the scored frames of a track alone lie, if they are few."""
    alone = len(tracks) == 1
    for track, colour in zip(tracks, TRACK_COLOURS, strict=False):
        for run in runs(track.segments):
            edges, motion = steps(run, [s.motion for s in run])
            if alone:
                axes.fill_between(edges, 0, motion, color=INK, alpha=0.3, linewidth=0)
            else:
                axes.plot(edges, motion, color=colour, linewidth=1.2)
    if alone:
        seen_s = [frame.time_s for s in tracks[0].segments for frame in s.frames]
        if len(seen_s) <= MAX_TICKS:
            axes.vlines(seen_s, 0, 0.12, transform=axes.get_xaxis_transform(), color=BLACK, linewidth=0.6)
    axes.set_ylim(0, max([1.0, *(1.1 * s.motion for track in tracks for s in track.segments)]))
    axes.set_ylabel("motion")


def draw_time(panels: "Sequence[Axes]", tracks: Sequence[QualityTrack]) -> None:
    """One time axis, named at the lowest panel."""
    span = shown_span(tracks)
    marks = time_marks(span, most=12)
    panels[-1].set_xlim(*span)
    panels[-1].set_xticks(marks, [clock(second) for second in marks])
    for panel in panels[:-1]:
        panel.tick_params(axis="x", length=0)


def write_titles(drawing: "Canvas", axes: "Axes", tracks: Sequence[QualityTrack]) -> None:
    """The name and figures of a track alone as title, of several as legend; what the band is, and what to beware of."""
    from matplotlib.lines import Line2D

    alone = len(tracks) == 1
    if alone:
        drawing.suptitle(f"{plain(tracks[0].source.name)}\n{headline(tracks[0])}", fontsize=11)
    else:
        drawing.suptitle("Picture quality over time", fontsize=11)
        lines = [Line2D([], [], color=colour, linewidth=2.5) for colour in TRACK_COLOURS[: len(tracks)]]
        names = [f"{plain(track.source.name)}   {headline(track)}" for track in tracks]
        drawing.legend(lines, names, loc="outside lower left", frameon=False, fontsize=9)
    said = [f"○ worst segment    band: {band_name(alone)}", caution(tracks)]
    axes.set_title("\n".join(filter(None, said)), loc="left", fontsize=8, color=INK)


def steps(run: Sequence[SegmentScore], values: Sequence[float]) -> tuple[list[float], list[float]]:
    """(times, values) of a line that stays at a value through its segment."""
    return [t for s in run for t in (s.start_s, s.end_s)], [v for value in values for v in (value, value)]


def plain(name: str) -> str:
    """A name as one short line that matplotlib takes for text: no control characters, no formulas."""
    return one_line(name, MAX_NAME).replace("$", r"\$")
