// AWS's JDBC connector, unmodified, alone and below what Java's programs have above it: a pool (HikariCP), migrations
// with CREATE INDEX ASYNC (Flyway, Liquibase) and Hibernate. It signs a token for each connection by itself.
//
// One file, run by `java` from its source, with the jars that pom.xml names: `cargo xtask test --only java` does.

import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import jakarta.persistence.Entity;
import jakarta.persistence.Id;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.logging.Level;
import java.util.logging.Logger;
import liquibase.Liquibase;
import liquibase.database.Database;
import liquibase.database.DatabaseFactory;
import liquibase.database.jvm.JdbcConnection;
import liquibase.resource.DirectoryResourceAccessor;
import org.flywaydb.core.Flyway;
import org.hibernate.SessionFactory;
import org.hibernate.boot.registry.BootstrapServiceRegistry;
import org.hibernate.boot.registry.BootstrapServiceRegistryBuilder;
import org.hibernate.cfg.Configuration;
import org.postgresql.util.PSQLException;

class Connector {
    static final String ENDPOINT = variable("DSQL_ENDPOINT");
    static final String PORT = variable("PGPORT");
    static final String ACCOUNT = variable("DSQL_CLUSTER_ARN").split(":")[4];
    static final String ADMIN_ARN = "arn:aws:iam::" + ACCOUNT + ":user/dba";
    static final String JOB = "[a-z2-7]{26}";
    static Path directory;

    interface Test {
        void run() throws Exception;
    }

    public static void main(String[] arguments) throws Exception {
        directory = Files.createTempDirectory("dsql-iam-java");
        // Flyway, Liquibase and Hibernate tell of each step.
        Logger.getLogger("").setLevel(Level.WARNING);
        leadTheEndpointHere();
        Map<String, Test> tests = new LinkedHashMap<>();
        tests.put("the connector signs as admin", Connector::theConnectorSigns);
        tests.put("a profile without a policy", Connector::noPolicy);
        tests.put("HikariCP", Connector::inAPool);
        tests.put("Flyway", Connector::flyway);
        tests.put("Liquibase", Connector::liquibase);
        tests.put("Hibernate", Connector::hibernate);

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
        remove(directory);
        System.exit(failed.isEmpty() ? 0 : 1);
    }

    // The cases

    static void theConnectorSigns() throws Exception {
        try (Connection admin = DriverManager.getConnection(url("admin"))) {
            assertEquals(ADMIN_ARN, ask(admin, "SELECT sys.iam_session_user()"));
            assertEquals("admin", ask(admin, "SELECT current_user"));
        }
    }

    static void noPolicy() throws Exception {
        try {
            DriverManager.getConnection(url("denied")).close();
        } catch (PSQLException refused) {
            assertEquals("08006", refused.getSQLState());
            String hint = refused.getServerErrorMessage().getHint();
            assertTrue(hint.startsWith("User: arn:aws:iam::" + ACCOUNT + ":user/visitor is not authorized to perform: "
                    + "dsql:DbConnectAdmin on resource: "), hint);
            return;
        }
        throw new AssertionError("it connected");
    }

    static void inAPool() throws Exception {
        try (HikariDataSource pool = pool(); Connection first = pool.getConnection();
                Connection second = pool.getConnection()) {
            for (Connection one : List.of(first, second)) {
                assertEquals(ADMIN_ARN, ask(one, "SELECT sys.iam_session_user()"));
            }
        }
    }

    static void flyway() throws Exception {
        Path migrations = Files.createDirectories(directory.resolve("flyway"));
        Files.writeString(migrations.resolve("V1__table.sql"), "CREATE TABLE java_flyway (a int)");
        Path index = migrations.resolve("V2__index.sql");
        Files.writeString(index, "CREATE INDEX ASYNC java_flyway_a ON java_flyway (a)");
        Files.writeString(Path.of(index + ".conf"), "executeInTransaction=false\n");
        try (HikariDataSource pool = pool(); Connection admin = pool.getConnection()) {
            Flyway flyway = Flyway.configure().dataSource(pool).table("java_flyway_history")
                    .baselineOnMigrate(true).baselineVersion("0").locations("filesystem:" + migrations).load();
            try {
                assertEquals(2, flyway.migrate().migrationsExecuted);
                assertIndexed(admin, "java_flyway_a");
            } finally {
                execute(admin, "DROP TABLE IF EXISTS java_flyway, java_flyway_history");
            }
        }
    }

