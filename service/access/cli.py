"""`labelset keys`: the file of API keys, as people make and read it."""

from pathlib import Path

import click

from service.access.keys import SCOPES, InvalidKeys, Scope, new_key, read_keys, write_keys

_file = click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar="LABELSET_KEYS_FILE",
    show_envvar=True,
    required=True,
    help="The file of keys that the service reads.",
)


@click.group()
def keys() -> None:
    """Make, list and revoke the API keys of a service.

    The file holds names and hashes; a key itself is shown once, when it is made. A running service reads the file again
    on SIGHUP.
    """


@keys.command()
@click.argument("name")
@_file
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=["infer"],
    show_default=True,
    help="What it is for; may be given several times.",
)
@click.option("--model", "models", multiple=True, help="A model that it is limited to; may be given several times.")
@click.option("--requests-per-second", type=float, help="How fast it may be used.  [default: no limit]")
def new(
    name: str, file: Path, scopes: tuple[Scope, ...], models: tuple[str, ...], requests_per_second: float | None
) -> None:
    """Make a key, print it, and write its hash under NAME into the file."""
    existing = read_keys(file) if file.exists() else ()
    if any(key.name == name for key in existing):
        raise InvalidKeys(f"a key's name must be new, got {name}: revoke that one first, or take another name")
    key, secret = new_key(name, scopes=scopes, models=models or None, requests_per_second=requests_per_second)
    write_keys(file, [*existing, key])
    click.echo(secret)
    click.echo(f"{file} has its hash; the key itself is not kept anywhere.", err=True)


@keys.command("list")
@_file
def list_(file: Path) -> None:
    """Print names, scopes, models and rates."""
    for key in read_keys(file):
        models = " ".join(key.models) if key.models else "all models"
        rate = f"{key.requests_per_second:g} requests/s" if key.requests_per_second else "no limit"
        click.echo("\t".join((key.name, " ".join(key.scopes), models, rate)))


@keys.command()
@click.argument("name")
@_file
def revoke(name: str, file: Path) -> None:
    """Take the key called NAME out of the file."""
    existing = read_keys(file)
    others = [key for key in existing if key.name != name]
    if len(others) == len(existing):
        raise InvalidKeys(f"a key must be one of {[key.name for key in existing]}, got {name}")
    write_keys(file, others)
