"""Events of real encodes, made from lavfi recipes: what was put in is found, where it was put, and nothing else."""

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from qclip_ffmpeg.inputs import InputOptions
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.sampling import windows
from qclip_ffmpeg.temporal import TemporalWatch
from qclip_ffmpeg.track import Event

Media = Callable[..., Path]
X264 = {"c": "libx264", "crf": 26, "preset": "veryfast", "pix_fmt": "yuv420p"}
# A picture with something to see everywhere, over which a camera moves: blurred noise, scrolled.
STILL = "noise=alls=100:all_seed=7,gblur=sigma=8,eq=contrast=6"
TEXTURE = STILL + ",scroll=horizontal=0.008:vertical=0.003"
FREEZE = "loop=loop=12:size=1:start=30,setpts=N/25/TB"
SIZE = (480, 270)


def moving(media: Media, name: str, filters: str = "", rate: float = 25, duration: float = 4, **options: Any) -> Path:
    chain = TEXTURE + ("," + filters if filters else "")
    return media(name, duration, SIZE, rate, source="color=gray", filters=chain, **(X264 | options))


def events_of(path: Path, segment_s: Fraction = Fraction(4), mark_scenes: bool = False) -> list[Event]:
    with open_video(str(path), InputOptions(threads=1)) as video:
        watch = TemporalWatch(video.info)
        for window in windows(watch.over(video, mark_scenes), segment_s=segment_s, frames_per_window=6):
            watch.look(window)
        watch.end()
        return watch.events()


def kinds(events: Iterable[Event]) -> list[str]:
    return [event.kind for event in events]


def test_a_clean_clip_has_no_events(media: Media) -> None:
    assert events_of(moving(media, "moving.mkv")) == []


@pytest.mark.parametrize("filters", [STILL, STILL + ",noise=alls=12:allf=t"], ids=["still", "grain"])
def test_a_static_shot_is_no_freeze(filters: str, media: Media) -> None:
    name = "still.mkv" if filters == STILL else "grain.mkv"
    assert events_of(media(name, 4, SIZE, 25, source="color=gray", filters=filters, **X264)) == []


def test_a_freeze_has_its_first_repeated_frame_and_the_first_new_one(media: Media) -> None:
    """Frames 30 to 41 are frame 29."""
    path = moving(media, "freeze.mkv", FREEZE)
    [event] = events_of(path)
    assert (event.kind, event.start_s, event.end_s) == ("freeze", 1.2, 1.68)
    assert event.severity == pytest.approx(0.48, abs=1e-6)
    assert event.confidence > 0.8


def test_a_key_frame_soon_after_a_freeze_begins_does_not_end_it(media: Media) -> None:
    """Frame 31, the second that is shown again, is coded anew."""
    [event] = events_of(moving(media, "freeze-key.mkv", FREEZE, g=31))
    assert (event.kind, event.end_s) == ("freeze", 1.68)
    assert event.start_s <= 1.28


def test_a_freeze_among_key_frames_only_ends_where_it_ends(media: Media) -> None:
    [event] = events_of(moving(media, "freeze-intra.mkv", FREEZE, g=1))
    assert (event.kind, event.start_s, event.end_s) == ("freeze", 1.2, 1.68)


def test_a_freeze_that_goes_to_black_ends_there(media: Media) -> None:
    black = "loop=loop=40:size=1:start=30,setpts=N/25/TB,drawbox=color=black:t=fill:enable='gte(t,2.4)'"
    found = {event.kind: event for event in events_of(moving(media, "freeze-black.mkv", black))}
    assert (found["freeze"].start_s, found["freeze"].end_s) == (1.2, 2.4)
    assert found["black"].start_s == 2.4


def test_a_freeze_that_lasts_to_the_end_is_found(media: Media) -> None:
    path = moving(media, "stuck.mkv", "trim=end_frame=60,tpad=stop_mode=clone:stop_duration=1.6")
    [event] = events_of(path)
    assert (event.kind, event.start_s, event.end_s) == ("freeze", 2.4, 4.0)


@pytest.mark.parametrize(
    ("new", "shown", "detail", "severity"),
    [
        (24, 30, "24 in 30", 0.12),
        (30, 60, "30 in 60", 0.0),
        (25, 50, "25 in 50", 0.0),
        (24, 60, "24 in 60", 0.04),
        (25, 30, "25 in 30", 0.1),
        (20, 30, "20 in 30", 0.11),
    ],
)
def test_a_cadence_is_named(new: int, shown: int, detail: str, severity: float, media: Media) -> None:
    path = moving(media, f"cadence-{new}-{shown}.mkv", f"fps={shown}", rate=new)
    [event] = events_of(path)
    assert (event.kind, event.detail) == ("repeat", detail)
    assert event.start_s <= 0.25
    assert event.end_s >= 3.8
    assert event.severity == pytest.approx(severity, abs=0.03)


