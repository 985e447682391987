module example

go 1.25.0

require (
	github.com/aws/aws-sdk-go-v2/credentials v1.19.24
	github.com/aws/aws-sdk-go-v2/feature/dsql/auth v1.1.29
	github.com/jackc/pgx/v5 v5.8.0
	github.com/testcontainers/testcontainers-go v0.40.0
)
