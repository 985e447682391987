// Shared by the tests: the server they test, tokens from AWS's signer, roles of their own.
//
// The server is the one of env.sh, which `cargo xtask up` writes; `cargo xtask test --only node`
// starts one and runs the tests.

import assert from "node:assert/strict";
import { randomBytes } from "node:crypto";
import { chownSync, readFileSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import path from "node:path";
import { mock } from "node:test";

import { fromIni } from "@aws-sdk/credential-providers";
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import pg from "pg";

function variable(name) {
  const value = process.env[name];
  if (!value) {
    throw new Error(
      `${name} is not set: run \`cargo xtask test --only node\`, or source the env.sh of a ` +
        "server that `cargo xtask up` started",
    );
  }
  return value;
}

// The SDK reads these two by itself, and has defaults that no test should use.
variable("AWS_CONFIG_FILE");
variable("AWS_SHARED_CREDENTIALS_FILE");

export const server = {
  host: variable("PGHOST"),
  port: Number(variable("PGPORT")),
  ca: readFileSync(variable("PGSSLROOTCERT"), "utf8"),
  region: variable("AWS_REGION"),
  endpoint: variable("DSQL_ENDPOINT"),
  clusterArn: variable("DSQL_CLUSTER_ARN"),
  iamDirectory: variable("DSQL_IAM_DIRECTORY"),
};

/** The account of the cluster. */
export const account = server.clusterArn.split(":")[4];

/** The ARN of the IAM role behind the profile `example`. */
export const exampleArn = `arn:aws:iam::${account}:role/example`;

/** The credentials of a profile. */
export function credentialsOf(profile) {
  return fromIni({ profile })();
}

async function sign(profile, { signedAt, ...changes }, method) {
  const credentials = changes.credentials ?? (await credentialsOf(profile));
  const signer = new DsqlSigner({ hostname: server.host, region: server.region, ...changes, credentials });
  if (signedAt === undefined) {
    return signer[method]();
  }
  mock.timers.enable({ apis: ["Date"], now: signedAt });
  try {
    return await signer[method]();
  } finally {
    mock.timers.reset();
  }
}

/**
 * A token for `admin`, by `profile`. `changes` are the signer's settings where they differ from what
 * is right, and `signedAt`, a Date that it takes for now.
 */
export function adminToken(profile, changes = {}) {
  return sign(profile, changes, "getDbConnectAdminAuthToken");
}

/** The same for any other role. */
export function customToken(profile, changes = {}) {
  return sign(profile, changes, "getDbConnectAuthToken");
}

// The steps to undo at the end of each test. The runner's own order is that of registration; connections
// have to outlive what is removed through them.
const undoings = new WeakMap();

function atTheEnd(t, undo) {
  if (!undoings.has(t)) {
    undoings.set(t, []);
    t.after(async () => {
      const failures = [];
      for (const undo of undoings.get(t).reverse()) {
        // All of them, or what stays open keeps the process from ending.
        try {
          await undo();
        } catch (error) {
          failures.push(error);
        }
      }
      assert.deepEqual(failures, []);
    });
  }
  undoings.get(t).push(undo);
}

/** Connects, the way it should be done but for `changes`. The test's end closes the connection. */
export async function connect(t, user, password, changes = {}) {
  const client = new pg.Client({
    host: server.host,
    port: server.port,
    database: "postgres",
    user,
    password,
    ssl: { ca: server.ca, rejectUnauthorized: true },
    connectionTimeoutMillis: 30_000,
    ...changes,
  });
  await client.connect();
  atTheEnd(t, () => client.end());
  return client;
}

/** A session of `admin`. */
export async function connectAsAdmin(t) {
  return connect(t, "admin", await adminToken("admin"));
}

/** Creates a role for one test, gives its name. The test's end drops it and its mappings. */
export async function createRole(t, admin, attributes = "LOGIN") {
  const name = `node_${randomBytes(8).toString("hex")}`;
  await admin.query(`CREATE ROLE ${name} ${attributes}`);
  atTheEnd(t, async () => {
    for (const arn of await mappedArns(admin, name)) {
      await admin.query(`AWS IAM REVOKE ${name} FROM '${arn}'`);
    }
    await admin.query(`DROP ROLE ${name}`);
  });
  return name;
}

/** Puts further IAM documents, by name, among the server's. The test's end takes them away. */
export function putDocuments(t, documents) {
  const owner = statSync(server.iamDirectory);
  for (const [name, document] of Object.entries(documents)) {
    const file = path.join(server.iamDirectory, `${name}.json`);
    // The server passes over files whose names begin with a dot.
    const unfinished = path.join(server.iamDirectory, `.${name}.json`);
    writeFileSync(unfinished, JSON.stringify(document), { mode: 0o600 });
    chownSync(unfinished, owner.uid, owner.gid);
    renameSync(unfinished, file);
    atTheEnd(t, () => rmSync(file));
  }
}

/** The ARNs that are mapped to a role. */
export async function mappedArns(client, role) {
  const { rows } = await client.query(
    "SELECT arn FROM sys.iam_pg_role_mappings WHERE pg_role_name = $1 ORDER BY arn",
    [role],
  );
  return rows.map((row) => row.arn);
}

/** Fails unless the server answers with that ERROR. */
export async function assertFails(promise, { code, message, detail, hint }) {
  const error = await failureOf(promise);
  assert.deepEqual(
    { severity: error.severity, code: error.code, message: error.message, detail: error.detail, hint: error.hint },
    { severity: "ERROR", code, message, detail, hint },
  );
}

/** The refusal of a login, with all that each refusal has. */
export async function refusalOf(promise) {
  const error = await failureOf(promise);
  assert.equal(error.severity, "FATAL");
  assert.match(error.detail, /^Session Id: [a-z2-7]{26}$/);
  return error;
}

/** Fails unless the login is refused with that code and that hint, which may be undefined. */
export async function assertRefused(promise, code, hint) {
  const error = await refusalOf(promise);
  assert.deepEqual(
    { code: error.code, message: error.message, hint: error.hint },
    { code, message: "unable to accept connection, access denied", hint },
  );
}

async function failureOf(promise) {
  const [result] = await Promise.allSettled([promise]);
  assert.equal(result.status, "rejected");
  if (!(result.reason instanceof pg.DatabaseError)) {
    throw result.reason;
  }
  return result.reason;
}
