//! The patterns of the payments example over a day's payments, on both columns, with kills in between: the matches in PostgreSQL are those that
//! plain loops find in the accepted rows, and what an ambiguous pattern gives up is recorded.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test reports by panicking"
)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use nix::sys::signal::Signal;
use testkit::process::Supervised;
use testkit::project::{Column, ProjectDir};
use testkit::random::Seeded;

const BINARY: &str = env!("CARGO_BIN_EXE_tillstream");
const DEADLINE: Duration = Duration::from_secs(90);
const ACCOUNTS: usize = 60;
const PAYMENTS: usize = 6_000;
/// Seconds since 1970 at which the day begins: 2026-01-05T00:00:00Z.
const DAY_S: i64 = 1_767_571_200;

/// A payment as the table of the enriched payments has it; amounts in cents.
#[derive(Debug, Clone)]
struct Payment {
    id: String,
    time_us: i64,
    amount: i64,
    country: String,
    channel: String,
    status: String,
}

/// Payments of a few accounts over three hours, then one of each account much later, behind which all of them are settled.
fn payments(random: &mut Seeded) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = |number: usize, account: usize, cents: i64, country: &str, channel: &str, status: &str, ms: i64| {
        let (s, ms) = (ms / 1_000, ms % 1_000);
        let time = format!("2026-01-05T{:02}:{:02}:{:02}.{ms:03}Z", s / 3_600, s / 60 % 60, s % 60);
        lines.push(format!(
            "t{number:06},a{account:06},m0001,{}.{:02},EUR,{country},{channel},{status},{time}",
            cents / 100,
            cents % 100
        ));
    };
    let mut below = |bound: usize| usize::try_from(random.below(bound as u64)).unwrap();
    let mut ms = 0;
    for number in 0..PAYMENTS {
        ms += below(3_600) as i64;
        let account = below(ACCOUNTS);
        let cents = match below(10) {
            0..6 => 100 + below(400),
            6..9 => 500 + below(8_500),
            _ => 10_000 + below(80_000),
        };
        let cents = cents as i64;
        let country = ["DE", "FR", "IT"][[0, 0, 0, 0, 0, 0, 1, 2][below(8)]];
        let channel = ["chip", "contactless", "online", "atm"][below(4)];
        let status = ["approved", "declined", "reversed"][[0, 0, 0, 0, 1, 1, 1, 2][below(8)]];
        line(number, account, cents, country, channel, status, ms);
    }
    for account in 0..ACCOUNTS {
        line(PAYMENTS + account, account, 2_000, "DE", "online", "approved", ms + 7_200_000);
    }
    lines
}

fn write(project: &ProjectDir, file: &str, lines: &[String]) -> String {
    let mut text =
        "transaction_id,account_id,merchant_id,amount,currency,country,channel,status,event_time\n".to_owned();
    lines.iter().for_each(|line| writeln!(text, "{line}").unwrap());
    let path = project.path.join(file);
    std::fs::write(&path, text).unwrap();
    path.to_string_lossy().into_owned()
}

fn load(project: &ProjectDir, file: &str) {
    let loaded = project.run("load", &[file, "--stream", "transactions"]);
    assert_eq!(loaded.code, Some(0), "{}", loaded.stderr);
}

/// The accepted payments of each account in the order in which patterns see them.
fn accepted(project: &ProjectDir) -> BTreeMap<String, Vec<Payment>> {
    let rows = project.sql(
        "SELECT account_id, transaction_id, (extract(epoch FROM event_time) * 1000000)::bigint, (amount * 100)::bigint, country, channel, status
         FROM bi.payments_enriched ORDER BY account_id, event_time, source_partition, source_offset",
    );
    let mut accounts: BTreeMap<String, Vec<Payment>> = BTreeMap::new();
    for row in rows {
        let cells: Vec<&str> = row.split(',').collect();
        let text = |at: usize| cells[at].to_owned();
        let payment = Payment {
            id: text(1),
            time_us: cells[2].parse().unwrap(),
            amount: cells[3].parse().unwrap(),
            country: text(4),
            channel: text(5),
            status: text(6),
        };
        accounts.entry(text(0)).or_default().push(payment);
    }
    accounts
}

fn within(first: &Payment, last: &Payment, minutes: i64) -> bool {
    last.time_us - first.time_us <= minutes * 60_000_000
}

