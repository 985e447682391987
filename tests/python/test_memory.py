"""The library under valgrind: it reads and writes only memory that is there and has been written."""

import re
import shutil
import subprocess

import psycopg
import pytest

from support import EXAMPLE_ARN as ARN

VALGRIND = shutil.which("valgrind")


@pytest.fixture
def watched(own):
    """The server under valgrind, and what valgrind says of it."""
    # The exceptions that is_meant() makes are of one file, lexer.c, and an optimised library tells no files.
    if b"\0.debug_line\0" not in (own.library_directory / "dsql_iam.so").read_bytes():
        pytest.skip("valgrind names no source files of an optimised library")
    trial = subprocess.run([VALGRIND, "--quiet", own.program, "--version"], text=True,
                           stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, **own.owner)
    if "Fatal error at startup: a function redirection" in trial.stderr:
        pytest.skip("valgrind knows no symbols of the C library that this PostgreSQL brings along")
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
    """Valgrind's reports, each with the lines of its stack, without those of PostgreSQL alone."""
    for path in sorted(folder.glob("*.log")):
        lines = [line.partition("== ")[2] for line in path.read_text().splitlines()
                 if line.startswith("==")]
        for report in "\n".join(lines).split("\n\n"):
            frames = [line for line in report.splitlines() if " at 0x" in line or " by 0x" in line]
            if not any("dsql_iam" in frame for frame in frames):
                continue
            if not is_meant(report, frames):
                yield report


def is_meant(report, frames):
    """Whether it is what lexer.c does on purpose: it looks for an address on the stack, where some words
    are left over from before; and what stands behind a word that is not the lexer's says nothing."""
    by_lexer = any("(lexer.c:" in frame for frame in frames[:3])
    is_unwritten = re.search("^(Conditional jump or move depends on|Use of) uninitialised value|"
                             "^Syscall param .* uninitialised byte", report.strip(), re.M)
    is_look_ahead = ("Invalid read of size 1" in report
                     and "dsql_iam_lexer_iam_may_follow" in frames[0])
    # The kernel is asked whether there is memory at an address: that is how it is found out.
    is_probe = (report.strip().startswith("Syscall param rt_sigprocmask(set) points to")
                and any("is_readable_set" in frame for frame in frames[:2]))
    return by_lexer and bool(is_unwritten or is_look_ahead or is_probe)


def test_what_is_meant():
    at = "   at 0x1: {} ({}:1)\n   by 0x2: f (lib.rs:1) dsql_iam"
    for head, function, meant in (
        ("Conditional jump or move depends on uninitialised value(s)", "find", True),
        ("Use of uninitialised value of size 8", "find", True),
        ("Syscall param rt_sigprocmask(set) points to unaddressable byte(s)", "is_readable_set", True),
        ("Syscall param rt_sigprocmask(set) points to unaddressable byte(s)", "find", False),
        ("Invalid read of size 8", "find", False),
        ("Invalid write of size 1", "dsql_iam_lexer_iam_may_follow", False),
        ("Invalid read of size 1", "dsql_iam_lexer_iam_may_follow", True),
    ):
        report = f"{head}\n{at.format(function, 'lexer.c')}"
        assert is_meant(report, report.splitlines()[1:]) == meant
        report = f"{head}\n{at.format(function, 'port.c')}"
        assert not is_meant(report, report.splitlines()[1:])


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
    assert "\n\n".join(errors(folder)) == ""
