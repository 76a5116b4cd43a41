"""Label files: what every kind of file becomes, and every way one can be wrong, with its line."""

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import msgspec
import pytest

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.train.labels import Clip, LabelSource, natural_key, pictures_in, read_label_file

Read = Callable[..., list[Clip]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """read(text or bytes, **label source) -> clips. The folder has a.mp4 .. f.mp4, videos that nothing opens here."""
    for name in "abcdef":
        (tmp_path / f"{name}.mp4").write_bytes(b"video")

    def read_it(text: str | bytes, **source: Any) -> list[Clip]:
        path = tmp_path / "labels.csv"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return read_label_file(LabelSource(**{"labels": "labels.csv", "score_range": (1.0, 5.0), **source}), tmp_path)

    return read_it


def problems(read: Read, text: str | bytes, **source: Any) -> list[str]:
    """Lines of the error, without the path of the label file."""
    with pytest.raises(UsageError) as error:
        read(text, **source)
    return [line.partition("labels.csv:")[2] or line for line in str(error.value).splitlines()]


def test_csv_with_a_header(read: Read, tmp_path: Path) -> None:
    first, second = read("file,score,content\na.mp4,1,street\nb.mp4,4.0,street\n")
    assert first == Clip(
        path=tmp_path / "a.mp4",
        name="a.mp4",
        score=0.0,
        content="street",
        frame_rate=None,
        display_height_px=None,
        line=2,
    )
    assert (second.score, second.content, second.line) == (75.0, "street", 3)


@pytest.mark.parametrize(
    "text",
    [
        b"\xef\xbb\xbffile,score\r\na.mp4,2\r\nb.mp4,3\r\n",
        b'\xef\xbb\xbf"file","score"\na.mp4,2\nb.mp4,3',
        "score,note,file\n2,,a.mp4\n3,loud,b.mp4\n",
        " file , score \n a.mp4 , 2 \n b.mp4 , 3 \n",
        ",file,score\n0,a.mp4,2\n1,b.mp4,3\n",
        "\nfile,score\n\na.mp4,2\n,\nb.mp4,3\n\n",
        "file,score\ra.mp4,2\rb.mp4,3\r",
        "a.mp4, 8.0, 25.0, 2\nb.mp4,-1,-1,3\n",
    ],
    ids=["bom-crlf", "bom-quoted", "other-order", "spaces", "index-column", "blank-lines", "cr", "four-columns"],
)
def test_ways_to_write_the_same(read: Read, text: str | bytes) -> None:
    assert [(clip.name, clip.score, clip.content) for clip in read(text)] == [
        ("a.mp4", 25.0, "a.mp4"),
        ("b.mp4", 50.0, "b.mp4"),
    ]


def test_a_quoted_name_may_have_commas_and_quotes(read: Read, tmp_path: Path) -> None:
    (tmp_path / 'Paris, "je t\'aime".mp4').write_bytes(b"video")
    assert read('file,score\n"Paris, ""je t\'aime"".mp4",2\na.mp4,3\n')[0].name == 'Paris, "je t\'aime".mp4'


def test_columns_of_the_ladders(read: Read) -> None:
    text = "file,content,kind,codec,crf,height_px,display_height_px,vmaf\n"
    text += "a.mp4,river,pan,libx264,30,360,720,81.5\nb.mp4,river,pan,libx264,40,360,,60\n"
    clips = read(text, score_column="vmaf", score_range=(0.0, 100.0))
    assert [(c.score, c.content, c.display_height_px) for c in clips] == [(81.5, "river", 720), (60.0, "river", None)]
    assert (
        read(text, score_column="vmaf", score_range=(0, 100), display_height_column=None)[0].display_height_px is None
    )
    assert read(text, score_column="vmaf", score_range=(0, 100), content_column="")[0].content == "a.mp4"


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ("25.0", Fraction(25)),
        ("29.97", Fraction(2997, 100)),
        ("29.97002997002997", Fraction(30000, 1001)),
        ("-1", None),
    ],
)
def test_four_columns_carry_the_frame_rate(read: Read, said: str, rate: Fraction | None) -> None:
    assert read(f"a.mp4, 8.0, {said}, 2\nb.mp4, 8.0, 25, 3\n")[0].frame_rate == rate


def test_dmos_is_turned_round(read: Read) -> None:
    clips = read("file,score\na.mp4,20\nb.mp4,100\n", score_range=(0.0, 100.0), higher_is_better=False)
    assert [clip.score for clip in clips] == [80.0, 0.0]


