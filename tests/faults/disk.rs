//! Disks that fill up under load, and have room again.

use std::{
    fs,
    io::Write,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use super::{
    fleet::plain,
    load::{Field, Load, under_load},
};
use crate::{
    durability::Scene,
    harness::{Cluster, HttpServer, Project, SOON, eventually, limit_files},
};

const A_WHILE: Duration = Duration::from_secs(10);

#[test]
fn a_sqlite_file_that_may_not_grow_under_load_loses_nothing_and_goes_on() {
    let scene = Scene::on_sqlite();
    // The kernel ends a process that writes beyond the limit, unless it does not mind.
    let start = |scene: &Scene, _: usize| {
        let mut command = Command::new("sh");
        let script = "trap '' XFSZ; exec \"$0\" serve --http 127.0.0.1:0";
        command.args(["-c", script, env!("CARGO_BIN_EXE_windlass")]).stdin(Stdio::null());
        scene.project.isolate(&mut command);
        HttpServer::start(&mut command)
    };
    let load = Load {
        name: "a full disk under SQLite",
        executions: 80,
        agents: 12,
        servers: 2,
        start: &start,
        observed: None,
    };
    under_load(&scene, &load, |field, _| {
        for round in 1..=2 {
            field.wait_for(round * 20, A_WHILE);
            let servers = [0, 1].map(|index| field.fleet.process_id(index));
            let usual = servers.map(|id| limit_files(id, Some(0)));
            thread::sleep(Duration::from_millis(2500));
            is_noticed(field, "disk");
            for (id, usual) in servers.into_iter().zip(usual) {
                limit_files(id, usual);
            }
        }
    });
}

/// Waits until one of the servers has said so; both keep what they said.
fn is_noticed(field: &Field<'_>, words: &str) {
    let look = || [0, 1].iter().any(|index| field.fleet.said(*index).contains(words)).then_some(());
    eventually(3 * SOON, "a server that notices", look);
}

/// A small file system of its own, which goes when this is dropped.
struct Small(PathBuf);

impl Small {
    /// Why not, where this machine does not let us.
    fn mount(folder: PathBuf) -> Result<Small, String> {
        fs::create_dir_all(&folder).unwrap();
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount a file system".to_owned());
        }
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=48m,mode=0777", "tmpfs"]).arg(&folder);
        let said = mount.output().map_err(|error| error.to_string())?;
        let refused = String::from_utf8_lossy(&said.stderr).into_owned();
        if said.status.success() { Ok(Small(folder)) } else { Err(refused) }
    }

    /// Writes a file until there is no room; to remove it makes room.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut file = fs::File::create(&path).unwrap();
        for size in [64 * 1024, 512] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_postgres_without_room_for_rows_loses_nothing_and_goes_on() {
    let cluster = Cluster::start();
    let folder = cluster.folder().join("small");
    let small = match Small::mount(folder.clone()) {
        Ok(small) => small,
        Err(reason) => {
            println!("faults: a full disk under Postgres is skipped: {reason}");
            return;
        }
    };
    give_to_owner_of(cluster.folder(), &folder);
    let address = cluster.database_in(&folder);
    let scene = Scene::at(Project::new(), address);
    let load = Load {
        name: "a full disk under Postgres",
        executions: 100,
        agents: 16,
        servers: 2,
        start: &plain,
        observed: None,
    };
    under_load(&scene, &load, |field, _| {
        for round in 1..=2 {
            field.wait_for(round * 25, A_WHILE);
            let filler = small.fill();
            thread::sleep(Duration::from_millis(3000));
            is_noticed(field, "disk is full");
            fs::remove_file(filler).unwrap();
        }
    });
    // Ended before its disk goes.
    drop(scene);
    cluster.kill();
}

fn give_to_owner_of(owned: &Path, folder: &Path) {
    use std::os::unix::fs::MetadataExt;
    let owner = fs::metadata(owned).unwrap();
    chown(folder, Some(owner.uid()), Some(owner.gid())).unwrap();
}
