"""A small GateReport made by hand: what the reports write must not depend on the gate's rules."""

from collections.abc import Sequence
from typing import Any

import msgspec
from tiny_track import tiny_track

from qclip_ffmpeg.track import Tool
from qclip_ffmpeg.verdict import (
    REPORT_VERSION,
    Analysis,
    Compared,
    Crossing,
    GateReport,
    Moment,
    OffHull,
    Result,
    RungFigures,
    Suggestion,
    passes,
)

HOSTILE_NAMES = {
    "lines": "a\nb\r\n::error title=owned::no\u2028\u2029.mp4",
    "command": "::set-output name=passed::true",
    "old command": "##[add-mask]x ##vso[task.complete]",
    "comma": "a,title=b:c%0A%25.mp4",
    "cdata": "]]><script>alert(1)</script><!-- -- -->&amp;&#0;",
    "controls": "a\x00\x01\x08\x0b\x0c\x1b[31mred\x1b[0m\x7f\x85\ufffe\uffff.mp4",
    "surrogate": "a\udce4b\ud800.mp4",
    "table": "a|b\\|c\\\\|d`e``|`f.mp4",
    "links": "[x](http://evil.example) ![i](https://evil.example/i.png) www.evil.example me@evil.example",
    "markdown": "**b** ~~s~~ <b>h</b> @octocat #1 !2 ~label %3 &4 $5 :smile: $x$",
    "details": "</details></td></table>\n# heading\n- item",
    "template": "{{ 7 * 7 }}{% raw %}${HOME}$(id)`id`",
    "emoji": "видео «最终» 🎬👩‍👩‍👧.mp4",
    "turned": "\u202egpj.\u2066x\u2069",
    "option": "--help",
    "empty": "",
    "spaces": "   ",
    "long": "ä|<`" * 2500,
}
"""Names as bad as they can be: of files, rungs, policies and models."""


def tiny_rung(name: str = "720p", mean: float = 70.0, **changes: Any) -> RungFigures:
    """A rung with two worst segments; `changes` are fields that are other."""
    fields: dict[str, Any] = {
        "name": name,
        "source": f"ladder/{name}.mp4",
        "codec": "h264",
        "width_px": 1280,
        "height_px": 720,
        "frame_rate": "25",
        "bitrate_kbps": 20 * mean,
        "pooled": msgspec.structs.replace(tiny_track().pooled, mean=mean, p5=mean - 5, min=mean - 8),
        "worst": [Moment(12.0, 16.0, mean - 8), Moment(4.0, 8.0, mean - 7.25)],
        "complete": True,
    }
    return RungFigures(**fields | changes)


def tiny_result(rung: str = "720p", status: str = "passed", level: str = "error", **changes: Any) -> Result:
    """p5 of a rung against 66; `changes` are fields that are other."""
    moments = [Moment(12.0, 16.0, 61.2), Moment(4.0, 8.5, None)] if status == "failed" else []
    fields: dict[str, Any] = {
        "rule": "pooled.p5",
        "level": level,
        "status": status,
        "subject": rung,
        "rungs": [rung],
        "value": None if status == "not_measured" else 65.0,
        "bound": "min",
        "limit": 66.0,
        "unit": "score",
        "message": "p5 is 65, the least allowed is 66",
        "moments": moments,
        "where": "quality/policy.toml:7",
    }
    return Result(**fields | changes)


def tiny_report(
    results: Sequence[Result] | None = None, rungs: Sequence[RungFigures] | None = None, **changes: Any
) -> GateReport:
    """A ladder of three rungs, of which the middle one fails; `changes` are fields that are other."""
    if rungs is None:
        rungs = [
            tiny_rung("360p", 50.0, width_px=640, height_px=360, baseline=50.0, change=0.0),
            tiny_rung("720p", 70.0, baseline=73.5, change=-3.5),
            tiny_rung("1080p", 85.0, width_px=1920, height_px=1080, baseline=84.0, change=1.0),
        ]
    if results is None:
        results = [
            tiny_result("360p", limit=40.0, value=45.0),
            tiny_result("720p", "failed"),
            tiny_result("1080p", "failed", level="warn"),
            tiny_result("1080p", "not_measured", rule="segments.worst", message="no segment has a score"),
            ladder_result(),
        ]
    fields: dict[str, Any] = {
        "schema": "qclip-gate",
        "schema_version": REPORT_VERSION,
        "tool": Tool("qclip-ffmpeg", "0.1.0", {}),
        "policy": "hls-vod",
        "model": tiny_track().model,
        "display": "1920x1080",
        "baseline": Compared("last.json", 3),
        "passed": passes(results),
        "rungs": list(rungs),
        "results": list(results),
        "analysis": tiny_analysis(),
        "warnings": ["the model is provisional"],
    }
    return GateReport(**fields | changes)


def ladder_result(status: str = "failed", **changes: Any) -> Result:
    """Two rungs against each other."""
    fields: dict[str, Any] = {
        "rule": "ladder.inversion",
        "rungs": ["360p", "720p"],
        "subject": "720p over 360p",
        "value": -4.0,
        "limit": -2.5,
        "message": "the higher rung scores 4 less",
        "where": None,
    }
    return tiny_result(status=status, **fields | changes)


def tiny_analysis() -> Analysis:
    return Analysis(
        hull=["360p", "1080p"],
        off_hull=[OffHull("720p", 2.5)],
        crossings=[Crossing("h264", 360, 720, 900.0)],
        suggestions=[
            Suggestion("720p", "move", "it lies below the hull", 1600.0),
            Suggestion("360p", "drop", "it differs from no other"),
        ],
        bd_rate_percent=3.25,
        bd_score=-0.75,
    )


def renamed(name: str, **changes: Any) -> GateReport:
    """A report in which whatever a stranger can choose has this name."""
    rung = tiny_rung(name, source=name, codec=name, frame_rate=name)
    moved = {"rungs": [name], "subject": name, "message": name, "where": f"{name}:3"}
    results = [
        tiny_result(name, "failed", **moved),
        tiny_result(name, "failed", level="warn", **moved),
        tiny_result(name, "not_measured", **moved),
        ladder_result(rungs=[name, "360p"], subject=f"{name} over 360p", message=name),
    ]
    analysis = msgspec.structs.replace(tiny_analysis(), hull=[name], suggestions=[Suggestion(name, "drop", name)])
    model = msgspec.structs.replace(tiny_track().model, id=name)
    fields: dict[str, Any] = {
        "policy": name,
        "baseline": Compared(name, 2),
        "warnings": [name],
        "model": model,
        "analysis": analysis,
    }
    return tiny_report(results, [tiny_rung("360p", 50.0), rung], **fields | changes)
