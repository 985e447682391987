"""The servers: the one that `cargo xtask test` brought up, and those that tests may spoil."""

import os
import pathlib
import socket
import subprocess

import pytest

from support import Server

# A variable of the shell's must not be what makes a test pass, or fail.
for name in ("PGHOSTADDR", "PGPASSWORD", "PGPASSFILE", "PGSERVICE", "PGOPTIONS", "AWS_PROFILE",
             "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"):
    os.environ.pop(name, None)

SERVERS = []


@pytest.fixture(scope="session")
def server():
    """The server that other suites use too: its settings and documents stay as they are."""
    names = ("PGPORT", "PGSSLROOTCERT", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
             "DSQL_ENDPOINT", "DSQL_CLUSTER_ARN", "DSQL_IAM_DIRECTORY", "DSQL_SUPERUSER")
    server = Server({name: os.environ[name] for name in names})
    SERVERS.append((server, server.log_mark()))
    return server


def bring_up(directory, pg_config=os.environ.get("PG_CONFIG"), major=None):
    """A server of this pg_config, or of a major version that `up` fetches if the system has none."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # The server that all suites share is as `up` makes it, these as PostgreSQL is by itself.
    command = [os.environ["XTASK"], "up", "--detach", "--plain", "--dir", directory, "--port", str(port)]
    command += os.environ.get("UP_OPTIONS", "").split()
    if major:
        command += ["--pg", str(major)]
    elif pg_config:
        command += ["--pg-config", pg_config]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    done = subprocess.run(command, cwd=os.environ["WORKSPACE"], env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    server = Server.at(directory)
    SERVERS.append((server, 0))
    return server


def let_through(directory):
    """pytest's folders are for their owner alone; the server's user has to pass through. Gives the folder."""
    for folder in [directory, *directory.parents]:
        if folder == pathlib.Path("/tmp") or folder.stat().st_uid != os.geteuid():
            break
        folder.chmod(folder.stat().st_mode | 0o011)
    return directory


def own_server(tmp_path_factory, name):
    directory = let_through(tmp_path_factory.mktemp(name)) / "server"
    try:
        yield bring_up(directory)
    finally:
        subprocess.run([os.environ["XTASK"], "down", "--dir", directory], check=True,
                       cwd=os.environ["WORKSPACE"], stdout=subprocess.DEVNULL)


@pytest.fixture(scope="session")
def own(tmp_path_factory):
    """A server to be restarted, misconfigured and given broken documents."""
    yield from own_server(tmp_path_factory, "own")


@pytest.fixture(scope="session")
def fresh(tmp_path_factory):
    """A server that nobody has done anything with, to restore a dump into."""
    yield from own_server(tmp_path_factory, "fresh")


@pytest.fixture
def audited(own):
    """A server with an audit file, and the file."""
    path = own.data / "audit.json"
    with own.settings(dsql_iam__audit_file="'audit.json'"):
        yield own, path
    path.unlink(missing_ok=True)


@pytest.fixture
def admin(server):
    with server.connect() as connection:
        yield connection


@pytest.fixture
def role(server, request):
    """Makes a role of this test's own, and takes it away afterwards with all its mappings."""
    made = []

    def make(name, attributes="LOGIN", on=server):
        made.append((on, name))
        on.execute(f'DROP ROLE IF EXISTS "{name}"', f'CREATE ROLE "{name}" WITH {attributes}')
        return name

    yield make
    for on, name in made:
        remove_role(on, name)


def remove_role(server, name):
    with server.superuser() as connection:
        connection.execute(
            "SELECT sys.iam_revoke(pg_role_name, arn) FROM sys.iam_pg_role_mappings "
            "WHERE pg_role_name = %s", (name,))
        connection.execute(f'DROP ROLE IF EXISTS "{name}"')


def pytest_collection_modifyitems(items):
    """The search for secrets in the logs comes when all of them have been used."""
    items.sort(key=lambda item: item.originalname == "test_no_secret_is_in_any_log")
