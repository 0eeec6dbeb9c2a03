//! The disk of an SQLite database is full under load, and has room again: once by a small file system, where the tests
//! may mount one, and once by a limit of the system on how large files may become, which needs no rights.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use crosstie_app::SystemClock;
use crosstie_domain::Clock;
use tokio::time::sleep;

use crate::{
    cluster::as_root, oracle::everything_holds, process::Process, story, support::Database, wait_for, world::Scene,
};

/// How many questions go by between two sales that fill the disk to the last.
const SALES_EVERY: u32 = 10;

/// How the disk becomes full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    /// The files of the process may not grow any more.
    Limit,
    /// A file system of this size, which other files fill.
    FileSystem { mib: u64 },
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_files_may_not_grow_refuses_webhooks_and_goes_on_when_they_may() {
    tell(Way::Limit).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_whose_disk_is_full_refuses_webhooks_and_goes_on_when_there_is_room() {
    if !as_root() {
        println!("only root can mount a file system; the limit on files stands for a full disk here");
        return;
    }
    tell(Way::FileSystem { mib: 48 }).await;
}

async fn tell(way: Way) {
    story(async {
        let disk = Disk::new(way);
        let database = Database::at(&format!("sqlite://{}?mode=rwc", disk.folder.join("crosstie.db").display()));
        let Some(mut scene) = Scene::new("a full disk", &database.url, 1).await else { return };
        scene.start(0).await;
        for round in 0..2 {
            for sale in 0..3 {
                scene.sell(format!("deal-{round}-{sale}"));
            }
            sleep(Duration::from_millis(300)).await;
            let before = scene.world.unavailable();
            disk.fill(&scene.processes[0]);
            // The files have room inside, of what was there before: it is full when that is used up as well.
            let mut asked = 0;
            wait_for("webhooks are answered 503", async || {
                let refused = scene.world.unavailable() - before;
                if refused == 0 && asked % SALES_EVERY == 0 {
                    scene.sell(format!("deal-{round}-meanwhile-{asked}"));
                }
                asked += 1;
                if refused >= 5 { Ok(()) } else { Err(format!("{refused} of five")) }
            })
            .await;
            // A while, so that every loop of the hub meets it.
            sleep(Duration::from_secs(2)).await;
            assert!(scene.processes[0].still_runs(), "{}", scene.processes[0].log());
            println!("{way:?} {round}: {} times 503", scene.world.unavailable() - before);
            disk.make_room(&scene.processes[0]);
        }
        everything_holds(&mut scene, &database).await;
        assert!(scene.processes[0].still_runs(), "{}", scene.processes[0].log());
        scene.processes[0].kill().await;
    })
    .await;
}

/// Where the database is.
struct Disk {
    way: Way,
    folder: PathBuf,
}

impl Disk {
    fn new(way: Way) -> Self {
        let folder = std::env::temp_dir().join(format!("crosstie-disk-{}", SystemClock::default().new_uuid()));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        if let Way::FileSystem { mib } = way {
            let size = format!("size={mib}m");
            run("mount", &["-t", "tmpfs", "-o", &size, "crosstie-disk"], &folder);
        }
        Self { way, folder }
    }

    fn ballast(&self) -> PathBuf {
        self.folder.join("ballast")
    }

    fn fill(&self, process: &Process) {
        match self.way {
            Way::Limit => limit(process, "0"),
            Way::FileSystem { .. } => {
                let mut file = std::fs::File::create(self.ballast()).expect("a file can be made");
                // It ends with an error: that there is no room any more.
                let full = std::io::copy(&mut std::io::repeat(0), &mut file).expect_err("the disk ends somewhere");
                assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
            }
        }
    }

    fn make_room(&self, process: &Process) {
        match self.way {
            Way::Limit => limit(process, "unlimited"),
            Way::FileSystem { .. } => std::fs::remove_file(self.ballast()).expect("it was there"),
        }
    }
}

/// Says how many bytes the files of a process may have from now on.
fn limit(process: &Process, bytes: &str) {
    let (limit, pid) = (format!("--fsize={bytes}:"), process.id().to_string());
    let set = Command::new("prlimit").args([&limit, "--pid", &pid]).status().expect("prlimit runs");
    assert!(set.success(), "{limit}");
}

fn run(program: &str, arguments: &[&str], folder: &Path) {
    let output = Command::new(program).args(arguments).arg(folder).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{program} {}: {said}", folder.display());
}

impl Drop for Disk {
    fn drop(&mut self) {
        if let Way::FileSystem { .. } = self.way {
            // What stays mounted is told by the system, and a test that failed says why it did.
            let _ = Command::new("umount").arg("-l").arg(&self.folder).status();
        }
        // A folder that stays is the system's to clean up.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
