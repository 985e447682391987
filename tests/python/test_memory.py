"""The library under valgrind: it reads and writes only memory that is there and has been written."""

import shutil

import psycopg
import pytest

from support import EXAMPLE_ARN as ARN

VALGRIND = shutil.which("valgrind")


@pytest.fixture
def watched(own):
    """The server under valgrind, and what valgrind says of it."""
    folder = own.folder("valgrind")
    wrapper = folder / "postgres"
    wrapper.write_text(f'#!/bin/sh\nexec {VALGRIND} --quiet --error-limit=no --num-callers=40 '
                       f'--log-file={folder}/%p.log {own.program} "$@"\n')
    wrapper.chmod(0o755)
    own.pg_ctl("stop", "-m", "fast")
    try:
        own.pg_ctl("start", "-t", "120", "-l", own.dir / "log", "-p", wrapper)
        yield own, folder
    finally:
        own.restart()
        shutil.rmtree(folder)


def errors(folder):
    """What valgrind reported, each with the lines of its stack, but for what is PostgreSQL's alone."""
    for path in sorted(folder.glob("*.log")):
        lines = [line.partition("== ")[2] for line in path.read_text().splitlines()
                 if line.startswith("==")]
        for report in "\n".join(lines).split("\n\n"):
            frames = [line for line in report.splitlines() if " at 0x" in line or " by 0x" in line]
            if not any("dsql_iam" in frame for frame in frames):
                continue
            # lexer.c looks for an address on the stack, where some words are left over from before.
            if any("(lexer.c:" in frame for frame in frames[:3]):
                continue
            yield report


@pytest.mark.skipif(VALGRIND is None, reason="valgrind is not installed")
def test_no_memory_is_misused(watched, role):
    server, folder = watched
    name = role("watched", on=server)
    with server.superuser() as superuser:
        for statement in (
            f"AWS IAM GRANT watched TO '{ARN}'",
            f"aws--c\n iam/**/revoke U&\"watched\" FROM E'{ARN}'",
            f"DO $$ BEGIN AWS IAM GRANT watched TO '{ARN}'; END $$",
            "SELECT aws, iam revoke FROM (VALUES (1, 2)) v (aws, iam)",
            "SELECT quote_ident('aws'), format('%I', 'AWS')",
            "SELECT * FROM sys.iam_pg_role_mappings", "SELECT * FROM sys.doctor()",
            "SELECT pg_reload_conf()",
        ):
            superuser.execute(statement)
        for broken in ("AWS IAM GRANT", "AWS IAM GRANT watched TO é", "AWS IAM GRANT 'x'", "AWS",
                       "AWS IAM GRANT watched TO 'x'", "SELECT 1 + AWS IAM GRANT a TO 'b'", "LANGUAGE"):
            with pytest.raises(psycopg.Error):
                superuser.execute(broken)
    with server.connect() as admin:
        assert admin.execute("SELECT current_user").fetchone() == ("admin",)
    server.connect(name).close()
    for wrong in ("wrong", server.token("denied", admin=False), server.token("example")[:-1]):
        assert server.refusal(name, wrong).sqlstate == "08006"
    assert server.refusal("nobody_at_all", server.token("example")).sqlstate == "28000"
    with pytest.raises(psycopg.OperationalError):
        server.connect(sslmode="disable")
    # A process writes its log as it goes: the postmaster is there, and those that it has forked.
    assert len(list(folder.glob("*.log"))) > 5
    assert list(errors(folder)) == []
