// Profiles with a role, as the SDK for JavaScript assumes them with `dsql-iam sts`.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, mkdtempSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import path from "node:path";
import { createInterface } from "node:readline";
import { after, before, test } from "node:test";

import { fromHttp, fromIni } from "@aws-sdk/credential-providers";

import {
  account,
  assertRefused,
  connect,
  connectAsAdmin,
  createRole,
  customToken,
  exampleArn,
} from "./server.js";

const containerToken = "a-token-that-only-the-container-has";
const documents = process.env.DSQL_IAM_DIRECTORY;
const begun = new Set();
let service;
let folder;

before(async () => {
  service = spawn(
    "dsql-iam",
    ["sts", "--listen", "127.0.0.1:0", "--container-role", exampleArn, "--profile", "admin"],
    {
      env: { ...process.env, AWS_CONTAINER_AUTHORIZATION_TOKEN: containerToken },
      stdio: ["ignore", "pipe", "ignore"],
    },
  );
  const lines = createInterface({ input: service.stdout })[Symbol.asyncIterator]();
  // The last line is the container's.
  for (let name; name !== "AWS_CONTAINER_CREDENTIALS_FULL_URI"; ) {
    const { value } = await lines.next();
    const [, variable, url] = /^export (\w+)=(.*)$/.exec(value);
    process.env[variable] = url;
    name = variable;
  }
  folder = mkdtempSync(path.join(tmpdir(), "sts-"));
  const profiles = `
[profile by-role]
region = us-east-1
role_arn = ${exampleArn}
source_profile = admin
role_session_name = javascript

[profile refused]
region = us-east-1
role_arn = ${exampleArn}
source_profile = denied
`;
  const config = path.join(folder, "config");
  writeFileSync(config, readFileSync(process.env.AWS_CONFIG_FILE, "utf8") + profiles);
  process.env.AWS_CONFIG_FILE = config;
});

after(async () => {
  const ended = once(service, "exit");
  service.kill();
  await ended;
  for (const file of begun) {
    rmSync(file, { force: true });
  }
  rmSync(folder, { recursive: true });
});

/** The document of a session that `dsql-iam` began. */
function documentOf(credentials) {
  const id = credentials.accessKeyId;
  const file = path.join(documents, "sessions", id.slice(4, 8), `${id}.json`);
  begun.add(file);
  return file;
}

/** Makes a session have ended a second ago. */
function end(credentials) {
  const file = documentOf(credentials);
  const { uid, gid } = statSync(file);
  const document = JSON.parse(readFileSync(file, "utf8"));
  document.Credentials.Expiration = new Date(Date.now() - 1000).toISOString();
  const changed = path.join(documents, ".ended");
  writeFileSync(changed, JSON.stringify(document), { mode: 0o600 });
  chownSync(changed, uid, gid);
  renameSync(changed, file);
}

/** Logs in with what `provide` gives, and again after that is over; gives the session's ARN. */
async function logsInAgain(t, provide) {
  const admin = await connectAsAdmin(t);
  const role = await createRole(t, admin);
  await admin.query(`AWS IAM GRANT ${role} TO '${exampleArn}'`);
  const first = await provide();
  documentOf(first);
  const client = await connect(t, role, await customToken("", { credentials: first }));
  const { rows } = await client.query("SELECT sys.iam_session_user() AS arn");
  end(first);
  await assertRefused(
    connect(t, role, await customToken("", { credentials: first })),
    "08006",
    "The security token included in the request is expired",
  );
  const second = await provide();
  documentOf(second);
  assert.notEqual(second.accessKeyId, first.accessKeyId);
  await connect(t, role, await customToken("", { credentials: second }));
  return rows[0].arn;
}

test("a profile that is refused", async () => {
  await assert.rejects(fromIni({ profile: "refused" })(), (error) => {
    assert.equal(error.name, "AccessDenied");
    assert.match(error.message, /user\/visitor is not authorized to perform: sts:AssumeRole on/);
    return true;
  });
});

test("a profile with a role", async (t) => {
  const arn = await logsInAgain(t, fromIni({ profile: "by-role" }));
  assert.equal(arn, `arn:aws:sts::${account}:assumed-role/example/javascript`);
});

test("a profile with credential_process", async (t) => {
  const arn = await logsInAgain(t, fromIni({ profile: "assumed" }));
  assert.equal(arn, `arn:aws:sts::${account}:assumed-role/example/assumed`);
});

test("a container", async (t) => {
  const provide = (token) =>
    fromHttp({
      awsContainerCredentialsFullUri: process.env.AWS_CONTAINER_CREDENTIALS_FULL_URI,
      awsContainerAuthorizationToken: token,
      maxRetries: 0,
    });
  await assert.rejects(provide("another")());
  const arn = await logsInAgain(t, provide(containerToken));
  assert.equal(arn, `arn:aws:sts::${account}:assumed-role/example/container`);
});
