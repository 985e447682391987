"""The descriptions of the packages: the Dockerfile, META.json, the scripts of both."""

import json
import os
import pathlib
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

import pytest

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
SCRIPTS = [*sorted((WORKSPACE / "packaging/docker").glob("*.sh")),
           *sorted((WORKSPACE / "packaging/debian").iterdir()),
           *sorted((WORKSPACE / "tests/package").glob("*.sh")), *sorted((WORKSPACE / "tests/image").glob("*.sh"))]


def version():
    text = (WORKSPACE / "Cargo.toml").read_text()
    return re.search(r'^\[workspace\.package\]\nversion = "([^"]+)"', text, re.MULTILINE)[1]


def hadolint(path):
    return subprocess.run([pathlib.Path(sys.executable).with_name("hadolint"), path], text=True,
                          capture_output=True)


def test_the_dockerfile_is_one_that_hadolint_likes(tmp_path):
    for path in ("packaging/docker/Dockerfile", "tests/image/postgres.Dockerfile"):
        done = hadolint(WORKSPACE / path)
        assert (done.returncode, done.stdout) == (0, "")
    # It would say so, if it did not.
    worse = tmp_path / "Dockerfile"
    worse.write_text("FROM postgres\nRUN cd /tmp\n")
    assert {"DL3006", "DL3003"} <= set(re.findall(r"DL\d+", hadolint(worse).stdout))


def test_the_dockerfile_copies_what_is_there():
    text = (WORKSPACE / "packaging/docker/Dockerfile").read_text()
    paths = re.findall(r"packaging/docker/[\w.-]+\.sh", text)
    assert len(paths) == 5
    for path in paths:
        assert os.access(WORKSPACE / path, os.X_OK)
    toolchain = re.search(r"^ARG RUST=rust:(\d+\.\d+)\.\d+-slim-", text, re.MULTILINE)[1]
    cargo = (WORKSPACE / "Cargo.toml").read_text()
    assert f'rust-version = "{toolchain}"' in cargo


