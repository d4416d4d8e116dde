//! Key files, passphrases, and the lock. The keyring is in `keyring.rs`.

use super::*;

fn passphrase(text: &str) -> Passphrase {
    text.to_owned().into()
}

fn protected(folder: &Folder, text: &str) -> Store {
    let protection = Protection::Passphrase(passphrase(text));
    Store::create_with(&folder.0, &protection, &cheap()).unwrap()
}

#[test]
fn a_store_is_created_once_and_opened_by_one_process() {
    let folder = Folder::new();
    assert_eq!(Store::protection(&folder.0), Ok(None));
    assert_eq!(folder.open().unwrap_err(), StoreError::NotFound);
    let store = folder.create();
    assert_eq!(folder.open().unwrap_err(), StoreError::InUse);
    let again = Store::create(&folder.0, &Protection::KeyFile);
    assert_eq!(again.unwrap_err(), StoreError::InUse);
    drop(store);
    let again = Store::create(&folder.0, &Protection::KeyFile);
    assert_eq!(again.unwrap_err(), StoreError::Exists);
    assert_eq!(Store::protection(&folder.0), Ok(Some(ProtectionKind::KeyFile)));
    folder.open().unwrap();
}

#[test]
fn only_the_right_passphrase_opens_the_store_and_a_wrong_one_changes_nothing() {
    let folder = Folder::new();
    protected(&folder, "right").commit(&setting("colour", b"green")).unwrap();
    assert_eq!(Store::protection(&folder.0), Ok(Some(ProtectionKind::Passphrase)));
    assert_eq!(folder.key_files(), Vec::<PathBuf>::new());
    let before = std::fs::read(database_file(&folder.0)).unwrap();
    assert_eq!(folder.open().unwrap_err(), StoreError::PassphraseNeeded);
    let wrong = Store::open(&folder.0, Some(&passphrase("wrong")));
    assert_eq!(wrong.unwrap_err(), StoreError::WrongPassphrase);
    assert_eq!(std::fs::read(database_file(&folder.0)).unwrap(), before);
    let store = Store::open(&folder.0, Some(&passphrase("right"))).unwrap();
    assert!(store.setting("colour").unwrap().is_some());
}

#[test]
fn the_recommended_cost_is_stored_and_used() {
    let folder = Folder::new();
    let protection = Protection::Passphrase(passphrase("slow"));
    drop(Store::create(&folder.0, &protection).unwrap());
    let wrapped = database::read_wrapped(&database_file(&folder.0)).unwrap().unwrap();
    assert!(matches!(wrapped.wrapping(), Wrapping::Passphrase { cost: Cost::DEFAULT, .. }));
    Store::open(&folder.0, Some(&passphrase("slow"))).unwrap();
}

#[test]
fn without_its_key_file_a_store_cannot_be_opened() {
    let folder = Folder::new();
    drop(folder.create());
    let [file] = folder.key_files().try_into().unwrap();
    let other = Folder::new();
    drop(other.create());
    let [other_file] = other.key_files().try_into().unwrap();
    let text = std::fs::read(&file).unwrap();
    std::fs::copy(other_file, &file).unwrap();
    assert_eq!(folder.open().unwrap_err(), StoreError::KeyFileMissing);
    std::fs::write(&file, "not a key").unwrap();
    assert_eq!(folder.open().unwrap_err(), StoreError::KeyFileMissing);
    std::fs::remove_file(&file).unwrap();
    assert_eq!(folder.open().unwrap_err(), StoreError::KeyFileMissing);
    std::fs::write(&file, text).unwrap();
    folder.open().unwrap();
}

#[test]
fn a_change_of_the_protection_keeps_the_rows_and_removes_the_old_key() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&setting("colour", b"green")).unwrap();
    let old = folder.key_files();
    let first = Protection::Passphrase(passphrase("first"));
    store.set_protection_with(&first, &cheap()).unwrap();
    assert_eq!(folder.key_files(), Vec::<PathBuf>::new());
    let second = Protection::Passphrase(passphrase("second"));
    store.set_protection_with(&second, &cheap()).unwrap();
    drop(store);
    let first = Store::open(&folder.0, Some(&passphrase("first")));
    assert_eq!(first.unwrap_err(), StoreError::WrongPassphrase);
    let store = Store::open(&folder.0, Some(&passphrase("second"))).unwrap();
    store.set_protection(&Protection::KeyFile).unwrap();
    drop(store);
    let store = folder.open().unwrap();
    assert!(store.setting("colour").unwrap().is_some());
    assert_ne!(folder.key_files(), old);
}

