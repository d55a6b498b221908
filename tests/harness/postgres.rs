//! A PostgreSQL of the tests' own: started once per test process, gone when that process is.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::TcpListener,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use sqlx::{Connection, Executor, PgConnection};
use tempfile::TempDir;

use super::block_on;

/// Use this server instead of starting one: `postgres://user:password@host:port`. The user must be allowed to create databases.
const EXISTING: &str = "WINDLASS_TEST_POSTGRES_URL";

const MISSING: &str = "PostgreSQL's server programs (initdb, postgres) were not found in PATH or /usr/lib/postgresql/*/bin.
Install them with `sudo apt-get install postgresql` (or run ./test, which does), or name a server in WINDLASS_TEST_POSTGRES_URL.";

const START_DEADLINE: Duration = Duration::from_secs(60);

/// Starts, stops and at the end removes one cluster. A shell does this rather than the test process,
/// because it outlives every way in which that one can die: then its standard input ends.
///
/// It waits for the postmaster alone, which ends only after its backends have.
const SUPERVISOR: &str = r#"
# An answer that nobody reads any more must not end it.
trap '' PIPE
programs=$1 folder=$2; shift 2
pid=
end() { if [ -n "$pid" ]; then kill "-$1" "$pid" 2>/dev/null; wait "$pid"; pid=; fi; }
while read -r order primary; do
    case $order in
        clone)
            "$programs/pg_basebackup" -h 127.0.0.1 -p "$primary" -U postgres -D "$folder/data" -X stream -R \
                --checkpoint=fast --no-sync >>"$folder/log" 2>&1 </dev/null || order=failed ;;
        init)
            "$programs/initdb" -D "$folder/data" --username=postgres --auth=trust --encoding=UTF8 \
                --locale=C --no-sync >>"$folder/log" 2>&1 </dev/null || order=failed ;;
        start)
            "$programs/postgres" -D "$folder/data" "$@" >>"$folder/log" 2>&1 </dev/null & pid=$! ;;
        *) end "$order" ;;
    esac
    echo "$order"
done
# Nothing of it is wanted any more, so nothing is written out first.
end QUIT
rm -rf "$folder"
"#;

/// The address of a fresh database on the server that all tests share.
pub fn database() -> String {
    static SHARED: OnceLock<Shared> = OnceLock::new();
    match SHARED.get_or_init(Shared::find) {
        Shared::Existing(server) => create_database(server),
        Shared::Own(cluster) => cluster.database(),
    }
}

enum Shared {
    Existing(String),
    Own(Cluster),
}

impl Shared {
    fn find() -> Shared {
        match std::env::var(EXISTING) {
            Ok(server) if !server.is_empty() => {
                Shared::Existing(server.trim_end_matches('/').into())
            }
            _ => Shared::Own(Cluster::start()),
        }
    }
}

fn create_database(server: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("windlass_test_{}_{number}", std::process::id());
    block_on(async {
        let mut connection = PgConnection::connect(&format!("{server}/postgres")).await.unwrap();
        // Left over when a process of the same id ran against the same existing server.
        connection
            .execute(sqlx::AssertSqlSafe(format!("DROP DATABASE IF EXISTS {name}")))
            .await
            .unwrap();
        connection.execute(sqlx::AssertSqlSafe(format!("CREATE DATABASE {name}"))).await.unwrap();
        connection.close().await.unwrap();
    });
    format!("{server}/{name}")
}

/// A cluster that one test may stop, kill and start again. It keeps its data, its port and so its addresses.
pub struct Cluster {
    port: u16,
    folder: PathBuf,
    supervisor: Mutex<Supervisor>,
}

struct Supervisor {
    child: Child,
    // Taken at the end: the supervisor sees it close and cleans up.
    orders: Option<ChildStdin>,
    done: BufReader<ChildStdout>,
}

impl Cluster {
    /// Makes a cluster and starts it; fsync is on, as it is where durability is sold.
    pub fn start() -> Cluster {
        let programs = programs().unwrap_or_else(|| panic!("{MISSING}"));
        // Between choosing a free port and taking it, somebody else may.
        for _ in 0..5 {
            let cluster = Cluster::prepare(&programs, free_port(), "init");
            if cluster.order_start() {
                return cluster;
            }
        }
        panic!("five free ports in a row were taken before PostgreSQL could have them");
    }

    /// The address of a fresh database whose tables live in a folder of their own, which is PostgreSQL's user's.
    pub fn database_in(&self, folder: &Path) -> String {
        let folder = folder.display();
        self.execute(&format!("CREATE TABLESPACE elsewhere LOCATION '{folder}'"));
        self.execute("CREATE DATABASE elsewhere TABLESPACE elsewhere");
        format!("{}/elsewhere", self.server())
    }

    /// A number that the server has.
    pub fn number(&self, sql: &'static str) -> i64 {
        let address = format!("{}/postgres", self.server());
        block_on(async {
            let mut connection = PgConnection::connect(&address).await.unwrap();
            sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
        })
    }

    /// Makes a copy that follows this cluster, and without which this one confirms no commit any more.
    pub fn synchronous_standby(&self) -> Cluster {
        let programs = programs().unwrap_or_else(|| panic!("{MISSING}"));
        let standby = Cluster::prepare(&programs, free_port(), &format!("clone {}", self.port));
        assert!(standby.order_start(), "its port was taken");
        self.execute("ALTER SYSTEM SET synchronous_standby_names = '*'");
        self.execute("SELECT pg_reload_conf()");
        standby
    }

