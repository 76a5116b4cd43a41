"""Plots: PNGs of the size they say, with something in them, the same bytes twice, and no matplotlib no plot."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.train import plots
from qclip_ffmpeg.train.bootstrap import Figure
from qclip_ffmpeg.train.metrics import figures, fit_logistic
from qclip_ffmpeg.train.plots import BLUE, GREEN, ORANGE, SIZE_PX, VERMILION, curves_png, intervals_png, scatter_png

Draw = Callable[[Path], None]


def scatter(count: int, contents: int, line: bool = False) -> Draw:
    rng = np.random.default_rng(0)
    score = rng.uniform(0, 100, count)
    label = np.clip(score + rng.normal(0, 8, count), 0, 100)
    content = [f"scene {i % contents}" for i in range(count)]
    score = np.full(count, 5.0) if line else score
    found, fit = figures(score, label, content, resamples=50), fit_logistic(score, label)
    return lambda path: scatter_png(path, score, label, content, found, "held-out contents", fit)


def curves(epochs: int, best: int | None = None, **absent: bool) -> Draw:
    rows = [
        {
            "epoch": epoch,
            "loss": 0.3 / (1 + epoch),
            "plcc_loss": 0.2 / (1 + epoch),
            "rank_loss": None if epoch == 1 else 0.1,
            "learning_rate": 1e-3,
            "val_srocc": 0.9 - 0.5 / (1 + epoch),
            "val_plcc": float("nan") if epoch == 1 else 0.8,
            "best": epoch == best,
        }
        for epoch in range(epochs)
    ]
    kept = [{k: v for k, v in row.items() if not absent.get(k)} for row in rows]
    return lambda path: curves_png(path, kept)


def intervals(path: Path) -> None:
    rows = [
        ("a", "one", Figure(0.9, 0.8, 0.95)),
        ("a", "two", Figure(0.7, None, None)),
        ("b", "three", Figure(*[None] * 3)),
    ]
    intervals_png(path, rows, "SROCC")


DRAWINGS = {
    "many contents": scatter(300, 100),
    "few contents": scatter(60, 3),
    "one content": scatter(20, 1),
    "constant score": scatter(20, 5, line=True),
    "one clip": scatter(1, 1),
    "curves": curves(10, best=7),
    "long curves": curves(100, best=90),
    "one epoch": curves(1),
    "losses alone": curves(10, val_srocc=True, val_plcc=True),
    "intervals": intervals,
}


def pixels(path: Path) -> np.ndarray:
    """(H, W, 3), 0 to 255."""
    return (imread(path)[..., :3] * 255).round().astype(int)


def shows(picture: np.ndarray, colour: str) -> int:
    """Pixels of exactly that colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((picture == wanted).all(axis=2).sum())


@pytest.mark.parametrize("name", DRAWINGS)
def test_a_drawing_is_a_png_of_its_size_with_something_in_it(name: str, tmp_path: Path) -> None:
    path = tmp_path / "drawn.png"
    DRAWINGS[name](path)
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert [p.name for p in tmp_path.iterdir()] == ["drawn.png"]
    picture = pixels(path)
    assert picture.shape == (SIZE_PX[1], SIZE_PX[0], 3)
    inked = (picture < 250).any(axis=2).mean()
    assert 0.005 < inked < 0.5


@pytest.mark.parametrize("name", ["few contents", "curves"])
def test_the_same_drawing_is_the_same_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the time and the user's settings, which are left as they were."""
    import matplotlib

    DRAWINGS[name](tmp_path / "one.png")
    monkeypatch.setitem(matplotlib.rcParams, "axes.facecolor", "black")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    DRAWINGS[name](tmp_path / "two.png")
    assert matplotlib.rcParams["axes.facecolor"] == "black"
    one, two = ((tmp_path / n).read_bytes() for n in ("one.png", "two.png"))
    assert one == two
    assert b"atplotlib" not in one


def test_curves_have_their_colours(tmp_path: Path) -> None:
    curves(10, best=7)(tmp_path / "chosen.png")
    curves(10)(tmp_path / "not.png")
    chosen, without = pixels(tmp_path / "chosen.png"), pixels(tmp_path / "not.png")
    upper, lower = chosen[: SIZE_PX[1] // 2], chosen[SIZE_PX[1] // 2 :]
    for panel in (upper, lower):
        assert all(shows(panel, colour) > 100 for colour in (BLUE, ORANGE))
        assert shows(panel, VERMILION) > 20
    assert shows(without, VERMILION) == 0


def test_a_few_contents_are_told_apart(tmp_path: Path) -> None:
    scatter(60, 3)(tmp_path / "few.png")
    scatter(60, 60)(tmp_path / "many.png")

    def reddish(path: Path) -> int:
        picture = pixels(path)
        return int((picture[..., 0] - picture[..., 2] > 60).sum())

    assert reddish(tmp_path / "few.png") > 300  # ORANGE
    assert reddish(tmp_path / "many.png") == 0
    assert GREEN in dict(plots.CONTENT_STYLES)


@pytest.mark.parametrize("rows", [[], [{"loss": 1.0}]])
def test_curves_without_an_epoch_are_refused(rows: list[dict[str, float]], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"curves\.png: curves need one row an epoch"):
        curves_png(tmp_path / "curves.png", rows)


@pytest.mark.parametrize("name", ["few contents", "curves"])
def test_without_matplotlib_it_says_what_to_install(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UsageError, match=r"needs matplotlib; pip install 'qclip-ffmpeg\[plot\]'"):
        DRAWINGS[name](tmp_path / "drawn.png")
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be written"):
        curves(2)(tmp_path / "missing" / "curves.png")


def test_neither_pyplot_nor_a_display_is_needed(tmp_path: Path) -> None:
    """And matplotlib not before something is drawn; in a fresh interpreter."""
    code = f"""
import sys
from pathlib import Path
from qclip_ffmpeg.train.plots import curves_png
assert "matplotlib" not in sys.modules
curves_png(Path({str(tmp_path / "curves.png")!r}), [{{"epoch": 0, "loss": 1.0}}])
assert "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
