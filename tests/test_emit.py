"""The text formats: what they say, well formed whatever the names; the same track gives the same bytes."""

import csv
import io
import json
import math
import re
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from tiny_track import tiny_segment, tiny_track

from qclip_ffmpeg.emit import ndjson
from qclip_ffmpeg.emit.csv import csv_table
from qclip_ffmpeg.emit.ffmetadata import escaped
from qclip_ffmpeg.emit.figures import clock_time, decimal
from qclip_ffmpeg.emit.lavfi import printed_time
from qclip_ffmpeg.emit.registry import FORMATS, format_named, format_of_file
from qclip_ffmpeg.emit.sidecar import from_json, to_json
from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.track import QualityTrack, pool

HOSTILE = "a=b;c#d\\e\"f{g}\n-->\n\n&<i>'%1\t最终 🎬.mp4"


def emptied(track: QualityTrack) -> QualityTrack:
    """The track of an input that could not be measured."""
    source = msgspec.structs.replace(track.source, video=None, start_s=None)
    return msgspec.structs.replace(
        track, segments=[], pooled=pool([]), source=source, complete=False, warnings=["gone"]
    )


def hostile(track: QualityTrack) -> QualityTrack:
    """The track with every name the user chooses as bad as it can be, and a number that is none."""
    segment = msgspec.structs.replace(track.segments[0], score_stderr=math.nan, sampling_stderr=math.inf)
    return msgspec.structs.replace(
        track,
        source=msgspec.structs.replace(track.source, name=HOSTILE),
        model=msgspec.structs.replace(track.model, id=HOSTILE),
        segments=[segment],
    )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("change", [lambda track: track, emptied, hostile], ids=["whole", "empty", "hostile"])
def test_the_same_track_gives_the_same_bytes(name: str, change: Callable[[QualityTrack], QualityTrack]) -> None:
    track = change(tiny_track())
    written = FORMATS[name].one(track)
    assert written == FORMATS[name].one(from_json(to_json(track), "again"))
    assert not re.search(rb"\b(nan|inf)\b", written)
    if several := FORMATS[name].several:
        assert several([track, track]) == several([track, track])


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (-0.0, "0"), (1e-07, "0"), (1e-06, "0.000001"), (100.0, "100"), (-0.5, "-0.5"), (1e7, "10000000")],
)
def test_numbers_have_no_exponent_and_no_zeros_at_the_end(value: float, text: str) -> None:
    assert decimal(value) == text


@pytest.mark.parametrize(
    ("seconds", "decimals", "text"),
    [(0, 3, "00:00:00.000"), (3599.9996, 3, "01:00:00.000"), (90.5, 2, "00:01:30.50"), (-1, 3, "00:00:00.000")],
)
def test_clock_times_carry_over(seconds: float, decimals: int, text: str) -> None:
    assert clock_time(seconds, decimals) == text


def test_ndjson_says_all_the_sidecar_says() -> None:
    track = msgspec.structs.replace(tiny_track(), timing={"spent_s": 1.0})
    head, *segments, summary = map(json.loads, ndjson.to_ndjson(track).splitlines())
    assert [head.pop("type"), summary.pop("type")] == ["header", "summary"]
    assert {segment.pop("type") for segment in segments} == {"segment"}
    assert json.dumps(head | summary | {"segments": segments}, sort_keys=True) == json.dumps(
        json.loads(to_json(track)), sort_keys=True
    )


def test_ndjson_can_be_written_while_it_is_measured() -> None:
    """The header needs no segment, and nothing that is written changes when more is known."""
    track = tiny_track(3)
    begun = msgspec.structs.replace(track, segments=[], pooled=pool([]), complete=False)
    written = b"".join([ndjson.header(begun), *map(ndjson.segment, track.segments), ndjson.end(track)])
    assert written == ndjson.to_ndjson(track)


def test_csv_is_one_table_of_all_inputs() -> None:
    several = FORMATS["csv"].several
    assert several
    rows = list(csv.DictReader(io.StringIO(several([tiny_track(2), hostile(tiny_track())]).decode(), newline="")))
    assert [row["source"] for row in rows] == ["clip.mp4", "clip.mp4", HOSTILE]
    assert rows[1]["score"] == "12.5"
    assert rows[1]["flags"] == "few_frames low_motion"
    assert rows[0]["good"] == "0.385224"
    assert rows[2]["score_stderr"] == rows[2]["sampling_stderr"] == ""


