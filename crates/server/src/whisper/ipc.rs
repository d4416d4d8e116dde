//! The Unix socket: a file that only its owner may open, and that is gone afterwards.

use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;
use wormhole::whisper::rpc::Service;

use crate::ServerError;

/// A listening socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Ipc {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Ipc {
    /// Starts listening. A socket that nobody listens on any more is replaced.
    pub(super) fn listen(path: &Path) -> Result<Self, ServerError> {
        let bind = || -> io::Result<Self> {
            let is_socket = path.symlink_metadata().is_ok_and(|file| file.file_type().is_socket());
            if is_socket && UnixStream::connect(path).is_err() {
                std::fs::remove_file(path)?;
            }
            let listener = Some(UnixListener::bind(path)?);
            let ipc = Self { listener, path: path.into() };
            std::fs::set_permissions(path, Permissions::from_mode(0o600))?;
            Ok(ipc)
        };
        let ipc = bind();
        ipc.map_err(|error| ServerError::Whisper(format!("{}: {error}", path.display())))
    }

    /// Serves until told to stop.
    pub(super) async fn serve(mut self, service: &Service, stop: impl Future<Output = ()> + Send) {
        if let Some(listener) = self.listener.take() {
            service.serve_unix(listener, stop).await;
        }
    }
}

impl Drop for Ipc {
    fn drop(&mut self) {
        // Whoever comes next removes it otherwise.
        let _left_behind = std::fs::remove_file(&self.path);
    }
}
