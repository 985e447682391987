"""As a property: however it is set up, nobody comes in over TCP whom neither IAM lets in nor the
server let in without the library.

Configurations are drawn from lists of settings and of faults, and put in force at the start of the
server or while it runs. For each, everybody tries to log in with everything. Those admitted are compared
with two sets: whom the tokens and the documents allow, and whom the same hba file lets in while
the library is not loaded, with its `trust` lines taken out.
"""

import errno
import functools
import json
import os
import random
import re
import resource
import shutil
import socket
import subprocess

import psycopg
import pytest

from support import EXAMPLE_ARN, Key, account, policy, until

# Others than these are for a longer search by hand; a failure tells which it was.
SEED = os.environ.get("FAIL_CLOSED_SEED", "1")
COUNT = int(os.environ.get("FAIL_CLOSED_COUNT", "30"))

PASSWORD = "hunter2"
ROLES = ("admin", "postgres", "fc_mapped", "fc_exempt", "fc_unmapped", "fc_super", "fc_nologin",
         "fc_nobody")
CREDENTIALS = ("password", "good", "denied", "forged")
MAPPED = {"admin", "fc_mapped", "fc_exempt"}
EVERYBODY = {(role, credential, tls)
             for role in ROLES for credential in CREDENTIALS for tls in (True, False)}

KEY = Key("AKIAFAILCLOSEDCLOSED", "the-secret-in-documents-that-are-never-good")

