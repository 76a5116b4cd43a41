"""Markdown as GitHub's own parser and another read it: tables stay tables, and no name becomes anything but text."""

import re
from html.parser import HTMLParser

import cmarkgfm
import msgspec
import pytest
from markdown_it import MarkdownIt
from tiny_verdict import HOSTILE_NAMES, ladder_result, renamed, tiny_report, tiny_result, tiny_rung

from qclip_ffmpeg.emit.github import SUMMARY_BYTES, to_summary
from qclip_ffmpeg.emit.markdown import (
    COLUMNS,
    COMMENT_BYTES,
    MARKER,
    RULE_COLUMNS,
    code,
    fitted,
    size,
    text,
    to_markdown,
)
from qclip_ffmpeg.emit.verdict_words import MAX_NAME
from qclip_ffmpeg.verdict import GateReport

OURS = {*("table", "thead", "tbody", "tr", "th", "td"), *("h3", "p", "strong", "ul", "li", "code", "sub")}
OURS |= {"details", "summary"}
PARSERS = {
    "github": lambda source: cmarkgfm.github_flavored_markdown_to_html(source, cmarkgfm.cmark.Options.CMARK_OPT_UNSAFE),
    "markdown-it": MarkdownIt("gfm-like", {"html": True, "linkify": True}).render,
}


