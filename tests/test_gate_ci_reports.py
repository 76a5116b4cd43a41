"""What CI servers read, by readers that are not ours: JUnit XML, GitHub's workflow commands, GitLab's Code Quality."""

import json
import re
import unicodedata
from pathlib import Path
from typing import Any

import msgspec
import pytest
from junitparser import Error, Failure, JUnitXml, Skipped, TestCase, TestSuite
from lxml import etree
from tiny_verdict import HOSTILE_NAMES, ladder_result, renamed, tiny_report, tiny_result, tiny_rung

from qclip_ffmpeg.emit.github import MOST_OF_A_KIND, to_annotations
from qclip_ffmpeg.emit.gitlab import to_gitlab
from qclip_ffmpeg.emit.junit import to_junit
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.emit.places import place_in
from qclip_ffmpeg.verdict import GateReport

JUNIT_SCHEMA = etree.XMLSchema(etree.parse(Path(__file__).parent / "schemas" / "junit-10.xsd"))
EMPTY = tiny_report([], [], analysis=None, model=None, display=None, baseline=None, warnings=[])
each_name = pytest.mark.parametrize("name", HOSTILE_NAMES)


def suites_of(report: GateReport) -> dict[str, TestSuite]:
    """The suites that junitparser finds, by name; the whole is valid by the schema."""
    data = to_junit(report)
    JUNIT_SCHEMA.assertValid(etree.fromstring(data))
    suites = list(JUnitXml.fromstring(data))
    assert all(isinstance(suite, TestSuite) for suite in suites)
    return {suite.name: suite for suite in suites}


def cases_of(suite: TestSuite) -> dict[str, TestCase]:
    return {case.name: case for case in suite}


# Names


@each_name
def test_one_line_is_one_line_of_printed_text(name: str) -> None:
    shown = one_line(HOSTILE_NAMES[name])
    assert len(shown) == len(HOSTILE_NAMES[name])
    assert len(shown.splitlines()) <= 1
    assert not [c for c in shown if unicodedata.category(c)[0] == "C"]
    assert shown.encode().decode() == shown
    assert len(one_line(HOSTILE_NAMES[name], 60)) == min(len(shown), 60)


def test_one_line_keeps_what_is_fine() -> None:
    assert one_line("видео «最终» 🎬 e\u0301 \xa0") == "видео «最终» 🎬 e\u0301 \xa0"
    assert one_line("abcdefgh", 5) == "ab…gh"
    assert one_line("abcdefgh", 4) == "ab…h"


# JUnit


def test_a_suite_a_rung_and_one_for_the_ladder() -> None:
    suites = suites_of(tiny_report())
    assert list(suites) == ["360p", "720p", "1080p", "ladder"]
    counts = [(s.tests, s.failures, s.errors, s.skipped) for s in suites.values()]
    assert counts == [(1, 0, 0, 0), (1, 1, 0, 0), (2, 0, 1, 0), (1, 1, 0, 0)]
    whole = JUnitXml.fromstring(to_junit(tiny_report()))
    assert (whole.tests, whole.failures, whole.errors) == (5, 2, 1)
    assert [case.classname for case in suites["720p"]] == ["hls-vod.720p"]


def test_a_failure_says_the_figures_and_the_worst_seconds() -> None:
    [failure] = cases_of(suites_of(tiny_report())["720p"])["pooled.p5 min"].result
    assert isinstance(failure, Failure)
    assert (failure.type, failure.message) == (
        "pooled.p5",
        "720p: p5 is 65, the least allowed is 66. Worst: 0:12 to 0:16 (61.2), 0:04 to 0:08.5 (no score).",
    )
    assert failure.text.splitlines() == [
        "of: 720p",
        "found: 65, allowed: ≥ 66",
        "worst: 0:12 to 0:16 (61.2)",
        "worst: 0:04 to 0:08.5 (no score)",
        "policy: quality/policy.toml:7",
    ]


