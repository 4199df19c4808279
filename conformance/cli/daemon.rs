//! A daemon process for one test, and the command line against it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// The program under test.
pub const ARCPD: &str = env!("CARGO_BIN_EXE_arcpd");

/// A daemon on a free port with a folder of its own; gone when dropped.
pub struct Daemon {
    process: Child,
    pub url: String,
    pub home: tempfile::TempDir,
    stderr: Option<thread::JoinHandle<String>>,
}

/// A command of the program that sees nothing of the user's own configuration.
pub fn arcpd(home: &Path) -> Command {
    let mut command = Command::new(ARCPD);
    command.env_clear().env("HOME", home).current_dir(home);
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command
}

/// Whether there is a Python for what needs one; says loudly when there is none.
pub fn python(test: &str) -> bool {
    let found = Command::new("python3").arg("-c").arg("pass").status().is_ok_and(|status| status.success());
    if !found {
        skipped(test, "it needs python3, which is not here");
    }
    found
}

/// Says that a test did nothing, and why. Unlike `eprintln!` this is shown although the test passes.
pub fn skipped(test: &str, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}

impl Daemon {
    /// A daemon with the demo agents and two tokens.
    pub fn start() -> Daemon {
        Daemon::with(&["--demo-agents", "--token", "alice=tok-a", "--token", "bob=tok-b"], "")
    }

    /// A daemon with these flags, and this configuration file when there is something in it.
    pub fn with(flags: &[&str], config: &str) -> Daemon {
        let home = tempfile::tempdir().unwrap();
        if !config.is_empty() {
            std::fs::write(home.path().join("arcpd.toml"), config).unwrap();
        }
        let mut command = arcpd(home.path());
        Daemon::of(command.args(["serve", "--listen", "127.0.0.1:0"]).args(flags), home)
    }

    /// The daemon that a command starts.
    pub fn of(command: &mut Command, home: tempfile::TempDir) -> Daemon {
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let mut errors = process.stderr.take().unwrap();
        let stderr = thread::spawn(move || {
            let mut text = String::new();
            let _ = errors.read_to_string(&mut text);
            text
        });
        let Some(url) = line.trim().strip_prefix("arcpd listening on ") else {
            let _ = process.kill();
            panic!("the daemon said {line:?} and {}", stderr.join().unwrap());
        };
        Daemon { process, url: url.to_owned(), home, stderr: Some(stderr) }
    }

    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its folder, which then outlives it.
    pub fn take_home(&mut self) -> tempfile::TempDir {
        std::mem::replace(&mut self.home, tempfile::tempdir().unwrap())
    }

    /// What is in its folder beside its own state.
    pub fn files(&self) -> Vec<String> {
        let names = self.home.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).filter(|name| name != ".local").collect()
    }

    /// A client command for alice.
    pub fn client(&self, args: &[&str]) -> Command {
        let mut command = arcpd(self.home.path());
        command.env("ARCPD_URL", &self.url).env("ARCPD_TOKEN", "tok-a").args(args);
        command
    }

    /// Runs a client command for alice to its end.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.client(args).stdin(Stdio::null()).output().unwrap())
    }

    /// Sends a signal.
    pub fn signal(&self, name: &str) {
        let sent =
            Command::new("kill").args([&format!("-{name}"), &self.pid().to_string()]).status().unwrap();
        assert!(sent.success());
    }

    /// Waits for the daemon to end by itself; returns whether it ended well, and what it logged.
    pub fn wait(mut self) -> (bool, String) {
        let status = self.process.wait().unwrap();
        (status.success(), self.stderr.take().unwrap().join().unwrap())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A command that has ended.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// The output as JSON lines.
    pub fn json(&self) -> Vec<serde_json::Value> {
        self.out.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect()
    }
}

/// A wire between clients and a daemon that can be cut, and mends by itself.
pub struct Wire {
    pub url: String,
    open: Arc<Mutex<Vec<TcpStream>>>,
    done: Arc<AtomicBool>,
}

impl Wire {
    pub fn to(daemon: &Daemon) -> Wire {
        let target = daemon.url.strip_prefix("ws://").unwrap().strip_suffix("/arcp").unwrap().to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("ws://{}/arcp", listener.local_addr().unwrap());
        let (open, done) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let (streams, over) = (open.clone(), done.clone());
        thread::spawn(move || {
            for client in listener.incoming() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&target)) else { continue };
                for (from, to) in [(&client, &server), (&server, &client)] {
                    let (mut from, mut to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                    });
                }
                streams.lock().unwrap().extend([client, server]);
            }
        });
        Wire { url, open, done }
    }

    /// Cuts every connection; returns how many there were.
    pub fn cut(&self) -> usize {
        let streams: Vec<TcpStream> = self.open.lock().unwrap().drain(..).collect();
        for stream in &streams {
            let _ = stream.shutdown(Shutdown::Both);
        }
        streams.len() / 2
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.done.store(true, Ordering::SeqCst);
        // Wakes the listener so that it sees that it is over.
        let address = self.url.trim_start_matches("ws://").trim_end_matches("/arcp").to_owned();
        let _ = TcpStream::connect(address).and_then(|mut stream| stream.write_all(b"\n"));
        self.cut();
    }
}

/// Where the repository is.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
