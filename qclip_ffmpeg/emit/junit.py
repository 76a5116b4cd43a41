"""JUnit XML: a test suite a rung and one for the ladder, a test case a result, for whatever shows test results.

A broken rule is a failure, one that could not be measured an error. What a policy only warns of passes and says so on
its system-out; where it has no figure it was skipped. There are no times: the same report gives the same bytes. Names
are cleaned of what XML 1.0 forbids. Valid by the schema of Jenkins' xUnit plugin (junit-10.xsd).
"""

import math
from collections import Counter
from collections.abc import Mapping
from xml.etree import ElementTree

from qclip_ffmpeg.emit.figures import decimal
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.emit.verdict_words import (
    LADDER,
    NOTHING,
    figure,
    headline,
    ladder_notes,
    limit_said,
    moment_said,
    sentence,
    short,
)
from qclip_ffmpeg.verdict import GateReport, Result, RungFigures

Element = ElementTree.Element

MAX_NAME = 200
"""Characters of a name: servers make files and addresses of them."""


def to_junit(report: GateReport) -> bytes:
    """The report as UTF-8 XML."""
    policy = name_of(report.policy)
    root = Element("testsuites", name=f"qclip-gate {policy}")
    for rung in report.rungs:
        add_suite(root, name_of(rung.name), policy, properties(rung), [r for r in report.results if is_of(r, rung)])
    own = {rung.name for rung in report.rungs}
    of_ladder = [r for r in report.results if not (r.subject in own and r.rungs == [r.subject])]
    ladder = add_suite(root, LADDER, policy, ladder_properties(report), of_ladder)
    ElementTree.SubElement(ladder, "system-out").text = "\n".join([headline(report), *ladder_notes(report)])
    for count in ("tests", "failures", "errors"):
        root.set(count, str(sum(int(suite.get(count, "0")) for suite in root)))
    ElementTree.indent(root)
    data: bytes = ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)
    return data + b"\n"


def is_of(result: Result, rung: RungFigures) -> bool:
    """Whether a result is about this rung alone."""
    return result.subject == rung.name and result.rungs == [rung.name]


def add_suite(root: Element, name: str, policy: str, known: Mapping[str, str], results: list[Result]) -> Element:
    """A suite with a case a result, and its counts."""
    suite = ElementTree.SubElement(root, "testsuite", name=name)
    listed = ElementTree.SubElement(suite, "properties")
    for key, value in known.items():
        ElementTree.SubElement(listed, "property", name=key, value=value)
    used = Counter[str]()
    for result in results:
        case_name = named_case(result)
        used[case_name] += 1
        unique = case_name if used[case_name] == 1 else f"{case_name} ({used[case_name]})"
        # Servers take what stands before the last dot for a package.
        case = ElementTree.SubElement(suite, "testcase", classname=f"{policy}.{name.replace('.', '_')}", name=unique)
        add_outcome(case, result)
    suite.set("tests", str(len(results)))
    for count, tag in {"failures": "failure", "errors": "error", "skipped": "skipped"}.items():
        suite.set(count, str(len(suite.findall(f"testcase/{tag}"))))
    return suite


def named_case(result: Result) -> str:
    """ "pooled.p5 min": without the limit and the figure, so that a server can follow it from run to run."""
    of = f": {name_of(result.subject)}" if len(result.rungs) != 1 and result.subject != LADDER else ""
    return one_line(f"{result.rule} {result.bound or ''}".strip() + of)


def add_outcome(case: Element, result: Result) -> None:
    """What a server shows of a case that did not just pass."""
    if result.status == "passed":
        return
    if result.level == "warn" and result.status == "failed":
        ElementTree.SubElement(case, "system-out").text = f"warning: {sentence(result)}\n{explanation(result)}"
        return
    tag = "skipped" if result.level == "warn" else "failure" if result.status == "failed" else "error"
    said = {"type": one_line(result.rule), "message": f"{short(result.subject)}: {sentence(result)}"}
    ElementTree.SubElement(case, tag, said).text = explanation(result)


def explanation(result: Result) -> str:
    """The figures of a result and its worst seconds, a line each."""
    lines = [
        f"of: {result.subject}",
        f"found: {figure(result.value, result.unit)}, allowed: {limit_said(result) or NOTHING}",
        *(f"worst: {moment_said(moment)}" for moment in result.moments),
        *([f"policy: {result.where}"] if result.where else []),
    ]
    return "\n".join(map(one_line, lines))


def properties(rung: RungFigures) -> dict[str, str]:
    """What is known of a rung, under the names of the report's JSON."""
    stream = {key: getattr(rung, key) for key in ("source", "codec", "width_px", "height_px", "frame_rate")}
    figures = {f"pooled.{key}": getattr(rung.pooled, key) for key in rung.pooled.__struct_fields__}
    numbers = {"bitrate_kbps": rung.bitrate_kbps, **figures, "baseline": rung.baseline, "change": rung.change}
    said = {key: one_line(str(value)) for key, value in stream.items() if value is not None}
    said |= {key: decimal(value) for key, value in numbers.items() if value is not None and math.isfinite(value)}
    return said | {"complete": str(rung.complete).lower()}


def ladder_properties(report: GateReport) -> dict[str, str]:
    """By which policy and with which model it was judged."""
    known = {
        "policy": report.policy,
        "tool": f"{report.tool.name} {report.tool.version}",
        "model": report.model.id if report.model else None,
        "display": report.display,
        "baseline": report.baseline.source if report.baseline else None,
    }
    return {key: one_line(value) for key, value in known.items() if value is not None}


def name_of(text: str) -> str:
    """A name as servers take it: not empty, not too long."""
    return one_line(text, MAX_NAME).strip() or "unnamed"
