"""Which part of a picture is picture: black bars around it are found, and left out of what is scored.

A letterboxed, pillarboxed or windowboxed picture is scored as the same picture without its bars would be: only the
active picture is fitted into the display. Everything is in upright pixels, as `Frame.rgb()` gives them.

The rule, for the frames of one window together:

    row 0     ................  dark in every frame: never lit (a few stray pixels apart)          the bar
              ................
              ..::...:....:...  ringing and blur of the encoder: anything goes, few rows           its fringe
    row n     ###..###########  bright along much of its length in most of the frames: the edge    the picture

and the same from the other side, as wide to a hundredth. Fewer signs are not enough: a wrong cut costs more than a bar
that stays. So nothing is cut from night shots (their dark parts do not end along a straight line), from
credits (text does not fill a line), from one side only, or from a window in which a frame has picture at a corner.

From window to window the bars last: a window that shows no edge, because the scene is dark or black, keeps the
bars of the one before it as long as they stay dark. Subtitles may stand in one bar of a pair. Where picture comes
into the bars they end at once, and where other bars begin, those hold from that window on. Before the first
edge is seen nothing is cut.

What was taken from others, all of whom judge luma: that a line is dark against a limit near black and that the
picture only ever grows while nothing resets it is FFmpeg's cropdetect (vf_cropdetect.c); that a dark line must also be
smooth, that a border too wide is a dark scene and not a border, and that several frames must agree is HandBrake's
(libhb/scan.c: DARK, row_all_dark, at least three previews). Straight edges, symmetry and the way out are ours.
"""

from fractions import Fraction
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from qclip_ffmpeg.frame import Picture
from qclip_ffmpeg.track import Area

Bars = Literal["cut", "keep"]

# Levels in 8-bit full-range code values of the brightest of R', G' and B'. Of PQ and HLG signals the same numbers are
# darker still, so that the rule is never laxer there.
BLACK_LIMIT = 24
"""Bars are no brighter. Black is 0; 16 when limited range was taken for full, 19 with the 7.5 IRE set-up of NTSC, and
noise adds some. cropdetect's limit is 9 in these units, HandBrake's 19."""
DARK_SPREAD = 12
"""A pixel of a bar is at most this much brighter than the bar. HandBrake allows 19, since encoders are coarse near
black; we look at the brightest of many frames, but not at the fringe, where they are coarsest."""
BRIGHT_STEP = 28
"""Picture beside an edge is brighter than the bar by more than this: DARK_SPREAD and a clear step of 16 over it."""

CORNER_PX = 4
"""Side of the squares at the four corners, which every kind of bars covers; they say how black black is."""
BLUR_PX = 4
"""An edge rises within this many lines, and is found with no greater error: deblocking filters change three or four
lines beside the edge of a block, chroma and scalers blur over two."""
FRINGE_PX = 16
"""Lines beside an edge that ringing may light: the block of H.264, half of the usual one of HEVC and AV1."""
MIN_BAR_PX = 6
MIN_BAR_SHARE = 0.01
"""Narrower bars are left: 1.85:1 in 16:9 leaves 1.9 % on each side, blanking of analogue lines less than 1 %."""
MIN_PICTURE_SHARE = 0.2
"""Of a side, left by bars on one axis. 16:9 in 9:16 leaves 0.32, 2.39:1 in 9:16 0.24; HandBrake stops at 0.5."""
MIN_WINDOW_SHARE = 0.5
"""Of both sides, with bars on both axes. 2.39:1 in 4:3 in 16:9 leaves 0.75 by 0.56; less is a screen in a dark room."""
MIN_SIDE_PX = 64
"""Smaller pictures are not looked at: too few lines to tell bars from picture."""
SYMMETRY_SHARE = 0.01
"""Of a side, by which opposite bars may differ in width: rounding to even lines, a few lines of analogue shift."""
PICTURE_SHARE = 0.1
"""Of a picture that must be bright for it to count: a black one says nothing of edges, text fills less."""
EDGE_SHARE = 1 / 3
"""Of an edge's length that must be bright in half of the pictures that count. In dark scenes more is seldom so; rolling
text lights another place in each frame."""
RINGING = 0.25
"""Of the picture's brightness just inside the edge, what a pixel just outside may have: a cut-off transform overshoots
by a tenth, and filters smear it. At CRF 48 a median of 8 % was seen, and 20 % at single pixels."""
FRINGE_SHARE = EDGE_SHARE / 2
"""Of an edge's length that may be lit, by more than ringing, BLUR_PX outside it. Where picture grows out of the
dark, the lines fill up one by one and there is more."""
PLATEAU = 0.75
"""Of the brightness 2 BLUR_PX further in, what half of the line BLUR_PX inside an edge must have: past an edge the
picture goes on as it is, a fall of light goes on rising."""
TEXT_SHARE = 0.5
"""Of a line's length that subtitles in a bar may light over a window."""
STRAY_SHARE = 0.002
"""Of a bar's pixels that may be lit all the same: dust, a lost block."""