/// From each first payment as many as possible that are `several`, at least `least`, then one that is `last`; on past the match.
fn several_then_one(
    rows: &[Payment],
    least: usize,
    minutes: i64,
    several: impl Fn(&Payment) -> bool,
    last: impl Fn(&Payment) -> bool,
) -> Vec<(usize, usize)> {
    let (mut found, mut start) = (Vec::new(), 0);
    while start < rows.len() {
        let run = rows[start..].iter().take_while(|row| several(row)).count();
        let ends = |end: &usize| rows.get(*end).is_some_and(|row| last(row) && within(&rows[start], row, minutes));
        match (start + least..=start + run).rev().find(ends) {
            Some(end) => {
                found.push((start, end));
                start = end + 1;
            }
            None => start += 1,
        }
    }
    found
}

/// What each pattern's view must hold, as its columns in CSV. Travel is impossible within so many minutes.
fn expected(name: &str, travel_minutes: i64, accounts: &BTreeMap<String, Vec<Payment>>) -> Vec<String> {
    let mut out = Vec::new();
    for (account, all) in accounts {
        let only = |keep: fn(&Payment) -> bool| all.iter().filter(|row| keep(row)).cloned().collect::<Vec<_>>();
        match name {
            "card_testing" => {
                let rows = only(|row| row.status != "reversed");
                for (start, end) in several_then_one(&rows, 3, 10, |row| row.amount < 500, |row| row.amount >= 10_000) {
                    let total: i64 = rows[start..end].iter().map(|row| row.amount).sum();
                    out.push(format!("{account},{},{total},{}", end - start, rows[end].id));
                }
            }
            "declines_then_success" => {
                let (declined, approved) =
                    (|row: &Payment| row.status == "declined", |row: &Payment| row.status == "approved");
                for (start, end) in several_then_one(all, 3, 5, declined, approved) {
                    out.push(format!("{account},{},{}", end - start, all[end].id));
                }
            }
            "impossible_travel" => {
                let rows = only(|row| row.channel != "online");
                for pair in rows.windows(2) {
                    if pair[0].country != pair[1].country && within(&pair[0], &pair[1], travel_minutes) {
                        out.push(format!(
                            "{account},{},{},{},{}",
                            pair[0].country, pair[1].country, pair[0].id, pair[1].id
                        ));
                    }
                }
            }
            _ => {
                let rows = only(|row| row.status == "approved");
                for six in rows.windows(6) {
                    let sum: i64 = six[..5].iter().map(|row| row.amount).sum();
                    // More than ten times the average of five is more than twice the sum.
                    if six[5].amount > 2 * sum && within(&six[0], &six[5], 60) {
                        out.push(format!("{account},{}", six[5].id));
                    }
                }
            }
        }
    }
    out.sort();
    out
}

const PATTERNS: [(&str, &str); 4] = [
    ("card_testing", "account_id, smalls, (small_total * 100)::bigint, large_transaction"),
    ("declines_then_success", "account_id, declines, success_transaction"),
    ("impossible_travel", "account_id, from_country, to_country, from_transaction, to_transaction"),
    ("far_above_average", "account_id, transaction_id"),
];

/// Each payment may be A or B, and no C comes: with the ninth payment of an account there are 512 ways, and three to go on from each.
const AMBIGUOUS: &str =
    "SELECT account_id FROM (SELECT * FROM transactions WHERE account_id < 'a000010') MATCH_RECOGNIZE (
  PARTITION BY account_id ORDER BY event_time
  PATTERN ((A | B)+ C) WITHIN INTERVAL '1 day'
  DEFINE C AS C.amount < 0 AND sum(A.amount) > 0 )
";

/// Number of a counter of the pattern `ambiguous`, as the running pipeline's page has it.
fn limits_counted(pipeline: &mut Supervised) -> u64 {
    let line = pipeline.wait_for_line(DEADLINE, |line| line.starts_with("dashboard "));
    let url = format!("{}metrics", line.split_whitespace().nth(1).unwrap());
    let answer = std::process::Command::new("curl").args(["-sSf", &url]).output().unwrap();
    let text = String::from_utf8(answer.stdout).unwrap();
    let metric = "tillstream_pattern_limits_total{query=\"ambiguous\"} ";
    text.lines().find_map(|line| line.strip_prefix(metric)).map_or(0, |value| value.parse::<f64>().unwrap() as u64)
}

/// The matches of each pattern are those that plain loops find in the accepted payments, which are given back.
fn assert_matches(project: &ProjectDir, travel_minutes: i64) -> BTreeMap<String, Vec<Payment>> {
    let accounts = accepted(project);
    assert!(accounts.values().flatten().all(|row| row.time_us >= DAY_S * 1_000_000));
    for (name, columns) in PATTERNS {
        let mut found = project.sql(&format!("SELECT {columns} FROM bi.{name}"));
        found.sort();
        let expected = expected(name, travel_minutes, &accounts);
        assert!(expected.len() > 10, "{name} has hardly a match: {expected:?}");
        assert_eq!(found, expected, "{name}");
        let identities =
            format!("SELECT count(*) = count(DISTINCT (source_partition, first_offset, last_offset)) FROM bi.{name}");
        assert_eq!(project.sql_value(&identities), "t", "{name}");
    }
    accounts
}

