//! Encrypted files that came directly, and that the application has not saved yet: each sender has a folder with the name of its
//! account.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use wormhole_chat::AccountId;

use super::{DirectFiles, FileName};
use crate::chat::attachment::Partial;

/// Where a file is.
#[derive(Debug)]
pub(super) struct Places {
    /// While it arrives.
    part: PathBuf,
    pub(super) whole: PathBuf,
}

impl Places {
    /// In this folder of a sender.
    pub(super) fn new(folder: &Path, name: FileName) -> Self {
        let whole = folder.join(name.to_text());
        Self { part: whole.with_extension(PART), whole }
    }

    /// The part that has arrived, if any.
    ///
    /// # Errors
    /// It cannot be read, or arrives now.
    pub(super) fn open(&self) -> io::Result<Option<Partial>> {
        for path in [&self.whole, &self.part] {
            match Partial::open_direct(path) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                result => return result.map(Some),
            }
        }
        Ok(None)
    }

    /// The first bytes arrive.
    ///
    /// # Errors
    /// It cannot be created, or has begun to arrive with another connection.
    pub(super) fn create(&self) -> io::Result<Partial> {
        let partial = Partial::create_direct(&self.part)?;
        if partial.len() == 0 { Ok(partial) } else { Err(io::ErrorKind::AlreadyExists.into()) }
    }
}

/// Opens a whole file, from any sender.
///
/// # Errors
/// `NotFound` if no such file has arrived. With any other error, the file cannot be read.
pub(in crate::chat) fn open_whole(folder: &Path, name: FileName) -> io::Result<Partial> {
    for sender in fs::read_dir(folder)? {
        match Partial::open_direct(&Places::new(&sender?.path(), name).whole) {
            Err(error) if is_missing(&error) => {}
            result => return result,
        }
    }
    Err(io::ErrorKind::NotFound.into())
}

