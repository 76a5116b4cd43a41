"""Sources become scenes, scenes encodes, encodes labels: with real encoders and the real VMAF, on small pictures."""

import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import pytest

from qclip_ffmpeg.errors import InputError, UsageError
from qclip_ffmpeg.reader import open_video
from qclip_ffmpeg.train import ladders
from qclip_ffmpeg.train.damage import FAULTS, Encode, draw_encodes, make_encode
from qclip_ffmpeg.train.labels import PICTURE_SUFFIXES
from qclip_ffmpeg.train.ladders import LABELS_FILE, find_sources, keep_recipe, make, read_labels, shard_of
from qclip_ffmpeg.train.recipe import Codec, LadderRecipe, RungHeight, SceneRecipe
from qclip_ffmpeg.train.scenes import (
    CAMERA_SHARE,
    Source,
    by_frame,
    cut,
    make_reference,
    panned,
    rng_for,
    scene_size_px,
    shaken,
)
from qclip_ffmpeg.train.teacher import Teacher, measure

replace = msgspec.structs.replace
Media = Callable[..., Path]
X264 = Codec("libx264", 1.0, "crf", (14, 44), ["ultrafast"])
STILL = SceneRecipe("still", "still", (320, 180), frames=1, encodes=2)
PAN = SceneRecipe("pan", "pan", (192, 108), frames=4, encodes=2)
VIDEO = SceneRecipe("video", "video", (160, 90), frames=5, encodes=2)
RECIPE = LadderRecipe(
    seed=3,
    scenes=[STILL, PAN, VIDEO],
    codecs=[X264],
    rungs=[RungHeight(1.0, 0.5), RungHeight(0.5, 0.5)],
)