def test_a_sparse_cadence_is_named(media: Media) -> None:
    path = moving(media, "cadence-24-25.mkv", "fps=25", rate=24, duration=6)
    [event] = events_of(path)
    assert (event.kind, event.detail) == ("repeat", "24 in 25")


def test_a_shot_that_stands_still_between_two_that_move_is_no_freeze(media: Media) -> None:
    still = "loop=loop=20:size=1:start=30,setpts=N/25/TB,negate=enable='between(n,30,50)'"
    assert "freeze" not in kinds(events_of(moving(media, "still-shot.mkv", still)))


def test_frames_shown_twice_at_ten_a_second_are_no_freeze(media: Media) -> None:
    slow = "select='not(eq(n,12)+eq(n,16)+eq(n,18)+eq(n,23))',fps=10"
    assert kinds(events_of(moving(media, "ten.mkv", slow, rate=10))) == ["judder"]


def test_two_repeats_at_ten_a_second_are_a_freeze_alone_and_judder_among_others(media: Media) -> None:
    """Each lasts 0.2 s."""
    one = "select='not(eq(n,20)+eq(n,21))',fps=10"
    many = "select='not(eq(n,12)+eq(n,13)+eq(n,17)+eq(n,20)+eq(n,21))',fps=10"
    assert kinds(events_of(moving(media, "ten-one.mkv", one, rate=10))) == ["freeze"]
    assert kinds(events_of(moving(media, "ten-many.mkv", many, rate=10))) == ["judder"]


def test_light_that_jumps_is_no_motion_that_stops(media: Media) -> None:
    """After a flash the motion is small beside it."""
    flash = "eq=brightness=0.3:contrast=1.3:enable='between(n,40,41)'"
    slow = STILL + ",scroll=horizontal=0.003"
    path = media("slow-flash.mkv", 4, SIZE, 25, source="color=gray", filters=slow + "," + flash, **X264)
    assert "freeze" not in kinds(events_of(path))


def test_a_drop_among_uneven_motion_is_found(media: Media) -> None:
    """A camera that turns to and fro as it travels."""
    sway = "scroll=horizontal=0.008,rotate=0.06*sin(2*PI*n/40),crop=400:220,select='not(eq(n,45))',setpts=N/25/TB"
    path = media("sway.mkv", 4, SIZE, 25, source="color=gray", filters=STILL + "," + sway, **X264)
    assert [(event.kind, event.start_s) for event in events_of(path)] == [("drop", 1.8)]


def test_uneven_repeats_are_judder(media: Media) -> None:
    uneven = "+".join(f"eq(n,{n})" for n in (30, 34, 35, 37, 43, 46, 47, 52, 54, 58))
    [event] = events_of(moving(media, "judder.mkv", f"select='not({uneven})',fps=25"))
    assert (event.kind, event.start_s, event.end_s) == ("judder", 1.2, 2.36)


def test_a_dropped_frame_is_where_the_step_is_twice_as_long(media: Media) -> None:
    gone = "select='not(eq(n,40)+eq(n,70))',setpts=N/25/TB"
    events = events_of(moving(media, "drop.mkv", gone))
    assert [(event.kind, event.start_s) for event in events] == [("drop", 1.6), ("drop", 2.76)]


def test_a_gap_in_the_stamps_is_no_drop(media: Media) -> None:
    events = events_of(moving(media, "gap.mkv", "select='not(eq(n,40)+between(n,60,62))'", fps_mode="passthrough"))
    assert [(e.kind, e.start_s, e.end_s) for e in events] == [("pts_gap", 1.6, 1.64), ("pts_gap", 2.4, 2.52)]


@pytest.mark.parametrize("frequency_hz", [2, 5, 11])
def test_flicker_is_found_and_not_taken_for_anything_else(frequency_hz: int, media: Media) -> None:
    wave = f"eq=brightness='0.04*sin(2*PI*{frequency_hz}*t+0.5)':eval=frame:enable='between(n,20,79)'"
    [event] = events_of(moving(media, f"flicker-{frequency_hz}.mkv", wave))
    assert event.kind == "flicker"
    assert event.start_s == pytest.approx(0.8, abs=0.13)
    assert event.end_s == pytest.approx(3.2, abs=0.25)


def test_a_flash_is_flicker(media: Media) -> None:
    [event] = events_of(moving(media, "flash.mkv", "eq=brightness=0.15:enable='between(n,50,51)'"))
    assert (event.kind, event.start_s, event.end_s) == ("flicker", 2.0, 2.08)


def test_black_has_its_first_and_last_frame(media: Media) -> None:
    black = "drawbox=c=black:t=fill:enable='between(n,30,41)'"
    [event] = events_of(moving(media, "black.mkv", black))
    assert (event.kind, event.start_s, event.end_s) == ("black", 1.2, 1.68)


