"""Logs in as admin. Server and credentials come from the environment."""

import os

import boto3
import psycopg

host = os.environ["PGHOST"]
dsql = boto3.client("dsql", region_name=os.environ["AWS_REGION"])
with psycopg.connect(
    host=host,
    dbname="postgres",
    user="admin",
    password=dsql.generate_db_connect_admin_auth_token(host),
    sslmode="verify-full",
) as connection:
    print(connection.execute("SELECT sys.iam_session_user()").fetchone()[0])
