//! A small disk of its own for one test, which can be full.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, mounted over a directory. Mounting takes root, or sudo that asks for no password.
#[derive(Debug)]
pub struct SmallDisk {
    directory: PathBuf,
}

impl SmallDisk {
    /// Mounts one of `megabytes` over `directory`, which is made if it isn't there.
    ///
    /// # Panics
    /// When that can't be done.
    pub fn mount(directory: &Path, megabytes: u32) -> Self {
        fs::create_dir_all(directory).expect("a directory");
        let size = format!("size={megabytes}m,mode=1777");
        as_root("mount", &["-t", "tmpfs", "-o", &size, "tillstream-test"], directory);
        Self { directory: directory.to_owned() }
    }

    /// Writes a file until nothing more has room; dropping it makes room again.
    pub fn fill(&self) -> Filler {
        let path = self.directory.join("filler");
        let mut file = fs::File::create(&path).expect("a file");
        let block = vec![0x5a; 64 * 1024];
        while file.write_all(&block).is_ok() {}
        // The last bytes too.
        while file.write_all(&[0x5a]).is_ok() {}
        Filler { path }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Whoever still has a file open there goes on with it.
        as_root("umount", &["--lazy"], &self.directory);
    }
}

/// What fills a disk.
#[derive(Debug)]
pub struct Filler {
    path: PathBuf,
}

impl Drop for Filler {
    fn drop(&mut self) {
        fs::remove_file(&self.path).expect("the file can be removed");
    }
}

fn as_root(program: &str, arguments: &[&str], directory: &Path) {
    let is_root = nix::unistd::Uid::effective().is_root();
    let mut command = Command::new(if is_root { program } else { "sudo" });
    if !is_root {
        command.args(["-n", program]);
    }
    let output = command.args(arguments).arg(directory).output().expect("the program starts");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?} {}: {stderr}", directory.display());
}
