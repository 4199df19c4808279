//! `arcpd result`: a job's result, whole or not at all.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::io::{ErrorKind, Seek as _, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use clap::Args;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::render::Terminal;
use crate::client::{Piece, Since};
use crate::wire::id::JobId;

/// Links that are followed to a file, as many as the system follows.
const LINKS: usize = 40;

/// Waits for a job's result and writes it.
#[derive(Debug, Args)]
pub struct ResultArgs {
    /// The job
    pub job: JobId,
    /// Where to write the result; `-` for stdout. A file appears only once the result is whole; a pipe or device is
    /// written as it comes
    #[arg(long, short, value_name = "FILE", default_value = "-")]
    pub output: String,
    /// How to connect.
    #[command(flatten)]
    pub connection: Connection,
}

pub(super) async fn run(args: ResultArgs, context: &mut Context) -> Result<Exit, Failure> {
    let client = context.open(&args.connection).await?;
    let handle = context.unless_interrupted(client.subscribe(args.job, Since::After(0))).await??;
    let mut reader = handle.into_result();
    let mut sink = context.unless_interrupted(Sink::open(&args.output)).await??;
    loop {
        let piece = tokio::select! {
            piece = reader.next() => piece?,
            interrupt = context.interrupts.next() => {
                context.terminal.complain(&format!("interrupted; again: {}", args.connection.paste("result", args.job)));
                return Ok(interrupt.into());
            }
        };
        match piece {
            Some(piece) => sink.take(&mut context.terminal, &piece)?,
            None => break,
        }
    }
    sink.finish(&mut context.terminal)?;
    context.close(client).await;
    Ok(Exit::Success)
}

/// Where a result goes. A file is written beside its place and moved there once it is whole; what is no regular
/// file, as a pipe or a terminal, stays what it is and is written as the result comes.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout,
    Stream { file: File, place: PathBuf },
    File(Draft),
}

/// A file that is not whole yet; dropped, it is gone.
#[derive(Debug)]
pub(super) struct Draft {
    file: File,
    draft: PathBuf,
    place: PathBuf,
}

impl Sink {
    /// `-` is stdout, all else a file. Waits where the file does, as a pipe does for its reader.
    pub(super) async fn open(output: &str) -> Result<Self, Failure> {
        if output == "-" {
            return Ok(Sink::Stdout);
        }
        let place = PathBuf::from(output);
        let found = match fs::metadata(&place) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(trouble(&place, error)),
        };
        if let Some(found) = &found
            && let Some(file) = stdout_if(found)
        {
            return Ok(Sink::Stream { file, place });
        }
        if found.as_ref().is_none_or(Metadata::is_file) {
            return Draft::beside(behind_links(place)?, found.as_ref()).map(Sink::File);
        }
        // On a thread of its own: an interrupt does not wait for the reader of a pipe.
        let named = place.clone();
        let opened = tokio::task::spawn_blocking(move || File::options().write(true).open(named)).await;
        let file = opened.unwrap_or_else(|stopped| Err(std::io::Error::other(stopped)));
        Ok(Sink::Stream { file: file.map_err(|error| trouble(&place, error))?, place })
    }

    pub(super) fn write(&mut self, terminal: &mut Terminal, piece: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Stdout => terminal.data(piece),
            Sink::Stream { file, place } => file.write_all(piece).map_err(|error| trouble(place, error)),
            Sink::File(draft) => draft.file.write_all(piece).map_err(|error| trouble(&draft.draft, error)),
        }
    }

    /// Writes the next part of a result.
    pub(super) fn take(&mut self, terminal: &mut Terminal, piece: &Piece) -> Result<(), Failure> {
        match piece {
            Piece::More(bytes) => self.write(terminal, bytes),
            Piece::Anew(bytes) => {
                self.begin_anew()?;
                self.write(terminal, bytes)
            }
        }
    }

    /// What was written is void.
    fn begin_anew(&mut self) -> Result<(), Failure> {
        let place = match self {
            Sink::File(draft) => {
                let emptied = draft.file.set_len(0).and_then(|()| draft.file.rewind());
                return emptied.map_err(|error| trouble(&draft.draft, error));
            }
            Sink::Stdout => Path::new("stdout"),
            Sink::Stream { place, .. } => place,
        };
        let why = "the agent began again after a part of its result was written, which is void; write to a file with -o";
        Err(trouble(place, std::io::Error::other(why)))
    }

    /// The result is whole.
    pub(super) fn finish(self, terminal: &mut Terminal) -> Result<(), Failure> {
        let place = match &self {
            Sink::Stdout => return Ok(()),
            Sink::Stream { place, .. } => place,
            Sink::File(draft) => {
                draft.file.sync_all().map_err(|error| trouble(&draft.draft, error))?;
                fs::rename(&draft.draft, &draft.place).map_err(|error| trouble(&draft.place, error))?;
                &draft.place
            }
        };
        terminal.say(&format!("result written to {}", place.display()));
        Ok(())
    }
}

impl Draft {
    /// A new file beside `place`, which is there as `found` says. What it replaces keeps its mode and, as far as
    /// that is allowed, its owner.
    fn beside(place: PathBuf, found: Option<&Metadata>) -> Result<Self, Failure> {
        let Some(name) = place.file_name() else {
            return Err(Failure::Usage(format!("{} is no file name", place.display())));
        };
        let mut draft_name = OsString::from(".");
        draft_name.push(name);
        draft_name.push(format!(".{}.part", ulid::Ulid::generate()));
        let draft = place.with_file_name(draft_name);
        let mode = if found.is_some() { 0o600 } else { 0o666 };
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&draft)
            .map_err(|error| trouble(&draft, error))?;
        let draft = Draft { file, draft, place };
        if let Some(found) = found {
            // Only root may give files away; all others keep what they write.
            let _ = fchown(&draft.file, Some(found.uid()), Some(found.gid()));
            let kept = draft.file.set_permissions(found.permissions());
            kept.map_err(|error| trouble(&draft.draft, error))?;
        }
        Ok(draft)
    }
}

/// The process's own stdout, where that is the file which was found, as with `/dev/stdout`.
fn stdout_if(found: &Metadata) -> Option<File> {
    let stdout = File::from(std::io::stdout().as_fd().try_clone_to_owned().ok()?);
    let own = stdout.metadata().ok()?;
    ((own.dev(), own.ino()) == (found.dev(), found.ino())).then_some(stdout)
}

/// Where the chain of links that begins at `place` leads; a link stays and what it names is replaced or made.
fn behind_links(mut place: PathBuf) -> Result<PathBuf, Failure> {
    for _ in 0..LINKS {
        match fs::read_link(&place) {
            Ok(target) => place = directory_of(&place).join(target),
            // It is no link, or nothing is there.
            Err(_) => return Ok(place),
        }
    }
    Err(trouble(&place, std::io::Error::other("too many links")))
}

fn directory_of(place: &Path) -> &Path {
    place.parent().unwrap_or(Path::new(""))
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Where it was moved to its place, nothing is there any more.
        let _ = fs::remove_file(&self.draft);
    }
}

fn trouble(path: &Path, error: std::io::Error) -> Failure {
    Failure::File { what: path.display().to_string(), error }
}