    /// Makes a standby the primary.
    pub fn promote(&self) {
        self.execute("SELECT pg_promote()");
    }

    /// Where it listens.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Says something to the server, as its superuser.
    pub fn execute(&self, sql: &str) {
        let sql = sqlx::AssertSqlSafe(sql.to_owned());
        let address = format!("{}/postgres", self.server());
        block_on(async {
            let mut connection = PgConnection::connect(&address).await.unwrap();
            connection.execute(sql).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    fn prepare(programs: &Path, port: u16, order: &str) -> Cluster {
        let user = user_for_postgres();
        // The supervisor removes the folder, not its guard, which a killed process never drops.
        let folder = TempDir::with_prefix("windlass-postgres-").unwrap().keep();
        if let Some((user, group)) = user {
            chown(&folder, Some(user), Some(group)).unwrap();
        }
        let supervisor = Mutex::new(supervise(programs, &folder, port, user));
        let cluster = Cluster { port, folder, supervisor };
        cluster.order(order);
        cluster
    }

    /// Where its files live, while it lives.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The address of a fresh database on this cluster.
    pub fn database(&self) -> String {
        create_database(&self.server())
    }

    fn server(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}", self.port)
    }

    /// Ends it as an operator would: connections are cut, everything is written, then it is gone.
    pub fn stop(&self) {
        self.order("INT");
    }

    /// Ends it as a crash would: connections are cut, nothing is written, and the next start recovers from the log.
    pub fn kill(&self) {
        self.order("QUIT");
    }

    /// Starts it again, on the same port, and waits until it takes connections.
    pub fn start_again(&self) {
        assert!(self.order_start(), "PostgreSQL's port {} was taken while it was down", self.port);
    }

    /// Starts it and waits until it takes connections; false when its port is somebody else's.
    fn order_start(&self) -> bool {
        let before = self.log().len();
        self.order("start");
        let began = Instant::now();
        while !self.takes_connections() {
            let log = self.log();
            let said = log.get(before..).unwrap_or_default();
            if said.contains("could not create any TCP/IP sockets") {
                return false;
            }
            let waits = began.elapsed() < START_DEADLINE
                && !said.contains("database system is shut down\n");
            assert!(waits, "PostgreSQL did not start; it said:\n{said}");
            std::thread::sleep(Duration::from_millis(20));
        }
        true
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn takes_connections(&self) -> bool {
        let address = format!("{}/postgres", self.server());
        block_on(async { PgConnection::connect(&address).await.is_ok() })
    }

    /// Returns once the supervisor has carried the order out.
    fn order(&self, order: &str) {
        let mut supervisor = self.supervisor.lock().unwrap();
        let orders = supervisor.orders.as_mut().expect("taken only when dropped");
        writeln!(orders, "{order}").unwrap();
        let mut done = String::new();
        supervisor.done.read_line(&mut done).unwrap();
        let order = order.split(' ').next().unwrap_or_default();
        assert_eq!(done.trim(), order, "PostgreSQL did not do as told; it said:\n{}", self.log());
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let mut supervisor = self.supervisor.lock().unwrap_or_else(|poison| poison.into_inner());
        drop(supervisor.orders.take());
        _ = supervisor.child.wait();
    }
}

fn supervise(programs: &Path, folder: &Path, port: u16, user: Option<(u32, u32)>) -> Supervisor {
    let mut shell = Command::new("/bin/sh");
    shell.args(["-c", SUPERVISOR, "supervisor"]).arg(programs).arg(folder);
    for setting in settings(folder, port) {
        shell.args(["-c", &setting]);
    }
    shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A Ctrl-C at the terminal is for the tests; the supervisor then sees them go, and cleans up.
    shell.process_group(0).current_dir("/");
    if let Some((user, group)) = user {
        shell.gid(group).uid(user);
    }
    let mut child = shell.spawn().unwrap();
    let orders = child.stdin.take();
    let done = BufReader::new(child.stdout.take().expect("piped above"));
    Supervisor { child, orders, done }
}

fn settings(folder: &Path, port: u16) -> [String; 6] {
    [
        "listen_addresses=127.0.0.1".into(),
        format!("port={port}"),
        format!("unix_socket_directories={}", folder.display()),
        "fsync=on".into(),
        "max_connections=300".into(),
        "shared_buffers=64MB".into(),
    ]
}

/// PostgreSQL refuses to run as root; then it runs as the user its package made, or as nobody.
fn user_for_postgres() -> Option<(u32, u32)> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let found = ["postgres", "nobody"].iter().find_map(|name| user_in(&users, name));
    Some(found.expect("a machine has a user called nobody"))
}

fn user_in(users: &str, name: &str) -> Option<(u32, u32)> {
    let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
    let mut fields = line.split(':').skip(2);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// The folder that holds `initdb` and `postgres`: in PATH, or the newest of those Debian keeps out of it.
fn programs() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).find(|folder| has_programs(folder));
    let found = in_path.or_else(newest_of_debian)?;
    // Behind the links that somebody made of some of them are all of them.
    let program = fs::canonicalize(found.join("postgres")).ok()?;
    Some(program.parent()?.to_owned())
}

fn newest_of_debian() -> Option<PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").ok()?.filter_map(Result::ok);
    let version = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions
        .filter_map(|entry| Some((version(&entry.path())?, entry.path().join("bin"))))
        .filter(|(_, folder)| has_programs(folder))
        .max()
        .map(|(_, folder)| folder)
}

fn has_programs(folder: &Path) -> bool {
    ["initdb", "postgres"].iter().all(|program| folder.join(program).is_file())
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
