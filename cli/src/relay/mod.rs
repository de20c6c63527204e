// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! `multifd relay`: between a source and a destination.

mod board;
mod check;
mod connection;
mod control;
mod entrance;
mod outcome;
mod passage;
mod plan;
mod reload;
mod report;
mod turn;
mod turned_away;
mod view;
mod wishes;

use std::collections::BTreeMap;
use std::iter;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant, SystemTime};

use multifd_core::Error;
use multifd_core::transport::Transport;
use multifd_core::wire::Uuid;

use crate::args::RelayArgs;
use crate::config::{Given, InForce};
use crate::ends::interrupt::{Interrupt, Wish};
use crate::ends::supervisor::Supervisor;
use crate::net::descriptors::{self, BESIDE, Reserve};
use crate::net::listen::Listener;
use crate::net::passed::Passed;
use crate::net::peer::Peer;
use crate::show::exit_code::ExitCode;
use crate::show::failure::Failure;
use crate::show::log::{self, Identity, SERVICE};
use crate::show::output;
use crate::show::progress::Progress;
use board::{Board, Frame};
use connection::Connection;
use control::Control;
use entrance::{Arrival, Entrance, Party};
use passage::{Desk, Message, News, Passage};
use plan::{Plan, check_ends};
use reload::{Changeable, Options};
use view::View;

pub(crate) fn run(args: &RelayArgs, in_force: &InForce, given: &Given) -> anyhow::Result<ExitCode> {
    if args.check_config {
        return check::check(args, in_force);
    }
    if let Some(file) = in_force.file() {
        ::log::info!(target: SERVICE, "has options of {}", file.display());
    }
    // Before there is a second thread.
    let passed = Passed::take()?;
    let interrupt = Interrupt::install()?;
    let plan = Arc::new(Plan::new(args)?);
    let (taken, made) = (
        &plan.config.forwarder.channels,
        &plan.config.outgoing_channels,
    );
    let room = descriptors::allow(2 + taken.count() + made.count());
    let addresses = passed.addresses(args.listen.as_ref());
    check_ends(&addresses, &args.to)?;
    let allowed = args.allow.at(&addresses)?;
    let limit = args.limits().destination;
    let mut listener = Listener::open(passed, args.listen.as_ref(), limit)?;
    listener.take_only(allowed);
    if let Err(failure) = room {
        output::message(format_args!("multifd: warning: {failure}"));
    }
    // One migration that does not fit ends with that, and says so; others may be smaller.
    if Listener::has_room_for(1 + taken.count(), 1 + made.count()) {
        listener.leave_room_for(1 + made.count());
    }
    let address = listener.place();
    let (send_messages, messages) = mpsc::channel();
    let desk = Desk {
        messages: send_messages,
        waker: listener.waker(),
    };
    let (send_wishes, wishes) = mpsc::channel();
    let waker = listener.waker();
    let wish = move |wish| {
        // Nobody listens only if this process ends.
        let _ = send_wishes.send(wish);
        waker.wake();
    };
    match args.keep_listening {
        true => interrupt.serve(wish),
        false => interrupt.on_signal(move || {
            wish(Wish::Cancel);
            ExitCode::Interrupted
        }),
    }
    let board = Board::new(Frame {
        listening: address.clone(),
        target: args.to.to_string(),
        most: match args.keep_listening {
            true => args.max_migrations.get(),
            false => 1,
        },
    });
    let control = Control::start(args, &board)?;
    listener.announce(args.json);
    let view = match args.quiet {
        true => None,
        false => View::start(&board)?,
    };
    let channels = plan.config.forwarder.channels.count();
    let limit = plan.config.forwarder.limits.init;
    let entrance = match args.keep_listening {
        true => Entrance::several((listener, plan.tls.clone()), channels, limit)?,
        false => Entrance::one((listener, plan.tls.clone()), limit)?,
    };
    let relaying = Relaying {
        args,
        options: Options::new(given, in_force, addresses),
        changeable: Changeable::new(args),
        entrance,
        plan,
        address,
        desk,
        messages,
        wishes,
        end: None,
        supervisor: Supervisor::new(),
        board,
        _control: control,
        view,
        passages: BTreeMap::new(),
        started: 0,
        progress: None,
    };
    relaying.run()
}

