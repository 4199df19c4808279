//! A daemon with child agents that gets no chance to say goodbye.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Who may come, and with what.
pub(crate) const PRINCIPALS: [(&str, &str); 2] = [("alice", "tok-a"), ("bob", "tok-b")];

/// The longest that an orderly stop may take.
const STOP: Duration = Duration::from_secs(30);

/// Everything that stays from life to life.
pub(crate) struct Home {
    dir: tempfile::TempDir,
    durability: &'static str,
}

impl Home {
    pub(crate) fn new(durability: &'static str) -> Home {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("sent")).unwrap();
        std::fs::write(dir.path().join("ticks.sh"), include_str!("ticks.sh")).unwrap();
        let agent = |name: &str, restartable: bool| {
            let sent = dir.path().join("sent");
            format!(
                "[[agents]]\nname = {name:?}\nversion = \"1\"\ncommand = [\"sh\", \"ticks.sh\"]\n\
                 env = {{ SENT = {sent:?} }}\nrestartable = {restartable}\n"
            )
        };
        let config = agent("steady", false) + &agent("again", true);
        std::fs::write(dir.path().join("arcpd.toml"), config).unwrap();
        Home { dir, durability }
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.dir.path().join("arcpd.db")
    }

    /// What the agents of a job noted before they said it: for each attempt, how much.
    pub(crate) fn sent(&self, job: &str) -> Vec<(u64, u64)> {
        let noted = std::fs::read_to_string(self.dir.path().join("sent").join(job)).unwrap_or_default();
        let mut sent: Vec<(u64, u64)> = Vec::new();
        for line in noted.lines() {
            let (attempt, n) = line.split_once(' ').unwrap();
            let (attempt, n) = (attempt.parse().unwrap(), n.parse().unwrap());
            match sent.iter_mut().find(|(known, _)| *known == attempt) {
                Some((_, most)) => *most = n,
                None => sent.push((attempt, n)),
            }
        }
        sent
    }

    /// One life.
    pub(crate) fn daemon(&self) -> Daemon {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arcpd"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", "sqlite", "--log-level", "error"]);
        let path = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        command.args(["--config", &path("arcpd.toml"), "--store-path", self.store().to_str().unwrap()]);
        command.args(["--durability", self.durability]);
        let tokens: Vec<String> = PRINCIPALS.iter().map(|(name, token)| format!("{name}={token}")).collect();
        command.env("ARCPD_TOKENS", tokens.join(",")).env("HOME", self.dir.path());
        command.env("ARCPD_LIMITS_JOB_ATTEMPTS", "10000").env("ARCPD_LIMITS_CANCEL_GRACE_MS", "50");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url =
            line.trim().strip_prefix("arcpd listening on ").expect("the daemon did not start").to_owned();
        Daemon { process, url }
    }
}

/// A daemon's process.
pub(crate) struct Daemon {
    process: Child,
    pub(crate) url: String,
}

impl Daemon {
    /// Stops in order, which has to be done in time and without an error.
    pub(crate) fn stop(mut self) {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let until = Instant::now() + STOP;
        let status = loop {
            match self.process.try_wait().unwrap() {
                Some(status) => break status,
                None => assert!(Instant::now() < until, "the daemon does not stop"),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        assert!(status.success(), "{status}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that has stopped in order is gone already.
        let _ = self.process.kill();
        self.process.wait().unwrap();
    }
}

/// Whether the agents' shell is there.
pub(crate) fn has_shell() -> bool {
    Path::new("/bin/sh").exists()
}
