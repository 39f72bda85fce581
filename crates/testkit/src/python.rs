//! Python programs of the tests: an independent recomputation, and clients that aren't ours.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The interpreter that has the packages of `python/requirements.txt`: `TILLSTREAM_TEST_PYTHON`, or that of the environment which
/// `./dev setup` makes.
///
/// # Panics
/// When there is none.
pub fn interpreter() -> PathBuf {
    if let Some(path) = std::env::var_os("TILLSTREAM_TEST_PYTHON") {
        return path.into();
    }
    let path = crate::cache_dir().join("venv").join("bin").join("python");
    assert!(path.exists(), "TILLSTREAM_TEST_PYTHON is not set and {} isn't there: run ./dev setup", path.display());
    path
}

/// Runs a script of `crates/testkit/python` to its end and gives its standard output.
///
/// # Panics
/// When it fails; the message holds its standard error.
pub fn run(script: &str, arguments: &[&Path]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("python").join(script);
    let output = Command::new(interpreter()).arg(&script).args(arguments).output().expect("Python starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} {arguments:?}: {stderr}", script.display());
    String::from_utf8(output.stdout).expect("the script writes UTF-8")
}
