"""Which frames a window gets, and where segments begin and end. Frames are made by hand."""

import gc
import weakref
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction
from functools import partial
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest

from qclip_ffmpeg.frame import Frame
from qclip_ffmpeg.sampling import (
    LOW_MOTION,
    MotionBuffer,
    Policy,
    RandomBuffer,
    Window,
    make_buffer,
    spread,
    windows,
)

POLICIES: tuple[Policy, ...] = get_args(Policy)
THUMBNAIL = np.zeros((2, 2), np.float32)
RATE = 25


def no_pixels() -> np.ndarray:
    raise AssertionError("choosing frames must not convert them")


def make_frame(
    index: int,
    motion: float = 1.0,
    *,
    time_s: Fraction | None = None,
    keyframe: bool = False,
    flags: Iterable[str] = (),
) -> Frame:
    return Frame(
        index=index,
        time_s=Fraction(index, RATE) if time_s is None else time_s,
        duration_s=Fraction(1, RATE),
        pts=1000 + index,
        thumbnail=THUMBNAIL,
        motion=motion,
        keyframe=keyframe,
        flags=frozenset(flags),
        convert=partial(no_pixels),
    )


def make_frames(motions: Sequence[float]) -> list[Frame]:
    return [make_frame(i, m) for i, m in enumerate(motions)]


def still(count: int) -> list[Frame]:
    return make_frames([1.0] * count)


def cut(frames: Iterable[Frame], segment_s: Any = Fraction(1), size: int = 4, **options: Any) -> list[Window]:
    return list(windows(frames, segment_s=segment_s, frames_per_window=size, **options))


def picks(window: Window) -> list[int]:
    return [f.index for f in window.frames]


class TestSpread:
    @pytest.mark.parametrize(
        ("available", "wanted", "expected"),
        [
            (0, 4, []),
            (3, 4, [0, 1, 2]),
            (4, 4, [0, 1, 2, 3]),
            (5, 1, [2]),
            (8, 4, [1, 3, 5, 7]),
            (12, 4, [1, 4, 7, 10]),
            (100, 4, [12, 37, 62, 87]),
            (7, 0, []),
        ],
    )
    def test_the_middle_of_equal_parts(self, available: int, wanted: int, expected: list[int]) -> None:
        assert spread(available, wanted) == expected

    @pytest.mark.parametrize("available", range(1, 60))
    def test_gaps_differ_by_one_at_most_and_no_item_comes_twice(self, available: int) -> None:
        for wanted in range(1, available + 1):
            indices = spread(available, wanted)
            assert len(set(indices)) == wanted
            assert indices[0] >= 0
            assert indices[-1] < available
            gaps = [b - a for a, b in pairwise(indices)]
            assert not gaps or max(gaps) - min(gaps) <= 1


