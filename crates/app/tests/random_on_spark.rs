//! Random queries of the subset over random logs: the rows and versions of the local engine are those that Apache Spark computes from the
//! accepted records.
//!
//! `TILLSTREAM_SPARK_CASES` sets the number of logs, each with a few queries; `TILLSTREAM_SPARK_SEED` the first seed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test reports by panicking")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema};
use sql::{Catalog, ReferenceTable, StreamTable};
use testkit::random::Seeded;

const CASES: u64 = 10;
const QUERIES: usize = 4;

/// Types of expressions, and the columns that have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Int,
    Decimal,
    Double,
    Text,
    Boolean,
    Time,
}

const TYPES: [Type; 6] = [Type::Int, Type::Decimal, Type::Double, Type::Text, Type::Boolean, Type::Time];

/// What an expression of a type is made of: `I`, `M`, `X`, `S`, `B` and `T` stand for further expressions of the types above, in their order.
fn forms(of: Type) -> (&'static [&'static str], &'static [&'static str]) {
    match of {
        Type::Int => (
            &["n", "l", "0", "-7", "3000000000L", "2147483647"],
            &[
                "I + I",
                "I - I",
                "I * I",
                "I % I",
                "I div I",
                "abs(I)",
                "-I",
                "length(S)",
                "coalesce(I, I)",
                "nullif(I, I)",
                "CASE WHEN B THEN I ELSE I END",
                "CASE WHEN B THEN I END",
                "if(B, I, I)",
                "second(T)",
                "dayofweek(T)",
                "CAST(M AS INT)",
                "CAST(S AS INT)",
                "CAST(B AS INT)",
                "greatest(I, I)",
                "least(I, I, I)",
                "instr(S, S)",
                "datediff(T, T)",
                "unix_seconds(T)",
                "floor(M)",
                "ceil(M)",
                "CAST(X AS BIGINT)",
            ],
        ),
        Type::Decimal => (
            &["m", "m", "1.50", "0.00", "-99999999.99"],
            &[
                "M + M",
                "M - M",
                "M * M",
                "M / M",
                "M % M",
                "M * I",
                "M / I",
                "-M",
                "abs(M)",
                "round(M, 1)",
                "round(M)",
                "coalesce(M, M)",
                "if(B, M, M)",
                "CAST(I AS DECIMAL(12, 2))",
                "CAST(M AS DECIMAL(8, 3))",
                "CAST(S AS DECIMAL(10, 2))",
                "CAST(X AS DECIMAL(12, 4))",
                "greatest(M, M)",
                "nullif(M, M)",
            ],
        ),
        Type::Double => (
            &["x", "x", "0.5e0", "-1e0", "CAST('NaN' AS DOUBLE)"],
            &[
                "X + X",
                "X - X",
                "X * X",
                "X / X",
                "I / I",
                "-X",
                "abs(X)",
                "sqrt(X)",
                "CAST(M AS DOUBLE)",
                "CAST(I AS DOUBLE)",
                "coalesce(X, X)",
                "sign(X)",
                "if(B, X, X)",
                "least(X, X)",
                "CAST(S AS DOUBLE)",
            ],
        ),
        Type::Text => (
            &["a", "a", "city", "''", "'é%_'", "'12'"],
            &[
                "upper(S)",
                "lower(S)",
                "concat(S, S)",
                "S || S",
                "substring(S, I)",
                "substring(S, 2, 2)",
                "trim(S)",
                "reverse(S)",
                "replace(S, S, S)",
                "left(S, 1)",
                "lpad(S, 4, '*')",
                "CAST(I AS STRING)",
                "CAST(M AS STRING)",
                "CAST(B AS STRING)",
                "CAST(T AS STRING)",
                "coalesce(S, S)",
                "CASE WHEN B THEN S ELSE S END",
                "nullif(S, S)",
                "CAST(X AS STRING)",
            ],
        ),
        Type::Boolean => (
            &["b", "b", "TRUE"],
            &[
                "I = I",
                "I < I",
                "M >= M",
                "X > X",
                "S = S",
                "S < S",
                "T <= T",
                "NOT B",
                "B AND B",
                "B OR B",
                "I IS NULL",
                "S IS NOT NULL",
                "I IN (1, 2, I)",
                "M BETWEEN M AND M",
                "S LIKE 'a%'",
                "S ILIKE '%B_'",
                "startswith(S, S)",
                "contains(S, S)",
                "I <=> I",
                "S IS DISTINCT FROM S",
                "B IS TRUE",
                "M = I",
                "X < M",
                "CAST(S AS BOOLEAN)",
            ],
        ),
        Type::Time => (
            &["at", "at"],
            &[
                "T + INTERVAL '7 seconds'",
                "T - INTERVAL '1 day'",
                "date_trunc('minute', T)",
                "if(B, T, T)",
                "timestamp_seconds(n)",
                "CAST(CAST(T AS STRING) AS TIMESTAMP)",
                "CAST(last_day(T) AS TIMESTAMP)",
            ],
        ),
    }
}

