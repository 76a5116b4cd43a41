"""What pictures show of tracks, and the PNG: its size, its colours, the same bytes twice, and the awkward tracks."""

import io
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import numpy as np
import pytest
from matplotlib.image import imread
from tiny_track import tiny_segment, tiny_track

from qclip_ffmpeg.drawing import BLUE, VERMILION
from qclip_ffmpeg.emit.chart import (
    caution,
    check_count,
    clock,
    headline,
    level_of,
    margin,
    runs,
    scored,
    shown_span,
    spans,
    time_marks,
    worst_segments,
)
from qclip_ffmpeg.emit.plot import MAX_NAME, SIZE_PX, plain, to_png
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.track import Event, QualityTrack, pool

changed = msgspec.structs.replace


def track_of(*scores: float | None, name: str = "clip.mp4", **fields: Any) -> QualityTrack:
    """A track whose segments have these scores, and these fields."""
    segments = [changed(tiny_segment(i), score=score, flags=[], **fields) for i, score in enumerate(scores)]
    return changed(tiny_track(name=name), segments=segments, pooled=pool(segments))


def pixels(png: bytes) -> np.ndarray:
    """(H, W, 3), 0 to 255."""
    return (imread(io.BytesIO(png))[..., :3] * 255).round().astype(int)


def shows(png: bytes, colour: str) -> int:
    """Pixels of exactly that colour."""
    return int((pixels(png) == [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).all(axis=2).sum())


def test_a_line_is_cut_where_a_score_or_time_is_missing() -> None:
    track = track_of(1, 2, None, 4, 5)
    later = changed(track.segments[4], start_s=9.0, end_s=9.4)
    gap = changed(track, segments=[*track.segments[:4], later])
    assert [[s.index for s in run] for run in runs(s for _, s in scored(gap))] == [[0, 1], [3], [4]]
    assert [[s.index for s in run] for run in runs(gap.segments)] == [[0, 1, 2, 3], [4]]
    assert runs([]) == []


def test_flags_and_events_have_spans_and_those_that_touch_are_one() -> None:
    flags = [["gap"], ["gap", "corrupt"], [], ["gap"]]
    segments = [changed(tiny_segment(i), flags=found) for i, found in enumerate(flags)]
    track = changed(tiny_track(), segments=segments, events=[Event("freeze", 0.5, 0.7, 1, 1)])
    assert spans(track) == {"corrupt": [(0.4, 0.8)], "freeze": [(0.5, 0.7)], "gap": [(0.0, 0.8), (1.2, 1.6)]}
    assert list(spans(track)) == sorted(spans(track))


def test_the_worst_are_the_lowest_and_of_equal_ones_the_earlier() -> None:
    assert [s.index for s in worst_segments(track_of(50, 10, None, 30, 10, 70, 20, 60))] == [1, 4, 6, 3, 0]
    assert worst_segments(track_of(None)) == []


def test_the_band_is_the_error_alone_and_half_the_noise_band_beside_others() -> None:
    track = track_of(50.0, score_stderr=9.0)
    noisy = changed(track, pooled=changed(track.pooled, noise_band=7.0))
    assert margin(noisy, track.segments[0], alone=True) == 9
    assert margin(noisy, track.segments[0], alone=False) == 3.5
    for unknown in (None, math.nan, math.inf):
        assert margin(track, changed(track.segments[0], score_stderr=unknown), alone=True) == 0
    assert margin(track, track.segments[0], alone=False) == 0, "no noise band was measured"


def test_scores_that_cannot_be_compared_are_said() -> None:
    track = tiny_track()
    other = changed(track, model=changed(track.model, weights_sha256="2" * 64))
    native = changed(track, settings=changed(track.settings, display="native"))
    assert caution([track, track]) is None
    assert "different models" in (caution([track, other]) or "")
    assert "different displays" in (caution([track, native]) or "")


def test_figures_in_a_line() -> None:
    assert headline(track_of(20.0, 40.0)) == "mean 30.0 ± 11.1 · p5 20.0 · worst 20.0 at 0:00"
    assert headline(changed(track_of(20.0), complete=False)).endswith("worst 20.0 at 0:00 · incomplete")
    assert (headline(track_of()), headline(track_of(None))) == ("not measured", "no score")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0:00"),
        (0.04, "0:00"),
        (1.5, "0:01.5"),
        (59.96, "1:00"),
        (3599, "59:59"),
        (36061, "10:01:01"),
        (-2, "-0:02"),
    ],
)
def test_times_are_read_at_a_glance(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_time_marks_are_round_and_not_too_many() -> None:
    assert time_marks((0, 5.3), 12) == [n / 2 for n in range(11)]
    assert time_marks((60, 7260), 8) == [900.0 * n for n in range(1, 9)]
    for length_s in (0.04, 1, 77, 4000, 1e7):
        assert 1 <= len(time_marks((3, 3 + length_s), 12)) <= 13
    assert shown_span([track_of()]) == (0, 1)
    assert shown_span([track_of(1), track_of(1, 2), track_of()]) == (0, 0.8)


def test_levels_are_those_whose_score_is_nearest() -> None:
    scores = (0, 12.4, 13, 37, 38, 62, 63, 87, 88, 100)
    assert [level_of(s) for s in scores] == [
        *["bad", "bad", "poor", "poor", "fair", "fair", "good", "good", "excellent", "excellent"]
    ]


def test_a_picture_has_room_for_six() -> None:
    check_count("--plot", 6)
    with pytest.raises(UsageError, match="--plot: shows 6 inputs at most, not 7"):
        check_count("--plot", 7)


RAW = changed(tiny_track(), model=changed(tiny_track().model, score_range=(-0.5, 0.5), calibration=None))
AWKWARD: dict[str, Callable[[], Sequence[QualityTrack]]] = {
    "whole": lambda: [tiny_track()],
    "one segment": lambda: [tiny_track(1)],
    "no score": lambda: [track_of(None, levels=None)],
    "no segment": lambda: [changed(track_of(), complete=False, warnings=["gone"])],
    "raw scores": lambda: [changed(RAW, segments=[changed(tiny_segment(0), score=-0.2)])],
    "several": lambda: [track_of(*[n] * 3, name=f"{n}.mp4") for n in range(10, 70, 10)],
    "one of two": lambda: [track_of(), track_of(50.0)],
    "hostile name": lambda: [tiny_track(name="$x^{_$ _\n\x00<b>最终 🎬.mp4" * 9), tiny_track(name="_hidden.mp4")],
    "not finite": lambda: [track_of(50.0, score_stderr=math.nan)],
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.filterwarnings("error")
def test_every_track_gives_a_picture_of_its_size(name: str) -> None:
    picture = pixels(to_png(AWKWARD[name]()))
    assert picture.shape == (SIZE_PX[1], SIZE_PX[0], 3)
    assert 0.005 < (picture < 200).any(axis=2).mean() < 0.6


def test_the_same_track_gives_the_same_bytes() -> None:
    first, again = to_png([tiny_track()]), to_png([tiny_track()])
    assert first == again
    assert b"atplotlib" not in first


def test_every_track_has_its_colour() -> None:
    one, two = to_png([track_of(50.0, 60.0)]), to_png([track_of(50.0, 60.0), track_of(20.0, 30.0)])
    assert (shows(one, BLUE) > 500, shows(one, VERMILION)) == (True, 0)
    assert min(shows(two, BLUE), shows(two, VERMILION)) > 500


def test_a_name_is_one_short_line_of_plain_text() -> None:
    assert plain("a\nb\x00c$") == r"a b c\$"
    assert len(plain("x" * 999)) == MAX_NAME


def test_without_matplotlib_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"pip install 'qclip-ffmpeg\[plot\]'"):
        to_png([tiny_track()])
