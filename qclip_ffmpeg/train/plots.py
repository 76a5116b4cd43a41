"""Pictures of a training run and of its figures, as PNG."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from qclip_ffmpeg.drawing import BLACK, BLUE, GREEN, ORANGE, PURPLE, SKY, VERMILION, canvas, png_bytes
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.train.bootstrap import Figure
from qclip_ffmpeg.train.metrics import Figures, LogisticFit, checked

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SIZE_PX = (1000, 800)
"""Width and height of every picture."""
CONTENT_STYLES = [(BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (SKY, "v"), (VERMILION, "P")]
"""Colour and marker of each content, where a legend can name them all."""
LogRow = Mapping[str, float | bool | None]


def scatter_png(
    path: Path,
    score: ArrayLike,
    label: ArrayLike,
    content: Sequence[str],
    figures: Figures,
    title: str,
    fit: LogisticFit,
) -> None:
    """Draw labels over scores with the fitted map and the figures, 1000 x 800 px.

    Up to six contents have a colour and a marker each; more are drawn alike, and darker where clips lie close.

    Args:
        path: PNG to write; it appears whole or not at all.
        score: (N,).
        label: (N,), 0 to 100.
        content: (N,), name of the source of each clip.
        figures: of the same clips.
        title: one short line.
        fit: of the same clips.

    Raises:
        UsageError: matplotlib is not installed, the lengths differ or a number is not finite, or the file cannot be
            written.
    """
    x, y = checked(score, label, content)
    with canvas(SIZE_PX) as drawing:
        axes = drawing.add_subplot()
        names = sorted(set(content))
        if 1 < len(names) <= len(CONTENT_STYLES):
            for name, (colour, marker) in zip(names, CONTENT_STYLES, strict=False):
                of = np.array([c == name for c in content])
                axes.scatter(x[of], y[of], s=16, c=colour, marker=marker, alpha=0.6, linewidths=0, label=name)
        else:
            alpha = min(0.6, max(0.15, 10 / math.sqrt(len(x))))
            axes.scatter(x, y, s=14, c=BLUE, alpha=alpha, linewidths=0)
        across = np.linspace(x.min(), x.max(), 400)
        name = "fitted logistic" if fit.converged else "fitted line (the logistic did not converge)"
        axes.plot(across, fit(across), color=BLACK, linewidth=1.5, label=name)
        axes.set(title=title, xlabel="score", ylabel="label (0 to 100)", ylim=(-3, 103))
        axes.legend(loc="lower right")
        clips = f"{figures.clips} clips of {figures.contents} contents"
        rows = [f"SROCC {figures.srocc}", f"PLCC  {figures.plcc}", f"RMSE  {figures.rmse:.1f}"]
        axes.text(
            0.02,
            0.98,
            "\n".join([clips, *rows]),
            transform=axes.transAxes,
            verticalalignment="top",
            family="monospace",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 2},
        )
        write_atomically(path, png_bytes(drawing))


def curves_png(path: Path, log_rows: Sequence[LogRow]) -> None:
    """Draw a training run, 1000 x 800 px: its losses above, correlations on the validation split below.

    Args:
        path: PNG to write; it appears whole or not at all.
        log_rows: one an epoch, with the keys `epoch`, `loss`, and where they were measured `plcc_loss`, `rank_loss`,
            `val_srocc`, `val_plcc`; `best` is true in the row of the epoch that was chosen. Others are passed over.
            Without any correlation the losses have the picture to themselves.

    Raises:
        UsageError: matplotlib is not installed, there is no row or one has no epoch, or the file cannot be written.
    """
    if not log_rows or not all("epoch" in row for row in log_rows):
        raise UsageError(f"{path}: curves need one row an epoch, each with its epoch")
    losses = [
        ("loss", "loss", BLACK, "-"),
        ("plcc_loss", "PLCC loss", BLUE, "-"),
        ("rank_loss", "rank loss", ORANGE, "--"),
    ]
    correlations = [("val_srocc", "SROCC", BLUE, "-"), ("val_plcc", "PLCC", ORANGE, "--")]
    with canvas(SIZE_PX) as drawing:
        from matplotlib.ticker import MaxNLocator

        measured = any(points(log_rows, key)[0] for key, *_ in correlations)
        panels = drawing.subplots(2 if measured else 1, sharex=True, squeeze=False)[:, 0]
        draw_curves(panels[0], log_rows, losses)
        panels[0].set(ylabel="training loss", ylim=(0, None))
        if measured:
            draw_curves(panels[1], log_rows, correlations)
            panels[1].set(ylabel="correlation, validation")
        panels[-1].set(xlabel="epoch")
        panels[-1].xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        for best in [row["epoch"] for row in log_rows if row.get("best")]:
            for panel in panels:
                panel.axvline(
                    float(best or 0), color=VERMILION, linestyle=":", linewidth=1.2, label=f"chosen: epoch {best}"
                )
        for panel in panels:
            panel.legend()
        write_atomically(path, png_bytes(drawing))


def draw_curves(panel: "Axes", log_rows: Sequence[LogRow], curves: Sequence[tuple[str, str, str, str]]) -> None:
    """Draw (key, name, colour, line style) of each curve that has a point."""
    for key, name, colour, line in curves:
        epochs, values = points(log_rows, key)
        if epochs:
            marker = "o" if len(epochs) <= 40 else ""
            panel.plot(epochs, values, color=colour, linestyle=line, linewidth=1.5, marker=marker, ms=3, label=name)


def points(log_rows: Sequence[LogRow], key: str) -> tuple[list[float], list[float]]:
    """(epochs, values) of the rows that have a finite value."""
    found = [(row["epoch"], row.get(key)) for row in log_rows]
    kept = [(float(e), float(v)) for e, v in found if e is not None and v is not None and math.isfinite(v)]
    return [e for e, _ in kept], [v for _, v in kept]


def intervals_png(path: Path, rows: Sequence[tuple[str, str, Figure]], title: str) -> None:
    """Draw figures with their intervals, a line each, under one another in groups.

    Args:
        path: the PNG.
        rows: (group, name, figure), groups together.
        title: says what the figures are.

    Raises:
        UsageError: matplotlib is missing, or the file cannot be written.
    """
    with canvas(SIZE_PX) as drawing:
        panel = drawing.add_subplot()
        names: list[str] = []
        group = None
        for of_group, name, figure in rows:
            if of_group != group:
                group = of_group
                names.append(of_group)
            place = len(names)
            names.append(name)
            if figure.value is None:
                continue
            if figure.low is not None and figure.high is not None:
                panel.plot([figure.low, figure.high], [place, place], color=BLUE, linewidth=2, alpha=0.5)
            panel.plot([figure.value], [place], marker="o", color=BLUE, markersize=6)
        panel.set_yticks(range(len(names)), names)
        groups = {of_group for of_group, _, _ in rows}
        for tick in panel.get_yticklabels():
            if tick.get_text() in groups:
                tick.set_fontweight("bold")
        panel.set_ylim(len(names) - 0.5, -0.5)
        panel.set_title(title)
        write_atomically(path, png_bytes(drawing))
