"""The gate's JSON: GateReport <-> JSON, and its schema.

python -m qclip_ffmpeg.emit.gate_json        prints the JSON Schema
"""

import json
from collections import Counter

from qclip_ffmpeg.emit.documents import Kind, written
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.verdict import REPORT_VERSION, GateReport, passes

MAX_NAME = 80
GATE = Kind(GateReport, "qclip-gate", REPORT_VERSION, "gate report", "run qclip-gate again")


def to_gate_json(report: GateReport) -> bytes:
    """One report as an object; indented UTF-8 with a final newline. Numbers that are not finite become null."""
    return written(report)


def from_gate_json(data: bytes, name: str) -> GateReport:
    """Read one report. Keys that are not known are ignored; all minor versions are read.

    Args:
        data: the file's bytes.
        name: what to call it in messages.

    Raises:
        InputError: not a gate report, one of another major version, or one that contradicts itself.
    """
    report = GATE.read(data, name)
    check_report(report, name)
    return report


def check_report(report: GateReport, name: str) -> None:
    """Raises InputError where a report contradicts itself, which the schema cannot say."""
    names = Counter(rung.name for rung in report.rungs)
    if twice := [rung for rung, count in names.items() if count > 1]:
        raise GATE.refusal(name, f'two rungs are named "{one_line(twice[0], MAX_NAME)}"')
    for place, result in enumerate(report.results):
        if unknown := [rung for rung in result.rungs if rung not in names]:
            raise GATE.refusal(name, f'results[{place}] is about "{one_line(unknown[0], MAX_NAME)}", which is no rung')
    if report.passed != passes(report.results):
        raise GATE.refusal(name, f"passed is {str(report.passed).lower()}, its results say otherwise")


def json_schema() -> dict[str, object]:
    """JSON Schema (2020-12) of one report, generated from the types in `verdict`."""
    return GATE.json_schema()


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2))
