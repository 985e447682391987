"""docs/settings.md and README.md against the settings that the server has."""

import os
import pathlib
import re

import pytest

ROOT = pathlib.Path(os.environ["WORKSPACE"])
PAGE = (ROOT / "docs/settings.md").read_text()
README = (ROOT / "README.md").read_text()


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


def in_unit(value, unit):
    """`1h` as pg_settings has it."""
    seconds = {"h": 3600, "min": 60, "s": 1}
    found = re.fullmatch(r"(\d+)(h|min|s)", value)
    return str(int(found[1]) * seconds[found[2]]) if unit == "s" and found else value


def test_the_readme_has_each_setting_as_it_is(settings):
    section = README.partition("\n## Settings\n")[2].partition("\n## ")[0]
    listed = {}
    for line in section.splitlines():
        if not line.startswith("| `"):
            continue
        names, defaults, what = cells(line)
        names = re.findall(r"`(.*?)`", names)
        defaults = [""] * len(names) if defaults == "none" else re.findall(r"`(.*?)`", defaults)
        needs_restart = what.endswith("; restart")
        for name, default in zip(names, defaults, strict=True):
            assert name not in listed
            default = in_unit(default, settings[name][2])
            listed[name] = (default, "postmaster" if needs_restart else "sighup")
    expected = {name: (default, context)
                for name, (_, default, _, context) in settings.items() if context != "backend"}
    assert listed == expected