/// The listening thread, and what it knows of the migrations.
struct Relaying<'a> {
    args: &'a RelayArgs,
    options: Options<'a>,
    changeable: Changeable,
    plan: Arc<Plan>,
    entrance: Entrance,
    /// Where it listens.
    address: String,
    desk: Desk,
    messages: mpsc::Receiver<Message>,
    /// What signals have wanted.
    wishes: mpsc::Receiver<Wish>,
    /// When what still runs is cancelled, once this is to end.
    end: Option<Instant>,
    supervisor: Supervisor,
    board: Board,
    /// What answers whoever asks.
    _control: Option<Control>,
    /// What a terminal shows.
    view: Option<View>,
    passages: BTreeMap<usize, Passage>,
    started: usize,
    progress: Option<Progress>,
}

impl Relaying<'_> {
    fn run(mut self) -> anyhow::Result<ExitCode> {
        self.supervisor.ready();
        loop {
            while let Ok(Message { number, news }) = self.messages.try_recv() {
                match news {
                    News::Announced(reply) => self.announced(number, reply)?,
                    News::Ended(result) => {
                        if let Some(end) = self.ended(number, result)? {
                            return Ok(end);
                        }
                    }
                }
            }
            while let Ok(wish) = self.wishes.try_recv() {
                self.heed(wish);
            }
            if let Some(end) = self.end {
                if self.passages.is_empty() {
                    return self.interrupted();
                }
                if end <= Instant::now() {
                    self.abort();
                }
            }
            self.arrivals()?;
            self.answer();
            let left = self
                .end
                .map(|end| end.saturating_duration_since(Instant::now()));
            // What is cancelled says so by itself.
            let left = left.filter(|left| !left.is_zero());
            self.supervisor.status(self.board.summary());
            self.board.set_waiting(self.entrance.outside());
            let alive = self.supervisor.alive();
            let is_asked = self
                .passages
                .values()
                .any(|passage| passage.asking.is_some());
            // Time answers it, too.
            let pause = is_asked.then_some(PAUSE);
            self.entrance
                .wait(left.into_iter().chain(alive).chain(pause).min())?;
        }
    }

    /// Takes what has been accepted.
    fn arrivals(&mut self) -> anyhow::Result<()> {
        let passages = &self.passages;
        let takes = |uuid, peer| passages.values().any(|passage| passage.takes(uuid, peer));
        let will_be_room = !passages.is_empty() && passages.values().all(|it| it.has_room);
        for arrival in self.entrance.arrivals(&takes, will_be_room)? {
            match arrival {
                Arrival::Only(connection) => self.only(connection)?,
                Arrival::Surplus(uuid, peer, connection) => self.surplus(uuid, peer, connection),
                Arrival::Refused(refusal) => self.refused(&refusal),
            }
        }
        while let Some((party, reserve)) = self.next_guest() {
            self.start(party, reserve);
        }
        Ok(())
    }

    /// The next guest whose migration may begin, with descriptors for it. While others are under way it waits until there
    /// are enough; alone it takes what there is, if there are not.
    fn next_guest(&mut self) -> Option<(Party, Option<Reserve>)> {
        let most = self.changeable.max_migrations;
        if self.end.is_some() || self.passages.len() >= most {
            return None;
        }
        let passages = &self.passages;
        let under_way = |uuid| passages.values().any(|passage| passage.is_of(uuid));
        self.entrance.next_guest(under_way, || {
            let connections = Passage::connections(&self.plan);
            match passages.is_empty() {
                true => Some(Reserve::take(connections, 0)),
                false => Reserve::take(connections, BESIDE).map(Some),
            }
        })
    }

    /// A connection of the only migration, which begins with the first.
    fn only(&mut self, connection: Box<dyn Transport>) -> anyhow::Result<()> {
        const ONLY: usize = 1;
        if self.started == 0 {
            let identity = self.identify(None, None);
            let passage = Passage::start(&identity, &self.plan, &self.desk, None)?;
            self.post(&passage);
            self.passages.insert(ONLY, passage);
        }
        self.accept(ONLY, connection);
        Ok(())
    }

    /// Starts the migration of a guest, whose connections are to have the descriptors in `reserve`.
    fn start(&mut self, party: Party, reserve: Option<Reserve>) {
        let identity = self.identify(Some(party.uuid), Some(party.peer));
        match Passage::start(&identity, &self.plan, &self.desk, reserve) {
            Ok(passage) => {
                let to = &identity.target;
                log::within(&identity, || {
                    ::log::info!(target: SERVICE, "from {}, to {to}", party.peer);
                });
                self.post(&passage);
                self.passages.insert(identity.number, passage);
                let main: Box<dyn Transport> = Box::new(Connection::new(party.main));
                for connection in iter::once(main).chain(party.channels) {
                    self.accept(identity.number, connection);
                }
            }
            // Its connections are closed: the guest stays where it is. Others have what they need.
            Err(error) => {
                let failure = Failure::new(
                    ExitCode::Local,
                    format!("no thread could be started: {error}"),
                );
                let failure = failure.hint(
                    "the system may have no memory left, or no room for threads: see TasksMax= of the unit, ulimit -u",
                );
                self.failed(&identity, &failure.into());
            }
        }
    }

    /// The next migration.
    fn identify(&mut self, uuid: Option<Uuid>, peer: Option<Peer>) -> Arc<Identity> {
        self.started += 1;
        let to = &self.plan.to;
        Arc::new(Identity {
            number: self.started,
            uuid: uuid.map(OnceLock::from).unwrap_or_default(),
            peer: peer.map(|peer| peer.to_string()),
            target: uuid
                .map_or_else(|| to.clone(), |uuid| to.for_guest(uuid))
                .to_string(),
            start: SystemTime::now(),
        })
    }

    fn accept(&self, number: usize, connection: Box<dyn Transport>) {
        if let Some(passage) = self.passages.get(&number)
            && let Err(error) = passage.relay.accept(connection)
        {
            // The migration knows it, too.
            log::within(&passage.identity, || ::log::debug!("{error}"));
        }
    }

    /// A channel more than there should be of a guest.
    fn surplus(&self, uuid: Uuid, peer: Peer, connection: Box<dyn Transport>) {
        let mut passages = self.passages.iter();
        if let Some((number, _)) = passages.find(|(_, passage)| passage.takes(uuid, peer)) {
            self.accept(*number, connection);
        }
    }

    fn announced(&mut self, number: usize, reply: mpsc::Sender<()>) -> anyhow::Result<()> {
        let Some(passage) = self.passages.get_mut(&number) else {
            return Ok(());
        };
        passage.asking = Some((reply, Instant::now()));
        // Not before: whoever connected first may have been somebody else.
        if !self.args.keep_listening && !self.args.quiet && self.view.is_none() {
            let monitor = passage.relay.monitor();
            self.progress = Some(Progress::start(monitor, &passage.total, "passed on")?);
        }
        Ok(())
    }

    /// Lets migrations go on whose connections are all known.
    fn answer(&mut self) {
        for passage in self.passages.values_mut() {
            let failed = passage.relay.abort_handle().error().is_some();
            let is_sorted = |(_, then): &mut (_, Instant)| failed || self.entrance.is_sorted(*then);
            if let Some((reply, _)) = passage.asking.take_if(is_sorted) {
                passage.announced = true;
                self.entrance.stop_at_one();
                // It may have failed meanwhile.
                let _ = reply.send(());
            }
        }
    }

    /// The end by a signal, once no migration is left.
    fn interrupted(&self) -> anyhow::Result<ExitCode> {
        if self.args.keep_listening {
            // Each migration has said what became of it.
            return Ok(ExitCode::Ok);
        }
        Err(Error::aborted().into())
    }

    /// Ends all migrations.
    fn abort(&mut self) {
        for passage in self.passages.values() {
            passage.relay.abort_handle().abort();
        }
    }
}

/// Between two looks at what time may answer.
const PAUSE: Duration = Duration::from_millis(50);
