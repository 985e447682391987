"""`sys.doctor()` and `dsql-iam doctor`: each fault is seen, and its remedy mends it."""

import contextlib
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import time

import psycopg
import pytest

from support import Key, access_key, account, assumed_role, on_a_terminal, sign, until

CHECKS = ["library", "extension", "syntax", "hba", "tls", "cluster", "iam_directory", "audit_file",
          "clock", "admin", "other_logins"]


def command(server, *arguments, **environment):
    return server.run("doctor", *arguments, env=os.environ | server.variables | environment)


def in_order(names):
    """Each name once: what has several findings is in several rows."""
    return list(dict.fromkeys(names))


def outside(server):
    """The command's findings that are not ok, by check: status, what was found, remedy."""
    done = command(server, "--json")
    assert done.stderr == ""
    rows = json.loads(done.stdout)
    assert in_order(row["check_name"] for row in rows) == [*CHECKS, "clocks"]
    assert (done.returncode == 0) == all(row["status"] in ("ok", "warning") for row in rows)
    return {row["check_name"]: (row["status"], row["found"], row["remedy"])
            for row in rows if row["status"] != "ok"}


def inside(server):
    rows = server.execute("SELECT * FROM sys.doctor()")
    assert in_order(row[0] for row in rows) == CHECKS
    return {row[0]: row[1:] for row in rows if row[1] != "ok"}


def others(server):
    """The findings about other logins that are not ok: rows of what was found and remedy."""
    return [row[2:] for row in server.execute("SELECT * FROM sys.doctor() WHERE check_name = 'other_logins'")
            if row[1] != "ok"]


def only(server, check, status):
    """The one thing that is not fine, from inside as from outside; gives it and its remedy."""
    found = inside(server)
    assert found == outside(server)
    assert {name: row[0] for name, row in found.items()} == {check: status}
    return found[check][1:]


def shell(server, remedy):
    subprocess.run(remedy, shell=True, check=True, cwd=server.data, **server.owner)


def sql(server, remedy):
    """Carries out a remedy in SQL as it stands; the words behind it are for people."""
    server.execute(*remedy.partition(", and restart the server")[0].split("; "))
    if "restart the server" in remedy:
        server.restart()


@pytest.fixture(autouse=True)
def well(own):
    assert inside(own) == {}
    yield
    assert outside(own) == {}


def test_all_is_well(own):
    done = command(own)
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert [line.split()[:2] for line in lines] == [["ok", name] for name in [*CHECKS, "clocks"]]
    assert "\x1b" not in done.stdout
    with own.connect() as connection:
        assert len(connection.execute("SELECT * FROM sys.doctor()").fetchall()) == len(CHECKS)


def test_colours_on_a_terminal_only(own):
    kept = {name: value for name, value in os.environ.items()
            if name not in ("NO_COLOR", "CLICOLOR_FORCE")} | own.variables
    for more, has_colours in [({"TERM": "xterm"}, True), ({"TERM": "xterm", "NO_COLOR": "1"}, False)]:
        status, text = on_a_terminal([own.command, "doctor"], env=kept | more)
        assert status == 0
        assert ("\x1b[32mok" in text) == has_colours
        assert ("\x1b" in text) == has_colours
    assert "\x1b[32mok" in command(own, CLICOLOR_FORCE="1").stdout