fn patterns_from_start_to_end(column: Column) {
    let project = ProjectDir::of_example("payments", BINARY, column);
    std::fs::write(project.path.join("patterns/ambiguous.sql"), AMBIGUOUS).unwrap();
    let lines = payments(&mut Seeded::new(5));
    let (first, second) = lines.split_at(PAYMENTS / 2);
    let (first, second) = (write(&project, "first.csv", first), write(&project, "second.csv", second));

    let mut pipeline = project.up(&[]);
    load(&project, &first);
    // Killed somewhere in the middle of it, then again in the second half.
    testkit::wait_for("the first matches", DEADLINE, || {
        (project.sql_value("SELECT count(*) FROM bi.impossible_travel") != "0").then_some(())
    });
    pipeline.signal(Signal::SIGKILL);
    pipeline.wait(Duration::from_secs(30));
    let mut pipeline = project.up(&[]);
    load(&project, &second);
    testkit::wait_for("a counted limit", DEADLINE, || (limits_counted(&mut pipeline) > 0).then_some(()));
    pipeline.signal(Signal::SIGKILL);
    pipeline.wait(Duration::from_secs(30));

    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let accounts = assert_matches(&project, 10);
    assert_eq!(accounts.values().map(Vec::len).sum::<usize>(), PAYMENTS + ACCOUNTS, "all payments are accepted");
    // Nine payments are given up at a time; the last one of each account isn't below the watermark.
    let given_up: usize =
        accounts.iter().filter(|(account, _)| &***account < "a000010").map(|(_, all)| (all.len() - 1) / 9).sum();
    let recorded = "SELECT count(*), count(DISTINCT (source_partition, first_offset)), (sum(rows) / 9)::int, min(reason), min(pattern) FROM bi.pattern_limits";
    assert!(given_up > 20, "{given_up}");
    assert_eq!(project.sql_value(recorded), format!("{given_up},{given_up},{given_up},runs,ambiguous"));
    assert_eq!(project.sql_value("SELECT count(*) FROM bi.ambiguous"), "0");
    let audit = project.run("audit", &[]);
    assert_eq!(audit.code, Some(0), "{}{}", audit.stdout, audit.stderr);
}

#[test]
fn patterns_on_the_embedded_systems() {
    patterns_from_start_to_end(Column::Embedded);
}

#[test]
fn patterns_on_kafka_and_a_postgresql_server() {
    patterns_from_start_to_end(Column::Servers);
}

/// The example; on the embedded systems with so little memory that most of a pattern's state is on the disk, and in parts of the snapshots.
fn example(column: Column) -> ProjectDir {
    let project = ProjectDir::of_example("payments", BINARY, column);
    if column == Column::Embedded {
        let settings = "\nprocess: { state_limit: 1KB, checkpoint_interval: 200ms }\n\nprofiles:\n";
        project.edit("tillstream.yaml", "\nprofiles:\n", settings);
    }
    project
}

/// Parts of the snapshots of a stage of patterns.
fn parts(project: &ProjectDir, stage: &str) -> usize {
    let parts = |number: i32| {
        let owner = format!("{stage}-transactions-{number}.parts");
        std::fs::read_dir(project.data_dir().join("snapshots").join(owner).join("contents")).map_or(0, Iterator::count)
    };
    (0..4).map(parts).sum()
}

/// Starts a process that runs the patterns stage alone, beside others of its kind.
fn sharer(project: &ProjectDir) -> Supervised {
    project.start("run", &["--stages", "patterns"])
}

/// Waits until a process has so many of the four partitions, since the line that it wrote last says so.
fn wait_for_partitions(process: &mut Supervised, partitions: usize) {
    let wanted = format!("partitions={partitions}");
    testkit::wait_for(&format!("a process with {partitions} partitions"), DEADLINE, || {
        process.assert_running();
        let starts = process.stderr().into_iter().rfind(|line| line.contains("the patterns stage starts"));
        starts.is_some_and(|line| line.contains(&wanted)).then_some(())
    });
}

