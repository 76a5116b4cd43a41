"""The verdict in the HTML report: above the report of the tracks, linked to it, everything in it escaped."""

import re

import msgspec
import pytest
from test_chart import track_of
from test_html import Page, with_stills
from tiny_track import tiny_track
from tiny_verdict import HOSTILE_NAMES, ladder_result, renamed, tiny_report, tiny_result, tiny_rung

from qclip_ffmpeg.emit.chart import MAX_TRACKS
from qclip_ffmpeg.emit.gate_html import RUNG_COLUMNS, shown_rungs, to_gate_html
from qclip_ffmpeg.emit.names import one_line
from qclip_ffmpeg.track import QualityTrack
from qclip_ffmpeg.verdict import GateReport, Moment

TRACKS = {
    "360p": track_of(50, 48, 52, name="360p.mp4"),
    "720p": track_of(70, 30, 71, name="720p.mp4"),
    "1080p": track_of(85, 86, 84, name="1080p.mp4"),
}
WORST = Moment(0.4, 0.8, 30.0)


def page_of(report: GateReport, tracks: dict[str, QualityTrack] | None = None) -> Page:
    """The page of a report, well formed and alone: links stay within it, nothing is loaded or run but its own."""
    html = to_gate_html(report, TRACKS if tracks is None else tracks)
    page = Page(html)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        assert attributes.get("href", "#verdict").removeprefix("#") in ids
        assert not [key for key in attributes if key.startswith("on") or key == "src"]
    assert not re.search(rb"url\(|@import|\bnan\b|\binf\b", html)
    assert len(page.all("script")) == (2 if tracks is None or tracks else 0)
    return page


def test_the_verdict_comes_before_the_tracks() -> None:
    page = page_of(tiny_report())
    assert page.text("title").startswith("hls-vod: failed")
    sections = [a.get("class") for a in page.all("section")]
    assert sections == ["gate", "chart", "video", "video", "video"]
    assert page.text("h2").startswith("failed: 2 of 5 checks, 1 without a figure, 1 warning; 3 rungs")
    assert [page.text("h1"), page.text("code").count("pooled.p5")] == ["hls-vod: failed", 2]
    assert "Suggestion: move 720p to 1,600 kbit/s: it lies below the hull." in page.text("li")
    assert "passed" in page_of(tiny_report([tiny_result()])).text("title")


def test_the_rungs_are_a_table() -> None:
    page = page_of(tiny_report())
    titles = "".join(RUNG_COLUMNS)
    assert titles in re.sub(r"\s", "", page.text("thead"))
    row = ("70.0", "▼ 3.5", "62.0 at 0:12", "65.0", "1,400", "h264, 1280x720, 25 fps")
    assert "".join(row).replace(" ", "") in re.sub(r"\s", "", page.text("td"))
    verdicts = [a["class"] for a in page.all("span") if a.get("class", "").startswith("verdict")]
    assert verdicts[-3:] == ["verdict failed", "verdict failed", "verdict not-measured"]


def test_breaches_lead_to_where_they_are_shown() -> None:
    """A moment that is among the worst five of its rung leads there, another to the rung, of no rung nowhere."""
    results = [
        tiny_result("720p", "failed", moments=[WORST, Moment(40.0, 44.0, 30.0)]),
        ladder_result(moments=[WORST]),
        tiny_result("1080p", "failed", moments=[Moment(0.8, 1.2, 84.0)]),
        ladder_result(subject="ladder", rungs=[], moments=[WORST]),
    ]
    page = page_of(tiny_report(results))
    findings = [a["href"] for a in page.all("a")][:4]
    assert findings == ["#video-2-worst-1", "#video-2", "#video-2-worst-1", "#video-3-worst-1"]


def test_the_curve_has_a_dot_a_rung_where_it_belongs() -> None:
    page = page_of(tiny_report())
    dots = [a for a in page.all("span") if "--y" in a.get("style", "") and a.get("class", "").startswith("dot")]
    places = [[float(share) for share in re.findall(r": ([\d.]+)", a["style"])] for a in dots]
    assert [a["class"] for a in dots] == ["dot c1", "dot c2", "dot c3"]
    assert sorted(places) == places, "bitrates rise from left to right"
    assert [top for _, top in places] == sorted((top for _, top in places), reverse=True), "scores rise upwards"
    assert all(0 <= share <= 1 for place in places for share in place)
    assert dots[1]["title"] == "720p: 70.0 at 1,400 kbit/s"
    assert len(page.all("path", class_="hull")) == 1
    assert len(page.all("path", class_="rate")) == 3, "one a number of lines"
    assert page.all("path", class_="before") == []
    before = [msgspec.structs.replace(r, baseline_kbps=r.bitrate_kbps) for r in tiny_report().rungs]
    assert len(page_of(tiny_report(rungs=before)).all("path", class_="before")) == 1


def test_without_bitrates_there_is_no_curve() -> None:
    rungs = [tiny_rung("360p", bitrate_kbps=None), tiny_rung("720p"), tiny_rung("1080p", bitrate_kbps=0.0)]
    assert page_of(tiny_report([], rungs, analysis=None)).all("figure") == []


def test_no_more_sections_than_colours_and_those_that_failed_first() -> None:
    names = [f"rung {n}" for n in range(9)]
    tracks = {name: track_of(50, 60, name=name) for name in names}
    results = [tiny_result(names[8], "failed"), tiny_result(names[7], "failed", level="warn"), tiny_result(names[0])]
    report = tiny_report(results, [tiny_rung(name) for name in names])
    assert shown_rungs(report, tracks) == [*names[:4], names[7], names[8]]
    page = page_of(report, tracks)
    assert len(page.all("section", class_="video")) == MAX_TRACKS
    assert "3 of 9 rungs have no section below" in page.text("p")
    assert len(page.all("tr")) > len(names)


def test_nothing_measured_and_one_rung_and_frames() -> None:
    nothing = page_of(tiny_report([tiny_result(status="not_measured")], [tiny_rung()], analysis=None), {})
    assert nothing.all("section", class_="video") == []
    assert "1 without a figure" in nothing.text("h2")
    assert page_of(tiny_report([], [], analysis=None, model=None), {}).text("h2") == "passed: 0 checks; 0 rungs, " + (
        "policy hls-vod, baseline last.json (3 common rungs)"
    )
    alone = page_of(tiny_report([], [tiny_rung()]), {"720p": TRACKS["720p"]})
    assert len(alone.all("section", class_="video")) == 1
    stills = {name: with_stills(track) for name, track in TRACKS.items()}
    assert len(Page(to_gate_html(tiny_report(), TRACKS, stills)).all("img")) == 18


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_text(name: str) -> None:
    hostile = HOSTILE_NAMES[name]

    def made(said: str) -> Page:
        return page_of(renamed(said), {"360p": TRACKS["360p"], said: tiny_track(2, name=said)})

    page, plain = made(hostile), made("plain")
    assert [tag for tag, _ in page.tags] == [tag for tag, _ in plain.tags]
    assert [sorted(attributes) for _, attributes in page.tags] == [sorted(attributes) for _, attributes in plain.tags]
    assert page.text("h1") == f"{one_line(hostile)}: failed"


def test_the_same_report_gives_the_same_bytes() -> None:
    assert to_gate_html(tiny_report(), TRACKS) == to_gate_html(tiny_report(), TRACKS)
