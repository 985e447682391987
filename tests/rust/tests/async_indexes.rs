//! CREATE INDEX ASYNC through the extended protocol, which tokio-postgres always uses for a row: what the
//! statement announces has to be what it gives.

use dsql_iam_e2e::Server;
use tokio_postgres::types::Type;

#[tokio::test]
async fn the_job_of_an_index() {
    let server = Server::from_environment();
    let client = server.admin().await;
    let table = format!("rust_async_{}", std::process::id());
    client
        .batch_execute(&format!("CREATE TABLE {table} (a int)"))
        .await
        .expect("no table");

    let create = client
        .prepare(&format!("CREATE UNIQUE INDEX ASYNC ON {table} (a)"))
        .await
        .expect("not prepared");
    let columns: Vec<_> = create
        .columns()
        .iter()
        .map(|column| (column.name(), column.type_()))
        .collect();
    assert_eq!(columns, [("job_id", &Type::TEXT)]);
    let row = client.query_one(&create, &[]).await.expect("no index");
    let job_id: &str = row.get("job_id");
    assert_eq!(job_id.len(), 26);

    for (wait, column) in [
        ("CALL sys.wait_for_job($1)", "succeeded"),
        ("SELECT sys.wait_for_job($1)", "wait_for_job"),
    ] {
        let row = client.query_one(wait, &[&job_id]).await.expect(wait);
        assert!(row.get::<_, bool>(column), "{wait}");
    }
    let status = "SELECT status FROM sys.jobs WHERE job_id = $1 AND object_name = $2";
    let name = format!("public.{table}_a_idx");
    let row = client.query_one(status, &[&job_id, &name]).await;
    assert_eq!(row.expect("no job").get::<_, &str>(0), "completed");
    client
        .batch_execute(&format!("DROP TABLE {table}"))
        .await
        .expect("not dropped");
}
