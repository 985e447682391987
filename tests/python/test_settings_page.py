"""docs/settings.md against the settings that the server has."""

import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(os.environ["WORKSPACE"])
PAGE = (ROOT / "docs/settings.md").read_text()


@pytest.fixture(scope="module")
def settings(server):
    """By name: type, default, unit and context, as pg_settings has them."""
    rows = server.execute(
        "SELECT name, vartype, coalesce(boot_val, ''), coalesce(unit, ''), context FROM pg_settings "
        r"WHERE name LIKE 'dsql\_iam.%' OR name LIKE 'amzn\_%'")
    assert len(rows) > 1
    return {name: tuple(rest) for name, *rest in rows}


def cells(line):
    return [cell.strip() for cell in line.strip("|\n ").split("|")]


def text(cell):
    """The default in a cell: '' is the empty text."""
    value = re.fullmatch(r"`(.*)`", cell)[1]
    return "" if value == "''" else value


def test_the_page_has_each_setting_as_it_is(settings):
    rows = [cells(line) for line in PAGE.splitlines() if line.startswith("| [`")]
    listed = {}
    for link, kind, default, unit, context in rows:
        name, anchor = re.fullmatch(r"\[`(.*)`\]\(#(.*)\)", link).groups()
        assert anchor == name.replace(".", "")
        assert name not in listed
        listed[name] = (kind, text(default), unit, context)
    assert listed == settings


def test_the_page_has_a_section_for_each_setting(settings):
    sections = re.findall(r"^### (\S+)\n\n(.+)", PAGE, re.MULTILINE)
    assert sorted(name for name, _ in sections) == sorted(settings)
