//! `arcpd stdio --connect`: frames between a client on lines and a daemon that is running.
//!
//! A line that no frame can carry is refused here, in the words in which the daemon would refuse it; all else is
//! the daemon's business.

use std::cell::Cell;
use std::pin::{Pin, pin};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::render::Terminal;
use crate::transport::{CloseReason, Ended, FrameReader, FrameWriter, Received};
use crate::wire::decode::client_frame;
use crate::wire::encode::server_frame;
use crate::wire::envelope::Head;
use crate::wire::error::ErrorBody;
use crate::wire::id::{MessageId, SessionId};
use crate::wire::limits::Limits;
use crate::wire::message::ServerMessage;
use crate::wire::session::SessionError;
use crate::wire::time::Timestamp;

/// How long what is still on its way may take once the client has said everything.
const DRAIN: Duration = Duration::from_secs(5);

/// How long nothing has come when everything has.
const QUIET: Duration = Duration::from_secs(1);

/// The daemon is gone, and what it said of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut(pub(super) String);

/// Passes frames on in both directions until the client has said everything and has its answers, or the daemon
/// closes.
pub(super) async fn carry(
    (from_client, to_client): (impl FrameReader, impl FrameWriter),
    (from_daemon, mut to_daemon): (impl FrameReader, impl FrameWriter),
    limits: &Limits,
    terminal: &mut Terminal,
) -> Result<(), Cut> {
    let idle = Cell::new(Some(Instant::now()));
    let (refuse, refusals) = mpsc::channel(1);
    let down = Down { from_daemon, to_client, refusals, session: None, idle: &idle, terminal };
    let ended = {
        let mut down = pin!(down.run());
        tokio::select! {
            ended = &mut down => ended,
            sent = up(from_client, &mut to_daemon, refuse, limits) => match sent {
                Ok(()) => rest(down, &idle).await,
                // Why the daemon takes no more is what it says last.
                Err(error) => timeout(QUIET, down)
                    .await
                    .unwrap_or_else(|_| Err(Cut(format!("cannot send to the daemon: {error}")))),
            },
        }
    };
    to_daemon.close(CloseReason::Done).await;
    ended
}

/// Passes on what the client says, to its end.
async fn up(
    mut from: impl FrameReader,
    to: &mut impl FrameWriter,
    refuse: mpsc::Sender<ErrorBody>,
    limits: &Limits,
) -> std::io::Result<()> {
    loop {
        let refused = match from.receive().await {
            Ok(Received::Text(frame)) if std::str::from_utf8(&frame).is_ok() => {
                to.feed(frame).await?;
                to.flush().await?;
                continue;
            }
            Ok(Received::Text(frame)) => client_frame(&frame, limits).err().map(|bad| bad.error),
            Ok(Received::Rejected(fault)) => Some(ErrorBody::invalid(fault.to_string())),
            // A broken stdin is an end as well.
            Err(_) => return Ok(()),
        };
        if let Some(error) = refused {
            // Where the other direction has ended, so does this one.
            let _ = refuse.send(error).await;
        }
    }
}

/// Waits for what still comes, until it was quiet for a moment.
async fn rest(
    mut down: Pin<&mut impl Future<Output = Result<(), Cut>>>,
    idle: &Cell<Option<Instant>>,
) -> Result<(), Cut> {
    let asked = Instant::now();
    let over = asked + DRAIN;
    loop {
        let quiet = idle.get().map(|since| since.max(asked) + QUIET);
        let now = Instant::now();
        if now >= over || quiet.is_some_and(|quiet| now >= quiet) {
            return Ok(());
        }
        tokio::select! {
            ended = &mut down => return ended,
            () = sleep_until(quiet.unwrap_or(now + QUIET).min(over)) => {}
        }
    }
}

/// The direction to the client.
struct Down<'a, R, W> {
    from_daemon: R,
    to_client: W,
    /// What is wrong with lines of the client's.
    refusals: mpsc::Receiver<ErrorBody>,
    session: Option<SessionId>,
    /// Since when there has been nothing to write; none while something is written.
    idle: &'a Cell<Option<Instant>>,
    terminal: &'a mut Terminal,
}

