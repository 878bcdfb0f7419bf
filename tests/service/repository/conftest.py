"""A repository of one model in one version, and what it serves."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from service.repository import Repository
from service.settings import Settings


@pytest.fixture
def root(tmp_path: Path, write_version) -> Path:
    """A repository with version 1 of one model."""
    (tmp_path / "mine").mkdir()
    write_version(tmp_path / "mine" / "1", "first")
    return tmp_path


@pytest.fixture
def repository(root: Path, host) -> Iterator[Repository]:
    opened = Repository.open(Settings(models=root), host)
    yield opened
    opened.close()


@pytest.fixture
def served(repository: Repository) -> Callable[[], dict[str, str]]:
    """Versions of the one model and their cards."""
    return lambda: {
        version: repository.catalogue.get("mine", version).card
        for model in repository.catalogue
        for version in repository.catalogue.versions(model.name)
    }


@pytest.fixture
def index(repository: Repository) -> Callable[[], list[tuple[str, str, str]]]:
    """Version, state and reason of each entry."""
    return lambda: [(entry.version, entry.state, entry.reason) for entry in repository.index()]
