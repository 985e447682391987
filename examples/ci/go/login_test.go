// Logs in to dsql_iam in a container of its own. It needs the image dsql-iam, and go.mod beside it:
// go mod tidy && go test
package example

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/feature/dsql/auth"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/testcontainers/testcontainers-go"
	"github.com/testcontainers/testcontainers-go/wait"
)

const arn = "arn:aws:iam::012345678912:user/ci"

// start runs the server, and gives the port and the file of its certificate.
func start(t *testing.T) (port, authority string) {
	t.Helper()
	ctx := t.Context()
	var files []testcontainers.ContainerFile
	documents, err := filepath.Glob("../iam/*.json")
	check(t, err)
	for _, document := range documents {
		files = append(files, testcontainers.ContainerFile{
			HostFilePath:      document,
			ContainerFilePath: "/iam/" + filepath.Base(document),
			// That nobody else can read: this is what the server asks for.
			FileMode: 0o600,
		})
	}
	container, err := testcontainers.Run(ctx, "dsql-iam",
		testcontainers.WithExposedPorts("5432/tcp"),
		testcontainers.WithFiles(files...),
		testcontainers.WithWaitStrategy(wait.ForHealthCheck()))
	testcontainers.CleanupContainer(t, container)
	check(t, err)
	mapped, err := container.MappedPort(ctx, "5432/tcp")
	check(t, err)

	certificate, err := container.CopyFileFromContainer(ctx, "/var/lib/dsql-iam/tls/server.crt")
	check(t, err)
	defer certificate.Close()
	content, err := io.ReadAll(certificate)
	check(t, err)
	authority = filepath.Join(t.TempDir(), "server.crt")
	check(t, os.WriteFile(authority, content, 0o600))
	return mapped.Port(), authority
}

// key reads the key that the server knows.
func key(t *testing.T) credentials.StaticCredentialsProvider {
	t.Helper()
	text, err := os.ReadFile("../iam/key.json")
	check(t, err)
	var document struct {
		AccessKey struct{ AccessKeyId, SecretAccessKey string }
	}
	check(t, json.Unmarshal(text, &document))
	return credentials.NewStaticCredentialsProvider(
		document.AccessKey.AccessKeyId, document.AccessKey.SecretAccessKey, "")
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestARoleLogsInOnceItIsMapped(t *testing.T) {
	ctx := t.Context()
	port, authority := start(t)
	login := func(user, token string) (*pgx.Conn, error) {
		config, err := pgx.ParseConfig(fmt.Sprintf(
			"host=localhost port=%s dbname=postgres sslmode=verify-full sslrootcert=%s", port, authority))
		check(t, err)
		config.User, config.Password = user, token
		return pgx.ConnectConfig(ctx, config)
	}

	token, err := auth.GenerateDbConnectAuthToken(ctx, "localhost", "us-east-1", key(t))
	check(t, err)
	var refusal *pgconn.PgError
	if _, err := login("app", token); !errors.As(err, &refusal) || refusal.Code != "28000" {
		t.Fatalf("not refused: %v", err)
	}

	adminToken, err := auth.GenerateDBConnectAdminAuthToken(ctx, "localhost", "us-east-1", key(t))
	check(t, err)
	admin, err := login("admin", adminToken)
	check(t, err)
	defer admin.Close(context.Background())
	_, err = admin.Exec(ctx, "CREATE ROLE app WITH LOGIN")
	check(t, err)
	_, err = admin.Exec(ctx, "AWS IAM GRANT app TO '"+arn+"'")
	check(t, err)

	app, err := login("app", token)
	check(t, err)
	defer app.Close(context.Background())
	var user string
	check(t, app.QueryRow(ctx, "SELECT sys.iam_session_user()").Scan(&user))
	if user != arn {
		t.Fatalf("logged in as %s", user)
	}
}
