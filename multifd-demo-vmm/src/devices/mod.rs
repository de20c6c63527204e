// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the guest reaches through I/O ports.

mod pace;
mod serial;

use std::sync::{Mutex, MutexGuard, PoisonError};

pub(crate) use pace::CHECK;

use pace::Pace;
use serial::Serial;

use crate::layout::{self, field};
use crate::state::StateReader;
use crate::{Error, Memory, Workload};

/// All devices of a machine. The threads of all vCPUs use them.
pub(crate) struct Ports {
    memory: Memory,
    serial: Mutex<Serial>,
    pace: Mutex<Pace>,
    failures: Mutex<Vec<String>>,
}

/// Where the serial port has its eight registers.
pub(crate) const SERIAL: u16 = 0x3f8;
/// In: the next command, of 32 bits.
pub(crate) const COMMAND: u16 = 0x600;
/// Out: the number of a page that is wrong, of 32 bits.
pub(crate) const FAILURE: u16 = 0x604;

/// Names and layouts of the devices' states.
pub(crate) const SERIAL_STATE: (&str, u32) = ("serial", 1);
pub(crate) const PACE_STATE: (&str, u32) = ("pace", 1);

impl Ports {
    pub(crate) fn new(memory: Memory, vcpus: usize, workload: &Workload) -> Self {
        Self {
            memory,
            serial: Mutex::default(),
            pace: Mutex::new(Pace::new(vcpus, workload.rate)),
            failures: Mutex::default(),
        }
    }

    /// The guest reads from a port. Returns whether it got nothing to do.
    pub(crate) fn read(&self, vcpu: usize, port: u16, data: &mut [u8]) -> Result<bool, Error> {
        match port {
            COMMAND => {
                let command = self.command(vcpu)?;
                for (to, from) in data.iter_mut().zip(command.to_le_bytes()) {
                    *to = from;
                }
                return Ok(command == 0);
            }
            SERIAL..=LAST_SERIAL => data.fill(lock(&self.serial).read(port - SERIAL)),
            // Nothing is there.
            _ => data.fill(0xff),
        }
        Ok(false)
    }

    /// The guest writes to a port.
    pub(crate) fn write(&self, vcpu: usize, port: u16, data: &[u8]) {
        match port {
            FAILURE => {
                let page = data
                    .iter()
                    .rev()
                    .fold(0, |page, byte| page << 8 | u32::from(*byte));
                lock(&self.failures).push(format!("vCPU {vcpu} found page {page} wrong"));
            }
            SERIAL..=LAST_SERIAL => {
                for byte in data {
                    lock(&self.serial).write(port - SERIAL, *byte);
                }
            }
            _ => {}
        }
    }

    /// What a vCPU is to do next. The command's number is written to the guest's memory before it gets
    /// the command, as a device does that uses DMA.
    pub(crate) fn command(&self, vcpu: usize) -> Result<u32, Error> {
        let (number, command) = lock(&self.pace).next(vcpu);
        let block = layout::control(vcpu);
        self.memory.store(block + field::TICKET, number)?;
        Ok(command)
    }

    /// A guest that does no more because what it found is wrong.
    pub(crate) fn fail(&self, what: String) {
        lock(&self.failures).push(what);
    }

    /// Lets each vCPU check so many pages.
    pub(crate) fn check(&self, pages: impl Iterator<Item = u64>) {
        lock(&self.pace).check(pages);
    }

    /// Pages that have not been given out to check yet.
    pub(crate) fn unchecked(&self) -> u64 {
        lock(&self.pace).unchecked()
    }

    /// Time begins anew for who must not catch up with what he missed.
    pub(crate) fn restart_clock(&self) {
        lock(&self.pace).restart_clock();
    }

    pub(crate) fn failures(&self) -> Vec<String> {
        lock(&self.failures).clone()
    }

    /// What was written to the serial port.
    pub(crate) fn console(&self) -> String {
        lock(&self.serial).console()
    }

    pub(crate) fn save_serial(&self) -> Vec<u8> {
        lock(&self.serial).save()
    }

    pub(crate) fn load_serial(&self, state: &[u8]) -> Result<(), Error> {
        lock(&self.serial).load(StateReader::new(SERIAL_STATE.0, state))
    }

    pub(crate) fn save_pace(&self) -> Vec<u8> {
        lock(&self.pace).save()
    }

    pub(crate) fn load_pace(&self, state: &[u8]) -> Result<(), Error> {
        lock(&self.pace).load(StateReader::new(PACE_STATE.0, state))
    }
}

const LAST_SERIAL: u16 = SERIAL + 7;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A device is whole after each access.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Pattern;

    fn ports() -> Ports {
        let file = tempfile::tempfile().unwrap();
        file.set_len(1 << 20).unwrap();
        let workload = Workload {
            rate: None,
            pattern: Pattern::Random,
            working_set: 1 << 16,
        };
        Ports::new(Memory::new(&file).unwrap(), 2, &workload)
    }

    #[test]
    fn commands_are_numbered_in_memory() {
        let ports = ports();
        for number in 1..4 {
            let mut data = [0; 4];
            assert!(!ports.read(1, COMMAND, &mut data).unwrap());
            assert!(u32::from_le_bytes(data) > 0);
            let ticket = layout::control(1) + field::TICKET;
            assert_eq!(ports.memory.load(ticket).unwrap(), number);
        }
    }

    #[test]
    fn failures_and_letters_are_kept() {
        let ports = ports();
        ports.write(1, FAILURE, &[2, 1, 0, 0]);
        ports.write(0, SERIAL, b"P");
        assert_eq!(ports.failures(), ["vCPU 1 found page 258 wrong"]);
        assert_eq!(ports.console(), "P");
        let mut data = [0];
        ports.read(0, 0x80, &mut data).unwrap();
        assert_eq!(data, [0xff]);
    }

    #[test]
    fn another_machine_goes_on_where_this_one_stopped() {
        let (here, there) = (ports(), ports());
        here.command(0).unwrap();
        here.command(0).unwrap();
        here.write(0, SERIAL + 7, &[0x5a]);
        there.load_pace(&here.save_pace()).unwrap();
        there.load_serial(&here.save_serial()).unwrap();
        there.command(0).unwrap();
        let ticket = layout::control(0) + field::TICKET;
        assert_eq!(there.memory.load(ticket).unwrap(), 3);
        let mut scratch = [0];
        there.read(0, SERIAL + 7, &mut scratch).unwrap();
        assert_eq!(scratch, [0x5a]);
        for state in [&[0; 4][..], &[0; 40]] {
            assert!(there.load_pace(state).is_err());
            assert!(there.load_serial(state).is_err());
        }
    }
}
