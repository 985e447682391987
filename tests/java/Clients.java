// pgjdbc, unmodified: it logs in as `admin` and as a custom role, makes the mapping through its own
// connection, and shows each field of a refusal.
//
// One file, run by `java` from its source, so that nothing but a JDK and pgjdbc is needed:
// `cargo xtask test --only java` does. AWS's signer for Java would come with a build tool and a hundred
// packages; the tokens are the command's, whose signer is AWS's for Rust.

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Properties;
import java.util.concurrent.ThreadLocalRandom;
import java.util.regex.Pattern;
import org.postgresql.util.PSQLException;
import org.postgresql.util.ServerErrorMessage;

class Clients {
    static final String DENIED = "unable to accept connection, access denied";
    static final Pattern SESSION_ID = Pattern.compile("Session Id: [a-z2-7]{26}");

    static final String HOST = variable("PGHOST");
    static final String PORT = variable("PGPORT");
    static final String AUTHORITY = variable("PGSSLROOTCERT");
    static final String CLUSTER_ARN = variable("DSQL_CLUSTER_ARN");
    static final String ACCOUNT = CLUSTER_ARN.split(":")[4];
    static final String EXAMPLE_ARN = "arn:aws:iam::" + ACCOUNT + ":role/example";

    /** What pgjdbc may say to the server: in the extended protocol, but for the last. */
    static final List<Map<String, String>> MODES = List.of(
            Map.of(),
            // Named statements from the first execution on.
            Map.of("prepareThreshold", "1"),
            Map.of("preferQueryMode", "extendedForPrepared"),
            Map.of("preferQueryMode", "extendedCacheEverything"),
            Map.of("preferQueryMode", "simple"));

    interface Test {
        void run() throws Exception;
    }

    public static void main(String[] arguments) {
        Map<String, Test> tests = new LinkedHashMap<>();
        for (Map<String, String> mode : MODES) {
            tests.put("both logins and the mapping " + mode, () -> bothLoginsAndTheMapping(mode));
            tests.put("the job of CREATE INDEX ASYNC " + mode, () -> theJobOfAnIndex(mode));
        }
        tests.put("the ARN is no parameter", Clients::theArnIsNoParameter);
        tests.put("an expired token", Clients::anExpiredToken);
        tests.put("admin with the action of custom roles", Clients::adminWithDbConnect);
        tests.put("a custom role with the action of admin", Clients::roleWithDbConnectAdmin);
        tests.put("no policy", Clients::noPolicy);
        tests.put("the server's certificate is verified", Clients::theCertificateIsVerified);

        List<String> failed = new ArrayList<>();
        tests.forEach((name, test) -> {
            try {
                test.run();
                System.out.println("ok      " + name);
            } catch (Exception | AssertionError error) {
                System.out.println("FAILED  " + name);
                error.printStackTrace(System.out);
                failed.add(name);
            }
        });
        System.out.println(tests.size() - failed.size() + " passed, " + failed.size() + " failed");
        System.exit(failed.isEmpty() ? 0 : 1);
    }

    // The cases

    static void bothLoginsAndTheMapping(Map<String, String> mode) throws Exception {
        try (Role role = new Role()) {
            String grant = "AWS IAM GRANT " + role.name + " TO '" + EXAMPLE_ARN + "'";
            String revoke = "AWS IAM REVOKE " + role.name + " FROM '" + EXAMPLE_ARN + "'";
            try (Connection admin = connect("admin", token("admin", true), mode)) {
                assertEquals("admin", ask(admin, "SELECT current_user"));
                assertEquals("arn:aws:iam::" + ACCOUNT + ":user/dba",
                        ask(admin, "SELECT sys.iam_session_user()"));
                // Several times, so that pgjdbc comes to have the statements prepared.
                try (PreparedStatement granting = admin.prepareStatement(grant);
                        PreparedStatement revoking = admin.prepareStatement(revoke)) {
                    for (int time = 0; time < 7; time++) {
                        granting.execute();
                        revoking.execute();
                    }
                }
                try (Statement statement = admin.createStatement()) {
                    statement.execute(grant);
                    ServerErrorMessage error = failure(() -> statement.execute(grant));
                    assertEquals("ERROR", error.getSeverity());
                    assertEquals("42710", error.getSQLState());
                    assertEquals("IAM role " + EXAMPLE_ARN + " is already granted to role "
                            + role.name, error.getMessage());
                }
                try (Connection custom = connect(role.name, token("example", false), mode)) {
                    assertEquals(role.name, ask(custom, "SELECT current_user"));
                    assertEquals("arn:aws:sts::" + ACCOUNT + ":assumed-role/example/local",
                            ask(custom, "SELECT sys.iam_session_user()"));
                }
                // In a transaction that is taken back.
                admin.setAutoCommit(false);
                try (Statement statement = admin.createStatement()) {
                    statement.execute(revoke);
                }
                admin.rollback();
                admin.setAutoCommit(true);
                connect(role.name, token("example", false), mode).close();
                try (Statement statement = admin.createStatement()) {
                    statement.execute(revoke);
                }
            }
            assertRefused(role.name, token("example", false), "28000", null);
        }
    }

