//! Stores that a real keyring protects: GNOME Keyring, on a bus of its own.

use wormhole_testbed::{DesktopKeyring, SessionBus, installed_or_skip};

use super::super::protection::remove_other_keys;
use super::*;

/// A keyring, and how stores of this test use it.
fn keyring() -> Option<(DesktopKeyring, ProtectionSettings)> {
    let desktop = installed_or_skip(DesktopKeyring::start())?;
    let settings = ProtectionSettings { keyring: Keyring::at(&desktop.address()), ..cheap() };
    Some((desktop, settings))
}

fn create(folder: &Folder, settings: &ProtectionSettings) -> Store {
    let mut store = Store::create_with(&folder.0, &Protection::Keyring, settings).unwrap();
    store.commit(&setting("colour", b"green")).unwrap();
    store
}

fn open(folder: &Folder, settings: &ProtectionSettings) -> Result<Store, StoreError> {
    Store::open_from(&folder.0, Some(&"passphrase".to_owned().into()), &settings.keyring)
}

/// Whether the store can be opened, and has its rows.
fn opens(folder: &Folder, settings: &ProtectionSettings) -> bool {
    open(folder, settings).unwrap().setting("colour").unwrap().is_some()
}

/// The names of the items that may exist.
fn items(folder: &Folder) -> Vec<String> {
    let files = folder.files().into_iter();
    let names = files.filter(|file| file.extension().is_some_and(|it| it == "keyring"));
    names.map(|file| file.file_stem().unwrap().to_str().unwrap().to_owned()).collect()
}

fn id(name: &str) -> [u8; 8] {
    data_encoding::HEXLOWER.decode(name.as_bytes()).unwrap().try_into().unwrap()
}