@pytest.mark.parametrize("name", ["doctor", "setup"])
def test_a_certificate_that_is_not_trusted(own, server, name, tmp_path):
    def said(conninfo, **environment):
        done = own.run(name, conninfo, env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)} | environment)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith("dsql-iam: the server could not be asked: ")
        return done.stderr

    remedy = ("\nname the certificate of the authority that signed the server's, or the server's own if it "
              "signed itself: sslrootcert=FILE in the connection string, or PGSSLROOTCERT=FILE\n")
    conninfo = f"host=localhost port={own.port} user=admin dbname=postgres sslmode=verify-full"
    # Another authority, and none.
    wrong = said(conninfo, PGSSLROOTCERT=server.authority)
    assert "certificate verify failed" in wrong and wrong.endswith(remedy)
    assert "root certificate file" in (none := said(conninfo)) and none.endswith(remedy)
    # The right one, and another name.
    other = said(f"{conninfo} hostaddr=127.0.0.1".replace("localhost", "elsewhere.example"),
                 PGSSLROOTCERT=own.authority)
    assert other.endswith("\nconnect by a name that is in the server's certificate, with hostaddr=ADDRESS "
                          "beside it if that name leads elsewhere\n")
    # With both right it is the token that is missing.
    right = said(conninfo, PGSSLROOTCERT=own.authority)
    assert "certificate" not in right


def test_no_server(own):
    done = command(own, "host=/nonexistent")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("dsql-iam: the server could not be asked: ")
    assert "No such file or directory" in done.stderr


def test_no_psql(own):
    done = command(own, PATH="/nonexistent")
    assert done.returncode == 1
    assert done.stderr.startswith("dsql-iam: the server could not be asked: psql was not found: install ")


def test_the_library_is_not_loaded(own):
    with own.settings(restart=True, shared_preload_libraries="'auto_explain'"):
        found = outside(own)
        status, text, remedy = found.pop("library")
        assert (status, text) == ("fault", "shared_preload_libraries is 'auto_explain'")
        assert {row[0] for row in found.values()} == {"unknown"}
        assert remedy == "dsql-iam setup, and restart the server"
        own.execute("ALTER SYSTEM SET shared_preload_libraries = 'auto_explain', 'dsql_iam'")
        assert outside(own)["library"][2] == "restart the server"
        own.restart()
        assert outside(own) == {}


def test_the_extension_is_not_there(own):
    own.execute("DROP EXTENSION dsql_iam")
    found = outside(own)
    assert found == {"extension": (
        "fault", "not created in the database postgres",
        "in the database postgres, as a superuser: CREATE EXTENSION dsql_iam")}
    own.execute(found["extension"][2].partition(": ")[2])


INTRUDER = """
    CREATE {what} LANGUAGE plpgsql SET search_path = pg_catalog AS $$ BEGIN
        IF (SELECT rolsuper FROM pg_roles WHERE rolname = session_user) THEN
            CREATE ROLE pwned SUPERUSER;
        END IF;
        RETURN {result};
    END $$"""


def plant(run):
    """As whoever may create there: what could be taken for the server's own, each with the same intent."""
    for name, left, right, gives, result in [
            ("=", "oid", "integer", "boolean", "true"), ("=", "oid", "oid", "boolean", "true"),
            ("=", "text", "text", "boolean", "true"), ("=", "name", "name", "boolean", "true"),
            ("~~", "text", "text", "boolean", "true"), ("/", "integer", "integer", "integer", "1")]:
        function = "public.planted_like" if name == "~~" else "public.planted"
        run(INTRUDER.format(what=f"FUNCTION {function}({left}, {right}) RETURNS {gives}", result=result))
        run(f"CREATE OPERATOR public.{name} (LEFTARG = {left}, RIGHTARG = {right}, FUNCTION = {function})")
    run("CREATE SCHEMA sys")
    run(INTRUDER.format(what="FUNCTION sys.doctor() RETURNS TABLE (check_name text, status text, found text, "
                             "remedy text)", result="NEXT").replace("RETURN NEXT", "NULL"))


def is_unharmed(own):
    return own.execute("SELECT count(*) FROM pg_catalog.pg_roles WHERE rolname = 'pwned'") == [(0,)]


