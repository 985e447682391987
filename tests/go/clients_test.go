// Go's client: pgx with AWS's signer.
package clients

import (
	"context"
	"crypto/tls"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/dsql/auth"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

const dba = "arn:aws:iam::012345678912:user/dba"

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// token signs for a host with the key of a profile.
func token(t *testing.T, profile, host string) string {
	t.Helper()
	loaded, err := config.LoadDefaultConfig(t.Context(), config.WithSharedConfigProfile(profile))
	check(t, err)
	signed, err := auth.GenerateDBConnectAdminAuthToken(t.Context(), host, loaded.Region, loaded.Credentials)
	check(t, err)
	return signed
}

// connect uses the environment, as of env.sh, for all but the password.
func connect(t *testing.T, password string, change func(*pgx.ConnConfig)) (*pgx.Conn, error) {
	t.Helper()
	settings, err := pgx.ParseConfig("")
	check(t, err)
	settings.Password = password
	if change != nil {
		change(settings)
	}
	connection, err := pgx.ConnectConfig(t.Context(), settings)
	if err == nil {
		t.Cleanup(func() { connection.Close(context.Background()) })
	}
	return connection, err
}

func TestEachModeOfPgxLogsIn(t *testing.T) {
	for _, mode := range []pgx.QueryExecMode{
		pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe,
		pgx.QueryExecModeDescribeExec, pgx.QueryExecModeExec, pgx.QueryExecModeSimpleProtocol,
	} {
		t.Run(mode.String(), func(t *testing.T) {
			// Go's signer takes a port behind the host.
			for _, host := range []string{"localhost", "localhost:" + os.Getenv("PGPORT")} {
				connection, err := connect(t, token(t, "admin", host), func(settings *pgx.ConnConfig) {
					settings.DefaultQueryExecMode = mode
				})
				check(t, err)
				var arn string
				check(t, connection.QueryRow(t.Context(), "SELECT sys.iam_session_user()").Scan(&arn))
				if arn != dba {
					t.Fatal(arn)
				}
			}
		})
	}
}

// refused takes apart what pgx says of a login that was not admitted.
func refused(t *testing.T, err error, hint string) {
	t.Helper()
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) {
		t.Fatalf("not an error of the server's: %v", err)
	}
	if refusal.Code != "08006" || refusal.Message != "unable to accept connection, access denied" ||
		!strings.HasPrefix(refusal.Hint, hint) || !strings.HasPrefix(refusal.Detail, "Session Id: ") {
		t.Fatalf("%+v", refusal)
	}
}

func TestRefusalsHaveAllThatTheServerSays(t *testing.T) {
	_, err := connect(t, token(t, "denied", "localhost"), nil)
	refused(t, err, "User: arn:aws:iam::012345678912:user/visitor is not authorized to perform: dsql:DbConnectAdmin")
	_, err = connect(t, token(t, "admin", "localhost")+"0", nil)
	refused(t, err, "AWS query-string parameters must include")
	_, err = connect(t, "no token", nil)
	refused(t, err, "Request is missing Authentication Token")
}

func TestWithoutTLSNoTokenIsAskedFor(t *testing.T) {
	_, err := connect(t, token(t, "admin", "localhost"), func(settings *pgx.ConnConfig) {
		settings.TLSConfig, settings.Fallbacks = (*tls.Config)(nil), nil
	})
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) || refusal.Message != "unable to accept connection, SSL is mandatory. AWS Authentication is required." {
		t.Fatal(err)
	}
}

func TestAPoolSignsForEachConnectionAndMigrates(t *testing.T) {
	settings, err := pgxpool.ParseConfig("")
	check(t, err)
	signed := 0
	settings.BeforeConnect = func(_ context.Context, settings *pgx.ConnConfig) error {
		signed++
		settings.Password = token(t, "admin", settings.Host)
		return nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), settings)
	check(t, err)
	defer pool.Close()
	for _, statement := range []string{
		"DROP TABLE IF EXISTS go_clients", "CREATE TABLE go_clients (id int PRIMARY KEY, name text)"} {
		_, err = pool.Exec(t.Context(), statement)
		check(t, err)
	}
	// In the extended protocol, which learns from Describe that there is a row.
	var job string
	check(t, pool.QueryRow(t.Context(), "CREATE INDEX ASYNC ON go_clients (name)").Scan(&job))
	if len(job) != 26 {
		t.Fatal(job)
	}
	_, err = pool.Exec(t.Context(), "CALL sys.wait_for_job('"+job+"')")
	check(t, err)
	pool.Reset()
	_, err = pool.Exec(t.Context(), "DROP TABLE go_clients")
	check(t, err)
	if signed < 2 {
		t.Fatalf("signed %d times", signed)
	}
}
