"""What a gate asks of a ladder: policies in TOML, shipped as presets or written by users, one extending another."""

import math
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

import msgspec
from msgspec import Struct

from qclip_ffmpeg.errors import UsageError
from qclip_ffmpeg.policy_figures import FIGURES, Figure
from qclip_ffmpeg.presets import convert, line_of, parsed, text_of
from qclip_ffmpeg.verdict import Level

MOST_EXTENDED = 8  # policies in a chain
MOST_RULES = 200
LONGEST_NAME = 80  # characters


class Noise(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[noise]: score differences that are none, each with one comparison in twenty beyond it. None: the model's own."""

    any_encode: float | None = None
    """Between the means of any two encodes of one content, whatever their codec and size."""
    same_encode: float | None = None
    """Between the means of two encodes of one content with the same codec and size, which is less."""
    same_segment: float | None = None
    """Between segments at the same time of two such encodes."""


class Asked(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """[rules.NAME]: what a rule says in a policy's file."""

    figure: str
    """One of `FIGURES`."""
    level: Level | Literal["off"] = "error"
    min: float | None = None
    """Least value that is allowed, in the figure's unit."""
    max: float | None = None
    """Most."""
    below: float | None = None
    """Score units; of the figures that count time below a score."""
    rungs: str | list[str] = "*"
    """Patterns (fnmatch, case matters) of the names of the rungs it is about."""
    codec: str | None = None
    """Only rungs whose codec has such a name (a pattern): FFmpeg's, for example "hevc"."""
    min_height_px: int | None = None
    """Only rungs with at least so many lines."""
    max_height_px: int | None = None
    """Only rungs with at most so many lines."""
    place: Literal["top", "bottom"] | None = None
    """Only the highest or the lowest of the rungs that the other conditions leave."""


class Rule(Asked, frozen=True, kw_only=True):
    """A rule and where it comes from."""

    name: str
    where: str
    """FILE:LINE of its table; of the newest policy that says something of it."""

    @property
    def about(self) -> Figure:
        return FIGURES[self.figure]

    def names(self, name: str) -> bool:
        """Whether a rung's name is one that the rule is about."""
        patterns = [self.rungs] if isinstance(self.rungs, str) else self.rungs
        return any(fnmatchcase(name, pattern) for pattern in patterns)

    def takes(self, name: str, codec: str | None, height_px: int | None) -> bool:
        """Whether a rung is one that the rule is about, `place` aside."""
        return (
            self.names(name)
            and (self.codec is None or (codec is not None and fnmatchcase(codec, self.codec)))
            and (self.min_height_px is None or (height_px is not None and height_px >= self.min_height_px))
            and (self.max_height_px is None or (height_px is not None and height_px <= self.max_height_px))
        )


class Policy(Struct, frozen=True, kw_only=True):
    """A policy with all that it extends."""

    name: str
    """Of the preset or of the file."""
    description: str = ""
    display: str | None = None
    """Screen that its limits are for, "WIDTHxHEIGHT" or "native"; None: any."""
    noise: Noise = Noise()
    rules: tuple[Rule, ...]
    """Those with level off left out."""


class Written(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The top level of a policy's file."""

    description: str = ""
    extends: str | None = None
    """A preset's name or a path, relative to the file."""
    display: str | None = None
    noise: dict[str, Any] = {}
    rules: dict[str, dict[str, Any]] = {}


def presets_folder() -> Path:
    """Where the shipped policies lie: in the installed package, or beside it in its repository."""
    installed = Path(__file__).parent / "presets"
    return installed if installed.is_dir() else Path(__file__).parent.parent / "presets"


def preset_names() -> list[str]:
    """The shipped policies, sorted."""
    return sorted(path.stem for path in presets_folder().glob("*.toml"))


def read_preset(name: str) -> Policy:
    """A shipped policy.

    Raises:
        UsageError: there is none of that name.
    """
    return read_policy(preset_path(name))


def preset_path(name: str) -> Path:
    """The file of a shipped policy.

    Raises:
        UsageError: there is none of that name.
    """
    if name not in preset_names():
        raise UsageError(f"{name}: no such preset; choose one of {', '.join(preset_names())}")
    return presets_folder() / f"{name}.toml"


def read_policy(path: Path) -> Policy:
    """A policy's file and what it extends.

    Raises:
        UsageError: one of the files is missing or is no policy; the message begins with FILE:LINE.
    """
    policy, rules = extended(path, [])
    on = tuple(rule for rule in rules.values() if rule.level != "off")
    if not on:
        raise UsageError(f"{displayed(path)}: asks for nothing: it has no rule that is on; give it [rules.NAME] tables")
    return msgspec.structs.replace(policy, rules=on)


def extended(path: Path, chain: list[Path]) -> tuple[Policy, dict[str, Rule]]:
    """A policy without its rules, and all its rules by name, those that are off too.

    chain: the files that lead here, which it must not extend again.
    """
    shown = displayed(path)
    text = text_of(path)
    written = convert(parsed(text, shown), Written, text, shown)
    chain = [*chain, path.resolve()]
    base, rules = Policy(name="", rules=()), dict[str, Rule]()
    if written.extends is not None:
        at = f"{shown}:{line_of(text, ('extends',))}"
        base, rules = extended(base_path(written.extends, path, at, chain), chain)
    noise = convert(set_in(base.noise) | written.noise, Noise, text, shown, ("noise",))
    check_noise(noise, text, shown)
    for name, said in written.rules.items():
        rules[name] = rule_of(name, said, rules.get(name), text, shown)
    if len(rules) > MOST_RULES:
        raise UsageError(f"{shown}: has more than {MOST_RULES} rules; split it")
    policy = Policy(
        name=path.stem,
        description=written.description or base.description,
        display=checked_display(written.display, text, shown) or base.display,
        noise=noise,
        rules=(),
    )
    return policy, rules


def displayed(path: Path) -> str:
    """What messages and reports call a policy's file: a preset is not where the user works."""
    return f"presets/{path.name}" if path.parent == presets_folder() else str(path)


def base_path(named: str, path: Path, at: str, chain: list[Path]) -> Path:
    """The file that a policy extends.

    Raises:
        UsageError: there is none, or it leads back to itself.
    """
    is_path = named.endswith(".toml")
    found = path.parent / named if is_path else presets_folder() / f"{named}.toml"
    if not is_path and named not in preset_names():
        raise UsageError(
            f"{at}: extends {named!r}: no such preset; choose one of {', '.join(preset_names())}, "
            "or a path that ends in .toml"
        )
    if not found.is_file():
        raise UsageError(f"{at}: extends {named!r}: there is no {found}; check the path")
    if found.resolve() in chain:
        raise UsageError(f"{at}: extends {named!r}, which leads back to itself; leave one of them out")
    if len(chain) >= MOST_EXTENDED:
        raise UsageError(f"{at}: extends {named!r}: more than {MOST_EXTENDED} policies in a chain; join some")
    return found


def rule_of(name: str, said: dict[str, Any], base: Rule | None, text: str, shown: str) -> Rule:
    """A rule as its table says it, on top of what an extended policy says of it.

    Raises:
        UsageError: it says what it cannot, or too little.
    """
    place = ("rules", name)
    if not (name.isprintable() and 0 < len(name) <= LONGEST_NAME):
        raise UsageError(
            f"{shown}:{line_of(text, place)}: {name[:LONGEST_NAME]!r} is no name of a rule; give one that can be "
            f"printed, of {LONGEST_NAME} characters at most"
        )
    inherited = {k: v for k, v in set_in(base).items() if k not in ("name", "where")} if base else {}
    if base is None and "figure" not in said:
        raise UsageError(
            f"{shown}:{line_of(text, place)}: rules.{name} has no figure, and no policy that is extended has a rule of "
            "that name to change; give it figure = ..., or check the name"
        )
    asked = convert(inherited | said, Asked, text, shown, place)
    line = line_of(text, place)
    rule = Rule(**msgspec.structs.asdict(asked), name=name, where=f"{shown}:{line}")
    if problem := rule_problem(rule):
        key, what = problem
        raise UsageError(f"{shown}:{line_of(text, (*place, key))}: rules.{name}: {what}")
    return rule


def set_in(struct: Struct) -> dict[str, Any]:
    """The fields of a struct that differ from their defaults."""
    found: dict[str, Any] = msgspec.structs.asdict(struct)
    defaults = {field.name: field.default for field in msgspec.structs.fields(struct)}
    return {name: value for name, value in found.items() if value != defaults[name]}


def rule_problem(rule: Rule) -> tuple[str, str] | None:
    """What keeps a rule from meaning anything: the key it is about, and a sentence. None: nothing."""
    if rule.figure not in FIGURES:
        return "figure", f"there is no figure {rule.figure!r}{near(rule.figure)}; docs/gate.md lists all"
    figure = rule.about
    for key, limit in (("min", rule.min), ("max", rule.max)):
        if limit is not None and key not in figure.bounds:
            takes = " and ".join(figure.bounds) or "no limit"
            return key, f"{rule.figure} takes {takes}, not {key}; take {key} out"
    if figure.bound_needed and rule.min is None and rule.max is None:
        return "figure", f"{rule.figure} has no limit; give it {' or '.join(figure.bounds)}"
    if figure.below_needed != (rule.below is not None):
        todo = "give it below = a score" if figure.below_needed else "takes no below; take it out"
        return "below", f"{rule.figure}: {todo}"
    low, high = figure.range or (0.0, math.inf)
    for key, limit, (least, most) in (
        ("min", rule.min, (low, high)),
        ("max", rule.max, (low, high)),
        ("below", rule.below, (0.0, 100.0)),
    ):
        if limit is not None and not (math.isfinite(limit) and least <= limit <= most):
            return key, f"{key} = {limit:g} is not within {least:g} to {most:g}"
    if rule.min is not None and rule.max is not None and rule.min > rule.max:
        return "min", f"min = {rule.min:g} is more than max = {rule.max:g}"
    return selection_problem(rule)


def selection_problem(rule: Rule) -> tuple[str, str] | None:
    """What keeps a rule from selecting rungs, as `rule_problem`."""
    patterns = [rule.rungs] if isinstance(rule.rungs, str) else rule.rungs
    if not patterns or not all(patterns):
        return "rungs", "rungs names none; give a pattern, or leave it out for all"
    if rule.place and rule.about.of == "pair":
        return "place", f"{rule.figure} compares rungs; place would leave one; take it out"
    chosen = (rule.codec, rule.min_height_px, rule.max_height_px, rule.place)
    if rule.about.of == "ladder" and (patterns != ["*"] or chosen != (None,) * len(chosen)):
        return "rungs", f"{rule.figure} is of the whole ladder; take rungs, codec, heights and place out"
    return None


def near(name: str) -> str:
    """ ", did you mean ...": the figure that is written most alike, if one is."""
    import difflib

    found = difflib.get_close_matches(name, FIGURES, n=1)
    return f", did you mean {found[0]!r}?" if found else ""


def check_noise(noise: Noise, text: str, shown: str) -> None:
    """Raises UsageError where a band of [noise] cannot be."""
    for key, band in msgspec.structs.asdict(noise).items():
        if band is not None and not 0 < band <= 100:
            raise UsageError(
                f"{shown}:{line_of(text, ('noise', key))}: noise.{key} = {band:g}: give score units, above 0 to 100"
            )


def checked_display(display: str | None, text: str, shown: str) -> str | None:
    """A policy's display, as tracks say it. Raises UsageError where it is none."""
    sides = (display or "native").split("x")
    if display is None or display == "native" or (len(sides) == 2 and all(side.isdecimal() for side in sides)):
        return display
    line = line_of(text, ("display",))
    raise UsageError(f'{shown}:{line}: display = {display!r}: give "WIDTHxHEIGHT", as "1920x1080", or "native"')
