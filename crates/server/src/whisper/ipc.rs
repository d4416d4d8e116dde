//! The Unix socket of the JSON-RPC server: only its owner can open its file, and the file is removed when the server
//! stops.

use std::fs::{self, DirBuilder, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rand_core::{OsRng, RngCore};
use tokio::net::UnixListener;
use wormhole_node::rpc::RpcServer;

use crate::ServerError;

/// A listening socket. Its file is removed when it is dropped.
#[derive(Debug)]
pub(super) struct Ipc {
    listener: Option<UnixListener>,
    path: PathBuf,
}

impl Ipc {
    /// Starts listening. Replaces a socket on which no process listens any more.
    pub(super) fn listen(path: &Path) -> Result<Self, ServerError> {
        let listen = || -> io::Result<Self> {
            check(path)?;
            Ok(Self { listener: Some(bind(path)?), path: path.into() })
        };
        let ipc = listen();
        ipc.map_err(|error| ServerError::Whisper(format!("{}: {error}", path.display())))
    }

    /// Serves until `stop` completes.
    pub(super) async fn serve(
        mut self,
        service: &RpcServer,
        stop: impl Future<Output = ()> + Send,
    ) {
        if let Some(listener) = self.listener.take() {
            service.serve_unix(listener, stop).await;
        }
    }
}

impl Drop for Ipc {
    fn drop(&mut self) {
        // If this fails, the next server replaces the file.
        let _left_behind = fs::remove_file(&self.path);
    }
}

/// Checks that the path can be used.
///
/// # Errors
/// Something exists at the path, and it is not a socket on which no process listens any more. It may be a file of the
/// user, or the socket of a running server.
fn check(path: &Path) -> io::Result<()> {
    let file = match path.symlink_metadata() {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let refused = |error: io::Error| error.kind() == ErrorKind::ConnectionRefused;
    if file.file_type().is_socket() && UnixStream::connect(path).is_err_and(refused) {
        return Ok(());
    }
    Err(ErrorKind::AddrInUse.into())
}

/// Binds the socket in a private temporary folder, sets its permissions, and then moves it to its path. Otherwise others
/// could open the socket between its creation and the change of its permissions.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    let folder =
        parent.unwrap_or_else(|| Path::new(".")).join(format!(".{:08x}", OsRng.next_u32()));
    DirBuilder::new().mode(0o700).create(&folder)?;
    let inside = folder.join("s");
    let bind = || {
        let listener = UnixListener::bind(&inside)?;
        fs::set_permissions(&inside, Permissions::from_mode(0o600))?;
        fs::rename(&inside, path)?;
        Ok(listener)
    };
    let bound = bind();
    // The folder is empty, unless renaming failed.
    let _left_behind = fs::remove_dir_all(&folder);
    bound
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    /// An empty temporary folder, removed when dropped.
    struct Folder(PathBuf);

    impl Folder {
        fn new(name: &str) -> Self {
            let name = format!("wormhole-{name}-{}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[tokio::test]
    async fn only_the_owner_can_open_the_socket_from_its_first_moment() {
        let folder = Folder::new("ipc-moment");
        let path = folder.0.join("node.ipc");
        for _ in 0..200 {
            let watched = path.clone();
            let watcher = thread::spawn(move || {
                loop {
                    if let Ok(file) = watched.symlink_metadata() {
                        return file.permissions().mode() & 0o777;
                    }
                }
            });
            let ipc = Ipc::listen(&path).unwrap();
            assert_eq!(watcher.join().unwrap(), 0o600);
            drop(ipc);
        }
        assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn only_a_socket_without_listener_is_replaced() {
        let folder = Folder::new("ipc-dead");
        let path = folder.0.join("node.ipc");
        drop(UnixListener::bind(&path).unwrap());
        let ipc = Ipc::listen(&path).unwrap();
        assert!(Ipc::listen(&path).is_err());
        assert!(UnixStream::connect(&path).is_ok());
        drop(ipc);
        fs::write(&path, "precious").unwrap();
        assert!(Ipc::listen(&path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
