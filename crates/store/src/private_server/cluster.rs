//! Making the cluster, its configuration, and the project's database.

use std::fs::{self, DirBuilder, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::USER;
use super::binaries::Binaries;
use super::directory::Directory;
use super::options::ServerOptions;
use crate::connect::Connector;
use crate::error::{Error, Result, ServerErrorKind};
use crate::identifier::Identifier;

/// Makes the cluster if it isn't there. The caller holds the start lock.
pub(super) async fn ensure(directory: &Directory, binaries: &Binaries, options: &ServerOptions) -> Result<()> {
    let cluster = directory.settings().cluster;
    if directory.cluster_major().is_none() {
        check_ownership(directory, &cluster)?;
        if fs::read_dir(&cluster).is_ok_and(|mut entries| entries.next().is_some()) {
            let message = format!("{} holds files but no cluster: move them away", cluster.display());
            return Err(directory.error(ServerErrorKind::Failed, message));
        }
        directory.prepare()?;
        return create(directory, binaries, options).await;
    }
    check_ownership(directory, &cluster)?;
    directory.prepare()?;
    if !directory.knows_password() {
        set_password(directory, binaries).await?;
    }
    Ok(())
}

/// A cluster that another user made can't be used: PostgreSQL insists on owning it.
fn check_ownership(directory: &Directory, cluster: &Path) -> Result<()> {
    let (Ok(metadata), None) = (fs::metadata(cluster), directory.run_as()) else { return Ok(()) };
    let ours = nix::unistd::geteuid().as_raw();
    if metadata.uid() == ours {
        return Ok(());
    }
    let message = format!(
        "{} belongs to the user with id {}, not to us ({ours}): run as that user or as root",
        cluster.display(),
        metadata.uid()
    );
    Err(directory.error(ServerErrorKind::Permission, message))
}

/// A command that runs as the server's user, with little of our environment.
pub(super) fn command(directory: &Directory, program: &Path) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("LC_ALL", "C").env("TZ", "UTC").current_dir("/").stdin(Stdio::null());
    for name in ["PATH", "LD_LIBRARY_PATH"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    if let Some(user) = directory.run_as() {
        command.uid(user.uid).gid(user.gid);
    }
    command
}

async fn create(directory: &Directory, binaries: &Binaries, options: &ServerOptions) -> Result<()> {
    let settings = directory.settings();
    let parent = settings.cluster.parent().unwrap_or(directory.path());
    // Made under another name, so that a half-made cluster is never taken for a whole one.
    let (temporary, password) = (parent.join("cluster.new"), parent.join("password.new"));
    let prepare = || -> std::io::Result<()> {
        for leftover in [&temporary, &settings.cluster] {
            if fs::symlink_metadata(leftover).is_ok_and(|metadata| metadata.is_dir()) {
                fs::remove_dir_all(leftover)?;
            }
        }
        DirBuilder::new().mode(0o700).create(&temporary)?;
        directory.own(&temporary)?;
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&password)?;
        writeln!(file, "{}", settings.password)?;
        directory.own(&password)
    };
    prepare().map_err(|error| directory.io("the cluster can't be made", &error))?;
    tracing::info!(cluster = %settings.cluster.display(), major = binaries.major, "making a PostgreSQL cluster");
    let mut initdb = command(directory, &binaries.program("initdb"));
    initdb.arg("-D").arg(&temporary).args([
        "-U",
        USER,
        "-E",
        "UTF8",
        "--locale=C",
        "-A",
        "scram-sha-256",
        "--data-checksums",
    ]);
    initdb.arg("--pwfile").arg(&password);
    if !options.fsync {
        initdb.arg("--no-sync");
    }
    let output = initdb.output().await;
    let removed = fs::remove_file(&password);
    let output = output.map_err(|error| directory.io("initdb can't be run", &error))?;
    removed.map_err(|error| directory.io("a file with the password can't be removed", &error))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(directory.error(kind_of(&text), format!("initdb failed: {}", text.trim())));
    }
    let finish = || -> std::io::Result<()> {
        let mut file = OpenOptions::new().append(true).open(temporary.join("postgresql.conf"))?;
        writeln!(file, "\ninclude_if_exists = 'tillstream.conf'")?;
        file.sync_all()
    };
    finish().map_err(|error| directory.io("postgresql.conf can't be written", &error))?;
    directory.save(settings.port)?;
    fs::rename(&temporary, &settings.cluster)
        .map_err(|error| directory.io("the cluster can't be put into its place", &error))
}

