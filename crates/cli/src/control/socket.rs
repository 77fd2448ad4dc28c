//! Where the control socket is, and that only its owner can use it.
//!
//! It is `control.sock` in the node's directory. Where that path is too long for a socket address,
//! it is in a private directory of its own under the temporary directory, which the file
//! `control.path` names.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use tokio::net::{UnixListener, UnixStream};

/// The socket's name in the node's directory.
const SOCKET: &str = "control.sock";
/// The file that names the socket where it is elsewhere.
const POINTER: &str = "control.path";
/// The longest path that fits a socket address, in bytes, without the zero at its end.
const PATH_BYTES_MAX: usize = 107;
/// The user id that may do everything anyway.
const ROOT: u32 = 0;

/// A bound control socket; removed when dropped.
#[derive(Debug)]
pub(crate) struct ControlSocket {
    /// The listener.
    pub(crate) listener: UnixListener,
    /// Whom connections are taken from: the owner of this process.
    owner: u32,
    path: PathBuf,
    pointer: Option<(PathBuf, TempDir)>,
}

impl ControlSocket {
    /// Binds the socket of the node in `dir`.
    ///
    /// The caller holds the node's lock, so whatever lies there is left over from a node that was
    /// killed, and is replaced.
    pub(crate) fn bind(dir: &Path) -> io::Result<Self> {
        let dir = std::path::absolute(dir)?;
        let pointer_path = dir.join(POINTER);
        remove_left_over(&dir)?;
        let mut path = dir.join(SOCKET);
        let mut pointer = None;
        if path.as_os_str().len() > PATH_BYTES_MAX {
            let private = private_directory()?;
            path = private.path().join(SOCKET);
            fs::write(&pointer_path, path.as_os_str().as_bytes())?;
            pointer = Some((pointer_path, private));
        }
        let listener = UnixListener::bind(&path)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        let owner = fs::metadata(&path)?.uid();
        Ok(Self { listener, owner, path, pointer })
    }

    /// Takes the next connection of the owner (or of root); others are dropped, which matters for
    /// the moment before the socket's mode is set.
    pub(crate) async fn accept(&self) -> io::Result<UnixStream> {
        loop {
            let (stream, _) = self.listener.accept().await?;
            let user = stream.peer_cred()?.uid();
            if user == self.owner || user == ROOT {
                return Ok(stream);
            }
            tracing::warn!(user, "refused a control connection of another user");
        }
    }
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        if let Some((pointer, _private)) = &self.pointer {
            let _ = fs::remove_file(pointer);
        }
    }
}

/// Connects to the node in `dir`, or gives `None` where none runs.
pub(crate) async fn connect(dir: &Path) -> io::Result<Option<UnixStream>> {
    let dir = std::path::absolute(dir)?;
    let owner = match fs::metadata(&dir) {
        Ok(metadata) => metadata.uid(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let path = match fs::read(dir.join(POINTER)) {
        Ok(bytes) => PathBuf::from(std::ffi::OsStr::from_bytes(&bytes)),
        Err(_) => dir.join(SOCKET),
    };
    if path.as_os_str().len() > PATH_BYTES_MAX {
        return Ok(None);
    }
    let stream = match UnixStream::connect(&path).await {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::NotFound
                | io::ErrorKind::ConnectionRefused
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe
                | io::ErrorKind::NotADirectory => Ok(None),
                _ => Err(error),
            };
        }
    };
    // A path under the temporary directory may have been taken over by someone else.
    let server = stream.peer_cred()?.uid();
    if server != owner && server != ROOT {
        let why = format!("{} belongs to another user", path.display());
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    Ok(Some(stream))
}

/// A directory that only this user can enter, with a path short enough.
fn private_directory() -> io::Result<TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix("doltswarm-").permissions(fs::Permissions::from_mode(0o700));
    let usual = builder.tempdir()?;
    if usual.path().as_os_str().len() + 1 + SOCKET.len() <= PATH_BYTES_MAX {
        return Ok(usual);
    }
    builder.tempdir_in("/tmp")
}

fn remove_left_over(dir: &Path) -> io::Result<()> {
    let pointer = dir.join(POINTER);
    if let Ok(bytes) = fs::read(&pointer) {
        let socket = PathBuf::from(std::ffi::OsStr::from_bytes(&bytes));
        // Only the names made above: the file may have been tampered with.
        let private = socket.parent().filter(|parent| {
            let name = parent.file_name().map(|name| name.to_string_lossy().into_owned());
            name.is_some_and(|name| name.starts_with("doltswarm-")) && socket.ends_with(SOCKET)
        });
        if let Some(private) = private {
            let _ = fs::remove_file(&socket);
            let _ = fs::remove_dir(private);
        }
        fs::remove_file(&pointer)?;
    }
    match fs::remove_file(dir.join(SOCKET)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn a_socket_is_private_found_and_removed() {
        let dir = tempfile::tempdir().unwrap();
        assert!(connect(dir.path()).await.unwrap().is_none());
        let socket = ControlSocket::bind(dir.path()).unwrap();
        assert_eq!(mode(&dir.path().join(SOCKET)), 0o600);
        assert!(connect(dir.path()).await.unwrap().is_some());
        drop(socket);
        assert!(connect(dir.path()).await.unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[tokio::test]
    async fn a_left_over_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(SOCKET)).unwrap());
        assert!(connect(dir.path()).await.unwrap().is_none());
        let _socket = ControlSocket::bind(dir.path()).unwrap();
        assert!(connect(dir.path()).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn a_long_path_is_led_to_a_short_one() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("d".repeat(120));
        fs::create_dir(&deep).unwrap();
        let socket = ControlSocket::bind(&deep).unwrap();
        let real = socket.path.clone();
        assert_eq!(mode(real.parent().unwrap()), 0o700);
        assert!(connect(&deep).await.unwrap().is_some());
        // What a killed node leaves is cleaned up by the next one.
        std::mem::forget(socket);
        let socket = ControlSocket::bind(&deep).unwrap();
        assert!(!real.exists());
        assert!(connect(&deep).await.unwrap().is_some());
        drop(socket);
        assert_eq!(fs::read_dir(&deep).unwrap().count(), 0);
    }
}