@pytest.fixture
def theirs(own):
    """A database whose owner, no superuser, has had its sessions look into public first. Gives its
    connection string for the superuser."""
    own.execute("CREATE ROLE planter LOGIN", "CREATE DATABASE theirs OWNER planter",
                "ALTER DATABASE theirs SET search_path = public, pg_catalog")
    conninfo = own.conninfo.replace("dbname=postgres", "dbname=theirs")
    assert conninfo != own.conninfo
    with psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("SET search_path = pg_catalog; SET SESSION AUTHORIZATION planter")
        plant(connection.execute)
    yield conninfo
    own.execute("DROP DATABASE theirs", "DROP ROLE planter", "DROP ROLE IF EXISTS pwned")


def asked_in(own, conninfo):
    done = command(own, "--json", conninfo)
    assert is_unharmed(own)
    assert (done.returncode, done.stderr) == (1, "")
    return {row["check_name"]: (row["status"], row["found"], row["remedy"])
            for row in json.loads(done.stdout) if row["status"] != "ok"}


def test_nothing_that_others_have_planted_runs(own, theirs):
    # Before CREATE EXTENSION, with the library.
    assert asked_in(own, theirs) == {"extension": (
        "fault", "not created in the database theirs, which has a schema sys, owned by planter, that is not the "
        "extension's", "look at that schema, then, in that database, as a superuser: ALTER SCHEMA sys RENAME TO "
        "sys_old; CREATE EXTENSION dsql_iam")}
    # And without, as after a restart of a server that has lost it.
    with own.settings(restart=True, shared_preload_libraries="'auto_explain'"):
        assert set(asked_in(own, theirs)) > {"library"}


def test_nothing_that_admin_has_planted_runs(own):
    own.execute("DROP EXTENSION dsql_iam")
    try:
        with own.connect() as admin:
            plant(admin.execute)
        found = asked_in(own, own.conninfo)
        assert {name: row[0] for name, row in found.items()} == {"extension": "fault"}
        assert found["extension"][1].startswith(
            "not created in the database postgres, which has a schema sys, owned by admin, ")
        rename, create = found["extension"][2].partition(": ")[2].split("; ")
        # An admin that owns functions is one that others may have prepared.
        own.execute(rename, "REASSIGN OWNED BY admin TO postgres", create)
        # Beside what is planted in public the extension's own function is the one that counts.
        assert (inside(own), outside(own)) == ({}, {})
        assert is_unharmed(own)
    finally:
        own.execute("DROP SCHEMA IF EXISTS sys_old CASCADE", "DROP ROLE IF EXISTS pwned",
                    """DO $$ DECLARE planted record; BEGIN
                        FOR planted IN SELECT oid FROM pg_proc WHERE proname LIKE 'planted%' LOOP
                            EXECUTE format('DROP FUNCTION %s CASCADE', planted.oid::regprocedure);
                        END LOOP;
                    END $$""")


def test_the_syntax_is_off(own):
    with own.settings(restart=True, dsql_iam__install_syntax="off"):
        found, remedy = only(own, "syntax", "warning")
        assert found == "off; sys.iam_grant and sys.iam_revoke do the same"
        sql(own, remedy)
        assert inside(own) == {}


def test_the_hba_file_was_changed(own):
    path = own.data / "dsql_iam_hba.conf"
    own.write(path, "local all postgres peer map=up\n")
    found, remedy = only(own, "hba", "fault")
    assert found == f"{path} is not as the library wrote it"
    own.execute(remedy.partition(": ")[0])
    own.reload()


def hba_line(own, line):
    return hba_file(own, lambda text: f"{text}{line}\n")


def first_hba_line(own, line):
    return hba_file(own, lambda text: f"{line}\n{text}")


def line_of(own, words):
    """Where the one line with these words stands in the file that people write."""
    path = own.data / "pg_hba.conf"
    numbers = [number for number, line in enumerate(path.read_text().splitlines(), 1) if words in line]
    assert len(numbers) == 1
    return f"line {numbers[0]} of {path}"


def take_out(own, remedy):
    """Does what a remedy says of a line of the hba file."""
    what, path = re.search(r"line (\d+) of (/[^ ,;]+)", remedy).groups()
    lines = pathlib.Path(path).read_text().splitlines(keepends=True)
    del lines[int(what) - 1]
    own.write(pathlib.Path(path), "".join(lines))
    sql(own, remedy.rpartition("; ")[2])


