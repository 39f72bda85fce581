//! `sslmode` against a server with a certificate of its own authority.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;
use std::process::{Command, Stdio};

use common::{fast_options, open_tempdir};
use store::private_server::{self, ServerOptions};
use store::{Error, Store, StoreOptions};

fn openssl(directory: &Path, arguments: &str) -> bool {
    let command =
        Command::new("openssl").args(arguments.split(' ')).current_dir(directory).stderr(Stdio::null()).status();
    command.is_ok_and(|status| status.success())
}

/// An authority, and a certificate of it for `localhost`.
fn make_certificates(directory: &Path) -> bool {
    std::fs::write(directory.join("names"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n").unwrap();
    openssl(directory, "req -x509 -newkey rsa:2048 -nodes -keyout ca.key -out ca.crt -days 2 -subj /CN=authority")
        && openssl(directory, "req -newkey rsa:2048 -nodes -keyout server.key -out server.csr -subj /CN=localhost")
        && openssl(
            directory,
            "x509 -req -in server.csr -CA ca.crt -CAkey ca.key -CAcreateserial -out server.crt -days 2 -extfile names",
        )
}

#[tokio::test]
async fn certificates_are_checked_as_far_as_sslmode_says() {
    let home = open_tempdir();
    if !make_certificates(home.path()) {
        eprintln!("skipped: openssl isn't installed");
        return;
    }
    let directory = home.path().join("postgres");
    let server = private_server::start(&directory, fast_options("shop")).await.unwrap();
    let owner = std::fs::metadata(server.cluster()).unwrap();
    server.stop().await.unwrap();
    let path = |name: &str| home.path().join(name).display().to_string();
    std::fs::set_permissions(path("server.key"), std::fs::Permissions::from_mode(0o600)).unwrap();
    std::os::unix::fs::chown(path("server.key"), Some(owner.uid()), Some(owner.gid())).unwrap();
    let settings =
        [("ssl", "on".to_owned()), ("ssl_cert_file", path("server.crt")), ("ssl_key_file", path("server.key"))];
    let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let server = private_server::start(&directory, ServerOptions { settings, ..fast_options("shop") }).await.unwrap();

    let by_name = server.url().replace("127.0.0.1", "localhost");
    let root = format!("sslrootcert={}", path("ca.crt"));
    for (url, encrypted) in [
        (format!("{}?sslmode=disable", server.url()), Some("f")),
        (server.url(), Some("t")),
        (format!("{}?sslmode=require", server.url()), Some("t")),
        (format!("{}?sslmode=verify-ca&{root}", server.url()), Some("t")),
        (format!("{by_name}?sslmode=verify-full&{root}"), Some("t")),
        // Another name than the certificate's; another authority than the system's.
        (format!("{}?sslmode=verify-full&{root}", server.url()), None),
        (format!("{by_name}?sslmode=verify-full"), None),
        (format!("{}?sslmode=require&sslrootcert={}", server.url(), path("server.crt")), None),
    ] {
        let shown = url.replace(&server.url(), "…");
        let store = Store::connect(&url, StoreOptions::default()).await;
        match (store, encrypted) {
            (Ok(store), Some(encrypted)) => {
                let found = store.query("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", 1).await.unwrap();
                assert_eq!(found.rows[0][0].as_deref(), Some(encrypted), "{shown}");
            }
            (Err(error), None) => {
                assert!(matches!(error, Error::Unavailable { .. } | Error::Settings { .. }), "{shown}: {error}")
            }
            (found, wanted) => panic!("{shown}: {found:?} instead of {wanted:?}"),
        }
    }
    server.stop().await.unwrap();
}
