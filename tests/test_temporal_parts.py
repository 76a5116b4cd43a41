"""The parts that find events, on frames and events made by hand: stamps that lie, bounds, and the temporal figure."""

import gc
import tracemalloc
import weakref
from collections.abc import Iterable
from fractions import Fraction

import msgspec
import numpy as np
import pytest
from tiny_track import tiny_segment, tiny_track

from qclip_ffmpeg.emit.chart import happened, spans
from qclip_ffmpeg.emit.registry import FORMATS
from qclip_ffmpeg.frame import Frame, VideoInfo
from qclip_ffmpeg.sampling import windows
from qclip_ffmpeg.temporal import AT_ONCE, TOO_SMALL, TemporalWatch
from qclip_ffmpeg.temporal.closer import Closer
from qclip_ffmpeg.temporal.figure import temporal_figure, with_temporal
from qclip_ffmpeg.temporal.looks import Look, Looker, Seen
from qclip_ffmpeg.temporal.runs import Runs
from qclip_ffmpeg.temporal.stamps import Stamps
from qclip_ffmpeg.temporal.timeline import MOST_OF_A_KIND, Timeline
from qclip_ffmpeg.track import EVENT_FLAGS, EVENTS, FLAGS, MEANT_EVENTS, Event, pool

RATE = 25
UNIT = Fraction(1, 1000)
INFO = VideoInfo(
    name="hand.mkv",
    container="matroska,webm",
    codec="h264",
    decoder="h264",
    width_px=240,
    height_px=135,
    pixel_format="yuv420p",
    frame_rate=Fraction(RATE),
    time_base=UNIT,
    start_s=Fraction(0),
    duration_s=None,
    sample_aspect_ratio=Fraction(1),
    rotation_deg=0,
    mirrored=False,
    color_matrix="bt601",
    color_range="limited",
    transfer="sdr",
)


def frame(index: int, pts: int | None, thumbnail: np.ndarray | None = None) -> Frame:
    picture = np.full((135, 240), 100, np.float32) if thumbnail is None else thumbnail
    return Frame(
        index=index,
        time_s=Fraction(index, RATE),
        duration_s=Fraction(1, RATE),
        pts=pts,
        thumbnail=picture,
        motion=0.0,
        keyframe=False,
        flags=frozenset(),
        convert=lambda: np.zeros((3, 135, 240), np.uint8),
    )


def found_in(stamps: Iterable[int | None], frame_s: Fraction | None = Fraction(1, RATE)) -> list[tuple[str, float]]:
    detector = Stamps(UNIT, frame_s)
    return [(e.kind, round(e.start_s, 3)) for n, pts in enumerate(stamps) for e in detector.add(Seen.of(frame(n, pts)))]


class TestStamps:
    def test_steady_stamps_are_fine_however_they_are_rounded(self) -> None:
        assert found_in(round(n * 1000 / 29.97) for n in range(100)) == []

    def test_a_missing_frame_is_a_gap_where_it_should_have_been(self) -> None:
        assert found_in(40 * n for n in range(60) if n != 30) == [("pts_gap", 1.2)]

    @pytest.mark.parametrize("early", [0, 1, -5, -400])
    def test_a_frame_stamped_with_or_before_the_last_one_is_a_duplicate_and_makes_no_gap(self, early: int) -> None:
        stamps = [40 * n for n in range(60)]
        stamps[30] = stamps[29] + early
        found = found_in(stamps)
        assert ("pts_duplicate", 1.2) in found
        assert len(found) == 1 or early == -400

    def test_no_stamps_no_events(self) -> None:
        assert found_in([None] * 60) == []
        assert found_in([0, None, 40, None, 9000]) == []

    def test_stamps_that_run_backwards_all_the_time_are_no_flood(self) -> None:
        assert len(found_in(-40 * n for n in range(500))) < 10

    def test_huge_stamps_are_one_gap(self) -> None:
        stamps = [40 * n for n in range(30)] + [2**62 + 40 * n for n in range(30)]
        [(kind, _)] = found_in(stamps)
        assert kind == "pts_gap"

    def test_a_variable_frame_rate_is_no_damage(self) -> None:
        rng = np.random.default_rng(1)
        assert len(found_in(np.cumsum(rng.choice([20, 40, 90], 400)).tolist(), None)) < 12

    def test_a_rate_that_the_container_says_wrong_is_learned(self) -> None:
        assert found_in((100 * n for n in range(60)), Fraction(1, 10)) == []