impl<R: FrameReader, W: FrameWriter> Down<'_, R, W> {
    /// Passes on what the daemon says, to its end.
    async fn run(mut self) -> Result<(), Cut> {
        loop {
            let frame = tokio::select! {
                received = self.from_daemon.receive() => match received {
                    Ok(Received::Text(frame)) => {
                        self.session = self.session.or_else(|| session_of(&frame));
                        frame
                    }
                    Ok(Received::Rejected(fault)) => {
                        self.terminal.complain(&format!("arcpd: dropped what the daemon sent: {fault}"));
                        continue;
                    }
                    Err(ended) => return self.ended(&ended),
                },
                Some(error) = self.refusals.recv() => self.refusal(error),
            };
            self.idle.set(None);
            if self.to_client.feed(frame).await.is_err() || self.to_client.flush().await.is_err() {
                // Nobody reads any more.
                return Ok(());
            }
            self.idle.set(Some(Instant::now()));
        }
    }

    fn refusal(&mut self, error: ErrorBody) -> Bytes {
        self.terminal.complain(&format!("arcpd: refused a line: {}", error.message));
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = u64::try_from(since.as_millis()).unwrap_or(u64::MAX);
        let session_id = self.session.unwrap_or_else(|| SessionId::new(now, rand::random()));
        let id = MessageId::new(now, rand::random());
        let at = Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap_or(i64::MAX));
        let head = Head { id, session_id, job_id: None, trace_id: None, event_seq: None, at };
        server_frame(&head, &ServerMessage::Error(SessionError::new(error, None)))
    }

    /// A goodbye is an end; anything else is told.
    fn ended(&self, ended: &Ended) -> Result<(), Cut> {
        let goodbye = |code| code == CloseReason::Done.code();
        Err(Cut(match (ended, self.from_daemon.close_notice()) {
            (Ended::Closed, Some(notice)) if goodbye(notice.code) => return Ok(()),
            (Ended::Closed, Some(notice)) => {
                format!("the daemon closed the connection: {} ({})", notice.text, notice.code)
            }
            (Ended::Closed, None) => "the daemon is gone: it ended without a goodbye".into(),
            (Ended::Fault(_) | Ended::Broken(_), _) => format!("the daemon is gone: {ended}"),
        }))
    }
}

/// The session that a frame of the daemon's belongs to.
fn session_of(frame: &[u8]) -> Option<SessionId> {
    #[derive(Deserialize)]
    struct Named {
        session_id: SessionId,
    }
    serde_json::from_slice(frame).ok().map(|Named { session_id }| session_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Transport;
    use crate::transport::memory::{MemoryReader, MemoryWriter, pair};

    /// Runs a bridge between a client and a daemon of the test's; says how long it took.
    async fn bridged(
        script: impl AsyncFnOnce((MemoryReader, MemoryWriter), (MemoryReader, MemoryWriter)),
    ) -> (Result<(), Cut>, Duration) {
        let (client, near) = pair();
        let (far, daemon) = pair();
        let mut terminal = Terminal::new(Box::new(std::io::sink()), Box::new(std::io::sink()));
        let limits = Limits::default();
        let begin = Instant::now();
        let carried = carry(near.split(), far.split(), &limits, &mut terminal);
        let (carried, ()) = tokio::join!(carried, script(client.split(), daemon.split()));
        (carried, begin.elapsed())
    }

    async fn said(reader: &mut MemoryReader) -> String {
        let Ok(Received::Text(frame)) = reader.receive().await else { panic!("the bridge ended") };
        String::from_utf8(frame.into()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_job_that_goes_on_does_not_keep_a_bridge_open_whose_client_has_left() {
        let (carried, took) = bridged(async |mut client, mut daemon| {
            client.1.close(CloseReason::Done).await;
            while daemon.1.feed("{}".into()).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        })
        .await;
        assert_eq!(carried, Ok(()));
        assert!(took >= DRAIN && took < DRAIN + QUIET, "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_still_reaches_a_client_that_has_said_everything() {
        let (carried, took) = bridged(async |mut client, mut daemon| {
            client.1.feed("ask".into()).await.unwrap();
            client.1.close(CloseReason::Done).await;
            assert_eq!(said(&mut daemon.0).await, "ask");
            for answer in ["one", "two"] {
                tokio::time::sleep(QUIET / 2).await;
                daemon.1.feed(answer.into()).await.unwrap();
                assert_eq!(said(&mut client.0).await, answer);
            }
            assert!(matches!(daemon.0.receive().await, Err(Ended::Closed)));
            assert_eq!(daemon.0.close_notice(), Some(CloseReason::Done.into()));
        })
        .await;
        assert_eq!((carried, took), (Ok(()), QUIET * 2));
    }

    #[tokio::test]
    async fn a_refusal_names_the_session_once_there_is_one() {
        let id = SessionId::new(1, 2);
        let (carried, _) = bridged(async |mut client, mut daemon| {
            client.1.feed(Bytes::from_static(b"\xff")).await.unwrap();
            let refused = said(&mut client.0).await;
            assert!(refused.contains("INVALID_REQUEST") && refused.contains("UTF-8"), "{refused}");
            daemon.1.feed(format!(r#"{{"session_id":"{id}"}}"#).into()).await.unwrap();
            said(&mut client.0).await;
            client.1.feed(Bytes::from_static(b"\xff")).await.unwrap();
            let refused = said(&mut client.0).await;
            assert!(refused.contains(&id.to_string()), "{refused}");
            daemon.1.close(CloseReason::Done).await;
        })
        .await;
        assert_eq!(carried, Ok(()));
    }

    #[tokio::test]
    async fn only_a_goodbye_is_an_end() {
        let (gone, _) = bridged(async |_client, daemon| drop(daemon.1)).await;
        assert_eq!(gone, Err(Cut("the daemon is gone: it ended without a goodbye".into())));
        let (stopped, _) =
            bridged(async |_client, mut daemon| daemon.1.close(CloseReason::GoingAway).await).await;
        let Err(Cut(why)) = stopped else { panic!("{stopped:?}") };
        assert!(why.contains("the daemon is stopping"), "{why}");
    }
}
