"""The option tables of the README, made of what the commands say of themselves."""

from __future__ import annotations

from typing import Any

from typer.main import get_command

from rnnbptt.cli.app import app


def option_table(command: str) -> str:
    """In Markdown, a line for each option."""
    options = [parameter for parameter in commands()[command].params if parameter.param_type_name == "option"]
    return "\n".join(["| option | default | meaning |", "|---|---|---|", *map(_line, options)])


def commands() -> dict[str, Any]:
    """Each command as click has it, by name."""
    return get_command(app).commands


def _line(option: Any) -> str:
    names = ", ".join(f"`{name} {option.metavar}`" if option.metavar else f"`{name}`" for name in option.opts)
    return f"| {names} | {_default(option)} | {option.help} |"


def _default(option: Any) -> str:
    if isinstance(option.show_default, str):
        return option.show_default
    return "" if option.is_flag or option.default is None else f"`{option.default}`"
