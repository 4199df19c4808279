//! One run: lives of the daemon, one after the other, in a world where everything follows from the seed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arcpd::embed::Runtime;
use tokio::task::JoinHandle;

use crate::agents::Agents;
use crate::clients::{Board, Client};
use crate::dice::Dice;
use crate::disk::Disk;
use crate::judge::Judge;
use crate::net::{Item, SimTransport};
use crate::plan::Plan;
use crate::state::{Event, Fate, Shared, State};

/// How long everything may take to come right once nothing goes wrong any more, in virtual milliseconds.
const HEALING_MS: u64 = 400_000;

/// How a life of the daemon ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Exit {
    /// Killed.
    Crash,
    /// Told to stop, and stopped.
    Stopped,
    /// The run is over.
    Done,
}

/// What a run came to.
pub(crate) struct Outcome {
    pub(crate) trace: Vec<String>,
    pub(crate) violations: Vec<String>,
    pub(crate) lives: u64,
    pub(crate) jobs: usize,
    pub(crate) frames: u64,
}

struct World {
    shared: Shared,
    dice: Dice,
    clients: Vec<Client>,
    judges: Vec<Judge>,
    judging: bool,
    healed: bool,
    board: Board,
    stopping: Option<JoinHandle<()>>,
}

/// Runs a plan to its end.
pub(crate) fn run(plan: Plan) -> Outcome {
    let mut dice = Dice::new(plan.seed ^ 0x5eed);
    let clients: Vec<Client> = (0..plan.clients).map(|index| Client::new(index, dice.split())).collect();
    let judges = vec![Judge::new(plan.clients, "alice"), Judge::new(plan.clients + 1, "bob")];
    let shared = Shared::new(plan, &mut dice);
    let mut world = World {
        shared,
        dice,
        clients,
        judges,
        judging: false,
        healed: false,
        board: Board::default(),
        stopping: None,
    };
    world.begin();
    let mut lives = 0;
    loop {
        lives += 1;
        let process =
            tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        let exit = process.block_on(async {
            let exit = world.life(lives).await;
            world.end(exit);
            exit
        });
        drop(process);
        if exit == Exit::Done {
            break;
        }
    }
    let mut state = world.shared.lock();
    Outcome {
        trace: std::mem::take(&mut state.trace),
        violations: std::mem::take(&mut state.oracle.violations),
        lives,
        jobs: state.oracle.jobs.len(),
        frames: state.oracle.frames,
    }
}

impl World {
    fn begin(&mut self) {
        let mut state = self.shared.lock();
        for index in 0..self.clients.len() {
            state.after(index as u64, Event::Act(index));
        }
        let (chaos, heal) = (state.plan.chaos_ms, state.plan.trouble_ms);
        state.after(chaos, Event::Chaos);
        state.after(heal, Event::Heal);
    }

    async fn life(&mut self, life: u64) -> Exit {
        self.shared.lock().begin(life);
        self.shared.lock().say(|| format!("life {life} begins"));
        let runtime = self.daemon(life);
        loop {
            let (event, sooner, next) = {
                let mut state = self.shared.lock();
                (state.due(), state.sooner.clone(), state.next_at())
            };
            let Some(event) = event else {
                let wait = Duration::from_millis(next.map_or(0, |at| at - self.shared.lock().now()));
                tokio::select! {
                    biased;
                    () = sooner.notified() => {}
                    () = tokio::time::sleep(wait) => {}
                }
                continue;
            };
            if let Some(exit) = self.happen(event, &runtime, life) {
                return exit;
            }
            if self.stopping.as_ref().is_some_and(JoinHandle::is_finished) {
                return Exit::Stopped;
            }
            // How much the daemon does between two events is a matter of chance.
            for _ in 0..self.dice.below(4) {
                tokio::task::yield_now().await;
            }
        }
    }

    fn daemon(&self, life: u64) -> Runtime {
        let plan = self.shared.lock().plan.clone();
        Runtime::builder()
            .token("alice", "tok-alice")
            .token("bob", "tok-bob")
            .limits(plan.limits)
            .resume_window(Duration::from_secs(plan.window_sec))
            .heartbeat_interval(Duration::from_secs(plan.heartbeat_sec))
            .host("sim@1.0.0", Arc::new(Agents(self.shared.clone())))
            .host("sim@2.0.0", Arc::new(Agents(self.shared.clone())))
            .restartable("sim", "2.0.0")
            .store(Arc::new(Disk::new(&self.shared, life)))
            .ambient(Arc::new(Fate(self.shared.clone())))
            .start()
            .unwrap()
    }

    /// Between two lives.
    fn end(&mut self, exit: Exit) {
        let mut state = self.shared.lock();
        self.stopping = None;
        state.say(|| format!("{exit:?}"));
        match exit {
            Exit::Done => return state.stop(0),
            Exit::Stopped => state.flush(),
            Exit::Crash => state.lose(),
        }
        let links: Vec<u64> = state.links.keys().copied().collect();
        for link in links {
            state.cut(link, None);
        }
        let pause = self.dice.below(3_000);
        state.stop(pause);
    }

