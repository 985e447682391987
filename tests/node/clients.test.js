// Node's clients, unmodified: each logs in as `admin` and as a custom role, makes the mapping through its
// own connection, and shows what it makes of a refusal. All of them show each field of an error.

import assert from "node:assert/strict";
import dns from "node:dns";
import { before, mock, test } from "node:test";

import { AuroraDSQLClient, AuroraDSQLPool } from "@aws/aurora-dsql-node-postgres-connector";
import { DsqlSigner } from "@aws-sdk/dsql-signer";
import pg from "pg";
import postgres from "postgres";

import {
  account,
  adminToken,
  connectAsAdmin,
  createRole,
  customToken,
  exampleArn,
  server,
} from "./server.js";

// The cluster's name, which AWS's connector wants, leads here as a line in /etc/hosts would make it.
before(() => {
  const lookup = dns.lookup;
  mock.method(dns, "lookup", (host, ...rest) =>
    lookup(host === server.endpoint ? "localhost" : host, ...rest),
  );
});

function settings(user) {
  return {
    host: server.endpoint,
    port: server.port,
    database: "postgres",
    user,
    ssl: { ca: server.ca, rejectUnauthorized: true },
  };
}

function token(user, profile) {
  return user === "admin" ? adminToken(profile) : customToken(profile);
}

async function connected(client) {
  await client.connect();
  return {
    query: async (statement) => (await client.query(statement)).rows,
    end: () => client.end(),
  };
}

/** Each connects as `user`, with a token by `profile`. */
const clients = {
  "node-postgres": (user, profile) =>
    connected(new pg.Client({ ...settings(user), password: () => token(user, profile) })),
  "postgres.js": async (user, profile) => {
    const sql = postgres({
      ...settings(user),
      // Unlike node-postgres it takes no name from `host` for TLS.
      ssl: { ca: server.ca, servername: server.endpoint },
      password: () => token(user, profile),
      max: 1,
      fetch_types: false,
    });
    try {
      // It connects with the first query.
      await sql`SELECT 1`;
    } catch (error) {
      await sql.end();
      throw error;
    }
    return { query: async (statement) => [...(await sql.unsafe(statement))], end: () => sql.end() };
  },
  "the connector's client": (user, profile) =>
    connected(new AuroraDSQLClient({ ...settings(user), profile })),
  "the connector's pool": async (user, profile) => {
    const pool = new AuroraDSQLPool({ ...settings(user), profile, max: 2 });
    try {
      const client = await pool.connect();
      client.release();
    } catch (error) {
      await pool.end();
      throw error;
    }
    return {
      query: async (statement) => (await pool.query(statement)).rows,
      end: () => pool.end(),
    };
  },
};

