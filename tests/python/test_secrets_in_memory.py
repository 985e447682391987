"""The memory of a backend holds nobody's secret once its login is decided."""

import os

import pytest

from support import Key, access_key, account, assumed_role, policy, sign

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root reads the memory of the server's processes")


def memory(pid):
    """All that a process can read and has of its own, one mapping behind the other."""
    found = []
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb") as mem:
        for line in maps:
            place, rights, *_, = line.split()
            start, end = (int(at, 16) for at in place.split("-"))
            if not rights.startswith("rw") or "[vvar" in line:
                continue
            mem.seek(start)
            found.append(mem.read(end - start))
    return found


def places(pid, secret):
    return sum(mapping.count(secret.encode()) for mapping in memory(pid))


OTHERS = Key("AKIAMEMORYOTHERS0001", "someSecretOfAnotherPrincipalThatStaysThere")
OWN = Key("AKIAMEMORYOWN0000001", "theSecretOfThePrincipalThatLogsInHere0001")
SESSIONS = Key("ASIAMEMORYSESSION001", "theSecretOfTheSessionThatLogsInHere00001", "theSessionTokenOfTheSession" * 20)


@pytest.fixture(scope="module")
def people(own):
    everything = [policy("dsql:DbConnectAdmin")]
    with own.documents(people=account(users={"watched": everything, "other": everything},
                                      roles={"watched_role": everything}),
                       own_key=access_key("watched", OWN), others_key=access_key("other", OTHERS),
                       session=assumed_role("watched_role", SESSIONS)):
        yield own


@pytest.mark.parametrize("loads", [True, False], ids=["that loads the documents", "after another"])
@pytest.mark.parametrize("key", [OWN, SESSIONS], ids=["user", "session"])
def test_secrets_in_passing_none_is_in_a_backend(people, key, loads):
    if loads:
        os.utime(people.iam / "people.json")
    else:
        people.connect().close()
    token = sign(key, "DbConnectAdmin")
    with people.connect("admin", token) as connection:
        pid = connection.info.backend_pid
        found = {name: places(pid, secret) for name, secret in [
            ("another's secret access key", OTHERS.secret), ("its own", key.secret),
            ("the derived key's start", "AWS4" + key.secret[:8])]}
        assert found == dict.fromkeys(found, 0)
        # It is the memory of a backend that works, and can be searched.
        connection.execute("SELECT 'some text that is in this backend'")
        assert places(pid, "some text that is in this backend") > 0
        # The rest of the token is in buffers of OpenSSL and PostgreSQL.
        assert places(pid, token.rpartition("=")[2]) <= 2


def test_secrets_at_rest_none_is_in_the_postmaster(people):
    people.connect().close()
    people.reload()
    assert places(people.postmaster(), OTHERS.secret) == 0
    people.restart()
    assert places(people.postmaster(), OTHERS.secret) == 0
    people.connect("admin", sign(OTHERS, "DbConnectAdmin")).close()
