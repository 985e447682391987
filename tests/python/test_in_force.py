"""The documents in force: loaded once for all processes, and by whichever of them finds a change."""

import asyncio
import contextlib
import datetime
import fcntl
import json
import os

import pytest

from support import ACCOUNT, DENIED, EXAMPLE_ARN, Key, account, policy, sign, until

LOADED = "dsql_iam: loaded "
STRANGER = Key("AKIASTRANGERSTRANGER", "the-secret-of-a-key-that-is-nowhere")
LONG_AGO = datetime.datetime(2024, 11, 25, tzinfo=datetime.UTC)


@pytest.fixture
def user_of_many(own):
    """Documents that take a while to load, and the policies of `dba` apart from them.

    Given a list of policies it puts them in force with the next login.
    """
    details = own.iam / "account-authorization-details.json"
    original = details.read_text()
    many = account(roles={f"many-{number}": [policy("s3:Get*")] * 4 for number in range(5000)})

    def change(actions):
        changed = json.loads(original)
        for user in changed["UserDetailList"]:
            if user["UserName"] == "dba":
                user["UserPolicyList"] = [policy(*actions)] if actions else []
                user["AttachedManagedPolicies"] = []
        own.write(details, json.dumps(changed))
        own.is_read_once(details)

    try:
        with own.documents(many=many):
            yield change
    finally:
        own.write(details, original)
    assert own.admits("admin", own.token("admin"))


def hidden_files(server):
    """The files without a name that the postmaster has in the data directory."""
    folder = f"/proc/{server.postmaster()}/fd"
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            target = os.readlink(path)
            if target.startswith(f"{server.data.resolve()}/") and target.endswith("(deleted)"):
                yield path


@contextlib.contextmanager
def another_process_loads(server):
    """As a process that is loading the directory: has the lock that it has meanwhile."""
    with contextlib.ExitStack() as files:
        for path in hidden_files(server):
            file = files.enter_context(open(path, "r+b"))
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def test_a_change_is_loaded_once_however_many_log_in(own, user_of_many):
    assert own.admits("admin", own.token("admin"))
    for attempt in range(3):
        user_of_many(["dsql:*"])
        mark = own.log_mark()

        async def log_in_at_once():
            connections = await asyncio.gather(*(
                own.asyncpg("admin", own.token("admin")) for _ in range(60)))
            await asyncio.gather(*(connection.close() for connection in connections))

        asyncio.run(log_in_at_once())
        for _ in range(3):
            assert own.admits("admin", own.token("admin"))
        assert own.log_since(mark).count(LOADED) == 1, attempt


@pytest.mark.parametrize(("content", "mode", "fault"), [
    (b"{", 0o600, "EOF while parsing an object at line 1 column 1"),
    (b'{\n  "\xff"}', 0o600, "not in UTF-8 at line 2 column 4"),
    (b"{}", 0, "Permission denied (os error 13)"),
], ids=["cut off", "not UTF-8", "not readable"])
def test_a_broken_change_is_read_once_and_named_at_each_login(own, user_of_many, content, mode, fault):
    assert own.admits("admin", own.token("admin"))
    broken = own.iam / "broken.json"
    mark = own.log_mark()

    def warnings():
        return [line for line in own.log_since(mark).splitlines() if "/broken.json" in line]

    def log_in(times):
        assert own.admits("admin", own.token("admin"))
        until(lambda: len(warnings()) == times, "the warning")

    try:
        own.write(broken, content, mode=mode)
        own.is_read_once(broken)
        log_in(1)
        # The documents come from that process now: nobody else may read.
        with another_process_loads(own):
            log_in(2)
            log_in(3)
        assert all(line.endswith(f"{fault}; the identities loaded before stay in force")
                   for line in warnings())
        assert own.log_since(mark).count(LOADED) == 0
    finally:
        broken.unlink()


def test_what_was_before_decides_until_the_new_is_loaded(own, user_of_many):
    user_of_many(["dsql:*"])
    assert own.admits("admin", own.token("admin"))
    user_of_many([])
    mark = own.log_mark()
    with another_process_loads(own):
        # At once, though a change has been made.
        assert own.admits("admin", own.token("admin"))
        assert LOADED not in own.log_since(mark)
    refusal = own.refusal("admin", own.token("admin"))
    assert refusal.hint.endswith(
        "because no identity-based policy allows the dsql:DbConnectAdmin action")
    with another_process_loads(own):
        user_of_many(["dsql:*"])
        assert not own.admits("admin", own.token("admin"))
    assert own.admits("admin", own.token("admin"))


def test_a_reload_leaves_a_large_directory_to_the_next_login(own, user_of_many):
    assert own.admits("admin", own.token("admin"))
    user_of_many(["dsql:*"])
    mark = own.log_mark()
    own.reload()
    # Clients wait for the postmaster; it must not be the one that reads all this.
    assert LOADED not in own.log_since(mark)
    assert own.admits("admin", own.token("admin"))
    assert own.log_since(mark).count(LOADED) == 1


def test_a_reload_leaves_many_documents_to_the_next_login(own):
    """However small they are: each takes the postmaster a moment, in which it accepts nobody."""
    tag = {"ContextEntries": []}
    with own.documents(**{f"small-{number}": tag for number in range(501)}):
        assert own.admits("admin", own.token("admin"))
        with own.documents(another=tag):
            mark = own.log_mark()
            own.reload()
            assert LOADED not in own.log_since(mark)
            assert own.admits("admin", own.token("admin"))
            assert own.log_since(mark).count(LOADED) == 1
    assert own.admits("admin", own.token("admin"))