@contextlib.contextmanager
def hba_file(own, change):
    path = own.data / "pg_hba.conf"
    text = path.read_text()
    try:
        own.write(path, change(text))
        own.reload()
        yield
    finally:
        own.write(path, text)
        own.reload()


def test_a_line_of_the_hba_file_is_broken(own):
    with hba_line(own, "local all all nonsense"):
        found, remedy = only(own, "hba", "fault")
        assert found.startswith(f"{line_of(own, 'nonsense')}, or a file that it names, is invalid: ")
        assert 'invalid authentication method "nonsense"' in found
        assert remedy == "mend that line, and: SELECT pg_reload_conf()"


def test_the_library_does_not_manage_the_hba_file(own):
    with own.settings(restart=True, dsql_iam__manage_hba="off"):
        found, remedy = only(own, "hba", "warning")
        assert found.endswith("not every TCP connection is asked for a token")
        sql(own, remedy)
        assert inside(own) == {}


def test_tls_is_off(own):
    with own.settings(ssl="off"):
        found, remedy = only(own, "tls", "fault")
        assert found == "off, so every login is refused"
        sql(own, remedy.partition("then: ")[2])
        own.reload()
        assert inside(own) == {}


@pytest.fixture
def tls(own):
    """A folder with copies of the server's certificate and key, in force and to be spoiled."""
    path = own.folder("data/doctor_tls")
    for setting in ("ssl_cert_file", "ssl_key_file"):
        own.write(path / setting, pathlib.Path(own.execute(f"SHOW {setting}")[0][0]).read_text())
    with own.settings(ssl_cert_file="'doctor_tls/ssl_cert_file'", ssl_key_file="'doctor_tls/ssl_key_file'"):
        assert (inside(own), outside(own)) == ({}, {})
        yield path
    for file in path.iterdir():
        file.unlink()
    path.rmdir()


def speaks_tls(own):
    with socket.create_connection(("localhost", own.port), timeout=20) as connection:
        connection.sendall(struct.pack("!II", 8, 80877103))
        return connection.recv(1) == b"S"


@pytest.mark.parametrize(("name", "mode", "what", "remedy"), [
    ("ssl_cert_file", None, "ssl_cert_file FILE: No such file or directory (os error 2)",
     "put the file there, or: ALTER SYSTEM SET ssl_cert_file = '…'"),
    ("ssl_key_file", None, "ssl_key_file FILE: No such file or directory (os error 2)",
     "put the file there, or: ALTER SYSTEM SET ssl_key_file = '…'"),
    ("ssl_cert_file", "pipe", "FILE: it is not a file", "put a readable file there"),
    ("ssl_key_file", 0o644, "others have access to the key FILE (mode 0644)", "chmod 600 FILE"),
    ("ssl_cert_file", 0o200, "FILE: Permission denied (os error 13)", "chmod u+r FILE")])
def test_tls_is_on_and_not_there(own, tls, name, mode, what, remedy):
    path = tls / name
    text = path.read_text()
    path.unlink()
    if mode and mode != "pipe":
        own.write(path, text, mode)
    with own.settings(ssl="off"):
        pass  # what was loaded before is given up
    if mode == "pipe":
        os.mkfifo(path)  # only now: the server itself would wait for somebody to write into it
    assert not speaks_tls(own)
    with pytest.raises(psycopg.OperationalError, match="server does not support SSL"):
        own.connect()
    found, said = only(own, "tls", "fault")
    assert found == "on, but PostgreSQL cannot load what it needs: " + what.replace("FILE", str(path))
    assert said == remedy.replace("FILE", str(path)) + "; then: SELECT pg_reload_conf()"
    if path.is_file():
        shell(own, said.partition(";")[0])
    else:
        own.write(path, text)
    own.reload()
    assert speaks_tls(own)
    assert inside(own) == {}


