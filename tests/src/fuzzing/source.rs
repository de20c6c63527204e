// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A whole source, and what a destination says to it.

use std::sync::Arc;

use anyhow::Result;
use migration_params::ZeroPageDetection;
use multifd_migration::dirty::{DirtyLog, NoWrites};
use multifd_migration::source::{GuestAfter, SourceEvent, Status};
use multifd_migration::stream::{DeviceSection, ReturnMessage};
use multifd_migration::{
    Connections, HostError, Report, Source, SourceConfig, SourceFailure, SourceHost,
};

use super::Target;
use super::channel::Joined;
use super::guest;
use super::limits::{MOMENT, limits};
use super::machine::{DEVICE, GO_PING, Machine};
use super::messages::{GO, all_messages, messages};
use super::parts::{self, Parts, SETUP};
use super::script::{Order, Piece, Progress, Script};
use super::text::check_error;
use crate::live::ACCEPT;

/// What comes on the return path; whose a piece is says when it comes.
pub(super) const SOURCE: Target = Target {
    name: "source",
    run: |bytes| {
        let threads = Arc::new(Joined::default());
        let sent = send(&Parts::of(bytes), &threads);
        threads.join();
        sent.unwrap_or(false)
    },
    seeds,
};

/// Answers whether the guest is gone.
fn send(parts: &Parts<'_>, threads: &Arc<Joined>) -> Result<bool> {
    let [flags, _] = parts.setup.more;
    let mut config = SourceConfig::default();
    config.threads = Arc::clone(threads) as _;
    config.hand_over = flags & 1 == 0;
    let script = script(parts, config.hand_over);
    if flags & 2 != 0 {
        config.zero_pages = ZeroPageDetection::Legacy;
    }
    // An answer that does not come is waited for in vain.
    config.limits = limits(answers(&script));
    config.limits.pong = MOMENT;
    let hand_over = config.hand_over;

    let memory = guest::memory(&[("ram", 5)])?;
    let [ram] = memory.blocks() else {
        anyhow::bail!("no block");
    };
    if let Some(page) = ram.span(0x1000, 0x1000) {
        page.copy_from(&[flags | 1; 0x1000]);
    }
    let said = Arc::new(Progress::default());
    let order = Order {
        tells_sent: Some((Arc::clone(&said), step)),
        ..Order::default()
    };
    let main = Script::ordered(&[], order);
    let order = Order {
        pieces: Some(said),
        ..Order::default()
    };
    let sent = main.sent();
    let channels = (0..parts.setup.channels).map(|_| Box::new(Script::new(&[])) as _);
    let mut connections = Connections::one_way(Box::new(main), channels.collect());
    connections.return_path = Some(Box::new(Script::ordered(&script, order)));
    let source = Source::new(config, memory, parts.setup.open_method()?, connections)?;
    let mut guest = Guest::default();
    let result = source.run(&mut guest);
    check(&result, &guest, &sent.bytes(), &script, hand_over);
    Ok(result.is_ok())
}

/// The guest is in one place, and everybody is told so.
fn check(
    result: &Result<Report, SourceFailure>,
    guest: &Guest,
    sent: &[u8],
    script: &[Piece<'_>],
    hand_over: bool,
) {
    let was_released = contains(sent, &GO_PING);
    assert!(guest.pauses <= 1 && guest.resumes <= guest.pauses);
    assert!(hand_over || !was_released);
    let said = said(script);
    let confirmed = said.contains(&ReturnMessage::Shut(0));
    let accepted = said.contains(&ReturnMessage::Pong(ACCEPT));
    match result {
        Ok(_) => {
            assert!(confirmed, "{said:?}");
            assert!((guest.pauses, guest.resumes) == (1, 0));
            assert!(contains(sent, DEVICE.as_bytes()));
            assert!(guest.status == Some(Status::Completed));
        }
        Err(failure) => {
            check_error(failure);
            assert!(guest.status == Some(Status::Failed), "{:?}", guest.status);
            let runs = guest.resumes == guest.pauses;
            assert!(runs == (failure.guest == GuestAfter::Here), "{failure:?}");
            assert!(!runs || !was_released, "{failure:?}, but it was released");
            // One that does not hand over may run the guest as soon as it has everything.
            let refused = said
                .iter()
                .any(|message| matches!(message, ReturnMessage::Shut(1..)));
            let may_be_there = confirmed && !accepted && contains(sent, DEVICE.as_bytes());
            assert!(!runs || !may_be_there || refused, "{failure:?}, {said:?}");
        }
    }
}

/// The pieces, each with the step at which it comes.
fn script<'a>(parts: &Parts<'a>, hand_over: bool) -> Vec<Piece<'a>> {
    // Of these it sends all, and waits for an answer only then.
    let most_pings = 3 + u8::from(hand_over);
    parts
        .numbered()
        .map(|(owner, bytes)| match owner % STEPS {
            pings if pings <= most_pings => (pings.into(), bytes),
            _ => (Progress::END, bytes),
        })
        .collect()
}