# The lines for TCP of an hba file of the user's; those with `trust` wait for a token.
HBA = {
    "no line": [],
    "trust": ["host all all all trust"],
    "trust with TLS": ["hostssl all all all trust"],
    "trust without TLS": ["hostnossl all all all trust"],
    "scram": ["host all all all scram-sha-256"],
    "md5": ["host all all all md5"],
    "password": ["host all all all password"],
    "reject": ["host all all all reject"],
    "reject before trust": ["host all fc_mapped all reject", "host all all all trust"],
    "cert": ["hostssl all all all cert"],
    "ident": ["host all all all ident"],
    "scram for one, trust": ["host all fc_exempt all scram-sha-256", "host all all all trust"],
    "trust for one, scram": ["host all admin all trust", "host all all all scram-sha-256"],
    "trust for another database": ["host template1 all all trust"],
    "trust for another address": ["host all all 192.0.2.0/24 trust"],
    "trust for replication": ["host replication all all trust"],
    "trust with GSSAPI": ["hostgssenc all all all trust"],
    "trust without GSSAPI": ["hostnogssenc all all all trust"],
    "trust with a known certificate": ["hostssl all all all trust clientcert=verify-ca"],
    "trust with one's own certificate": ["hostssl all all all trust clientcert=verify-full"],
    "a method with options": ["host all all all ident map=nobody"],
}
# Those that not every server has been built with. `pam` and `radius`, which take seconds to refuse each
# attempt, are in SLOW; with `peer`, which is for sockets, the server does not start.
BUILT_WITH = subprocess.run([os.environ["PG_CONFIG"], "--configure"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
if "--with-ldap" in BUILT_WITH:
    HBA["ldap"] = ["host all all all ldap ldapserver=127.0.0.1 ldapport=9 ldapprefix=cn="]
if "--with-gssapi" in BUILT_WITH:
    HBA["gss"] = ["host all all all gss"]
SLOW = {"radius": "host all all all radius radiusservers=127.0.0.1 radiusports=9 radiussecrets=secret"}
if "--with-pam" in BUILT_WITH:
    SLOW["pam"] = "host all all all pam"
# Of those who have a token, whose attempts come to a `trust` line that takes them.
TRUSTED = {
    "trust": MAPPED,
    "trust with TLS": MAPPED,
    "trust without GSSAPI": MAPPED,
    "reject before trust": MAPPED - {"fc_mapped"},
    "scram for one, trust": MAPPED - {"fc_exempt"},
    "trust for one, scram": {"admin"},
}


def create_extension(own):
    """Which refuses an `admin` that has a password."""
    own.execute("ALTER ROLE admin PASSWORD NULL", "CREATE EXTENSION dsql_iam",
                f"ALTER ROLE admin PASSWORD '{PASSWORD}'")


# Faults of the documents. Each takes the folder; it is put back as it was.

def broken(text):
    return lambda own: own.write(own.iam / "zz-fault.json", text)


def truncated(own):
    text = (own.iam / "account.json").read_text()
    own.write(own.iam / "account.json", text[:len(text) // 2])


def unreadable(own):
    own.write(own.iam / "zz-fault.json", "{}", mode=0)


def of_another_user(own):
    own.write(own.iam / "zz-fault.json", "{}")
    os.chown(own.iam / "zz-fault.json", 0, 0)


def exposed(own):
    text = '{"AccessKey": {"UserName": "admin", "AccessKeyId": "%s", "Status": "Active", ' \
        '"SecretAccessKey": "%s", "CreateDate": "2026-01-01T00:00:00+00:00"}}'
    own.write(own.iam / "zz-fault.json", text % (KEY.id, KEY.secret), mode=0o644)


DOCUMENT_FAULTS = {
    "empty": broken(""),
    "no document": broken("{}"),
    "nested": broken("[" * 100_000),
    "NULs": broken("\0" * 4096),
    "truncated": truncated,
    "a directory": lambda own: (own.iam / "zz-fault.json").mkdir(),
    "a pipe": lambda own: os.mkfifo(own.iam / "zz-fault.json"),
    "a link to nowhere": lambda own: (own.iam / "zz-fault.json").symlink_to("nowhere"),
    "a link to itself": lambda own: (own.iam / "zz-fault.json").symlink_to("zz-fault.json"),
    "a device": lambda own: (own.iam / "zz-fault.json").symlink_to("/dev/zero"),
    "unreadable": unreadable,
    "readable by others": exposed,
    "folder without any right": lambda own: own.iam.chmod(0),
}
if os.geteuid() == 0:
    DOCUMENT_FAULTS["of another user"] = of_another_user

# Settings with which no token is good, whatever the documents say.
SETTING_FAULTS = {
    "no account": {"dsql_iam.account_id": ""},
    "another account": {"dsql_iam.account_id": "999999999999"},
    "half an account": {"dsql_iam.account_id": "0123456"},
    "no region": {"dsql_iam.region": ""},
    "another region": {"dsql_iam.region": "eu-west-1"},
    "no cluster": {"dsql_iam.cluster_id": ""},
    "bad endpoint": {"dsql_iam.endpoints": "a b"},
    "audit file in no folder": {"dsql_iam.audit_file": "/nonexistent/audit.json"},
    "audit file is a folder": {"dsql_iam.audit_file": "base"},
    "audit file is a device": {"dsql_iam.audit_file": "/dev/null"},
    "audit file on a full device": {"dsql_iam.audit_file": "/dev/full"},
    "no connections": {"dsql_iam.max_connection_rate": "1", "dsql_iam.max_connection_burst": "0"},
}

# Settings with which no documents are found, so that those that were loaded before stay in force.
DIRECTORY_FAULTS = {
    "nowhere": {"dsql_iam.iam_directory": "/nonexistent"},
    "a file": {"dsql_iam.iam_directory": "postgresql.conf"},
}

# Faults of the hba file that the library wrote, while the server runs.
OUR_FILE_FAULTS = {
    "deleted": lambda path, own: path.unlink(),
    "empty": lambda path, own: path.write_text(""),
    "changed": lambda path, own: path.write_text("host all all all trust\nlocal all all trust\n"),
    "no hba file": lambda path, own: path.write_text("open sesame\n"),
    "unreadable": lambda path, own: path.chmod(0),
    "a directory": lambda path, own: (path.unlink(), path.mkdir()),
}


class World:
    """The server, its roles, and what everybody got in with before."""

    def __init__(self, own):
        self.own, self.program = own, own.program
        self.auto = own.data / "postgresql.auto.conf"
        self.hba = own.data / "pg_hba.conf"
        self.ours = own.data / "dsql_iam_hba.conf"
        self.auto_before, self.hba_before = self.auto.read_text(), self.hba.read_text()
        self.documents = {path: (path.read_bytes(), path.stat()) for path in own.iam.iterdir()}
        self.folder = own.iam.stat()
        for name in ROLES[2:-1]:
            own.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
            if name != "fc_unmapped":
                own.execute(f"AWS IAM GRANT {name} TO '{EXAMPLE_ARN}'")
        own.execute("ALTER ROLE fc_super SUPERUSER", "ALTER ROLE fc_nologin NOLOGIN",
                    f"ALTER ROLE admin PASSWORD '{PASSWORD}'")
        own.write(own.iam / "account.json", json.dumps(
            account(users={"fc_other": [policy("dsql:DbConnect")]})))
        self.documents[own.iam / "account.json"] = (
            (own.iam / "account.json").read_bytes(), (own.iam / "account.json").stat())

    def credential(self, kind, role):
        """The text sent as the password."""
        if kind == "password":
            return PASSWORD
        is_admin = role == "admin"
        profile = "denied" if kind == "denied" else "admin" if is_admin else "example"
        token = self.own.token(profile, admin=is_admin)
        if kind == "forged":
            token = token[:-1] + ("0" if token[-1] != "0" else "1")
        return token

    def gets_in(self, role, credential, tls, **more):
        arguments = {
            "host": "localhost", "hostaddr": "127.0.0.1", "port": self.own.port, "user": role,
            "password": self.credential(credential, role), "dbname": "postgres",
            "sslmode": "require" if tls else "disable", "sslrootcert": self.own.authority,
            "gssencmode": "disable", "connect_timeout": 20}
        try:
            connection = psycopg.connect(**arguments | more)
        except psycopg.OperationalError:
            return False
        with connection:
            assert connection.execute("SELECT session_user").fetchone() == (role,)
        connection.close()
        return True

    def who_gets_in(self):
        return {attempt for attempt in sorted(EVERYBODY) if self.gets_in(*attempt)}

    # Setting it up

    def is_running(self):
        done = subprocess.run([self.own.bin / "pg_ctl", "-D", self.own.data, "status"],
                              stdout=subprocess.DEVNULL, **self.own.owner)
        return done.returncode == 0

    def stop(self):
        if self.is_running():
            self.own.pg_ctl("stop", "-m", "fast")

    def start(self):
        """Whether it started."""
        try:
            self.own.pg_ctl("start", "-p", self.program, "-l", self.own.dir / "log")
        except subprocess.CalledProcessError:
            assert not self.is_running()
            return False
        return True

    def configure(self, settings, lines=()):
        text = "".join(f"{name} = '{value}'\n" for name, value in settings.items())
        self.own.write(self.auto, self.auto_before + text)
        self.own.write(self.hba, self.hba_before + "\n".join(lines) + "\n")

    def mend(self):
        """Documents and hba file as they were."""
        os.chmod(self.own.iam, self.folder.st_mode)
        remove(self.own.iam / "zz-fault.json")
        for path, (content, status) in self.documents.items():
            if not path.is_file() or path.read_bytes() != content:
                remove(path)
                self.own.write(path, content.decode())
            path.chmod(status.st_mode)
        if self.ours.is_dir():
            remove(self.ours)
        self.configure({})


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def world(own):
    world = World(own)
    yield world
    world.stop()
    world.mend()
    (own.iam / "account.json").unlink()
    assert world.start()
    own.connect().close()
    for name in ROLES[2:-1]:
        own.execute(f"SELECT sys.iam_revoke(pg_role_name, arn) FROM sys.iam_pg_role_mappings "
                    f"WHERE pg_role_name = '{name}'", f"DROP ROLE {name}")
    own.execute("ALTER ROLE admin PASSWORD NULL")


@pytest.fixture(autouse=True)
def mended(world):
    """Each test begins and ends with a server that does not run, and that lacks nothing."""
    world.stop()
    yield
    world.stop()
    world.mend()


def without_trust(lines):
    """Lines that let in whom these do, but for those who would come in by `trust`."""
    return tuple(re.sub(r"\btrust( clientcert=\S+)?$", "reject", line) for line in lines)


@pytest.fixture(scope="module")
def before(world):
    """Whom these lines let in while the library is not loaded."""
    @functools.cache
    def let_in(lines):
        world.stop()
        world.configure({"shared_preload_libraries": "", **CERTIFICATES}, lines)
        assert world.start()
        found = world.who_gets_in()
        world.stop()
        return found
    return let_in


# The server's own certificate signs no client's; `cert` needs one to be named.
CERTIFICATES = {"ssl_ca_file": "tls-authority.crt"}


@pytest.fixture(scope="module", autouse=True)
def authority(world):
    path = world.own.data / "tls-authority.crt"
    with open(world.own.authority) as certificate:
        world.own.write(path, certificate.read())
    yield
    path.unlink()


def with_tokens(requires_tls):
    """Whom the tokens and the documents allow."""
    return {(role, "good", tls) for role in MAPPED for tls in (True, False)
            if tls or not requires_tls}


def drawn(number):
    """The configuration with this number: always the same."""
    draw = random.Random(f"{SEED}/{number}")
    some = lambda choices, chance: draw.choice(sorted(choices)) if draw.random() < chance else None
    return {
        "hba": draw.choice(sorted(HBA)),
        "manage_hba": draw.random() < 0.4,
        "exempt": draw.random() < 0.3,
        "require_tls": draw.random() < 0.6,
        "install_syntax": draw.random() < 0.7,
        "explain_denials": draw.random() < 0.3,
        "extension": draw.random() < 0.8,
        "setting": some(SETTING_FAULTS, 0.25),
        "directory": some(DIRECTORY_FAULTS, 0.15),
        "document": some(DOCUMENT_FAULTS, 0.4),
        "our_file": some(OUR_FILE_FAULTS, 0.3),
        "when": draw.choice(["at the start", "while it runs"]),
    }


@pytest.mark.parametrize("number", range(COUNT))
def test_nobody_else_gets_in(world, before, number):
    hold(world, before, drawn(number), f"FAIL_CLOSED_SEED={SEED}, number {number}")


def hold(world, before, drawn, name="named"):
    """Puts a configuration in force, and sees who gets in."""
    own, lines = world.own, HBA[drawn["hba"]]
    allowed_before = before(without_trust(lines))
    world.stop()
    world.mend()
    on_off = lambda name: "on" if drawn[name] else "off"
    settings = {"dsql_iam.manage_hba": on_off("manage_hba"),
                "dsql_iam.install_syntax": on_off("install_syntax"),
                "dsql_iam.exempt_roles": "fc_exempt" if drawn["exempt"] else "",
                "dsql_iam.require_tls": on_off("require_tls"),
                "dsql_iam.explain_denials": on_off("explain_denials"), **CERTIFICATES}
    faults = (SETTING_FAULTS.get(drawn["setting"], {})
              | DIRECTORY_FAULTS.get(drawn["directory"], {}))
    spoil = DOCUMENT_FAULTS.get(drawn["document"], lambda own: None)
    is_at_start = drawn["when"] == "at the start"
    if is_at_start:
        spoil(own)
        world.configure(settings | faults, lines)
        has_started = world.start()
    else:
        world.configure(settings, lines)
        assert world.start(), name
        spoil(own)
        world.configure(settings | faults, lines)
        own.reload()
        has_started = True
    try:
        if has_started and not drawn["extension"]:
            own.execute("DROP EXTENSION dsql_iam")
        if has_started and (spoil_file := OUR_FILE_FAULTS.get(drawn["our_file"])):
            if world.ours.exists():
                spoil_file(world.ours, own)
            own.execute("SELECT pg_reload_conf()")
            # Each connection from here on is of a postmaster that has read the signal or not: both
            # have to hold.
        got_in = world.who_gets_in() if has_started else set()
    finally:
        if has_started and not drawn["extension"]:
            create_extension(own)

    by_token = with_tokens(drawn["require_tls"])
    is_asked_for_token = drawn["manage_hba"] or any(" trust" in line for line in lines)
    is_lost = drawn["setting"] or (is_at_start and (drawn["document"] or drawn["directory"]))
    if not is_asked_for_token or is_lost:
        by_token = set()
    if not drawn["manage_hba"]:
        otherwise = allowed_before
    elif drawn["exempt"]:
        otherwise = {("fc_exempt", "password", tls) for tls in (True, False)}
        by_token = {attempt for attempt in by_token if attempt[0] != "fc_exempt"}
    else:
        otherwise = set()
    extra = got_in - by_token - otherwise
    assert not extra, (name, drawn, sorted(extra))
    # The other way round where all is in order: a door that is always shut proves nothing.
    if drawn["manage_hba"] and not drawn["our_file"]:
        assert has_started
        assert got_in == by_token | otherwise, (name, drawn, sorted(got_in))
    return got_in


GOOD = {"hba": "no line", "manage_hba": True, "exempt": False, "require_tls": True,
        "install_syntax": True, "explain_denials": False, "extension": True, "setting": None,
        "directory": None, "document": None, "our_file": None, "when": "at the start"}


def test_the_attempts_get_in_where_they_should(world, before):
    assert hold(world, before, GOOD) == with_tokens(True)
    assert hold(world, before, GOOD | {"require_tls": False}) == with_tokens(False)
    assert hold(world, before, GOOD | {"manage_hba": False, "hba": "scram"}) == {
        (role, "password", tls) for role in ("admin", "fc_mapped", "fc_exempt", "fc_unmapped",
                                             "fc_super")
        for tls in (True, False)}


@pytest.mark.parametrize("hba", HBA)
def test_manage_hba_off(world, before, hba):
    """Each kind of line of the user's: tokens where it says `trust`, and all else as it was."""
    got_in = hold(world, before, GOOD | {"manage_hba": False, "hba": hba})
    by_token = {attempt for attempt in with_tokens(True) if attempt[0] in TRUSTED.get(hba, ())}
    assert got_in == by_token | before(without_trust(HBA[hba]))
    if hba == "trust without TLS":
        without = hold(world, before, GOOD | {"manage_hba": False, "hba": hba, "require_tls": False})
        assert without == {attempt for attempt in with_tokens(False) if not attempt[2]}


@pytest.mark.parametrize("method", SLOW)
def test_manage_hba_off_and_a_slow_method(world, method):
    """They say no: neither the service nor the user is there. Their answer counts, not a token."""
    if method == "radius" and world.own.version >= 19:
        pytest.skip("PostgreSQL 19 has no RADIUS any more")
    world.configure({"dsql_iam.manage_hba": "off"}, [SLOW[method]])
    mark = world.own.log_mark()
    assert world.start()
    assert not world.gets_in("fc_mapped", "good", True)
    world.own.logged(f'{method.upper()} authentication failed for user "fc_mapped"', mark)


@pytest.fixture(scope="module")
def certificate_of(world, tmp_path_factory):
    """Makes a certificate of a client, by an authority that the server knows."""
    folder = tmp_path_factory.mktemp("clients")
    key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes"

    def openssl(command):
        subprocess.run(["openssl", *command.split()], cwd=folder, check=True,
                       stderr=subprocess.DEVNULL)

    openssl(f"req -x509 {key} -keyout authority.key -out authority.crt -days 2 -subj /CN=clients")
    authority = world.own.data / "clients.crt"
    world.own.write(authority, (folder / "authority.crt").read_text())

    def make(name):
        openssl(f"req {key} -keyout {name}.key -out {name}.csr -subj /CN={name}")
        openssl(f"x509 -req -in {name}.csr -CA authority.crt -CAkey authority.key -CAcreateserial "
                f"-out {name}.crt -days 2")
        return {"sslcert": folder / f"{name}.crt", "sslkey": folder / f"{name}.key"}

    yield make
    authority.unlink()


@pytest.mark.parametrize("level", ["verify-ca", "verify-full"])
def test_a_client_certificate_and_a_token(world, certificate_of, level):
    """Where a `trust` line of the user's asks for a certificate, it takes both."""
    world.configure({"dsql_iam.manage_hba": "off", "ssl_ca_file": "clients.crt"},
                    [f"hostssl all all all trust clientcert={level}"])
    assert world.start()
    mine, anothers = certificate_of("fc_mapped"), certificate_of("fc_other")
    assert world.gets_in("fc_mapped", "good", True, **mine)
    assert world.gets_in("fc_mapped", "good", True, **anothers) == (level == "verify-ca")
    assert not world.gets_in("fc_mapped", "good", True)
    for credential in ("password", "denied", "forged"):
        assert not world.gets_in("fc_mapped", credential, True, **mine)


@pytest.mark.parametrize("manages", ["on", "off"])
def test_a_client_certificate_alone(world, certificate_of, manages):
    """It is enough where a line of the user's says so, and never behind the library's own file."""
    world.configure({"dsql_iam.manage_hba": manages, "ssl_ca_file": "clients.crt"}, HBA["cert"])
    assert world.start()
    mine, anothers = certificate_of("fc_mapped"), certificate_of("fc_other")
    assert world.gets_in("fc_mapped", "forged", True, **mine) == (manages == "off")
    assert not world.gets_in("fc_mapped", "forged", True, **anothers)
    assert not world.gets_in("fc_mapped", "forged", True)
    for certificate in (anothers, {}):
        assert world.gets_in("fc_mapped", "good", True, **certificate) == (manages == "on")


@pytest.mark.parametrize("settings", [{}, {"dsql_iam.manage_hba": "off"}], ids=["managed", "not"])
def test_ipv6(world, settings):
    # The name localhost has not everywhere both addresses.
    world.configure(settings | {"listen_addresses": "127.0.0.1, ::1"}, HBA["trust"])
    assert world.start()
    try:
        socket.create_connection(("::1", world.own.port), timeout=20).close()
    except OSError:
        pytest.skip("there is no IPv6 here")
    for role, credential, tls in sorted(EVERYBODY):
        expected = (role, credential, tls) in with_tokens(True)
        assert world.gets_in(role, credential, tls, hostaddr="::1") == expected


@pytest.mark.parametrize("fault", OUR_FILE_FAULTS)
def test_our_hba_file(world, before, fault):
    got_in = hold(world, before, GOOD | {"our_file": fault})
    assert got_in == with_tokens(True)
    # The next start brings it back, or there is none.
    own = world.own
    if world.is_running():
        world.stop()
    if world.start():
        assert world.who_gets_in() == with_tokens(True)
        assert "scram" not in world.ours.read_text().split("# Unix")[0]
    else:
        assert fault == "a directory"
        own.logged("dsql_iam could not put its hba file in force")


# Holes that were found

REPLICATOR = "fc_replicator"


def test_a_line_that_names_a_file_keeps_its_place(world):
    """Left out, it would let in by a line further down whom it is there to keep out."""
    own = world.own
    listed = own.data / "kept out"
    own.write(listed, f"{REPLICATOR}\n@another\n")
    own.write(own.data / "another", "fc_other\n")
    lines = ['local all @"kept out" reject',
             "local all all scram-sha-256",
             "host replication \\", '  nobody,@"kept out" all reject # @nothing',
             "host template1, replication all all scram-sha-256",
             f'local @ @"{listed}" reject']

    def refused(host, role, **more):
        with pytest.raises(psycopg.OperationalError) as raised:
            psycopg.connect(host=host, port=own.port, user=role, password=PASSWORD,
                            dbname="postgres", sslmode="disable", **more)
        return "rejects" in str(raised.value)
    socket = re.search(r"host='?([^ ']*)", own.conninfo)[1]
    try:
        for library in ("", "dsql_iam"):
            world.stop()
            world.configure({"shared_preload_libraries": library}, lines)
            assert world.start()
            own.execute(f"DROP ROLE IF EXISTS {REPLICATOR}",
                        f"CREATE ROLE {REPLICATOR} LOGIN REPLICATION PASSWORD '{PASSWORD}'")
            assert refused(socket, REPLICATOR)
            assert refused("127.0.0.1", REPLICATOR, replication="true")
            psycopg.connect(host=socket, port=own.port, user="fc_unmapped", password=PASSWORD,
                            dbname="postgres").close()
        own.execute(f"DROP ROLE {REPLICATOR}")
    finally:
        listed.unlink()
        (own.data / "another").unlink()


def test_hba_file_is_ours(world):
    """A setting that points to the library's file would stay when the library goes, and be open."""
    for name in ("data/dsql_iam_hba.conf", "data/../data/dsql_iam_hba.conf", world.ours):
        world.stop()
        world.configure({"hba_file": name})
        mark = world.own.log_mark()
        assert not world.start()
        line = world.own.logged("could not put its hba file in force", mark)
        assert "which would admit everybody once the library is not loaded" in line


def test_reload_with_the_users_hba_file_by_its_name(world):
    """As Debian's postgresql.conf has it, which is no change. Another file is one, for a restart."""
    own, warning = world.own, 'parameter "hba_file" cannot be changed without restarting the server'
    pending = "SELECT setting, pending_restart FROM pg_settings WHERE name = 'hba_file'"
    faults = "SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL"
    world.configure({"hba_file": world.hba})
    assert world.start()
    mark = own.log_mark()
    own.reload()
    assert own.execute(pending) == [(str(world.ours), False)]
    assert own.execute(faults) == []
    own.execute(f"ALTER SYSTEM SET hba_file = '{world.hba}x'")
    own.reload()
    own.logged(warning, mark)
    assert own.execute(pending) == [(str(world.ours), True)]
    assert own.execute(faults) == [("hba_file", "setting could not be applied")]
    assert own.log_since(mark).count(warning) == 1
    own.execute(f"ALTER SYSTEM SET hba_file = '{world.hba}'")
    own.reload()
    assert own.execute(pending) == [(str(world.ours), False)]


# The library loaded in other ways

@pytest.mark.parametrize("setting", ["session_preload_libraries", "local_preload_libraries"])
@pytest.mark.parametrize("hba", ["trust", "scram", "no line"])
def test_loaded_by_each_session_only(world, before, setting, hba):
    """It is not there when the server asks who it is; such a session does not begin at all."""
    world.stop()
    world.configure({"shared_preload_libraries": "", setting: "dsql_iam"}, HBA[hba])
    mark = world.own.log_mark()
    assert world.start()
    assert world.who_gets_in() == set()
    if hba == "trust" and setting == "session_preload_libraries":
        world.own.logged("FATAL:  dsql_iam has to be loaded when the server starts", mark)


def test_loaded_by_each_session_too(world):
    world.stop()
    world.configure({"session_preload_libraries": "dsql_iam"})
    assert world.start()
    assert world.who_gets_in() == with_tokens(True)


def test_loaded_by_load_only(world, before):
    """A superuser's LOAD changes neither this session nor those that follow."""
    own, lines = world.own, HBA["scram"]
    expected = before(tuple(lines))
    world.stop()
    world.configure({"shared_preload_libraries": ""}, lines)
    assert world.start()
    with own.superuser() as superuser:
        with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState):
            superuser.execute("LOAD 'dsql_iam'")
        assert superuser.execute("SHOW hba_file").fetchone() == (str(world.hba),)
        assert world.who_gets_in() == expected
        with pytest.raises(psycopg.errors.SyntaxError):
            superuser.execute(f"AWS IAM GRANT fc_unmapped TO '{EXAMPLE_ARN}'")


def test_extension_that_was_never_created(world):
    """Neither its role `admin` nor its schema: mappings count, and nobody is `admin`."""
    own = world.own
    assert world.start()
    own.execute("DROP EXTENSION dsql_iam", "ALTER ROLE admin RENAME TO fc_former_admin")
    try:
        assert world.who_gets_in() == {
            attempt for attempt in with_tokens(True) if attempt[0] != "admin"}
        assert own.refusal("admin", own.token("admin")).sqlstate == "28000"
        assert own.refusal("fc_former_admin", own.token("admin")).sqlstate == "08006"
    finally:
        own.execute("ALTER ROLE fc_former_admin RENAME TO admin")
        create_extension(own)


def test_role_admin_of_somebody_else(world):
    """A superuser of that name, made before the extension, is not reached by a token."""
    own = world.own
    assert world.start()
    own.execute("ALTER ROLE admin SUPERUSER")
    try:
        assert own.refusal("admin", own.token("admin")).sqlstate == "28000"
    finally:
        own.execute("ALTER ROLE admin NOSUPERUSER")


# A full disk

def denies(count):
    """An account with this many users, of whom each has a kilobyte of denies."""
    return json.dumps(account(roles={"nobody": [policy("dsql:*", effect="Deny")]}, users={
        f"user{number}": [policy("dsql:*", effect="Deny", Resource="arn:aws:s3:::" + "x" * 1000)]
        for number in range(count)}))


def test_no_room_for_documents(world):
    """Without root's rights: to be sure of the room, more of it is asked for than the log has."""
    own = world.own
    world.configure({"dsql_iam.audit_file": ""})
    assert world.start()
    assert own.admits("admin", own.token("admin"))
    mark, room = own.log_mark(), own.log_mark() + 2**20
    with own.no_file_longer_than(room):
        own.write(own.iam / "account.json", denies(2 * room // 1000))
        # Each reads them for itself.
        for _ in range(2):
            assert own.admits("admin", own.token("admin"))
            assert not own.admits("fc_unmapped", own.token("example"))
        own.logged("could not be kept for later connections: File too large", mark)
        own.write(own.iam / "zz-fault.json", "{")
        assert not own.admits("admin", own.token("admin"))
        own.logged("no identities are in force", mark)
    assert not own.admits("admin", own.token("admin"))
    (own.iam / "zz-fault.json").unlink()
    own.write(own.iam / "account.json", denies(0))
    assert world.who_gets_in() == with_tokens(True)


def test_no_room_for_our_hba_file(world):
    """Without root's rights: there is room for what the server writes first, and not for the file."""
    own = world.own
    world.configure({"dsql_iam.exempt_roles": ", ".join(f"nobody{number}" for number in range(200))})
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**12, 2**12))
    done = subprocess.run([world.program, "-D", own.data], cwd=own.dir, timeout=60, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, preexec_fn=limit, **own.owner)
    assert done.returncode == 1
    assert "FATAL:  dsql_iam could not put its hba file in force: " in done.stderr
    assert "File too large" in done.stderr
    assert world.start()
    assert not world.ours.with_suffix(".conf.new").exists()
    assert world.who_gets_in() == with_tokens(True)


@pytest.fixture
def small_disk(world, mended):
    """Puts the data directory on a file system of its own; gives what fills it to the last byte."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a file system")
    own = world.own
    data, aside = own.data, own.data.with_name("data-aside")
    owner = data.stat()
    data.rename(aside)
    data.mkdir(mode=0o700)
    size = sum(path.lstat().st_blocks * 512 for path in aside.rglob("*")) + 48 * 2**20
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700,uid={owner.st_uid},gid={owner.st_gid}",
         "tmpfs", data], stderr=subprocess.DEVNULL).returncode == 0
    try:
        if not mounted:
            pytest.skip("file systems cannot be mounted here")
        subprocess.run(["cp", "-a", f"{aside}/.", data], check=True)
        yield lambda: fill(data / "ballast")
    finally:
        world.stop()
        if mounted:
            subprocess.run(["umount", data], check=True)
        data.rmdir()
        aside.rename(data)


def fill(path):
    with open(path, "wb", buffering=0) as ballast:
        size = 2**20
        while size:
            try:
                ballast.write(b"x" * size)
            except OSError as error:
                assert error.errno == errno.ENOSPC
                size //= 2


def test_full_disk_while_it_runs(world, small_disk):
    own = world.own
    world.configure({"dsql_iam.audit_file": ""})
    assert world.start()
    assert world.who_gets_in() == with_tokens(True)
    small_disk()
    assert world.who_gets_in() == with_tokens(True)
    # A change that takes a right away cannot be kept for others.
    mark = own.log_mark()
    own.write(own.iam / "account.json", denies(100))
    assert world.who_gets_in() == with_tokens(True)
    own.logged("could not be kept for later connections: No space left on device", mark)
    # So nothing older comes back once a document is broken.
    own.write(own.iam / "zz-fault.json", "{")
    assert world.who_gets_in() == set()
    own.logged("no identities are in force", mark)
    (own.data / "ballast").unlink()
    assert world.who_gets_in() == set()
    (own.iam / "zz-fault.json").unlink()
    assert world.who_gets_in() == with_tokens(True)


def test_full_disk_at_the_start(world, small_disk):
    """Whether the server starts on what room there is or not."""
    own = world.own
    world.configure({"dsql_iam.audit_file": ""})
    small_disk()
    ballast = own.data / "ballast"
    started = []
    for room in (0, 2**12, 2**14, 2**16, 2**18, 2**20, 2**24):
        os.truncate(ballast, max(ballast.stat().st_size - room, 0))
        mark = own.log_mark()
        started.append(world.start())
        if started[-1]:
            got_in = world.who_gets_in()
            assert got_in <= with_tokens(True), room
            world.stop()
        else:
            own.logged("No space left on device", mark)
    assert not started[0] and started[-1]
    assert got_in == with_tokens(True)


def test_full_disk_under_the_audit_file(world, small_disk):
    own = world.own
    world.configure({"dsql_iam.audit_file": "audit.json"})
    assert world.start()
    assert world.who_gets_in() == with_tokens(True)
    small_disk()
    # The rest of the file's last page fills up; then there is no room for a whole line.
    until(lambda: not own.admits("admin", own.token("admin")), "a full audit file")
    assert world.who_gets_in() == set()
    (own.data / "ballast").unlink()
    assert world.who_gets_in() == with_tokens(True)