#[test]
fn a_crash_during_a_change_of_the_protection_leaves_the_old_or_the_new_one() {
    let folder = Folder::new();
    let mut store = folder.create();
    store.commit(&setting("colour", b"green")).unwrap();
    let opens = |copy: &Folder| copy.open().unwrap().setting("colour").unwrap().is_some();
    // Before the first step, after the new key file, after the commit, and after the removal of the old file.
    assert!(opens(&folder.copy()));
    let wrapped = wrap(&folder.0, &store.master, &Protection::KeyFile, &cheap()).unwrap();
    let copy = folder.copy();
    assert_eq!(copy.key_files().len(), 2);
    assert!(opens(&copy));
    assert_eq!(copy.key_files().len(), 1, "the new file, which is not needed, is removed");
    store.database.replace_wrapped(&wrapped).unwrap();
    let copy = folder.copy();
    assert!(opens(&copy));
    assert_eq!(copy.key_files().len(), 1, "the old file is removed");
    KeyFile::remove_others(&folder.0, wrapped.key_file()).unwrap();
    assert!(opens(&folder.copy()));
}

#[test]
fn an_interrupted_creation_can_be_repeated() {
    let folder = Folder::new();
    private::create_directory(&folder.0).unwrap();
    KeyFile::create(&folder.0, &mut OsRng).unwrap();
    drop(rusqlite::Connection::open(database_file(&folder.0)).unwrap());
    assert_eq!(Store::protection(&folder.0), Ok(None));
    assert_eq!(folder.open().unwrap_err(), StoreError::NotFound);
    drop(folder.create());
    assert_eq!(folder.key_files().len(), 1);
    folder.open().unwrap();
}

#[test]
fn a_wrapped_key_that_was_changed_is_refused() {
    let master = MasterKey::random(&mut OsRng);
    let wrapped =
        WrappedKey::with_passphrase(&master, &passphrase("x"), Cost::LEAST, &mut OsRng).unwrap();
    let bytes = wrapped.encode();
    assert_eq!(WrappedKey::decode(&bytes).as_ref(), Ok(&wrapped));
    for index in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[index] ^= 1;
        let opened = WrappedKey::decode(&changed)
            .and_then(|wrapped| wrapped.open_with_passphrase(&passphrase("x")));
        assert!(opened.is_err(), "byte {index}");
        assert!(WrappedKey::decode(&bytes[..index]).is_err());
    }
}

#[test]
fn a_changed_file_cannot_make_a_passphrase_use_all_memory() {
    let master = MasterKey::random(&mut OsRng);
    let wrapped =
        WrappedKey::with_passphrase(&master, &passphrase("x"), Cost::LEAST, &mut OsRng).unwrap();
    for start in [18, 22, 26] {
        let mut bytes = wrapped.encode();
        bytes[start..start + 4].fill(0xff);
        assert_eq!(WrappedKey::decode(&bytes), Err(StoreError::Damaged));
        bytes[start..start + 4].fill(0);
        assert_eq!(WrappedKey::decode(&bytes), Err(StoreError::Damaged));
    }
}

#[test]
fn keys_of_others_in_the_directory_are_not_removed() {
    let folder = Folder::new();
    drop(folder.create());
    let others = ["tls.key", "0123456789abcdef0.key", "fedcba9876543210.key", "server.pem"];
    for name in others {
        std::fs::write(folder.0.join(name), "-----BEGIN PRIVATE KEY-----").unwrap();
    }
    let old = folder.0.join("0123456789abcdef.key");
    std::fs::write(&old, "00".repeat(32)).unwrap();
    let store = folder.open().unwrap();
    assert!(!old.exists());
    store.set_protection(&Protection::KeyFile).unwrap();
    for name in others {
        assert!(folder.0.join(name).exists(), "{name}");
    }
    assert_eq!(folder.key_files().len(), 4);
}
