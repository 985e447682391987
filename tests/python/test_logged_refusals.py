"""Refusals beyond `dsql_iam.max_logged_refusals` fill no disk: they are counted, and the sum is told."""

import os
import shlex
import shutil
import subprocess

import pytest

from support import ACCOUNT, DENIED, SESSION_ID, TLS_MANDATORY, Wire
from test_audit import counts, events

# `CC`, with its options, as make has it: for a server of another architecture.
CC = shlex.split(os.environ.get("CC", "cc"))

# The time of day is ahead by as many seconds as the file has bytes.
CLOCK = r"""
#define _GNU_SOURCE
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int
clock_gettime(clockid_t clock, struct timespec *time)
{
	struct stat file;
	int			result = syscall(SYS_clock_gettime, clock, time);

	if (result == 0 && clock == CLOCK_REALTIME && stat(AHEAD, &file) == 0)
		time->tv_sec += file.st_size;
	return result;
}
"""

VISITOR = f"arn:aws:iam::{ACCOUNT}:user/visitor"


def refused(server, password, user="admin", source="127.0.0.1"):
    """The Session Id of a refusal."""
    with Wire(server, source=source) as wire:
        error = wire.start(user).asked_for_password().password(password.encode()).error()
    assert error["message"] == DENIED
    return SESSION_ID.fullmatch(error["detail"])[1]


def count_of_each(server, before):
    """By how many each count of refusals has grown."""
    return {check: count - before[event, check][0] for (event, check), (count, _) in counts(server).items()
            if event == "login refused" and count != before[event, check][0]}


def test_strangers_and_principals_have_a_minute_of_their_own(audited):
    """From the sixth refusal of an address or a principal on, nothing grows but the counts; nobody else is left out."""
    server, path = audited
    with server.settings(dsql_iam__max_logged_refusals=5):
        before = counts(server)
        mark = server.log_mark()
        strangers = [refused(server, "hunter2") for _ in range(30)]
        # Without a token, too.
        with Wire(server, tls=False, source="127.0.0.1") as wire:
            assert wire.start().error()["message"] == TLS_MANDATORY
        log = server.log_since(mark)
        assert [session for session in strangers if session in log] == strangers[:5]
        assert log.count("login refused") == log.count("FATAL:  " + DENIED) == 5
        assert log.count('dsql_iam: further refused logins from "127.0.0.1" are counted and not logged, for a minute '
                         "at most (dsql_iam.max_logged_refusals)") == 1
        assert [event["requestID"] for event in events(path)] == strangers[:5]

        # Proven to be somebody's, without a policy: from whichever address.
        token = server.token("denied", admin=False)
        proven = [refused(server, token, "somebody", source)
                  for source in ("127.0.0.1", "127.0.0.3", "127.0.0.4") * 4]
        log = server.log_since(mark)
        assert [session for session in proven if session in log] == proven[:5]
        assert log.count("login refused") == 10
        assert log.count(f'further refused logins from "{VISITOR}" are counted') == 1
        assert [event["requestID"] for event in events(path)] == [*strangers[:5], *proven[:5]]
        # Another principal, without a mapping.
        other = refused(server, server.token("example"), "somebody")
        assert f'session_id={other}' in server.log_since(mark)

        # An admission, and another address.
        with server.connect() as admin:
            session, = admin.execute("SELECT sys.current_session_id()").fetchone()
        assert "login admitted" in server.logged(f"session_id={session}", mark)
        stranger = refused(server, "hunter2", source="127.0.0.2")
        assert 'address="127.0.0.2"' in server.logged(f"session_id={stranger}", mark)
        assert [event["requestID"] for event in events(path)][10:] == [other, session, stranger]
        assert count_of_each(server, before) == {"token": 31, "tls": 1, "policy": 12, "role": 1}


def test_an_admission_that_cannot_be_recorded(own):
    """It is a refusal as others are: a client that tries again and again fills no disk."""
    own.folder("audit-folder")
    with own.settings(dsql_iam__audit_file=f"'{own.dir}/audit-folder'", dsql_iam__max_logged_refusals=2):
        mark = own.log_mark()
        for _ in range(6):
            error = own.refusal("admin", own.token("admin"))
            assert (error.sqlstate, error.message, error.hint) == ("08006", DENIED, None)
        log = own.log_since(mark)
        assert log.count("dsql_iam.audit_file could not be written: it is not a file") == 2
        assert log.count(" check=internal ") == log.count("FATAL:  " + DENIED) == 2
    (own.dir / "audit-folder").rmdir()
    own.connect().close()


