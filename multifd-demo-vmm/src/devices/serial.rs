// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A serial port that takes letters.

use crate::Error;
use crate::state::StateReader;

/// The eight registers of a 16550. What is written to the first one is the console's.
#[derive(Debug, Default)]
pub(super) struct Serial {
    registers: [u8; 8],
    console: Vec<u8>,
}

impl Serial {
    pub(super) fn read(&self, register: u16) -> u8 {
        match register {
            LINE_STATUS => READY,
            register => {
                let value = self.registers.get(usize::from(register));
                value.copied().unwrap_or(0xff)
            }
        }
    }

    pub(super) fn write(&mut self, register: u16, value: u8) {
        if register == DATA {
            if self.console.len() < MOST_LETTERS {
                self.console.push(value);
            }
        } else if let Some(register) = self.registers.get_mut(usize::from(register)) {
            *register = value;
        }
    }

    pub(super) fn console(&self) -> String {
        String::from_utf8_lossy(&self.console).into_owned()
    }

    pub(super) fn save(&self) -> Vec<u8> {
        self.registers.to_vec()
    }

    pub(super) fn load(&mut self, mut state: StateReader<'_>) -> Result<(), Error> {
        let registers = state.array()?;
        state.end()?;
        self.registers = registers;
        Ok(())
    }
}

const DATA: u16 = 0;
const LINE_STATUS: u16 = 5;
/// There is room for a letter, and all were sent.
const READY: u8 = 0x60;
/// A guest may write letters for ever.
const MOST_LETTERS: usize = 64 << 10;
