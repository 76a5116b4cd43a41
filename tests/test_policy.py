"""Policies: what they may say, what they inherit, and that a mistyped one never passes."""

import tomllib
from itertools import pairwise
from pathlib import Path

import pytest
from tiny_ladder import policy_of, rule

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.policy import preset_names, preset_path, read_policy, read_preset
from qclip_ffmpeg.policy_figures import FIGURES

ROOT = Path(__file__).resolve().parent.parent
PRESETS = ["archive", "hls-vod", "live", "mobile", "smoke", "strict", "ugc"]


def test_the_presets_are_there_and_say_what_they_are_for() -> None:
    assert preset_names() == PRESETS
    assert sorted(path.stem for path in (ROOT / "presets").glob("*.toml")) == PRESETS, "installed or not"
    for name in PRESETS:
        policy = read_preset(name)
        assert policy.name == name
        assert policy.description


@pytest.mark.parametrize("name", PRESETS)
def test_every_number_of_a_preset_has_its_reason(name: str) -> None:
    """A comment stands above each table of a rule or of noise."""
    lines = preset_path(name).read_text().splitlines()
    for above, line in pairwise(lines):
        if line.startswith("[rules.") and name in ("hls-vod", "smoke"):
            assert above.startswith("#"), line
    assert lines[0].startswith("#")


def test_strict_fails_what_hls_vod_warns_of() -> None:
    loose, strict = ({r.name: r for r in read_preset(name).rules} for name in ("hls-vod", "strict"))
    assert strict.keys() == loose.keys()
    assert {r.level for r in strict.values()} == {"error"}
    assert (strict["top"].min or 0) > (loose["top"].min or 0)


def test_a_rule_as_it_is_written(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, "# why\n" + rule("pooled.p5", min=40, rungs=["*720*", "*1080*"], level="warn"))
    [found] = policy.rules
    assert (found.figure, found.min, found.max, found.level) == ("pooled.p5", 40.0, None, "warn")
    assert (found.name, found.where) == ("it", f"{tmp_path}/policy.toml:2")


