//! The cost of the lexer's hook for a statement.
//!
//! `cargo xtask bench` runs this and has the figures in its table.

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use dsql_iam_server::aws_iam::{find, rewrite};
use std::hint::black_box;

fn statement(criterion: &mut Criterion) {
    let grant = "AWS IAM GRANT example TO 'arn:aws:iam::012345678912:role/example'";
    let mut group = criterion.benchmark_group("statement");
    group.bench_function("AWS IAM GRANT", |bencher| {
        let buffer = || grant.as_bytes().to_vec();
        bencher.iter_batched_ref(
            buffer,
            |buffer| {
                let words = find(buffer, 0, b' ').expect("a statement");
                rewrite(buffer, 0, &words).keyword_len
            },
            BatchSize::SmallInput,
        );
    });
    group.bench_function("a column aws", |bencher| {
        bencher.iter(|| find(black_box(b"aws, iam FROM t"), 0, b',').is_none());
    });
    group.finish();
}

criterion_group!(benches, statement);
criterion_main!(benches);
