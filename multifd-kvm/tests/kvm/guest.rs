// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A guest with two RAM blocks in five memory slots, and programs that write to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use anyhow::{Context, Result, bail};
use kvm_bindings::{kvm_regs, kvm_segment, kvm_userspace_memory_region};
use kvm_ioctls::{Kvm, VcpuExit, VcpuFd, VmFd};
use multifd_core::memory::{Mapping, RamRegion};
use multifd_core::wire::BlockName;
use multifd_core::{GuestMemory, PageSize, RamBlock};
use multifd_kvm::{EXIT_DIRTY_RING_FULL, MemorySlot, RingCollector};

/// Pages of the two blocks. The guest sees them one behind the other, from address 0 on.
pub(crate) const BLOCKS: [u64; 2] = [8200, 300];
/// Block, first page in it, pages: of each slot. None begins where a word or a chunk does.
const SLOTS: [(usize, u64, u64); 5] = [
    (0, 0, 1000),
    (0, 1000, 3097),
    (0, 4097, 4103),
    (1, 0, 7),
    (1, 7, 293),
];

/// A guest without vCPUs.
pub(crate) struct Guest {
    pub(crate) vm: VmFd,
    pub(crate) memory: GuestMemory,
    slots: Vec<MemorySlot>,
    code: Arc<Mapping>,
    /// Where the first slot's memory is.
    host: u64,
}

impl Guest {
    pub(crate) fn new(kvm: &Kvm) -> Result<Self> {
        let vm = kvm.create_vm()?;
        // Intel's processors want a place that no memory has.
        vm.set_tss_address(0xfffb_d000)?;
        let mut blocks = Vec::new();
        let mut regions = Vec::new();
        for (pages, name) in BLOCKS.iter().zip(["a", "b"]) {
            let region = Arc::new(Mapping::anonymous(usize::try_from(pages * PAGE)?)?);
            regions.push(region.base().as_ptr() as u64);
            let name = BlockName::new(name).context("a name")?;
            blocks.push(RamBlock::new(name, region)?);
        }
        let memory = GuestMemory::new(PageSize::X86, blocks)?;
        let mut slots = Vec::new();
        for ((block, first, pages), number) in SLOTS.into_iter().zip(0..) {
            let guest = (first + BLOCKS[..block].iter().sum::<u64>()) * PAGE;
            let host = regions[block] + first * PAGE;
            set_slot(&vm, number, guest, host, pages * PAGE)?;
            let (index, _) = memory.indexed().nth(block).context("a block")?;
            // SAFETY: this is the slot that was just set.
            let slot = unsafe { MemorySlot::new(number, 0, guest, host, pages * PAGE) };
            slots.push(slot.at(index, first * PAGE));
        }
        let code = Arc::new(Mapping::anonymous(usize::try_from(PAGE)?)?);
        set_slot(&vm, 100, CODE, code.base().as_ptr() as u64, PAGE)?;
        let block = RamBlock::new(BlockName::new("code").context("a name")?, code.clone())?;
        for program in [WRITE_ALL, WRITE_ONE] {
            block
                .span(program.at, program.code.len())
                .context("the page has room")?
                .copy_from(program.code);
        }
        Ok(Self {
            vm,
            memory,
            slots,
            code,
            host: *regions.first().context("a region")?,
        })
    }

    /// The first slot, with flags, as KVM is told.
    pub(crate) fn first_slot(&self, flags: u32) -> kvm_userspace_memory_region {
        kvm_userspace_memory_region {
            slot: 0,
            flags,
            guest_phys_addr: 0,
            memory_size: SLOTS[0].2 * PAGE,
            userspace_addr: self.host,
        }
    }

    pub(crate) fn slots(&self) -> Vec<MemorySlot> {
        self.slots.clone()
    }

    /// A vCPU that runs a program. The guest's memory is kept for as long as the vCPU.
    pub(crate) fn vcpu(&self, number: u64, program: &Program) -> Result<Vcpu> {
        let fd = self.vm.create_vcpu(number)?;
        start_at(&fd, number, CODE + program.at)?;
        Ok(Vcpu {
            fd,
            number,
            writes_per_exit: WRITES_PER_EXIT,
            written: 0,
            memory: (self.memory.clone(), Arc::clone(&self.code)),
        })
    }
}