@pytest.mark.parametrize(
    ("pattern", "content"), [(r"^[a-z]+(?=_)", "river"), (r"_(\d+)_", "12"), (r"r_|(river)", "river")]
)
def test_contents_from_the_file_name(read: Read, tmp_path: Path, pattern: str, content: str) -> None:
    (tmp_path / "river_12_q4.mp4").write_bytes(b"video")
    (tmp_path / "river_12_q5.mp4").write_bytes(b"video")
    clips = read("file,score,content\nriver_12_q4.mp4,2,x\nriver_12_q5.mp4,3,x\n", content_pattern=pattern)
    assert {clip.content for clip in clips} == {content}


def test_a_folder_of_frames_and_another_root(read: Read, tmp_path: Path) -> None:
    (tmp_path / "videos" / "clip1").mkdir(parents=True)
    (tmp_path / "videos" / "clip1" / "1.PNG").write_bytes(b"picture")
    absolute = tmp_path / "a.mp4"
    clips = read(f"clip1, 8, 30, 2\n{absolute}, 8, 30, 3\n", root="videos")
    assert [(clip.path, clip.frame_rate) for clip in clips] == [(tmp_path / "videos" / "clip1", 30), (absolute, 30)]


def test_the_root_is_the_label_files_folder_by_default(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "a.mp4").write_bytes(b"video")
    (tmp_path / "set" / "b.mp4").write_bytes(b"video")
    (tmp_path / "set" / "labels.txt").write_text("a.mp4,1,25,2\nb.mp4,1,25,3\n")
    assert len(read_label_file(LabelSource(labels="set/labels.txt", score_range=(1, 5)), tmp_path)) == 2


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("a.mp4,x", "3: the score 'x' is not a number"),
        ("a.mp4,", "3: the score '' is not a number"),
        ("a.mp4,nan", "3: the score 'nan' is not a number"),
        ("a.mp4,-inf", "3: the score '-inf' is not a number"),
        ('a.mp4,"3,5"', "3: the score '3,5' is not a number"),
        ("a.mp4,0.5", "3: the score 0.5 is outside score_range [1, 5]"),
        ("a.mp4,5.01", "3: the score 5.01 is outside score_range [1, 5]"),
        ("f.mp4,3", "3: f.mp4 is already on line 2; one of them has to go"),
        ("./f.mp4,3", "3: ./f.mp4 is already on line 2; one of them has to go"),
        ("a.mp4", "3: has 1 column, the header has 2"),
        ("a.mp4,3,5", "3: has 3 columns, the header has 2; put a name that has a comma in quotes"),
        (",3", "3: names no file"),
        ('a.mp4,3\n"b.mp4,3', "4: is not CSV (unexpected end of data); check the quotes"),
    ],
)
def test_a_line_that_is_wrong(read: Read, lines: str, said: str) -> None:
    assert problems(read, f"file,score\nf.mp4,2\n{lines}\n") == [said]


@pytest.mark.parametrize(
    ("line", "source", "said"),
    [
        ("a.mp4,3,,720", {}, "3: the content (column 'content') is empty"),
        ("a.mp4,3,x,0", {}, "3: the display height '0' is not a number of lines"),
        ("a.mp4,3,x,720p", {}, "3: the display height '720p' is not a number of lines"),
        ("a.mp4,3,x,", {"content_pattern": "f(.*)"}, "3: content_pattern 'f(.*)' finds nothing in 'a.mp4'"),
        ("a.mp4,3,x,", {"content_pattern": "f|a(x)?"}, "3: content_pattern 'f|a(x)?' finds nothing in 'a.mp4'"),
    ],
)
def test_a_field_that_is_wrong(read: Read, line: str, source: dict[str, str], said: str) -> None:
    assert said in problems(read, f"file,score,content,display_height_px\nf.mp4,2,x,\n{line}\n", **source)


def test_four_columns_that_are_wrong(read: Read) -> None:
    assert problems(read, "a.mp4,8,25,x\nb.mp4,8,25\nc.mp4,8,fast,3\nd.mp4,8,25,3,1\n") == [
        "1: the score 'x' is not a number",
        "2: has 3 columns, give 4: file, duration_s, fps, score",
        "3: the frame rate 'fast' is not a number; -1 stands for unknown",
        "4: has 5 columns, give 4: file, duration_s, fps, score; put a name that has a comma in quotes",
    ]


