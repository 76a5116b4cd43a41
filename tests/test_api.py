"""`import qclip_ffmpeg`: what it offers, what it costs, tracks as arrays and tables. On the tiny model."""

import ast
import sys
from collections.abc import Callable
from fractions import Fraction
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import numpy as np
import pytest
from tiny_track import tiny_track

import qclip_ffmpeg
from qclip_ffmpeg import InputError, ProbeSettings, QClipError, Scorer, UsageError, open_video, probe, probe_many
from qclip_ffmpeg.emit.csv import to_csv
from qclip_ffmpeg.track import SegmentScore

pytest_plugins = ["model_fixtures"]

ONE_FRAME = ProbeSettings(frames_per_window=1)


@pytest.fixture
def clip(media: Callable[..., Path]) -> Path:
    return media("api.mp4", 1, c="libx264", preset="ultrafast")


# The names


def test_type_checkers_see_what_is_imported() -> None:
    """The imports under TYPE_CHECKING, the names that are imported when asked for, and __all__ are the same."""
    tree = ast.parse(Path(qclip_ffmpeg.__file__).read_text())
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {
        (node.module, alias.name) for node in typed.body if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    assert seen == {(f"qclip_ffmpeg.{m}", name) for m, names in qclip_ffmpeg._MODULES.items() for name in names}
    assert sorted(name for _, name in seen) == qclip_ffmpeg.__all__


@pytest.mark.parametrize("name", qclip_ffmpeg.__all__)
def test_every_public_name_is_there_and_explained(name: str) -> None:
    value = getattr(qclip_ffmpeg, name)
    assert not isinstance(value, ModuleType), "a module of that name would hide it"
    assert value.__name__ == name
    assert value.__doc__
    assert name in dir(qclip_ffmpeg)


def test_no_module_has_the_name_of_a_public_one() -> None:
    """Importing such a module would put it in the name's place."""
    modules = {path.stem for path in Path(qclip_ffmpeg.__file__).parent.iterdir()}
    assert not modules & set(qclip_ffmpeg.__all__)


def test_another_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="'qclip_ffmpeg' has no attribute 'prob'"):
        qclip_ffmpeg.prob  # noqa: B018


# One video, several


def test_a_path_is_as_good_as_its_name(clip: Path, tiny_scorer: Scorer) -> None:
    assert probe(clip, scorer=tiny_scorer) == probe(str(clip), scorer=tiny_scorer)
    with open_video(clip) as by_path, open_video(str(clip)) as by_name:
        assert by_path.info == by_name.info


def test_several_are_the_tracks_of_each(clip: Path, tiny_scorer: Scorer) -> None:
    alone = probe(clip, scorer=tiny_scorer, settings=ONE_FRAME)
    assert list(probe_many([clip, str(clip)], scorer=tiny_scorer, settings=ONE_FRAME)) == [alone, alone]
    assert list(probe_many([], scorer=tiny_scorer)) == []


