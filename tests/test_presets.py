"""TOML settings: what is wrong in them is named with its line."""

from pathlib import Path

import msgspec
import pytest

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.presets import line_of, place_of, places, read_toml

TEXT = '''# a comment
a = 1  # [no.table]
[x.y]
k = """
[not.a.table]
"""
z = [1,
  2, { q = 1 },
]

[[entries]]
b = 1
[[entries]]
[entries.inner]
"two words" = { m = 3 }
d.e = 3
'''
WHERE = {
    ("a",): 2,
    ("x", "y"): 3,
    ("x", "y", "k"): 4,
    ("x", "y", "z"): 7,
    ("x", "y", "z", 2, "q"): 7,
    ("entries", 0, "b"): 12,
    ("entries", 1): 13,
    ("entries", 1, "inner"): 14,
    ("entries", 1, "inner", "two words", "m"): 15,
    ("entries", 1, "inner", "d", "e"): 16,
    ("entries", 1, "inner", "gone"): 14,
    ("gone",): 1,
}


class Inner(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    depth: int = 0


class Settings(msgspec.Struct, forbid_unknown_fields=True):
    """What the tests below read."""

    name: str = ""
    inner: Inner = Inner()
    several: list[Inner] = []


@pytest.mark.parametrize("place", WHERE)
def test_every_key_is_found_on_its_line(place: tuple[str | int, ...]) -> None:
    assert line_of(TEXT, place) == WHERE[place]


def test_the_place_of_an_error() -> None:
    assert place_of("Expected `int`, got `str` - at `$.a[2].b`") == ("a", 2, "b")
    assert place_of("Object contains unknown field `x` - at `$.a`") == ("a", "x")
    assert place_of("Object contains unknown field `x`") == ("x",)
    assert place_of("Expected `float`, got `str` - at `$.rules[...].min`") == ("rules",)
    assert place_of("Expected `object`, got `int`") == ()


BAD = {
    "unknown key": ("name = 'a'\n\nnmae = 'b'\n", 3, "unknown field `nmae`"),
    "unknown key in a table": ("[inner]\n# so deep\ndepht = 3\n", 3, "unknown field `depht`"),
    "wrong type": ("name = 'a'\n[inner]\ndepth = 'deep'\n", 3, "Expected `int`, got `str`"),
    "wrong type in an array": ("[[several]]\ndepth = 1\n[[several]]\ndepth = 1.5\n", 4, "Expected `int`"),
    "no TOML": ("name = 'a'\n[inner\ndepth = 1\n", 2, "is not TOML"),
    "no end": ("name = 'a'\n\n\nname2 = '''\n", 4, "is not TOML"),
    "twice": ("name = 'a'\nname = 'b'\n", 2, "is not TOML"),
    "no text": ("name = 'a'\nname = '\udcff'", 2, "no UTF-8"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_error_begins_with_file_and_line(case: str, tmp_path: Path) -> None:
    text, line, said = BAD[case]
    path = tmp_path / "settings.toml"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UsageError) as caught:
        read_toml(path, Settings)
    assert str(caught.value).startswith(f"{path}:{line}: ")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_toml(tmp_path / "gone.toml", Settings)
    (tmp_path / "deep.toml").write_text("name = " + "[" * 50_000)
    with pytest.raises(UsageError, match="nested too deep"):
        read_toml(tmp_path / "deep.toml", Settings)
    (tmp_path / "large.toml").write_text("name = 'a'\n" + "# a line that says nothing\n" * 100_000)
    with pytest.raises(UsageError, match="KiB"):
        read_toml(tmp_path / "large.toml", Settings)


def test_lines_after_an_endless_value_are_not_looked_for() -> None:
    """So that a stranger's file of a few bytes a line takes no minutes."""
    text = "name = 'a'\nmany = [\n" + "1,\n" * 5000 + "]\nlast = 1\n"
    assert [place for _, place in places(text)] == [("name",)]
    assert line_of(text, ("last",)) == 1
