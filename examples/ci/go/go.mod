module example

go 1.26.0

require (
	github.com/aws/aws-sdk-go-v2/credentials v1.19.36
	github.com/aws/aws-sdk-go-v2/feature/dsql/auth v1.1.37
	github.com/jackc/pgx/v5 v5.8.0
	github.com/testcontainers/testcontainers-go v0.45.0
)