async function withClient(connect, user, profile, use) {
  const client = await connect(user, profile);
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

/** Fails unless the login is refused with that code and hint: a text, an expression or undefined. */
async function assertRefused(connect, user, profile, code, hint) {
  await assert.rejects(withClient(connect, user, profile, () => {}), (error) => {
    assert.deepEqual(
      { severity: error.severity, code: error.code, message: error.message },
      { severity: "FATAL", code, message: "unable to accept connection, access denied" },
    );
    assert.match(error.detail, /^Session Id: [a-z2-7]{26}$/);
    if (hint instanceof RegExp) {
      assert.match(error.hint, hint);
    } else {
      assert.equal(error.hint, hint);
    }
    return true;
  });
}

/**
 * AWS's signer signs for the other action. The connector chooses the one that fits the user, so it
 * never comes to it by itself.
 */
function signForTheOtherAction(t) {
  const { getDbConnectAdminAuthToken, getDbConnectAuthToken } = DsqlSigner.prototype;
  t.mock.method(DsqlSigner.prototype, "getDbConnectAdminAuthToken", getDbConnectAuthToken);
  t.mock.method(DsqlSigner.prototype, "getDbConnectAuthToken", getDbConnectAdminAuthToken);
}

for (const [name, connect] of Object.entries(clients)) {
  test(`${name}: both logins and the mapping`, async (t) => {
    const role = await createRole(t, await connectAsAdmin(t));
    const grant = `AWS IAM GRANT ${role} TO '${exampleArn}'`;
    const whoAmI = "SELECT current_user AS role, sys.iam_session_user() AS arn";

    await withClient(connect, "admin", "admin", async (admin) => {
      assert.deepEqual(await admin.query(whoAmI), [
        { role: "admin", arn: `arn:aws:iam::${account}:user/dba` },
      ]);
      await admin.query(grant);
      await assert.rejects(admin.query(grant), {
        severity: "ERROR",
        code: "42710",
        message: `IAM role ${exampleArn} is already granted to role ${role}`,
      });
    });
    await withClient(connect, role, "example", async (client) => {
      assert.deepEqual(await client.query(whoAmI), [
        { role, arn: `arn:aws:sts::${account}:assumed-role/example/local` },
      ]);
    });
    await withClient(connect, "admin", "admin", (admin) =>
      admin.query(`AWS IAM REVOKE ${role} FROM '${exampleArn}'`),
    );
    await assertRefused(connect, role, "example", "28000", undefined);
  });

  test(`${name}: an expired token`, async (t) => {
    // The client's clock, and that of AWS's signer.
    t.mock.timers.enable({ apis: ["Date"], now: Date.now() - 3_600_000 });
    await assertRefused(
      connect,
      "admin",
      "admin",
      "08006",
      /^Signature expired: \d{8}T\d{6}Z is now earlier than \d{8}T\d{6}Z \(\d{8}T\d{6}Z - \d+ (?:min|sec)\.\)$/,
    );
  });

  test(`${name}: admin with the action of custom roles`, async (t) => {
    signForTheOtherAction(t);
    const hint = "Wrong user to action mapping. user: admin, action: DbConnect";
    await assertRefused(connect, "admin", "admin", "08006", hint);
  });

  test(`${name}: a custom role with the action of admin`, async (t) => {
    const admin = await connectAsAdmin(t);
    const role = await createRole(t, admin);
    await admin.query(`AWS IAM GRANT ${role} TO '${exampleArn}'`);
    signForTheOtherAction(t);
    const hint = `Wrong user to action mapping. user: ${role}, action: DbConnectAdmin`;
    await assertRefused(connect, role, "example", "08006", hint);
  });

  test(`${name}: no policy`, async (t) => {
    const role = await createRole(t, await connectAsAdmin(t));
    const hint =
      `User: arn:aws:iam::${account}:user/visitor is not authorized to perform: dsql:DbConnect on ` +
      `resource: ${server.clusterArn} because no identity-based policy allows the dsql:DbConnect action`;
    await assertRefused(connect, role, "denied", "08006", hint);
  });
}

test("node-postgres: the job of CREATE INDEX ASYNC", async () => {
  const client = new pg.Client({ ...settings("admin"), password: () => adminToken("admin") });
  await client.connect();
  const table = `node_async_${process.pid}`;
  try {
    await client.query(`CREATE TABLE ${table} (a int, b int)`);
    for (const [column, queryMode] of [
      ["a", "simple"],
      ["b", "extended"],
    ]) {
      const text = `CREATE INDEX ASYNC ON ${table} (${column})`;
      const created = await client.query({ text, queryMode });
      assert.deepEqual(
        created.fields.map((field) => field.name),
        ["job_id"],
      );
      const [{ job_id: jobId }] = created.rows;
      assert.match(jobId, /^[a-z2-7]{26}$/);
      const called = await client.query("CALL sys.wait_for_job($1)", [jobId]);
      assert.deepEqual(called.rows, [{ succeeded: true }]);
      const selected = await client.query("SELECT sys.wait_for_job($1)", [jobId]);
      assert.deepEqual(selected.rows, [{ wait_for_job: true }]);
    }
  } finally {
    await client.query(`DROP TABLE IF EXISTS ${table}`);
    await client.end();
  }
});

test("postgres.js: the job of CREATE INDEX ASYNC", async () => {
  const sql = postgres({
    ...settings("admin"),
    ssl: { ca: server.ca, servername: server.endpoint },
    password: () => adminToken("admin"),
    max: 1,
  });
  const table = `postgres_js_async_${process.pid}`;
  try {
    await sql`CREATE TABLE ${sql(table)} (a int)`;
    const [{ job_id: jobId }] = await sql`CREATE INDEX ASYNC ON ${sql(table)} (a)`;
    assert.match(jobId, /^[a-z2-7]{26}$/);
    assert.deepEqual([...(await sql`CALL sys.wait_for_job(${jobId})`)], [{ succeeded: true }]);
    assert.deepEqual([...(await sql`SELECT sys.wait_for_job(${jobId})`)], [{ wait_for_job: true }]);
  } finally {
    await sql`DROP TABLE IF EXISTS ${sql(table)}`;
    await sql.end();
  }
});