/// Writes the settings of this start.
pub(super) fn configure(directory: &Directory, options: &ServerOptions, port: u16) -> Result<()> {
    let settings = directory.settings();
    let path = settings.cluster.join("tillstream.conf");
    let write = || -> std::io::Result<()> {
        fs::write(&path, options.configuration(port, &settings.socket_directory.to_string_lossy()))?;
        directory.own(&path)
    };
    write().map_err(|error| directory.io("the server's settings can't be written", &error))
}

/// Sets a new password in a cluster that isn't running, by PostgreSQL's single-user mode.
async fn set_password(directory: &Directory, binaries: &Binaries) -> Result<()> {
    let settings = directory.settings();
    tracing::warn!("server.json is gone: setting a new password for the private PostgreSQL server");
    let mut postgres = command(directory, &binaries.program("postgres"));
    postgres.arg("--single").arg("-D").arg(&settings.cluster).arg("postgres");
    let child = postgres.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| directory.io("postgres can't be run", &error))?;
    if let Some(mut input) = child.stdin.take() {
        // The password has letters and digits alone.
        let statement = format!("ALTER USER {USER} PASSWORD '{}'\n", settings.password);
        input
            .write_all(statement.as_bytes())
            .await
            .map_err(|error| directory.io("postgres can't be spoken to", &error))?;
    }
    let output = child.wait_with_output().await.map_err(|error| directory.io("postgres can't be run", &error))?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(directory.error(kind_of(&text), format!("a new password can't be set: {}", text.trim())));
    }
    directory.save(settings.port)
}

/// What the words of initdb or the server's log are about.
pub(super) fn kind_of(text: &str) -> ServerErrorKind {
    if text.contains("No space left on device") || text.contains("Disk quota exceeded") {
        ServerErrorKind::DiskFull
    } else if text.contains("Address already in use") {
        ServerErrorKind::PortTaken
    } else if text.contains("Permission denied") || text.contains("Read-only file system") {
        ServerErrorKind::Permission
    } else if text.contains("incompatible with server") {
        ServerErrorKind::OtherVersion
    } else {
        ServerErrorKind::Failed
    }
}

/// A session with the server's own database.
pub(super) async fn session(directory: &Directory, port: u16) -> Result<Client> {
    let password = directory.settings().password;
    let url = format!("postgres://{USER}:{password}@127.0.0.1:{port}/postgres?sslmode=disable");
    let (client, _) =
        Connector::new(&url, "tillstream start", Duration::from_secs(5))?.session("tillstream start").await?;
    Ok(client)
}

/// Creates the project's database if it isn't there.
pub(super) async fn create_database(directory: &Directory, port: u16, name: &str) -> Result<()> {
    let failed = |error| Error::postgres(format!("creating the database {name}"), &error);
    let client = session(directory, port).await?;
    if client.query_opt("SELECT FROM pg_database WHERE datname = $1", &[&name]).await.map_err(failed)?.is_some() {
        return Ok(());
    }
    match client.batch_execute(&format!("CREATE DATABASE {}", Identifier::new(name)?)).await {
        // Another process was faster.
        Err(error)
            if error
                .code()
                .is_some_and(|code| *code == SqlState::DUPLICATE_DATABASE || *code == SqlState::UNIQUE_VIOLATION) =>
        {
            Ok(())
        }
        result => result.map_err(failed),
    }
}
