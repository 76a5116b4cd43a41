"""The gate's JSON: its published schema, round trips, and what is refused when it is read back."""

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
from jsonschema import Draft202012Validator
from tiny_verdict import HOSTILE_NAMES, renamed, tiny_report, tiny_result, tiny_rung

from qclip_ffmpeg.emit.gate_json import from_gate_json, json_schema, to_gate_json
from qclip_ffmpeg.errors import InputError
from qclip_ffmpeg.verdict import GateReport

SCHEMA_FILE = Path(__file__).parent.parent / "docs" / "qclip-gate.schema.json"


def strictly(data: bytes) -> Any:
    """JSON by the standard: NaN and Infinity, which Python would read, are errors."""

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(data, parse_constant=refuse)


def changed(**changes: Any) -> bytes:
    return json.dumps(json.loads(to_gate_json(tiny_report())) | changes).encode()


def test_the_published_schema_is_the_one_of_the_types() -> None:
    """After a change of the types: make schema"""
    assert json.loads(SCHEMA_FILE.read_text()) == json_schema()
    Draft202012Validator.check_schema(json_schema())


@pytest.mark.parametrize("report", [tiny_report(), tiny_report([], [], analysis=None, model=None, baseline=None)])
def test_a_report_is_valid_and_comes_back(report: GateReport) -> None:
    data = to_gate_json(report)
    Draft202012Validator(json_schema()).validate(strictly(data))
    assert data.endswith(b"}\n")
    assert from_gate_json(data, "gate.json") == report
    assert to_gate_json(from_gate_json(data, "gate.json")) == data


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_names_of_all_kinds_come_back(name: str) -> None:
    """Half of a surrogate pair cannot be written as UTF-8: it becomes a question mark, as in every text of Python's."""
    said = HOSTILE_NAMES[name]
    data = to_gate_json(renamed(said))
    Draft202012Validator(json_schema()).validate(strictly(data))
    assert from_gate_json(data, "x") == renamed(said.encode("utf-8", "replace").decode())


def test_the_schema_refuses_what_breaks_the_contract() -> None:
    """So that the tests above mean something."""
    validator = Draft202012Validator(json_schema())
    written = json.loads(to_gate_json(tiny_report()))
    for key in ("schema", "schema_version", "passed", "rungs", "results", "policy", "analysis"):
        assert not validator.is_valid({k: v for k, v in written.items() if k != key}), key
    for key, value in [("level", "off"), ("status", "skipped"), ("value", "65"), ("bound", "equal"), ("rungs", None)]:
        broken = json.loads(to_gate_json(tiny_report()))
        broken["results"][0][key] = value
        assert not validator.is_valid(broken), key


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_become_null(value: float) -> None:
    report = tiny_report([tiny_result(value=value)], [tiny_rung(bitrate_kbps=value)])
    written = strictly(to_gate_json(report))
    assert (written["results"][0]["value"], written["rungs"][0]["bitrate_kbps"]) == (None, None)


def test_versions_and_keys_that_are_not_known() -> None:
    assert from_gate_json(changed(schema_version="1.9", added={"later": 1}), "x").results == tiny_report().results
    with pytest.raises(InputError, match=r"^new\.json: .*version 2\.0, this program reads 1\.0; run qclip-gate again$"):
        from_gate_json(changed(schema_version="2.0"), "new.json")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"schema": "qclip-gate", "passed": NaN}', "is not JSON"),
        (b'{"schema": "qclip-track"}', 'not a gate report (no "schema": "qclip-gate")'),
        (changed(passed=1), "Expected `bool`"),
        (changed(passed=True), "passed is true, its results say otherwise"),
        (changed(rungs=2 * json.loads(changed())["rungs"]), 'two rungs are named "360p"'),
        (changed(rungs=[]), 'results[0] is about "360p", which is no rung'),
    ],
    ids=["empty", "nested", "NaN", "a track", "type", "verdict", "rung twice", "rung gone"],
)
def test_what_is_no_report_is_refused_in_one_line(data: bytes, said: str) -> None:
    with pytest.raises(InputError, match=r"^x\.json(:\d+)?: ") as raised:
        from_gate_json(data, "x.json")
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_only_errors_decide() -> None:
    assert not tiny_report([tiny_result(status="not_measured")]).passed
    assert tiny_report([tiny_result(status="failed", level="warn"), tiny_result()]).passed
    with pytest.raises(InputError, match="passed is false"):
        from_gate_json(to_gate_json(msgspec.structs.replace(tiny_report([]), passed=False)), "x")