struct Generator(Seeded);

/// What became of the queries that were drawn.
#[derive(Debug, Default)]
struct Drawn {
    /// Not in the subset, or not on Spark.
    refused: usize,
    /// Worked out by panes that windows share.
    by_panes: usize,
}

impl Generator {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.below(bound as u64)).unwrap()
    }

    fn one_in(&mut self, count: usize) -> bool {
        self.below(count) == 0
    }

    fn pick<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// An expression over the columns, in parentheses where it has operators.
    fn expression(&mut self, of: Type, depth: usize) -> String {
        let (leaves, nodes) = forms(of);
        if depth == 0 || self.one_in(4) {
            return self.pick(leaves).to_owned();
        }
        let form = self.pick(nodes);
        let mut text = String::new();
        let is_letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic() || c == '_');
        let chars: Vec<char> = form.chars().collect();
        for (at, &c) in chars.iter().enumerate() {
            let stands_alone = !is_letter(at.checked_sub(1).and_then(|at| chars.get(at)).copied())
                && !is_letter(chars.get(at + 1).copied())
                && chars.get(at + 1) != Some(&'_');
            match TYPES.into_iter().zip("IMXSBT".chars()).find(|(_, letter)| *letter == c) {
                Some((of, _)) if stands_alone => text.push_str(&self.expression(of, depth - 1)),
                _ => text.push(c),
            }
        }
        format!("({text})")
    }

    fn any(&mut self, depth: usize) -> String {
        let of = self.pick(&TYPES);
        self.expression(of, depth)
    }

    /// An aggregate; `may_grow` says whether it may hold more, the more rows there are.
    fn aggregate(&mut self, may_grow: bool) -> String {
        let mut filter = String::new();
        if self.one_in(4) {
            filter = format!(" FILTER (WHERE {})", self.expression(Type::Boolean, 1));
        }
        match self.below(if may_grow { 13 } else { 10 }) {
            0 => format!("count(*){filter}"),
            1 => format!("count({}){filter}", self.any(1)),
            2 => format!("sum({}){filter}", self.expression(Type::Int, 2)),
            3 => format!("sum({}){filter}", self.expression(Type::Decimal, 1)),
            4 => format!("min({}){filter}", self.any(2)),
            5 => format!("max({}){filter}", self.any(2)),
            6 => format!("avg({}){filter}", self.expression(Type::Decimal, 1)),
            7 => format!("bool_and({}){filter}", self.expression(Type::Boolean, 2)),
            8 => format!("min_by({}, {}){filter}", self.any(1), self.any(1)),
            9 => format!("max_by({}, {}){filter}", self.any(1), self.any(1)),
            10 => format!("count(DISTINCT {}){filter}", self.any(1)),
            11 => format!("percentile_approx({}, 0.{}){filter}", self.expression(Type::Int, 1), self.below(10)),
            _ => {
                let (text, most) = (self.expression(Type::Text, 1), 1 + self.below(4));
                format!("array_join(slice(collect_list({text}){filter}, 1, {most}), '|')")
            }
        }
    }

    /// A query in FROM with all columns, and whether its results have to be final.
    fn source(&mut self) -> (String, bool) {
        const COLUMNS: &str = "id, a, n, l, m, x, b, at";
        let simple = |source: &str, city: &str| format!("SELECT {COLUMNS}, {city} AS city FROM {source}");
        let (text, is_final) = match self.below(8) {
            0 | 1 => (simple("events", "a"), false),
            2 => (simple("events AS e JOIN shops AS s ON e.a = s.shop", "s.city"), false),
            3 => (simple("events AS e LEFT JOIN shops AS s ON e.a = s.shop", "s.city"), false),
            4 => (simple("events AS e LEFT JOIN owners AS o ON e.a = o.shop", "o.owner"), false),
            5 => {
                let condition = self.expression(Type::Boolean, 1);
                let third = self.pick(&["", " UNION ALL SELECT id, 'all', n, l, m, x, b, at, a FROM events"]);
                let second = format!(
                    "SELECT id, upper(a), n, -l, m * 2, x, b, at, 'other' FROM others WHERE {}",
                    condition.replace("city", "a")
                );
                (
                    format!(
                        "{} UNION ALL {second}{third}",
                        simple("events AS e LEFT JOIN shops AS s ON e.a = s.shop", "s.city")
                    ),
                    false,
                )
            }
            _ => {
                let (is_left, second) = (self.one_in(2), self.pick(&["events", "others"]));
                let key = self.pick(&["q.a = p.a", "q.b = p.b", "q.x = p.x", "upper(q.a) = p.a AND q.n = p.n"]);
                let (before, after) = (self.below(9), self.below(9));
                let kind = if is_left { "LEFT JOIN" } else { "JOIN" };
                (
                    format!(
                        "SELECT p.id, p.a, q.n, q.l, p.m, q.x, q.b, p.at, q.a AS city FROM events AS p {kind} {second} AS q ON {key} \
                         AND q.at BETWEEN p.at - INTERVAL '{before} seconds' AND p.at + INTERVAL '{after} seconds'"
                    ),
                    is_left,
                )
            }
        };
        (format!("({text}) AS given"), is_final)
    }

    fn query(&mut self) -> String {
        let (from, must_be_final) = self.source();
        let filter =
            if self.one_in(2) { format!(" WHERE {}", self.expression(Type::Boolean, 2)) } else { String::new() };
        if self.one_in(3) {
            let columns: Vec<String> = (0..5).map(|number| format!("{} AS c{number}", self.any(3))).collect();
            let emit = if must_be_final { "final" } else { "changes" };
            return format!("--! emit: {emit}\nSELECT id, {} FROM {from}{filter}", columns.join(", "));
        }
        let is_final = must_be_final || self.one_in(2);
        if self.one_in(4) {
            return self.windows_over_windows(&from, &filter, is_final);
        }
        let is_session = self.one_in(3);
        let (window, start) = if is_session {
            (format!("session_window(at, '{} seconds')", 1 + self.below(6)), "session_window")
        } else {
            let slide = 2 + self.below(9);
            (format!("window(at, '{} seconds', '{slide} seconds')", slide * (1 + self.below(6))), "window")
        };
        let least_keys = usize::from(is_session);
        let keys: Vec<String> = (0..least_keys + self.below(2))
            .map(|_| if self.one_in(2) { self.pick(&["a", "b", "city", "x"]).to_owned() } else { self.any(1) })
            .collect();
        let named = keys.iter().enumerate().map(|(number, key)| format!("{key} AS k{number}"));
        let may_grow = self.one_in(2);
        let aggregates: Vec<String> =
            (0..3).map(|number| format!("{} AS g{number}", self.aggregate(may_grow))).collect();
        let selected: Vec<String> = std::iter::once(start.to_owned()).chain(named).chain(aggregates).collect();
        let groups: Vec<String> = std::iter::once(window).chain(keys).collect();
        let having = if self.one_in(4) { format!(" HAVING count(*) > {}", self.below(3)) } else { String::new() };
        let emit = if is_session || is_final { "final" } else { "changes" };
        format!(
            "--! emit: {emit}\nSELECT {} FROM {from}{filter} GROUP BY {}{having}",
            selected.join(", "),
            groups.join(", ")
        )
    }

    fn windows_over_windows(&mut self, from: &str, filter: &str, is_final: bool) -> String {
        let emit = if is_final { "final" } else { "changes" };
        let slide = 1 + self.below(4);
        let inner = format!("window(at, '{} seconds', '{slide} seconds')", slide * (1 + self.below(3)));
        let outer = slide * (2 + self.below(6));
        let (key, total, text) = (self.pick(&["a", "b", "x"]), self.expression(Type::Decimal, 1), self.any(1));
        let having = if self.one_in(3) { format!(" HAVING max(n) > {}", self.below(3)) } else { String::new() };
        format!(
            "--! emit: {emit}\nSELECT k, count(*) AS parts, sum(n) AS rows, max(total) AS most, min(t) AS least, avg(total) AS mean FROM \
             (SELECT window, {key} AS k, count(*) AS n, sum({total}) AS total, max({text}) AS t FROM {from}{filter} GROUP BY {inner}, {key}) AS parts \
             GROUP BY window(window_time(window), '{outer} seconds'), k{having}"
        )
    }

    /// A record as a flow mapping of YAML.
    fn record(&mut self, number: usize) -> String {
        let quoted = |text: &str| format!("\"{text}\"");
        let a = self.pick(&["a", "b", "A", "ab", "é", "", " a ", "a%", "17", "null"]);
        let a = if a == "null" { a.to_owned() } else { quoted(a) };
        let n = self.pick(&["null", "0", "1", "-1", "2", "3", "7", "2147483647", "-2147483648"]);
        let l = self.pick(&["null", "0", "5", "-12", "3000000000", "9223372036854775807", "-9223372036854775808"]);
        let m = self.pick(&["null", "0.00", "0.01", "-1.50", "2.25", "99999999.99", "-99999999.99", "10.00"]);
        let m = if m == "null" { m.to_owned() } else { quoted(m) };
        let x = self.pick(&["null", "0", "-0.0", "0.25", "-1.5", "3", "1e300", "1e-7"]);
        let b = self.pick(&["null", "true", "false"]);
        let (second, millis) = (self.below(40), self.pick(&[0, 0, 0, 500, 999]));
        format!(
            "{{ id: t{number}, a: {a}, n: {n}, l: {l}, m: {m}, x: {x}, b: {b}, at: 2026-01-31T23:59:{second:02}.{millis:03}Z }}"
        )
    }

    /// A test file with a log and queries that both engines take.
    fn file(&mut self, catalog: &Catalog, drawn: &mut Drawn) -> String {
        let mut queries = String::new();
        let mut count = 0;
        while count < QUERIES {
            let text = self.query();
            let name = format!("q{count}");
            match sql::compile(&name, &text, catalog) {
                Ok(query) if sql::spark::refusals(&query).is_empty() => {
                    count += 1;
                    drawn.by_panes += usize::from(process::shares_panes(&query));
                    writeln!(queries, "  {name}: |\n    {}", text.replace('\n', "\n    ")).unwrap();
                }
                _ => drawn.refused += 1,
            }
        }
        let lateness = self.pick(&["1h", "10s"]);
        let mut steps = String::new();
        let mut number = 0;
        for _ in 0..6 {
            let (partition, stream) = (self.below(2), self.pick(&["events", "others"]));
            writeln!(steps, "  - send:\n      {stream}:").unwrap();
            for _ in 0..6 {
                number += 1;
                writeln!(steps, "        - {}", self.record(number)).unwrap();
            }
            writeln!(steps, "      partition: {partition}").unwrap();
        }
        let stream = format!(
            "schema: {{ id: text, a: \"text?\", n: \"int?\", l: \"bigint?\", m: \"decimal(10,2)?\", x: \"double?\", b: \"boolean?\", at: timestamp }}, \
             id: id, event_time: at, key: id, partitions: 2, lateness: {lateness}"
        );
        format!(
            "name: random\nstreams:\n  events: {{ {stream} }}\n  others: {{ {stream} }}\n\
             reference:\n  shops: {{ key: shop, csv: \"shop,city\\na,Rome\\nb,\\n17,Zürich\\n\" }}\n\
             \x20 owners: {{ key: shop, valid_from: since, csv: \"shop,owner,since\\na,Ann,\\na,Bea,2026-01-31 23:59:20\\nb,Cy,2026-01-31 23:59:10\\n\" }}\n\
             queries:\n{queries}steps:\n{steps}"
        )
    }
}

