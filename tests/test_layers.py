"""The shape of the package, read from its imports: one door a heavy dependency, no circles, nothing looks up."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import qclip_ffmpeg

PACKAGE = Path(qclip_ffmpeg.__file__).parent
NAME = PACKAGE.name
HEAVY = ("torch", "av", "open_clip", "torchvision", "scipy", "imageio_ffmpeg")

# Who may import what. A name that ends with a dot stands for all modules of that folder.
DOORS = {
    "torch": {
        "adapters",
        "backbone",
        "backbone_open_clip",
        "checkpoint",
        "description",
        "domain",
        "fusion",
        "heads",
        "model",
        "official",
        "scorer",
        "showing",
        "summary",
        "train.",
        "views",
    },
    "av": {"contents", "opening", "pictures", "reader", "streams"},
    "click": {"cli."},
    "jinja2": {"emit.html"},
    "rich": {"cli."},
    "ffmpeg": {"ffmpeg", "train."},
    "imageio_ffmpeg": {"ffmpeg"},
    "scipy": {"curves", "train."},
    "m3u8": {"manifests"},
    "defusedxml": {"manifests"},
    "open_clip": {"backbone_open_clip"},
    "timm": {"backbone_open_clip"},
    "matplotlib": {"drawing", "emit.ladder_plot", "emit.plot", "train.plots"},
    "onnx": {"weights.rebuild_tower"},
    "pandas": {"track"},
    "cv2": set(),
    "subprocess": {"ffmpeg"},
}
LIGHT = (
    *("active_picture", "errors", "frame", "calibration", "track", "inputs", "colour", "presets", "taps", "verdict"),
    *("temporal", "temporal.figure"),
    *("ahead", "bitrate", "ladder", "ladder_inputs", "manifests"),
    *("policy", "policy_figures", "gate", "gate.bitrates", "gate.checks", "gate.comparisons", "gate.inputs"),
    *("gate.noise", "gate.rules"),
    *("emit.gate_json", "emit.junit", "emit.github", "emit.gitlab", "emit.markdown", "emit.gate_html"),
)
DOCSTRING_FROM_LINES = 6


def module_name(path: Path) -> str:
    """ "cli.probe" of .../qclip_ffmpeg/cli/probe.py; "" of the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


SOURCES = {module_name(path): ast.parse(path.read_text(), str(path)) for path in sorted(PACKAGE.rglob("*.py"))}


def imports(tree: ast.AST) -> Iterator[tuple[ast.stmt, str]]:
    """(statement, full dotted name) of everything that is imported anywhere in a module, names included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            yield from ((node, f"{node.module}.{alias.name}") for alias in node.names)


def inside(full_name: str) -> str | None:
    """The module of this package that a dotted name belongs to, if any: the longest match."""
    parts = full_name.split(".")
    if parts[0] != NAME:
        return None
    for length in range(len(parts), 0, -1):
        if (name := ".".join(parts[1:length])) in SOURCES:
            return name
    return None


def at_import_time(tree: ast.Module) -> set[str]:
    """Modules of this package that a module needs before it can be used: not those of functions or type checking."""
    statements = {id(node) for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)}
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)):
            statements -= {id(inner) for inner in ast.walk(node)}
    found = {inside(name) for statement, name in imports(tree) if id(statement) in statements}
    return {name for name in found if name}


def needs(name: str) -> set[str]:
    """What a module imports, and the packages that Python loads before that; those that it lies in are loading."""
    imported = at_import_time(SOURCES[name]) - {name}
    before = {package for one in imported for package in packages_of(one)}
    return imported | (before - {name, *packages_of(name)})


def packages_of(name: str) -> list[str]:
    """ "a.b" and "a" of "a.b.c"."""
    parts = name.split(".")
    return [".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1)]


NEEDS = {name: needs(name) for name in SOURCES}


def reachable(name: str) -> set[str]:
    """All modules of the package that are loaded when `name` is imported, itself included."""
    seen, waiting = set[str](), [name]
    while waiting:
        if (current := waiting.pop()) not in seen:
            seen.add(current)
            waiting += NEEDS[current]
    return seen


def top_level(tree: ast.AST) -> set[str]:
    return {name.split(".")[0] for _, name in imports(tree)}


@pytest.mark.parametrize("dependency", DOORS)
def test_a_heavy_dependency_comes_through_its_door(dependency: str) -> None:
    allowed = DOORS[dependency]
    users = {name for name, tree in SOURCES.items() if dependency in top_level(tree)}
    through_the_wall = {u for u in users if u not in allowed and u.split(".")[0] + "." not in allowed}
    assert not through_the_wall


@pytest.mark.parametrize("name", LIGHT)
def test_a_light_module_needs_nothing_heavy(name: str) -> None:
    """Neither by itself nor through what it imports."""
    for module in reachable(name):
        assert not top_level(SOURCES[module]) & set(HEAVY), module


def test_imports_have_no_circles() -> None:
    for name in SOURCES:
        for needed in NEEDS[name]:
            assert name not in reachable(needed), f"{name} -> {needed} -> ... -> {name}"


def test_nothing_below_looks_up_at_the_commands() -> None:
    for name, tree in SOURCES.items():
        if not name.startswith("cli"):
            assert not {i for _, n in imports(tree) if (i := inside(n) or "").startswith("cli")}, name


def test_nothing_that_scores_needs_training() -> None:
    for name, tree in SOURCES.items():
        if not name.startswith(("train", "cli")):
            assert not {i for _, n in imports(tree) if (i := inside(n) or "").startswith("train")}, name


def test_only_the_commands_print_and_exit() -> None:
    """The library never prints or exits; scripts that run as `python -m` do in their main()."""
    for name, tree in SOURCES.items():
        if name.startswith("cli"):
            continue
        scripts = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "main"]
        scripts += [n for n in tree.body if isinstance(n, ast.If) and "__main__" in ast.dump(n.test)]
        allowed = {id(inner) for script in scripts for inner in ast.walk(script)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and id(node) not in allowed:
                assert ast.unparse(node.func) not in ("print", "sys.exit", "exit", "quit"), f"{name}:{node.lineno}"


@pytest.mark.parametrize("name", SOURCES)
def test_a_module_says_what_it_is_for(name: str) -> None:
    assert ast.get_docstring(SOURCES[name]) or not SOURCES[name].body, name


def test_what_is_public_has_a_docstring() -> None:
    """Classes, and functions of more than a few lines, of all modules but the commands'. main() is its module."""
    silent = [
        f"{module}.{node.name}"
        for module, tree in SOURCES.items()
        if not module.startswith("cli")
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
        and not node.name.startswith("_")
        and node.name != "main"
        and not ast.get_docstring(node)
        and (isinstance(node, ast.ClassDef) or lines_of(node) >= DOCSTRING_FROM_LINES)
    ]
    assert not silent


def lines_of(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1


@pytest.mark.parametrize(
    "module",
    [
        "qclip_ffmpeg",
        "qclip_ffmpeg.cli.gate",
        "qclip_ffmpeg.cli.gate_table",
        "qclip_ffmpeg.cli.probe",
        "qclip_ffmpeg.gate",
        "qclip_ffmpeg.gate.inputs",
        "qclip_ffmpeg.emit.registry",
        "qclip_ffmpeg.emit.sidecar",
        "qclip_ffmpeg.inputs",
    ],
)
def test_importing_it_loads_nothing_heavy(module: str) -> None:
    """In a fresh interpreter; the imports above are read, these are run."""
    listing = f"import sys, {module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", listing], capture_output=True, text=True, check=True)
    assert not {name.split(".")[0] for name in done.stdout.split()} & set(HEAVY)