def test_a_video_that_is_not_there(read: Read, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "._1.png").touch()
    (tmp_path / "empty.mp4").touch()
    long = "x" * 5000
    assert problems(read, f"file,score\n../gone.mp4,2\nempty,3\nempty.mp4,4\n{long},4\n/gone.mp4,4\n") == [
        f"2: no video {tmp_path.parent / 'gone.mp4'}; check the name and `root`",
        f"3: no pictures (.bmp, .jpeg, .jpg, .png, .webp) in the folder {tmp_path / 'empty'}",
        f"4: {tmp_path / 'empty.mp4'} is an empty file; get it again",
        f"5: no video {tmp_path / long}; check the name and `root`",
        "6: no video /gone.mp4; check the name and `root`",
    ]


def test_everything_wrong_with_a_line_is_said_and_at_most_ten_problems(read: Read) -> None:
    assert len(problems(read, "file,score\ngone.mp4,9\na.mp4,2\n")) == 2
    said = problems(read, "file,score\n" + "".join(f"gone{i}.mp4,3\n" for i in range(12)))
    assert len(said) == 11
    assert said[9].startswith("11: no video")
    assert said[10] == "and 2 more"
    assert len(problems(read, "file,score\n" + "".join(f"gone{i}.mp4,3\n" for i in range(10)))) == 10


@pytest.mark.parametrize(
    ("text", "source", "said"),
    [
        ("", {}, "is empty; give a line for each video"),
        ("\n  \n", {}, "is empty; give a line for each video"),
        ("file,score\n", {}, "has a header and no label under it"),
        ("file,score\na.mp4,3.0\nb.mp4,3.0\n", {}, "all 2 labels are 3.0: nothing can be learned or ranked"),
        ("name,mos\na.mp4,3\n", {}, "has no column 'file', 'score'; its columns are 'name', 'mos'"),
        ("file;score\na.mp4;3\n", {}, "has no column 'file', 'score'; its columns are 'file;score'"),
        ("file,score\na.mp4,3\n", {"content_column": "scene"}, "has no column 'scene'; its columns are"),
        ("file,score\na.mp4,3\n", {"display_height_column": "lines"}, "has no column 'lines'; its columns are"),
        ("a.mp4,8,25,3\n", {"score_column": "mos"}, "has no column 'mos'; it has no header, so its columns are taken"),
        ("a.mp4,8,25,3\n", {"content_column": "scene"}, "has no column 'scene'; it has no header"),
        ("file,score,score\na.mp4,3,4\n", {}, "has more than one column 'score'"),
        ("file,score,content,content\na.mp4,3,x,y\n", {}, "has more than one column 'content'"),
        ("file,score\n", {"content_pattern": "("}, "content_pattern '(': is not a regular expression"),
        ("file,score\n", {"score_range": (5, 1)}, "score_range [5, 1]: give the lowest and the highest"),
        ("file,score\n", {"score_range": (0, float("inf"))}, "score_range [0, inf]: give"),
        ("file,score\n", {"root": "gone"}, "gone: no such folder of videos; check `root`"),
        ("file,score\n", {"labels": "gone.csv"}, "gone.csv: cannot be read (No such file or directory)"),
        ("file,score\nä.mp4,3\n".encode("latin-1"), {}, "is not UTF-8 text"),
    ],
)
def test_a_file_that_cannot_be_used(read: Read, text: str | bytes, source: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as error:
        read(text, **source)
    assert said in str(error.value)


def test_a_preset_with_a_mistyped_key_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError, match="colum"):
        msgspec.convert({"labels": "x", "score_range": [1, 5], "score_colum": "mos"}, LabelSource)
    assert msgspec.convert({"labels": "x", "score_range": [1, 5]}, LabelSource).score_range == (1.0, 5.0)


def test_pictures_are_in_natural_order(tmp_path: Path) -> None:
    for name in ("f10.png", "f2.JPG", "f1.webp", "notes.txt", ".f3.png", "10.png"):
        (tmp_path / name).touch()
    assert [p.name for p in pictures_in(tmp_path)] == ["10.png", "f1.webp", "f2.JPG", "f10.png"]
    assert natural_key("01.png") != natural_key("1.png")


def test_labels_need_nothing_heavy() -> None:
    """In a fresh interpreter: a label file is checked before torch is loaded."""
    listing = "import sys, qclip_ffmpeg.train.labels, qclip_ffmpeg.train.splits; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & {"torch", "av"}
