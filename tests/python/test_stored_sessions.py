"""Sessions that `dsql-iam` began: each login opens its own, and whatever is not a good one refuses that login alone."""

import json
import os

import pytest

from assumable import ALICE, identities, role_arn, session_key, session_path, stored, token
from support import ACCOUNT, Key


@pytest.fixture(scope="module")
def iam(own):
    with identities(own) as server:
        yield server


@pytest.fixture
def reader(iam, role):
    role("reader", on=iam)
    iam.execute(f"AWS IAM GRANT reader TO '{role_arn('delegating')}'")
    return "reader"


@pytest.fixture
def key(iam):
    variables = os.environ | iam.variables | {
        "AWS_ACCESS_KEY_ID": ALICE.id, "AWS_SECRET_ACCESS_KEY": ALICE.secret}
    done = iam.run("assume-role", "--role-arn", role_arn("delegating"), "--role-session-name", "s1", env=variables)
    return session_key(json.loads(done.stdout)["Credentials"])


def loads(server):
    return server.execute("SELECT count FROM sys.iam_counts WHERE event = 'documents loaded'")[0][0]


def test_a_new_session_has_nothing_loaded_anew(iam, reader, key):
    assert iam.admits("admin", iam.token("admin"))
    before = loads(iam)
    assert iam.admits(reader, token(key)) and iam.admits(reader, token(key))
    assert loads(iam) == before
    # Nor does one that is not good keep others out.
    bad = session_path(iam, key.id[:8] + "A" * 12)
    iam.write(bad, "nonsense")
    assert iam.admits("admin", iam.token("admin")) and loads(iam) == before
    bad.unlink()


def exposed(path, iam):
    path.chmod(0o640)
    return "holds a secret but has mode 0640; it must be 0600"


def linked(path, iam):
    elsewhere = iam.iam / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)
    return "is not a regular file of at most 256 KiB"


def pipe(path, iam):
    path.unlink()
    os.mkfifo(path, 0o600)
    os.chown(path, iam.iam.stat().st_uid, -1)
    return "is not a regular file of at most 256 KiB"


def another(path, iam):
    document = json.loads(path.read_text())
    document["Credentials"]["AccessKeyId"] = "ASIA" + "B" * 16
    iam.write(path, json.dumps(document))
    return "does not hold the session that its name says"


def half(path, iam):
    iam.write(path, path.read_text()[:100])
    return "EOF while parsing"


@pytest.mark.parametrize("spoil", [exposed, linked, pipe, another, half])
def test_a_stored_session_that_is_not_good(iam, reader, key, spoil):
    path = session_path(iam, key.id)
    assert iam.admits(reader, token(key))
    try:
        words = spoil(path, iam)
        mark = iam.log_mark()
        refused = iam.refusal(reader, token(key))
        assert (refused.sqlstate, refused.message, refused.hint) == (
            "08006", "unable to accept connection, access denied", None)
        [line] = [line for line in iam.log_since(mark).splitlines() if "refused" in line]
        assert "the stored session of the access key is not used: " in line and words in line
        assert key.secret not in line and key.session_token not in line
        assert iam.admits("admin", iam.token("admin"))
    finally:
        path.unlink(missing_ok=True)
        (iam.iam / "elsewhere").unlink(missing_ok=True)
    assert "is invalid" in iam.refusal(reader, token(key)).hint


def early(path, iam):
    """As if it had begun while the clock was years ahead."""
    id = "ASIA7777" + "A" * 12
    later = session_path(iam, id)
    later.parent.mkdir(mode=0o700)
    os.chown(later.parent, iam.iam.stat().st_uid, -1)
    document = json.loads(path.read_text())
    document["Credentials"] |= {"AccessKeyId": id, "Expiration": "2089-01-01T00:00:00Z"}
    iam.write(later, json.dumps(document))
    return later


