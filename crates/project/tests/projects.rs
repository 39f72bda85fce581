//! The projects that we ship are right, and settings reach the plan.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use project::{Overrides, PostgresRelation, Project, ReferenceSource, template};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples").join(name)
}

fn shop() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let shop = directory.path().join("corner_shop");
    template::write(&shop, "corner_shop").unwrap();
    (directory, shop)
}

fn sets(pairs: &[(&str, &str)]) -> Overrides {
    Overrides {
        sets: pairs.iter().map(|(path, value)| ((*path).into(), (*value).into())).collect(),
        ..Overrides::default()
    }
}

#[test]
fn the_template_is_a_project() {
    let (_guard, shop) = shop();
    let project = Project::load(&shop, &Overrides::default()).unwrap();
    assert!(project.warnings.is_empty(), "{}", project.warnings);
    assert_eq!(project.name, "corner_shop");
    let names: Vec<&str> = project.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(names, ["large_orders", "sales_per_minute"]);
    let orders = project.stream("orders").unwrap();
    assert_eq!((orders.raw_topic().as_str(), orders.partitions, orders.replication), ("orders.raw", 4, 1));
    assert_eq!(
        orders.rules.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>(),
        ["positive_quantity", "price_not_negative"]
    );
    assert!(project.require_inputs().is_ok());
    assert!(shop.join(template::EDITOR_SCHEMA).is_file());
}

#[test]
fn payments_is_a_project_in_both_columns() {
    let local = Project::load(&example("payments"), &Overrides::default()).unwrap();
    assert!(local.warnings.is_empty(), "{}", local.warnings);
    let names: Vec<&str> = local.queries.iter().map(|query| query.name.as_str()).collect();
    assert_eq!(
        names,
        [
            "card_testing",
            "declines_then_success",
            "far_above_average",
            "impossible_travel",
            "kpis_per_minute",
            "payments_enriched",
            "spend_by_category",
            "spend_by_category_sliding",
            "velocity"
        ]
    );
    assert_eq!(local.stream("transactions").unwrap().replication, 1);
    let production = Overrides { profile: Some("production".into()), ..Overrides::default() };
    let production = Project::load(&example("payments"), &production).unwrap();
    let transactions = production.stream("transactions").unwrap();
    assert_eq!((transactions.raw_topic().as_str(), transactions.replication), ("payments.transactions.raw", 3));
    assert!(!production.settings.connections.postgres.is_embedded());
}

/// The example's files, with reference data made here: its own data is fetched.
#[test]
fn grocery_is_a_project_once_its_data_is_there() {
    use std::sync::Arc;

    use arrow_array::{Int64Array, RecordBatch, StringArray};
    let directory = tempfile::tempdir().unwrap();
    let target = directory.path();
    for folder in ["schemas", "queries", "data"] {
        std::fs::create_dir(target.join(folder)).unwrap();
        for file in std::fs::read_dir(example("grocery").join(folder)).into_iter().flatten().flatten() {
            if folder != "data" {
                std::fs::copy(file.path(), target.join(folder).join(file.file_name())).unwrap();
            }
        }
    }
    for file in ["tillstream.yaml", "fetch"] {
        std::fs::copy(example("grocery").join(file), target.join(file)).unwrap();
    }
    let errors = Project::load(target, &Overrides::default()).unwrap_err();
    assert_eq!(errors.error_count(), 1, "{errors}");
    assert!(errors.to_string().contains("fetch`, which gets the project's data"), "{errors}");

    let text = |values: [Option<&str>; 2]| Arc::new(StringArray::from(values.to_vec())) as Arc<dyn arrow_array::Array>;
    let batch = RecordBatch::try_from_iter_with_nullable([
        ("product_id", Arc::new(Int64Array::from(vec![1, 2])) as Arc<dyn arrow_array::Array>, true),
        ("department", text([Some("GROCERY"), None]), true),
        ("product_category", text([Some("FRUIT"), None]), true),
    ])
    .unwrap();
    let file = std::fs::File::create(target.join("data/products.parquet")).unwrap();
    let mut writer = parquet::arrow::ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let project = Project::load(target, &Overrides::default()).unwrap();
    assert_eq!(project.queries.len(), 3);
    assert_eq!(project.warnings.problems().len(), 1, "{}", project.warnings);
    assert!(project.require_inputs().unwrap_err().to_string().contains("transactions.parquet"));
    // And with the real data, where somebody has fetched it.
    if example("grocery").join("data/transactions.parquet").is_file() {
        let project = Project::load(&example("grocery"), &Overrides::default()).unwrap();
        assert!(project.warnings.is_empty(), "{}", project.warnings);
    }
}