def test_several_load_one_model(clip: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[Any] = []
    load = qclip_ffmpeg.load_model
    monkeypatch.setattr("qclip_ffmpeg.measurement.load_model", lambda: loaded.append(load()) or loaded[-1])
    tracks = list(probe_many([clip, clip, "gone.mp4"]))
    assert [track.complete for track in tracks] == [True, True, False]
    assert len(loaded) == 1


def test_each_is_measured_when_it_is_asked_for(clip: Path, tiny_scorer: Scorer) -> None:
    taken: list[int] = []
    sources = (taken.append(n) or clip for n in range(3))
    tracks = probe_many(sources, scorer=tiny_scorer, settings=ONE_FRAME)
    assert taken == []
    next(tracks)
    assert taken == [0]
    next(tracks)
    assert taken == [0, 1]


def test_one_that_fails_costs_itself_only(clip: Path, tiny_scorer: Scorer) -> None:
    said: list[tuple[Any, QClipError]] = []
    sources = ["gone.mp4", clip, __file__, "http://me:hunter2@[::1/a.mp4"]
    tracks = list(probe_many(sources, scorer=tiny_scorer, on_error=lambda *failed: said.append(failed)))
    assert [track.source.name for track in tracks] == ["gone.mp4", "api.mp4", "test_api.py", "http://"]
    assert [track.complete for track in tracks] == [False, True, False, False]
    assert [len(track.segments) for track in tracks] == [0, 1, 0, 0]
    assert [source for source, _ in said] == [sources[0], *sources[2:]]
    assert [type(error) for _, error in said] == [UsageError, InputError, UsageError]
    assert [track.warnings[0] for track in tracks if not track.complete] == [str(error) for _, error in said]
    assert not any("hunter2" in str(track) for track in tracks)


def test_a_caller_may_want_the_exception(tiny_scorer: Scorer) -> None:
    def strict(source: Any, error: QClipError) -> None:
        raise error

    with pytest.raises(UsageError, match=r"gone\.mp4: no such file"):
        next(probe_many(["gone.mp4"], scorer=tiny_scorer, on_error=strict))


def test_one_path_is_not_several(tiny_scorer: Scorer) -> None:
    with pytest.raises(TypeError, match=r"several inputs, not one path \('clip.mp4'\); use probe"):
        next(probe_many("clip.mp4", scorer=tiny_scorer))


def test_ctrl_c_ends_it_with_what_was_measured(clip: Path, tiny_scorer: Scorer) -> None:
    def impatient(*_: object) -> None:
        raise KeyboardInterrupt

    tracks = list(probe_many([clip, clip], scorer=tiny_scorer, on_segment=impatient))
    assert [(track.complete, len(track.segments)) for track in tracks] == [(False, 1)]


def test_what_was_under_way_when_ctrl_c_came_is_an_event(media: Callable[..., Path], tiny_scorer: Scorer) -> None:
    dark = media("dark.mp4", 30, source="color=black", c="libx264", preset="ultrafast")

    def impatient(_: object, segment: SegmentScore) -> None:
        if segment.index == 2:
            raise KeyboardInterrupt

    settings = ProbeSettings(segment_s=Fraction(1), frames_per_window=1)
    track = probe(dark, scorer=tiny_scorer, settings=settings, on_segment=impatient)
    assert (track.complete, len(track.segments)) == (False, 3)
    assert [(event.kind, event.start_s, event.end_s) for event in track.events] == [("black", 0.0, 3.0)]


def test_what_was_under_way_when_the_model_failed_is_an_event(
    media: Callable[..., Path], tiny_scorer: Scorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    dark = media("dark.mp4", 30, source="color=black", c="libx264", preset="ultrafast")
    features, calls = Scorer._frame_features, count()

    def fails(self: Scorer, views: Any) -> Any:
        if next(calls) == 3:
            raise InputError("the model failed")
        return features(self, views)

    monkeypatch.setattr(Scorer, "_frame_features", fails)
    track = probe(dark, scorer=tiny_scorer, settings=ProbeSettings(segment_s=Fraction(1), frames_per_window=1))
    assert (track.complete, len(track.segments)) == (False, 3)
    assert [(event.kind, event.start_s, event.end_s) for event in track.events] == [("black", 0.0, 3.0)]


# Arrays and tables


def test_a_track_as_an_array() -> None:
    track = tiny_track(3)
    rows = track.to_numpy()
    assert rows.shape == (3,)
    assert rows.dtype.names == tuple(to_csv([track]).decode().partition("\n")[0].split(","))[1:], "the CSV's columns"
    kinds = {name: rows.dtype[name].kind for name in rows.dtype.names}
    assert kinds == dict.fromkeys(kinds, "f") | {"index": "i", "frame_count": "i", "flags": "U"}
    np.testing.assert_array_equal(rows["score"], [67.876, 12.5, np.nan])
    np.testing.assert_array_equal(rows["good"], [0.385224, 0.385224, np.nan])
    np.testing.assert_array_equal(rows["start_pts"], [0, 5120, 10240])
    np.testing.assert_array_equal(rows["sampling_stderr"], [np.nan] * 3)
    assert rows["flags"].tolist() == ["", "few_frames low_motion", "not_finite"]
    assert np.concatenate([rows, tiny_track(1).to_numpy()]).shape == (4,)


def test_pts_that_are_missing_are_nan() -> None:
    track = tiny_track(1)
    segment = msgspec.structs.replace(track.segments[0], start_pts=None)
    assert np.isnan(msgspec.structs.replace(track, segments=[segment]).to_numpy()["start_pts"][0])


def test_a_track_without_segments_has_the_same_fields() -> None:
    empty = tiny_track(0).to_numpy()
    assert empty.shape == (0,)
    assert empty.dtype.names == tiny_track(1).to_numpy().dtype.names


def test_a_track_as_a_table() -> None:
    pytest.importorskip("pandas")
    rows, table = tiny_track(3).to_numpy(), tiny_track(3).to_pandas()
    assert tuple(table.columns) == rows.dtype.names
    assert table.index.tolist() == [0, 1, 2]
    assert table["score"].isna().tolist() == [False, False, True]
    for name in rows.dtype.names:
        np.testing.assert_array_equal(table[name].to_numpy(rows.dtype[name]), rows[name])


def test_without_pandas_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UsageError, match=r"pip install 'qclip-ffmpeg\[pandas\]'"):
        tiny_track(1).to_pandas()


# What a caller gets wrong


def test_what_a_callback_raises_is_no_fault_of_the_input(clip: Path, tiny_scorer: Scorer) -> None:
    def refuse(*_: object) -> None:
        raise UsageError("mine")

    with pytest.raises(UsageError, match="mine"):
        list(probe_many([clip], scorer=tiny_scorer, settings=ONE_FRAME, on_segment=refuse))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"sampling": "motoin"}, "sampling = 'motoin': choose one of motion"),
        ({"segment_s": 0}, "segment_s = 0: give seconds above 0"),
        ({"segment_s": "keyframe"}, "segment_s = 'keyframe'"),
        ({"segment_s": 0.1}, "segment_s = 0.1: .* as a Fraction"),
        ({"frames_per_window": 65}, "frames_per_window = 65: give 1 to 64"),
        ({"display": "1080"}, "display = '1080': give a Display"),
    ],
)
def test_settings_that_cannot_be_are_refused(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        ProbeSettings(**wrong)
