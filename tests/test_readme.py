"""What the README promises is there: its commands, its files, its snippet, and every key of the sidecar's page."""

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
SIDECAR = (ROOT / "docs" / "sidecar.md").read_text()
SCHEMA = json.loads((ROOT / "docs" / "qclip-track.schema.json").read_text())


def test_the_test_command_is_where_ci_looks_for_it() -> None:
    block = README.split("<!-- test command -->")[1].split("```")[1]
    assert "pip install '.[test]' && pytest" in block


def test_linked_files_exist() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README + SIDECAR)
    for target in (t for t in targets if "://" not in t):
        assert (ROOT / target).exists() or (ROOT / "docs" / target).exists(), target


def test_the_layout_names_every_module() -> None:
    table = README.split("## How it is built")[1].split("## Develop")[0]
    for path in (ROOT / "qclip_ffmpeg").glob("*.py"):
        assert path.name == "__init__.py" or f"`{path.name}`" in table, path.name


def test_the_python_snippets_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    printed = []
    for snippet in re.findall(r"```python\n(.*?)```", README, re.DOTALL):
        exec(compile(snippet, "README.md", "exec"), {})
        printed.append(capsys.readouterr().out)
    first, second = printed
    assert first.startswith("0.0 4.0 ")
    assert re.fullmatch(r"bbb-720p\.mp4 [\d.]+ \[.*\]\ngone\.mp4 gone\.mp4: no such file.*\n", second)


@pytest.mark.parametrize("name", sorted(SCHEMA["$defs"]))
def test_every_field_of_the_sidecar_is_on_its_page(name: str) -> None:
    fields: dict[str, Any] = SCHEMA["$defs"][name]["properties"]
    for field in fields:
        assert re.search(rf"[`.]{field}\b", SIDECAR), field


def test_the_wheel_carries_presets_and_weights() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert wheel["force-include"]["presets"] == "qclip_ffmpeg/presets"
    assert list((ROOT / "qclip_ffmpeg" / "weights").glob("*.safetensors"))
