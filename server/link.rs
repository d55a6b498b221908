//! The wire between doors and the detached worker of their workspace: a socket that carries rings.

use std::{
    collections::BTreeMap,
    convert::Infallible,
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{Mutex, broadcast::error::RecvError},
    task::JoinSet,
    time::Instant,
};

use crate::{
    bell::{Bell, Ring},
    config::{Config, create_folder},
};

/// How long a door waits for a worker that it started.
const START: Duration = Duration::from_secs(5);

/// Socket paths may be about this long; the kernel's bound is 104 bytes on macOS and 108 on Linux.
const SOCKET_PATH_LIMIT: usize = 100;

/// Where the detached worker of one database and workspace is found.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) socket: PathBuf,
    lock: PathBuf,
    pid: PathBuf,
    log: PathBuf,
}

/// A door's end of the wire; cheap to clone.
#[derive(Clone)]
pub struct Link {
    inner: Arc<Inner>,
}

struct Inner {
    place: Place,
    config: Config,
    bell: Bell,
    connected: AtomicBool,
    connecting: Mutex<()>,
}

impl Place {
    /// The place of a configuration. One worker serves one set of tool servers with one set of credentials: with
    /// others, another one is needed.
    pub(crate) fn of(
        config: &Config,
        tool_servers: &BTreeMap<String, String>,
        credentials: &str,
    ) -> Place {
        let folder = config.data_dir.to_string_lossy();
        let what = serde_json::json!([
            config.database,
            config.workspace,
            folder,
            tool_servers,
            credentials
        ]);
        let hash = windlass_engine::content_hash(&what);
        let name = &hash[..12];
        let file = |ending: &str| config.data_dir.join(format!("worker-{name}.{ending}"));
        let mut socket = file("sock");
        if SOCKET_PATH_LIMIT < socket.as_os_str().len() {
            socket = short_folder().join(format!("{name}.sock"));
        }
        Place { socket, lock: file("lock"), pid: file("pid"), log: file("log") }
    }
}

/// Where sockets go whose paths would be too long: the user's own folder for such things, or one in the temporary one.
fn short_folder() -> PathBuf {
    match std::env::var_os("XDG_RUNTIME_DIR") {
        Some(folder) if !folder.is_empty() => Path::new(&folder).join("windlass"),
        _ => {
            let user = rustix::process::getuid().as_raw();
            std::env::temp_dir().join(format!("windlass-{user}"))
        }
    }
}

/// Refuses a socket in a folder where others could have put it.
fn trusted(socket: &Path) -> io::Result<()> {
    let Some(folder) = socket.parent() else { return Ok(()) };
    let owner = fs::metadata(folder)?.uid();
    if owner == rustix::process::getuid().as_raw() {
        return Ok(());
    }
    let message = format!("{} belongs to another user", folder.display());
    Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
}

impl Link {
    pub(crate) fn new(place: Place, config: &Config, bell: Bell) -> Link {
        let inner = Inner {
            place,
            config: config.clone(),
            bell,
            connected: AtomicBool::new(false),
            connecting: Mutex::new(()),
        };
        Link { inner: Arc::new(inner) }
    }

    /// Connects to the worker, and starts one if none lives.
    pub(crate) async fn ensure(&self) -> io::Result<()> {
        if self.inner.connected.load(Ordering::Acquire) {
            return Ok(());
        }
        let _one_at_a_time = self.inner.connecting.lock().await;
        if self.inner.connected.load(Ordering::Acquire) || self.connect().await.is_ok() {
            return Ok(());
        }
        start(&self.inner.place, &self.inner.config)?;
        let deadline = Instant::now() + START;
        loop {
            match self.connect().await {
                Ok(()) => return Ok(()),
                Err(err) if deadline <= Instant::now() => return Err(self.explain(&err)),
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    }

    fn explain(&self, err: &io::Error) -> io::Error {
        let log = self.inner.place.log.display();
        io::Error::new(err.kind(), format!("the worker does not answer ({err}); see {log}"))
    }

    async fn connect(&self) -> io::Result<()> {
        trusted(&self.inner.place.socket)?;
        let stream = UnixStream::connect(&self.inner.place.socket).await?;
        self.inner.connected.store(true, Ordering::Release);
        let inner = Arc::clone(&self.inner);
        tokio::spawn(async move {
            carry(stream, &inner.bell).await;
            inner.connected.store(false, Ordering::Release);
        });
        Ok(())
    }
}

/// Carries rings both ways until the other end goes.
async fn carry(stream: UnixStream, bell: &Bell) {
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    let mut own = bell.own();
    loop {
        tokio::select! {
            line = lines.next_line() => match line {
                Ok(Some(line)) => if let Ok(ring) = line.parse::<Ring>() { bell.heard(ring) },
                Ok(None) | Err(_) => return,
            },
            ring = own.recv() => match ring {
                Ok(ring) => if write.write_all(format!("{ring}\n").as_bytes()).await.is_err() { return },
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return,
            },
        }
    }
}

/// Starts a detached worker: its own session, its own log, the same configuration.
fn start(place: &Place, config: &Config) -> io::Result<()> {
    if let Some(folder) = place.log.parent() {
        create_folder(folder)?;
    }
    let log = File::options().create(true).append(true).mode(0o600).open(&place.log)?;
    let mut child = Command::new(std::env::current_exe()?)
        .arg("worker")
        .current_dir(&config.project)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // Over a pipe, because other users can read command lines.
        let config = config.to_json().map_err(io::Error::other)?;
        io::Write::write_all(&mut stdin, config.as_bytes())?;
    }
    // Somebody has to wait for it, or it stays a zombie for as long as this door lives.
    std::thread::spawn(move || child.wait());
    Ok(())
}

/// A worker's end of the wire, and the proof that it is the only one of its place.
pub(crate) struct Post {
    place: Place,
    listener: UnixListener,
    _lock: File,
}

impl Post {
    /// Takes the place; `None` when another worker has it.
    pub(crate) fn take(place: Place) -> io::Result<Option<Post>> {
        for folder in [place.lock.parent(), place.socket.parent()].into_iter().flatten() {
            create_folder(folder)?;
        }
        trusted(&place.socket)?;
        let lock = File::options().create(true).append(true).open(&place.lock)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(err)) => return Err(err),
        }
        remove(&place.socket)?;
        let listener = UnixListener::bind(&place.socket)?;
        fs::set_permissions(&place.socket, std::os::unix::fs::PermissionsExt::from_mode(0o600))?;
        fs::write(&place.pid, std::process::id().to_string())?;
        Ok(Some(Post { place, listener, _lock: lock }))
    }

    /// Serves every door that connects.
    pub(crate) async fn serve(&self, bell: &Bell) -> Infallible {
        // They end with this future, so that doors notice at once when nobody drives here any more.
        let mut doors = JoinSet::new();
        loop {
            while doors.try_join_next().is_some() {}
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    let bell = bell.clone();
                    doors.spawn(async move { carry(stream, &bell).await });
                }
                Err(err) => {
                    tracing::warn!("a door could not connect: {err}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
}

impl Drop for Post {
    fn drop(&mut self) {
        _ = remove(&self.place.socket);
        _ = remove(&self.place.pid);
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => Err(err),
        Ok(()) | Err(_) => Ok(()),
    }
}