class Shown(HTMLParser):
    """Rendered Markdown taken apart: its tags, the text of each cell and item, and that everything is closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.cells: list[list[str]] = []
        self.text = ""
        self.codes: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)
        self._open.append(tag)
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag == "code":
            self.codes.append("")

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data
        if {"td", "th"} & set(self._open):
            self.cells[-1][-1] += data
        if "code" in self._open:
            self.codes[-1] += data


def shown(report: GateReport, parser: str) -> Shown:
    return Shown(PARSERS[parser](to_markdown(report).decode()))


@pytest.fixture(params=PARSERS)
def parser(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_it_says_the_verdict_and_the_rungs(parser: str) -> None:
    page = shown(tiny_report(), parser)
    assert "failed: 2 of 5 checks, 1 without a figure, 1 warning; 3 rungs, policy hls-vod" in page.text
    assert page.cells[0] == list(COLUMNS)
    assert page.cells[2] == ["❌", "720p", "h264, 1280x720, 25 fps", "1,400", "70.0", "65.0", "62.0 at 0:12", "▼ 3.5"]
    assert [row[0] for row in page.cells[1:4]] == ["❌", "❌", "❓"]
    assert [row[-1] for row in page.cells[1:4]] == ["= 0.0", "▼ 3.5", "▲ 1.0"]
    worst = "Worst: 0:12 to 0:16 (61.2), 0:04 to 0:08.5 (no score)."
    assert f"720p pooled.p5: p5 is 65, the least allowed is 66. {worst}" in page.text
    for said in ("BD-rate against the baseline: +3.25 %", "move 720p to 1,600 kbit/s", "the model is provisional"):
        assert said in page.text
    assert page.cells[4] == list(RULE_COLUMNS)
    assert page.cells[6] == ["❌", "720p", "pooled.p5", "65", "≥ 66", "p5 is 65, the least allowed is 66"]
    assert set(page.tags) == OURS


def test_what_passes_has_no_list_of_breaches(parser: str) -> None:
    page = shown(tiny_report([tiny_result()], warnings=[], analysis=None), parser)
    assert "✅ Picture quality: passed: 1 check; 3 rungs, policy hls-vod" in page.text
    assert "Not met" not in page.text
    assert "Warnings" not in page.text


def test_an_empty_report_is_shown(parser: str) -> None:
    page = shown(tiny_report([], [], model=None, display=None, baseline=None, analysis=None, warnings=[]), parser)
    assert "passed: 0 checks; 0 rungs, policy hls-vod" in page.text
    assert "table" not in page.tags


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_name_is_a_name_and_nothing_else(name: str, parser: str) -> None:
    hostile = HOSTILE_NAMES[name]
    page, plain = shown(renamed(hostile), parser), shown(renamed("plain"), parser)
    assert page.tags == plain.tags, "it made a tag, a row, a link or a picture, or took one away"
    assert [len(row) for row in page.cells] == [len(row) for row in plain.cells]
    assert page.codes.count(page.cells[2][1]) == plain.codes.count("plain")
    assert len(page.cells[2][1]) <= MAX_NAME + hostile.count("@")
    assert not re.search(r"(?<!\w)[@#!$%&~](?=\w)", re.sub(r"&#?\w+;", "", outside_code(renamed(hostile), parser)))


def outside_code(report: GateReport, parser: str) -> str:
    """The text of a page in which a server looks for mentions and references: not that of code."""
    html = PARSERS[parser](to_markdown(report).decode())
    return re.sub(r"<[^>]*>", "", re.sub(r"<code>.*?</code>", "", html))


def test_all_of_ascii_comes_out_as_it_went_in(parser: str) -> None:
    """Spacers aside, which keep addresses and mentions apart."""
    printable = "".join(map(chr, range(33, 127)))
    halves = [printable[:47], printable[47:]]
    for half in halves:
        for made in (code, text):
            html = PARSERS[parser](f"| x | y |\n|---|---|\n| {made(half)} | z |\n")
            first, second = Shown(html).cells[1]
            assert (first.replace("\u200b", ""), second) == (half, "z")


def test_no_address_becomes_a_link(parser: str) -> None:
    said = "see https://evil.example/x, www.evil.example, ftp://a.b, me@evil.example or <http://evil.example>"
    for made in (code, text):
        assert "<a" not in PARSERS[parser](f"* {made(said)}\n")


def test_it_fits_a_comment_whatever_it_holds(parser: str) -> None:
    long = HOSTILE_NAMES["long"]
    rungs = [tiny_rung(f"{long}{n}", source=long) for n in range(300)]
    results = [tiny_result(rung.name, "failed", message=long) for rung in rungs for _ in range(3)]
    results += [tiny_result(rung.name, "failed", level="warn", message=long) for rung in rungs]
    results += [ladder_result(rungs=[rungs[0].name], subject=long)] * 50
    report = tiny_report(results, rungs, policy=long, warnings=[long] * 500)
    data = to_markdown(report)
    assert COMMENT_BYTES * 0.9 < len(data) <= COMMENT_BYTES
    page = shown(report, parser)
    left_out = re.findall(r"(\d+) more (rung|check|note)s?: no room here\.", page.text)
    assert [what for _, what in left_out] == ["rung", "check", "check", "note", "check"]
    rows = [len(row) for row in page.cells]
    assert rows.count(len(COLUMNS)) - 1 + int(left_out[0][0]) == 300
    assert rows.count(len(RULE_COLUMNS)) - 1 + int(left_out[-1][0]) == len(results)
    assert set(page.tags) == OURS


def test_a_list_fits_its_room_together_with_what_is_said_of_the_rest() -> None:
    lines = ["* " + "x" * n for n in range(200)]
    for room in range(100, size(lines) + 1):
        kept = fitted(lines, room, "rule")
        assert size(kept) <= room
        if len(kept) != len(lines):
            *first, blank, last = kept
            assert (first, blank) == (lines[: len(first)], "")
            assert last.startswith(f"{200 - len(first)} more rule")


def test_a_summary_fits_beside_what_is_there() -> None:
    rungs = [tiny_rung(str(n)) for n in range(4000)]
    report = tiny_report([tiny_result(rung.name, "failed") for rung in rungs], rungs)
    assert SUMMARY_BYTES * 0.9 < len(to_summary(report)) <= SUMMARY_BYTES
    for room in (SUMMARY_BYTES - 1, 100_000, 5000, 2000, 10, 0, -SUMMARY_BYTES):
        data = to_summary(report, SUMMARY_BYTES - room)
        assert not data or len(data) <= room
    assert b"There is no room here for more." in to_summary(report, SUMMARY_BYTES - 2000)
    assert to_summary(report, SUMMARY_BYTES) == b""


def test_the_same_report_gives_the_same_bytes() -> None:
    data = to_markdown(tiny_report())
    assert data == to_markdown(msgspec.convert(msgspec.to_builtins(tiny_report()), GateReport))
    assert data.decode().splitlines()[0] == MARKER
