"""The command line: a table of commands, each a file of `commands/`. Nothing is decided here."""

from __future__ import annotations

from importlib import import_module

import click

from nb2pipe.version import __version__

COMMANDS = ("tag", "check", "convert", "run", "verify", "tune", "submit", "runs", "build", "review", "explain")
"""In the order of a user's work; command NAME is NAME in nb2pipe.commands.NAME, imported when it is asked for."""


class Commands(click.Group):
    """The commands of the table."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names, in the table's order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, or None."""
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f"nb2pipe.commands.{cmd_name}"), cmd_name)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, message="nb2pipe %(version)s")
def cli() -> None:
    """Turn a tagged Jupyter notebook into a pipeline that computes what the notebook computed."""


def main() -> None:
    """The entry point."""
    cli(prog_name="nb2pipe")