/// A vCPU that is stopped.
pub(crate) struct Vcpu {
    pub(crate) fd: VcpuFd,
    number: u64,
    writes_per_exit: u64,
    /// How many pages it has told that it wrote.
    written: u64,
    memory: (GuestMemory, Arc<Mapping>),
}

/// A vCPU that runs [`WRITE_ALL`] on a thread.
pub(crate) struct Running {
    watched: Arc<Watched>,
    thread: JoinHandle<Result<Vcpu>>,
}

/// What a vCPU's thread and others both see.
#[derive(Default)]
struct Watched {
    stop: AtomicBool,
    exits: AtomicU64,
    full_rings: AtomicU64,
}

impl Vcpu {
    /// [`WRITE_ALL`] writes so many pages before it tells, instead of [`WRITES_PER_EXIT`].
    pub(crate) fn writes_per_exit(mut self, writes: u64) -> Result<Self> {
        let mut regs = self.fd.get_regs()?;
        (regs.rdi, self.writes_per_exit) = (writes, writes);
        self.fd.set_regs(&regs)?;
        Ok(self)
    }

    /// Runs until it is stopped.
    pub(crate) fn start(mut self, ring: Option<RingCollector>) -> Running {
        let watched = Arc::new(Watched::default());
        let shown = Arc::clone(&watched);
        let thread = std::thread::spawn(move || {
            loop {
                match self.fd.run()? {
                    VcpuExit::IoOut(PORT, _) => {
                        self.written += self.writes_per_exit;
                        shown.exits.fetch_add(1, Ordering::Relaxed);
                        // Only here the number of its writes is known.
                        if shown.stop.load(Ordering::Relaxed) {
                            return Ok(self);
                        }
                    }
                    VcpuExit::Unsupported(EXIT_DIRTY_RING_FULL) => {
                        let ring = ring.as_ref().context("there is no ring")?;
                        // None, if another thread has been faster.
                        ring.collect()?;
                        shown.full_rings.fetch_add(1, Ordering::Relaxed);
                    }
                    exit => bail!("the guest stops with {exit:?}"),
                }
            }
        });
        Running { watched, thread }
    }

    /// Lets [`WRITE_ONE`] write to a page, by its number in all of the guest's memory.
    pub(crate) fn write(&mut self, page: u64) -> Result<()> {
        let address = u32::try_from(page * PAGE)?.to_le_bytes();
        match self.fd.run()? {
            VcpuExit::IoIn(PORT, data) => data.copy_from_slice(&address),
            exit => bail!("the guest stops with {exit:?}"),
        }
        // It asks for the next one once it has written.
        self.fd.set_kvm_immediate_exit(0);
        match self.fd.run()? {
            VcpuExit::IoOut(PORT, _) => Ok(()),
            exit => bail!("the guest stops with {exit:?}"),
        }
    }

    /// How often [`WRITE_ALL`] wrote to each page, counted as the program does.
    pub(crate) fn add_writes(&self, counts: &mut [u32]) {
        let mut state = seed(self.number);
        for _ in 0..self.written {
            state = state.wrapping_mul(0x19_660d).wrapping_add(0x3c6e_f35f);
            counts[(state >> 8) as usize % counts.len()] += 1;
        }
    }

    /// The count that this vCPU has left in a page.
    pub(crate) fn count(&self, page: u64) -> u32 {
        let mut bytes = [0; 4];
        let (block, page) = match page.checked_sub(BLOCKS[0]) {
            None => (0, page),
            Some(page) => (1, page),
        };
        let block = &self.memory.0.blocks()[block];
        let span = block.span(page * PAGE + self.number * 4, 4);
        span.expect("inside of the block").copy_to(&mut bytes);
        u32::from_le_bytes(bytes)
    }
}

impl Running {
    /// Waits until it has written some more pages, or has ended.
    pub(crate) fn wait_writes(&self) {
        let exits = || self.watched.exits.load(Ordering::Relaxed);
        let want = exits() + 8;
        while exits() < want && !self.thread.is_finished() {
            std::thread::yield_now();
        }
    }