def test_a_csv_table_reads_back() -> None:
    """Whatever is in a cell; what a row lacks is empty, and what no column asks for is a mistake."""
    written = csv_table(("a", "b"), [{"a": 0.1 + 0.2, "b": HOSTILE}, {"b": None}])
    header, *rows = csv.reader(io.StringIO(written.decode(), newline=""))
    assert header == ["a", "b"]
    assert rows == [["0.30000000000000004", HOSTILE], ["", ""]]
    assert float(rows[0][0]) == 0.1 + 0.2
    with pytest.raises(ValueError, match="'c'"):
        csv_table(("a",), [{"c": 1}])


def test_webvtt_cues_hold_the_segments_of_the_sidecar() -> None:
    track = hostile(tiny_track())
    blocks = FORMATS["webvtt"].one(track).decode().split("\n\n")
    assert blocks[0] == "WEBVTT"
    assert json.loads(blocks[2].splitlines()[2]) == json.loads(to_json(track))["segments"][0]
    late = msgspec.structs.replace(track.segments[0], start_s=5.0001, end_s=5.0002)
    text = FORMATS["webvtt"].one(msgspec.structs.replace(track, segments=[late])).decode()
    assert "00:00:05.000 --> 00:00:05.001" in text, "a cue has a length"


def test_prometheus_lines_follow_the_grammar() -> None:
    several = FORMATS["prometheus"].several
    assert several
    text = several([tiny_track(), hostile(tiny_track()), emptied(tiny_track(name="gone"))]).decode()
    sample = re.compile(r'[a-z_]+\{(?:[a-z_]+="(?:[^"\\\n]|\\[\\n"])*",?)+\} -?[0-9.]+')
    kinds = []
    for line in text.removesuffix("\n").split("\n"):
        assert sample.fullmatch(line) or re.fullmatch(r"# (HELP|TYPE) [a-z_]+ .+", line), line
        if line.startswith("# TYPE"):
            kinds.append(line.split()[2])
    assert len(kinds) == len(set(kinds)), "a metric is described once"
    assert len(set(re.findall(r"^.*\} ", text, re.M))) == text.count("} "), "a series has one value"
    assert 'qclip_complete{source="gone",model="tiny"} 0' in text
    assert 'qclip_score{source="gone"' not in text


def test_ffmetadata_escapes() -> None:
    assert escaped("a=b;c#d\\e\nf") == "a\\=b\\;c\\#d\\\\e\\\nf"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0"), (1 / 30, "0.0333333"), (0.4, "0.4"), (63.5, "63.5"), (-0.02, "-0.02")]
)
def test_times_are_printed_as_ffmpeg_prints_them(seconds: float, text: str) -> None:
    """av_ts_make_time_string2 of FFmpeg 7 and newer."""
    assert printed_time(Fraction(seconds)) == text


def test_a_segment_without_a_time_stamp_says_so_in_lavfi() -> None:
    unstamped = msgspec.structs.replace(tiny_segment(0), start_pts=None)
    text = FORMATS["lavfi"].one(msgspec.structs.replace(tiny_track(), segments=[unstamped])).decode()
    assert text.startswith("frame:0    pts:NOPTS   pts_time:NOPTS\nlavfi.qclip.score=67.876\n")


def test_what_describes_one_video_says_so() -> None:
    assert {name for name, form in FORMATS.items() if form.several} == {"json", "ndjson", "csv", "events", "prometheus"}


def test_a_file_name_says_its_format() -> None:
    for form in FORMATS.values():
        assert format_named(form.name) is form
        for suffix in form.suffixes:
            assert format_of_file(Path("a.b" + suffix.upper())) is form
    for name in ("x.txt", "x", "-", "json", ".json.bak"):
        with pytest.raises(UsageError, match="add -of"):
            format_of_file(Path(name))
    with pytest.raises(UsageError, match="-of xml: no such output format; choose one of json, ndjson"):
        format_named("xml")
