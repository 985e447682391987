// Logs in to dsql_iam in a container of its own: mvn test. It needs the image dsql-iam.

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.nio.file.Path;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.SQLException;
import java.util.Properties;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.containers.wait.strategy.Wait;
import org.testcontainers.utility.MountableFile;
import software.amazon.awssdk.auth.credentials.AwsBasicCredentials;
import software.amazon.awssdk.auth.credentials.StaticCredentialsProvider;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.dsql.DsqlUtilities;

class LoginTest {
    static final String ARN = "arn:aws:iam::012345678912:user/ci";

    // The key of iam/key.json.
    static final DsqlUtilities DSQL = DsqlUtilities.builder()
            .region(Region.US_EAST_1)
            .credentialsProvider(StaticCredentialsProvider.create(AwsBasicCredentials.create(
                    "AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")))
            .build();

    // The documents get a mode that nobody else can read: that is what the server asks for.
    static final GenericContainer<?> SERVER = new GenericContainer<>("dsql-iam")
            .withExposedPorts(5432)
            .waitingFor(Wait.forHealthcheck())
            .withCopyFileToContainer(
                    MountableFile.forHostPath("../iam/account.json", 0600), "/iam/account.json")
            .withCopyFileToContainer(
                    MountableFile.forHostPath("../iam/key.json", 0600), "/iam/key.json");

    @TempDir
    static Path folder;

    @BeforeAll
    static void start() throws Exception {
        SERVER.start();
        SERVER.copyFileFromContainer("/var/lib/dsql-iam/tls/server.crt", authority());
    }

    @AfterAll
    static void stop() {
        SERVER.stop();
    }

    static String authority() {
        return folder.resolve("server.crt").toString();
    }

    static Connection login(String user, String token) throws SQLException {
        var properties = new Properties();
        properties.setProperty("user", user);
        properties.setProperty("password", token);
        properties.setProperty("sslmode", "verify-full");
        properties.setProperty("sslrootcert", authority());
        return DriverManager.getConnection(
                "jdbc:postgresql://localhost:" + SERVER.getMappedPort(5432) + "/postgres", properties);
    }

    static String token() {
        return DSQL.generateDbConnectAuthToken(request -> request.hostname("localhost"));
    }

    @Test
    void aRoleLogsInOnceItIsMapped() throws Exception {
        var refusal = assertThrows(SQLException.class, () -> login("app", token()));
        assertEquals("28000", refusal.getSQLState());

        var adminToken = DSQL.generateDbConnectAdminAuthToken(request -> request.hostname("localhost"));
        try (var admin = login("admin", adminToken); var statement = admin.createStatement()) {
            statement.execute("CREATE ROLE app WITH LOGIN");
            statement.execute("AWS IAM GRANT app TO '" + ARN + "'");
        }

        try (var app = login("app", token());
                var statement = app.createStatement();
                var rows = statement.executeQuery("SELECT sys.iam_session_user()")) {
            rows.next();
            assertEquals(ARN, rows.getString(1));
        }
    }
}