class Margins(NamedTuple):
    """Widths of the bars in upright pixels."""

    top: int = 0
    bottom: int = 0
    left: int = 0
    right: int = 0

    def cut(self, picture: Picture) -> Picture:
        """The active picture of (3, height, width), without a copy."""
        _, height_px, width_px = picture.shape
        return picture[:, self.top : height_px - self.bottom, self.left : width_px - self.right]


NO_BARS = Margins()


class ActivePicture:
    """Follows the active picture of one video from window to window, in order.

    For each window: `look` at its pictures one by one, then `settle`; from then on `bars_of` holds for this window.
    Memory is two planes of one picture. The pictures alone decide, so the same input gives the same bars.

    Args:
        bars: "keep" finds none.
    """

    def __init__(self, bars: Bars = "cut") -> None:
        self._enabled = bars == "cut"
        self._margins = NO_BARS
        self._size_px: tuple[int, int] | None = None  # (height, width) of the pictures `_margins` are about
        self._seen: Composite | None = None
        self._sizes_px: set[tuple[int, int]] = set()  # of the window under way, or settled last
        self.changed = False
        """Whether the window settled last has other bars than the one before it, in pictures of the same size."""

    def look(self, picture: Picture) -> Margins:
        """Take in one picture (3, height, width) of the next window. Returns its bars, if they last."""
        size_px = (picture.shape[1], picture.shape[2])
        if self._seen is None:
            self._seen = Composite(size_px)
            self._sizes_px = set()
        self._sizes_px.add(size_px)
        if self._enabled and len(self._sizes_px) == 1:
            self._seen.add(picture)
        return self.bars_of(picture)

    def settle(self) -> bool:
        """Decide on the window whose pictures were looked at. Returns whether `look` was right about its bars."""
        seen, self._seen = self._seen, None
        assert seen is not None, "look at the pictures of the window first"
        if len(self._sizes_px) > 1:
            right = self._margins == NO_BARS
            self._margins, self._size_px, self.changed = NO_BARS, None, False
            return right
        before = self._margins if self._size_px == seen.size_px else NO_BARS
        found = bars_now(seen, before) if self._enabled else NO_BARS
        self.changed = self._size_px == seen.size_px and found != before
        self._margins, self._size_px = found, seen.size_px
        return found == before

    def bars_of(self, picture: Picture) -> Margins:
        """The bars of a picture of the window settled last; none where pictures of several sizes meet."""
        return self._margins if self._size_px == picture.shape[1:] else NO_BARS

    @property
    def part(self) -> tuple[Fraction, Fraction]:
        """Shares of the width and height that are active picture in the window settled last."""
        if self._size_px is None or (area_px := self.area_px) is None:
            return Fraction(1), Fraction(1)
        return Fraction(area_px.width, self._size_px[1]), Fraction(area_px.height, self._size_px[0])

    @property
    def area_px(self) -> Area | None:
        """Where the active picture of the window settled last lies; None where pictures of several sizes meet."""
        if self._size_px is None:
            return None
        (height_px, width_px), bars = self._size_px, self._margins
        return Area(bars.left, bars.top, width_px - bars.left - bars.right, height_px - bars.top - bars.bottom)


class Composite:
    """What the pictures of a window, all of one size, look like together."""

    def __init__(self, size_px: tuple[int, int]) -> None:
        self.size_px = size_px
        self.may_have_bars = min(size_px) >= MIN_SIDE_PX
        self.level = 0
        self._counted = 0
        if self.may_have_bars:
            self._brightest = np.zeros(size_px, np.uint8)
            self._times_bright = np.zeros(size_px, np.uint16)

    def add(self, picture: Picture) -> None:
        """A picture (3, height, width). Nothing more is looked at once a corner was not black."""
        if not self.may_have_bars:
            return
        level = corner_level(picture)
        self.may_have_bars = level <= BLACK_LIMIT
        if not self.may_have_bars:
            return
        light = high_8_bits(picture.max(axis=0))  # a saturated blue is no black
        self.level = max(self.level, level)
        np.maximum(self._brightest, light, out=self._brightest)
        bright = light > level + BRIGHT_STEP
        if bright.mean() >= PICTURE_SHARE:
            self._counted += 1
            self._times_bright += bright

    @property
    def lit(self) -> NDArray[np.bool_]:
        """(height, width): brighter than a bar in any frame."""
        return self._brightest > self.level + DARK_SPREAD

    @property
    def bright(self) -> NDArray[np.bool_]:
        """(height, width): clearly picture, in at least half of the frames that show any."""
        return 2 * self._times_bright >= max(1, self._counted)

    @property
    def brightest(self) -> NDArray[np.uint8]:
        """(height, width): of all frames, above the level of the bars."""
        return np.maximum(self._brightest, np.uint8(self.level)) - np.uint8(self.level)


def high_8_bits(samples: Picture) -> NDArray[np.uint8]:
    """Samples cut to 8 bits, not rounded: the darker reading of what may be a bar."""
    return (samples >> 8 if samples.dtype == np.uint16 else samples).astype(np.uint8, copy=False)