fn two_processes_share_the_partitions(column: Column) {
    let project = example(column);
    let lines = payments(&mut Seeded::new(6));
    let (first, rest) = lines.split_at(PAYMENTS / 3);
    let (second, third) = rest.split_at(PAYMENTS / 3);
    let (first, second, third) = (
        write(&project, "first.csv", first),
        write(&project, "second.csv", second),
        write(&project, "third.csv", third),
    );

    let mut others = project.start("run", &["--stages", "validate,process,store"]);
    others.wait_for_line(DEADLINE, |line| line.starts_with("running "));
    let (mut one, mut two) = (sharer(&project), sharer(&project));
    wait_for_partitions(&mut one, 2);
    wait_for_partitions(&mut two, 2);
    load(&project, &first);
    testkit::wait_for("the first matches", DEADLINE, || {
        (project.sql_value("SELECT count(*) FROM bi.impossible_travel") != "0").then_some(())
    });
    if column == Column::Embedded {
        testkit::wait_for("parts", DEADLINE, || (parts(&project, "patterns") > 0).then_some(()));
    }
    one.signal(Signal::SIGKILL);
    one.wait(DEADLINE);
    load(&project, &second);
    wait_for_partitions(&mut two, 4);
    let mut three = sharer(&project);
    wait_for_partitions(&mut three, 2);
    wait_for_partitions(&mut two, 2);
    load(&project, &third);
    for process in [&mut two, &mut three, &mut others] {
        process.signal(Signal::SIGINT);
        assert_eq!(process.wait(DEADLINE).code(), Some(0), "{}", process.tail());
    }
    let ended = project.run("up", &["--drain"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert_matches(&project, 10);
}

#[test]
fn two_processes_share_the_partitions_on_the_embedded_systems() {
    two_processes_share_the_partitions(Column::Embedded);
}

#[test]
fn two_processes_share_the_partitions_on_kafka() {
    two_processes_share_the_partitions(Column::Servers);
}

/// A pattern is changed, and the pipeline is killed again and again while the new generation fills.
fn a_changed_pattern_fills_beside_the_one_before(column: Column) {
    let project = example(column);
    let lines = payments(&mut Seeded::new(7));
    let (first, second) = lines.split_at(PAYMENTS / 2);
    let (first, second) = (write(&project, "first.csv", first), write(&project, "second.csv", second));
    let drain = || {
        let ended = project.run("up", &["--drain"]);
        assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    };
    let mut pipeline = project.up(&[]);
    load(&project, &first);
    pipeline.signal(Signal::SIGINT);
    assert_eq!(pipeline.wait(DEADLINE).code(), Some(0), "{}", pipeline.tail());
    let shown = "SELECT count(*) FROM bi.impossible_travel";
    let before = project.sql_value(shown);

    project.edit("patterns/impossible_travel.sql", "WITHIN INTERVAL '10 minutes'", "WITHIN INTERVAL '5 minutes'");
    let states = "SELECT generation, state FROM ops.generations WHERE query = 'impossible_travel' ORDER BY 1";
    let states_of_new =
        "SELECT count(*) FROM ops.generations WHERE query = 'impossible_travel' AND generation = 2 AND state = 'shown'";
    // Whoever goes on after the new generation is shown takes over what was filled and removes it there, so it is looked for after each run.
    let mut was_filled_in_parts = false;
    let mut look_for_parts = || was_filled_in_parts |= parts(&project, "fill_impossible_travel__g2") > 0;
    for run_ms in [300, 900, 1_500, 2_100] {
        let mut pipeline = project.start("up", &[]);
        pipeline.run_for(Duration::from_millis(run_ms));
        pipeline.kill();
        look_for_parts();
        let found = project.sql_value(&format!("SELECT ({shown}), ({states_of_new})"));
        assert!(
            found == format!("{before},0") || (found.ends_with(",1") && !found.starts_with(&format!("{before},"))),
            "{found}"
        );
    }
    drain();
    look_for_parts();
    assert!(column == Column::Servers || was_filled_in_parts, "what was filled is in memory");
    assert_eq!(project.sql(states), ["1,retired", "2,shown"]);
    let after = project.sql_value(shown).parse::<u64>().unwrap();
    assert!(after > 0 && after < before.parse().unwrap(), "{after} of {before}");
    // The patterns stage goes on from what was filled.
    let mut pipeline = project.up(&[]);
    load(&project, &second);
    pipeline.signal(Signal::SIGINT);
    assert_eq!(pipeline.wait(DEADLINE).code(), Some(0), "{}", pipeline.tail());
    drain();
    assert_matches(&project, 5);
    assert_eq!(project.sql_value("SELECT max(generation) FROM results.impossible_travel__g2"), "2");
}

#[test]
fn a_changed_pattern_on_the_embedded_systems() {
    a_changed_pattern_fills_beside_the_one_before(Column::Embedded);
}

#[test]
fn a_changed_pattern_on_kafka_and_a_postgresql_server() {
    a_changed_pattern_fills_beside_the_one_before(Column::Servers);
}
