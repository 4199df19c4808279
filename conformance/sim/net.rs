//! Connections that delay, stall, break at any point and lose what was on its way.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use arcpd::transport::{CloseReason, Ended, FrameReader, FrameWriter, Received, Transport};
use bytes::Bytes;
use tokio::sync::Notify;

use crate::state::{Event, Shared, State};

/// What travels to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Item {
    Frame(Bytes),
    End,
}

/// One connection.
pub(crate) struct Link {
    pub(crate) client: usize,
    up: VecDeque<Bytes>,
    inbox: VecDeque<Bytes>,
    down: VecDeque<Item>,
    /// Of those on their way down, how many have arrived and wait for the client to read.
    arrived: usize,
    room: usize,
    stalled: bool,
    /// Nothing passes any more.
    cut: bool,
    /// The daemon's end knows that.
    broken: bool,
    /// The daemon has closed it.
    closed: bool,
    last_up: u64,
    last_down: u64,
    /// When it ended, from whichever side.
    pub(crate) ended_at: Option<u64>,
    moved: Arc<Notify>,
}

impl State {
    /// A client connects. None while there is no daemon.
    pub(crate) fn connect(&mut self, client: usize) -> Option<u64> {
        if self.life == 0 {
            return None;
        }
        let id = self.links.len() as u64 + 1;
        let room = self.net_dice.within(1, 40) as usize;
        let now = self.now();
        let link = Link {
            client,
            up: VecDeque::new(),
            inbox: VecDeque::new(),
            down: VecDeque::new(),
            arrived: 0,
            room,
            stalled: false,
            cut: false,
            broken: false,
            closed: false,
            last_up: now,
            last_down: now,
            ended_at: None,
            moved: Arc::new(Notify::new()),
        };
        self.links.insert(id, link);
        self.dialled.push(id);
        Some(id)
    }

    fn travel(&mut self, last: u64) -> u64 {
        let most = self.plan.net_ms;
        let ms = if self.net_dice.chance(80) { most / 10 } else { most };
        let ms = self.net_dice.within(0, ms);
        (self.now() + ms).max(last)
    }

    /// A client sends a frame.
    pub(crate) fn send_up(&mut self, id: u64, frame: Bytes) {
        let last = self.links[&id].last_up;
        let at = self.travel(last);
        let now = self.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_up = at;
        if !link.cut {
            link.up.push_back(frame);
            self.after(at - now, Event::Heard(id));
        }
    }

    /// A frame has arrived at the daemon.
    pub(crate) fn heard(&mut self, id: u64) {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.cut) else { return };
        link.inbox.extend(link.up.pop_front());
        link.moved.notify_waiters();
    }

    fn send_down(&mut self, id: u64, item: Item) {
        let last = self.links[&id].last_down;
        let at = self.travel(last);
        let now = self.now();
        let Some(link) = self.links.get_mut(&id) else { return };
        link.last_down = at;
        link.down.push_back(item);
        if !link.cut {
            self.after(at - now, Event::Arrived(id));
        }
    }

    /// Something has arrived at a client, which gets it unless it is stalled.
    pub(crate) fn arrived(&mut self, id: u64) -> Vec<Item> {
        if let Some(link) = self.links.get_mut(&id) {
            link.arrived += 1;
        }
        self.readable(id)
    }

    /// A client reads again.
    pub(crate) fn unstall(&mut self, id: u64) -> Vec<Item> {
        if let Some(link) = self.links.get_mut(&id) {
            link.stalled = false;
        }
        self.readable(id)
    }

    fn readable(&mut self, id: u64) -> Vec<Item> {
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.stalled) else { return Vec::new() };
        let count = link.arrived.min(link.down.len());
        link.arrived -= count;
        link.moved.notify_waiters();
        link.down.drain(..count).collect()
    }

    pub(crate) fn stall(&mut self, id: u64, ms: u64) {
        if let Some(link) = self.links.get_mut(&id).filter(|link| link.ended_at.is_none()) {
            link.stalled = true;
            self.say(|| format!("link {id} stalls"));
            self.after(ms, Event::Unstall(id));
        }
    }

    /// A link breaks. Some of what was on its way down still arrives; the daemon is told after a while, if ever.
    pub(crate) fn cut(&mut self, id: u64, daemon_told: Option<u64>) {
        let now = self.now();
        let Some(link) = self.links.get_mut(&id).filter(|link| !link.cut) else { return };
        link.cut = true;
        link.ended_at.get_or_insert(now);
        link.up.clear();
        let kept = link.down.len() as u64;
        let kept = self.net_dice.below(kept + 1) as usize;
        link.down.truncate(kept);
        if link.down.back() != Some(&Item::End) {
            link.down.push_back(Item::End);
        }
        let at = link.last_down.max(now) + 1;
        self.say(|| format!("link {id} cut"));
        // Whatever was to arrive arrives with the end at the latest.
        for _ in 0..=kept {
            self.after(at - now, Event::Arrived(id));
        }
        if let Some(ms) = daemon_told {
            self.after(ms, Event::Broken(id));
        }
    }

    /// The daemon's end learns that a link is broken.
    pub(crate) fn broken(&mut self, id: u64) {
        if let Some(link) = self.links.get_mut(&id) {
            link.broken = true;
            link.moved.notify_waiters();
        }
    }
}

