"""The front door: the `labelset` command. A sub-command's module is imported only when that sub-command is called."""

import importlib
from typing import Any, NamedTuple

import click

from model.errors import LabelsetError


class _Entry(NamedTuple):
    module: str
    attribute: str
    summary: str


_COMMANDS = {
    "serve": _Entry("service.cli", "serve", "Serve a bundle, or a repository of them, over HTTP."),
    "health": _Entry("service.health_check", "health", "Ask the service on this machine whether it may get requests."),
    "keys": _Entry("service.access.cli", "keys", "Make and list the API keys of a service."),
    "predict": _Entry("model.cli", "predict", "Print the label sets of pictures and texts."),
    "verify": _Entry("model.cli", "verify", "Check a bundle: files, graph and golden examples."),
    "inspect": _Entry("model.cli", "inspect", "Say what a bundle is and where it comes from."),
    "train-and-export": _Entry("training.cli", "train_and_export", "Train on a recipe or your own data, and export."),
    "evaluate": _Entry("training.cli", "evaluate", "Measure a bundle on a test split."),
    "compare": _Entry("training.cli_runs", "compare", "Put runs and bundles side by side."),
    "sweep": _Entry("training.cli_runs", "sweep", "Train a few settings with several seeds, and say which wins."),
    "check-data": _Entry("training.cli_data", "check_data", "Say what is in data before training on it."),
    "fetch": _Entry("training.cli", "fetch", "Fetch a data set or weights into the cache."),
}


class OneLineError(click.ClickException):
    """An error for people: one line, no traceback, exit code 1."""

    def show(self, file: Any = None) -> None:
        """Print to standard error."""
        click.echo(f"error: {self.message}", file=file, err=file is None)


class FrontDoor(click.Group):
    """The group of all commands. It lists them from `_COMMANDS`, so that `labelset --help` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name the commands in the order in which a newcomer meets them."""
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the module of a command."""
        entry = _COMMANDS.get(cmd_name)
        if entry is None:
            return None
        command: click.Command = getattr(importlib.import_module(entry.module), entry.attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the table of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, entry.summary) for name, entry in _COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command; an error that this project raises on purpose becomes one line."""
        try:
            return super().invoke(ctx)
        except LabelsetError as error:
            raise OneLineError(f"{error.message} [{error.code}]") from error
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package in {"", "model", "training", "service"}:
                raise  # a mistake of ours, not of the installation
            raise OneLineError(
                f"this command needs the package {package}, which is not installed: `make setup-dev` installs it"
            ) from error


@click.group(cls=FrontDoor)
@click.version_option(package_name="labelset")
def main() -> None:
    """Train a multi-label classifier, export it as one folder, serve the label set itself: no thresholds."""


if __name__ == "__main__":
    main()
