//! Small things done to files: atomic replacement, directory flushes, appends that are whole or not there.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IoSlice, Write as _};
use std::path::Path;

/// Replaces the file at `path` by `bytes`: after a crash it is the old one or the new one, never a mixture.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    flush_directory_of(path)
}

/// Makes the names in the directory of `path` durable.
pub(crate) fn flush_directory_of(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Opens a file for reading and for appending at its end, making it if it isn't there.
pub(crate) fn open_append(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).open(path)
}

/// Appends `head` and `tail` to a file that was opened by [`open_append`] and has `size` bytes. On an error the file is cut back to
/// `size`; if that fails too, the second error is returned as `Err(Err(_))` and the file's end is unknown.
pub(crate) fn append(file: &File, size: u64, head: &[u8], tail: &[u8]) -> Result<(), Result<io::Error, io::Error>> {
    match write_all(file, head, tail) {
        Ok(()) => Ok(()),
        Err(error) => match file.set_len(size) {
            Ok(()) => Err(Ok(error)),
            Err(second) => Err(Err(second)),
        },
    }
}

fn write_all(mut file: &File, head: &[u8], tail: &[u8]) -> io::Result<()> {
    let slices = &mut [IoSlice::new(head), IoSlice::new(tail)];
    let mut slices = slices.as_mut_slice();
    let mut left = head.len() + tail.len();
    while left > 0 {
        match file.write_vectored(slices) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                left = left.saturating_sub(written);
                IoSlice::advance_slices(&mut slices, written);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
