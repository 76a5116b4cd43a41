"""What every drawing shares: an empty canvas of matplotlib's in our style, and its bytes as PNG.

Drawn off screen, without pyplot and so without any state but matplotlib's settings, which are put back. The same input
and version of matplotlib give the same bytes.
"""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING

from qclip_ffmpeg.errors import UsageError

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Canvas

DPI = 150
BLACK, ORANGE, SKY, GREEN, YELLOW, BLUE, VERMILION, PURPLE = (
    "#000000",
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)
"""Colours that the colour-blind tell apart (Okabe and Ito, Color Universal Design, 2008)."""
STYLE = {
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "legend.fontsize": 8,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "figure.constrained_layout.w_pad": 0.1,  # inches
    "figure.constrained_layout.h_pad": 0.08,
}


def check_matplotlib() -> None:
    """Raises UsageError where matplotlib is not installed; it is looked for, not loaded."""
    try:
        found = find_spec("matplotlib") is not None
    except ValueError:  # it was forbidden: sys.modules holds None in its place
        found = False
    if not found:
        raise UsageError("a plot needs matplotlib; pip install 'qclip-ffmpeg[plot]'")


@contextmanager
def canvas(size_px: tuple[int, int]) -> "Iterator[Canvas]":
    """An empty picture of (width, height), in our style whatever matplotlibrc says.

    Raises:
        UsageError: matplotlib is not installed.
    """
    check_matplotlib()
    from matplotlib import style
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with style.context(["default", STYLE]):
        drawing = Canvas(figsize=(size_px[0] / DPI, size_px[1] / DPI), dpi=DPI, layout="constrained")
        FigureCanvasAgg(drawing)
        yield drawing


def png_bytes(drawing: "Canvas") -> bytes:
    """A drawing as PNG, without the name and version of matplotlib in it."""
    data = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from font")  # it draws a box in its place
        drawing.savefig(data, format="png", dpi=DPI, metadata={"Software": None})
    return data.getvalue()