/// Something that is no folder of a sender has nothing, either.
fn is_missing(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Checks that there is room for a file of this length, while others with so many bytes arrive. Each sender has a share of the room.
/// Files that nobody has saved for 45 days make room, as at the service, and those that are not whole after a day.
///
/// # Errors
/// There is no room.
pub(in crate::chat) fn make_space(
    folder: &Path,
    settings: &DirectFiles,
    (from, name): (AccountId, FileName),
    (length, reserved): (u64, u64),
) -> io::Result<()> {
    if length > settings.max_bytes {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let (mut all, mut own) = (Waiting::default(), Waiting::default());
    let sender = folder.join(from.to_string());
    for other in entries(folder)? {
        let waiting = Waiting::count(&other, (other == sender).then_some(name))?;
        all.add(waiting.bytes, waiting.files);
        if other == sender {
            own = waiting;
        }
    }
    let bytes = all.bytes.saturating_add(length).saturating_add(reserved);
    let share = settings.max_waiting / SHARES;
    // The longest file may be longer than a share.
    let fits = own.files == 0 || own.bytes.saturating_add(length) <= share;
    let has_share = fits && own.files < MAX_OF_SENDER;
    let has_capacity = bytes <= settings.max_waiting && all.files < MAX_FILES;
    if has_capacity && has_share { Ok(()) } else { Err(io::ErrorKind::StorageFull.into()) }
}

/// Files that wait.
#[derive(Clone, Copy, Debug, Default)]
struct Waiting {
    bytes: u64,
    files: usize,
}

impl Waiting {
    const fn add(&mut self, bytes: u64, files: usize) {
        self.bytes = self.bytes.saturating_add(bytes);
        self.files = self.files.saturating_add(files);
    }

    /// Counts the files of a sender, other than this one, and removes those that are too old.
    fn count(sender: &Path, except: Option<FileName>) -> io::Result<Self> {
        let except = except.map(FileName::to_text);
        let mut waiting = Self::default();
        for path in entries(sender)? {
            if except.is_some()
                && path.file_stem().and_then(|name| name.to_str()) == except.as_deref()
            {
                continue;
            }
            let metadata = match fs::metadata(&path) {
                Ok(metadata) => metadata,
                // It was saved meanwhile.
                Err(error) if is_missing(&error) => continue,
                Err(error) => return Err(error),
            };
            let max_age = if path.extension().is_some() { MAX_PART_AGE } else { MAX_AGE };
            if metadata.modified()?.elapsed().is_ok_and(|age| age > max_age) {
                fs::remove_file(&path)?;
            } else {
                waiting.add(metadata.len(), 1);
            }
        }
        // It stays if it has files.
        let _used = fs::remove_dir(sender);
        Ok(waiting)
    }
}

/// The files in a folder. Empty if it does not exist.
fn entries(folder: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(folder) {
        Ok(entries) => entries.map(|entry| Ok(entry?.path())).collect(),
        Err(error) if is_missing(&error) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// How long a file waits until it is saved.
const MAX_AGE: Duration = Duration::from_secs(45 * 24 * 60 * 60);

/// How long a file that is not whole waits for the rest.
const MAX_PART_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// Maximum number of files that wait.
const MAX_FILES: usize = 64;

/// Maximum number of files of one sender that wait.
const MAX_OF_SENDER: usize = 8;

/// Several files of one sender together have at most this part of the room.
const SHARES: u64 = 4;

/// The extension of a file that is not whole.
const PART: &str = "part";

/// The directory with them, in that of the store.
pub(in crate::chat) const FOLDER: &str = "direct";

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    const ONE: AccountId = AccountId::from_bytes([1; 16]);
    const TWO: AccountId = AccountId::from_bytes([2; 16]);

    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("wormhole-direct-{name}-{}", std::process::id());
            let folder = Self(std::env::temp_dir().join(name));
            let _left = fs::remove_dir_all(&folder.0);
            folder
        }

        fn has_capacity(&self, from: AccountId, name: u8, (length, reserved): (u64, u64)) -> bool {
            let settings =
                DirectFiles { max_bytes: 100, max_waiting: 160, ..DirectFiles::default() };
            let name = FileName([name; 16]);
            make_space(&self.0, &settings, (from, name), (length, reserved)).is_ok()
        }

        fn places(&self, from: AccountId, name: u8) -> Places {
            Places::new(&self.0.join(from.to_string()), FileName([name; 16]))
        }

        fn arrive(&self, from: AccountId, name: u8, length: usize) -> Places {
            let places = self.places(from, name);
            places.create().unwrap().append(&vec![0; length]).unwrap();
            places
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _left = fs::remove_dir_all(&self.0);
        }
    }

    fn set_age(path: &Path, age: Duration) {
        let modified = SystemTime::now() - age;
        File::options().write(true).open(path).unwrap().set_modified(modified).unwrap();
    }

    #[test]
    fn files_that_wait_and_files_that_arrive_have_a_limit_and_old_ones_make_room() {
        let folder = Folder::new("limit");
        assert!(folder.has_capacity(ONE, 1, (100, 60)));
        assert!(!folder.has_capacity(ONE, 1, (101, 0)) && !folder.has_capacity(ONE, 1, (100, 61)));
        let places = folder.arrive(ONE, 1, 60);
        assert!(folder.has_capacity(TWO, 2, (100, 0)) && !folder.has_capacity(TWO, 2, (100, 1)));
        assert!(folder.has_capacity(ONE, 1, (100, 60)), "it is the same file");
        places.open().unwrap().unwrap().finish(&places.whole).unwrap();
        set_age(&places.whole, MAX_AGE / 2);
        assert!(!folder.has_capacity(TWO, 2, (100, 1)));
        set_age(&places.whole, MAX_AGE * 2);
        assert!(folder.has_capacity(TWO, 2, (100, 60)) && !places.whole.exists());
    }

    #[test]
    fn a_sender_has_a_share_and_what_is_not_whole_goes_after_a_day() {
        let folder = Folder::new("share");
        let part = folder.arrive(ONE, 1, 30).part;
        assert!(folder.has_capacity(ONE, 2, (10, 0)) && !folder.has_capacity(ONE, 2, (11, 0)));
        assert!(folder.has_capacity(TWO, 2, (100, 0)), "others have their own share");
        set_age(&part, MAX_PART_AGE * 2);
        assert!(folder.has_capacity(ONE, 2, (100, 0)) && !part.exists());
        for name in 0..8 {
            assert!(folder.has_capacity(ONE, name, (1, 0)));
            let _places = folder.arrive(ONE, name, 1);
        }
        assert!(!folder.has_capacity(ONE, 8, (1, 0)) && folder.has_capacity(TWO, 8, (1, 0)));
    }

    #[test]
    fn only_a_whole_file_is_found_in_the_folders_of_all_senders() {
        let folder = Folder::new("whole");
        let find = || open_whole(&folder.0, FileName([2; 16])).map(|file| file.len());
        assert_eq!(find().unwrap_err().kind(), io::ErrorKind::NotFound);
        let _other = folder.arrive(ONE, 1, 5);
        let places = folder.arrive(TWO, 2, 6);
        assert_eq!(find().unwrap_err().kind(), io::ErrorKind::NotFound);
        places.open().unwrap().unwrap().finish(&places.whole).unwrap();
        assert_eq!(find().unwrap(), 6);
    }
}