/// The daemon's end of a link.
pub(crate) struct SimTransport {
    pub(crate) shared: Shared,
    pub(crate) life: u64,
    pub(crate) link: u64,
}

impl Transport for SimTransport {
    type Reader = SimReader;
    type Writer = SimWriter;

    fn split(self) -> (SimReader, SimWriter) {
        let SimTransport { shared, life, link } = self;
        let moved = shared.lock().links[&link].moved.clone();
        let end = End { shared, life, link, moved };
        (SimReader(end.clone()), SimWriter(end))
    }
}

#[derive(Clone)]
struct End {
    shared: Shared,
    life: u64,
    link: u64,
    moved: Arc<Notify>,
}

impl End {
    /// Tries until something can be done.
    async fn when<T>(&self, mut attempt: impl FnMut(&mut State) -> Option<T>) -> T {
        loop {
            let moved = self.moved.notified();
            tokio::pin!(moved);
            moved.as_mut().enable();
            if let Some(done) = attempt(&mut self.shared.lock()) {
                return done;
            }
            moved.await;
        }
    }
}

pub(crate) struct SimReader(End);

impl FrameReader for SimReader {
    async fn receive(&mut self) -> Result<Received, Ended> {
        let id = self.0.link;
        let take = |state: &mut State| {
            let link = state.links.get_mut(&id)?;
            match link.inbox.pop_front() {
                Some(frame) => Some(Ok(Received::Text(frame))),
                None if link.broken => Some(Err(())),
                None => None,
            }
        };
        self.0.when(take).await.map_err(|()| {
            let polite = self.0.shared.lock().net_dice.chance(50);
            if polite { Ended::Closed } else { Ended::Broken(io::ErrorKind::ConnectionReset.into()) }
        })
    }
}

pub(crate) struct SimWriter(End);

impl FrameWriter for SimWriter {
    async fn feed(&mut self, frame: Bytes) -> io::Result<()> {
        let (id, life) = (self.0.link, self.0.life);
        let push = |state: &mut State| {
            let link = state.links.get_mut(&id)?;
            if link.closed || link.broken || state.life != life {
                return Some(Err(io::ErrorKind::BrokenPipe.into()));
            }
            if link.down.len() >= link.room {
                return None;
            }
            state.spoken(id, &frame);
            state.send_down(id, Item::Frame(frame.clone()));
            Some(Ok(()))
        };
        self.0.when(push).await
    }

    async fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    async fn close(&mut self, reason: CloseReason) {
        self.end(&format!("closed: {}", reason.as_str()));
    }
}

impl SimWriter {
    fn end(&self, how: &str) {
        let id = self.0.link;
        let mut state = self.0.shared.lock();
        let now = state.now();
        if state.life != self.0.life {
            return;
        }
        let Some(link) = state.links.get_mut(&id).filter(|link| !link.closed) else { return };
        link.closed = true;
        link.ended_at.get_or_insert(now);
        state.say(|| format!("link {id} {how}"));
        state.send_down(id, Item::End);
    }
}

impl Drop for SimWriter {
    fn drop(&mut self) {
        self.end("dropped");
    }
}
