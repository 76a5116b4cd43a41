"""The JSON sidecar: its published schema, round trips, what is read and refused, and files written whole."""

import json
import math
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator

from qclip_ffmpeg import files
from qclip_ffmpeg.emit.sidecar import from_json, json_schema, sidecar_path, to_json
from qclip_ffmpeg.errors import InputError, OutputError, UsageError
from qclip_ffmpeg.files import write_atomically
from qclip_ffmpeg.measurement import ProbeSettings, failed_track, probe
from qclip_ffmpeg.reader import InputOptions
from qclip_ffmpeg.scorer import Scorer
from qclip_ffmpeg.track import QualityTrack

pytest_plugins = ["model_fixtures"]

SCHEMA_FILE = Path(__file__).parent.parent / "docs" / "qclip-track.schema.json"


@pytest.fixture
def track(tiny_scorer: Scorer, media: Callable[..., Path]) -> QualityTrack:
    """Two segments, the last one flagged."""
    return probe(str(media("two.mp4", 5, (192, 108), 10)), scorer=tiny_scorer)


def strictly(data: bytes) -> Any:
    """JSON by the standard: NaN and Infinity, which Python would read, are errors."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(data, parse_constant=refuse)


def changed(track: QualityTrack, **changes: Any) -> bytes:
    return json.dumps(json.loads(to_json(track)) | changes).encode()


def test_the_published_schema_is_the_one_of_the_types() -> None:
    """After a change of the types: python -m qclip_ffmpeg.emit.sidecar > docs/qclip-track.schema.json"""
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema()


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(json_schema())


def test_a_produced_track_is_valid(track: QualityTrack) -> None:
    assert len(track.segments) == 2
    Draft202012Validator(json_schema()).validate(strictly(to_json(track)))


def test_a_track_with_timing_is_valid(tiny_scorer: Scorer, media: Callable[..., Path]) -> None:
    timed = probe(str(media("two.mp4", 5, (192, 108), 10)), scorer=tiny_scorer, timing=True)
    written = strictly(to_json(timed))
    Draft202012Validator(json_schema()).validate(written)
    assert written["timing"].keys() >= {"spent_s"}


def test_a_failed_track_is_valid(tiny_scorer: Scorer) -> None:
    failed = failed_track("gone.mp4", InputError("gone"), tiny_scorer, ProbeSettings(), InputOptions())
    written = strictly(to_json(failed))
    Draft202012Validator(json_schema()).validate(written)
    assert written["complete"] is False
    assert written["warnings"][0] == "gone"
    assert written["segments"] == []


def test_the_schema_refuses_what_breaks_the_contract(track: QualityTrack) -> None:
    """So that the tests above mean something."""
    validator = Draft202012Validator(json_schema())
    written = json.loads(to_json(track))
    for path, value in [("score", True), ("score", "80"), ("levels", {"bad": 1}), ("start_s", None), ("flags", None)]:
        broken = json.loads(to_json(track))
        broken["segments"][0][path] = value
        assert not validator.is_valid(broken), path
    for key in ("segments", "pooled", "complete", "model", "source", "settings", "tool"):
        assert not validator.is_valid({k: v for k, v in written.items() if k != key}), key
    assert not validator.is_valid(written | {"schema": "other"})


def test_timing_is_left_out_unless_asked_for(track: QualityTrack) -> None:
    assert "timing" not in strictly(to_json(track))


def test_round_trip(track: QualityTrack) -> None:
    data = to_json(track)
    assert data.endswith(b"}\n")
    again = from_json(data, "two.qclip.json")
    assert again == track
    assert to_json(again) == data


def test_several_tracks_are_an_array_in_order(track: QualityTrack) -> None:
    other = msgspec.structs.replace(track, complete=False)
    written = strictly(to_json([track, other, track]))
    assert [t["complete"] for t in written] == [True, False, True]
    assert to_json([]) == b"[]\n"


def test_keys_are_written_in_the_order_of_the_types(track: QualityTrack) -> None:
    written = strictly(to_json(track))
    assert list(written) == [f for f in QualityTrack.__struct_fields__ if f != "timing"]
    assert list(written)[:2] == ["schema", "schema_version"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null(value: float, track: QualityTrack) -> None:
    segment = msgspec.structs.replace(track.segments[0], score_stderr=value)
    pooled = msgspec.structs.replace(track.pooled, mean=value)
    written = strictly(to_json(msgspec.structs.replace(track, segments=[segment], pooled=pooled)))
    assert written["segments"][0]["score_stderr"] is None
    assert written["pooled"]["mean"] is None
    Draft202012Validator(json_schema()).validate(written)


def test_names_of_any_script_are_kept(track: QualityTrack) -> None:
    source = msgspec.structs.replace(track.source, name='видео "最终" \\ 🎬\n.mp4')
    named = msgspec.structs.replace(track, source=source)
    assert from_json(to_json(named), "x").source.name == source.name


def test_keys_that_are_not_known_are_ignored(track: QualityTrack) -> None:
    written = json.loads(to_json(track))
    written["segments"][0]["vmaf"] = 93.2
    written["model"]["colour"] = "blue"
    assert from_json(json.dumps(written | {"site": {"rack": 3}}).encode(), "x") == track


def test_a_newer_minor_version_is_read(track: QualityTrack) -> None:
    assert from_json(changed(track, schema_version="1.7"), "x").segments == track.segments


def test_a_newer_major_version_is_refused(track: QualityTrack) -> None:
    with pytest.raises(InputError, match=r"^old\.json: .*version 2\.0.*measure it again"):
        from_json(changed(track, schema_version="2.0"), "old.json")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not JSON"),
        (b"{", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b'{"schema": "qclip-track", "schema_version": "1.0", "pooled": NaN}', "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "not a quality track"),
        (b"null", "not a quality track"),
        (b'{"schema": "qclip-gate"}', "not a quality track"),
        (b'{"schema": "qclip-track"}', "schema version"),
        (b'{"schema": "qclip-track", "schema_version": "1.0"}', "missing required field"),
    ],
    ids=["empty", "broken", "binary", "NaN", "nested", "array", "null", "other", "no version", "no fields"],
)
def test_what_is_no_track_is_refused_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=rf"^x\.json(:\d+)?: .*{said}") as raised:
        from_json(data, "x.json")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("score", [100.5, 100.001, -0.001, 1e300])
def test_a_score_out_of_range_is_refused(score: float, track: QualityTrack) -> None:
    """Out of the range that the track itself says; the schema cannot say so."""
    written = json.loads(to_json(track))
    written["segments"][1]["score"] = score
    with pytest.raises(InputError, match=r"^x: .*segments\[1\]\.score.*outside model\.score_range \(0 to 100\)$"):
        from_json(json.dumps(written).encode(), "x")


@pytest.mark.parametrize(("scores", "fits"), [((-0.5, 0.25), True), ((-0.25, 0.61), False), ((-0.61, 0.25), False)])
def test_raw_scores_have_a_range_of_their_own(scores: tuple[float, float], fits: bool, track: QualityTrack) -> None:
    """A model without a calibration may score below 0."""
    model = msgspec.structs.replace(track.model, score_range=(-0.6, 0.6))
    segments = [msgspec.structs.replace(s, score=v) for s, v in zip(track.segments, scores, strict=True)]
    written = to_json(msgspec.structs.replace(track, model=model, segments=segments))
    Draft202012Validator(json_schema()).validate(strictly(written))
    if fits:
        assert [s.score for s in from_json(written, "x").segments] == list(scores)
    else:
        with pytest.raises(InputError, match=r"outside model\.score_range \(-0\.6 to 0\.6\)$"):
            from_json(written, "x")


def test_a_score_that_was_rounded_over_the_end_of_its_range_is_read(track: QualityTrack) -> None:
    """Scores have four decimals, the range has all of them."""
    model = msgspec.structs.replace(track.model, score_range=(-0.12346, 0.12346))
    segments = [msgspec.structs.replace(s, score=v) for s, v in zip(track.segments, (-0.1235, 0.1235), strict=True)]
    rounded = msgspec.structs.replace(track, model=model, segments=segments)
    assert from_json(to_json(rounded), "x") == rounded


def test_a_sidecar_lies_beside_its_file() -> None:
    assert sidecar_path(Path("a/b.c/clip.mp4")) == Path("a/b.c/clip.mp4.qclip.json")


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    before = os.umask(0o022)
    yield os.umask
    os.umask(before)


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(mask: int, mode: int, tmp_path: Path, umask: Callable[[int], int]) -> None:
    umask(mask)
    write_atomically(tmp_path / "x.json", b"{}")
    assert stat.S_IMODE((tmp_path / "x.json").stat().st_mode) == mode
    assert umask(mask) == mask


def test_an_existing_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_bytes(b"a longer old text")
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("step", ["fsync", "chmod", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()], ids=["full", "ctrl-c"])
def test_an_error_leaves_the_old_file_and_nothing_else(
    step: str, error: BaseException, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    path = tmp_path / "x.json"
    path.write_bytes(b"old")
    monkeypatch.setattr(files.os if step == "fsync" else Path, step, fail)
    with pytest.raises(OutputError if isinstance(error, OSError) else KeyboardInterrupt) as raised:
        write_atomically(path, b"new")
    monkeypatch.undo()
    if isinstance(error, OSError):
        assert str(raised.value).startswith(f"{path}: cannot be written (No space left on device)")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere.*No such file"):
        write_atomically(tmp_path / "nowhere" / "x.json", b"{}")


def test_a_folder_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "x.json").mkdir()
    with pytest.raises(UsageError, match=r"x\.json"):
        write_atomically(tmp_path / "x.json", b"{}")
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_what_is_no_regular_file_is_not_replaced(tmp_path: Path) -> None:
    """Root may rename a file over /dev/null or /dev/stdout; it must be written to, or refused."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(path, b"data")
        received = os.read(reader, 10)
    except UsageError:
        received = None
    finally:
        os.close(reader)
    assert stat.S_ISFIFO(path.stat().st_mode)
    assert received in (None, b"data")
