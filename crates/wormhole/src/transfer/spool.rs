//! Stores a stream in a temporary file, for a peer that must know its length first.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::sync::Arc;

use rand_core::{OsRng, RngCore};
use wormhole_disk::private;

use super::source::{OpenFile, SendItem, system};
use super::{Error, Unsendable, thread};

/// Reads the whole stream into a temporary file, which becomes the item to send. Dropping this future stops reading.
pub(super) async fn fill(name: String, reader: Box<dyn Read + Send>) -> Result<SendItem, Error> {
    // It exists as long as this future.
    let wanted = Arc::new(());
    let observer = Arc::downgrade(&wanted);
    let spooling = thread::start(move || {
        let (file, size) = copy(reader, &name, || observer.strong_count() > 0)?;
        Ok(SendItem::File(OpenFile { name, path: None, file, size, attributes: None }))
    });
    let outcome = spooling.await.unwrap_or(Err(Error::NoThread));
    drop(wanted);
    outcome
}

fn copy(
    mut reader: Box<dyn Read + Send>,
    name: &str,
    is_wanted: impl Fn() -> bool,
) -> Result<(File, u64), Error> {
    let spool = |error: io::Error| Error::Spool { folder: std::env::temp_dir(), why: error.into() };
    let mut file = temporary().map_err(spool)?;
    let mut buffer = vec![0; BUFFER];
    let mut size = 0_u64;
    loop {
        if !is_wanted() {
            return Err(Error::Cancelled);
        }
        let count = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Unsendable { path: name.into(), why: system(error) }.into()),
        };
        file.write_all(buffer.get(..count).unwrap_or_default()).map_err(spool)?;
        size += u64::try_from(count).unwrap_or_default();
    }
    file.rewind().map_err(spool)?;
    Ok((file, size))
}

/// A file that only we can read, and that is deleted when its last handle is closed.
fn temporary() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("wormhole-{:016x}", OsRng.next_u64()));
    let mut options = private::options();
    options.read(true).write(true).create_new(true);
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

/// Bytes copied at once.
const BUFFER: usize = 128 << 10;