    /// Waits until its ring was full, or it has written what fills it, or it has ended.
    pub(crate) fn wait_full_ring(&self) {
        let full = || self.watched.full_rings.load(Ordering::Relaxed) > 0;
        let exits = || self.watched.exits.load(Ordering::Relaxed);
        let start = exits();
        while !full() && exits() < start + 64 && !self.thread.is_finished() {
            std::thread::yield_now();
        }
    }

    /// Stops it where it tells that it has written.
    pub(crate) fn stop(self) -> Result<Vcpu> {
        self.watched.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("no panic")
    }
}

/// Code, and its offset in the code's page.
pub(crate) struct Program {
    at: u64,
    code: &'static [u8],
}

/// Writes to pages in a scattered order for ever.
///
/// ```text
/// again:  mov ecx, edi            # WRITES_PER_EXIT
/// write:  imul esi, esi, 0x19660d
///         add esi, 0x3c6ef35f
///         mov eax, esi
///         shr eax, 8
///         xor edx, edx
///         div ebx                 # number of pages
///         shl edx, 12
///         inc dword ptr [edx + ebp]
///         dec ecx
///         jnz write
///         out 0x10, al
///         jmp again
/// ```
pub(crate) const WRITE_ALL: Program = Program {
    at: 0,
    code: &[
        0x89, 0xf9, 0x69, 0xf6, 0x0d, 0x66, 0x19, 0x00, 0x81, 0xc6, 0x5f, 0xf3, 0x6e, 0x3c, 0x89,
        0xf0, 0xc1, 0xe8, 0x08, 0x31, 0xd2, 0xf7, 0xf3, 0xc1, 0xe2, 0x0c, 0xff, 0x44, 0x2a, 0x00,
        0x49, 0x75, 0xe1, 0xe6, 0x10, 0xeb, 0xdb,
    ],
};

/// Writes where it is told to.
///
/// ```text
/// again:  in eax, 0x10
///         inc dword ptr [eax]
///         out 0x10, al
///         jmp again
/// ```
pub(crate) const WRITE_ONE: Program = Program {
    at: 0x100,
    code: &[0xe5, 0x10, 0xff, 0x00, 0xe6, 0x10, 0xeb, 0xf8],
};

pub(crate) const PAGE: u64 = 4096;
pub(crate) const WRITES_PER_EXIT: u64 = 64;
const CODE: u64 = 0x1000_0000;
const PORT: u16 = 0x10;

pub(crate) fn set_slot(vm: &VmFd, slot: u32, guest: u64, host: u64, len: u64) -> Result<()> {
    let region = kvm_userspace_memory_region {
        slot,
        flags: 0,
        guest_phys_addr: guest,
        memory_size: len,
        userspace_addr: host,
    };
    // SAFETY: the memory is a mapping that every vCPU keeps, without references to its bytes.
    Ok(unsafe { vm.set_user_memory_region(region) }?)
}

fn seed(vcpu: u64) -> u32 {
    u32::try_from(vcpu).expect("a small number") * 77 + 1
}

/// Flat segments of 32 bits, without paging.
fn start_at(fd: &VcpuFd, number: u64, address: u64) -> Result<()> {
    let mut sregs = fd.get_sregs()?;
    let data = kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector: 16,
        type_: 3,
        present: 1,
        db: 1,
        s: 1,
        g: 1,
        ..kvm_segment::default()
    };
    sregs.cs = kvm_segment {
        selector: 8,
        type_: 11,
        ..data
    };
    (sregs.ds, sregs.es, sregs.ss) = (data, data, data);
    sregs.cr0 |= 1;
    fd.set_sregs(&sregs)?;
    Ok(fd.set_regs(&kvm_regs {
        rip: address,
        rflags: 2,
        rsi: seed(number).into(),
        rbx: BLOCKS.iter().sum(),
        rdi: WRITES_PER_EXIT,
        rbp: number * 4,
        ..kvm_regs::default()
    })?)
}
