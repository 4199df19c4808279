//! A daemon with child agents, and what stays from life to life.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::process::Process;

/// Who may come, and with what.
pub(crate) const PRINCIPALS: [(&str, &str); 2] = [("alice", "tok-a"), ("bob", "tok-b")];

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
    pub(crate) fn daemon(&self) -> Process {
        let mut command = Command::new(env!("CARGO_BIN_EXE_arcpd"));
        command.args(["serve", "--listen", "127.0.0.1:0", "--store", "sqlite", "--log-level", "error"]);
        let path = |name: &str| self.dir.path().join(name).to_str().unwrap().to_owned();
        command.args(["--config", &path("arcpd.toml"), "--store-path", self.store().to_str().unwrap()]);
        command.args(["--durability", self.durability]);
        let tokens: Vec<String> = PRINCIPALS.iter().map(|(name, token)| format!("{name}={token}")).collect();
        command.env("ARCPD_TOKENS", tokens.join(",")).env("HOME", self.dir.path());
        command.env("ARCPD_LIMITS_JOB_ATTEMPTS", "10000").env("ARCPD_LIMITS_CANCEL_GRACE_MS", "50");
        Process::spawn(&mut command)
    }
}

/// Whether the agents' shell is there.
pub(crate) fn has_shell() -> bool {
    Path::new("/bin/sh").exists()
}
