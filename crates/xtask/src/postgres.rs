//! A throw-away PostgreSQL from the installed binaries: its own folder, a free loopback port, no durability.

use crate::sh;
use anyhow::{Context as _, ensure};
use std::{
    env, fs,
    net::TcpStream,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

const PATIENCE: Duration = Duration::from_secs(30);

/// A running server; it stops, and its folder goes, when this is dropped.
pub(crate) struct Postgres {
    server: Child,
    folder: PathBuf,
    port: u16,
}

/// Whom the server runs as: it refuses to run as root.
#[derive(Clone, Copy)]
struct User {
    uid: u32,
    gid: u32,
}

impl Postgres {
    /// Initialises and starts a server, installing PostgreSQL when it is missing.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let bin = match binaries() {
            Some(bin) => bin,
            None => {
                sh::install(&["postgresql"])?;
                binaries().context("PostgreSQL is still missing after installing it")?
            }
        };
        let user = if sh::is_root() {
            Some(unprivileged()?)
        } else {
            None
        };
        let folder = env::temp_dir().join(format!("chatelaine-postgres-{}", process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder)?;
        if let Some(user) = user {
            std::os::unix::fs::chown(&folder, Some(user.uid), Some(user.gid))?;
        }

        let data = folder.join("data");
        sh::output(
            Self::command(&bin.join("initdb"), &folder, user)
                .args([
                    "--auth=trust",
                    "--username=postgres",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--no-sync",
                ])
                .arg("-D")
                .arg(&data),
        )?;
        let port = sh::free_port()?;
        let log = fs::File::create(folder.join("log"))?;
        let mut command = Self::command(&bin.join("postgres"), &folder, user);
        command.arg("-D").arg(&data).arg("-p").arg(port.to_string());
        for setting in [
            "fsync=off",
            "synchronous_commit=off",
            "full_page_writes=off",
            "max_connections=400",
            "listen_addresses=127.0.0.1",
        ] {
            command.args(["-c", setting]);
        }
        command
            .arg("-c")
            .arg(format!("unix_socket_directories={}", folder.display()));
        let server = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut started = Self { server, folder, port };
        started.wait(&bin)?;
        Ok(started)
    }

    /// Where tests reach it, as a superuser who may create databases.
    pub(crate) fn url(&self) -> String {
        format!("postgres://postgres@127.0.0.1:{}/postgres", self.port)
    }

    fn command(program: &Path, folder: &Path, user: Option<User>) -> Command {
        let mut command = Command::new(program);
        // The caller's folder may be closed to the other user.
        command.current_dir(folder);
        if let Some(user) = user {
            command.uid(user.uid).gid(user.gid);
        }
        command
    }

    fn wait(&mut self, bin: &Path) -> anyhow::Result<()> {
        let start = Instant::now();
        let probe = bin.join("pg_isready");
        loop {
            let ready = if probe.is_file() {
                Command::new(&probe)
                    .args(["-q", "-h", "127.0.0.1", "-p", &self.port.to_string()])
                    .status()
                    .is_ok_and(|status| status.success())
            } else {
                TcpStream::connect(("127.0.0.1", self.port)).is_ok()
            };
            if ready {
                return Ok(());
            }
            let gone = self.server.try_wait()?.is_some();
            ensure!(
                !gone && start.elapsed() < PATIENCE,
                "PostgreSQL did not start: {}",
                fs::read_to_string(self.folder.join("log")).unwrap_or_default()
            );
            thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // "Immediate" shutdown: nothing in it is worth keeping.
        sh::signal("QUIT", self.server.id());
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The folder with `initdb` and `postgres`: the newest of Debian's, else the one in `PATH`.
fn binaries() -> Option<PathBuf> {
    let mut debian: Vec<(u32, PathBuf)> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| {
            let version = entry.file_name().to_str()?.parse().ok()?;
            let bin = entry.path().join("bin");
            (bin.join("initdb").is_file() && bin.join("postgres").is_file()).then_some((version, bin))
        })
        .collect();
    debian.sort();
    debian.pop().map(|(_, bin)| bin).or_else(|| {
        let bin = sh::find(&["initdb"])?.parent()?.to_path_buf();
        bin.join("postgres").is_file().then_some(bin)
    })
}

fn unprivileged() -> anyhow::Result<User> {
    let id = |flag: &str, name: &str| -> anyhow::Result<u32> {
        Ok(sh::output(Command::new("id").args([flag, name]))?.parse()?)
    };
    let user = |name: &str| -> anyhow::Result<User> {
        Ok(User {
            uid: id("-u", name)?,
            gid: id("-g", name)?,
        })
    };
    user("postgres").or_else(|_| user("nobody"))
}