    static void liquibase() throws Exception {
        Path changes = Files.createDirectories(directory.resolve("liquibase"));
        Files.writeString(changes.resolve("changes.sql"), """
                --liquibase formatted sql
                --changeset a:1 runInTransaction:false
                CREATE TABLE java_liquibase (a int);
                --changeset a:2 runInTransaction:false
                CREATE INDEX ASYNC java_liquibase_a ON java_liquibase (a);
                """);
        try (Connection admin = DriverManager.getConnection(url("admin"));
                Connection own = DriverManager.getConnection(url("admin"))) {
            Database database = DatabaseFactory.getInstance()
                    .findCorrectDatabaseImplementation(new JdbcConnection(own));
            try {
                new Liquibase("changes.sql", new DirectoryResourceAccessor(changes), database).update("");
                assertIndexed(admin, "java_liquibase_a");
            } finally {
                execute(admin, "DROP TABLE IF EXISTS java_liquibase, databasechangelog, databasechangeloglock");
            }
        }
    }

    @Entity(name = "java_hibernate")
    static class Row {
        @Id
        int id;
        String text;
    }

    static void hibernate() throws Exception {
        try (Connection admin = DriverManager.getConnection(url("admin"))) {
            // A program that is run from its source has a class loader of its own.
            BootstrapServiceRegistry loader = new BootstrapServiceRegistryBuilder()
                    .applyClassLoader(Connector.class.getClassLoader()).build();
            Configuration configuration = new Configuration(loader).addAnnotatedClass(Row.class)
                    .setProperty("hibernate.connection.driver_class", "software.amazon.dsql.jdbc.DSQLConnector")
                    .setProperty("hibernate.connection.url", url("admin"));
            execute(admin, "CREATE TABLE java_hibernate (id int PRIMARY KEY, text text)");
            try (SessionFactory factory = configuration.buildSessionFactory()) {
                factory.inTransaction(session -> {
                    Row row = new Row();
                    row.id = 1;
                    row.text = "one";
                    session.persist(row);
                });
                factory.inTransaction(session -> assertEquals("one", session.find(Row.class, 1).text));
                factory.inTransaction(session -> assertEquals(ADMIN_ARN, session
                        .createNativeQuery("SELECT sys.iam_session_user()", String.class).getSingleResult()));
            } finally {
                execute(admin, "DROP TABLE java_hibernate");
            }
        }
    }

    // Connecting

    static String url(String profile) {
        return "jdbc:aws-dsql:postgresql://" + ENDPOINT + ":" + PORT + "/postgres?user=admin&profile=" + profile
                + "&sslmode=verify-full&sslrootcert=" + variable("PGSSLROOTCERT");
    }

    static HikariDataSource pool() {
        HikariConfig settings = new HikariConfig();
        settings.setJdbcUrl(url("admin"));
        settings.setMaximumPoolSize(5);
        return new HikariDataSource(settings);
    }

    /** As a line in /etc/hosts would. */
    static void leadTheEndpointHere() throws IOException {
        Path hosts = directory.resolve("hosts");
        Files.writeString(hosts, "127.0.0.1 " + ENDPOINT + "\n");
        System.setProperty("jdk.net.hosts.file", hosts.toString());
    }

    // Questions to the server

    static void assertIndexed(Connection admin, String index) throws SQLException {
        assertEquals("t", ask(admin, "SELECT i.indisvalid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid "
                + "WHERE c.relname = '" + index + "'"));
        String job = ask(admin, "SELECT job_id FROM sys.jobs WHERE object_name = 'public." + index
                + "' AND status = 'completed'");
        assertTrue(job.matches(JOB), job);
    }

    static String ask(Connection connection, String query) throws SQLException {
        try (Statement statement = connection.createStatement(); ResultSet rows = statement.executeQuery(query)) {
            assertTrue(rows.next(), "no row: " + query);
            return rows.getString(1);
        }
    }

    static void execute(Connection connection, String text) throws SQLException {
        try (Statement statement = connection.createStatement()) {
            statement.execute(text);
        }
    }

    static void assertEquals(Object expected, Object actual) {
        assertTrue(Objects.equals(expected, actual), "expected " + expected + ", not " + actual);
    }

    static void assertTrue(boolean holds, String otherwise) {
        if (!holds) {
            throw new AssertionError(otherwise);
        }
    }

    static String variable(String name) {
        return Objects.requireNonNull(System.getenv(name), name);
    }

    static void remove(Path path) throws IOException {
        try (var paths = Files.walk(path)) {
            for (Path one : paths.sorted(java.util.Comparator.reverseOrder()).toList()) {
                Files.delete(one);
            }
        }
    }
}
