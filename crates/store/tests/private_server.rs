//! The private server: its life, its neighbours, and what an earlier crash left behind. As root it runs under another user, as
//! everybody else under ours; the same tests hold for both.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{fast_options, open_tempdir, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use store::private_server::{self, PrivateServer, Programs, ServerOptions};
use store::{Error, ServerErrorKind, Store, StoreOptions};

async fn start(directory: &Path) -> PrivateServer {
    private_server::start(directory, fast_options("shop")).await.unwrap()
}

async fn ask(url: &str, sql: &str) -> String {
    let store = Store::connect(url, StoreOptions::default()).await.unwrap();
    store.query(sql, 1).await.unwrap().rows[0][0].clone().unwrap_or_default()
}

fn runs(pid: i32) -> bool {
    // A process that has ended and wasn't waited for has no words.
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|words| !words.is_empty())
}

fn kind(error: &Error) -> ServerErrorKind {
    match error {
        Error::Server { kind, .. } => *kind,
        other => panic!("not an error of the server: {other}"),
    }
}

#[tokio::test]
async fn it_starts_stops_and_starts_again_with_its_data() {
    let home = open_tempdir();
    let directory = home.path().join("data/postgres");
    let server = start(&directory).await;
    assert_eq!(ask(&server.url(), "SELECT current_database()").await, "shop");
    assert_eq!(ask(&server.socket_url(), "SELECT inet_client_addr() IS NULL").await, "t");
    assert_eq!(
        ask(&server.url(), "SELECT current_setting('server_encoding') || current_setting('shared_buffers')").await,
        "UTF8128MB"
    );
    ask(&server.url(), "CREATE TABLE kept (a int); INSERT INTO kept VALUES (42); SELECT a FROM kept").await;
    let (url, pid) = (server.url(), server.pid());
    assert!(runs(pid));
    // Nobody without the password, and nobody but us may read it.
    let stranger = url.replace("tillstream:", "tillstream:x");
    assert!(matches!(Store::connect(&stranger, StoreOptions::default()).await.unwrap_err(), Error::Permission { .. }));
    assert_eq!(std::fs::metadata(directory.join("server.json")).unwrap().permissions().mode() & 0o777, 0o600);
    let owner = std::fs::metadata(server.cluster()).unwrap().uid();
    assert_ne!(owner, 0, "PostgreSQL never runs as root");
    server.stop().await.unwrap();
    assert!(!runs(pid));

    let server = start(&directory).await;
    assert_eq!(server.url(), url, "the address stays");
    assert_eq!(ask(&url, "SELECT a FROM kept").await, "42");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn it_is_shared_and_stops_with_its_last_user() {
    let home = open_tempdir();
    let (one, two) = tokio::join!(start(home.path()), start(home.path()));
    assert_eq!((one.url(), one.pid()), (two.url(), two.pid()));
    let (url, pid) = (one.url(), one.pid());
    one.stop().await.unwrap();
    assert_eq!(ask(&url, "SELECT 1").await, "1");
    two.stop().await.unwrap();
    assert!(!runs(pid));
}

#[tokio::test]
async fn a_dropped_server_is_stopped_by_its_watcher() {
    let home = open_tempdir();
    let server = start(home.path()).await;
    let pid = server.pid();
    drop(server);
    wait_until("the watcher stops the server", || async { !runs(pid) }).await;
    // Starting while it is still on its way down waits for that.
    let server = start(home.path()).await;
    let again = server.pid();
    drop(server);
    let server = start(home.path()).await;
    assert_eq!(ask(&server.url(), "SELECT 1").await, "1");
    let _ = again;
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_killed_server_is_started_again_on_its_port() {
    let home = open_tempdir();
    let server = start(home.path()).await;
    let (url, pid) = (server.url(), server.pid());
    ask(&url, "CREATE TABLE kept (a int); INSERT INTO kept VALUES (42); SELECT 1").await;
    kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
    wait_until("another process serves", || async { server.pid() != pid }).await;
    assert_eq!((server.url(), ask(&url, "SELECT a FROM kept").await.as_str()), (url.clone(), "42"));
    server.stop().await.unwrap();
}

/// Runs in a process of its own, which is killed: see `our_death_stops_the_server`.
#[tokio::test]
async fn child_that_waits_to_be_killed() {
    let Ok(directory) = std::env::var("STORE_TEST_CHILD_DIRECTORY") else { return };
    let server = start(Path::new(&directory)).await;
    std::fs::write(Path::new(&directory).join("ready.new"), server.pid().to_string()).unwrap();
    std::fs::rename(Path::new(&directory).join("ready.new"), Path::new(&directory).join("ready")).unwrap();
    std::future::pending::<()>().await;
}

async fn child(directory: &Path) -> (std::process::Child, i32) {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_waits_to_be_killed", "--nocapture"])
        .env("STORE_TEST_CHILD_DIRECTORY", directory)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready = directory.join("ready");
    wait_until("the child has a server", || async { ready.exists() }).await;
    let pid = std::fs::read_to_string(&ready).unwrap().parse().unwrap();
    std::fs::remove_file(ready).unwrap();
    (child, pid)
}

#[tokio::test]
async fn our_death_stops_the_server_unless_another_process_uses_it() {
    let home = open_tempdir();
    let directory = home.path().join("postgres");
    let (mut process, pid) = child(&directory).await;
    process.kill().unwrap();
    process.wait().unwrap();
    wait_until("the server is gone", || async { !runs(pid) }).await;

    let (mut process, pid) = child(&directory).await;
    let ours = start(&directory).await;
    assert_eq!(ours.pid(), pid);
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(ask(&ours.url(), "SELECT 1").await, "1");
    ours.stop().await.unwrap();
    assert!(!runs(pid));
}

#[tokio::test]
async fn leftovers_of_a_crash_are_cleared_away() {
    let home = open_tempdir();
    let server = start(home.path()).await;
    let cluster = server.cluster();
    server.stop().await.unwrap();
    // The number in the file belongs to another program now: us.
    let stale = format!("{}\n{}\n1\n{}\n", std::process::id(), cluster.display(), 1);
    std::fs::write(cluster.join("postmaster.pid"), stale).unwrap();
    let server = start(home.path()).await;
    server.stop().await.unwrap();
    // Half-made by a process that was killed.
    std::fs::remove_dir_all(&cluster).unwrap();
    std::fs::create_dir_all(cluster.with_file_name("cluster.new").join("base")).unwrap();
    let server = start(home.path()).await;
    assert_eq!(ask(&server.url(), "SELECT 1").await, "1");
    server.stop().await.unwrap();
    // The password is lost: a new one is set.
    std::fs::remove_file(home.path().join("server.json")).unwrap();
    let server = start(home.path()).await;
    assert_eq!(ask(&server.url(), "SELECT 1").await, "1");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_closed_to_the_servers_user_will_do() {
    let closed = tempfile::tempdir().unwrap();
    std::fs::set_permissions(closed.path(), std::fs::Permissions::from_mode(0o700)).unwrap();
    let server = start(&closed.path().join("postgres")).await;
    assert_eq!(ask(&server.url(), "SELECT 1").await, "1");
    let cluster = server.cluster();
    assert_eq!(
        std::fs::canonicalize(closed.path().join("postgres/cluster")).unwrap(),
        std::fs::canonicalize(&cluster).unwrap()
    );
    server.stop().await.unwrap();
    if !cluster.starts_with(closed.path()) {
        assert!(nix::unistd::geteuid().is_root(), "only root has to evade");
        std::fs::remove_dir_all(cluster.parent().unwrap()).unwrap();
    }
}

#[tokio::test]
async fn a_very_long_path_will_do() {
    let home = open_tempdir();
    let directory = home.path().join("x".repeat(120));
    let server = start(&directory).await;
    assert_eq!(ask(&server.socket_url(), "SELECT 1").await, "1");
    let socket = ask(&server.url(), "SHOW unix_socket_directories").await;
    server.stop().await.unwrap();
    std::fs::remove_dir_all(socket).unwrap();
}

#[tokio::test]
async fn a_taken_port_is_named_or_evaded() {
    let home = open_tempdir();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let options = ServerOptions { port: Some(port), ..fast_options("shop") };
    let error = private_server::start(home.path(), options).await.unwrap_err();
    assert_eq!(kind(&error), ServerErrorKind::PortTaken);
    assert!(error.to_string().contains(&port.to_string()), "{error}");

    let server = start(home.path()).await;
    let before = server.port();
    server.stop().await.unwrap();
    let thief = std::net::TcpListener::bind(("127.0.0.1", before)).unwrap();
    let server = start(home.path()).await;
    assert_ne!(server.port(), before);
    server.stop().await.unwrap();
    drop(thief);
}

#[tokio::test]
async fn wrong_binaries_and_bad_settings_are_named() {
    let home = open_tempdir();
    let options = ServerOptions { programs: Programs::Directory(home.path().join("nothing")), ..fast_options("shop") };
    let error = private_server::start(&home.path().join("a"), options).await.unwrap_err();
    assert_eq!(kind(&error), ServerErrorKind::NoBinaries);

    let options = ServerOptions { settings: vec![("shared_buffers".into(), "a lot".into())], ..fast_options("shop") };
    let error = private_server::start(&home.path().join("b"), options).await.unwrap_err();
    assert_eq!(kind(&error), ServerErrorKind::Failed);
    assert!(error.to_string().contains("shared_buffers"), "{error}");

    // A cluster of another major version than any that is installed.
    let server = start(&home.path().join("c")).await;
    let cluster = server.cluster();
    server.stop().await.unwrap();
    std::fs::write(cluster.join("PG_VERSION"), "9\n").unwrap();
    let error = private_server::start(&home.path().join("c"), fast_options("shop")).await.unwrap_err();
    assert_eq!(kind(&error), ServerErrorKind::NoBinaries);
    assert!(error.to_string().contains("PostgreSQL 9 is needed"), "{error}");
}

/// Unmounts when dropped.
struct Mount(std::path::PathBuf);

impl Drop for Mount {
    fn drop(&mut self) {
        let _status = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_is_named_and_waited_for() {
    let home = open_tempdir();
    let mount = |size: &str, at: &Path| {
        std::fs::create_dir_all(at).unwrap();
        let options = format!("size={size},mode=755");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(at).stderr(Stdio::null()).status();
        mounted.is_ok_and(|status| status.success()).then(|| Mount(at.to_owned()))
    };
    let Some(_tiny) = mount("6m", &home.path().join("tiny")) else {
        eprintln!("skipped: only root may mount a small disk");
        return;
    };
    let error = private_server::start(&home.path().join("tiny/postgres"), fast_options("shop")).await.unwrap_err();
    assert_eq!(kind(&error), ServerErrorKind::DiskFull, "{error}");

    // A running server whose disk fills up: the writer says so, nothing is half stored, and room helps.
    let _small = mount("120m", &home.path().join("small")).unwrap();
    let settings = vec![("max_wal_size".into(), "64MB".into()), ("min_wal_size".into(), "32MB".into())];
    let options = ServerOptions { settings, ..fast_options("shop") };
    let server = private_server::start(&home.path().join("small/postgres"), options).await.unwrap();
    let store = Store::connect(&server.url(), StoreOptions::default()).await.unwrap();
    store.query("CREATE TABLE kept (a text); INSERT INTO kept VALUES ('x')", 0).await.unwrap();
    let ballast = home.path().join("small/ballast");
    let room = Command::new("df").args(["--output=avail", "-k"]).arg(home.path().join("small")).output().unwrap();
    let room: usize = String::from_utf8(room.stdout).unwrap().split_whitespace().last().unwrap().parse().unwrap();
    std::fs::write(&ballast, vec![0; (room.saturating_sub(6_000)) * 1024]).unwrap();
    let fill = "INSERT INTO kept SELECT repeat(md5(n::text), 50) FROM generate_series(1, 40000) AS n";
    let error = store.query(fill, 0).await.unwrap_err();
    let words = error.to_string();
    assert!(words.contains("No space left") || matches!(error, Error::Unavailable { .. }), "{words}");
    std::fs::remove_file(ballast).unwrap();
    wait_until("it works again", || async {
        store.query("SELECT count(*) FROM kept", 1).await.is_ok_and(|found| found.rows[0][0].as_deref() == Some("1"))
    })
    .await;
    drop(store);
    server.stop().await.unwrap();
}