#[test]
fn later_layers_win_and_origins_are_kept() {
    let (_guard, shop) = shop();
    let mut overrides = sets(&[
        ("streams.orders.lateness", "3m"),
        ("connections.kafka.properties.socket.keepalive.enable", "true"),
        ("connections.postgres.replicas", "[postgres://a@b/c, postgres://a@d/c]"),
        ("streams.orders.duplicates", "null"),
    ]);
    overrides.profile = Some("production".into());
    overrides.environment = BTreeMap::from([
        ("TILLSTREAM__CONNECTIONS__KAFKA__BROKERS".into(), "other:9092".into()),
        ("TILLSTREAM__STREAMS__ORDERS__LATENESS".into(), "2m".into()),
        ("HOME".into(), "/root".into()),
    ]);
    let project = Project::load(&shop, &overrides).unwrap();
    let orders = project.stream("orders").unwrap();
    assert_eq!(orders.lateness.as_micros(), 180_000_000);
    assert_eq!(orders.duplicates, None);
    let kafka = &project.settings.connections.kafka;
    assert_eq!(kafka.brokers, "other:9092");
    assert_eq!(kafka.properties["socket.keepalive.enable"], "true");
    assert_eq!(project.settings.connections.postgres.replicas.len(), 2);
    let origin = |path: &str| project.effective.iter().find(|setting| setting.path == path).unwrap().origin.clone();
    assert_eq!(origin("connections.kafka.brokers"), "environment");
    assert_eq!(origin("streams.orders.lateness"), "--set");
    assert_eq!(origin("serve.listen"), "default");
    assert!(origin("streams.orders.key").ends_with("tillstream.yaml:19"), "{}", origin("streams.orders.key"));
}

#[test]
fn references_of_all_kinds_have_columns() {
    let (_guard, shop) = shop();
    std::fs::write(shop.join("reference/fees.csv"), "a,b,fee,note\n1,x,0.25,\n2,y,1.5,n\n").unwrap();
    let overrides = sets(&[
        ("reference.fees", "{ file: reference/fees.csv, key: [a, b], columns: { note: text } }"),
        (
            "reference.limits",
            "{ table: risk.limits, key: id, columns: { id: bigint, amount: 'decimal(12,2)' }, url: postgres://r@h/d }",
        ),
    ]);
    let project = Project::load(&shop, &overrides).unwrap();
    let fees = project.reference("fees").unwrap();
    let types: Vec<String> =
        fees.schema.fields().iter().map(|field| format!("{} {}", field.data_type(), field.is_nullable())).collect();
    assert_eq!(types, ["Int64 false", "Utf8 false", "Decimal128(18, 2) true", "Utf8 true"]);
    let limits = project.reference("limits").unwrap();
    assert!(
        matches!(&limits.source, ReferenceSource::Postgres { relation: PostgresRelation::Table(table), .. } if table == "risk.limits")
    );
}

#[test]
fn secrets_are_never_shown() {
    let (_guard, shop) = shop();
    let mut overrides = sets(&[
        ("connections.postgres.password", "hunter2"),
        ("connections.registry.url", "http://u:hunter2@r"),
        ("connections.kafka.properties.sasl.password", "hunter2"),
        ("connections.kafka.properties.sasl.oauthbearer.client.secret", "hunter2"),
        ("passwrod", "hunter2"),
    ]);
    overrides.environment =
        BTreeMap::from([("TILLSTREAM__CONNECTIONS__KAFKA__SECURITY__PASSWORD".into(), "hunter2".into())]);
    let errors = Project::load(&shop, &overrides).unwrap_err();
    assert!(errors.error_count() >= 6, "{errors}");
    let everything = format!(
        "{errors} {errors:?} {} {} {overrides:?}",
        errors.to_json(),
        errors.render(project::Rendering::terminal(80))
    );
    assert!(!everything.contains("hunter2"), "{everything}");
    let good =
        sets(&[("connections.postgres.password", "env:PG_PASSWORD"), ("connections.postgres.url", "postgres://u@h/d")]);
    let project = Project::load(&shop, &good).unwrap();
    assert!(format!("{project:?}").contains("env:PG_PASSWORD"));
}

#[test]
fn a_directory_without_a_project_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let errors = Project::load(directory.path(), &Overrides::default()).unwrap_err();
    assert!(errors.to_string().contains("there is no `tillstream.yaml`"), "{errors}");
    let errors = Project::load(&directory.path().join("nope"), &Overrides::default()).unwrap_err();
    assert!(errors.to_string().contains("there is no directory"), "{errors}");
}