    fn happen(&mut self, event: Event, runtime: &Runtime, life: u64) -> Option<Exit> {
        let shared = self.shared.clone();
        let mut state = shared.lock();
        match event {
            Event::Apply => state.apply(),
            Event::Heard(link) => state.heard(link),
            Event::Broken(link) => state.broken(link),
            Event::Arrived(link) => {
                let items = state.arrived(link);
                self.deliver(&mut state, link, items);
            }
            Event::Unstall(link) => {
                let items = state.unstall(link);
                self.deliver(&mut state, link, items);
            }
            Event::Act(index) => self.clients[index].act(&mut state, &self.board),
            Event::Chaos => {
                if let Some(exit) = self.chaos(&mut state, runtime) {
                    return Some(exit);
                }
            }
            Event::Heal => self.heal(&mut state),
            Event::Late => {
                let missing: Vec<String> = self.missing(&state).collect();
                state.violation(format!("what should have come did not come: {missing:?}"));
            }
        }
        self.dial(&mut state, runtime, life);
        if !state.oracle.violations.is_empty() {
            return Some(Exit::Done);
        }
        if self.healed && self.missing(&state).next().is_none() {
            return self.conclude(&mut state, runtime, life);
        }
        None
    }

    /// Connections that clients have begun are served.
    fn dial(&self, state: &mut State, runtime: &Runtime, life: u64) {
        for link in state.dialled.drain(..) {
            let transport = SimTransport { shared: self.shared.clone(), life, link };
            let runtime = runtime.clone();
            tokio::spawn(async move { runtime.serve(transport, "sim".into()).await });
        }
    }

    fn deliver(&mut self, state: &mut State, link: u64, items: Vec<Item>) {
        let Some(index) = state.links.get(&link).map(|link| link.client) else { return };
        for item in items {
            match self.clients.get_mut(index) {
                Some(client) => client.receive(state, &mut self.board, link, item),
                None => self.judges[index - self.clients.len()].receive(state, link, item),
            }
        }
    }

    fn chaos(&mut self, state: &mut State, runtime: &Runtime) -> Option<Exit> {
        if self.healed {
            return None;
        }
        let most = state.plan.chaos_ms;
        state.after(self.dice.within(1, most), Event::Chaos);
        let links: Vec<u64> =
            state.links.iter().filter(|(_, link)| link.ended_at.is_none()).map(|(id, _)| *id).collect();
        let link = self.dice.pick(&links).copied();
        let plan = state.plan.clone();
        match self.dice.below(10) {
            0 if plan.crashes => return Some(Exit::Crash),
            1 if plan.crashes && self.stopping.is_none() && self.dice.chance(30) => {
                state.say(|| "the daemon is told to stop".into());
                let runtime = runtime.clone();
                self.stopping = Some(tokio::spawn(async move { runtime.stop().await }));
            }
            2 if plan.failing => {
                let until = state.now() + self.dice.within(50, 5_000);
                state.disk.fails_until = until;
            }
            3 if plan.failing => state.plan.read_fails = [0, 0, 20, 100][self.dice.below(4) as usize],
            4..7 if plan.cuts => {
                let told = self.dice.chance(70).then(|| self.dice.within(0, 50));
                link.into_iter().for_each(|link| state.cut(link, told));
            }
            7..10 if plan.stalls => {
                let ms = self.dice.within(10, 12_000);
                link.into_iter().for_each(|link| state.stall(link, ms));
            }
            _ => {}
        }
        None
    }

    fn heal(&mut self, state: &mut State) {
        state.say(|| "nothing goes wrong any more".into());
        self.healed = true;
        state.plan.read_fails = 0;
        state.disk.fails_until = 0;
        for client in &mut self.clients {
            client.finishing = true;
        }
        state.after(HEALING_MS, Event::Late);
    }

    fn missing(&self, state: &State) -> impl Iterator<Item = String> {
        let clients = self.clients.iter().enumerate();
        let clients =
            clients.filter_map(|(index, client)| Some(format!("client {index}: {}", client.missing()?)));
        let open = state.oracle.jobs.iter().filter(|(_, job)| !job.status.is_terminal());
        let jobs: BTreeMap<_, _> = open.collect();
        let jobs: Vec<String> = jobs.keys().map(|job| format!("the end of {job}")).collect();
        clients.chain(jobs)
    }

    /// Everything has come right: the judges come, and then the run is over.
    fn conclude(&mut self, state: &mut State, runtime: &Runtime, life: u64) -> Option<Exit> {
        if self.stopping.is_some() {
            return None;
        }
        if !self.judging {
            self.judging = true;
            state.say(|| "the judges come".into());
            self.judges.iter_mut().for_each(|judge| judge.begin(state));
            self.dial(state, runtime, life);
        }
        if !self.judges.iter().all(|judge| judge.done) {
            return None;
        }
        state.oracle.finale();
        self.clients.iter().for_each(|client| client.finale(state));
        Some(Exit::Done)
    }
}