def test_a_policy_changes_what_it_extends(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(
        'display = "1280x720"\n[noise]\nsame_encode = 1.5\nsame_segment = 3\n'
        '[rules.a]\nfigure = "pooled.mean"\nmin = 40\nrungs = "*720*"\n[rules.b]\nfigure = "pooled.p5"\nmin = 30\n'
    )
    policy = policy_of(
        tmp_path,
        'extends = "base.toml"\n[noise]\nsame_encode = 1\n[rules.a]\nmin = 50\n[rules.b]\nlevel = "off"\n'
        '[rules.c]\nfigure = "segments.worst"\nmin = 1\n',
    )
    assert [r.name for r in policy.rules] == ["a", "c"], "off is left out, what is new comes last"
    a, c = policy.rules
    assert (a.min, a.rungs, a.where) == (50, "*720*", f"{tmp_path}/policy.toml:4")
    assert c.where == f"{tmp_path}/policy.toml:8"
    assert (policy.display, policy.noise.same_encode, policy.noise.same_segment) == ("1280x720", 1.0, 3.0)
    (tmp_path / "base.toml").unlink()


def test_a_policy_extends_a_preset(tmp_path: Path) -> None:
    policy = policy_of(tmp_path, 'extends = "hls-vod"\n[rules.top]\nmin = 55\n')
    of = {r.name: r for r in policy.rules}
    assert (of["top"].min, of["top"].place) == (55, "top")
    assert of["inversion"].where.startswith("presets/smoke.toml:"), "where a rule comes from, whatever lies between"


RULE = '[rules.it]\nfigure = "pooled.mean"\nmin = 40\n'
REFUSED: dict[str, tuple[str, int, list[str]]] = {
    "unknown key": ("descripton = 'x'\n" + RULE, 1, ["unknown field `descripton`"]),
    "unknown key of a rule": (RULE + "mim = 3\n", 4, ["unknown field `mim`"]),
    "unknown figure": (RULE.replace("pooled.mean", "pooled.maen"), 2, ["pooled.maen", "did you mean 'pooled.mean'"]),
    "unknown event": (rule("events.freze_s", max=1), 2, ["no figure", "'events.freeze_s'"]),
    "unknown flag": (rule("flags.corupt_s", max=1), 2, ["no figure", "'flags.corrupt_s'"]),
    "unknown level": (RULE + 'level = "fatal"\n', 4, ["'fatal'"]),
    "a number as text": ('[rules.it]\nfigure = "pooled.mean"\nmin = "40"\n', 3, ["Expected `float", "got `str`"]),
    "no figure": ("[rules.it]\nmin = 3\n", 1, ["rules.it has no figure", "check the name"]),
    "no limit": (rule("pooled.mean"), 2, ["has no limit", "min or max"]),
    "a limit it does not take": (rule("segments.worst", max=3), 3, ["takes min, not max"]),
    "no number": (rule("pooled.mean").replace("\n", "\nmin = nan\n", 1), 2, ["min = nan", "not within 0 to 100"]),
    "out of range": (rule("pooled.mean", min=700), 3, ["min = 700", "0 to 100"]),
    "upside down": (rule("pooled.mean", min=50, max=40), 3, ["min = 50 is more than max = 40"]),
    "no below": (rule("segments.longest_below_s", max=3), 1, ["give it below"]),
    "below for nothing": (rule("pooled.mean", min=3, below=3), 4, ["takes no below"]),
    "no rungs": (rule("pooled.mean", min=3, rungs=[]), 4, ["rungs names none"]),
    "one of a pair": (rule("ladder.inversion", place="top"), 3, ["compares rungs"]),
    "a part of the ladder": (rule("baseline.ladder_drop", max=1, rungs="*720*"), 4, ["of the whole ladder"]),
    "no name": ('[rules."a\\nb"]\nfigure = "pooled.mean"\nmin = 3\n', 1, ["'a\\nb' is no name of a rule"]),
    "noise of nothing": (RULE + "[noise]\nsame_encode = 0\n", 5, ["noise.same_encode = 0", "above 0"]),
    "unknown noise": (RULE + "[noise]\nrepeat = 1\n", 5, ["unknown field `repeat`"]),
    "no display": ("display = '1080'\n" + RULE, 1, ["WIDTHxHEIGHT"]),
    "extends nothing": ('extends = "hls-vid"\n' + RULE, 1, ["no such preset", "hls-vod"]),
    "extends a missing file": ("\nextends = 'gone.toml'\n" + RULE, 2, ["there is no", "gone.toml"]),
    "extends itself": ("extends = 'policy.toml'\n" + RULE, 1, ["leads back to itself"]),
    "no TOML": (RULE + "[noise\n", 4, ["is not TOML"]),
    "not a table": ("rules = 3\n", 1, ["Expected `object`"]),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_mistyped_policy_is_refused_with_file_and_line(case: str, tmp_path: Path) -> None:
    text, line, said = REFUSED[case]
    with pytest.raises(UsageError) as caught:
        policy_of(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path}/policy.toml:{line}: ")
    assert all(part in str(caught.value) for part in said), caught.value
    assert caught.value.exit_code == 2


def test_cycles_and_long_chains_end(tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('extends = "b.toml"\n')
    (tmp_path / "b.toml").write_text('\nextends = "a.toml"\n')
    with pytest.raises(UsageError, match=r"b\.toml:2: .*leads back to itself"):
        read_policy(tmp_path / "a.toml")
    for i in range(20):
        (tmp_path / f"{i}.toml").write_text(f'extends = "{i + 1}.toml"\n')
    with pytest.raises(UsageError, match="in a chain"):
        read_policy(tmp_path / "0.toml")


def test_an_error_in_what_is_extended_names_that_file(tmp_path: Path) -> None:
    (tmp_path / "base.toml").write_text(rule("pooled.maen", min=3))
    with pytest.raises(UsageError, match=r"base\.toml:2: "):
        policy_of(tmp_path, 'extends = "base.toml"\n')


@pytest.mark.parametrize(
    "text",
    [
        "",
        'extends = "smoke"\n'
        + "\n".join(
            f'[rules.{name}]\nlevel = "off"' for name in ("watchable", "damage", "declared-height", "inversion")
        ),
    ],
)
def test_a_policy_that_asks_for_nothing_is_refused(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="asks for nothing"):
        policy_of(tmp_path, text)


def test_a_preset_that_is_none() -> None:
    for name in ("hls", "../train/default", "", "hls-vod.toml"):
        with pytest.raises(UsageError, match="no such preset; choose one of archive, hls-vod"):
            read_preset(name)


def test_every_figure_is_in_the_reference() -> None:
    page = (ROOT / "docs" / "gate.md").read_text()
    for name, figure in FIGURES.items():
        kind = name.partition(".")[0]
        if kind in ("pooled", "events", "flags"):
            assert f"`{kind}." in page
            continue
        row = next(line for line in page.splitlines() if line.startswith(f"| `{name}`"))
        assert figure.unit in row
        assert all(f"`{bound}`" in row for bound in figure.bounds), row
        assert ("`below`" in row) == figure.below_needed


def test_the_example_of_the_reference_is_a_policy(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "gate.md").read_text()
    examples = [part.split("```")[0] for part in page.split("```toml\n")[1:]]
    assert examples
    for example in examples:
        tomllib.loads(example)
        assert policy_of(tmp_path, example).rules