@pytest.fixture(scope="module")
def sources(media: Media, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph, a clip and a folder of frames."""
    folder = tmp_path_factory.mktemp("sources")
    still = media("a mandelbrot.png", 0.04, (400, 225), source="mandelbrot")
    (folder / still.name).symlink_to(still)
    clip = media("b clip.mkv", 0.4, c="libx264", qp=0)
    (folder / clip.name).symlink_to(clip)
    frames = folder / "c frames"
    frames.mkdir()
    for number in range(1, 6):
        frame = media(f"frame{number}.png", 0.04, source="testsrc2", filters=f"crop=300:170:{number}:0")
        (frames / f"{number:03}.png").symlink_to(frame)
    return folder


@pytest.fixture(scope="module")
def reference(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[int, int]]:
    """A pan over the photograph, eight frames."""
    path = tmp_path_factory.mktemp("reference") / "pan.mkv"
    source, scene = find_sources(sources)[0], replace(PAN, display=(320, 180), frames=8)
    make_reference(source, scene, (320, 180), path, seed=1)
    return path, (320, 180)


def test_what_a_folder_holds(sources: Path) -> None:
    found = find_sources(sources)
    assert [(s.content, s.is_picture) for s in found] == [
        ("a mandelbrot", True),
        ("b clip", False),
        ("c frames", False),
    ]


def test_every_kind_of_picture_is_a_photograph(tmp_path: Path) -> None:
    """A bitmap too; the same kinds as of a frame in a folder of frames."""
    for suffix in PICTURE_SUFFIXES:
        (tmp_path / f"of kind {suffix[1:]}{suffix.upper()}").write_bytes(b"")
    found = find_sources(tmp_path)
    assert len(found) == 5
    assert all(source.is_picture for source in found)


def test_folders_that_are_no_sources(tmp_path: Path, media: Media) -> None:
    with pytest.raises(UsageError, match="is no folder"):
        find_sources(tmp_path / "none")
    with pytest.raises(UsageError, match="holds no sources"):
        find_sources(tmp_path)
    for suffix in (".png", ".webp"):
        (tmp_path / f"twice{suffix}").write_bytes(b"")
    with pytest.raises(UsageError, match="twice is the name of two sources"):
        find_sources(tmp_path)
    (tmp_path / "twice.png").unlink()
    with pytest.raises(InputError):
        make(RECIPE, find_sources(tmp_path), tmp_path, (1, 1))


@pytest.mark.parametrize(
    ("scene", "size_px"),
    [
        (STILL, (320, 180)),
        (replace(STILL, display=(400, 300)), (400, 224)),  # fits by its width
        (replace(STILL, display=(402, 400)), None),  # 400 px wide: it would have to be enlarged
        (replace(STILL, oversize=1.25), (320, 180)),
        (replace(STILL, oversize=1.26), None),
        (replace(PAN, display=(320, 180)), (320, 180)),  # 320 / 0.8 is all there is
        (replace(PAN, display=(322, 180)), (320, 180)),
        (replace(PAN, display=(324, 182)), None),
    ],
)
def test_a_source_is_never_enlarged(scene: SceneRecipe, size_px: tuple[int, int] | None, sources: Path) -> None:
    assert scene_size_px(find_sources(sources)[0], scene) == size_px


@pytest.mark.parametrize("path", [panned, shaken, cut])
@pytest.mark.parametrize("room_px", [(0, 0), (1, 0), (80, 45), (480, 270)])
def test_the_camera_stays_on_the_picture(path: Callable[..., list[tuple[int, int]]], room_px: tuple[int, int]) -> None:
    for seed in range(20):
        places = path(room_px, 18, np.random.default_rng(seed))
        assert len(places) == 18
        assert all(0 <= x <= room_px[0] and 0 <= y <= room_px[1] for x, y in places)
    if min(room_px) > 1:
        assert len(set(places)) > 1


def test_a_pan_shows_what_its_places_say(reference: tuple[Path, tuple[int, int]], sources: Path) -> None:
    """The expression that ffmpeg evaluates a frame is the path."""
    with open_video(str(reference[0])) as video:
        shown = [frame.rgb().astype(float) for frame in video]
    with open_video(str(find_sources(sources)[0].path)) as video:
        whole = next(iter(video)).rgb().astype(float)
    room_px = (round(320 / CAMERA_SHARE) - 320, round(180 / CAMERA_SHARE) - 180)
    for picture, (x, y) in zip(shown, panned(room_px, 8, rng_for(1, "a mandelbrot", "pan")), strict=True):
        far = (x + 40) % 80
        here, there = (np.abs(picture - whole[:, y : y + 180, left : left + 320]).mean() for left in (x, far))
        assert here < there / 3


def test_an_expression_a_frame() -> None:
    def value(expression: str, n: int) -> float:
        spelled = expression.replace("if(", "choose(").replace("lt(", "less(")
        scope = {"choose": lambda c, a, b: a if c else b, "less": lambda a, b: a < b, "n": n}
        return float(eval(spelled, {}, scope))

    values = (3, 1, 4, 1, 5, 9, 2)
    assert [value(by_frame(values), n) for n in range(7)] == list(values)
    assert by_frame((7, 7, 7)) == "7"


def test_encodes_are_drawn_from_the_recipe() -> None:
    recipe = replace(
        RECIPE,
        codecs=[X264, Codec("libx264", 0.5, "bits_per_px", (0.01, 0.2)), Codec("mpeg4", 0.1, "q", (2, 31))],
        faults={"double": 0.3, "interlaced": 0.2},
        half_frame_rate_chance=0.5,
    )
    scene = replace(PAN, encodes=400)
    drawn = draw_encodes(scene, recipe, np.random.default_rng(0))
    assert drawn == draw_encodes(scene, recipe, np.random.default_rng(0))
    share = {name: sum(e.fault == name for e in drawn) / 400 for name in ("double", "interlaced", "none")}
    assert share == pytest.approx({"double": 0.3, "interlaced": 0.2, "none": 0.5}, abs=0.07)
    assert {e.frame_rate_share for e in drawn} == {1.0, 0.5}
    assert all(e.frame_rate_share == 1 for e in drawn if e.fault == "interlaced")
    for encode in drawn:
        assert encode.codec.range[0] <= encode.rate <= encode.codec.range[1]
    still = draw_encodes(replace(scene, frames=1), recipe, np.random.default_rng(0))
    assert {e.codec.rate_control for e in still} == {"crf", "q"}
    assert not any(e.fault == "interlaced" or e.frame_rate_share < 1 for e in still)


def test_steps_of_a_codec() -> None:
    scene = replace(PAN, encodes=0, crf_steps=4)
    drawn = draw_encodes(scene, RECIPE, np.random.default_rng(0))
    assert [(e.codec.name, e.rate, e.height_share, e.fault) for e in drawn] == [
        ("libx264", crf, 1.0, "none") for crf in (14, 24, 34, 44)
    ]


@pytest.mark.parametrize("fault", [*FAULTS, "double"])
def test_each_fault_costs_something(fault: str, reference: tuple[Path, tuple[int, int]], tmp_path: Path) -> None:
    path, size_px = reference
    labels = {}
    for done in ("none", fault):
        encode = Encode(X264, 14, "ultrafast", 1.0, 1.0, done)  # type: ignore[arg-type]
        make_encode(path, size_px, encode, tmp_path / f"{done}.mkv", np.random.default_rng(2))
        found = measure(tmp_path / f"{done}.mkv", path, size_px, 2 if done == "interlaced" else 1)
        labels[done] = found.label(done)  # type: ignore[arg-type]
    assert 0 <= labels[fault] < labels["none"] - 1
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["none.mkv", f"{fault}.mkv"])


@pytest.mark.parametrize(
    "codec",
    [
        Codec("libx265", 1.0, "crf", (30, 30), ["ultrafast"]),
        Codec("libsvtav1", 1.0, "crf", (40, 40), ["10"]),
        Codec("libvpx-vp9", 1.0, "crf", (40, 40), ["8"], {"deadline": "realtime"}),
        Codec("libx264", 1.0, "bits_per_px", (0.2, 0.2), ["ultrafast"]),
        Codec("mpeg2video", 1.0, "q", (8, 8)),
        Codec("mpeg4", 1.0, "q", (8, 8)),
    ],
    ids=lambda codec: f"{codec.name}-{codec.rate_control}",
)
def test_every_codec(codec: Codec, reference: tuple[Path, tuple[int, int]], tmp_path: Path) -> None:
    path, size_px = reference
    encode = Encode(codec, codec.range[0], codec.speeds[0] if codec.speeds else None, 0.5, 0.5, "none")
    for name in ("one.mkv", "two.mkv"):
        make_encode(path, size_px, encode, tmp_path / name, np.random.default_rng(0))
    with open_video(str(tmp_path / "one.mkv")) as video:
        assert (video.info.width_px, video.info.height_px) == (160, 90)
        assert len(list(video)) == 4
    one, two = (measure(tmp_path / name, path, size_px, frame_step=2) for name in ("one.mkv", "two.mkv"))
    assert one == two
    assert 0 < one.vmaf < 100


def test_labels_where_vmaf_is_blind() -> None:
    found = Teacher(vmaf=90, vmaf_neg=70, cambi=6, chroma_psnr_db=30)
    assert found.label("none") == found.label("double") == found.label("noise") == 90
    assert found.label("sharpened") == 70
    assert found.label("banded") == 90 - 25
    assert found.label("coarse_chroma") == 90 - 30
    assert found.label("wrong_range") == 50
    assert Teacher(5, 5, 24, 10).label("banded") == 0
    assert Teacher(95, 99, 0, 50).label("sharpened") == 95


def test_a_folder_of_labelled_encodes(sources: Path, tmp_path: Path) -> None:
    found = find_sources(sources)
    make(RECIPE, found, tmp_path / "whole", (1, 1))
    rows = read_labels(tmp_path / "whole" / LABELS_FILE)
    assert [(r.content, r.scene) for r in rows] == [
        *[("a mandelbrot", "still")] * 2,
        *[("a mandelbrot", "pan")] * 2,
        *[("b clip", "video")] * 2,
        *[("c frames", "video")] * 2,
    ]
    assert {r.display_height_px for r in rows if r.scene == "pan"} == {108}
    for row in rows:
        assert 0 <= row.label == row.vmaf <= 100
        with open_video(str(tmp_path / "whole" / row.file)) as video:
            assert video.info.height_px == row.height_px

    make(RECIPE, found, tmp_path / "parts", (2, 2))
    assert not (tmp_path / "parts" / LABELS_FILE).exists()
    killed = tmp_path / "parts" / "rows" / "b clip.csv"  # as if it had been killed in the middle of this one
    killed.unlink()
    make(RECIPE, found, tmp_path / "parts", (1, 2))
    assert not (tmp_path / "parts" / LABELS_FILE).exists()
    make(RECIPE, found, tmp_path / "parts", (2, 2))
    for name in [LABELS_FILE, *(row.file for row in rows if row.scene == "still")]:
        assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name


def test_one_folder_one_recipe(tmp_path: Path) -> None:
    keep_recipe(tmp_path, RECIPE)
    keep_recipe(tmp_path, RECIPE)
    with pytest.raises(UsageError, match="holds encodes of another recipe"):
        keep_recipe(tmp_path, replace(RECIPE, seed=4))


def test_a_label_file_of_somebody_else(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_labels(tmp_path / "none.csv")
    (tmp_path / "other.csv").write_text("file,score\na.mp4,3\n")
    with pytest.raises(UsageError, match="is no label file of"):
        read_labels(tmp_path / "other.csv")


def test_the_command(
    sources: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = tmp_path / "preset.toml"
    preset.write_text(
        "[ladder]\nseed = 1\n"
        '[[ladder.scenes]]\nname = "s"\nkind = "still"\ndisplay = [160, 90]\nframes = 1\nencodes = 1\n'
        '[[ladder.codecs]]\nname = "libx264"\nchance = 1.0\nrate_control = "crf"\nrange = [30, 30]\n'
        "[[ladder.rungs]]\nheight_share = 1.0\nchance = 1.0\n"
    )
    monkeypatch.setattr(sys, "argv", ["ladders", str(preset), str(sources), str(tmp_path / "out")])
    ladders.main()
    assert "1 of 3: a mandelbrot" in capsys.readouterr().err
    assert [row.content for row in read_labels(tmp_path / "out" / LABELS_FILE)] == ["a mandelbrot"]
    monkeypatch.setattr(sys, "argv", ["ladders", str(preset), str(tmp_path / "none"), str(tmp_path / "out")])
    with pytest.raises(SystemExit, match=r"error: .*is no folder"):
        ladders.main()


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_shards_that_are_none(text: str) -> None:
    with pytest.raises(Exception, match="say K/N"):
        shard_of(text)


def test_sources_that_turn(media: Media, encode: Callable[..., Path]) -> None:
    """A portrait clip is measured upright."""
    lying = media("lying.mp4", 0.2, (320, 180), c="libx264")
    turned = encode(lying, "turned.mp4", input_options={"display_rotation": 90}, c="copy")
    assert scene_size_px(Source(turned, False), replace(VIDEO, display=(1000, 160))) == (90, 160)
