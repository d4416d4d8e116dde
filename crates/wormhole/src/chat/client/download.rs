//! A download of an attached file, and how far it is.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::sync::watch;

use crate::chat::attachment::{self, Destination};
use crate::chat::error::AttachmentError;
use crate::chat::message::Attachment;
use crate::chat::service::Service;
use crate::transfer::OnExists;

/// A download, which runs while it is awaited. Its result is the path of the file. If it is dropped, or
/// the program is killed, there is no file, but the next download of the same file continues where this one was.
///
/// # Errors
/// There is no file. [`AttachmentError::may_retry`] says whether another attempt may succeed.
///
/// ```no_run
/// # use std::path::Path;
/// # use wormhole::{chat::{AttachmentError, Client, ReceivedMessage}, transfer::OnExists};
/// # async fn example(client: &Client, message: &ReceivedMessage) -> Result<(), AttachmentError> {
/// for file in &message.files {
///     let target = Path::new("received").join(file.file_name());
///     let download = client.download(file, &target, OnExists::KeepBoth);
///     let mut progress = download.progress();
///     let show = async {
///         while let Some(bytes) = progress.next().await {
///             println!("{bytes} bytes");
///         }
///     };
///     let (saved, ()) = tokio::join!(download, show);
///     println!("saved: {}", saved?.display());
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "a download does nothing unless it is awaited"]
pub struct Download {
    work: Pin<Box<dyn Future<Output = Result<PathBuf, AttachmentError>> + Send>>,
    progress: DownloadProgress,
}

impl Download {
    pub(super) fn new(
        service: Arc<Service>,
        file: &Attachment,
        target: &Path,
        on_exists: OnExists,
        partials: PathBuf,
    ) -> Self {
        let (sender, received) = watch::channel(0);
        let progress = DownloadProgress { received, total: file.size() };
        let (pointer, target) = (file.0.clone(), target.to_owned());
        let work = Box::pin(async move {
            let to = Destination { target: &target, on_exists, partials: &partials };
            attachment::download(&service, &pointer, &to, &sender).await
        });
        Self { work, progress }
    }

    /// How far the download is. It can be watched while the download is awaited.
    pub fn progress(&self) -> DownloadProgress {
        self.progress.clone()
    }
}

impl Future for Download {
    type Output = Result<PathBuf, AttachmentError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        self.work.as_mut().poll(cx)
    }
}

impl fmt::Debug for Download {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Download").field("progress", &self.progress).finish_non_exhaustive()
    }
}

/// How far a download is.
#[derive(Clone, Debug)]
pub struct DownloadProgress {
    /// Bytes of the encrypted file.
    received: watch::Receiver<u64>,
    total: Option<u64>,
}

impl DownloadProgress {
    /// Bytes that have arrived, at most the [total](Self::total).
    pub fn received(&self) -> u64 {
        self.shown(*self.received.borrow())
    }

    /// The size of the file in bytes, according to its sender.
    pub const fn total(&self) -> Option<u64> {
        self.total
    }

    /// Waits until more bytes have arrived, and returns the number of all. `None` when the download has ended.
    pub async fn next(&mut self) -> Option<u64> {
        self.received.changed().await.ok()?;
        let received = *self.received.borrow_and_update();
        Some(self.shown(received))
    }

    /// The encrypted file is longer than the file.
    fn shown(&self, received: u64) -> u64 {
        self.total.map_or(received, |total| received.min(total))
    }
}
