"""The page of the command line: every command with its arguments and options, from the parser itself."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption
from typer.main import get_command

from docs.reference.markdown import code, table
from server.cli import app

_HEAD = """# Command line

`softprompt --help` and `softprompt COMMAND --help` print the same text. `--json` prints JSON for scripts. The exit code
is 0, 1 for a failure, 2 for wrong usage, and 130 for Ctrl-C.

`--url` (or `SOFTPROMPT_URL`) names the server, and `--api-key` (or `SOFTPROMPT_API_KEY`) is the key for it. `task`,
`key` and `audit` also work directly on a database (`--data-dir`, `--database-url`). `db` and `evaluate` work on this
machine only.

`make reference` writes this page from the code.
"""
_SETTINGS = "Its options are the [settings](settings.md).\n"
_PLAIN = "option"


def command_line_page() -> str:
    """Return the page as Markdown."""
    return _HEAD + "".join(_section(name, command) for name, command in commands())


def commands() -> Iterator[tuple[str, TyperCommand]]:
    """Yield every command that does something, with the words that call it, by name."""
    group = get_command(app)
    assert isinstance(group, TyperGroup)
    yield from _below("softprompt", group)


def _below(words: str, group: TyperGroup) -> Iterator[tuple[str, TyperCommand]]:
    for name, command in sorted(group.commands.items()):
        if isinstance(command, TyperGroup):
            yield from _below(f"{words} {name}", command)
        else:
            assert isinstance(command, TyperCommand)
            yield f"{words} {name}", command


def _section(words: str, command: TyperCommand) -> str:
    arguments = [one for one in command.params if isinstance(one, TyperArgument)]
    usage = " ".join([words, *(_name(one) for one in arguments), "[OPTIONS]"])
    head = f"\n## {words}\n\n{inspect.cleandoc(command.help or '')}\n\n```text\n{usage}\n```\n\n"
    if words == "softprompt serve":
        return head + _SETTINGS
    options = [one for one in command.params if isinstance(one, TyperOption) and one.name != "help"]
    return head + "\n".join([*_arguments(arguments), *_panels(options)])


def _arguments(arguments: Sequence[TyperArgument]) -> Iterator[str]:
    if arguments:
        yield table(["argument", "meaning"], [(code(_name(one)), one.help or "") for one in arguments])


def _name(argument: TyperArgument) -> str:
    return argument.metavar or (argument.name or "").upper()


def _panels(options: Sequence[TyperOption]) -> Iterator[str]:
    """Yield a table per group of options, in the order of the help."""
    for panel in dict.fromkeys(one.rich_help_panel or _PLAIN for one in options):
        rows = [_row(one) for one in options if (one.rich_help_panel or _PLAIN) == panel]
        yield table([panel, "default", "meaning"], rows)


def _row(option: TyperOption) -> tuple[str, str, str]:
    flags = " / ".join(code(flag) for flag in (*option.opts, *option.secondary_opts))
    value = "" if option.is_flag else f" {_value(option)}"
    required = "Required. " if option.required else ""
    return flags + value, _default(option), required + (option.help or "")


def _value(option: TyperOption) -> str:
    return option.metavar or option.type.name.removesuffix(" range").upper()


def _default(option: TyperOption) -> str:
    """Return the default as the help has it: words in brackets, a value, or nothing."""
    shown: Any = option.show_default
    if isinstance(shown, str):
        return f"({shown})"
    if option.default is None or shown is False or isinstance(option.default, bool) or option.default == "":
        return ""
    return code(str(option.default))
