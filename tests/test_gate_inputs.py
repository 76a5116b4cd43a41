"""Sidecars and baselines that a gate reads: written once, read back, and refused where they cannot be trusted."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest
from tiny_ladder import ladder, rung, write_sidecars

from qclip_ffmpeg.emit.sidecar import to_json
from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.gate.inputs import baseline_json, baseline_schema, read_baseline, read_sidecar
from qclip_ffmpeg.ladder_inputs import Entry


def changed(data: bytes, **keys: Any) -> bytes:
    return json.dumps(json.loads(data) | keys).encode()


def test_a_baseline_is_read_as_it_was_written(tmp_path: Path) -> None:
    rungs = [rung("a", 50.5, None, kbps=700.25, declared_kbps=800.0, declared_height_px=480), rung("ü/b", 60)]
    path = tmp_path / "last.json"
    path.write_bytes(baseline_json(rungs))
    assert read_baseline(path) == rungs
    assert baseline_json(read_baseline(path)) == path.read_bytes()


def test_a_baseline_keeps_to_its_schema() -> None:
    document = json.loads(baseline_json(ladder(50, 60)))
    jsonschema.validate(document, baseline_schema())
    assert (document["schema"], document["schema_version"]) == ("qclip-baseline", "1.0")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"rungs": [{}]}, baseline_schema())


def test_a_folder_of_sidecars_is_a_baseline(tmp_path: Path) -> None:
    rungs = ladder(50, 60)
    write_sidecars(tmp_path, rungs)
    assert read_baseline(tmp_path) == rungs
    (tmp_path / "r3.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match=r"holds r3\.mp4; a baseline is a folder of sidecars"):
        read_baseline(tmp_path)


def test_a_sidecar_is_a_rung(tmp_path: Path) -> None:
    [path] = write_sidecars(tmp_path, [rung("720p", 50)])
    entry = Entry(name="720p", source=str(path), declared_kbps=1500.0)
    assert read_sidecar(entry) == rung("720p", 50, declared_kbps=1500.0)


NAN = to_json(rung("a", 50).track).replace(b'"score": 50.0', b'"score": NaN')
LINE_OF_NAN = NAN[: NAN.index(b"NaN")].count(b"\n") + 1
TRACK = to_json(rung("a", 50).track)
BAD_TRACKS = {
    "NaN": (NAN, f":{LINE_OF_NAN}: is not JSON"),
    "cut off": (TRACK[:100], ": is not JSON"),
    "a newer version": (changed(TRACK, schema_version="1.9"), "schema version 1.9, which is newer than 1.0"),
    "a newer major version": (changed(TRACK, schema_version="2.0"), "has schema version 2.0"),
    "no version": (changed(TRACK, schema_version="1.x"), "schema version 1.x"),
    "something else": (b'{"schema": "qclip-gate"}', "not a quality track"),
    "out of range": (TRACK.replace(b'"score": 50.0', b'"score": 500.0'), "outside model.score_range"),
}


@pytest.mark.parametrize("case", BAD_TRACKS)
def test_sidecars_that_cannot_be_trusted_are_refused(case: str, tmp_path: Path) -> None:
    data, said = BAD_TRACKS[case]
    path = tmp_path / "a.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_sidecar(Entry(name="a", source=str(path)))
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_an_older_sidecar_is_read(tmp_path: Path) -> None:
    """Without what was added since, and with what nobody knows any more."""
    document = json.loads(changed(TRACK, schema_version="1.0", forgotten=3))
    del document["settings"]["bars"], document["source"]["video"]["bitrate_kbps"], document["model"]["noise_band"]
    (tmp_path / "a.json").write_text(json.dumps(document))
    read = read_sidecar(Entry(name="a", source=str(tmp_path / "a.json")))
    assert read.track.settings.bars == "keep"
    assert read.bitrate_kbps is None


BASELINE = baseline_json(ladder(50, 60))
ONE = json.loads(BASELINE)["rungs"][0]
BAD_BASELINES = {
    "a track": (TRACK, "not a baseline"),
    "no rung": (changed(BASELINE, rungs=[]), "has no rung"),
    "twice": (changed(BASELINE, rungs=[ONE, ONE]), "two rungs are named 'r1'"),
    "newer": (changed(BASELINE, schema_version="1.1"), "newer than 1.0"),
    "newer major": (changed(BASELINE, schema_version="2.0"), "has schema version 2.0"),
    "a newer track": (
        changed(BASELINE, rungs=[ONE | {"track": ONE["track"] | {"schema_version": "1.7"}}]),
        "r1: has schema version 1.7",
    ),
    "a wrong track": (changed(BASELINE, rungs=[ONE | {"track": 3}]), "not a valid baseline"),
    "out of range": (BASELINE.replace(b'"score": 50.0', b'"score": -7.0', 1), "r1: is not a valid quality track"),
}


@pytest.mark.parametrize("case", BAD_BASELINES)
def test_baselines_that_cannot_be_trusted_are_refused(case: str, tmp_path: Path) -> None:
    data, said = BAD_BASELINES[case]
    path = tmp_path / "last.json"
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_baseline(path)
    assert str(caught.value).startswith(str(path))
    assert said in str(caught.value)


def test_what_is_missing_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_baseline(tmp_path / "gone.json")
    with pytest.raises(UsageError, match="cannot be read"):
        read_sidecar(Entry(name="a", source=str(tmp_path / "gone.json")))


def test_an_endless_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qclip_ffmpeg.gate.inputs.LARGEST_BYTES", 1000)
    (tmp_path / "a.json").write_bytes(TRACK)
    with pytest.raises(InputError, match="MiB"):
        read_baseline(tmp_path / "a.json")


def test_rungs_are_equal_structs() -> None:
    """What the tests above rest on."""
    assert rung("a", 50) == rung("a", 50) != rung("a", 51)
    assert msgspec.structs.asdict(rung("a", 50)).keys() >= {"name", "track"}
