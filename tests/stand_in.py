"""What GitHub's runner makes of an action and of the log of a step, for tests without one."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ACTION = yaml.safe_load((Path(__file__).parent.parent / "action.yml").read_text())
SHELL = ("bash", "--noprofile", "--norc", "-eo", "pipefail", "-c")
"""What GitHub runs for `shell: bash`, with the script to come."""


def action_steps(given: Mapping[str, str], github: Mapping[str, str]) -> Iterator[tuple[str, dict[str, str]]]:
    """(script, environment) of the steps of our action that run a script, in order.

    Args:
        given: inputs, as a job's `with` has them; the others have their defaults.
        github: the github context, of what the action asks.
    """
    inputs = {name: said.get("default", "") for name, said in ACTION["inputs"].items()}
    assert given.keys() <= inputs.keys()
    inputs |= given
    for step in ACTION["runs"]["steps"]:
        if "run" in step and is_on(step, inputs):
            yield step["run"], {name: resolved(value, inputs, github) for name, value in step["env"].items()}


def resolved(text: str, inputs: Mapping[str, str], github: Mapping[str, str]) -> str:
    """A text with its ${{ expressions }}, of which the action has only names, as GitHub puts values in their place."""
    known = {f"inputs.{k}": v for k, v in inputs.items()} | {f"github.{k}": v for k, v in github.items()}
    return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: known[match[1]], text)


def is_on(step: Mapping[str, Any], inputs: Mapping[str, str]) -> bool:
    """Whether a step runs, of whose conditions ours are all: "inputs.NAME != 'VALUE'"."""
    if "if" not in step:
        return True
    found = re.fullmatch(r"inputs\.([\w-]+) != '(.*)'", step["if"])
    assert found
    return inputs[found[1]] != found[2]


def commands(log: str) -> list[str]:
    """The lines of a log that the runner takes for commands: none from ::stop-commands::TOKEN to ::TOKEN::."""
    found, token = [], None
    for line in log.splitlines():
        if token is not None:
            token = None if line == f"::{token}::" else token
        elif match := re.match(r"::stop-commands::(.+)", line):
            token = match[1]
        elif line.lstrip().startswith("::") or "##[" in line:
            found.append(line)
    return found
