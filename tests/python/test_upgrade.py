"""pg_upgrade from an older major version keeps the mappings."""

import os
import pathlib
import shutil
import subprocess

import pytest

from conftest import bring_up, let_through
from support import EXAMPLE_ARN

# The oldest that is supported, of the releases that are fetched: the system's own may be of a later day than the
# version under test, and minor releases mark columns in ways that those of an earlier day refuse.
OLDER = 14


def complete_mirror(server):
    """The folder of the running `postgres`, with PostgreSQL's other programs beside it, as
    pg_upgrade wants them. pg_ctl looks for `postgres` where it really is itself, so it is told."""
    folder = pathlib.Path(server.program).parent
    for program in server.bin.iterdir():
        if not (folder / program.name).exists():
            (folder / program.name).symlink_to(program)
    pg_ctl = folder / "pg_ctl"
    pg_ctl.unlink()
    pg_ctl.write_text(f"""#!/bin/sh
case "$1" in
    -V) exec '{server.bin}/pg_ctl' -V ;;
    *) exec '{server.bin}/pg_ctl' "$@" -p '{server.program}' ;;
esac
""")
    pg_ctl.chmod(0o755)
    return folder


@pytest.fixture
def servers(server, tmp_path_factory):
    """One of an older version, and a new one of the version under test."""
    if server.version == OLDER:
        pytest.skip(f"no PostgreSQL older than {OLDER} is supported")
    directory = let_through(tmp_path_factory.mktemp("upgrade"))
    running = []
    try:
        running.append(bring_up(directory / "old", major=OLDER))
        running.append(bring_up(directory / "new"))
        yield running
    finally:
        for one in running:
            subprocess.run([os.environ["XTASK"], "down", "--dir", one.dir], check=True,
                           cwd=os.environ["WORKSPACE"], stdout=subprocess.DEVNULL)


def test_mappings_live_through_pg_upgrade(servers):
    old, new = servers
    old.execute("CREATE ROLE upgraded LOGIN")
    with old.superuser() as superuser:
        superuser.execute(f"AWS IAM GRANT upgraded TO '{EXAMPLE_ARN}'")
    view = "SELECT arn, pg_role_name, iam_oid FROM sys.iam_pg_role_mappings"
    before = old.execute(view)
    programs = {one: complete_mirror(one) for one in servers}
    for one in servers:
        one.pg_ctl("stop", "-m", "fast")

    # An empty cluster like the old one, with the settings of the new server.
    data = new.data
    kept = ("postgresql.conf", "dsql_iam.conf", "pg_hba.conf", "pg_ident.conf")
    settings = {name: (data / name).read_text() for name in kept}
    shutil.rmtree(data)
    new.folder("data")
    without_checksums = ["--no-data-checksums"] if new.version >= 18 else []
    new.as_owner("initdb", "-U", "postgres", "-D", data, "-E", "UTF8", "--locale", "C.UTF-8",
                 *without_checksums)
    for name, text in settings.items():
        new.write(data / name, text)
    work = new.folder("work")
    new.as_owner("pg_upgrade", "-U", "postgres", "-b", programs[old], "-B", programs[new],
                 "-d", old.data, "-D", data, cwd=work)
    new.pg_ctl("start", "-p", programs[new] / "postgres", "-l", new.dir / "log")
    assert new.execute(view) == before
    arguments = {} if new.authority else {"sslmode": "disable"}
    with new.connect("upgraded", new.token("example"), **arguments) as connection:
        assert connection.execute("SELECT current_user").fetchone() == ("upgraded",)

    # CREATE EXTENSION sets it from 16 on; an upgrade from before does not.
    if old.version < 16 <= new.version:
        doctor = "SELECT status, remedy FROM sys.doctor() WHERE check_name = 'admin'"
        (status, remedy), = new.execute(doctor)
        assert (status, remedy) == (
            "warning", "ALTER ROLE admin SET createrole_self_grant = 'set, inherit'")
        new.execute(remedy)
        assert new.execute(doctor) == [("ok", None)]
    with new.connect("admin", new.token("admin"), **arguments) as admin:
        admin.execute("CREATE ROLE upgraded_too")
        if new.version < 16:
            admin.execute("GRANT upgraded_too TO admin")
        admin.execute("SET ROLE upgraded_too")
