// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! vCPUs that are threads of this process: what they do is `program.S`, in Rust. Its registers are in
//! [`ThreadVcpu`]; all else is in guest memory, in the same places.

use crate::devices::{CHECK, Ports, SERIAL};
use crate::layout::{self, PAGE, SUM_STEP, SUM_WORDS, field};
use crate::state::StateReader;
use crate::vcpu::{Exit, Vcpu};
use crate::{Error, Memory};

/// A vCPU without a processor.
pub(crate) struct ThreadVcpu {
    number: usize,
    memory: Memory,
    /// Commands so far: `r12`.
    commands: u64,
    /// The command, with the pages that are left of it: `r13`.
    left: u32,
    /// The cookie: `xmm7`. Taken from memory at the first command.
    cookie: Option<u64>,
}

impl ThreadVcpu {
    /// A vCPU that begins with the program.
    pub(crate) fn new(number: usize, memory: Memory) -> Self {
        Self {
            number,
            memory,
            commands: 0,
            left: 0,
            cookie: None,
        }
    }

    fn field(&self, field: u64) -> Result<u64, Error> {
        self.memory.load(layout::control(self.number) + field)
    }

    fn set_field(&self, field: u64, value: u64) -> Result<(), Error> {
        self.memory
            .store(layout::control(self.number) + field, value)
    }

    /// Takes the next command. Returns what is wrong with the machine.
    fn command(&mut self, ports: &Ports) -> Result<Option<char>, Error> {
        let cookie = self.field(field::COOKIE)?;
        if *self.cookie.get_or_insert(cookie) != cookie {
            return Ok(Some('X'));
        }
        self.left = ports.command(self.number)?;
        self.commands += 1;
        let ticket = self.field(field::TICKET)?;
        Ok((ticket != self.commands).then_some('D'))
    }

    /// Writes to the next page or checks it. Returns the page if it is wrong.
    fn step(&mut self, ports: &Ports) -> Result<Option<u64>, Error> {
        let check = self.left & CHECK != 0;
        let index = if check {
            self.field(field::CURSOR)?
        } else {
            self.choose()?
        };
        let page = self.field(field::FIRST)? + index * PAGE;
        let sum = self.field(field::SUMS)? + index * 8;
        if self.sum(page)? != self.memory.load(sum)? {
            return Ok(Some(index));
        }
        if check {
            self.count(field::CHECKED)?;
            let next = (index + 1) % self.field(field::PAGES)?.max(1);
            self.set_field(field::CURSOR, next)?;
        } else {
            let written = self.count(field::WRITTEN)?;
            let stamp = written
                .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                .wrapping_add(index);
            for word in 0..SUM_WORDS {
                self.memory.store(page + word * SUM_STEP, stamp)?;
            }
            self.memory.store(sum, stamp.wrapping_mul(SUM_WORDS))?;
            if written.is_multiple_of(4096) {
                ports.write(self.number, SERIAL, b".");
            }
        }
        self.left = match self.left - 1 {
            CHECK => 0,
            left => left,
        };
        Ok(None)
    }

    /// The next page to write to.
    fn choose(&self) -> Result<u64, Error> {
        let (state, pages) = (self.field(field::STATE)?, self.field(field::PAGES)?);
        let pattern = self.field(field::PATTERN)?;
        if pattern == 0 {
            self.set_field(field::STATE, (state + 1) % pages.max(1))?;
            return Ok(state);
        }
        let state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        self.set_field(field::STATE, state)?;
        let index = ((state >> 32) * pages) >> 32;
        let hot = pattern == 2 && state >> 29 & 7 != 0;
        Ok(if hot { index >> 3 } else { index })
    }

    fn sum(&self, page: u64) -> Result<u64, Error> {
        (0..SUM_WORDS).try_fold(0_u64, |sum, word| {
            let word = self.memory.load(page + word * SUM_STEP)?;
            Ok(sum.wrapping_add(word))
        })
    }

    fn count(&self, field: u64) -> Result<u64, Error> {
        let count = self.field(field)?.wrapping_add(1);
        self.set_field(field, count)?;
        Ok(count)
    }

    fn fail(&self, ports: &Ports, letter: char, what: String) -> Exit {
        let mut bytes = [0; 4];
        ports.write(
            self.number,
            SERIAL,
            letter.encode_utf8(&mut bytes).as_bytes(),
        );
        ports.fail(what);
        Exit::Halted
    }
}

impl Vcpu for ThreadVcpu {
    fn run(&mut self, ports: &Ports) -> Result<Exit, Error> {
        let vcpu = self.number;
        if self.left == 0 {
            if let Some(letter) = self.command(ports)? {
                let what = format!("vCPU {vcpu} found its machine wrong: {letter}");
                return Ok(self.fail(ports, letter, what));
            }
            if self.left == 0 {
                return Ok(Exit::Idle);
            }
        }
        // A few at a time, so that it can be stopped at any place of a command.
        for _ in 0..STEPS {
            if let Some(page) = self.step(ports)? {
                let what = format!("vCPU {vcpu} found page {page} wrong");
                return Ok(self.fail(ports, 'P', what));
            }
            if self.left == 0 {
                break;
            }
        }
        Ok(Exit::Again)
    }

    fn settle(&mut self) -> Result<(), Error> {
        Ok(())
    }

    fn save(&self) -> Result<Vec<u8>, Error> {
        let mut state = self.commands.to_le_bytes().to_vec();
        state.extend(self.left.to_le_bytes());
        state.extend(u32::from(self.cookie.is_some()).to_le_bytes());
        state.extend(self.cookie.unwrap_or_default().to_le_bytes());
        Ok(state)
    }

    fn load(&mut self, state: &[u8]) -> Result<(), Error> {
        let mut state = StateReader::new("vcpu", state);
        self.commands = state.u64()?;
        self.left = state.u32()?;
        let has_cookie = state.u32()? != 0;
        self.cookie = Some(state.u64()?).filter(|_| has_cookie);
        state.end()
    }
}

/// Pages between two looks at whether to stop.
const STEPS: u32 = 7;
