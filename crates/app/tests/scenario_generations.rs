//! Queries that change between two runs: what goes on, what is altered, what fills a new table until the view is swapped.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::project::{Column, ProjectDir, examples};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const STATES: &str = "SELECT query, generation, state FROM ops.generations ORDER BY 1, 2";

fn shop(column: Column) -> ProjectDir {
    let template = examples().parent().expect("the repository").join("crates/project/template");
    let project = ProjectDir::copy_of(&template, BINARY, column);
    drain(&project);
    project
}

fn drain(project: &ProjectDir) {
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

fn tables(project: &ProjectDir) -> Vec<String> {
    project.sql("SELECT tablename FROM pg_tables WHERE schemaname = 'results' ORDER BY 1")
}

fn load(project: &ProjectDir, name: &str, rows: &str) {
    let file = project.path.join(name);
    fs::write(&file, format!("order_id,customer_id,product_id,quantity,price,ordered_at\n{rows}\n")).expect("a file");
    let ended = project.run("load", &[file.to_str().expect("a path"), "--stream", "orders"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

#[test]
fn what_a_change_means_decides_what_it_does() {
    let project = shop(Column::Embedded);
    let sales = "SELECT window_start, category, orders, units, sales FROM bi.sales_per_minute ORDER BY 1, 2";
    let before = project.sql(sales);
    assert!(before.len() > 3, "{before:?}");

    // A comment and spaces: nothing.
    let file = "queries/sales_per_minute.sql";
    project.edit(file, "SELECT\n", "-- what we sell\nSELECT   ");
    drain(&project);
    assert_eq!(tables(&project), ["large_orders", "sales_per_minute"]);
    let noted = "SELECT altered_at IS NOT NULL, query_text LIKE '%what we sell%' FROM ops.generations WHERE query = 'sales_per_minute'";
    assert_eq!(project.sql_value(noted), "t,t");

    // A column of windows: a new generation, and in the end the view shows it.
    project.edit(file, "  sum(o.quantity) AS units,", "  sum(o.quantity) AS units,\n  max(o.quantity) AS most_units,");
    drain(&project);
    assert_eq!(project.sql(sales), before);
    assert_eq!(project.sql_value("SELECT count(*) FROM bi.sales_per_minute WHERE most_units IS NULL"), "0");
    assert_eq!(project.sql_value("SELECT max(generation) FROM results.sales_per_minute__g2"), "2");
    assert_eq!(project.sql(STATES), ["large_orders,1,shown", "sales_per_minute,1,retired", "sales_per_minute,2,shown"]);

    // Columns of rows: the table is altered, and rows from before have nothing there.
    project.edit("queries/large_orders.sql", "  o.quantity,", "  upper(o.order_id) AS big_id,\n  o.quantity,");
    load(&project, "more.csv", "o30,c3,p3,40,3.90,2026-01-05T09:02:20Z");
    drain(&project);
    let rows = project.sql("SELECT order_id, big_id FROM bi.large_orders ORDER BY order_id");
    assert_eq!(rows, ["o30,O30", "o4,", "o8,"]);
    assert_eq!(tables(&project), ["large_orders", "sales_per_minute", "sales_per_minute__g2"]);

    // Back to the earlier text: a change like any.
    project.edit(file, "  max(o.quantity) AS most_units,\n", "");
    drain(&project);
    assert_eq!(project.sql_value("SELECT sum(orders) FROM bi.sales_per_minute"), "8");
    assert_eq!(project.sql_value("SELECT count(*) FROM results.sales_per_minute__g3 WHERE is_deleted"), "0");
    let columns =
        "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'bi' AND column_name = 'most_units'";
    assert_eq!(project.sql_value(columns), "0");

    // How rows of a table that it joins are found: a new generation of each query that joins it.
    let products = project.path.join("reference/products.csv");
    let rows = fs::read_to_string(&products).expect("the products");
    let valid = rows.replace('\n', ",2026-01-01 00:00:00\n").replacen("2026-01-01 00:00:00", "known_from", 1);
    fs::write(&products, valid).expect("the products");
    project.edit("tillstream.yaml", "key: product_id }", "key: product_id, valid_from: known_from }");
    drain(&project);
    assert_eq!(project.sql_value("SELECT sum(orders) FROM bi.sales_per_minute"), "8");
    let shown = "SELECT query, generation FROM ops.generations WHERE state = 'shown' ORDER BY 1";
    assert_eq!(project.sql(shown), ["large_orders,2", "sales_per_minute,4"]);
}

#[test]
fn a_query_that_goes_away_leaves_its_rows_and_comes_back() {
    let project = shop(Column::Embedded);
    let file = project.path.join("queries/sales_per_minute.sql");
    let text = fs::read_to_string(&file).expect("the query");
    // A new name is a new query: it works out what came in before.
    fs::rename(&file, project.path.join("queries/sales.sql")).expect("the file can be renamed");
    load(&project, "more.csv", "o30,c3,p3,40,3.90,2026-01-05T09:02:20Z");
    drain(&project);
    assert_eq!(project.sql_value("SELECT sum(orders) FROM bi.sales"), "8");
    assert_eq!(project.sql_value("SELECT sum(orders) FROM bi.sales_per_minute"), "7", "as it was");
    assert_eq!(project.sql(STATES), ["large_orders,1,shown", "sales,1,shown", "sales_per_minute,1,stopped"]);

    fs::write(&file, text).expect("the query");
    drain(&project);
    assert_eq!(project.sql_value("SELECT sum(orders) FROM bi.sales_per_minute"), "8");
    assert_eq!(project.sql(STATES), ["large_orders,1,shown", "sales,1,shown", "sales_per_minute,1,shown"]);
}

#[test]
fn a_view_that_others_need_stays_with_the_generation_before_which_goes_on() {
    let project = shop(Column::Servers);
    project.sql("CREATE VIEW public.board AS SELECT category, units FROM bi.sales_per_minute");
    project.edit("queries/sales_per_minute.sql", "sum(o.quantity) AS units", "avg(o.quantity) AS units");
    drain(&project);
    assert_eq!(project.sql(STATES)[1..], ["sales_per_minute,1,shown", "sales_per_minute,2,filling"]);
    load(&project, "more.csv", "o30,c3,p3,40,3.90,2026-01-05T09:02:20Z");
    drain(&project);
    assert_eq!(project.sql_value("SELECT sum(orders) FROM bi.sales_per_minute"), "8", "it goes on");
    project.sql("DROP VIEW public.board");
    drain(&project);
    assert_eq!(project.sql(STATES)[1..], ["sales_per_minute,1,retired", "sales_per_minute,2,shown"]);
    assert_eq!(project.sql_value("SELECT sum(orders), max(units) FROM bi.sales_per_minute"), "8,30");
}

/// The pipeline is killed again and again while a new generation fills: the view never goes back, and in the end shows the new one.
#[test]
fn killed_while_filling_it_loses_nothing_and_the_view_never_goes_back() {
    let project = ProjectDir::of_example("payments", BINARY, Column::Servers);
    let mut pipeline = project.up(&[]);
    let shares = ["--late-share", "0", "--duplicate-share", "0", "--invalid-share", "0", "--fraud-bursts-per-min", "0"];
    let generate = |rate: &str, seconds: &str| {
        let ended = project.run("generate", &[&["--rate", rate, "--for", seconds], &shares[..]].concat());
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    generate("20000", "3s");
    let shown = "SELECT coalesce(sum(payments), 0) FROM bi.kpis_per_minute";
    project.wait_for_value(shown, "60000", Duration::from_secs(60));
    pipeline.signal(Signal::SIGTERM);
    assert!(pipeline.wait(Duration::from_secs(150)).success(), "{}", pipeline.tail());

    project.edit(
        "queries/kpis_per_minute.sql",
        "count(*) AS payments,",
        "count(*) AS payments,\n  min(amount) AS least_amount,",
    );
    for run_ms in [300, 900, 1_500, 2_100, 2_700, 3_300] {
        let mut pipeline = project.start("up", &[]);
        pipeline.run_for(Duration::from_millis(run_ms));
        pipeline.kill();
        assert_eq!(project.sql_value(shown), "60000");
    }
    let mut pipeline = project.up(&[]);
    generate("5000", "1s");
    project.wait_for_value(shown, "65000", Duration::from_secs(60));
    let state = "SELECT state FROM ops.generations WHERE query = 'kpis_per_minute' AND generation = 2";
    project.wait_for_value(state, "shown", Duration::from_secs(60));
    pipeline.signal(Signal::SIGTERM);
    assert!(pipeline.wait(Duration::from_secs(150)).success(), "{}", pipeline.tail());
    drain(&project);
    let differences = project.sql(
        "SELECT window_start, currency, payments, least_amount FROM bi.kpis_per_minute EXCEPT ALL
         SELECT date_trunc('minute', event_time), currency, count(*), min(amount) FROM bi.payments_enriched GROUP BY 1, 2",
    );
    assert!(differences.is_empty(), "{differences:#?}");
    assert_eq!(project.sql_value(shown), "65000");
}

/// The pipeline is killed at each step of a takeover, while a table that the query joins changes: each payment stays in the one group that
/// it was counted in.
#[test]
fn killed_at_each_step_of_a_takeover_each_row_is_counted_once() {
    let mut project = ProjectDir::of_example("payments", BINARY, Column::Servers);
    project.set("process.checkpoint_interval=100ms");
    project.edit(
        "tillstream.yaml",
        "    file: reference/merchants.csv\n",
        "    file: reference/merchants.csv\n    refresh: 100ms\n",
    );
    let merchants = project.path.join("reference/merchants.csv");
    let rows = fs::read_to_string(&merchants).expect("the merchants");
    // Lets all merchants have another category.
    let change = |suffix: usize| {
        let changed = rows.lines().enumerate().map(|(number, line)| match line.rsplit_once(',') {
            Some((rest, country)) if number > 0 => format!("{rest}/{suffix},{country}\n"),
            _ => format!("{line}\n"),
        });
        let beside = merchants.with_extension("new");
        fs::write(&beside, changed.collect::<String>()).expect("the file can be written");
        fs::rename(&beside, &merchants).expect("the file can be replaced");
    };
    let wait = Duration::from_secs(150);
    let mut pipeline = project.up(&[]);
    let ended = project.run("generate", &["--rate", "20000", "--for", "2s"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    pipeline.signal(Signal::SIGTERM);
    assert!(pipeline.wait(wait).success(), "{}", pipeline.tail());

    project.edit("queries/spend_by_category.sql", "AS total", "AS total,\n  max(t.amount) AS largest");
    let steps =
        ["stage=fill_spend_by_category__g2", "the new generation has caught up", "the view shows the new generation"];
    for number in 0..steps.len() {
        change(number);
        // A kill that came late may have left a step behind that isn't done again, so the ones after it will do.
        let shows = "SELECT count(*) FROM information_schema.columns WHERE table_schema = 'bi' AND table_name = 'spend_by_category' AND column_name = 'largest'";
        let lines = match project.sql_value(shows).as_str() {
            "0" => &steps[number..],
            _ => &["stage=process"][..],
        };
        let mut pipeline = project.start("up", &[]);
        pipeline.wait_for_line(wait, |line| lines.iter().any(|step| line.contains(step)));
        if number == 2 {
            // The stage that filled goes on, and is killed with rows before and behind it.
            let ended = project.run("generate", &["--rate", "20000", "--for", "2s"]);
            assert_eq!(ended.code, Some(0), "{}", ended.stderr);
        }
        pipeline.kill();
    }
    // The process stage takes over, and is killed at any point of it.
    for (number, run_ms) in (3..).zip([0, 50, 100, 150, 250, 400, 600]) {
        change(number);
        let mut pipeline = project.start("up", &[]);
        pipeline.wait_for_line(wait, |line| line.contains("stage=process"));
        pipeline.run_for(Duration::from_millis(run_ms));
        pipeline.kill();
    }
    change(99);
    let mut pipeline = project.up(&[]);
    let mut generator = project.start("generate", &["--rate", "1500", "--for", "60s"]);
    let counted = "SELECT count(*) > 0 FROM bi.spend_by_category WHERE category LIKE '%/99'";
    project.wait_for_value(counted, "t", wait);
    pipeline.kill();
    generator.kill();
    drain(&project);
    let counted = "SELECT window_start, currency, sum(payments), sum(total), max(largest) FROM bi.spend_by_category GROUP BY 1, 2";
    let accepted = "SELECT date_bin('10 seconds', event_time, 'epoch'), currency, count(*), sum(amount), max(amount)
         FROM bi.payments_enriched WHERE status = 'approved' AND merchant_name IS NOT NULL GROUP BY 1, 2";
    let differences = project.sql(&format!(
        "(SELECT 'missing', * FROM (({accepted}) EXCEPT ALL ({counted})) AS m) UNION ALL (SELECT 'extra', * FROM (({counted}) EXCEPT ALL ({accepted})) AS e) LIMIT 5"
    ));
    assert!(differences.is_empty(), "{differences:#?}");
    let (code, report) = common::audit(&project, &[]);
    assert_eq!((code, &report["ok"]), (Some(0), &serde_json::Value::Bool(true)), "{report:#}");
    // What had been filled was removed where it was filled, once it was saved where it is now.
    let snapshots = project.data_dir().join("snapshots/fill_spend_by_category__g2");
    let left =
        ["snapshots", "log", "contents"].map(|kind| fs::read_dir(snapshots.join(kind)).map_or(0, Iterator::count));
    assert_eq!(left, [0, 0, 0]);
}
