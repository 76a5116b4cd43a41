"""GitLab's Code Quality JSON: a finding a rule that was not met, shown in the merge request.

Format: https://docs.gitlab.com/ci/testing/code_quality/#code-quality-report-format
"""

import hashlib
from collections import Counter
from pathlib import Path

from qclip_ffmpeg.emit.documents import written
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.emit.places import path_in, place_in
from qclip_ffmpeg.emit.verdict_words import broken, sentence, short, warned
from qclip_ffmpeg.verdict import GateReport, Result

SEVERITIES = {("error", "failed"): "critical", ("error", "not_measured"): "major", ("warn", "failed"): "minor"}


def to_gitlab(report: GateReport, root: Path) -> bytes:
    """An array of findings, broken rules first; empty where all rules are met.

    Args:
        report: the verdict.
        root: the repository's folder; paths are written as seen from there.
    """
    seen = Counter[str]()
    findings = []
    for result in (*broken(report), *warned(report)):
        identity = "\0".join([report.policy, result.rule, result.bound or "", result.level, result.subject])
        seen[identity] += 1
        path, line = location(result, report, root)
        findings.append(
            {
                "description": one_line(f"{short(result.subject)}: {sentence(result)}"),
                "check_name": one_line(result.rule),
                "fingerprint": fingerprint(f"{identity}\0{seen[identity]}"),
                "severity": SEVERITIES.get((result.level, result.status), "info"),
                "location": {"path": path, "lines": {"begin": line}},
            }
        )
    return written(findings)


def fingerprint(identity: str) -> str:
    """The same from run to run, whatever the figures: GitLab tells by it what is new and what was resolved."""
    return hashlib.sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()


def location(result: Result, report: GateReport, root: Path) -> tuple[str, int]:
    """The line of the policy that made the rule where it lies in the repository, else the first rung's file."""
    if place := place_in(root, result.where):
        return one_line(place[0]), place[1]
    sources = [rung.source for rung in report.rungs if rung.name in result.rungs] or [r.source for r in report.rungs]
    source = sources[0] if sources else report.policy
    return one_line(path_in(root, source) or source), 1
