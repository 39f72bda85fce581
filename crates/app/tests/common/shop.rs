//! A shop: the project that `tillstream init` makes, with a second stream.

use std::fmt::Write as _;
use std::fs;

use testkit::project::{Column, ProjectDir, examples};

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");

const CLICK: &str = r#"{ "type": "record", "name": "Click", "namespace": "shop", "fields": [
  { "name": "click_id", "type": "string" },
  { "name": "customer_id", "type": "string" },
  { "name": "clicked_at", "type": { "type": "long", "logicalType": "timestamp-micros" } } ] }"#;

/// A shop with the stream `clicks` beside its orders.
pub(crate) fn shop(column: Column, queries: &[(&str, &str)]) -> ProjectDir {
    let template = examples().parent().expect("the repository").join("crates/project/template");
    let project = ProjectDir::copy_of(&template, BINARY, column);
    write(&project, "schemas/click.avsc", CLICK);
    for (name, text) in queries {
        write(&project, &format!("queries/{name}.sql"), text);
    }
    let clicks = "streams:\n  clicks: { schema: schemas/click.avsc, key: customer_id, id: click_id, event_time: clicked_at, lateness: 1h }\n";
    project.edit("tillstream.yaml", "streams:\n", clicks);
    project
}

/// Writes a file of the project.
pub(crate) fn write(project: &ProjectDir, file: &str, text: &str) {
    fs::write(project.path.join(file), text).expect("the file can be written");
}

/// Loads a file of the project into a stream.
pub(crate) fn load(project: &ProjectDir, file: &str, stream: &str) {
    let path = project.path.join(file);
    let ended = project.run("load", &[path.to_str().expect("a path"), "--stream", stream]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
}

/// Clicks and orders of these seconds after nine, a click and an order each; customers come again every 40 seconds.
pub(crate) fn hour(project: &ProjectDir, part: &str, seconds: std::ops::Range<u32>) {
    let (mut clicks, mut orders) = (
        "click_id,customer_id,clicked_at\n".to_owned(),
        "order_id,customer_id,product_id,quantity,price,ordered_at\n".to_owned(),
    );
    for second in seconds {
        let at = format!("2026-01-05T09:{:02}:{:02}Z", second / 60, second % 60);
        // Writing to a String can't fail.
        _ = writeln!(clicks, "k{second},c{},{at}", second % 40);
        _ = writeln!(orders, "x{second},c{},p1,1,{}.50,{at}", (second + 7) % 55, second % 9);
    }
    write(project, &format!("clicks_{part}.csv"), &clicks);
    write(project, &format!("orders_{part}.csv"), &orders);
}