fn catalog() -> Catalog {
    let field = |name: &str, data_type: DataType| Field::new(name, data_type, true);
    let fields = vec![
        Field::new("id", DataType::Utf8, false),
        field("a", DataType::Utf8),
        field("n", DataType::Int32),
        field("l", DataType::Int64),
        field("m", DataType::Decimal128(10, 2)),
        field("x", DataType::Float64),
        field("b", DataType::Boolean),
        Field::new("at", model::infer::timestamp_type(), false),
    ];
    let stream =
        StreamTable { schema: Arc::new(Schema::new(fields)), event_time: "at".to_owned(), key: "id".to_owned() };
    let shops = vec![Field::new("shop", DataType::Utf8, false), field("city", DataType::Utf8)];
    let shops =
        ReferenceTable { schema: Arc::new(Schema::new(shops)), key: vec!["shop".to_owned()], has_validity: false };
    let since = field("since", model::infer::timestamp_type());
    let owners = vec![Field::new("shop", DataType::Utf8, false), field("owner", DataType::Utf8), since];
    let owners =
        ReferenceTable { schema: Arc::new(Schema::new(owners)), key: vec!["shop".to_owned()], has_validity: true };
    Catalog {
        streams: BTreeMap::from([("events".to_owned(), stream.clone()), ("others".to_owned(), stream)]),
        references: BTreeMap::from([("shops".to_owned(), shops), ("owners".to_owned(), owners)]),
    }
}