@pytest.mark.skipif(not all(map(shutil.which, ("dpkg-deb", "dpkg-shlibdeps"))), reason="dpkg-dev is not there")
def test_the_package_is_made(server):
    """tests/package installs it, where it can."""
    done = subprocess.run(
        [*"cargo xtask package".split(), "--debug"], text=True, capture_output=True, cwd=WORKSPACE,
        env=os.environ | {"PGRX_PG_CONFIG_PATH": os.environ["PG_CONFIG"]}, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    package = pathlib.Path(done.stdout.splitlines()[-1])
    name = f"postgresql-{server.version}-dsql-iam"
    assert re.fullmatch(rf"{name}_{re.escape(version())}_\w+\.deb", package.name)

    def dpkg_deb(*arguments):
        return subprocess.run(["dpkg-deb", *arguments], text=True, capture_output=True,
                              check=True).stdout
    assert dpkg_deb("--field", package, "Package", "Version").splitlines() == [
        f"Package: {name}", f"Version: {version()}"]
    files = [line.split()[5] for line in dpkg_deb("--contents", package).splitlines()]
    for file in (f"lib/postgresql/{server.version}/lib/dsql_iam.so",
                 f"lib/postgresql/{server.version}/bin/dsql-iam",
                 f"share/postgresql/{server.version}/extension/dsql_iam.control"):
        assert f"./usr/{file}" in files


def test_the_dockerfile_starts_what_it_has_laid_out():
    """tests/package/container.sh runs the image's own script."""
    text = (WORKSPACE / "packaging/docker/Dockerfile").read_text()
    named = {json.loads(words)[0] for words in re.findall(r"(?:ENTRYPOINT|CMD) (\[.*\])", text)}
    assert named == {"dsql-iam-entrypoint", "dsql-iam-health", "postgres"}
    assert set(re.findall(r"/out/usr/local/bin/(\S+)", text)) == (
        named | {"dsql-iam", "dsql-iam-identities", "dsql-iam-extension"}) - {"postgres"}


def test_the_page_has_each_variable_of_the_container():
    entry_point = (WORKSPACE / "packaging/docker/entrypoint.sh").read_text()
    page = (WORKSPACE / "docs/install.md").read_text()
    rows = re.findall(r"^\| (`[A-Z_]+`(?:, `[A-Z_]+`)*) \|", page.partition("\n## In a container\n")[2], re.MULTILINE)
    named = {name for row in rows for name in re.findall("[A-Z_]+", row)}
    assert named == set(re.findall(r"\$\{(DSQL_IAM_[A-Z_]+|AWS_[A-Z_]+)", entry_point))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_are_read_by_their_shell(script):
    first = script.read_text().splitlines()[0]
    shell = "sh" if first == "#!/bin/sh" else "bash"
    subprocess.run([shell, "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "--severity=warning", f"--shell={shell}", script], check=True)


class Container:
    """The entry point as root, with what the official image has beside it stood in for."""

    def __init__(self, path):
        self.path, self.state, self.documents = path, path / "state", path / "documents"
        self.programs = path / "programs"
        for name, text in {
                "gosu": 'user=$1; shift; exec setpriv --reuid "$user" --regid "$user" --init-groups "$@"',
                "docker-entrypoint.sh": f'printf "%s\\n" "$@"; (env; echo PID=$$) >{path}/environment',
                "dsql-iam-extension": f'umask 077; echo "$@" >{path}/shared/waited_for'}.items():
            self.programs.mkdir(exist_ok=True)
            (self.programs / name).write_text(f"#!/bin/bash\n{text}\n")
            (self.programs / name).chmod(0o755)
        self.documents.mkdir(mode=0o755)
        self.document = self.documents / "account.json"
        self.document.write_text('{"UserDetailList": [{"Arn": "arn:aws:iam::012345678912:user/dba"}]}')
        self.document.chmod(0o600)
        self.user = pwd.getpwnam("postgres")
        (path / "shared").mkdir()
        os.chown(path / "shared", self.user.pw_uid, self.user.pw_gid)

    def handed_on(self):
        """The environment of the official image's entry point, and its process, of the last start."""
        return dict(line.split("=", 1) for line in (self.path / "environment").read_text().splitlines())

    def start(self, **environment):
        """The command line of the server, and the output before."""
        done = subprocess.run(
            [WORKSPACE / "packaging/docker/entrypoint.sh", "postgres"], text=True, capture_output=True,
            stdin=subprocess.DEVNULL, timeout=60, cwd="/", env={
                "PATH": f"{self.programs}:/usr/bin:/bin", "DSQL_IAM_STATE": str(self.state),
                "DSQL_IAM_DIRECTORY": str(self.documents), "AWS_REGION": "us-east-1"} | environment)
        return done.returncode, done.stdout.splitlines(), done.stderr

    def by_the_server(self, path, target):
        """A link that code left behind that ran as the server's user."""
        path.symlink_to(target)
        os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)


@pytest.fixture
def container():
    users = {user.pw_name for user in pwd.getpwall()}
    if os.geteuid() != 0 or "postgres" not in users or not shutil.which("setpriv"):
        pytest.skip("only root becomes the user postgres")
    # Not pytest's own folder, which is private.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Container(pathlib.Path(folder))


def seen(path):
    """All that root could have done to a file or a folder and what is in it."""
    def one(found):
        state = found.lstat()
        content = found.read_bytes() if found.is_file() else b""
        return str(found), state.st_uid, state.st_gid, state.st_mode, content
    return [one(found) for found in [path, *sorted(path.rglob("*"))]]


def test_the_container_keeps_what_it_made(container):
    status, started, said = container.start()
    assert (status, started[0]) == (0, "postgres"), said
    assert "works on copies" in said
    kept = {path.relative_to(container.state): path.stat() for path in container.state.rglob("*")}
    assert {str(path): state.st_mode & 0o777 for path, state in kept.items() if "cluster" not in str(path)} == {
        "iam": 0o700, "iam/account.json": 0o600, "tls": 0o700, "tls/names": 0o644, "tls/server.crt": 0o644,
        "tls/server.key": 0o600}
    assert {state.st_uid for state in kept.values()} == {container.user.pw_uid}
    assert container.state.stat().st_mode & 0o777 == 0o700
    assert (container.state / "iam/account.json").read_bytes() == container.document.read_bytes()
    cluster = (container.state / "cluster_id").read_text()
    assert re.fullmatch("[a-z2-7]{26}", cluster)
    assert f"dsql_iam.cluster_id={cluster}" in started
    assert container.start()[:2] == (0, started)


def test_the_container_is_like_aurora_dsql_unless_told_not_to_be(container):
    like_dsql = {"default_transaction_isolation=repeatable read", "TimeZone=UTC", "log_timezone=UTC",
                 "dsql_iam.async_indexes=on", "max_connections=1000"}
    _, started, said = container.start()
    assert like_dsql <= set(started), said
    _, plain, _ = container.start(DSQL_IAM_PLAIN="1")
    assert [word for word in started if word not in like_dsql and word != "-c"] == [
        word for word in plain if word != "-c"]


def test_the_container_has_the_extension_looked_after(container):
    """By the server's user, as soon as the process that was the entry point is the server."""
    assert container.start()[0] == 0
    waited_for = container.path / "shared/waited_for"
    assert waited_for.read_text().strip() == container.handed_on()["PID"]
    assert waited_for.stat().st_uid == container.user.pw_uid
    program = container.programs / "dsql-iam-extension"
    program.write_text("#!/bin/bash\necho 'ERROR:  no update path' >&2\nexit 3\n")
    status, _, said = container.start()
    assert status == 0 and said.endswith(
        "ERROR:  no update path\ndsql-iam: the extension dsql_iam could not be created, or updated to this image's "
        "version: the reason is above\n")


def test_the_container_leaves_the_password_and_the_words_for_initdb_to_files(container):
    """The official image takes each from the variable or from a file, and refuses both."""
    assert container.start()[0] == 0
    made = container.handed_on()
    assert re.fullmatch("[0-9a-f]{64}", made["POSTGRES_PASSWORD"])
    assert made["POSTGRES_INITDB_ARGS"].split() == ["--auth-local=peer"]
    for name, text in (("password", "secret"), ("words", "--data-checksums"), ("user", "postgres")):
        (container.path / name).write_text(f"{text}\n")
    status, _, said = container.start(
        POSTGRES_PASSWORD_FILE=str(container.path / "password"), POSTGRES_USER_FILE=str(container.path / "user"),
        POSTGRES_INITDB_ARGS_FILE=str(container.path / "words"))
    assert status == 0, said
    found = container.handed_on()
    assert "POSTGRES_PASSWORD" not in found and "POSTGRES_INITDB_ARGS_FILE" not in found
    assert found["POSTGRES_INITDB_ARGS"].split() == ["--auth-local=peer", "--data-checksums"]
    assert container.start(POSTGRES_INITDB_ARGS="--data-checksums")[0] == 0
    assert container.handed_on()["POSTGRES_INITDB_ARGS"].split() == ["--auth-local=peer", "--data-checksums"]


NO_OTHER_USER = ("and the superuser has to be postgres: over TCP no superuser is let in, and over the socket it is "
                 "the system's user postgres who comes; leave POSTGRES_USER out")


@pytest.mark.parametrize(("name", "value", "said"), [
    ("AWS_REGION", "us,east-1", 'AWS_REGION is "us,east-1", which is not a region such as us-east-1'),
    ("AWS_REGION", "useast1", 'AWS_REGION is "useast1", which is not a region such as us-east-1'),
    ("DSQL_IAM_CLUSTER_ID", "cluster",
     'DSQL_IAM_CLUSTER_ID is "cluster", which is not a cluster id: 26 small letters and digits'),
    ("POSTGRES_USER_FILE", "/etc/hostname", f'POSTGRES_USER is "{os.uname().nodename}", {NO_OTHER_USER}'),
    ("POSTGRES_USER_FILE", "/dev/null", f'POSTGRES_USER is "", {NO_OTHER_USER}'),
    ("POSTGRES_USER_FILE", "/nowhere", "the file of POSTGRES_USER_FILE cannot be read"),
])
def test_a_mistake_is_found_before_there_is_a_cluster(container, name, value, said):
    status, started, found = container.start(**{name: value})
    assert (status, started, found.splitlines()[-1]) == (1, [], f"dsql-iam: {said}")
    assert not container.state.exists()


@pytest.mark.parametrize("words", ["-A trust", "--auth=scram-sha-256", "--data-checksums --auth-local trust"])
def test_the_socket_admits_by_peer_and_nothing_else(container, words):
    said = ("dsql-iam: POSTGRES_INITDB_ARGS says how the socket admits (-A, --auth or --auth-local), and that has to be by "
            "peer, as the health check comes: leave it out; --auth-host is yours\n")
    status, started, found = container.start(POSTGRES_INITDB_ARGS=words, PGDATA=str(container.path))
    assert (status, started) == (1, []) and found.endswith(said)
    assert container.start(POSTGRES_INITDB_ARGS="--auth-host=scram-sha-256 -E UTF8")[0] == 0
    # A cluster that is there is as it was made.
    (container.path / "PG_VERSION").write_text("17")
    assert container.start(POSTGRES_INITDB_ARGS=words, PGDATA=str(container.path))[0] == 0


def test_a_damaged_cluster_id_is_found_before_there_is_a_cluster(container):
    assert container.start()[0] == 0
    kept = container.state / "cluster_id"
    kept.write_text("damaged")
    status, started, said = container.start()
    assert (status, started) == (1, []) and said.endswith(
        f"dsql-iam: there is no cluster id in {kept}: remove that file, and one is made\n")


def test_a_certificate_that_postgresql_would_not_load_is_found_before_there_is_a_cluster(container):
    folder = container.path / "certificate"
    folder.mkdir()
    certificate, key = folder / "server.crt", folder / "server.key"
    user = container.user.pw_uid

    def refused(path=folder):
        status, started, said = container.start(DSQL_IAM_TLS=str(path))
        assert (status, started) == (1, [])
        begin = "dsql-iam: DSQL_IAM_TLS has to be a folder with server.crt and server.key for PostgreSQL: "
        assert said.startswith(begin)
        return said.removeprefix(begin).strip()

    def make(*words):
        subprocess.run(["openssl", *words], check=True, capture_output=True)

    assert refused("certificate") == "certificate is not an absolute path"
    assert refused() == f"there is no {certificate}"
    make("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=db",
         "-keyout", key, "-out", certificate)
    good = key.read_bytes()
    assert refused() == f"the server's user, {user}, cannot read {key}"
    key.chmod(0o644)
    assert refused() == f"others have access to {key}: it has mode 644, and may have 600, or 640 if it is root's"
    os.chown(key, 12345, -1)
    assert refused() == f"{key} is owned by the user 12345, and has to be by the server's, {user}, or by root"
    os.chown(key, user, -1)
    key.chmod(0o600)
    assert container.start(DSQL_IAM_TLS=str(folder))[0] == 0
    # As root's own are, for a group.
    os.chown(key, 0, container.user.pw_gid)
    key.chmod(0o640)
    status, started, said = container.start(DSQL_IAM_TLS=str(folder))
    assert (status, f"ssl_key_file={key}" in started) == (0, True), said
    make("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-out", key)
    os.chown(key, user, -1)
    key.chmod(0o600)
    assert refused() == f"{key} is not the key of the certificate in server.crt"
    key.write_text("no key")
    assert refused() == f"{key} is not a private key"
    key.write_bytes(good)
    certificate.write_text("no certificate")
    assert refused() == f"{certificate} is not a certificate"


@pytest.mark.parametrize("name", ["tls", "iam", "cluster_id", "tls/server.key", "iam/account.json"])
@pytest.mark.parametrize("is_there", [True, False])
def test_roots_files_stay_roots_whatever_links_to_them(container, name, is_there):
    """Code run as the server's user does not become root by a restart of the container."""
    if is_there:
        assert container.start()[0] == 0
    container.state.mkdir(exist_ok=True)
    roots = container.path / "roots"
    roots.mkdir(mode=0o755)
    target = roots / "target"
    is_folder = name in ("tls", "iam")
    if is_folder:
        target.mkdir(mode=0o755)
    elif is_there:
        target.write_text("root's secret")
        target.chmod(0o600)
    link = container.state / name
    if link.is_dir():
        shutil.rmtree(link)
    link.unlink(missing_ok=True)
    link.parent.mkdir(exist_ok=True)
    for folder in (container.state, link.parent):
        os.chown(folder, container.user.pw_uid, container.user.pw_gid)
    container.by_the_server(link, target)
    before = seen(roots)
    _, started, said = container.start()
    assert seen(roots) == before
    assert "root's secret" not in said + "".join(started)


def test_the_containers_own_folder_is_no_link(container):
    roots = container.path / "roots"
    roots.mkdir(mode=0o755)
    before = seen(roots)
    for state in (container.state, container.state / "below"):
        container.by_the_server(container.path / "state", roots)
        container.state = state
        assert container.start() == (
            1, [], f"dsql-iam: {state} is reached by a link: name the folder that it leads to with "
                   "DSQL_IAM_STATE\n")
        assert seen(roots) == before
        (container.path / "state").unlink()


def test_a_system_that_cannot_tell_where_a_link_leads(container):
    """busybox's realpath has no such options."""
    program = container.programs / "realpath"
    program.write_text('#!/bin/sh\n[ -e "$1" ] || exit 1\necho "$1"\n')
    program.chmod(0o755)
    assert container.start() == (
        1, [], "dsql-iam: realpath of the GNU coreutils is missing, and without it nobody can tell whether "
               f"{container.state} is reached by a link\n")
    assert not container.state.exists()


def test_root_copies_no_document_that_the_servers_user_linked_to(container):
    secret = container.path / "secret.json"
    container.document.rename(secret)
    link = container.document
    container.by_the_server(link, secret)
    # In a folder of root's it is root who made the link, as where secrets are mounted.
    assert container.start()[0] == 0
    shutil.rmtree(container.state)
    os.chown(container.documents, container.user.pw_uid, container.user.pw_gid)
    for mode in (0o755, 0o555):
        container.documents.chmod(mode)
        assert container.start() == (
            1, [], f"dsql-iam: {link} is a link, and the server's user, who can write in "
                   f"{container.documents}, may have made it: put the document itself there\n")
        assert not (container.state / "iam").exists()


def test_meta_json_has_what_pgxn_asks_for():
    """The fields that https://pgxn.org/spec/ requires, in its forms."""
    meta = json.loads((WORKSPACE / "META.json").read_text())
    for name in ("name", "version", "abstract", "maintainer", "license"):
        assert isinstance(meta[name], str) and meta[name].strip()
    # No slash, backslash, blank or control character; at least two characters.
    assert re.fullmatch(r"[^\s/\\\x00-\x1f]{2,}", meta["name"])
    assert meta["license"] == "apache_2_0"
    assert meta["meta-spec"] == {"version": "1.0.0", "url": "https://pgxn.org/meta/spec.txt"}
    semantic = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[A-Za-z][0-9A-Za-z-]*)?")
    assert meta["provides"]
    for name, provided in meta["provides"].items():
        assert (WORKSPACE / f"{name}.control").is_file()
        assert (WORKSPACE / provided["file"]).is_file()
        assert (WORKSPACE / provided["docfile"]).is_file()
        assert semantic.fullmatch(provided["version"])
        assert provided["version"] == meta["version"] == version()
    for required in meta["prereqs"]["runtime"]["requires"].values():
        assert semantic.fullmatch(required)
    assert set(meta["resources"]) <= {"homepage", "bugtracker", "repository"}
    assert set(meta["resources"]["repository"]) == {"url", "web", "type"}
    assert all(isinstance(tag, str) and len(tag) <= 255 for tag in meta["tags"])
