"""Values people type, checked once: times, rates, sizes, as ffmpeg writes them; and options that go together."""

import re
from collections.abc import Callable
from fractions import Fraction
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])

TIME = re.compile(r"(?:(?:(\d+):)?([0-5]?\d):(?=[0-5]?\d(?:\.|$)))?(\d+(?:\.\d*)?|\.\d+)(ms|us|s|m|h)?")
UNIT_S = {
    None: Fraction(1),
    "s": Fraction(1),
    "ms": Fraction(1, 1000),
    "us": Fraction(1, 10**6),
    "m": Fraction(60),
    "h": Fraction(3600),
}
SIZE_NAMES = {"720": (1280, 720), "1080": (1920, 1080), "1440": (2560, 1440), "2160": (3840, 2160)}
MAX_SIDE_PX = 16384


class TimeParam(click.ParamType[Any]):
    """A time as ffmpeg takes it: 90, 1.5, 500ms, 4s, 01:30, 00:01:30.5. Converts to seconds as a Fraction."""

    name = "TIME"

    def __init__(self, positive: bool = False) -> None:
        self._positive = positive

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        if isinstance(value, Fraction):
            return value
        match = TIME.fullmatch(str(value).strip())
        if match is None or (match[2] and match[4]):
            self.fail(f"{value!r} is not a time; write seconds (1.5), a unit (500ms, 4s) or HH:MM:SS.mmm", param, ctx)
        seconds = Fraction(match[3]) * UNIT_S[match[4]] + 60 * int(match[2] or 0) + 3600 * int(match[1] or 0)
        if self._positive and seconds <= 0:
            self.fail(f"{value!r} must be longer than nothing", param, ctx)
        return seconds


class SegmentParam(TimeParam):
    """A length of time, or the word "keyframes"."""

    name = "TIME|keyframes"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "keyframes":
            return value
        seconds = super().convert(value, param, ctx)
        if seconds < Fraction(1, 10):
            self.fail(f"{value!r} is shorter than a tenth of a second", param, ctx)
        return seconds


class RatioParam(click.ParamType[Any]):
    """A positive number or fraction: 25, 29.97, 30000/1001, 16:9. Converts to a Fraction."""

    name = "RATIO"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Fraction:
        if isinstance(value, Fraction):
            return value
        try:
            ratio = Fraction(str(value).replace(":", "/"))
        except (ValueError, ZeroDivisionError):
            self.fail(f"{value!r} is not a number or fraction; write 25, 30000/1001 or 16:9", param, ctx)
        if not Fraction(1, 1000) <= ratio <= 100_000:
            self.fail(f"{value!r} is out of range", param, ctx)
        return ratio


class SizeParam(click.ParamType[Any]):
    """WIDTHxHEIGHT in pixels. Converts to (width, height)."""

    name = "WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)x(\d+)", str(value))
        size_px = (int(match[1]), int(match[2])) if match else (0, 0)
        if not all(1 <= side <= MAX_SIDE_PX for side in size_px):
            self.fail(f"{value!r} is not a size; write WIDTHxHEIGHT, for example 1920x1080", param, ctx)
        return size_px


class DisplayParam(SizeParam):
    """A display: 720, 1080, 1440, 2160 (lines of a 16:9 screen), WIDTHxHEIGHT, or native. Gives (width, height)."""

    name = "1080|native|WxH"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if value == "native":
            return (None, None)
        if isinstance(value, str) and value.removesuffix("p") in SIZE_NAMES:
            return SIZE_NAMES[value.removesuffix("p")]
        return super().convert(value, param, ctx)


def together(*options: Callable[[F], F]) -> Callable[[F], F]:
    """Several options as one decorator, in the order that the help lists them."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


device_option = click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "cuda"]),
    default="auto",
    show_default=True,
    help="auto: CUDA where there is a GPU.",
)
