"""Fields of different times woven into pictures, and what only looks like it, on pictures made by hand."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from test_temporal_parts import frame
from test_temporal_pictures import texture

from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.temporal.combing import CYCLE, FEW_PAIRS, SURE_PAIRS, Fields, Pair, combed
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


def shown(n: int, picture: np.ndarray, flag: str = "") -> Frame:
    return replace(frame(n, None), flags=frozenset({flag} - {""}), read_lines=lambda: bands_of(picture))


def events(
    count: int, picture: Callable[[int], np.ndarray], window_s: float = 4.0, flags: Callable[[int], str] = lambda n: ""
) -> list[Event]:
    """Of windows of such a length over so many frames."""
    fields, found, end_s = Fields(), [], window_s
    for n in range(count):
        if n / RATE >= end_s:
            found.append(fields.event(end_s - window_s, end_s))
            end_s += window_s
        fields.add(shown(n, picture(n), flags(n)))
    return [event for event in [*found, fields.event(end_s - window_s, count / RATE)] if event is not None]


def told(leans: Sequence[float], added: float, as_rough: float) -> Event | None:
    """By pairs that are five frames apart."""
    return combed([Pair(n / 5, lean, 3.0, added, as_rough) for n, lean in enumerate(leans)], 0.0, 4.0)


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
    drawn = moving(-0.1)
    [bottom], [top] = (events(100, lambda n, way=way: woven(drawn, way * n)) for way in (-1, 1))
    assert 0.1 < bottom.severity < 0.9
    assert bottom.severity == pytest.approx(top.severity, abs=0.01)


@pytest.mark.parametrize("first", range(5))
@pytest.mark.parametrize("speed", [0.05, 0.3])
def test_a_telecine_is_combing_wherever_reading_begins(first: int, speed: float) -> None:
    """2:3 pull-down: of five frames two are woven of two pictures of the film."""
    fields_of_film = [n for film in range(100) for n in [film] * (2 + film % 2)]
    drawn = moving(2.5 * speed)

    def telecined(n: int) -> np.ndarray:
        even, odd = fields_of_film[2 * (n + first) : 2 * (n + first) + 2]
        picture = drawn(even).copy()
        picture[1::2] = drawn(odd)[1::2]
        return picture

    assert len(events(100, telecined)) == 1


def test_fields_in_a_part_of_a_noisy_picture_are_enough() -> None:
    rng, drawn = np.random.default_rng(3), moving(0.5)

    def part(n: int) -> np.ndarray:
        picture = texture(0, 0, WIDTH)
        picture[:, :40] = woven(drawn, n)[:, :40]
        return picture + rng.normal(0, 5, picture.shape)

    assert len(events(100, part)) == 1
    assert events(100, lambda n: drawn(2 * n) + rng.normal(0, 20, (120, WIDTH))) == []


@pytest.mark.parametrize("lines_a_frame", [1, 2, 3, 4, 6, 8, 12])
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
    assert events(100, lambda n: woven(drawn, n), flags=lambda n: "interlaced") == []
    found = events(300, lambda n: woven(drawn, n), flags=lambda n: "interlaced" * (n >= 100))
    assert [event.end_s for event in found] == [4.0]


def test_what_was_combed_and_is_no_more_is_not() -> None:
    drawn = moving(0.5)
    found = events(250, lambda n: woven(drawn, n) if n < 100 else drawn(2 * n), window_s=0.5)
    assert max(event.end_s for event in found) == 4.0


def test_a_short_window_is_judged_by_what_was_right_before_it_too() -> None:
    drawn = moving(0.05)
    found = events(200, lambda n: woven(drawn, n), window_s=0.12)
    assert found[0].start_s > 0.5
    assert found[-1].end_s == 8.0
    assert len(found) > 50


def test_frames_of_the_next_window_do_not_count() -> None:
    fields, drawn = Fields(), moving(0.5)
    for n in range(200):
        fields.add(shown(n, drawn(2 * n) if n < 100 else woven(drawn, n)))
    assert fields.event(0.0, 4.0) is None
    assert fields.event(4.0, 8.0) is not None


def test_so_few_frames_that_chance_may_do_it_are_not_judged() -> None:
    drawn = moving(0.5)
    found = [bool(events(count, lambda n: woven(drawn, n))) for count in range(2 * CYCLE + 1)]
    assert found == [False] * (2 * CYCLE) + [True]
    assert told([0.025] * 12, 0.2, 0.9) is not None
    assert told([0.025] * FEW_PAIRS, 0.2, 0.9) is None


@pytest.mark.parametrize("flag", ["gap", "resized"])
def test_a_frame_is_held_against_the_one_right_before_it(flag: str) -> None:
    drawn = moving(0.5)
    assert events(100, lambda n: woven(drawn, n), flags=lambda n: flag) == []
    fields = Fields()
    for n in range(0, 200, 2):
        fields.add(shown(n, woven(drawn, n)))
    assert fields.event(0.0, 8.0) is None


def test_pictures_without_lines_are_passed_over() -> None:
    fields = Fields()
    for n in range(100):
        fields.add(frame(n, None))
    assert fields.event(0.0, 4.0) is None
    assert events(100, lambda n: np.zeros((120, WIDTH))) == []


def test_a_lean_counts_by_what_weaving_adds_by_its_sign_and_by_how_rough_pictures_are() -> None:
    assert told([0.06] * 20, added=1.0, as_rough=0.9) is not None
    assert told([0.06] * 20, added=1.5, as_rough=0.9) is None  # a fade
    assert told([0.09, 0.09, 0.09, -0.09] * 5, added=1.0, as_rough=0.9) is None
    assert told([0.2, 0.2, 0.2, -0.2] * 5, added=1.0, as_rough=0.9) is not None  # motion goes by fits and starts
    assert told([0.2, 0.2, 0.2, -0.2] * 5, added=1.0, as_rough=0.5) is None
    assert told([0.1] * SURE_PAIRS, added=1.0, as_rough=0.5) is None  # drawn things, for 1.6 s
    assert told([0.1] * 20, added=1.0, as_rough=0.5) is not None
    assert told([0.3] * SURE_PAIRS, added=1.0, as_rough=0.5) is not None
    assert told([0.0] * 19 + [1.0], added=1.0, as_rough=0.9) is None  # a cut