def test_what_is_not_measured_is_an_error_and_what_is_warned_of_passes() -> None:
    cases = cases_of(suites_of(tiny_report())["1080p"])
    [error] = cases["segments.worst min"].result
    assert isinstance(error, Error)
    assert "no segment has a score" in error.message
    assert cases["pooled.p5 min"].is_passed
    assert cases["pooled.p5 min"].system_out.startswith("warning: p5 is 65, the least allowed is 66. Worst: 0:12")
    unknown = tiny_report([tiny_result(status="not_measured", level="warn")])
    [skipped] = cases_of(suites_of(unknown)["720p"])["pooled.p5 min"].result
    assert isinstance(skipped, Skipped)


def test_what_is_about_several_rungs_is_the_ladders() -> None:
    ladder = suites_of(tiny_report())["ladder"]
    [failure] = cases_of(ladder)["ladder.inversion min: 720p over 360p"].result
    assert failure.message.startswith("720p over 360p: the higher rung scores 4 less.")
    said = ladder._elem.findtext("system-out")
    assert said.startswith("failed: 2 of 5 checks")
    assert "BD-rate against the baseline: +3.25 %" in said
    assert {p.name: p.value for p in ladder.properties()} == {
        "policy": "hls-vod",
        "tool": "qclip-ffmpeg 0.1.0",
        "model": "tiny",
        "display": "1920x1080",
        "baseline": "last.json",
    }


def test_a_rung_has_its_figures_as_properties() -> None:
    found = {p.name: p.value for p in suites_of(tiny_report())["720p"].properties()}
    assert found["bitrate_kbps"] == "1400"
    assert (found["pooled.mean"], found["change"], found["width_px"], found["complete"]) == (
        "70",
        "-3.5",
        "1280",
        "true",
    )
    bare = tiny_rung(codec=None, bitrate_kbps=None, frame_rate=None, complete=False)
    found = {p.name: p.value for p in suites_of(tiny_report([], [bare]))["720p"].properties()}
    assert not found.keys() & {"codec", "bitrate_kbps", "frame_rate", "change"}
    assert found["complete"] == "false"


def test_rules_that_are_alike_keep_names_of_their_own() -> None:
    suites = suites_of(tiny_report([tiny_result(), tiny_result(limit=70.0), tiny_result(bound="max")]))
    assert list(cases_of(suites["720p"])) == ["pooled.p5 min", "pooled.p5 min (2)", "pooled.p5 max"]


def test_a_name_has_no_packages() -> None:
    report = tiny_report([tiny_result("a.b.mp4")], [tiny_rung("a.b.mp4")])
    assert [case.classname for case in suites_of(report)["a.b.mp4"]] == ["hls-vod.a_b_mp4"]


def test_a_rung_may_be_called_ladder() -> None:
    data = to_junit(tiny_report([tiny_result("ladder"), ladder_result(subject="ladder")], [tiny_rung("ladder")]))
    assert [(s.name, s.tests) for s in JUnitXml.fromstring(data)] == [("ladder", 1), ("ladder", 1)]


def test_an_empty_report_is_valid() -> None:
    assert [(name, suite.tests) for name, suite in suites_of(EMPTY).items()] == [("ladder", 0)]


@each_name
def test_junit_of_hostile_names_is_valid_and_means_the_same(name: str) -> None:
    data, plain = to_junit(renamed(HOSTILE_NAMES[name])), to_junit(renamed("plain"))
    tree = etree.fromstring(data)
    JUNIT_SCHEMA.assertValid(tree)
    assert [e.tag for e in tree.iter()] == [e.tag for e in etree.fromstring(plain).iter()]
    listed = tree.findall("testsuite")[1].find("properties/property[@name='source']")
    assert listed.get("value") == one_line(HOSTILE_NAMES[name])
    assert all(len(suite.get("name")) <= 200 and suite.get("name") for suite in tree)
    assert all(len(case.get("name")) <= 300 for case in tree.iter("testcase"))


# GitHub


