//! The servers: the backend, the demo, nginx and HAProxy, each pinned to its core and stopped at the end.

use super::agent::Ready;
use crate::sh;
use anyhow::{Context as _, ensure};
use std::{
    fs,
    io::{BufRead as _, BufReader},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

/// Core of the load generator and the backend.
pub(super) const LOAD_CORE: &str = "0";
/// Core of the server that is measured.
const SERVER_CORE: &str = "1";

/// Programs of others.
pub(super) struct Tools {
    nginx: PathBuf,
    haproxy: PathBuf,
    pub(super) wrk: PathBuf,
}

impl Tools {
    /// Finds them, or installs them where that is allowed.
    pub(super) fn find() -> anyhow::Result<Self> {
        sh::require(&["taskset"], &["util-linux"])?;
        Ok(Self {
            nginx: sh::require(&["nginx"], &["nginx-light"])?,
            haproxy: sh::require(&["haproxy"], &["haproxy"])?,
            wrk: sh::require(&["wrk"], &["wrk"])?,
        })
    }

    /// Names and versions, for the report.
    pub(super) fn versions(&self) -> String {
        let text = |program: &Path| {
            // Some print their version to standard error, and wrk calls asking for it a failure.
            Command::new(program).arg("-v").output().map_or_else(
                |_| String::new(),
                |out| {
                    let all = [out.stdout, out.stderr].concat();
                    let all = String::from_utf8_lossy(&all).into_owned();
                    all.lines().next().unwrap_or_default().trim().to_owned()
                },
            )
        };
        let wrk = text(&self.wrk);
        let wrk = wrk.split(" Copyright").next().unwrap_or_default();
        let haproxy = text(&self.haproxy);
        let haproxy = haproxy.split(" 20").next().unwrap_or_default();
        let nginx = text(&self.nginx).replace("nginx version: ", "");
        format!("{nginx}; {haproxy}; {wrk}")
    }
}

/// A server of somebody else.
pub(super) struct Server {
    child: Child,
    pub(super) port: u16,
}

impl Server {
    fn start(command: &mut Command, port: u16) -> anyhow::Result<Self> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", command.get_program().to_string_lossy()))?;
        let mut server = Self { child, port };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            let gone = server.child.try_wait()?;
            ensure!(gone.is_none(), "a server ended at once: {gone:?}");
            ensure!(
                start.elapsed() < Duration::from_secs(10),
                "a server does not listen on {port}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        Ok(server)
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        sh::signal("TERM", self.child.id());
        let _ = self.child.wait();
    }
}

fn pinned(core: &str, program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core]).arg(program);
    command
}

fn start_nginx(tools: &Tools, folder: &Path, core: &str, server: &str) -> anyhow::Result<Server> {
    let port = sh::free_port()?;
    let folder = folder.join(format!("nginx-{port}"));
    fs::create_dir_all(&folder)?;
    let place = folder.display();
    let config = folder.join("nginx.conf");
    fs::write(
        &config,
        format!(
            "daemon off;\nworker_processes 1;\npid {place}/pid;\nerror_log {place}/error.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n  access_log off;\n  keepalive_requests 10000000;\n\
             client_body_temp_path {place}/body;\n  proxy_temp_path {place}/proxy;\n\
             fastcgi_temp_path {place}/fastcgi;\n  uwsgi_temp_path {place}/uwsgi;\n  scgi_temp_path {place}/scgi;\n\
             {}\n}}\n",
            server.replace("PORT", &port.to_string())
        ),
    )?;
    Server::start(
        pinned(core, &tools.nginx)
            .arg("-c")
            .arg(&config)
            .arg("-p")
            .arg(&folder)
            .stderr(Stdio::null()),
        port,
    )
}

/// What every server forwards to: nginx with a small static answer.
pub(super) fn backend(tools: &Tools, folder: &Path) -> anyhow::Result<Server> {
    let server = "server { listen 127.0.0.1:PORT; location / { default_type text/plain; return 200 'ok'; } }";
    start_nginx(tools, folder, LOAD_CORE, server)
}

/// nginx as a plain proxy: it checks nothing.
pub(super) fn nginx(tools: &Tools, folder: &Path, backend: u16) -> anyhow::Result<Server> {
    let server = format!(
        "upstream backend {{ server 127.0.0.1:{backend}; keepalive 128; keepalive_requests 10000000; }}\n\
         server {{ listen 127.0.0.1:PORT; location / {{ proxy_pass http://backend; proxy_http_version 1.1; \
         proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}"
    );
    start_nginx(tools, folder, SERVER_CORE, &server)
}

/// HAProxy verifying signature and expiry of every token with `jwt_verify`.
pub(super) fn haproxy(tools: &Tools, folder: &Path, backend: u16, key: &str) -> anyhow::Result<Server> {
    let port = sh::free_port()?;
    let pem = folder.join("issuer.pem");
    fs::write(&pem, key)?;
    let config = folder.join("haproxy.cfg");
    let pem = pem.display();
    fs::write(
        &config,
        format!(
            "global\n  nbthread 1\n  maxconn 4096\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 30s\n  timeout server 30s\n\
             frontend gateway\n  bind 127.0.0.1:{port}\n\
             \x20 http-request set-var(txn.bearer) http_auth_bearer\n\
             \x20 http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')\n\
             \x20 http-request set-var(txn.exp) var(txn.bearer),jwt_payload_query('$.exp','int')\n\
             \x20 http-request set-var(txn.now) date()\n\
             \x20 http-request deny deny_status 401 unless {{ var(txn.alg) -m str ES256 }}\n\
             \x20 http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,\"{pem}\") -m int 1 }}\n\
             \x20 http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}\n\
             \x20 default_backend origin\n\
             backend origin\n  http-reuse always\n  server origin 127.0.0.1:{backend}\n"
        ),
    )?;
    Server::start(
        pinned(SERVER_CORE, &tools.haproxy)
            .arg("-db")
            .arg("-f")
            .arg(&config)
            .stderr(Stdio::null()),
        port,
    )
}

/// The demo, pinned to the server's core.
pub(super) struct Demo {
    child: Child,
    pub(super) ready: Ready,
}

impl Demo {
    pub(super) fn start(binary: &Path, folder: &Path, port_base: u16) -> anyhow::Result<Self> {
        let log = fs::File::create(folder.join("demo.log"))?;
        let mut child = pinned(SERVER_CORE, binary)
            .args(["demo", "--json", "--port-base", &port_base.to_string(), "--data"])
            .arg(folder.join("data"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the demo")?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("the demo has no output")?).read_line(&mut line)?;
        match serde_json::from_str(&line) {
            Ok(ready) => Ok(Self { child, ready }),
            Err(error) => {
                let _ = child.kill();
                let _ = child.wait();
                let log = fs::read_to_string(folder.join("demo.log")).unwrap_or_default();
                Err(error).with_context(|| format!("the demo did not start: {line}{log}"))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        sh::signal("INT", self.child.id());
        let _ = self.child.wait();
    }
}