class TestWatch:
    def texture(self) -> np.ndarray:
        rng = np.random.default_rng(3)
        waves = sum(
            np.sin(2 * np.pi * (a * np.arange(400)[:, None] + b * np.arange(700)) / 400 + p)
            for a, b, p in rng.uniform(1, 9, (24, 3))
        )
        return (120 + 12 * waves).clip(16, 235).astype(np.float32)

    def moving(self, count: int) -> Iterable[Frame]:
        whole = self.texture()
        for n in range(count):
            left = abs(n % 800 - 400)  # a sample a frame, to and fro
            yield frame(n, 40 * n, whole[:135, left : left + 240])

    @pytest.mark.parametrize(
        ("at", "moved", "onward"), [((0, 3, 3, 9), 0, 1), ((0, 3, 6, 9), 1, 1), ((3, 6, 6, 3), 0, -1)]
    )
    def test_a_repeat_is_told_from_a_step_and_from_a_turn(self, at: tuple[int, ...], moved: int, onward: int) -> None:
        whole, looker = self.texture(), Looker(28.0)
        looks = [looker.look(frame(n, n, whole[:135, left : left + 240])) for n, left in enumerate(at)]
        before, first, last, after = (look for look in looks if look is not None)
        closer = Closer(before, first, last, after)
        assert closer.onward == pytest.approx(onward, abs=0.2)
        assert onward < 0 or closer.moved == pytest.approx(moved, abs=0.3)

    def test_a_still_shot_of_any_length_after_motion_holds_no_looks(self) -> None:
        runs, looker = Runs(), Looker(28.0)
        frames = [*self.moving(60)]
        for n in range(600):
            look = looker.look(frames[min(n, 59)])
            assert look is not None
            assert runs.add(look, False) is None
        assert sum(type(held) is Look for held in gc.get_objects()) < 40

    def test_memory_does_not_grow_with_the_length(self) -> None:
        def peak_after(count: int) -> int:
            watch = TemporalWatch(INFO)
            for each in self.moving(150):
                watch.see(each)
            tracemalloc.start()
            for each in self.moving(count):
                watch.see(each)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            return peak

        assert peak_after(900) < 1.3 * peak_after(250)

    def test_memory_does_not_grow_while_it_strobes(self) -> None:
        watch = TemporalWatch(INFO)
        picture = np.random.default_rng(4).uniform(40, 160, (135, 240)).astype(np.float32)
        held = []
        for n in range(600):
            watch.see(frame(n, n, picture * (1.2 if n % 4 == 0 else 1.0)))
            held.append(len(watch._flicker._flashes))
        assert max(held[300:]) <= max(held[:300])

    @pytest.mark.parametrize("shape", [(32, 64), (45, 240), (240, 33)])
    def test_low_and_narrow_pictures_are_looked_at_closely_too(self, shape: tuple[int, int]) -> None:
        picture = np.random.default_rng(5).uniform(40, 200, (600, 600)).astype(np.float32)
        picture = (picture[:-1] + picture[1:])[:, :-1] / 2
        watch = TemporalWatch(INFO)
        places = [*range(30), *[29] * 8, *range(30, 50), *range(51, 80)]
        for n, place in enumerate(places):
            watch.see(frame(n, n, np.ascontiguousarray(picture[: shape[0], place : place + shape[1]])))
        watch.end()
        assert "freeze" in {event.kind for event in watch.events()}

    def test_a_picture_that_is_too_small_has_events_of_its_stamps_and_says_so(self) -> None:
        watch = TemporalWatch(INFO)
        for n in range(60):
            watch.see(frame(n, 40 * n + (400 if n > 30 else 0), np.zeros((8, 8), np.float32)))
        watch.end()
        assert [event.kind for event in watch.events()] == ["pts_gap"]
        assert watch.warnings() == [TOO_SMALL]

    def test_a_change_of_size_is_no_cut(self) -> None:
        watch = TemporalWatch(INFO)
        for n, each in enumerate(self.moving(60)):
            watch.see(each if n < 30 else frame(n, 40 * n, 255 - np.asarray(each.thumbnail)[:100, :200]))
        watch.end()
        assert watch.events() == []

    def test_looks_are_the_same_one_by_one_and_several_at_once(self) -> None:
        rng = np.random.default_rng(6)
        shapes = [(135, 240)] * 9 + [(8, 8)] * 3 + [(135, 240)] * 4 + [(67, 33)] * 9 + [(240, 135)] * 5
        frames = [frame(n, n, rng.integers(0, 60 + n, shape).astype(np.float32)) for n, shape in enumerate(shapes)]
        alone, together = Looker(28.0), Looker(28.0)
        expected = [alone.look(each) for each in frames]
        found = [
            look
            for n in range(0, len(frames), 7)
            for look in together.looks([Seen.of(each) for each in frames[n : n + 7]])
        ]
        assert [look is None for look in expected] == [max(shape) < 20 for shape in shapes]
        for a, b in zip(expected, found, strict=True):
            for field in Look.__dataclass_fields__:
                np.testing.assert_array_equal(getattr(a, field, None), getattr(b, field, None))

    @pytest.mark.parametrize("count", [AT_ONCE - 1, AT_ONCE, AT_ONCE + 1, 3 * AT_ONCE - 5])
    def test_what_lasts_to_the_end_is_found_however_many_frames_wait(self, count: int) -> None:
        watch = TemporalWatch(INFO)
        for n in range(count):
            watch.see(frame(n, 40 * n, np.full((135, 240), 16, np.float32)))
        watch.end()
        assert [(e.kind, e.start_s, e.end_s) for e in watch.events()] == [("black", 0.0, round(count / RATE, 3))]

    def test_a_segment_that_is_over_knows_of_all_its_frames(self) -> None:
        watch = TemporalWatch(INFO)
        dark = [frame(n, 40 * n, np.full((135, 240), 100 if n < 14 else 16, np.float32)) for n in range(19)]
        [window] = windows(watch.over(dark), segment_s=Fraction(4), frames_per_window=2)
        assert "black" in watch.look(window)

    def test_pictures_are_not_held_until_they_are_looked_at(self) -> None:
        watch, held = TemporalWatch(INFO), []
        for each in self.moving(AT_ONCE // 2):
            held.append(weakref.ref(each.convert))
            watch.see(each)
        del each
        assert not any(picture() for picture in held)

    def test_frames_are_handed_on_in_order_and_all_of_them(self) -> None:
        for mark_scenes in (False, True):
            for count in (0, 1, 2, 5):
                watched = list(TemporalWatch(INFO).over(self.moving(count), mark_scenes))
                assert [f.index for f in watched] == list(range(count))

    def test_no_frame_no_event(self) -> None:
        watch = TemporalWatch(INFO)
        watch.end()
        assert watch.events() == watch.warnings() == []


class TestTimeline:
    def test_events_of_a_kind_that_touch_are_one_but_points_are_not(self) -> None:
        timeline = Timeline()
        for kind in ("black", "cut"):
            timeline.add(Event(kind, 1.0, 2.0, 0.5, 0.6))
            timeline.add(Event(kind, 2.0, 3.0, 0.4, 0.9))
        assert timeline.events() == [
            Event("black", 1.0, 3.0, 0.5, 0.9),
            Event("cut", 1.0, 2.0, 0.5, 0.6),
            Event("cut", 2.0, 3.0, 0.4, 0.9),
        ]

    def test_events_are_bounded_and_what_is_left_out_is_said(self) -> None:
        timeline = Timeline()
        for n in range(MOST_OF_A_KIND + 7):
            timeline.add(Event("cut", float(n), n + 0.04, 1.0, 1.0))
        assert len(timeline.events()) == MOST_OF_A_KIND
        [said] = timeline.warnings()
        assert "7 of cut" in said


class TestFigure:
    def figure(self, *events: Event, segments: int = 25) -> float | None:
        return temporal_figure(events, [tiny_segment(n) for n in range(segments)])  # 0.4 s each

    def test_what_happens_costs_its_severity_of_the_time(self) -> None:
        assert self.figure() == 100
        assert self.figure(Event("freeze", 2.0, 4.0, 1.0, 1.0)) == 80
        assert self.figure(Event("freeze", 2.0, 4.0, 0.5, 1.0)) == 90
        assert self.figure(segments=0) is None

    def test_what_is_short_lasts_a_second_and_never_longer_than_the_track(self) -> None:
        assert self.figure(Event("drop", 2.0, 2.04, 0.2, 1.0)) == 98
        assert self.figure(Event("drop", 9.5, 9.54, 0.2, 1.0)) == 99

    def test_together_events_spoil_no_more_than_all(self) -> None:
        assert self.figure(*[Event("flicker", 0.0, 10.0, 0.8, 1.0)] * 2) == 0
        assert self.figure(Event("flicker", 0.0, 5.0, 0.3, 1.0), Event("drop", 1.0, 2.0, 0.2, 1.0)) == 83

    @pytest.mark.parametrize("kind", MEANT_EVENTS)
    def test_what_may_be_meant_costs_nothing(self, kind: str) -> None:
        assert self.figure(Event(kind, 0.0, 10.0, 1.0, 1.0)) == 100

    def test_the_combination_needs_scores_from_0_to_100(self) -> None:
        segments = [tiny_segment(0)]
        freeze = [Event("freeze", 0.0, 0.2, 0.5, 1.0)]
        pooled = with_temporal(pool(segments), freeze, segments, (0.0, 100.0))
        assert (pooled.temporal, pooled.mean_with_temporal) == (50.0, pytest.approx(67.876 / 2))
        assert with_temporal(pool(segments), freeze, segments, (-0.6, 0.6)).mean_with_temporal is None
        assert msgspec.structs.replace(pooled, temporal=None, mean_with_temporal=None) == pool(segments)


def test_kinds_flags_and_what_is_meant_are_kinds() -> None:
    assert list(EVENTS) == sorted(EVENTS)
    assert set(MEANT_EVENTS) <= set(EVENTS)
    assert set(EVENT_FLAGS) <= set(EVENTS)
    assert list(FLAGS) == sorted(FLAGS)


def test_a_lane_shows_the_event_and_not_the_flag_it_sets() -> None:
    events = [Event("freeze", 0.1, 0.3, 0.2, 1.0)]
    segments = [msgspec.structs.replace(tiny_segment(0), flags=["freeze", "gap"])]
    track = msgspec.structs.replace(tiny_track(), segments=segments, events=events)
    assert spans(track) == {"freeze": [(0.1, 0.3)], "gap": [(0.0, 0.4)]}
    assert happened(track) == [("freeze", 1, pytest.approx(0.2))]


def test_events_are_in_the_formats() -> None:
    events = [Event("cut", 0.1, 0.14, 0.9, 1.0), Event("repeat", 0.5, 1.0, 0.12, 0.8, "24 in 30")]
    track = msgspec.structs.replace(tiny_track(), events=events)
    assert FORMATS["events"].one(track).decode().splitlines() == [
        "source,kind,start_s,end_s,severity,confidence,detail",
        "clip.mp4,cut,0.1,0.14,0.9,1,",
        "clip.mp4,repeat,0.5,1,0.12,0.8,24 in 30",
    ]
    assert "lavfi.qclip.events=cut:0.1-0.14\n" in FORMATS["lavfi"].one(track).decode()
    vtt = FORMATS["webvtt"].one(track).decode()
    assert vtt.index("event-0") < vtt.index("00:00:00.400 -->")
    assert '"kind":"repeat"' in vtt
    assert 'qclip_event_seconds{source="clip.mp4",model="tiny",kind="repeat"} 0.5' in (
        FORMATS["prometheus"].one(track).decode()
    )