@pytest.fixture
def clock(own, tmp_path, monkeypatch):
    """Puts the clock of new backends ahead, by so many seconds."""
    if not shutil.which(CC[0]):
        pytest.skip("there is no C compiler")
    ahead = own.dir / "ahead"
    (tmp_path / "clock.c").write_text(CLOCK)
    subprocess.run([*CC, "-shared", "-fPIC", f'-DAHEAD="{ahead}"', "-o", "clock.so", "clock.c"],
                   check=True, cwd=tmp_path)
    library = own.dir / "clock.so"
    own.write(library, (tmp_path / "clock.so").read_bytes(), mode=0o755)
    with monkeypatch.context() as environment:
        environment.setenv("LD_PRELOAD", str(library))
        own.restart()
    try:
        yield lambda seconds: own.write(ahead, "." * seconds)
    finally:
        ahead.unlink(missing_ok=True)
        own.restart()


def omitted(path):
    """Whose refusals the audit file says that it left out, and how many."""
    return {event["sourceIPAddress"] or event["userIdentity"].get("arn"): event["additionalEventData"]["count"]
            for event in events(path) if event["eventName"] == "OmittedRefusals"}


def test_the_sum_is_told_once_the_minute_is_over(audited, clock):
    """Sixteen times as many are written of all addresses together, and the first of each."""
    server, path = audited
    with server.settings(dsql_iam__max_logged_refusals=2):
        before, mark = counts(server), server.log_mark()
        for number in range(1, 21):
            for _ in range(3):
                refused(server, "hunter2", source=f"127.0.0.{number}")
        proven = server.token("denied", admin=False)
        for _ in range(5):
            refused(server, proven, "somebody")
        log = server.log_since(mark)
        written = [log.count(f'address="127.0.0.{number}" check=token') for number in range(1, 21)]
        assert written == [2] * 16 + [1] * 4
        assert log.count(f'principal="{VISITOR}"') == 2
        assert log.count("login refused") == log.count("FATAL:  " + DENIED) == len(events(path)) == 38
        assert log.count("further refused logins beyond the first of each address are counted and not logged") == 1
        assert "more logins" not in log

        clock(61)
        mark = server.log_mark()
        with server.connect() as admin:
            session, = admin.execute("SELECT sys.current_session_id()").fetchone()
        log = server.log_since(mark)
        assert 'dsql_iam: 1 more logins from "127.0.0.16" were refused in the minute from ' in log
        assert 'dsql_iam: 2 more logins from "127.0.0.17" were refused in the minute from ' in log
        assert f'dsql_iam: 3 more logins from "{VISITOR}" were refused in the minute from ' in log
        assert log.count(" more logins from ") == 21
        expected = {f"127.0.0.{number}": 1 if number < 17 else 2 for number in range(1, 21)} | {VISITOR: 3}
        assert omitted(path) == expected
        assert events(path)[-1]["requestID"] == session
        told = next(event for event in events(path) if event["sourceIPAddress"] == "127.0.0.17"
                    and event["eventName"] == "OmittedRefusals")
        assert told["errorMessage"] in log and told["errorCode"] == "AccessDenied"
        # It is told once, and the next minute is a new one.
        again = refused(server, "hunter2")
        assert events(path)[-1]["requestID"] == again
        assert len(omitted(path)) == 21
        assert count_of_each(server, before) == {"token": 61, "policy": 5}


def test_more_networks_than_there_is_room_for(audited, clock):
    """They share one minute, whose sum is told as well."""
    server, path = audited
    with server.settings(dsql_iam__max_logged_refusals=1):
        mark = server.log_mark()
        for number in range(300):
            with Wire(server, tls=False, source=f"127.0.{1 + number // 100}.{number % 100}") as wire:
                wire.start().error()
        log = server.log_since(mark)
        assert log.count(" check=tls ") == 257
        clock(61)
        mark = server.log_mark()
        server.connect().close()
        assert "dsql_iam: 43 more logins from other addresses were refused in the minute from " in \
            server.log_since(mark)
        assert [event["additionalEventData"].get("count") for event in events(path)] == [43, None]
