// Logins that succeed, and the statements that decide which do.

import assert from "node:assert/strict";
import { test } from "node:test";

import {
  account,
  adminToken,
  assertFails,
  assertRefused,
  connect,
  connectAsAdmin,
  createRole,
  customToken,
  exampleArn,
  mappedArns,
  server,
} from "./server.js";

/** Who the server says that a session is. */
async function whoIs(client) {
  const { rows } = await client.query(
    "SELECT current_user AS role, current_database() AS database, sys.iam_session_user() AS arn",
  );
  return rows;
}

async function assertLogsIn(t, role) {
  const client = await connect(t, role, await customToken("example"));
  assert.deepEqual(await whoIs(client), [
    { role, database: "postgres", arn: `arn:aws:sts::${account}:assumed-role/example/local` },
  ]);
  return client;
}

/** An opaque refusal: IAM said yes, the database no. */
async function assertNotMapped(t, role) {
  await assertRefused(connect(t, role, await customToken("example")), "28000", undefined);
}

/** GRANT and REVOKE have no rows, and PostgreSQL's own completion tags. */
function assertCompleted({ command, rowCount, rows, fields }, expected) {
  assert.deepEqual(
    { command, rowCount, rows, fields },
    { command: expected, rowCount: null, rows: [], fields: [] },
  );
}

test("admin logs in", async (t) => {
  const admin = await connectAsAdmin(t);
  assert.deepEqual(await whoIs(admin), [
    { role: "admin", database: "postgres", arn: `arn:aws:iam::${account}:user/dba` },
  ]);
  assert.equal(admin.connection.stream.authorized, true);
});

test("a token for the cluster's own name is good more than once", async (t) => {
  const token = await adminToken("admin", { hostname: server.endpoint });
  const ids = new Set();
  for (let time = 0; time < 2; time++) {
    const client = await connect(t, "admin", token);
    const { rows } = await client.query("SELECT sys.current_session_id() AS id");
    ids.add(rows[0].id);
  }
  assert.equal(ids.size, 2);
});

// The ways in which the driver sends a statement.
for (const [way, query] of [
  ["a simple query", (text) => text],
  ["a query with values: []", (text) => ({ text, values: [] })],
  ["an extended query", (text) => ({ text, values: [], queryMode: "extended" })],
  ["a named prepared statement", (text) => ({ text, values: [], name: text.slice(0, 60) })],
]) {
  test(`a role logs in between GRANT and REVOKE by ${way}`, async (t) => {
    const admin = await connectAsAdmin(t);
    const role = await createRole(t, admin);
    await assertNotMapped(t, role);

    const grant = query(`AWS IAM GRANT ${role} TO '${exampleArn}'`);
    const revoke = query(`AWS IAM REVOKE ${role} FROM '${exampleArn}'`);
    // Twice, since a named statement is then prepared already.
    for (let time = 0; time < 2; time++) {
      assertCompleted(await admin.query(grant), "GRANT");
      assert.deepEqual(await mappedArns(admin, role), [exampleArn]);
      const session = await assertLogsIn(t, role);

      assertCompleted(await admin.query(revoke), "REVOKE");
      assert.deepEqual(await mappedArns(admin, role), []);
      await assertNotMapped(t, role);
      // An open connection stays.
      assert.deepEqual((await session.query("SELECT 1 AS one")).rows, [{ one: 1 }]);
    }
  });
}

test("a transaction takes both back", async (t) => {
  const admin = await connectAsAdmin(t);
  const role = await createRole(t, admin);
  const grant = `AWS IAM GRANT "${role}" TO '${exampleArn}'`;
  const revoke = `AWS IAM REVOKE "${role}" FROM '${exampleArn}'`;

  await admin.query("BEGIN");
  await admin.query(grant);
  assert.deepEqual(await mappedArns(admin, role), [exampleArn]);
  await assertNotMapped(t, role);
  await admin.query("ROLLBACK");
  assert.deepEqual(await mappedArns(admin, role), []);
  await assertNotMapped(t, role);

  await admin.query("BEGIN");
  await admin.query(grant);
  await admin.query("COMMIT");
  await assertLogsIn(t, role);

  await admin.query("BEGIN");
  await admin.query(revoke);
  await admin.query("ROLLBACK");
  await assertLogsIn(t, role);
});

test("the ARN is no parameter", async (t) => {
  const admin = await connectAsAdmin(t);
  const role = await createRole(t, admin);
  for (const [statement, word] of [["GRANT", "TO"], ["REVOKE", "FROM"]]) {
    await assertFails(admin.query(`AWS IAM ${statement} ${role} ${word} $1`, [exampleArn]), {
      code: "42601",
      message: 'syntax error at or near "$1"',
    });
  }
  // The session goes on.
  assert.deepEqual(await mappedArns(admin, role), []);
});

test("a second GRANT and a second REVOKE fail", async (t) => {
  const admin = await connectAsAdmin(t);
  const role = await createRole(t, admin);
  const grant = `AWS IAM GRANT ${role} TO '${exampleArn}'`;
  const revoke = `AWS IAM REVOKE ${role} FROM '${exampleArn}'`;

  await admin.query(grant);
  await assertFails(admin.query(grant), {
    code: "42710",
    message: `IAM role ${exampleArn} is already granted to role ${role}`,
  });
  await admin.query(revoke);
  await assert.rejects(admin.query(revoke), {
    severity: "ERROR",
    code: "42704",
    message: `IAM role ${exampleArn} does not exist`,
  });
});

test("a mapped role cannot be dropped", async (t) => {
  const admin = await connectAsAdmin(t);
  const role = await createRole(t, admin);
  await admin.query(`AWS IAM GRANT ${role} TO '${exampleArn}'`);
  await assert.rejects(admin.query(`DROP ROLE ${role}`), {
    severity: "ERROR",
    code: "2BP01",
    message: `role "${role}" cannot be dropped because some objects depend on it`,
  });
  await assertLogsIn(t, role);
});

test("only admin grants", async (t) => {
  const admin = await connectAsAdmin(t);
  const role = await createRole(t, admin);
  const grant = `AWS IAM GRANT ${role} TO '${exampleArn}'`;
  await admin.query(grant);
  const session = await assertLogsIn(t, role);
  for (const query of [grant, { text: grant, queryMode: "extended" }]) {
    await assertFails(session.query(query), {
      code: "42501",
      message: `permission denied to grant IAM trust with role ${role}`,
    });
  }
});