fn setting(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn random_queries_give_the_same_rows_on_apache_spark() {
    let cases = setting("TILLSTREAM_SPARK_CASES").unwrap_or(CASES);
    let first = setting("TILLSTREAM_SPARK_SEED").unwrap_or(1);
    let directory = tempfile::tempdir().unwrap();
    let catalog = catalog();
    let mut drawn = Drawn::default();
    for seed in first..first + cases {
        let text = Generator(Seeded::new(seed)).file(&catalog, &mut drawn);
        std::fs::write(directory.path().join(format!("seed_{seed}.yaml")), text).unwrap();
    }
    let queries = usize::try_from(cases).unwrap() * QUERIES;
    assert!(drawn.refused < queries * 2, "{drawn:?} for {queries} that were taken");
    assert!(drawn.by_panes > 0 || cases < CASES, "{drawn:?}");
    let output = Command::new(env!("CARGO_BIN_EXE_tillstream"))
        .arg("test")
        .arg(directory.path())
        .args(["--spark", &testkit::spark::url()])
        .output()
        .expect("tillstream runs");
    let (shown, said) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if !output.status.success() {
        let kept = directory.keep();
        panic!("the files are in {}\n{shown}\n{said}", kept.display());
    }
    let rows = said.split("compared with Apache Spark: ").nth(1).and_then(|rest| rest.split(' ').next());
    let rows: usize = rows.and_then(|rows| rows.parse().ok()).expect("it says how much was compared");
    assert!(rows >= queries * 3, "only {rows} rows were compared");
}