def corner_level(picture: Picture) -> int:
    """Median of the brightest corner of (3, height, width), in 8-bit code values."""
    near, far = slice(None, CORNER_PX), slice(-CORNER_PX, None)
    corners = [picture[:, rows, columns].max(axis=0) for rows in (near, far) for columns in (near, far)]
    return max(int(np.median(high_8_bits(corner))) for corner in corners)


def bars_now(seen: Composite, before: Margins) -> Margins:
    """The bars of a window, each axis for itself: those it shows; else those before it, if still dark; else none."""
    if not seen.may_have_bars:
        return NO_BARS
    shown, lit = bars_shown(seen), seen.lit
    rows = settled_pair(shown[:2], before[:2], lit)
    columns = settled_pair(shown[2:], before[2:], lit.T)
    return enough_left(Margins(*rows, *columns), seen.size_px)


def settled_pair(shown: tuple[int, int], before: tuple[int, int], lit: NDArray[np.bool_]) -> tuple[int, int]:
    """Widths of a pair of bars at the first and last rows of a plane; an edge that was seen before does not wander."""
    same = all(abs(a - b) <= BLUR_PX for a, b in zip(shown, before, strict=True))
    lasting = not any(shown) and any(before) and dark_pair(lit, *before)
    return before if same or lasting else shown


def bars_shown(seen: Composite) -> Margins:
    """The bars that this window alone is evidence of, on both axes.

    Rows over the whole width first, columns over the height that leaves, and rows again over the width that those
    leave: the edges of a windowbox are shorter than the picture's sides.
    """
    height_px, width_px = seen.size_px
    lit, bright, brightest = seen.lit, seen.bright, seen.brightest
    rows, columns = (0, 0), (0, 0)
    for _ in range(2):
        across = slice(columns[0], width_px - columns[1])
        rows = pair_of_bars(lit[:, across], bright[:, across], brightest[:, across])
        down = slice(rows[0], height_px - rows[1])
        columns = pair_of_bars(lit[down].T, bright[down].T, brightest[down].T)
    return enough_left(Margins(*rows, *columns), seen.size_px)


def enough_left(bars: Margins, size_px: tuple[int, int]) -> Margins:
    """The bars, or none where they would leave too little of a picture (height, width)."""
    rows, columns = sum(bars[:2]), sum(bars[2:])
    least = MIN_WINDOW_SHARE if rows and columns else MIN_PICTURE_SHARE
    return bars if rows <= (1 - least) * size_px[0] and columns <= (1 - least) * size_px[1] else NO_BARS


def pair_of_bars(lit: NDArray[np.bool_], bright: NDArray[np.bool_], brightest: NDArray[np.uint8]) -> tuple[int, int]:
    """Widths of the bars at the first and the last rows of planes (lines, samples); (0, 0) where there is no pair."""
    first = edge_of(lit, bright, brightest)
    last = edge_of(lit[::-1], bright[::-1], brightest[::-1]) if first else 0
    narrow = max(MIN_BAR_PX, MIN_BAR_SHARE * len(lit))
    uneven = max(BLUR_PX, SYMMETRY_SHARE * len(lit))
    if min(first, last) < narrow or abs(first - last) > uneven or not dark_pair(lit, first, last):
        return 0, 0
    return first, last


def edge_of(lit: NDArray[np.bool_], bright: NDArray[np.bool_], brightest: NDArray[np.uint8]) -> int:
    """Lines before the first one that is bright along most of its length; 0 where there is no sharp edge before it."""
    filled = bright.mean(axis=1) > EDGE_SHARE
    edge = int(np.argmax(filled))
    outside = edge - 1 - BLUR_PX
    if not filled[edge] or outside < 0:
        return 0
    inside, further = (brightest[min(edge + n * BLUR_PX, len(brightest) - 1)] for n in (1, 3))
    if (lit[outside] & (brightest[outside] > RINGING * inside)).mean() > FRINGE_SHARE:
        return 0
    if np.median(PLATEAU * further - inside) > 0:
        return 0
    for line in range(edge, edge + BLUR_PX):  # of a blurred edge, what is nearer to the bar than to the picture
        inside = brightest[min(line + BLUR_PX, len(brightest) - 1)]
        if (2.0 * brightest[line] >= inside).mean() > EDGE_SHARE:
            return line
    return edge + BLUR_PX


def dark_pair(lit: NDArray[np.bool_], first: int, last: int) -> bool:
    """Whether bars at both ends, without the fringes at their edges, are dark: one side all, the other but for text."""
    sides = [lit[: without_fringe(first)], lit[len(lit) - without_fringe(last) :]]
    clean = [side.mean() <= STRAY_SHARE for side in sides]
    return any(clean) and all(side.mean(axis=1).max() <= TEXT_SHARE for side in sides)


def without_fringe(width_px: int) -> int:
    """Lines of a bar that ringing cannot reach; of a narrow bar the outer half."""
    return width_px - min(FRINGE_PX, width_px // 2)