#[test]
fn a_key_in_the_keyring_opens_the_store_and_survives_a_restart_of_the_keyring() {
    let Some((mut desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    drop(create(&folder, &settings));
    assert_eq!(Store::protection(&folder.0), Ok(Some(ProtectionKind::Keyring)));
    assert_eq!(folder.key_files(), Vec::<PathBuf>::new());
    assert_eq!(items(&folder).len(), 1);
    assert!(opens(&folder, &settings));
    desktop.stop();
    desktop.start_again(true);
    assert!(opens(&folder, &settings));
    // The keyring encrypts its file.
    assert!(!desktop.contains(&items(&folder)[0]));
}

#[test]
fn a_locked_keyring_opens_nothing_and_changes_nothing() {
    let Some((mut desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    drop(create(&folder, &settings));
    let before = std::fs::read(database_file(&folder.0)).unwrap();
    desktop.stop();
    desktop.start_again(false);
    // The question for the password gets no answer: this bus has no program that shows it.
    assert_eq!(open(&folder, &settings).unwrap_err(), StoreError::KeyringLocked);
    let other = Folder::new();
    let created = Store::create_with(&other.0, &Protection::Keyring, &settings);
    assert_eq!(created.unwrap_err(), StoreError::KeyringLocked);
    assert_eq!(Store::protection(&other.0), Ok(None));
    assert_eq!(items(&other), Vec::<String>::new());
    assert_eq!(std::fs::read(database_file(&folder.0)).unwrap(), before);
    desktop.stop();
    desktop.start_again(true);
    assert!(opens(&folder, &settings));
}

#[test]
fn without_a_keyring_the_error_says_so() {
    let Some((mut desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    drop(create(&folder, &settings));
    desktop.stop();
    assert_eq!(open(&folder, &settings).unwrap_err(), StoreError::KeyringUnavailable);
    desktop.start_again(true);
    assert!(opens(&folder, &settings));
    drop(desktop);
    assert_eq!(open(&folder, &settings).unwrap_err(), StoreError::KeyringUnavailable);
    let wrong = Keyring::at("not an address");
    let wrong = Store::open_from(&folder.0, None, &wrong);
    assert_eq!(wrong.unwrap_err(), StoreError::KeyringUnavailable);
}

#[test]
fn a_bus_without_a_keyring_is_no_keyring() {
    let Some(bus) = installed_or_skip(SessionBus::start()) else { return };
    let settings = ProtectionSettings { keyring: Keyring::at(&bus.address()), ..cheap() };
    let folder = Folder::new();
    let created = Store::create_with(&folder.0, &Protection::Keyring, &settings);
    assert_eq!(created.unwrap_err(), StoreError::KeyringUnavailable);
    assert_eq!(items(&folder), Vec::<String>::new());
}

#[test]
fn without_its_key_in_the_keyring_a_store_cannot_be_opened() {
    let Some((_desktop, settings)) = keyring() else { return };
    let (folder, other) = (Folder::new(), Folder::new());
    drop(create(&folder, &settings));
    drop(create(&other, &settings));
    let [theirs] = items(&other).try_into().unwrap();
    let item = settings.keyring.read(id(&theirs)).unwrap();
    let wrapped = database::read_wrapped(&database_file(&folder.0)).unwrap().unwrap();
    assert_eq!(wrapped.open_with_keyring(&item).unwrap_err(), StoreError::KeyringKeyMissing);
    // Somebody removes the key.
    settings.keyring.remove_others(&folder.0, None).unwrap();
    assert_eq!(open(&folder, &settings).unwrap_err(), StoreError::KeyringKeyMissing);
    assert!(opens(&other, &settings), "the keys of other stores stay");
}

#[test]
fn the_protection_changes_between_all_three_kinds_and_leaves_no_key_behind() {
    let Some((_desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    drop(create(&folder, &settings));
    let mut seen = items(&folder);
    let kinds = [
        Protection::KeyFile,
        Protection::Keyring,
        Protection::Passphrase("passphrase".to_owned().into()),
        Protection::Keyring,
        Protection::Keyring,
        Protection::Passphrase("passphrase".to_owned().into()),
        Protection::KeyFile,
    ];
    for protection in kinds {
        let store = open(&folder, &settings).unwrap();
        store.set_protection_with(&protection, &settings).unwrap();
        drop(store);
        let has_key_file = usize::from(matches!(protection, Protection::KeyFile));
        let has_item = usize::from(matches!(protection, Protection::Keyring));
        assert_eq!((folder.key_files().len(), items(&folder).len()), (has_key_file, has_item));
        assert!(opens(&folder, &settings));
        seen.extend(items(&folder));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 4, "each key is a new one");
    for name in seen {
        let gone = settings.keyring.read(id(&name));
        assert_eq!(gone.unwrap_err(), StoreError::KeyringKeyMissing);
    }
}

#[test]
fn a_crash_during_a_change_to_or_from_the_keyring_leaves_the_old_or_the_new_protection() {
    let Some((_desktop, settings)) = keyring() else { return };
    let kinds = || {
        let passphrase = Protection::Passphrase("passphrase".to_owned().into());
        [Protection::KeyFile, passphrase, Protection::Keyring]
    };
    for from in kinds() {
        for to in kinds() {
            for steps in 0..4 {
                let folder = Folder::new();
                let mut store = Store::create_with(&folder.0, &from, &settings).unwrap();
                store.commit(&setting("colour", b"green")).unwrap();
                crash_after(steps, &store, &to, &settings);
                drop(store);
                assert!(opens(&folder, &settings), "{from:?} to {to:?}, {steps} steps");
                let kind = Store::protection(&folder.0).unwrap().unwrap();
                let is_keyring = usize::from(kind == ProtectionKind::Keyring);
                assert_eq!(items(&folder).len(), is_keyring, "{from:?} to {to:?}, {steps} steps");
            }
        }
    }
}

/// The first steps of a change: the new key, the commit, the removal of the old key.
fn crash_after(steps: usize, store: &Store, to: &Protection, settings: &ProtectionSettings) {
    if steps == 0 {
        return;
    }
    let wrapped = wrap(&store.directory, &store.master, to, settings).unwrap();
    if steps > 1 {
        store.database.replace_wrapped(&wrapped).unwrap();
    }
    if steps > 2 {
        remove_other_keys(&store.directory, &wrapped, &settings.keyring).unwrap();
    }
}

#[test]
fn a_crash_around_a_new_item_leaves_nothing_in_the_keyring() {
    let Some((_desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    drop(create(&folder, &settings));
    // After the file with the name of the item, before the item.
    private::write_new(&folder.0.join("0123456789abcdef.keyring"), &[]).unwrap();
    // After the item, before the commit.
    let orphan = settings.keyring.create(&folder.0, &mut OsRng).unwrap();
    let wrapped = WrappedKey::with_keyring(&MasterKey::random(&mut OsRng), &orphan, &mut OsRng);
    let orphan = wrapped.unwrap().keyring_key().unwrap();
    assert_eq!(items(&folder).len(), 3);
    assert!(opens(&folder, &settings));
    assert_eq!(items(&folder).len(), 1);
    assert_eq!(settings.keyring.read(orphan).unwrap_err(), StoreError::KeyringKeyMissing);
}

#[test]
fn an_item_that_cannot_be_removed_now_is_removed_another_time() {
    let Some((mut desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    let store = create(&folder, &settings);
    let [old] = items(&folder).try_into().unwrap();
    desktop.stop();
    store.set_protection_with(&Protection::KeyFile, &settings).unwrap();
    drop(store);
    assert_eq!(items(&folder), std::slice::from_ref(&old));
    desktop.start_again(false);
    assert!(opens(&folder, &settings), "a locked keyring is not needed any more");
    assert_eq!(items(&folder), std::slice::from_ref(&old));
    desktop.stop();
    desktop.start_again(true);
    assert!(opens(&folder, &settings));
    assert_eq!(items(&folder), Vec::<String>::new());
    assert_eq!(settings.keyring.read(id(&old)).unwrap_err(), StoreError::KeyringKeyMissing);
}

#[test]
fn files_of_others_are_not_taken_for_names_of_items() {
    let Some((_desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    drop(create(&folder, &settings));
    for (name, content) in [("login.keyring", ""), ("0123456789abcdef.keyring", "content")] {
        std::fs::write(folder.0.join(name), content).unwrap();
    }
    assert!(opens(&folder, &settings));
    assert_eq!(items(&folder).len(), 3);
}

#[tokio::test]
async fn the_keyring_can_be_used_from_within_a_runtime() {
    let Some((_desktop, settings)) = keyring() else { return };
    let folder = Folder::new();
    drop(create(&folder, &settings));
    assert!(opens(&folder, &settings));
}
