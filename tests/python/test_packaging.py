"""What describes the packages: the Dockerfile, META.json, the scripts of both."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
SCRIPTS = [*sorted((WORKSPACE / "packaging/docker").glob("*.sh")),
           *sorted((WORKSPACE / "packaging/debian").iterdir()),
           *sorted((WORKSPACE / "tests/package").glob("*.sh"))]


def version():
    text = (WORKSPACE / "Cargo.toml").read_text()
    return re.search(r'^\[workspace\.package\]\nversion = "([^"]+)"', text, re.MULTILINE)[1]


def hadolint(path):
    return subprocess.run([pathlib.Path(sys.executable).with_name("hadolint"), path], text=True,
                          capture_output=True)


def test_the_dockerfile_is_one_that_hadolint_likes(tmp_path):
    done = hadolint(WORKSPACE / "packaging/docker/Dockerfile")
    assert (done.returncode, done.stdout) == (0, "")
    # It would say so, if it did not.
    worse = tmp_path / "Dockerfile"
    worse.write_text("FROM postgres\nRUN cd /tmp\n")
    assert {"DL3006", "DL3003"} <= set(re.findall(r"DL\d+", hadolint(worse).stdout))


def test_the_dockerfile_copies_what_is_there():
    text = (WORKSPACE / "packaging/docker/Dockerfile").read_text()
    paths = re.findall(r"packaging/docker/[\w.-]+\.sh", text)
    assert len(paths) == 3
    for path in paths:
        assert os.access(WORKSPACE / path, os.X_OK)
    toolchain = re.search(r"--default-toolchain (\d+\.\d+)", text)[1]
    cargo = (WORKSPACE / "Cargo.toml").read_text()
    assert f'rust-version = "{toolchain}"' in cargo


@pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="dpkg-deb is Debian's")
def test_the_package_is_made(server):
    """What happens when it is installed, tests/package shows, where it can."""
    done = subprocess.run(
        [*"cargo xtask package".split(), "--debug"], text=True, capture_output=True, cwd=WORKSPACE,
        env=os.environ | {"PGRX_PG_CONFIG_PATH": os.environ["PG_CONFIG"]}, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    package = pathlib.Path(done.stdout.splitlines()[-1])
    name = f"postgresql-{server.version}-dsql-iam"
    assert re.fullmatch(rf"{name}_{re.escape(version())}_\w+\.deb", package.name)

    def dpkg_deb(*arguments):
        return subprocess.run(["dpkg-deb", *arguments], text=True, capture_output=True,
                              check=True).stdout
    assert dpkg_deb("--field", package, "Package", "Version").splitlines() == [
        f"Package: {name}", f"Version: {version()}"]
    files = [line.split()[5] for line in dpkg_deb("--contents", package).splitlines()]
    for file in (f"lib/postgresql/{server.version}/lib/dsql_iam.so",
                 f"lib/postgresql/{server.version}/bin/dsql-iam",
                 f"share/postgresql/{server.version}/extension/dsql_iam.control"):
        assert f"./usr/{file}" in files


def test_the_dockerfile_starts_what_it_has_laid_out():
    """What tests/package/container.sh runs is what the image runs."""
    text = (WORKSPACE / "packaging/docker/Dockerfile").read_text()
    named = {json.loads(words)[0] for words in re.findall(r"(?:ENTRYPOINT|CMD) (\[.*\])", text)}
    assert named == {"dsql-iam-entrypoint", "dsql-iam-health", "postgres"}
    assert set(re.findall(r"/out/usr/local/bin/(\S+)", text)) == (named | {"dsql-iam"}) - {"postgres"}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_read_by_their_shell(script):
    first = script.read_text().splitlines()[0]
    shell = "sh" if first == "#!/bin/sh" else "bash"
    subprocess.run([shell, "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--severity=warning", f"--shell={shell}", script], check=True)


def test_meta_json_has_what_pgxn_asks_for():
    """The fields that https://pgxn.org/spec/ requires, in its forms."""
    meta = json.loads((WORKSPACE / "META.json").read_text())
    for name in ("name", "version", "abstract", "maintainer", "license"):
        assert isinstance(meta[name], str) and meta[name].strip()
    # No slash, backslash, blank or control character; at least two characters.
    assert re.fullmatch(r"[^\s/\\\x00-\x1f]{2,}", meta["name"])
    assert meta["license"] == "apache_2_0"
    assert meta["meta-spec"] == {"version": "1.0.0", "url": "https://pgxn.org/meta/spec.txt"}
    semantic = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[A-Za-z][0-9A-Za-z-]*)?")
    assert meta["provides"]
    for name, provided in meta["provides"].items():
        assert (WORKSPACE / f"{name}.control").is_file()
        assert (WORKSPACE / provided["file"]).is_file()
        assert (WORKSPACE / provided["docfile"]).is_file()
        assert semantic.fullmatch(provided["version"])
        assert provided["version"] == meta["version"] == version()
    for required in meta["prereqs"]["runtime"]["requires"].values():
        assert semantic.fullmatch(required)
    assert set(meta["resources"]) <= {"homepage", "bugtracker", "repository"}
    assert set(meta["resources"]["repository"]) == {"url", "web", "type"}
    assert all(isinstance(tag, str) and len(tag) <= 255 for tag in meta["tags"])
