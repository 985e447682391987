// AWS's connector for node-postgres, and postgres.js, as programs for Aurora DSQL use them: with the
// cluster's name and a certificate that verifies.

import assert from "node:assert/strict";
import dns from "node:dns";
import { before, mock, test } from "node:test";

import { AuroraDSQLClient, AuroraDSQLPool } from "@aws/aurora-dsql-node-postgres-connector";
import postgres from "postgres";

import {
  account,
  adminToken,
  assertRefused,
  connectAsAdmin,
  createRole,
  customToken,
  exampleArn,
  server,
} from "./server.js";

// The cluster's name leads here as a line in /etc/hosts would make it.
before(() => {
  const lookup = dns.lookup;
  mock.method(dns, "lookup", (host, ...rest) =>
    lookup(host === server.endpoint ? "localhost" : host, ...rest),
  );
});

const notAuthorized = (action) =>
  `User: arn:aws:iam::${account}:user/visitor is not authorized to perform: ${action} on resource: ` +
  `${server.clusterArn} because no identity-based policy allows the ${action} action`;

function settings(user, profile) {
  return {
    host: server.endpoint,
    port: server.port,
    user,
    profile,
    ssl: { ca: server.ca, rejectUnauthorized: true },
  };
}

async function currentUser(client) {
  const { rows } = await client.query("SELECT current_user AS role");
  return rows[0].role;
}

test("the connector's client", async (t) => {
  const role = await createRole(t, await connectAsAdmin(t));
  const admin = new AuroraDSQLClient(settings("admin", "admin"));
  await admin.connect();
  assert.equal(await currentUser(admin), "admin");
  await admin.query(`AWS IAM GRANT ${role} TO '${exampleArn}'`);

  const client = new AuroraDSQLClient(settings(role, "example"));
  await client.connect();
  assert.equal(await currentUser(client), role);
  await client.end();

  const denied = new AuroraDSQLClient(settings(role, "denied"));
  await assertRefused(denied.connect(), "08006", notAuthorized("dsql:DbConnect"));
  await admin.query(`AWS IAM REVOKE ${role} FROM '${exampleArn}'`);
  const unmapped = new AuroraDSQLClient(settings(role, "example"));
  await assertRefused(unmapped.connect(), "28000", undefined);
  await admin.end();
});

test("the connector's pool", async () => {
  const pool = new AuroraDSQLPool({ ...settings("admin", "admin"), max: 2 });
  assert.deepEqual(await Promise.all([currentUser(pool), currentUser(pool)]), ["admin", "admin"]);
  await pool.end();
});

function connectByPostgresJs(user, token) {
  return postgres({
    host: server.endpoint,
    port: server.port,
    database: "postgres",
    username: user,
    password: () => token,
    ssl: { ca: server.ca, servername: server.endpoint },
    max: 1,
    fetch_types: false,
  });
}

test("postgres.js", async (t) => {
  const role = await createRole(t, await connectAsAdmin(t));
  const admin = connectByPostgresJs("admin", adminToken("admin"));
  await admin.unsafe(`AWS IAM GRANT ${role} TO '${exampleArn}'`);
  const sql = connectByPostgresJs(role, customToken("example"));
  assert.deepEqual([...(await sql`SELECT current_user AS role`)], [{ role }]);
  await sql.end();
  await admin.end();
});

test("postgres.js, refused", async () => {
  const expired = adminToken("admin", { signedAt: new Date(Date.now() - 3_600_000), expiresIn: 60 });
  for (const [token, hint] of [
    [expired, /^Signature expired: /],
    [customToken("admin"), /^Wrong user to action mapping\. user: admin, action: DbConnect$/],
  ]) {
    const sql = connectByPostgresJs("admin", token);
    await assert.rejects(sql`SELECT 1`, (error) => {
      assert.equal(error.severity, "FATAL");
      assert.equal(error.code, "08006");
      assert.equal(error.message, "unable to accept connection, access denied");
      assert.match(error.hint, hint);
      return true;
    });
    await sql.end();
  }
});