def commands_in(log: bytes) -> list[tuple[str, dict[str, str], str]]:
    """(command, properties, message) of each line of a log that the runner would take for one, as its source has it.

    Lines end at LF or CR. A line is a command if it starts with :: after white space, and has a :: after the command;
    older commands, ##[command], may stand anywhere in a line.
    """
    found = []
    for line in re.split(r"\r\n|\r|\n", log.decode()):
        stripped = line.lstrip()
        end = stripped.find("::", 2)
        if stripped.startswith("::") and end >= 0:
            name, _, listed = stripped[2:end].partition(" ")
            pairs = [pair.partition("=") for pair in listed.strip().split(",") if pair]
            properties = {key: given_back(value, "\r\n:,") for key, _, value in pairs if key and value}
            found.append((name, properties, given_back(stripped[end + 2 :], "\r\n")))
        elif "##[" in line:
            found.append(("##", {}, line))
        else:
            assert not line, f"not a command: {line}"
    return found


def given_back(text: str, signs: str) -> str:
    """What was escaped, one sign after the other and the % last, as the runner does it."""
    for sign in signs + "%":
        text = text.replace(f"%{ord(sign):02X}", sign)
    return text


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder: it has the policy of the tiny report."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "quality").mkdir()
    (tmp_path / "quality" / "policy.toml").write_text("")
    return tmp_path


def test_broken_rules_are_errors_beside_their_lines(repository: Path) -> None:
    found = commands_in(to_annotations(tiny_report(), repository))
    assert [(name, at.get("title")) for name, at, _ in found] == [
        ("error", "720p: pooled.p5"),
        ("error", "720p over 360p: ladder.inversion"),
        ("error", "1080p: segments.worst"),
        ("warning", "1080p: pooled.p5"),
    ]
    assert (found[0][1]["file"], found[0][1]["line"]) == ("quality/policy.toml", "7")
    assert "file" not in found[1][1]
    assert found[0][2] == (
        "720p: pooled.p5: p5 is 65, the least allowed is 66. Worst: 0:12 to 0:16 (61.2), 0:04 to 0:08.5 (no score)."
    )


def test_what_passes_is_a_notice(tmp_path: Path) -> None:
    [(name, at, message)] = commands_in(to_annotations(tiny_report([tiny_result()]), tmp_path))
    assert (name, at, message) == (
        "notice",
        {"title": "qclip-gate"},
        "passed: 1 check; 3 rungs, policy hls-vod, baseline last.json (3 common rungs)",
    )


@pytest.mark.parametrize("count", [MOST_OF_A_KIND, MOST_OF_A_KIND + 1, 500])
def test_no_more_annotations_than_are_shown(count: int, tmp_path: Path) -> None:
    rungs = [tiny_rung(f"rung {n}") for n in range(count)]
    results = [tiny_result(r.name, status, level) for r in rungs for status, level in BREACHES]
    found = commands_in(to_annotations(tiny_report(results, rungs), tmp_path))
    for kind in ("error", "warning"):
        of_kind = [(at["title"], message) for name, at, message in found if name == kind]
        assert len(of_kind) == MOST_OF_A_KIND
        assert [title for title, _ in of_kind[:9]] == [f"rung {n}: pooled.p5" for n in range(9)]
    *_, (_, at, message) = [said for said in found if said[0] == "error"]
    assert at["title"] == f"{2 * count - 9} more checks not met"
    assert message.startswith("rung 9: pooled.p5, ")


BREACHES = [("not_measured", "error"), ("failed", "warn"), ("failed", "error")]


@each_name
def test_no_name_becomes_a_command(name: str, tmp_path: Path) -> None:
    hostile = HOSTILE_NAMES[name]
    found = commands_in(to_annotations(renamed(hostile), tmp_path))
    assert [(kind, sorted(at)) for kind, at, _ in found] == [
        (kind, sorted(at)) for kind, at, _ in commands_in(to_annotations(renamed("plain"), tmp_path / "elsewhere"))
    ]
    assert found[0][1]["title"] == f"{one_line(hostile, 60)}: pooled.p5".lstrip("=")
    assert found[0][2].startswith(f"{one_line(hostile, 60)}: pooled.p5: {one_line(hostile)[:20].rstrip()}")
    assert all(len(line) < 16_000 for line in to_annotations(renamed(hostile), tmp_path).splitlines())


