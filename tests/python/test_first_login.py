"""`dsql-iam sample-identities` and `create-access-key`: from an empty directory to the first login."""

import json
import os
import subprocess

import pytest

from support import ACCOUNT, Key, for_anyone, sign, without


def run(server, *arguments):
    return server.run(*arguments, env=without("PG", "AWS", "DSQL"))


def key_of(shell):
    """The key that a shell has, once it has evaluated these lines."""
    names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    lines = 'eval "$1"' + "".join(f'\nprintf "%s\\n" "${name}"' for name in names)
    done = subprocess.run(["sh", "-euc", lines, "sh", shell], check=True, text=True, capture_output=True)
    return Key(*done.stdout.split())


@pytest.fixture
def directory(own):
    """The directory of the server's documents, empty."""
    folder = own.folder("first_login")
    with own.settings(dsql_iam__iam_directory=f"'{folder}'"):
        yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def test_a_first_login_in_two_commands(own, directory):
    made = run(own, "sample-identities", directory, "--account-id", ACCOUNT)
    assert (made.returncode, made.stderr) == (0, "")
    assert [line.removeprefix(f"wrote {directory}/") for line in made.stdout.splitlines()] == [
        "account-authorization-details.json, mode 0600", "dba-access-key.json, mode 0600",
        "app-access-key.json, mode 0600", "visitor-access-key.json, mode 0600"]
    keyed = run(own, "create-access-key", "--user-name", "dba", "--iam-directory", directory,
                "--format", "env")
    assert keyed.returncode == 0
    key = key_of(keyed.stdout)
    assert key.secret not in keyed.stderr
    assert keyed.stderr == f"wrote {directory}/access-key-dba-{key.id}.json, mode 0600\n"
    # Root gives the documents to the server's user, and to nobody else.
    owner = directory.stat()
    for path in directory.iterdir():
        found = path.stat()
        assert (found.st_uid, found.st_gid, found.st_mode & 0o7777) == (owner.st_uid, owner.st_gid, 0o600)
    own.is_read_once(directory / f"access-key-dba-{key.id}.json")
    assert own.admits("admin", sign(key, "DbConnectAdmin"))
    # The samples' other user is refused, and so is another key.
    visitor = json.loads((directory / "visitor-access-key.json").read_text())["AccessKey"]
    assert not own.admits("admin", sign(Key(visitor["AccessKeyId"], visitor["SecretAccessKey"]),
                                        "DbConnectAdmin"))
    again = run(own, "sample-identities", directory, "--account-id", ACCOUNT)
    assert (again.returncode, again.stdout) == (1, "")
    assert again.stderr.endswith("holds documents already, such as access-key-dba-" + key.id +
                                 ".json: name an empty directory\n")


def test_a_user_of_ones_own(own, directory):
    wanted = ("create-access-key", "--user-name", "alice", "--iam-directory", directory)
    unknown = run(own, *wanted)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert unknown.stderr == (f"dsql-iam: no document in {directory} has a user alice: name one that is there, "
                              "or add --create-user\n")
    assert list(directory.iterdir()) == []
    made = run(own, *wanted, "--create-user", "--account-id", ACCOUNT, "--allow", "dsql:DbConnectAdmin",
               "--format", "json")
    assert made.returncode == 0
    printed = json.loads(made.stdout)
    path = directory / f"access-key-alice-{printed['AccessKey']['AccessKeyId']}.json"
    assert json.loads(path.read_text()) == printed
    own.is_read_once(path)
    key = Key(printed["AccessKey"]["AccessKeyId"], printed["AccessKey"]["SecretAccessKey"])
    assert own.admits("admin", sign(key, "DbConnectAdmin"))


def test_an_ordinary_user_is_told_who_can(own, directory, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("only root can be somebody else")
    directory.chmod(0o777)
    done = subprocess.run([for_anyone(own.command), "sample-identities", directory, "--account-id", ACCOUNT],
                          text=True, capture_output=True, user=65534, group=65534, extra_groups=[])
    directory.chmod(0o700)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"dsql-iam: the IAM directory {directory} belongs to the user with id {directory.stat().st_uid}, who has "
        "to be able to read its documents: run this as that user, or as root\n")
    assert list(directory.iterdir()) == []
