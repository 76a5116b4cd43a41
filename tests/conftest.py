"""Fixtures: media made on the spot from lavfi recipes, so that a clone tests offline."""

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import ffmpeg
import pytest

from qclip_ffmpeg.ffmpeg import bundled_executable, run

REPOSITORY = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """media("name.ext", duration, size, rate, source=..., filters=..., **output_options) -> Path, made once a name.

    duration: seconds. size: (width, height). rate: Hz. source: a lavfi source that takes size and rate ("testsrc2",
    "color=red", ...). filters: an ffmpeg filter chain put after it. output_options: as ffmpeg-python's `output` takes
    them (c="libx264", pix_fmt="yuv420p", **{"x264-params": "..."}).
    The name is the cache key: the same name with another recipe is an error.
    """
    folder = tmp_path_factory.mktemp("media")
    made: dict[str, tuple[Any, ...]] = {}

    def make(
        name: str,
        duration: float | Fraction = 1,
        size: tuple[int, int] = (320, 180),
        rate: float | Fraction | str = 25,
        *,
        source: str = "testsrc2",
        filters: str | None = None,
        **output_options: Any,
    ) -> Path:
        path = folder / name
        recipe = (duration, size, rate, source, filters, output_options)
        if name in made:
            assert made[name] == recipe, f"{name} was already made from another recipe"
            return path
        options = {"t": float(duration), **({"vf": filters} if filters else {}), **output_options}
        separator = ":" if "=" in source else "="
        lavfi = f"{source}{separator}size={size[0]}x{size[1]}:rate={rate}"
        run(ffmpeg.input(lavfi, f="lavfi").output(str(path), **options), program=bundled_executable())
        made[name] = recipe
        return path

    return make


@pytest.fixture(scope="session")
def encode(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """encode(source, "name.ext", input_options={...}, **output_options) -> Path: a file through ffmpeg once more."""
    folder = tmp_path_factory.mktemp("encodes")

    def make(source: Path, name: str, *, input_options: dict[str, Any] | None = None, **output_options: Any) -> Path:
        path = folder / name
        if not path.exists():
            node = ffmpeg.input(str(source), **(input_options or {}))
            run(node.output(str(path), **output_options), program=bundled_executable())
        return path

    return make


@pytest.fixture(scope="session")
def example_clip() -> Path:
    """The clip that the README uses: Big Buck Bunny, 720p."""
    return REPOSITORY / "examples" / "media" / "bbb-720p.mp4"