    static void theJobOfAnIndex(Map<String, String> mode) throws Exception {
        String table = "java_async_" + ProcessHandle.current().pid();
        try (Connection admin = connect("admin", token("admin", true), mode);
                Statement statement = admin.createStatement()) {
            statement.execute("CREATE TABLE " + table + " (a int)");
            String create = "CREATE INDEX ASYNC i_" + table + " ON " + table + " (a)";
            try (PreparedStatement creating = admin.prepareStatement(create)) {
                // Several times, so that pgjdbc comes to have the statement prepared.
                for (int time = 0; time < 7; time++) {
                    String job;
                    try (ResultSet rows = creating.executeQuery()) {
                        assertTrue(rows.next(), "no row");
                        job = rows.getString("job_id");
                    }
                    assertTrue(job.matches("[a-z2-7]{26}"), job);
                    for (String wait : List.of("CALL", "SELECT")) {
                        try (PreparedStatement waiting =
                                admin.prepareStatement(wait + " sys.wait_for_job(?)")) {
                            waiting.setString(1, job);
                            try (ResultSet rows = waiting.executeQuery()) {
                                assertTrue(rows.next() && rows.getBoolean(1), wait);
                            }
                        }
                    }
                    statement.execute("DROP INDEX i_" + table);
                }
            }
            statement.execute("DROP TABLE " + table);
        }
    }

    static void theArnIsNoParameter() throws Exception {
        try (Role role = new Role(); Connection admin = admin();
                PreparedStatement grant =
                        admin.prepareStatement("AWS IAM GRANT " + role.name + " TO ?")) {
            grant.setString(1, EXAMPLE_ARN);
            ServerErrorMessage error = failure(grant::execute);
            assertEquals("42601", error.getSQLState());
            assertEquals("syntax error at or near \"$1\"", error.getMessage());
        }
    }

    static void anExpiredToken() throws Exception {
        String token = command("token", "--hostname", HOST, "--profile", "admin", "--admin",
                "--expires-in", "1");
        // It is good until its second is over.
        Instant deadline = Instant.now().plus(Duration.ofSeconds(20));
        while (true) {
            try {
                connect("admin", token, Map.of()).close();
            } catch (PSQLException refused) {
                break;
            }
            assertTrue(Instant.now().isBefore(deadline), "the token does not expire");
        }
        ServerErrorMessage error = refusal("admin", token);
        assertEquals("08006", error.getSQLState());
        assertTrue(error.getHint().matches("Signature expired: \\d{8}T\\d{6}Z is now earlier than "
                + "\\d{8}T\\d{6}Z \\(\\d{8}T\\d{6}Z - 1 sec\\.\\)"), error.getHint());
    }

    static void adminWithDbConnect() throws Exception {
        assertRefused("admin", token("admin", false), "08006",
                "Wrong user to action mapping. user: admin, action: DbConnect");
    }

    static void roleWithDbConnectAdmin() throws Exception {
        try (Role role = new Role()) {
            try (Connection admin = admin(); Statement statement = admin.createStatement()) {
                statement.execute("AWS IAM GRANT " + role.name + " TO '" + EXAMPLE_ARN + "'");
            }
            assertRefused(role.name, token("example", true), "08006",
                    "Wrong user to action mapping. user: " + role.name
                            + ", action: DbConnectAdmin");
        }
    }

    static void noPolicy() throws Exception {
        try (Role role = new Role()) {
            assertRefused(role.name, token("denied", false), "08006",
                    "User: arn:aws:iam::" + ACCOUNT + ":user/visitor is not authorized to perform: "
                            + "dsql:DbConnect on resource: " + CLUSTER_ARN + " because no "
                            + "identity-based policy allows the dsql:DbConnect action");
        }
    }

