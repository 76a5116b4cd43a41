"""What the table says as two pictures: agreement against cost, and scores against labels."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.accuracy.items import Labelled
from benchmarks.accuracy.scores import Scores
from benchmarks.accuracy.table import LEAST_CPU_S, Report, Row
from benchmarks.accuracy.worker import BY_KEY, OURS
from qclip_ffmpeg.drawing import BLACK, BLUE, GREEN, VERMILION, canvas, png_bytes
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.train.metrics import fit_logistic
from qclip_ffmpeg.train.plots import SIZE_PX

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

COLUMNS = 4
"""Panels in a row of the scatter picture."""
PANEL_PX = (380, 330)
NAME_PLACES = (
    (None, (9, 0), "left", "center"),
    (None, (-9, 0), "right", "center"),
    (None, (7, 7), "left", "bottom"),
    (None, (7, -7), "left", "top"),
    (None, (-7, 7), "right", "bottom"),
    (None, (-7, -7), "right", "top"),
    (None, (0, 10), "center", "bottom"),
    (None, (0, -10), "center", "top"),
)
"""Where a name may stand beside its point: offset in points, and its alignment."""
LINE_NAME_PLACES = tuple(
    (along, (0, 2 if vertical == "bottom" else -2), horizontal, vertical)
    for along, horizontal in ((0.01, "left"), (0.3, "center"), (0.5, "center"), (0.7, "center"), (0.99, "right"))
    for vertical in ("bottom", "top")
)
"""Where a name may stand on its line: the share of the width first."""


def style_of(row: Row) -> tuple[str, str]:
    """(colour, marker): ours, no reference, full reference."""
    return (VERMILION, "D") if row.key == OURS else (GREEN, "s") if row.full_reference else (BLUE, "o")


def cost_png(path: Path, found: Report) -> None:
    """Draw SROCC with its interval over CPU seconds a frame, 1000 x 800 px.

    What has no time a frame, for looking at no picture, is a dotted line over the whole width.

    Raises:
        UsageError: matplotlib is not installed, or the file cannot be written.
    """
    rows = [row for row in found.rows if row.agreement is not None and row.agreement.srocc.value is not None]
    with canvas(SIZE_PX) as drawing:
        axes = drawing.add_subplot()
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        names = []
        for row in rows:
            draw = draw_line if row.cpu_s_a_frame is None else draw_point
            names.append(draw(axes, row))
        axes.margins(x=0.12)
        axes.set(
            xlabel="CPU seconds a frame, one thread, reading not counted",
            ylabel=f"SROCC with {found.label}",
            title=f"{found.data}: {found.items} items, {found.contents} contents, 95 % intervals",
        )
        axes.set_ylim(top=1.03)
        legend(axes, rows)
        drawing.draw_without_rendering()  # settles the layout, on which the places of the names depend
        place_names(axes, rows, names)
        write_atomically(path, png_bytes(drawing))


def draw_point(axes: "Axes", row: Row) -> "Annotation":
    """Draw a metric; returns its name, to be placed."""
    colour, marker = style_of(row)
    x, y = point_of(row)
    figure = row.agreement.srocc if row.agreement else None
    if figure and figure.low is not None and figure.high is not None:
        axes.plot([x, x], [figure.low, figure.high], color=colour, linewidth=2, alpha=0.35, solid_capstyle="butt")
    axes.plot([x], [y], color=colour, marker=marker, markersize=9 if row.key == OURS else 7, zorder=3)
    weight = "bold" if row.key == OURS else "normal"
    return axes.annotate(
        row.title.strip("*"), (x, y), (0, 0), textcoords="offset points", color=colour, fontweight=weight, zorder=4
    )


def draw_line(axes: "Axes", row: Row) -> "Annotation":
    """Draw a metric that has no time a frame; returns its name."""
    colour, _ = style_of(row)
    _, y = point_of(row)
    why = "no picture is looked at" if row.key in BY_KEY and BY_KEY[row.key].free else "not timed"
    axes.axhline(y, color=colour, linestyle=":", linewidth=1.2)
    return axes.annotate(
        f"{row.title.strip('*')} ({why})",
        (0.01, y),
        (0, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        color=colour,
        fontsize=8,
    )


def point_of(row: Row) -> tuple[float, float]:
    """(CPU seconds a frame, SROCC), as drawn."""
    assert row.agreement is not None
    return max(row.cpu_s_a_frame or 0.0, LEAST_CPU_S), row.agreement.srocc.value or 0.0


def place_names(axes: "Axes", rows: Sequence[Row], names: "Sequence[Annotation]") -> None:
    """Put each name where it covers least of the points, intervals, lines and other names."""
    inside = axes.get_window_extent()
    taken = [box for row in rows for box in boxes_of(axes, row)]

    def covered(name: "Annotation") -> int:
        box = name.get_window_extent()
        outside = box.x0 < inside.x0 or box.x1 > inside.x1 or box.y1 > inside.y1
        return sum(bool(box.overlaps(other)) for other in taken) + 9 * bool(outside)

    for row, name in zip(rows, names, strict=True):
        x, y = point_of(row)
        places = NAME_PLACES if row.cpu_s_a_frame is not None else LINE_NAME_PLACES
        tried: list[tuple[int, int, tuple[float, float], dict[str, Any]]] = []
        for along, offset, horizontal, vertical in places:
            place = {"position": offset, "horizontalalignment": horizontal, "verticalalignment": vertical}
            name.xy = (x if along is None else along, y)
            name.set(**place)
            tried.append((covered(name), len(tried), name.xy, place))
        _, _, name.xy, place = min(tried)
        name.set(**place)
        taken.append(name.get_window_extent())


def boxes_of(axes: "Axes", row: Row) -> "list[Bbox]":
    """What of a metric no name should cover, in pixels of the picture: its point and interval, or its line."""
    from matplotlib.transforms import Bbox

    (x, y), inside = axes.transData.transform(point_of(row)), axes.get_window_extent()
    if row.cpu_s_a_frame is None:
        return [Bbox([[inside.x0, y - 1], [inside.x1, y + 1]])]
    boxes = [Bbox([[x - 7, y - 7], [x + 7, y + 7]])]
    figure = row.agreement.srocc if row.agreement else None
    if figure and figure.low is not None and figure.high is not None:
        low, high = (axes.transData.transform((point_of(row)[0], end))[1] for end in (figure.low, figure.high))
        boxes.append(Bbox([[x - 2, low], [x + 2, high]]))
    return boxes


def legend(axes: "Axes", rows: Sequence[Row]) -> None:
    from matplotlib.lines import Line2D

    names = {(VERMILION, "D"): "ours", (BLUE, "o"): "no reference", (GREEN, "s"): "full reference"}
    used = dict.fromkeys(style_of(row) for row in rows)
    handles = [Line2D([], [], color=colour, marker=marker, linestyle="") for colour, marker in used]
    axes.legend(handles, [names[style] for style in used], loc="lower left", fontsize=9)


def scatter_png(path: Path, found: Report, data: Labelled, scores: Scores) -> None:
    """Draw the labels over the scores of every metric, a panel each, with the fitted logistic.

    Raises:
        UsageError: matplotlib is not installed, or the file cannot be written.
    """
    rows = [row for row in found.rows if row.agreement is not None]
    lines = -(-len(rows) // COLUMNS)
    columns = min(COLUMNS, len(rows))
    with canvas((max(SIZE_PX[0], PANEL_PX[0] * columns), PANEL_PX[1] * lines)) as drawing:
        panels = drawing.subplots(lines, columns, sharey=True, squeeze=False)
        for panel in panels.flat[len(rows) :]:
            panel.set_visible(False)
        for panel, row in zip(panels.flat, rows, strict=False):
            kept = [
                (values[row.key], label)
                for values, label in zip(scores.values, data.labels, strict=True)
                if row.key in values
            ]
            draw_scatter(panel, row, np.array(kept))
        drawing.suptitle(f"{found.data}: {found.label} over the score (higher is better), and SROCC", fontsize=11)
        for panel in panels[:, 0]:
            panel.set_ylabel(found.label)
        write_atomically(path, png_bytes(drawing))


def draw_scatter(panel: "Axes", row: Row, kept: "np.typing.NDArray[np.float64]") -> None:
    """kept: (N, 2), score and label."""
    score, label = kept.T
    colour, _ = style_of(row)
    panel.scatter(score, label, s=7, c=colour, alpha=min(0.6, max(0.15, 8 / len(score) ** 0.5)), linewidths=0)
    across = np.linspace(score.min(), score.max(), 200)
    panel.plot(across, fit_logistic(score, label)(across), color=BLACK, linewidth=1.2)
    srocc = row.agreement.srocc.value if row.agreement else None
    panel.set_title(row.title.strip("*") + ("" if srocc is None else f"  {srocc:.3f}"), fontsize=9)
    panel.set_ylim(-3, 103)
    panel.tick_params(labelsize=7)
