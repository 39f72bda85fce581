//! Queries of two streams, sessions, and windows over windows, from files to PostgreSQL, also through crashes.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

mod common;

use std::time::Duration;

use common::shop::{hour, load, shop, write};
use nix::sys::signal::Signal;
use testkit::project::Column;

const CLICKS: &str = "click_id,customer_id,clicked_at
k1,c1,2026-01-05T09:00:00Z
k2,c1,2026-01-05T09:00:30Z
k3,c2,2026-01-05T08:50:00Z
k4,c3,2026-01-05T09:02:00Z
k5,c9,2026-01-05T09:02:00Z
";

const LED_TO: &str = "SELECT o.order_id, o.customer_id, k.click_id, o.price
FROM orders AS o
JOIN clicks AS k ON k.customer_id = o.customer_id AND k.clicked_at BETWEEN o.ordered_at - INTERVAL '1 minute' AND o.ordered_at
";

const VISITS: &str = "WITH activity AS (
  SELECT customer_id, ordered_at AS at, quantity FROM orders
  UNION ALL
  SELECT customer_id, clicked_at, 0 FROM clicks
)
SELECT customer_id, session_window.end AS ended, count(*) AS events, sum(quantity) AS units
FROM activity
GROUP BY session_window(at, '1 minute'), customer_id
";

const BUSIEST: &str = "SELECT product_id, max(units) AS most_in_a_minute
FROM (SELECT window, product_id, sum(quantity) AS units FROM orders GROUP BY window(ordered_at, '1 minute'), product_id) AS minutes
GROUP BY window(window_time(window), '1 hour'), product_id
";