def test_a_key_of_another_certificate(own, tls):
    mark = own.log_mark()
    path = tls / "ssl_key_file"
    text = path.read_text()
    other = subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout"], check=True,
                           capture_output=True, text=True).stdout
    own.write(path, other)
    found, remedy = only(own, "tls", "fault")
    assert found == ("on, but PostgreSQL cannot load what it needs: "
                     f"{tls}/ssl_cert_file and {path}, or another file of its settings for TLS; its log has just "
                     "said why")
    assert remedy == "mend what the server's log says; then: SELECT pg_reload_conf()"
    own.logged("key values mismatch", mark)
    own.write(path, text)


def test_a_key_with_a_passphrase(own, tls):
    # The passphrase may have been typed as the server started: that is no fault.
    path = tls / "ssl_key_file"
    text = path.read_text()
    locked = subprocess.run(["openssl", "pkcs8", "-topk8", "-in", path, "-passout", "pass:only for this test"],
                            check=True, capture_output=True, text=True).stdout
    own.write(path, locked)
    assert (inside(own), outside(own)) == ({}, {})
    # Asking over TLS changes nothing for those who come after.
    own.write(path, text)
    with own.connect() as admin:
        admin.execute("SELECT * FROM sys.doctor()")
        assert admin.execute("SELECT 1").fetchone() == (1,)
    assert speaks_tls(own)


def test_tls_is_not_asked_for(own):
    with own.settings(dsql_iam__require_tls="off"):
        _, remedy = only(own, "tls", "warning")
        sql(own, remedy)
        own.reload()
        assert inside(own) == {}


def test_the_cluster_is_not_described(own):
    with own.settings(dsql_iam__region="''"):
        found, remedy = only(own, "cluster", "fault")
        assert found == 'dsql_iam.region must look like "us-east-1", not ""'
        sql(own, remedy.replace("…", "us-east-1"))
        own.reload()
        assert inside(own) == {}