def test_a_reload_leaves_a_directory_of_many_other_files_to_the_next_login(own):
    """Only to list them takes its time, too."""
    others = [own.iam / f"other-{number}" for number in range(501)]
    try:
        for path in others:
            path.touch()
        with own.settings(log_min_messages="debug1"), own.documents(another={"ContextEntries": []}):
            mark = own.log_mark()
            own.reload()
            own.logged("a reload looks at the IAM directory, and leaves it to a login: true", mark)
            assert LOADED not in own.log_since(mark)
            assert own.admits("admin", own.token("admin"))
            assert own.log_since(mark).count(LOADED) == 1
    finally:
        for path in others:
            path.unlink()
    assert own.admits("admin", own.token("admin"))


def test_a_reload_looks_once(own):
    """Though each setting that is in a file calls for it; and the next reload looks again."""
    looks = "dsql_iam: a reload looks at the IAM directory"
    with own.settings(log_min_messages="debug1", dsql_iam__region="'us-east-1'",
                      dsql_iam__account_id=f"'{ACCOUNT}'"):
        for _ in range(2):
            mark = own.log_mark()
            own.reload()
            assert own.log_since(mark).count(looks) == 1
            with own.documents(another={"ContextEntries": []}):
                mark = own.log_mark()
                own.reload()
                assert own.log_since(mark).count(looks) == 1
                assert own.log_since(mark).count(LOADED) == 1


@pytest.mark.parametrize(("password", "check"), [
    (lambda own: "hunter2", "token"),
    (lambda own: sign(STRANGER, "DbConnectAdmin", region="eu-west-1"), "credential_scope"),
    (lambda own: sign(STRANGER, "DbConnect"), "action"),
    (lambda own: sign(STRANGER, "DbConnectAdmin", host="elsewhere.test"), "host"),
    (lambda own: sign(STRANGER, "DbConnectAdmin", at=LONG_AGO), "time"),
], ids=["no token", "another region", "another action", "another host", "expired"])
def test_who_is_refused_without_identities_looks_for_none(own, password, check):
    """Strangers should not make the server go through the directory, nor load it."""
    with own.documents(another={"ContextEntries": []}):
        mark = own.log_mark()
        refusal = own.refusal("admin", password(own))
        assert (refusal.sqlstate, refusal.message) == ("08006", DENIED)
        own.logged(f"check={check} ", mark)
        assert LOADED not in own.log_since(mark)
        assert own.admits("admin", own.token("admin"))
        assert own.log_since(mark).count(LOADED) == 1


def test_a_session_is_told_what_is_in_force(own, user_of_many):
    """`sys.explain_token` in a session that began before the change."""
    with own.superuser() as connection:
        def checks():
            return connection.execute("SELECT check_name, outcome FROM sys.explain_token(%s, %s)",
                                      ("admin", own.token("admin"))).fetchall()

        user_of_many(["dsql:*"])
        assert ("policy", "passed") in checks()
        user_of_many(["s3:*"])
        assert ("policy", "failed") in checks()


def test_custom_roles_by_an_excerpt(own, role, user_of_many):
    name = role("excerpt", on=own)
    own.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
    user_of_many(["dsql:*"])
    for _ in range(2):
        with own.connect(name) as connection:
            assert connection.execute("SELECT current_user").fetchone() == (name,)
        assert own.refusal(name, own.token("denied")).sqlstate == "08006"


@pytest.mark.parametrize("what", ["cut", "overwritten"])
def test_a_record_that_is_damaged_is_none(own, user_of_many, what):
    user_of_many(["dsql:*"])
    assert own.admits("admin", own.token("admin"))
    broken = own.iam / "broken.json"
    try:
        own.write(broken, "{")
        assert own.admits("admin", own.token("admin"))
        for path in hidden_files(own):
            with open(path, "r+b") as file:
                if what == "cut":
                    file.truncate(0)
                else:
                    file.write(b"x" * 100)
        mark = own.log_mark()
        for _ in range(2):
            refusal = own.refusal("admin", own.token("admin"))
            assert (refusal.sqlstate, refusal.message) == ("08006", DENIED)
        own.logged("no identities are in force, nobody can log in with a token", mark)
        own.logged("check=identities", mark)
    finally:
        broken.unlink()
    assert own.admits("admin", own.token("admin"))


def test_a_broken_document_does_not_bring_back_what_a_later_one_took_away(own):
    details = own.iam / "account-authorization-details.json"
    original = details.read_text()
    assert own.admits("admin", own.token("admin"))

    # The postmaster has the policies of its start; a backend alone sees this one.
    without = json.loads(original)
    for user in without["UserDetailList"]:
        user["UserPolicyList"] = []
        user["AttachedManagedPolicies"] = []
    try:
        own.write(details, json.dumps(without))
        refusal = own.refusal("admin", own.token("admin"))
        assert refusal.hint.endswith(
            "because no identity-based policy allows the dsql:DbConnectAdmin action")

        mark = own.log_mark()
        own.write(details, original + "x")
        for _ in range(2):
            refusal = own.refusal("admin", own.token("admin"))
            assert (refusal.sqlstate, refusal.message) == ("08006", DENIED)
            assert refusal.hint.endswith(
                "because no identity-based policy allows the dsql:DbConnectAdmin action")
        line = own.logged("stay in force", mark)
        assert details.name in line and "line" in line and "column" in line

        # A reload gives the postmaster the same.
        own.execute("SELECT pg_reload_conf()")
        assert not own.admits("admin", own.token("admin"))
    finally:
        own.write(details, original)
    assert own.admits("admin", own.token("admin"))
