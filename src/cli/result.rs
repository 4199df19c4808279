//! `arcpd result`: a job's result, whole or not at all.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::Context;
use super::connect::Connection;
use super::exit::{Exit, Failure};
use super::render::Terminal;
use crate::client::Since;
use crate::wire::id::JobId;

/// Waits for a job's result and writes it.
#[derive(Debug, Args)]
pub struct ResultArgs {
    /// The job
    pub job: JobId,
    /// Where to write the result; `-` for stdout. A file appears only once the result is whole
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
    let mut sink = Sink::open(&args.output)?;
    loop {
        let piece = tokio::select! {
            piece = reader.next() => piece?,
            () = context.interrupts.next() => {
                context.terminal.complain(&format!("interrupted; again: {}", args.connection.paste("result", args.job)));
                return Ok(Exit::Interrupted);
            }
        };
        match piece {
            Some(piece) => sink.write(&mut context.terminal, &piece)?,
            None => break,
        }
    }
    sink.finish(&mut context.terminal)?;
    context.close(client).await;
    Ok(Exit::Success)
}

/// Where a result goes. A file is written beside its place and moved there once it is whole.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout,
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
    /// `-` is stdout, all else a file.
    pub(super) fn open(output: &str) -> Result<Self, Failure> {
        if output == "-" {
            return Ok(Sink::Stdout);
        }
        let place = PathBuf::from(output);
        let Some(name) = place.file_name() else {
            return Err(Failure::Usage(format!("{output} is no file name")));
        };
        let mut draft_name = std::ffi::OsString::from(".");
        draft_name.push(name);
        draft_name.push(format!(".{}.part", ulid::Ulid::generate()));
        let draft = place.with_file_name(draft_name);
        let file = File::options()
            .write(true)
            .create_new(true)
            .open(&draft)
            .map_err(|error| trouble(&draft, error))?;
        Ok(Sink::File(Draft { file, draft, place }))
    }

    pub(super) fn write(&mut self, terminal: &mut Terminal, piece: &[u8]) -> Result<(), Failure> {
        match self {
            Sink::Stdout => terminal.data(piece),
            Sink::File(draft) => draft.file.write_all(piece).map_err(|error| trouble(&draft.draft, error)),
        }
    }

    /// The result is whole.
    pub(super) fn finish(self, terminal: &mut Terminal) -> Result<(), Failure> {
        match self {
            Sink::Stdout => Ok(()),
            Sink::File(draft) => {
                draft.file.sync_all().map_err(|error| trouble(&draft.draft, error))?;
                std::fs::rename(&draft.draft, &draft.place).map_err(|error| trouble(&draft.place, error))?;
                terminal.say(&format!("result written to {}", draft.place.display()));
                Ok(())
            }
        }
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        // Where it was moved to its place, nothing is there any more.
        let _ = std::fs::remove_file(&self.draft);
    }
}

fn trouble(path: &Path, error: std::io::Error) -> Failure {
    Failure::File { what: path.display().to_string(), error }
}
