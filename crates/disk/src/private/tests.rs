//! Permissions of new files, and files that are replaced.

use std::path::PathBuf;

use super::*;

/// A directory that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path =
            std::env::temp_dir().join(format!("wormhole-{}-disk-{name}", std::process::id()));
        create_new_directory(&path).unwrap();
        Self(path)
    }

    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.0).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[cfg(unix)]
fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt as _;

    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_file_without_a_directory_cannot_be_created() {
    let folder = Folder::new("nowhere");
    let error = create_if_missing(&folder.0.join("none/file")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
}

#[cfg(unix)]
#[test]
fn new_files_are_private_and_existing_ones_keep_their_permissions() {
    use std::os::unix::fs::PermissionsExt as _;

    let folder = Folder::new("modes");
    let (data, file) = (folder.0.join("above/data"), folder.0.join("above/data/mailbox.sqlite"));
    create_directory(&data).unwrap();
    create_if_missing(&file).unwrap();
    assert_eq!((mode(&data), mode(data.parent().unwrap()), mode(&file)), (0o700, 0o700, 0o600));
    fs::write(&file, "kept").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    create_if_missing(&file).unwrap();
    create_directory(&data).unwrap();
    assert_eq!((mode(&file), fs::read(&file).unwrap()), (0o640, b"kept".to_vec()));
}

#[test]
fn a_new_file_never_overwrites_another() {
    let folder = Folder::new("new");
    let path = folder.0.join("key");
    write_new(&path, b"first").unwrap();
    assert_eq!(write_new(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    assert_eq!(create_new_directory(&folder.0).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
}

#[test]
fn a_file_is_replaced_completely_or_not_at_all() {
    let folder = Folder::new("replace");
    let path = folder.0.join("pool");
    replace(&path, |file| file.write_all(b"first")).unwrap();
    let failed = replace(&path, |file| {
        file.write_all(b"second")?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert_eq!(failed.unwrap_err().kind(), io::ErrorKind::StorageFull);
    assert_eq!(fs::read(&path).unwrap(), b"first");
    // A part of an earlier attempt is no obstacle.
    replace(&path, |file| file.write_all(b"third")).unwrap();
    assert_eq!(
        (fs::read(&path).unwrap(), folder.names()),
        (b"third".to_vec(), vec!["pool".into()])
    );
}

#[cfg(unix)]
#[test]
fn content_is_not_written_into_a_file_that_somebody_else_has_put_there() {
    let folder = Folder::new("links");
    let (path, theirs) = (folder.0.join("key"), folder.0.join("theirs"));
    fs::write(&theirs, "precious").unwrap();
    for name in ["key.part", "key"] {
        std::os::unix::fs::symlink("theirs", folder.0.join(name)).unwrap();
    }
    write_new(&path, b"secret").unwrap_err();
    replace(&path, |file| file.write_all(b"secret")).unwrap();
    assert_eq!((fs::read(&path).unwrap(), mode(&path)), (b"secret".to_vec(), 0o600));
    assert_eq!(fs::read(&theirs).unwrap(), b"precious");
}
