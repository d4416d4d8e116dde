//! Attachments in a directory of their own.

use std::fs::{self, File};

use axum::body::Bytes;
use futures_util::FutureExt as _;

use super::*;

/// A folder that is removed after the test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let unique = format!("wormhole-blobs-{}-{name}", std::process::id());
        let path = std::env::temp_dir().join(unique);
        let _left = fs::remove_dir_all(&path);
        Self(path)
    }

    fn open(&self, max_bytes: u64) -> Arc<Blobs> {
        Arc::new(Blobs::open(&self.0, max_bytes).unwrap())
    }

    fn incoming(&self) -> usize {
        fs::read_dir(self.0.join(INCOMING)).unwrap().count()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _left = fs::remove_dir_all(&self.0);
    }
}

async fn store(blobs: &Arc<Blobs>, id: u64, pieces: &[&'static [u8]]) -> Result<(), UploadError> {
    let mut upload = blobs.begin(BlobName::allocated(id)).await?;
    for piece in pieces {
        upload = upload.write(vec![Bytes::from_static(piece)]).await?;
    }
    upload.finish().await.map(drop)
}

async fn content(blobs: &Arc<Blobs>, id: u64) -> Option<Vec<u8>> {
    let (mut reader, length) = blobs.read(BlobName::allocated(id)).await.ok()?;
    let mut content = Vec::new();
    while let Some((piece, rest)) = reader.next().await.unwrap() {
        content.extend_from_slice(&piece);
        reader = rest;
    }
    assert_eq!(u64::try_from(content.len()).unwrap(), length);
    Some(content)
}

#[tokio::test]
async fn an_upload_is_stored_once_and_only_if_it_is_complete() {
    let folder = Folder::new("once");
    let blobs = folder.open(100);
    store(&blobs, 7, &[b"one ", b"blob"]).await.unwrap();
    assert_eq!(content(&blobs, 7).await.unwrap(), b"one blob");
    let again = blobs.begin(BlobName::allocated(7)).await;
    assert!(matches!(again, Err(UploadError::Exists)), "before anything is written");
    let half = blobs.begin(BlobName::allocated(8)).await.unwrap();
    let half = half.write(vec![Bytes::from_static(b"half")]).await.unwrap();
    let second = blobs.begin(BlobName::allocated(8)).await;
    assert!(matches!(second, Err(UploadError::Arriving)));
    drop(half);
    assert_eq!(content(&blobs, 8).await, None);
    store(&blobs, 8, &[b"whole"]).await.unwrap();
    while folder.incoming() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn uploads_in_progress_count() {
    let folder = Folder::new("progress");
    let blobs = folder.open(10);
    let begin = async |id| blobs.begin(BlobName::allocated(id)).await.unwrap();
    let six = || vec![Bytes::from_static(b"123456")];
    let first = begin(1).await.write(six()).await.unwrap();
    assert!(matches!(begin(2).await.write(six()).await, Err(UploadError::Full)));
    drop(first);
    let first = begin(1).await.write(six()).await.unwrap();
    // Counting the directory meanwhile changes nothing.
    blobs.remove_older(SystemTime::now(), Duration::from_secs(100)).unwrap();
    assert!(matches!(begin(2).await.write(six()).await, Err(UploadError::Full)));
    first.finish().await.unwrap();
    assert!(matches!(begin(2).await.write(six()).await, Err(UploadError::Full)));
}

#[tokio::test]
async fn the_storage_has_a_limit_that_a_restart_knows_and_expiry_frees() {
    let folder = Folder::new("limit");
    store(&folder.open(10), 1, &[b"12345678"]).await.unwrap();
    let blobs = folder.open(10);
    assert!(matches!(store(&blobs, 2, &[b"123"]).await, Err(UploadError::Full)));
    let later = SystemTime::now() + Duration::from_secs(100);
    blobs.remove_older(later, Duration::from_secs(99)).unwrap();
    assert_eq!(content(&blobs, 1).await, None);
    store(&blobs, 2, &[b"123"]).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn expired_attachments_are_removed_at_the_start() {
    let folder = Folder::new("start");
    let blobs = folder.open(10);
    store(&blobs, 1, &[b"1"]).await.unwrap();
    let old = SystemTime::now() - Duration::from_secs(100);
    let file = File::options().write(true).open(blobs.path(&BlobName::allocated(1))).unwrap();
    file.set_modified(old).unwrap();
    let expiring = tokio::spawn(expire(Arc::clone(&blobs), Duration::from_secs(99)));
    while blobs.exists(BlobName::allocated(1)).await {
        tokio::task::yield_now().await;
    }
    assert!(!expiring.is_finished());
    expiring.abort();
}

#[tokio::test]
async fn a_large_upload_is_stored_whole() {
    let folder = Folder::new("large");
    let blobs = folder.open(1 << 30);
    let pieces: Vec<Vec<u8>> = (0..200_u8).map(|number| vec![number; 100_000]).collect();
    let mut upload = blobs.begin(BlobName::allocated(1)).await.unwrap();
    for piece in &pieces {
        upload = upload.write(vec![piece.clone().into()]).await.unwrap();
    }
    upload.finish().await.unwrap();
    assert!(content(&blobs, 1).await.unwrap() == pieces.concat(), "another content");
}

#[tokio::test]
async fn a_piece_does_not_change_while_the_next_one_is_read() {
    let folder = Folder::new("pieces");
    let blobs = folder.open(1 << 20);
    let stored = [vec![1; PIECE], vec![2; PIECE], vec![3; 10]].concat();
    let upload = blobs.begin(BlobName::allocated(1)).await.unwrap();
    upload.write(vec![stored.clone().into()]).await.unwrap().finish().await.unwrap();
    let (mut reader, _) = blobs.read(BlobName::allocated(1)).await.unwrap();
    let mut pieces = Vec::new();
    while let Some((piece, rest)) = reader.next().await.unwrap() {
        pieces.push(piece);
        reader = rest;
    }
    assert!(pieces.concat() == stored, "another content");
}

#[tokio::test]
async fn a_part_is_read() {
    let folder = Folder::new("part");
    let blobs = folder.open(100);
    store(&blobs, 1, &[b"0123456789"]).await.unwrap();
    let (reader, _) = blobs.read(BlobName::allocated(1)).await.unwrap();
    let (piece, rest) = reader.part(3, 4).next().await.unwrap().unwrap();
    assert_eq!(&piece[..], b"3456");
    assert!(rest.next().await.unwrap().is_none());
}

#[tokio::test]
async fn an_upload_that_nobody_continues_is_removed_after_a_day() {
    let folder = Folder::new("partial");
    let blobs = folder.open(100);
    let name = PartialName::new("abcd", 7).unwrap();
    blobs.create_partial(name.clone(), 10).await.unwrap();
    let upload = blobs.resume(name.clone(), 0).await.unwrap();
    let upload = upload.write(vec![Bytes::from_static(b"half")]).await.unwrap();
    assert_eq!(upload.finish().await.unwrap(), 4);
    let day = Duration::from_secs(24 * 60 * 60);
    blobs.remove_older(SystemTime::now() + day / 2, Duration::MAX).unwrap();
    assert_eq!(blobs.progress(name.clone()).await.unwrap(), Progress { length: 10, offset: 4 });
    blobs.remove_older(SystemTime::now() + day * 2, Duration::MAX).unwrap();
    assert!(matches!(blobs.progress(name).await, Err(UploadError::NotFound)));
    assert_eq!(fs::read_dir(folder.0.join(PARTIAL)).unwrap().count(), 0);
}

#[tokio::test]
async fn an_attachment_stays_whole_if_a_crash_has_left_the_name_of_its_upload() {
    let folder = Folder::new("linked");
    let blobs = folder.open(100);
    let name = PartialName::new("abcd", 17).unwrap();
    let (data, stored) = (folder.0.join(PARTIAL).join("abcd/17"), blobs.path(&name.blob()));
    for is_resumed in [true, false] {
        blobs.create_partial(name.clone(), 10).await.unwrap();
        let upload = blobs.resume(name.clone(), 0).await.unwrap();
        upload.write(vec![Bytes::from_static(b"half")]).await.unwrap().finish().await.unwrap();
        fs::write(&data, b"half + rest").unwrap();
        fs::hard_link(&data, &stored).unwrap();
        let refused = if is_resumed {
            blobs.resume(name.clone(), 4).await.map(drop)
        } else {
            blobs.remove_partial(name.clone()).await
        };
        assert!(matches!(refused, Err(UploadError::Exists)));
        assert_eq!(fs::read(&stored).unwrap(), b"half + rest");
        assert!(!data.exists());
        fs::remove_file(&stored).unwrap();
    }
}

#[tokio::test]
async fn bytes_whose_writing_was_interrupted_before_it_began_do_not_count() {
    let folder = Folder::new("unwritten");
    let blobs = folder.open(10);
    let name = PartialName::new("abcd", 7).unwrap();
    blobs.create_partial(name.clone(), 10).await.unwrap();
    let upload = blobs.resume(name.clone(), 0).await.unwrap();
    // All threads are busy.
    let permits = blobs.threads.acquire_many(u32::try_from(MAX_THREADS).unwrap()).await.unwrap();
    let writing = upload.write(vec![Bytes::from_static(b"half")]);
    assert!(writing.now_or_never().is_none());
    drop(permits);
    while blobs.progress(name.clone()).await.is_err() {
        tokio::task::yield_now().await;
    }
    let state = fs::read_to_string(folder.0.join(PARTIAL).join("abcd/7.state")).unwrap();
    assert_eq!(state, "10 0\n");
    store(&blobs, 1, &[b"0123456789"]).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_read_does_not_keep_expired_attachments() {
    let folder = Folder::new("stray");
    let blobs = folder.open(100);
    store(&blobs, 1, &[b"1"]).await.unwrap();
    fs::write(folder.0.join(PARTIAL).join("stray"), b"").unwrap();
    let later = SystemTime::now() + Duration::from_secs(100);
    blobs.remove_older(later, Duration::from_secs(1)).unwrap();
    assert!(!blobs.exists(BlobName::allocated(1)).await);
    let _opened_again = folder.open(100);
}

#[tokio::test]
async fn bytes_that_are_perhaps_not_on_the_disk_do_not_count() {
    let folder = Folder::new("torn");
    let blobs = folder.open(100);
    let name = PartialName::new("abcd", 7).unwrap();
    blobs.create_partial(name.clone(), 10).await.unwrap();
    let upload = blobs.resume(name.clone(), 0).await.unwrap();
    let upload = upload.write(vec![Bytes::from_static(b"half")]).await.unwrap();
    upload.finish().await.unwrap();
    // A power failure can leave garbage after what was flushed, or less than was stored.
    let data = folder.0.join(PARTIAL).join("abcd/7");
    fs::write(&data, b"half\0\0\0").unwrap();
    assert_eq!(blobs.progress(name.clone()).await.unwrap().offset, 4);
    let upload = blobs.resume(name.clone(), 4).await.unwrap();
    drop(upload.write(vec![Bytes::from_static(b"xy")]).await.unwrap());
    fs::write(&data, b"ha").unwrap();
    while blobs.progress(name.clone()).await.is_err() {
        tokio::task::yield_now().await;
    }
    assert_eq!(blobs.progress(name.clone()).await.unwrap().offset, 2);
    let upload = blobs.resume(name.clone(), 2).await.unwrap();
    let upload = upload.write(vec![Bytes::from_static(b"lf enough")]).await.unwrap();
    assert_eq!(upload.finish().await.unwrap(), 11);
}
