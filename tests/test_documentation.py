"""The documentation keeps up with the code: commands, targets, links."""

import re
from pathlib import Path

import pytest

import labelset
from service.settings import Settings
from training.overrides import recipe_names

ROOT = Path(labelset.__file__).parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text()
EXPLAINED_TARGETS = re.findall(r"^([a-z0-9-]+):.*## ", MAKEFILE, re.MULTILINE)


def _prose() -> str:
    return "\n".join(page.read_text() for page in PAGES)


@pytest.mark.parametrize("command", labelset.main.list_commands(None))
def test_every_command_is_documented(command):
    assert re.search(rf"\blabelset {command}\b", _prose())


def test_make_explains_every_target():
    [phony] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert phony.split() == EXPLAINED_TARGETS


def test_every_documented_command_exists():
    # `labelset X` in code style or at the start of a line of a code block.
    named = set(re.findall(r"(?:`|^\$? ?(?:\.venv/bin/)?)labelset ([a-z][a-z-]+)", _prose(), re.MULTILINE))
    assert named
    assert named <= set(labelset.main.list_commands(None))


def test_the_recipes_that_make_compose_and_the_pages_name_exist():
    compose = (ROOT / "docker-compose.yml").read_text()
    named = set(re.findall(r"--recipe,? ([a-z][a-z-]*)", "\n".join([MAKEFILE, compose, _prose()])))
    assert {"openclipart", "attack"} < named
    assert named <= set(recipe_names())


def test_every_documented_target_exists():
    named = set(re.findall(r"(?:`|^)make ([a-z][a-z0-9-]+)", _prose(), re.MULTILINE))
    assert named
    assert named <= set(EXPLAINED_TARGETS)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(page):
    links = re.findall(r"\]\(([^)#\s]+)", page.read_text())
    relative = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert [link for link in relative if not (page.parent / link).exists()] == []


def test_every_setting_of_the_service_is_documented():
    page = (ROOT / "docs" / "serving.md").read_text()
    assert set(re.findall(r"`LABELSET_(\w+)`", page)) >= {name.upper() for name in Settings.model_fields}