def test_a_session_that_began_while_the_clock_was_ahead(iam, reader, key):
    path = early(session_path(iam, key.id), iam)
    key = Key(path.stem, key.secret, key.session_token)
    try:
        mark = iam.log_mark()
        refused = iam.refusal(reader, token(key))
        assert (refused.sqlstate, refused.message, refused.hint) == (
            "08006", "unable to accept connection, access denied", None)
        iam.logged("began while a clock was ahead: it ends later than any that has begun by now", mark)
        [finding] = [finding for finding in checked(iam)["findings"] if finding["severity"] == "error"]
        assert (finding["check"], finding["remedy"]) == ("session", f"rm {path}")
    finally:
        path.unlink()
        path.parent.rmdir()


def test_a_session_does_not_outlive_its_role(iam, reader, key):
    path = iam.iam / "assumable.json"
    before = path.read_text()
    export = json.loads(before)
    for role in export["RoleDetailList"]:
        role["RoleId"] = "AROAMADEANEW"
    try:
        iam.write(path, json.dumps(export))
        iam.is_read_once(path)
        mark = iam.log_mark()
        refused = iam.refusal(reader, token(key))
        assert (refused.sqlstate, refused.message, refused.hint) == (
            "08006", "unable to accept connection, access denied",
            "The security token included in the request is invalid.")
        iam.logged(f"access key {key.id} belongs to arn:aws:sts::{ACCOUNT}:assumed-role/delegating/s1 of the "
                   "role with the id AROA, which is in no document", mark)
    finally:
        iam.write(path, before)
        iam.is_read_once(path)
    assert iam.admits(reader, token(key))


def test_an_access_key_in_a_document_as_well_is_nobodys(iam, reader, key):
    document = json.loads(session_path(iam, key.id).read_text())
    with iam.documents(copied=document):
        refused = iam.refusal(reader, token(key))
        assert (refused.sqlstate, refused.hint) == ("08006", None)
        assert iam.logged(f"duplicate access key {key.id}")
        report = checked(iam)
        assert [finding["check"] for finding in report["findings"]
                if finding["severity"] == "error"] == ["session"]
    # Only in the document, it is one like any other.
    session_path(iam, key.id).unlink()
    with iam.documents(copied=document):
        assert iam.admits(reader, token(key))


def checked(server):
    return json.loads(server.run("check", "--json", "--iam-directory", server.iam).stdout)


def test_who_explains_and_checks_sees_it(iam, reader, key):
    path = session_path(iam, key.id)
    sessions = {session["access_key_id"]: session for session in checked(iam)["sessions"]}
    assert sessions[key.id]["arn"] == f"arn:aws:sts::{ACCOUNT}:assumed-role/delegating/s1"
    assert sessions[key.id]["file"] == str(path.relative_to(iam.iam))
    done = iam.run("explain", "--role", reader, "--json", input=token(key))
    assert json.loads(done.stdout)["is_admitted"], done.stdout + done.stderr
    rows = iam.execute(f"SELECT check_name, outcome FROM sys.explain_token('{reader}', '{token(key)}')")
    assert ("mapping", "passed") in rows
    # Who asks about everybody hears of the roles alone, unless they ask for the sessions too.
    arn = f"arn:aws:sts::{ACCOUNT}:assumed-role/delegating/s1"
    assert arn not in iam.run("check", "--iam-directory", iam.iam).stdout
    asked = f"SELECT access FROM sys.iam_access WHERE role_name = '{reader}' AND principal = "
    assert iam.execute(f"{asked}'{arn}'") == []
    assert iam.execute(f"{asked}'{role_arn('delegating')}'") == [("allowed",)]
    for more, expected in [((), []), (("--sessions",), ["if mapped"])]:
        done = iam.run("access", "--json", "--iam-directory", iam.iam, "--cluster-arn", iam.cluster_arn, *more)
        answers = {row["access"] for row in json.loads(done.stdout)["access"]
                   if (row["principal"], row["role"]) == (arn, "*")}
        assert sorted(answers) == expected
    found = "SELECT found FROM sys.doctor() WHERE check_name = 'iam_directory'"
    usable = lambda: int(iam.execute(found)[0][0].split(" access keys")[0].split()[-1])
    before = usable()
    assert path in stored(iam)
    path.unlink()
    assert usable() == before - 1