class TestMotion:
    def reference(self, motions: Sequence[float], size: int) -> list[int]:
        """The rule, said plainly: slots of 1, 2, 4, ... frames, the shortest that need at most 2T of them; the best
        frame of each, then the best T; the earlier wins a tie."""
        length = 1
        while -(-len(motions) // length) > 2 * size:
            length *= 2
        slots = [range(i, min(i + length, len(motions))) for i in range(0, len(motions), length)]
        best = [max(members, key=lambda i: (motions[i], -i)) for members in slots]
        return sorted(sorted(best, key=lambda i: (-motions[i], i))[:size])

    @pytest.mark.parametrize("seed", range(40))
    @pytest.mark.parametrize("size", [1, 2, 4, 8])
    def test_best_of_slot_then_best_of_all(self, seed: int, size: int) -> None:
        rng = np.random.default_rng(seed)
        motions = rng.integers(0, 6, int(rng.integers(1, 101))).astype(float).tolist()  # few values: many ties
        (window,) = cut(make_frames(motions), Fraction(4), size)
        assert picks(window) == self.reference(motions, size)

    def test_a_burst_takes_one_pick_a_slot(self) -> None:
        motions = [1.0] * 100
        motions[50:58] = [90.0] * 8  # within one of the seven slots of 16 frames
        (window,) = cut(make_frames(motions), Fraction(4), 4)
        assert [i for i in picks(window) if 50 <= i < 58] == [50]
        assert len(window.frames) == 4

    def test_a_cut_is_picked_and_the_rest_stays_spread(self) -> None:
        motions = [float(i % 5) for i in range(100)]
        motions[37] = 200.0
        (window,) = cut(make_frames(motions), Fraction(4), 4)
        assert 37 in picks(window)
        assert len({i // 16 for i in picks(window)}) == 4  # four of the seven slots of 16 frames

    def test_of_equal_motion_the_earliest_slots_win(self) -> None:
        (window,) = cut(still(100), Fraction(4), 4)
        assert picks(window) == [0, 16, 32, 48]

    def test_the_newest_slot_may_still_improve(self) -> None:
        """A slot that begins weak must not be dropped before it is over."""
        buffer = MotionBuffer(1)
        for i, motion in enumerate([5.0, 4.0, 1.0, 9.0]):
            buffer.offer(make_frame(i, motion))
        assert [f.index for f in buffer.take()] == [3]

    @pytest.mark.parametrize("count", range(1, 40))
    def test_t_frames_wherever_there_are_t(self, count: int) -> None:
        (window,) = cut(still(count), Fraction(4), 8)
        assert len(window.frames) == min(8, count)
        assert ("few_frames" in window.flags) == (count < 8)


class TestUniform:
    @pytest.mark.parametrize("count", range(1, 17))
    def test_short_segments_are_sampled_at_the_middle_of_equal_parts(self, count: int) -> None:
        (window,) = cut(still(count), Fraction(4), 8, policy="uniform")
        assert picks(window) == spread(count, 8)

    @pytest.mark.parametrize("count", [17, 31, 32, 33, 63, 64, 65, 100, 127, 1000, 10_000])
    def test_long_segments_stay_evenly_sampled(self, count: int) -> None:
        (window,) = cut(still(count), Fraction(1000), 8, policy="uniform")
        indices = picks(window)
        assert len(indices) == 8
        part = count / 8
        gaps = [b - a for a, b in pairwise(indices)]
        assert 0.5 * part <= min(gaps)
        assert max(gaps) <= 2 * part
        assert indices[0] <= part
        assert indices[-1] >= count - 2 * part

    def test_motion_does_not_matter(self) -> None:
        motions = np.random.default_rng(1).random(90).tolist()
        (noisy,) = cut(make_frames(motions), Fraction(4), 8, policy="uniform")
        (quiet,) = cut(still(90), Fraction(4), 8, policy="uniform")
        assert picks(noisy) == picks(quiet)


class TestRandom:
    def test_the_seed_decides(self) -> None:
        def draw(seed: int) -> list[list[int]]:
            return [picks(w) for w in cut(still(300), Fraction(4), 8, policy="random", seed=seed)]

        assert draw(7) == draw(7)
        assert draw(7) != draw(8)

    def test_segments_draw_independently(self) -> None:
        first, second, _ = cut(still(300), Fraction(4), 8, policy="random", seed=7)
        assert picks(first) != [i - 100 for i in picks(second)]

    def test_every_frame_has_the_same_chance(self) -> None:
        draws, count, size = 2000, 40, 8
        drawn: Counter[int] = Counter()
        frames = still(count)
        for seed in range(draws):
            buffer = RandomBuffer(size, np.random.default_rng([seed, 0]))
            for frame in frames:
                buffer.offer(frame)
            indices = [f.index for f in buffer.take()]
            assert len(set(indices)) == size
            drawn.update(indices)
        expected = draws * size / count
        chi_square = sum((drawn[i] - expected) ** 2 for i in range(count)) / (expected * (1 - size / count))
        assert chi_square < 80  # 39 degrees of freedom: one fair generator in 10 000 exceeds it


class TestMixed:
    @pytest.mark.parametrize("count", [1, 3, 7, 8, 9, 15, 16, 17, 33, 100])
    @pytest.mark.parametrize("size", [1, 2, 3, 5, 8])
    def test_t_frames_and_none_twice(self, count: int, size: int) -> None:
        motions = np.random.default_rng(count).random(count).tolist()
        (window,) = cut(make_frames(motions), Fraction(4), size, policy="mixed")
        assert len(set(picks(window))) == len(window.frames) == min(size, count)

    def test_half_of_them_are_the_motion_policys(self) -> None:
        motions = np.random.default_rng(3).random(100).tolist()
        buffer = MotionBuffer(4)
        for frame in make_frames(motions):
            buffer.offer(frame)
        (window,) = cut(make_frames(motions), Fraction(4), 8, policy="mixed")
        assert {f.index for f in buffer.take()} < set(picks(window))

    def test_the_other_half_is_spread_over_the_segment(self) -> None:
        motions = [10.0] * 20 + [1.0] * 80  # all motion in the first fifth
        (window,) = cut(make_frames(motions), Fraction(4), 8, policy="mixed")
        late = [i for i in picks(window) if i >= 20]
        assert len(late) >= 3
        assert late[-1] >= 75


@pytest.mark.parametrize("policy", POLICIES)
class TestEveryPolicy:
    @pytest.mark.parametrize("segment_s", [Fraction(400), "keyframes"])
    @pytest.mark.parametrize("rising", [True, False], ids=["rising", "noise"])
    def test_memory_is_bounded_by_the_window_not_by_the_segment(
        self, policy: Policy, segment_s: Any, rising: bool
    ) -> None:
        size, most = 8, 0
        living: set[int] = set()
        rng = np.random.default_rng(5)

        def stream() -> Iterator[Frame]:
            nonlocal most
            for i in range(10_000):
                frame = make_frame(i, float(i) if rising else float(rng.random()), keyframe=i == 0)
                living.add(i)
                weakref.finalize(frame.convert, living.discard, i)  # the picture: what memory is spent on
                most = max(most, len(living))
                yield frame

        gc.disable()  # reference counts alone must let the frames go
        try:
            for window in windows(stream(), segment_s=segment_s, frames_per_window=size, policy=policy):
                assert window.frame_count == 10_000
                assert len(window.frames) == size
        finally:
            gc.enable()
        held = (3 if policy == "mixed" else 2) * size
        assert size <= most <= held + 2  # and the frame in the generator and the one being offered

    @pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 24, 25])
    def test_frames_are_in_order_none_twice_t_at_most(self, policy: Policy, count: int) -> None:
        motions = np.random.default_rng(count).random(count).tolist()
        (window,) = cut(make_frames(motions), policy=policy)
        assert picks(window) == sorted(set(picks(window)))
        assert len(window.frames) <= 4
        if policy != "motion" or count == 25:
            assert len(window.frames) == min(4, count)
        assert ("few_frames" in window.flags) == (len(window.frames) < 4)

    def test_the_same_frames_give_the_same_picks(self, policy: Policy) -> None:
        motions = np.random.default_rng(9).random(250).tolist()
        assert [picks(w) for w in cut(make_frames(motions), policy=policy)] == [
            picks(w) for w in cut(make_frames(motions), policy=policy)
        ]

    def test_make_buffer_knows_it(self, policy: Policy) -> None:
        buffer = make_buffer(policy, 4, seed=0, segment=0)
        for frame in still(4):
            buffer.offer(frame)
        assert sorted(f.index for f in buffer.take()) == [0, 1, 2, 3]


class TestSegments:
    def test_the_grid_is_half_open(self) -> None:
        """25 frames a second: frame 25 is at exactly 1 s and belongs to the second segment."""
        made = cut(still(60))
        assert [(w.start_s, w.end_s) for w in made] == [(0, 1), (1, 2), (2, Fraction(60, 25))]
        assert [w.frame_count for w in made] == [25, 25, 10]
        assert [w.start_pts for w in made] == [1000, 1025, 1050]
        assert [w.index for w in made] == [0, 1, 2]

    def test_grid_is_exact_where_frames_do_not_fit_it(self) -> None:
        frames = [make_frame(i, time_s=Fraction(i * 1001, 24000)) for i in range(100)]
        made = cut(frames)
        assert [w.start_s for w in made] == [0, 1, 2, 3, 4]
        assert sum(w.frame_count for w in made) == 100
        assert all(w.start_s <= f.time_s < w.start_s + 1 for w in made for f in w.frames)

    def test_a_span_without_frames_gives_no_window(self) -> None:
        frames = [make_frame(i, time_s=Fraction(t)) for i, t in enumerate(["0.5", "0.75", "4", "6.25"])]
        made = cut(frames)
        assert [(w.index, w.start_s, w.end_s) for w in made] == [
            (0, 0, 1),
            (1, 4, 5),
            (2, 6, Fraction("6.25") + Fraction(1, RATE)),
        ]

    def test_no_frames_give_no_window(self) -> None:
        assert cut([]) == []

    def test_the_grid_begins_at_the_start_asked_for(self) -> None:
        frames = [make_frame(i, time_s=Fraction("1.7") + Fraction(i, RATE)) for i in range(50)]
        made = cut(frames, start_s=Fraction("1.5"))
        assert [w.start_s for w in made] == [Fraction("1.5"), Fraction("2.5"), Fraction("3.5")]
        assert [w.frame_count for w in made] == [20, 25, 5]

    def test_the_last_segment_ends_with_its_last_frame_but_not_past_the_grid(self) -> None:
        assert cut(still(30))[-1].end_s == Fraction(30, 25)
        long_last = make_frame(0)
        object.__setattr__(long_last, "duration_s", Fraction(7))
        assert cut([long_last])[-1].end_s == 1

    def test_motion_is_the_mean_over_all_frames_of_the_segment(self) -> None:
        motions = [float(i) for i in range(50)]
        made = cut(make_frames(motions))
        assert [w.motion for w in made] == pytest.approx([np.mean(motions[:25]), np.mean(motions[25:])])

    def test_windows_come_as_soon_as_they_are_over(self) -> None:
        taken: list[int] = []

        def stream() -> Iterator[Frame]:
            for frame in still(100):
                taken.append(frame.index)
                yield frame

        first = next(windows(stream(), segment_s=Fraction(1), frames_per_window=4))
        assert (first.end_s, taken[-1]) == (1, 25)


class TestKeyframeSegments:
    def cut_at(self, keyframes: Iterable[int], count: int = 200) -> list[tuple[Fraction, Fraction]]:
        chosen = set(keyframes)
        frames = [make_frame(i, keyframe=i in chosen) for i in range(count)]
        return [(w.start_s, w.end_s) for w in cut(frames, "keyframes")]

    def test_segments_go_from_key_frame_to_key_frame(self) -> None:
        assert self.cut_at([0, 50, 130]) == [(0, 2), (2, Fraction(130, 25)), (Fraction(130, 25), 8)]

    def test_they_last_a_second_at_least(self) -> None:
        assert self.cut_at(range(200)) == [(n, n + 1) for n in range(8)]
        assert self.cut_at([0, 24, 26, 60]) == [
            (0, Fraction(26, 25)),
            (Fraction(26, 25), Fraction(60, 25)),
            (Fraction(60, 25), 8),
        ]

    def test_a_stream_without_key_frames_is_one_segment(self) -> None:
        assert self.cut_at([]) == [(0, 8)]


class TestFlags:
    def window(self, frames: list[Frame]) -> Window:
        (window,) = cut(frames)
        return window

    def test_those_of_all_its_frames_are_united(self) -> None:
        frames = still(25)
        frames[3] = make_frame(3, flags=["corrupt", "interlaced"])
        frames[20] = make_frame(20, flags=["gap"])
        assert self.window(frames).flags == {"corrupt", "interlaced", "gap"}

    def test_flags_end_with_their_segment(self) -> None:
        frames = still(75)
        frames[30] = make_frame(30, flags=["corrupt"])
        assert [w.flags for w in cut(frames)] == [frozenset(), {"corrupt"}, frozenset()]

    @pytest.mark.parametrize(("count", "few"), [(3, True), (4, False)])
    def test_few_frames(self, count: int, few: bool) -> None:
        frames = [make_frame(i, time_s=Fraction(i, 4)) for i in range(count)]
        assert self.window(frames).flags == ({"few_frames"} if few else frozenset())

    @pytest.mark.parametrize(("motion", "low"), [(0.0, True), (LOW_MOTION * 0.99, True), (LOW_MOTION, False)])
    def test_low_motion(self, motion: float, low: bool) -> None:
        assert ("low_motion" in self.window(make_frames([motion] * 2)).flags) == low

    def test_one_moving_frame_is_enough_not_to_be_still(self) -> None:
        assert "low_motion" not in self.window(make_frames([0.0] * 24 + [LOW_MOTION * 26])).flags