#[test]
fn two_streams_are_joined_put_together_and_cut_into_sessions() {
    let project = shop(Column::Embedded, &[("led_to", LED_TO), ("visits", VISITS), ("busiest", BUSIEST)]);
    write(&project, "data/clicks.csv", CLICKS);
    project.edit("tillstream.yaml", "inputs:\n", "inputs:\n  - { stream: clicks, file: data/clicks.csv }\n");
    let drain = || {
        let ended = project.run("up", &["--drain"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    drain();
    assert_eq!(
        project.sql("SELECT order_id, click_id FROM bi.led_to ORDER BY order_id, click_id"),
        ["o1,k1", "o3,k1", "o3,k2", "o8,k4"]
    );
    let visits = "SELECT customer_id, to_char(window_start AT TIME ZONE 'UTC', 'HH24:MI:SS'), events, units FROM bi.visits \
                  ORDER BY customer_id, window_start";
    assert_eq!(
        project.sql(visits),
        [
            "c1,09:00:00,4,3",
            "c2,08:50:00,1,0",
            "c2,09:00:20,2,4",
            "c3,09:01:02,3,21",
            "c4,09:01:44,1,1",
            "c9,09:02:00,1,0"
        ]
    );
    assert_eq!(project.sql_value("SELECT sum(most_in_a_minute) FROM bi.busiest WHERE product_id = 'p3'"), "20");

    // A click that comes later begins the session of c3 earlier: the result under its former start goes away.
    write(&project, "more.csv", "click_id,customer_id,clicked_at\nk6,c3,2026-01-05T09:00:30Z\n");
    load(&project, "more.csv", "clicks");
    drain();
    let of_c3 = visits.replace("bi.visits", "bi.visits WHERE customer_id = 'c3'");
    assert_eq!(project.sql(&of_c3), ["c3,09:00:30,4,21"]);
    assert_eq!(project.sql_value("SELECT count(*) FROM bi.led_to"), "5", "k6 is within a minute of o4");
}

const ALONE: &str = "--! emit: final
SELECT o.order_id, k.click_id
FROM orders AS o
LEFT JOIN clicks AS k ON k.customer_id = o.customer_id AND k.clicked_at BETWEEN o.ordered_at - INTERVAL '1 minute' AND o.ordered_at
";

const LED_PER_MINUTE: &str = "SELECT window(k.clicked_at, '1 minute'), count(*) AS pairs, sum(o.price) AS spent
FROM orders AS o
JOIN clicks AS k ON k.customer_id = o.customer_id AND k.clicked_at BETWEEN o.ordered_at - INTERVAL '1 minute' AND o.ordered_at
GROUP BY window(k.clicked_at, '1 minute')
";

const EVENTS_PER_MINUTE: &str = "SELECT window(at, '1 minute'), count(*) AS events
FROM (SELECT ordered_at AS at FROM orders UNION ALL SELECT clicked_at FROM clicks) AS both
GROUP BY window(at, '1 minute')
";

/// Rows of both results that the other doesn't have.
fn difference(ours: &str, theirs: &str) -> String {
    format!(
        "SELECT (SELECT count(*) FROM ({ours} EXCEPT ALL {theirs}) AS a) + (SELECT count(*) FROM ({theirs} EXCEPT ALL {ours}) AS b)"
    )
}

#[test]
fn killed_amid_joins_each_pair_is_stored_once_and_windows_hold_them_all() {
    let queries = [
        ("led_to", LED_TO),
        ("alone", ALONE),
        ("led_per_minute", LED_PER_MINUTE),
        ("events_per_minute", EVENTS_PER_MINUTE),
        ("seen_orders", "SELECT order_id, customer_id, price, ordered_at FROM orders"),
        ("seen_clicks", "SELECT click_id, customer_id, clicked_at FROM clicks"),
    ];
    let mut project = shop(Column::Embedded, &queries);
    // What is loaded is all there is.
    project.edit("tillstream.yaml", "inputs:\n  - { stream: orders, file: data/orders.csv }\n", "");
    // However long a start takes: no partition is taken for idle between two loads, so that no row is late.
    project.edit("tillstream.yaml", "clicked_at, lateness: 1h", "clicked_at, lateness: 1m, idle_timeout: 1h");
    project.edit(
        "tillstream.yaml",
        "    event_time: ordered_at\n",
        "    event_time: ordered_at\n    idle_timeout: 1h\n",
    );
    project.set("process.checkpoint_interval=100ms");
    for (part, seconds) in [("first", 0..900), ("second", 900..1800), ("third", 1800..2700)] {
        hour(&project, part, seconds);
    }
    let pairs = "SELECT count(*) FROM bi.led_to";
    let mut before = 0;
    for (stream, other, part) in
        [("clicks", "orders", "first"), ("orders", "clicks", "second"), ("clicks", "orders", "third")]
    {
        let mut pipeline = project.up(&[]);
        load(&project, &format!("{stream}_{part}.csv"), stream);
        load(&project, &format!("{other}_{part}.csv"), other);
        before = testkit::wait_for("further pairs", Duration::from_secs(60), || {
            let now: u64 = project.sql_value(pairs).parse().expect("a number");
            (now > before).then_some(now)
        });
        pipeline.kill();
    }
    let mut pipeline = project.up(&[]);
    let deadline = Duration::from_secs(150);
    project.wait_for_value(
        "SELECT (SELECT count(*) FROM bi.seen_orders), (SELECT count(*) FROM bi.seen_clicks)",
        "2700,2700",
        deadline,
    );
    let joined = "FROM bi.seen_orders AS o JOIN bi.seen_clicks AS k ON k.customer_id = o.customer_id \
                  AND k.clicked_at BETWEEN o.ordered_at - INTERVAL '1 minute' AND o.ordered_at";
    for (ours, theirs) in [
        ("SELECT order_id, click_id, price FROM bi.led_to", format!("SELECT o.order_id, k.click_id, o.price {joined}")),
        ("SELECT order_id, click_id FROM bi.alone WHERE click_id IS NOT NULL", format!("SELECT o.order_id, k.click_id {joined}")),
        (
            "SELECT window_start, pairs, spent FROM bi.led_per_minute",
            format!("SELECT date_bin('1 minute', k.clicked_at, TIMESTAMPTZ '2026-01-01 00:00Z'), count(*), sum(o.price) {joined} GROUP BY 1"),
        ),
        (
            "SELECT window_start, events FROM bi.events_per_minute",
            "SELECT date_bin('1 minute', at, TIMESTAMPTZ '2026-01-01 00:00Z'), count(*) \
             FROM (SELECT ordered_at AS at FROM bi.seen_orders UNION ALL SELECT clicked_at FROM bi.seen_clicks) AS both_streams GROUP BY 1"
                .to_owned(),
        ),
    ] {
        project.wait_for_value(&difference(ours, &theirs), "0", deadline);
    }
    // Both streams end at 09:44:59, and each of their partitions a few seconds earlier. Rows may come a minute late, so what was ordered
    // before 09:43 can find no click any more.
    let without = "SELECT order_id FROM bi.seen_orders AS o WHERE NOT EXISTS (SELECT FROM bi.seen_clicks AS k \
         WHERE k.customer_id = o.customer_id AND k.clicked_at BETWEEN o.ordered_at - INTERVAL '1 minute' AND o.ordered_at)";
    let settled = format!("{without} AND ordered_at < TIMESTAMPTZ '2026-01-05 09:43Z'");
    let alone = "SELECT order_id FROM bi.alone WHERE click_id IS NULL";
    project.wait_for_value(&format!("SELECT count(*) FROM ({settled} EXCEPT ALL {alone}) AS lacking"), "0", deadline);
    assert_eq!(project.sql_value(&format!("SELECT count(*) FROM ({alone} EXCEPT ALL {without}) AS wrong")), "0");
    assert_ne!(project.sql_value(&format!("SELECT count(*) FROM ({alone}) AS x")), "0");
    pipeline.signal(Signal::SIGTERM);
    assert_eq!(pipeline.wait(deadline).code(), Some(0), "{}", pipeline.tail());
    let audit = project.run("audit", &[]);
    assert_eq!(audit.code, Some(0), "{}", audit.stdout);
}
