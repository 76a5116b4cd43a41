"""Fields of different times woven into pictures, and what only looks like it, on pictures made by hand."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from test_temporal_parts import frame
from test_temporal_pictures import texture

from qclip_ffmpeg.temporal.combing import FEW_PAIRS, Fields
from qclip_ffmpeg.track import Event

RATE, WIDTH = 25, 120
Drawn = Callable[[float], np.ndarray]
"""Time in fields -> picture (height, width) in 8-bit code values."""


def bands_of(picture: np.ndarray, count: int = 4) -> np.ndarray:
    """(height, width) -> (count, 18, width)"""
    return np.stack([picture[n * 24 : n * 24 + 18] for n in range(count)]).astype(np.float32)


def moving(across: float, down: float = 0.0) -> Drawn:
    """So many samples a field."""
    return lambda time: texture(across * time, down * time, WIDTH)


def rolling(lines_a_frame: int) -> Drawn:
    """Letters, as it were, 40 lines from row to row, that scroll."""
    rng = np.random.default_rng(2)
    sheet = np.full((3000, WIDTH), 16.0)
    for top in range(0, 3000, 40):
        for left in range(10, WIDTH - 10, 14):
            sheet[top : top + int(rng.choice([12, 18])), left : left + int(rng.integers(3, 11))] = 220
    return lambda time: sheet[int(time / 2) * lines_a_frame :][:120]


def woven(drawn: Drawn, n: int) -> np.ndarray:
    picture = drawn(2 * n).copy()
    picture[1::2] = drawn(2 * n + 1)[1::2]
    return picture


def events(count: int, picture: Callable[[int], np.ndarray], window_s: float = 4.0, flag: str = "") -> list[Event]:
    """Of windows of such a length over so many frames."""
    fields, found, end_s = Fields(), [], window_s
    for n in range(count):
        if n / RATE >= end_s:
            found.append(fields.event(end_s - window_s, end_s))
            end_s += window_s
        bands = bands_of(picture(n))
        flags = frozenset({flag} - {""})
        fields.add(replace(frame(n, None), flags=flags, read_lines=lambda bands=bands: bands))
    return [event for event in [*found, fields.event(end_s - window_s, count / RATE)] if event is not None]


@pytest.mark.parametrize("moved", [(0.2, 0.0), (0.5, 0.15), (-1.0, 0.0), (0.0, 0.4)])
def test_fields_of_two_times_are_combing_however_little_moves(moved: tuple[float, float]) -> None:
    drawn = moving(*moved)
    assert events(100, lambda n: drawn(2 * n)) == []
    [event] = events(100, lambda n: woven(drawn, n))
    assert (event.kind, event.start_s, event.end_s) == ("combing", 0.0, 4.0)


def test_what_moves_faster_is_worse() -> None:
    slow, fast = moving(0.05), moving(0.15)
    [little] = events(100, lambda n: woven(slow, n))
    [much] = events(100, lambda n: woven(fast, n))
    assert 0 < 2 * little.severity < much.severity < 1


def test_which_field_comes_first_does_not_matter() -> None:
    drawn = moving(-0.4)
    bottom, top = events(100, lambda n: woven(drawn, -n)), events(100, lambda n: woven(drawn, n))
    assert bottom[0].severity == pytest.approx(top[0].severity, abs=0.1)


def test_fields_in_a_part_of_a_noisy_picture_are_enough() -> None:
    rng, drawn = np.random.default_rng(3), moving(0.5)

    def part(n: int) -> np.ndarray:
        picture = texture(0, 0, WIDTH)
        picture[:, :40] = woven(drawn, n)[:, :40]
        return picture + rng.normal(0, 5, picture.shape)

    assert len(events(100, part)) == 1
    assert events(100, lambda n: drawn(2 * n) + rng.normal(0, 20, (120, WIDTH))) == []


@pytest.mark.parametrize("lines_a_frame", [1, 2, 3, 4, 6])
def test_credits_that_scroll_are_no_combing(lines_a_frame: int) -> None:
    drawn = rolling(lines_a_frame)
    assert events(100, lambda n: drawn(2 * n)) == []


def test_a_title_that_appears_and_a_cut_are_no_combing() -> None:
    titled = texture(0, 0, WIDTH)
    titled[30:50:2, 20:80] = 230
    for after in (titled, 255 - texture(3, 0, WIDTH)):
        assert events(100, lambda n, a=after: texture(0, 0, WIDTH) if n < 54 else a) == []


def test_light_that_changes_is_no_combing() -> None:
    assert events(100, lambda n: texture(0, 0, WIDTH) * n / 100) == []


def test_frames_that_are_marked_interlaced_may_be() -> None:
    drawn = moving(0.5)
    assert events(100, lambda n: woven(drawn, n), flag="interlaced") == []


def test_a_short_window_is_judged_by_what_was_right_before_it_too() -> None:
    drawn = moving(0.05)
    found = events(200, lambda n: woven(drawn, n), window_s=0.12)
    assert found[0].start_s > 0.5
    assert found[-1].end_s == 8.0
    assert len(found) > 50


def test_so_few_frames_that_chance_may_do_it_are_not_judged() -> None:
    drawn = moving(0.5)
    assert events(5 * FEW_PAIRS - 1, lambda n: woven(drawn, n)) == []
    assert len(events(5 * FEW_PAIRS, lambda n: woven(drawn, n))) == 1


def test_pictures_without_bands_or_of_two_sizes_are_passed_over() -> None:
    fields, drawn = Fields(), moving(0.5)
    for n in range(200):
        bands = bands_of(woven(drawn, n)[:, : WIDTH - 20 * (n % 2)])[: 4 * (n >= 100)]
        fields.add(replace(frame(n, None), read_lines=lambda bands=bands: bands))
    assert fields.event(0.0, 8.0) is None
