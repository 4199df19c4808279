//! A daemon's process.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

/// The longest that an orderly stop may take.
const STOP: Duration = Duration::from_secs(30);

/// A daemon, killed when it is dropped.
pub struct Process {
    child: Child,
    pub url: String,
}

impl Process {
    /// Starts a daemon and waits until it listens. What it logs goes where the test's own errors go.
    pub fn spawn(command: &mut Command) -> Process {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let url = line.trim().strip_prefix("arcpd listening on ");
        Process { url: url.expect("the daemon did not start").to_owned(), child }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops in order, which has to be done in time and without an error.
    pub fn stop(mut self) {
        let pid = self.pid().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let (told, ended) = mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| told.send(self.child.wait()));
            if ended.recv_timeout(STOP).is_err() {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
                panic!("the daemon does not stop");
            }
        });
        // Waited for once more, which tells the same.
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that has stopped in order is gone already.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}
