"""The report: one file that needs no other, everything in it escaped, a section a video, the worst five with frames."""

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Sequence
from html.parser import HTMLParser

import msgspec
import pytest
from PIL import Image
from test_chart import AWKWARD, changed, track_of
from tiny_track import tiny_track

from qclip_ffmpeg.emit.chart import worst_segments
from qclip_ffmpeg.emit.html import facts, to_html
from qclip_ffmpeg.emit.svg import Box
from qclip_ffmpeg.stills import Still, Stills
from qclip_ffmpeg.track import QualityTrack

HOSTILE = "<img src=x onerror=alert(1)></script><script>alert(2)</script>\"'&{{ 7 * 7 }}.mp4"
VOID = {"meta", "img", "br", "hr", "input", "link"}


class Page(HTMLParser):
    """A page taken apart. Tags that are not closed in their order fail."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(html.decode())
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        for tag in set(self._open):
            self.texts.setdefault(tag, []).append(data)

    def all(self, tag: str, **wanted: str) -> list[dict[str, str]]:
        """The attributes of all tags of a kind that have these."""
        found = [attributes for name, attributes in self.tags if name == tag]
        return [a for a in found if all(a.get(name.rstrip("_")) == value for name, value in wanted.items())]

    def text(self, tag: str) -> str:
        """All text within tags of a kind."""
        return "".join(self.texts.get(tag, []))


def picture(shade: int) -> bytes:
    data = io.BytesIO()
    Image.new("RGB", (16, 9), (shade, 0, 0)).save(data, "JPEG")
    return data.getvalue()


def with_stills(track: QualityTrack) -> Stills:
    """Two made-up frames for each of its worst segments."""
    worst = worst_segments(track)
    return Stills({s.index: [Still(s.start_s + n / 10, 16, 9, picture(s.index + n)) for n in (0, 1)] for s in worst})


LONG = track_of(70, 30, None, 10, 50, 60, 20, 40)


@pytest.mark.parametrize("name", AWKWARD)
def test_every_track_gives_a_page_that_is_well_formed_and_alone(name: str) -> None:
    tracks = AWKWARD[name]()
    html = to_html(tracks, [with_stills(track) for track in tracks])
    page = Page(html)
    assert page.all("html") == [{"lang": "en"}]
    assert len(page.all("section", class_="video")) == len(tracks)
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.tags:
        for key in ("src", "href"):
            if key in attributes:
                target = attributes[key]
                assert target.startswith("data:image/jpeg;base64,") or target.removeprefix("#") in ids
        assert not [key for key in attributes if key.startswith("on")]
    assert all(image["alt"] for image in page.all("img"))
    assert not re.search(rb"https?:|url\(|@import|\bnan\b|\binf\b", re.sub(rb"base64,[\w+/=]+", b"", html))
    assert html == to_html(tracks, [with_stills(track) for track in tracks])


def test_its_policy_allows_its_own_script_and_nothing_else() -> None:
    page = Page(to_html([LONG]))
    (policy,) = page.all("meta", **{"http-equiv": "Content-Security-Policy"})
    data, script = page.texts["script"]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert policy["content"] == (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'"
    )
    read = json.loads(data)
    assert read["span"] == [0, 3.2]
    assert [segment[2] for segment in read["tracks"][0]] == [s.score for s in LONG.segments]


def test_what_the_input_says_is_text() -> None:
    track = changed(
        tiny_track(2, name=HOSTILE),
        warnings=[HOSTILE],
        model=changed(tiny_track().model, id=HOSTILE),
        tool=changed(tiny_track().tool, libraries={HOSTILE: HOSTILE}),
    )
    track = changed(track, segments=[changed(s, flags=[HOSTILE]) for s in track.segments])
    for tracks in ([track], [track, track]):
        html = to_html(tracks)
        page = Page(html)
        assert page.all("img") == []
        assert len(page.all("script")) == 2
        assert HOSTILE in page.text("h1" if len(tracks) == 1 else "h2")
        assert all(HOSTILE in page.text(tag) for tag in ("li", "td", "th"))
        assert json.loads(page.texts["script"][0])["tracks"][0][0][4] == [HOSTILE]
        assert HOSTILE.encode() not in html


def test_the_worst_five_come_first_to_last_with_their_frames() -> None:
    page = Page(to_html([LONG], [with_stills(LONG)]))
    ids = [a["id"] for _, a in page.tags if a.get("id", "").startswith("video-1-worst-")]
    assert ids == [f"video-1-worst-{rank}" for rank in range(1, 6)]
    assert re.findall(r"([\d.]+) (?:bad|poor|fair|good|excellent)", page.text("li")) == [
        *["10.0", "20.0", "30.0", "40.0", "50.0"]
    ]
    pins = [a["href"] for a in page.all("a")]
    assert sorted(pins) == [f"#{name}" for name in ids]
    images = page.all("img")
    assert len(images) == 10
    for image in images:
        with Image.open(io.BytesIO(base64.b64decode(image["src"].partition(",")[2]))) as opened:
            assert opened.size == (int(image["width"]), int(image["height"])) == (16, 9)
    assert images[0]["alt"] == "Frame at 0:01.2"


def test_why_frames_are_missing_is_said() -> None:
    assert "Note: it was a pipe." in Page(to_html([LONG], [Stills(missing="it was a pipe")])).text("section")


def test_several_videos_have_a_section_each_and_a_table_of_all() -> None:
    tracks = [track_of(80.0, 70.0, name="a.mp4"), track_of(name="broken.mp4"), track_of(30.0, name="b.mp4")]
    page = Page(to_html(tracks))
    assert page.text("title").startswith("Picture quality of 3 videos")
    assert [a["id"] for a in page.all("section", class_="video")] == ["video-1", "video-2", "video-3"]
    links = [a["href"] for a in page.all("a")]
    assert links == ["#video-1", "#video-2", "#video-3", "#video-1-worst-1", "#video-3-worst-1"]
    assert len(page.all("table", class_="compare")) == 1
    for number in (1, 3):
        (drawn,) = page.all("svg", class_=f"c{number}")[:1]
        assert drawn["viewbox"] == "0 0 1000 100"


def test_provenance_and_warnings_are_all_there() -> None:
    track = changed(LONG, warnings=["the stream broke off"], complete=False)
    text = Page(to_html([track])).text("section")
    for record in (track.tool, track.source, track.model, track.settings):
        for key, value in facts(record):
            assert key in text
            assert value in text
    assert "Incomplete." in text
    assert "the stream broke off" in text
    nothing = Page(to_html([changed(track_of(), complete=False, warnings=["gone"])]))
    assert "Nothing could be measured." in nothing.text("main")
    assert (nothing.all("svg"), nothing.all("script")) == ([], [])


def test_facts_are_named_as_in_the_sidecar() -> None:
    found = dict(facts(LONG.source))
    assert found["video.width_px"] == "192"
    assert dict(facts(LONG.model))["calibration"] == "\N{EN DASH}" or LONG.model.calibration
    assert {key.partition(".")[0] for key in found} == set(msgspec.to_builtins(LONG.source))


def test_it_is_light_and_dark_and_for_print() -> None:
    style = Page(to_html([LONG])).text("style")
    for query in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"):
        assert query in style
    used, defined = set(re.findall(r"var\((--[\w-]+)", style)), set(re.findall(r"(--[\w-]+):", style))
    set_by_page = {"--t", "--y", "--end", "--row", "--rows", "--zoom"}
    assert used - defined == set_by_page


def test_paths_are_steps_in_their_box() -> None:
    run = LONG.segments[:2]
    box = Box((0, 0.8), (0, 100))
    assert box.line(run, [70, 30]) == "M0 30V30H500V70H1000"
    assert box.area(run, [60, 20], [80, 400]) == "M0 20V20H500V0H1000V80H500V40H0Z"
    assert math.isclose(float(box.x(0.1)), 125)