def test_a_token_is_for_one_cluster_and_the_doctor_says_whether_for_localhost_too(own):
    for value, word in [("on", "accepted, as by every server with dsql_iam.loopback_endpoints"),
                        ("off", "not accepted")]:
        with own.settings(dsql_iam__loopback_endpoints=value):
            rows = own.execute("SELECT status, found FROM sys.doctor() WHERE check_name = 'cluster'")
            assert rows == [("ok", f"{own.cluster_arn}; tokens for localhost are {word}")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can hand files over")
@pytest.mark.parametrize(("name", "mode", "refused"), [
    ("key.json", 0o600, "could not read "), ("key.json", 0o644, " holds a secret but has mode 0644"),
    ("", 0o700, "could not read the IAM directory "), ("", 0o755, "others can list it")])
def test_what_is_roots_is_handed_over(own, iam, name, mode, refused):
    path = iam / name
    user = iam.owner()
    os.chown(path, 0, 0)
    path.chmod(mode)
    found, remedy = only(own, "iam_directory", "warning" if mode == 0o755 else "fault")
    assert refused in found
    assert f"chown {user} {path} && chmod " in remedy
    # As root, where those of a server's own user do not suffice.
    subprocess.run(remedy.removeprefix("let the server's user read it: "), shell=True, check=True)
    assert inside(own) == {}


KEY = Key("AKIA" + "D" * 16, "s" * 40)


@pytest.fixture
def iam(own):
    """An IAM directory with one key, to be spoiled."""
    outer = own.folder("doctor")
    path = own.folder("doctor/iam")
    own.write(path / "account.json", json.dumps(account({"doctor": []}, {"assumed": []})))
    own.write(path / "key.json", json.dumps(access_key("doctor", KEY)))
    with own.settings(dsql_iam__iam_directory=f"'{path}'"):
        yield path
    if path.exists():
        path.chmod(0o700)
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    outer.rmdir()


def test_the_iam_directory_is_not_there(own, iam):
    iam.rename(own.dir / "moved_iam")
    try:
        found, remedy = only(own, "iam_directory", "fault")
        assert found == f"{iam}: No such file or directory (os error 2)"
        shell(own, remedy.partition(": ")[2])
        # Then it is there, and empty.
        assert iam.stat().st_mode & 0o777 == 0o700
        found, remedy = only(own, "iam_directory", "fault")
        assert found.endswith("0 access keys, so every token is refused")
        assert remedy == (
            f"as the server's user: dsql-iam sample-identities {iam} --account-id N, or, if the documents have users: "
            f"dsql-iam create-access-key --user-name NAME --iam-directory {iam}")
    finally:
        iam.rmdir()
        (own.dir / "moved_iam").rename(iam)


@pytest.mark.parametrize(("mode", "status"), [(0o770, "fault"), (0o703, "fault"),
                                              (0o755, "warning")])
def test_the_iam_directory_is_not_private(own, iam, mode, status):
    iam.chmod(mode)
    _, remedy = only(own, "iam_directory", status)
    shell(own, remedy)


def test_a_document_is_not_private(own, iam):
    (iam / "key.json").chmod(0o640)
    found, remedy = only(own, "iam_directory", "fault")
    assert found.endswith("holds a secret but has mode 0640; it must be 0600")
    shell(own, remedy)


def test_a_document_cannot_be_read(own, iam):
    (iam / "key.json").chmod(0)
    _, remedy = only(own, "iam_directory", "fault")
    shell(own, remedy.partition(": ")[2])
    (iam / "key.json").chmod(0o600)


SESSION = Key("ASIA" + "D" * 16, "s" * 40, "t" * 40)


@pytest.mark.parametrize(("name", "document", "useless", "remedy", "hint"), [
    ("key.json", access_key("doctor", KEY, status="Inactive"), "1 inactive",
     "dsql-iam create-access-key --user-name NAME --iam-directory IAM",
     "The security token included in the request is invalid."),
    ("key.json", assumed_role("assumed", SESSION, expiration="2026-01-01T00:00:00+00:00"),
     "1 of expired sessions", "assume the role again: dsql-iam assume-role, or aws sts assume-role",
     "The security token included in the request is expired"),
    ("key.json", access_key("gone", KEY), "1 of users and roles that no document has",
     "(umask 077; aws iam get-account-authorization-details > IAM/account.json)",
     "The security token included in the request is invalid."),
    ("account.json", account({"doctor": []}, number="999999999999"),
     "1 of another account than dsql_iam.account_id",
     "if the documents are the right ones: ALTER SYSTEM SET dsql_iam.account_id = '…'; SELECT pg_reload_conf()",
     "User: arn:aws:iam::999999999999:user/doctor is not authorized to access this resource")])
def test_keys_that_open_nothing(own, iam, name, document, useless, remedy, hint):
    before = (iam / name).read_text()
    own.write(iam / name, json.dumps(document))
    found, said = only(own, "iam_directory", "fault")
    assert found.endswith(f", 0 access keys, and unusable ones: {useless}, so every token is refused")
    assert said == remedy.replace("IAM", str(iam))
    # A login says the same.
    key = SESSION if "Credentials" in document else KEY
    assert own.refusal("admin", sign(key, "DbConnectAdmin")).hint == hint
    if "account_id" in said:
        with own.settings(dsql_iam__account_id="'999999999999'"):
            assert inside(own) == {}
    own.write(iam / name, before)
    # Beside one that opens something they are told, and no more.
    if name == "key.json":
        own.write(iam / "other.json", json.dumps(document).replace(KEY.id, "AKIA" + "E" * 16))
        rows = own.execute("SELECT status, found FROM sys.doctor() WHERE check_name = 'iam_directory'")
        assert rows == [("ok", f"{iam}: 1 users, 1 roles, 1 access keys, and unusable ones: {useless}")]


def test_a_document_is_broken(own, iam):
    own.write(iam / "broken.json", "{")
    found, remedy = only(own, "iam_directory", "fault")
    assert f'"{iam}/broken.json": EOF while parsing' in found
    assert f"{iam}/broken.json" in remedy
    (iam / "broken.json").unlink()


def test_the_audit_file_cannot_be_written(own):
    path = own.data / "doctor_audit"
    with own.settings(dsql_iam__audit_file="'doctor_audit/log'"):
        found, remedy = only(own, "audit_file", "fault")
        assert found == (f"{path}/log cannot be written, so every login is refused: "
                         "No such file or directory (os error 2)")
        assert own.refusal("admin", own.token("admin")).sqlstate == "08006"
        # In a folder that is there it is made, and nothing is written into it; as by a login, for its owner.
        own.folder("data/doctor_audit")
        assert (inside(own), outside(own)) == ({}, {})
        log = path / "log"
        assert (log.stat().st_size, log.stat().st_mode & 0o777) == (0, 0o600)
        # An existing file is not touched.
        own.write(log, "cut off")
        assert inside(own) == {}
        assert log.read_text() == "cut off"
        assert own.admits("admin", own.token("admin"))
        log.chmod(0o400)
        assert only(own, "audit_file", "fault")[0].endswith(": Permission denied (os error 13)")
        log.chmod(0o600)
        owner = log.stat()
        log.unlink()
        os.mkfifo(log, 0o600)
        os.chown(log, owner.st_uid, owner.st_gid)
        found, remedy = only(own, "audit_file", "fault")
        assert found.endswith(": it is not a file")
        # Instead of mending it.
        sql(own, remedy.partition("do without it: ")[2])
        own.reload()
        assert inside(own) == {}
        log.unlink()
        path.rmdir()


def test_the_clock_is_late(own, iam):
    later = time.time() + 1000
    os.utime(iam / "key.json", (later, later))
    found, remedy = only(own, "clock", "fault")
    assert found == "it is behind: an IAM document has a modification time in the future"
    # No test sets the clock of the machine that it runs on.
    assert remedy == "set the clock: timedatectl set-ntp true"
    os.utime(iam / "key.json")


@pytest.mark.parametrize(("spoil", "status"), [
    ("ALTER ROLE admin NOLOGIN", "fault"), ("ALTER ROLE admin SUPERUSER", "fault"),
    ("GRANT admin TO postgres", "fault"), ("ALTER ROLE admin PASSWORD 'only for this test'", "fault"),
    ("ALTER ROLE admin NOCREATEROLE", "warning"), ("ALTER ROLE admin CONNECTION LIMIT 0", "fault"),
    ("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC", "fault")])
def test_admin_is_spoiled(own, spoil, status):
    own.execute(spoil)
    found = outside(own)
    assert found["admin"][0] == status
    own.execute(found["admin"][2])
    own.execute("REVOKE CONNECT ON DATABASE postgres FROM admin",
                "GRANT CONNECT ON DATABASE postgres TO PUBLIC")


def test_a_setting_of_admins_own(own):
    own.execute("ALTER ROLE admin SET search_path = elsewhere")
    found, remedy = only(own, "admin", "warning")
    assert found == "it has settings of its own, which apply to each login: search_path"
    assert "ALTER ROLE admin RESET ALL; ALTER ROLE admin SET createrole_self_grant = 'set, inherit'" in remedy
    own.execute("ALTER ROLE admin RESET search_path")


def test_a_base_backup_would_hold_the_keys(own, iam):
    inner = own.folder("data/doctor_iam")
    for file in iam.iterdir():
        own.write(inner / file.name, file.read_text())
    with own.settings(dsql_iam__iam_directory="'doctor_iam'"):
        found, remedy = only(own, "iam_directory", "warning")
        assert found.endswith("it is in the data directory, so each base backup holds the secret keys")
        assert remedy.startswith("move it out of the data directory, then: ALTER SYSTEM SET dsql_iam.iam_directory")
    for file in inner.iterdir():
        file.unlink()
    inner.rmdir()


def test_a_role_is_exempt(own):
    with own.settings(restart=True, dsql_iam__exempt_roles="'dba'"):
        found, remedy = only(own, "other_logins", "warning")
        assert found == "dsql_iam.exempt_roles names roles that do not exist: dba"
        assert remedy.startswith("take them out of dsql_iam.exempt_roles, and restart the server")
        own.execute("CREATE ROLE dba")
        found, remedy = only(own, "other_logins", "warning")
        own.execute("DROP ROLE dba")
        assert found == "with a password over TCP: dba"
        sql(own, remedy)
        assert inside(own) == {}


def test_a_socket_that_trusts(own):
    with hba_line(own, "local all all trust"):
        found, remedy = only(own, "other_logins", "warning")
        place = line_of(own, "local all all trust")
        assert found.startswith(f"over Unix sockets everybody on this machine, as all, unasked, by {place}")
        assert remedy == f"write peer instead of trust in {place}; SELECT pg_reload_conf()"
        take_out(own, remedy)
        until(lambda: inside(own) == {}, "the line is gone")


def test_lines_are_counted_behind_those_of_exempt_roles(own):
    with own.settings(restart=True, dsql_iam__exempt_roles="'dba, other'"), \
            hba_line(own, "local all all trust"):
        found, remedy = only(own, "other_logins", "warning")
        place = line_of(own, "local all all trust")
        assert found.endswith(f", unasked, by {place}")
        assert f"write peer instead of trust in {place}; " in remedy


@pytest.fixture
def app(own):
    """A role that has a password, and may replicate."""
    own.execute("CREATE ROLE app LOGIN REPLICATION PASSWORD 'only for this test'")
    yield "app"
    own.execute("DROP ROLE app")


def logs_in(conninfo, statement):
    """Whether the role app comes in by its password alone."""
    done = subprocess.run(["psql", "-XAtq", conninfo, "-c", statement], text=True,
                          capture_output=True, stdin=subprocess.DEVNULL,
                          env={"PATH": os.environ["PATH"], "PGPASSWORD": "only for this test"})
    return done.returncode == 0


@pytest.mark.parametrize("method", ["scram-sha-256", "md5"])
def test_a_socket_that_takes_passwords(own, app, method):
    line = f"local all app {method}"
    with first_hba_line(own, line):
        found, remedy = only(own, "other_logins", "warning")
        assert found.startswith(f"over Unix sockets, with {method}, by {line_of(own, line)}: app")
        assert remedy.startswith(f"write peer instead of {method} in ")
        assert logs_in(own.conninfo.replace("user=postgres", "user=app"), "SELECT 1")
        own.execute("ALTER ROLE app PASSWORD NULL")
        assert inside(own) == {}


def test_replication_with_a_password(own, app):
    with first_hba_line(own, "host replication app all scram-sha-256"):
        found, remedy = only(own, "other_logins", "warning")
        assert found.startswith("for replication, with scram-sha-256, by line ")
        place = line_of(own, "host replication app")
        assert remedy == f"take out {place}, if nobody needs it for replication; SELECT pg_reload_conf()"
        assert logs_in(f"host=localhost port={own.port} user=app replication=true", "IDENTIFY_SYSTEM")
        own.execute("ALTER ROLE app NOREPLICATION")
        assert inside(own) == {}


def test_one_door_does_not_hide_another(own, app):
    with own.settings(restart=True, dsql_iam__exempt_roles="'dba'"), \
            first_hba_line(own, "local all app md5"):
        found, remedies = zip(*others(own))
        assert found[:2] == ("with a password over TCP: dba",
                             "dsql_iam.exempt_roles names roles that do not exist: dba")
        assert found[2].startswith("over Unix sockets, with md5, by line ")
        assert remedies[0] == "ALTER SYSTEM RESET dsql_iam.exempt_roles, and restart the server"
        assert remedies[2].startswith("write peer instead of md5 in line ")