/// How far a source has come: the PINGs that it has sent, or behind the tail.
fn step(sent: &[u8]) -> u32 {
    if contains(sent, DEVICE.as_bytes()) {
        return Progress::END;
    }
    let pings = sent.windows(PING.len()).filter(|at| *at == PING).count();
    u32::try_from(pings).unwrap_or(Progress::END)
}

/// Whether the last PING that must be answered before the source sends everything is the last one that is.
fn answers(script: &[Piece<'_>]) -> bool {
    let early = script.iter().take_while(|(step, _)| *step < Progress::END);
    let early: Vec<Piece<'_>> = early.copied().collect();
    let said = said(&early).into_iter();
    let mut pongs = said.filter(|message| matches!(message, ReturnMessage::Pong(_)));
    pongs.next_back() == Some(ReturnMessage::Pong(LAST_PING))
}

/// The messages of the destination, up to the first thing that is none.
fn said(script: &[Piece<'_>]) -> Vec<ReturnMessage> {
    let bytes = script.iter().flat_map(|(_, bytes)| *bytes);
    let bytes: Vec<u8> = bytes.copied().collect();
    messages(&bytes).0
}

/// A guest that does not write.
#[derive(Default)]
struct Guest {
    log: NoWrites,
    pauses: usize,
    resumes: usize,
    status: Option<Status>,
}

impl SourceHost for Guest {
    fn dirty_log(&mut self) -> &mut dyn DirtyLog {
        &mut self.log
    }

    fn pause(&mut self) -> Result<(), HostError> {
        self.pauses += 1;
        Ok(())
    }

    fn resume(&mut self) {
        self.resumes += 1;
    }

    fn save_devices(&mut self) -> Result<Vec<DeviceSection>, HostError> {
        Ok(vec![DeviceSection {
            name: DEVICE.into(),
            data: vec![7; 20],
            ..DeviceSection::default()
        }])
    }

    fn event(&mut self, event: &SourceEvent) {
        if let SourceEvent::Status(status) = event {
            self.status = Some(*status);
        }
    }
}

fn seeds() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    let machines = Machine::own()?.into_iter();
    for machine in machines.filter(|machine| !machine.back.is_empty()) {
        let (mut pings, mut parts) = (0, Vec::new());
        let flags = u8::from(!contains(&machine.back, &ACCEPT.to_be_bytes()));
        for message in all_messages(&machine.back) {
            pings += u8::from(matches!(message, ReturnMessage::Pong(_)));
            let owner = match message {
                ReturnMessage::Pong(value) if value != GO => pings,
                _ => BEHIND_THE_TAIL,
            };
            parts.push((owner, message.encode()));
        }
        let setup = machine.setup([flags, 0]).bytes();
        let parts = parts
            .iter()
            .map(|(owner, bytes)| (*owner, bytes.as_slice()));
        seeds.push(parts::join(
            std::iter::once((SETUP, &setup[..])).chain(parts),
        ));
    }
    Ok(seeds)
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|at| at == what)
}

/// How many kinds of moments there are.
const STEPS: u8 = 8;
const BEHIND_THE_TAIL: u8 = STEPS - 1;
/// The value of the PING before the switchover.
const LAST_PING: u32 = 3;
const PING: [u8; 5] = [8, 0, 2, 0, 4];
