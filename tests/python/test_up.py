"""`cargo xtask up` where it cannot do what it is asked to: what it says."""

import os
import pathlib
import socket
import subprocess

import pytest

from test_install import pg_config


def fault(directory, *arguments):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run([os.environ["XTASK"], "up", "--detach", "--dir", directory, *arguments],
                          cwd=os.environ["WORKSPACE"], env=environment, text=True, timeout=300,
                          capture_output=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 1, done.stdout
    return next(line.removeprefix("error: ") for line in done.stderr.splitlines()
                if line.startswith("error: "))


@pytest.fixture
def directory(tmp_path):
    """A folder that the server's user can get into."""
    for folder in [tmp_path, *tmp_path.parents]:
        if folder == pathlib.Path("/tmp") or folder.stat().st_uid != os.geteuid():
            break
        folder.chmod(folder.stat().st_mode | 0o011)
    return tmp_path / "server"


def test_a_port_that_is_taken(directory):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert fault(directory, "--pg-config", os.environ["PG_CONFIG"], "--port", port) == (
            f"something else listens on port {port}: give another --port")


def test_a_data_directory_of_another_version(directory):
    (directory / "data").mkdir(parents=True)
    (directory / "data/PG_VERSION").write_text("9\n")
    said = fault(directory, "--pg-config", os.environ["PG_CONFIG"])
    assert said.startswith(f"{directory} holds a cluster of PostgreSQL 9, and ")
    assert said.endswith(": give another --dir, or remove this one")


def test_a_pg_config_that_is_none(directory):
    assert fault(directory, "--pg-config", "/nonexistent").startswith(
        "/nonexistent does not work as a pg_config")


def test_a_postgresql_that_is_too_old(directory, tmp_path):
    config = pg_config(tmp_path, VERSION="PostgreSQL 13.9")
    assert fault(directory, "--pg-config", config) == (
        f"{config} is of PostgreSQL 13, and dsql_iam is for PostgreSQL 14 to 18: name another with "
        "--pg-config")


def test_a_postgresql_without_programs_and_headers(directory, tmp_path):
    config = pg_config(tmp_path, BINDIR=tmp_path, INCLUDEDIR_SERVER="/nonexistent")
    said = fault(directory, "--pg-config", config)
    assert said.startswith(f"the PostgreSQL of {config} lacks {tmp_path}/initdb, ")
    assert said.endswith("the server headers (/nonexistent/postgres.h)")


def test_a_folder_that_the_servers_user_cannot_enter(directory, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only for root the server runs as somebody else")
    tmp_path.chmod(0o700)
    said = fault(directory, "--pg-config", os.environ["PG_CONFIG"])
    assert said.startswith("the server runs as the user ")
    assert f"who cannot get into {directory}: give another --dir" in said