    /** Without the authority pgjdbc does not go on, so what is above was verified. */
    static void theCertificateIsVerified() throws Exception {
        String nowhere = AUTHORITY + ".not-there";
        try {
            connect("admin", token("admin", true), Map.of("sslrootcert", nowhere)).close();
        } catch (PSQLException error) {
            assertEquals(null, error.getServerErrorMessage());
            assertTrue(error.getMessage().contains(nowhere), error.getMessage());
            return;
        }
        throw new AssertionError("connected without an authority");
    }

    // Connecting

    /** The way that it should be, but for `changes`. */
    static Connection connect(String user, String password, Map<String, String> changes)
            throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", user);
        properties.setProperty("password", password);
        properties.setProperty("sslmode", "verify-full");
        properties.setProperty("sslrootcert", AUTHORITY);
        properties.setProperty("connectTimeout", "30");
        properties.putAll(changes);
        String url = "jdbc:postgresql://" + HOST + ":" + PORT + "/postgres";
        return DriverManager.getConnection(url, properties);
    }

    static Connection admin() throws Exception {
        return connect("admin", token("admin", true), Map.of());
    }

    static String ask(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement();
                ResultSet rows = statement.executeQuery(query)) {
            assertTrue(rows.next(), "no row");
            return rows.getString(1);
        }
    }

    /** A role of one test, which goes at its end with its mappings. */
    static class Role implements AutoCloseable {
        final String name;

        Role() throws Exception {
            byte[] random = new byte[8];
            ThreadLocalRandom.current().nextBytes(random);
            name = "java_" + HexFormat.of().formatHex(random);
            try (Connection admin = admin(); Statement statement = admin.createStatement()) {
                statement.execute("CREATE ROLE " + name + " LOGIN");
            }
        }

        @Override
        public void close() throws Exception {
            try (Connection admin = admin(); Statement statement = admin.createStatement()) {
                String revoke = "SELECT sys.iam_revoke(pg_role_name, arn) "
                        + "FROM sys.iam_pg_role_mappings WHERE pg_role_name = '" + name + "'";
                statement.execute(revoke);
                statement.execute("DROP ROLE " + name);
            }
        }
    }

    // Refusals

    static void assertRefused(String user, String password, String code, String hint)
            throws Exception {
        ServerErrorMessage error = refusal(user, password);
        assertEquals(code, error.getSQLState());
        assertEquals(hint, error.getHint());
    }

    /** The refusal of a login, with all that each refusal has. */
    static ServerErrorMessage refusal(String user, String password) throws Exception {
        ServerErrorMessage error = failure(() -> connect(user, password, Map.of()).close());
        assertEquals("FATAL", error.getSeverity());
        assertEquals(DENIED, error.getMessage());
        assertTrue(SESSION_ID.matcher(error.getDetail()).matches(), error.getDetail());
        return error;
    }

    /** What the server says of something that has to fail. */
    static ServerErrorMessage failure(Test test) throws Exception {
        try {
            test.run();
        } catch (PSQLException error) {
            assertTrue(error.getServerErrorMessage() != null, "not the server's: " + error);
            return error.getServerErrorMessage();
        }
        throw new AssertionError("it succeeded");
    }

    // Tokens

    static String token(String profile, boolean isAdmin) throws Exception {
        List<String> words = new ArrayList<>(
                List.of("token", "--hostname", HOST, "--profile", profile));
        if (isAdmin) {
            words.add("--admin");
        }
        return command(words.toArray(String[]::new));
    }

    /** What `dsql-iam` prints. */
    static String command(String... arguments) throws IOException, InterruptedException {
        List<String> words = new ArrayList<>(List.of("dsql-iam"));
        words.addAll(List.of(arguments));
        Process process = new ProcessBuilder(words)
                .redirectError(ProcessBuilder.Redirect.INHERIT).start();
        String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
        assertEquals(0, process.waitFor());
        return output.strip();
    }

    static String variable(String name) {
        String value = System.getenv(name);
        if (value == null || value.isEmpty()) {
            throw new IllegalStateException(name + " is not set: run `cargo xtask test --only java`, "
                    + "or source the env.sh of a server that `cargo xtask up` started");
        }
        return value;
    }

    // Java's own `assert` is off if nobody turns it on.

    static void assertTrue(boolean condition, String otherwise) {
        if (!condition) {
            throw new AssertionError(otherwise);
        }
    }

    static void assertEquals(Object expected, Object found) {
        assertTrue(Objects.equals(expected, found), "expected " + expected + ", found " + found);
    }
}