@pytest.mark.parametrize("colour", ["black", "white"])
def test_fades_out_and_in(colour: str, media: Media) -> None:
    chain = f"fade=out:20:25:color={colour}:enable='lt(n,50)',fade=in:60:25:color={colour}:enable='gte(n,50)'"
    events = [event for event in events_of(moving(media, f"fade-{colour}.mkv", chain)) if event.kind != "black"]
    assert kinds(events) == ["fade", "fade"]
    times_s = [time_s for event in events for time_s in (event.start_s, event.end_s)]
    assert times_s == pytest.approx([0.84, 1.84, 2.4, 3.4], abs=0.09)


def test_an_event_that_lasts_to_the_end_is_rounded_as_segments_are(media: Media) -> None:
    black = "drawbox=c=black:t=fill:enable='gte(n,30)'"
    [event] = events_of(moving(media, "black-end.mp4", black, rate=30, duration=53 / 30))
    assert (event.kind, event.start_s, event.end_s) == ("black", 1.0, 1.766667)


def test_a_fade_ends_no_later_than_the_video(media: Media) -> None:
    path = moving(media, "fade-end.mkv", "fade=out:20:25", duration=1.76)
    [event] = [event for event in events_of(path) if event.kind == "fade"]
    assert (event.start_s, event.end_s) == (pytest.approx(0.84, abs=0.09), 1.76)


def test_a_cut_is_the_first_frame_of_the_scene(media: Media) -> None:
    [event] = events_of(moving(media, "cut.mkv", "negate=enable='gte(n,37)'"))
    assert (event.kind, event.start_s) == ("cut", 1.48)


def test_combing_is_found_where_the_stream_says_progressive(media: Media) -> None:
    woven = "tinterlace=mode=interleave_top,setfield=prog"
    events = events_of(moving(media, "combed.mkv", woven, rate=50))
    assert kinds(events) == ["combing"]
    assert (events[0].start_s, events[0].end_s) == (0.0, 4.0)


@pytest.mark.parametrize(("source", "preset"), [("testsrc2", "veryfast"), ("mandelbrot", "ultrafast")])
def test_fine_drawn_lines_are_no_combing(source: str, preset: str, media: Media) -> None:
    path = media(f"{source}.mkv", 8, SIZE, 25, source=source, **(X264 | {"preset": preset}))
    assert "combing" not in kinds(events_of(path)) + kinds(events_of(path, Fraction(1)))


def test_combing_is_found_with_marked_scenes_too(media: Media) -> None:
    path = moving(media, "combed.mkv", "tinterlace=mode=interleave_top,setfield=prog", rate=50)
    assert kinds(events_of(path, mark_scenes=True)) == ["combing"]
    assert kinds(events_of(path, segment_s=Fraction(1, 3))) == ["combing"]


def test_events_do_not_depend_on_segments_or_on_marked_scenes(media: Media) -> None:
    for name in ("freeze.mkv", "drop.mkv", "cut.mkv", "judder.mkv", "flash.mkv", "black.mkv"):
        recipe = {
            "freeze.mkv": FREEZE,
            "drop.mkv": "select='not(eq(n,40)+eq(n,70))',setpts=N/25/TB",
            "cut.mkv": "negate=enable='gte(n,37)'",
            "flash.mkv": "eq=brightness=0.15:enable='between(n,50,51)'",
            "black.mkv": "drawbox=c=black:t=fill:enable='between(n,30,41)'",
            "judder.mkv": "select='not("
            + "+".join(f"eq(n,{n})" for n in (30, 34, 35, 37, 43, 46, 47, 52, 54, 58))
            + ")',fps=25",
        }[name]
        path = moving(media, name, recipe)
        whole = events_of(path)
        assert whole
        assert events_of(path, segment_s=Fraction(1, 3)) == whole
        assert events_of(path, mark_scenes=True) == whole


def test_a_segment_ends_at_a_cut_where_asked(media: Media) -> None:
    """The grid stays where it is; the frame that starts the scene starts the segment."""
    path = moving(media, "cut.mkv", "negate=enable='gte(n,37)'")
    with open_video(str(path), InputOptions(threads=1)) as video:
        watch = TemporalWatch(video.info)
        marked = watch.over(video, mark_scenes=True)
        cut = list(windows(marked, segment_s=Fraction(2), frames_per_window=4, split_at_cuts=True))
    spans = [(float(w.start_s), float(w.end_s), w.frame_count) for w in cut]
    assert spans == [(0, 1.48, 37), (1.48, 2, 13), (2, 4, 50)]
    assert [f.index for f in cut[1].frames] == sorted(f.index for f in cut[1].frames)


def test_flags_of_a_segment_are_those_known_when_it_ends(media: Media) -> None:
    path = moving(media, "freeze.mkv", FREEZE)
    with open_video(str(path), InputOptions(threads=1)) as video:
        watch = TemporalWatch(video.info)
        flags = [watch.look(w) for w in windows(watch.over(video), segment_s=Fraction(1), frames_per_window=4)]
    assert flags == [frozenset(), frozenset({"freeze"}), frozenset(), frozenset()]