# GitLab


def findings_of(report: GateReport, root: Path) -> list[dict[str, Any]]:
    """GitLab's findings, each with what its documentation requires."""
    data = to_gitlab(report, root)
    assert not data.startswith(b"\xef\xbb\xbf"), "GitLab takes no byte order mark"
    findings: list[dict[str, Any]] = json.loads(data)
    for finding in findings:
        assert isinstance(finding["description"], str)
        assert isinstance(finding["check_name"], str)
        assert re.fullmatch("[0-9a-f]{64}", finding["fingerprint"])
        assert finding["severity"] in ("info", "minor", "major", "critical", "blocker")
        assert isinstance(finding["location"]["path"], str)
        assert not finding["location"]["path"].startswith(("/", "./"))
        assert isinstance(finding["location"]["lines"]["begin"], int)
    assert len({finding["fingerprint"] for finding in findings}) == len(findings)
    return findings


def test_findings_stand_at_the_policys_line_or_at_the_file(repository: Path) -> None:
    findings = findings_of(tiny_report(), repository)
    places = [(f["location"]["path"], f["location"]["lines"]["begin"]) for f in findings]
    assert places == [("quality/policy.toml", 7), ("ladder/360p.mp4", 1), *2 * [("quality/policy.toml", 7)]]
    assert [f["severity"] for f in findings] == ["critical", "critical", "major", "minor"]
    assert findings[0]["check_name"] == "pooled.p5"
    assert findings[0]["description"].startswith("720p: p5 is 65, the least allowed is 66. Worst: 0:12 to 0:16")


def test_a_finding_is_the_same_from_run_to_run(tmp_path: Path) -> None:
    """Whatever the figures are; and another one where the rule or the rung is another."""

    def prints(*results: Any) -> list[str]:
        return [finding["fingerprint"] for finding in findings_of(tiny_report(results), tmp_path)]

    base = tiny_result(status="failed")
    worse = msgspec.structs.replace(base, value=3.0, limit=60.0, message="other", moments=[], where="x:9")
    [first], [again] = prints(base), prints(worse)
    assert first == again
    assert prints(tiny_result(), base) == [first]
    others = [{"rule": "pooled.p10"}, {"bound": "max"}, {"subject": "360p"}, {"level": "warn"}]
    assert len({first, *(prints(msgspec.structs.replace(base, **other))[0] for other in others)}) == 5
    assert prints(base, worse)[0] == first


def test_nothing_found_is_an_empty_list(tmp_path: Path) -> None:
    assert findings_of(tiny_report([tiny_result()]), tmp_path) == []
    assert findings_of(EMPTY, tmp_path) == []


@each_name
def test_gitlab_takes_names_of_all_kinds(name: str, tmp_path: Path) -> None:
    for finding in findings_of(renamed(HOSTILE_NAMES[name]), tmp_path):
        assert "\n" not in finding["description"]


# Places


@pytest.mark.parametrize(
    ("where", "found"),
    [
        ("p.toml:3", ("p.toml", 3)),
        ("./sub/../p.toml:3", ("p.toml", 3)),
        ("sub/a:b.toml:12", ("sub/a:b.toml", 12)),
        ("presets/hls-vod.toml:3", None),
        ("sub:3", None),
        ("p.toml:0", ("p.toml", 1)),
        (None, None),
        ("p.toml", None),
        ("p.toml:", None),
        ("p.toml:\u0663", None),
        (":3", None),
        ("../p.toml:3", None),
        ("/etc/p.toml:3", None),
        ("https://example.com/p.toml:3", None),
        ("a\0b:3", None),
        ("\ud800:3", None),
    ],
)
def test_where_a_rule_stands(
    where: str | None, found: tuple[str, int] | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    for name in ("p.toml", "sub/a:b.toml"):
        (tmp_path / name).write_text("")
    assert place_in(tmp_path, where) == found
    if found:
        assert place_in(tmp_path, f"{tmp_path}/{where}") == found
        assert place_in(tmp_path / "elsewhere", where) is None
