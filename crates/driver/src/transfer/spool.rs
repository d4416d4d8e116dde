//! A stream on its way to a peer that must know its length first: through a temporary file.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek};
use std::path::PathBuf;

use rand_core::{OsRng, RngCore};

use super::source::{Parcel, system};
use super::{Error, Unsendable, thread};

/// Reads everything into a temporary file, which becomes the parcel.
pub(super) async fn fill(name: String, reader: Box<dyn Read + Send>) -> Result<Parcel, Error> {
    let spooling = thread::start(move || {
        let path = PathBuf::from(&name);
        match copy(reader) {
            Ok((file, size)) => Ok(Parcel::File { name, path, file, size }),
            Err(error) => Err(Unsendable { path, why: system(error) }.into()),
        }
    });
    spooling.await.unwrap_or(Err(Error::NoThread))
}

fn copy(mut reader: Box<dyn Read + Send>) -> io::Result<(File, u64)> {
    let mut file = temporary()?;
    let size = io::copy(&mut reader, &mut file)?;
    file.rewind()?;
    Ok((file, size))
}

/// A file that only we can read, and that is gone with its last handle.
fn temporary() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("wormhole-{:016x}", OsRng.next_u64()));
    let mut options = OpenOptions::new();
    options.read(true).write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    #[cfg(windows)]
    std::os::windows::fs::OpenOptionsExt::custom_flags(&mut options, DELETE_ON_CLOSE);
    let file = options.open(&path)?;
    #[cfg(unix)]
    std::fs::remove_file(&path)?;
    Ok(file)
}

/// `FILE_FLAG_DELETE_ON_CLOSE`.
#[cfg(windows)]
const DELETE_ON_CLOSE: u32 = 0x0400_0000;
