// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Any schedule of calls, against a model of what must arrive.

use multifd_core::PageSize;
use multifd_tests::conformance::{Kind, PageSource};
use multifd_tests::network::{Link, Pieces, Watchdog};
use proptest::prelude::*;

use crate::guest;
use crate::rig::Setup;

/// What a host does.
#[derive(Clone, Debug)]
enum Step {
    /// The guest writes to a page, which is queued.
    Write(usize, Kind),
    /// Pages are queued that have not changed.
    Run(usize, usize),
    Flush,
    WaitSent,
    Sync,
}

const PAGES: usize = 150;

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..PAGES, prop::sample::select(&Kind::ALL[..])).prop_map(|(page, kind)| Step::Write(page, kind)),
        3 => (0..PAGES, 1..PAGES).prop_map(|(page, count)| Step::Run(page, count)),
        1 => Just(Step::Flush),
        1 => Just(Step::WaitSent),
        2 => Just(Step::Sync),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]
    #[test]
    fn memory_is_equal_at_every_sync(
        steps in prop::collection::vec(step(), 0..120),
        channels in 1_u8..5,
        zero_pages in any::<bool>(),
        zeroed in any::<bool>(),
        capacity in 1_usize..20_000,
        seed in any::<u64>(),
    ) {
        let _watchdog = Watchdog::start();
        let mut setup = Setup::new(channels);
        setup.blocks = vec![("ram", PAGES - 10), ("rom", 10)];
        setup.seed = seed;
        setup.sender.zero_pages = zero_pages;
        setup.receiver.memory_is_zeroed = zeroed;
        setup.link = Box::new(move |channel| {
            let seed = seed ^ u64::from(channel);
            Link::default()
                .capacity(capacity)
                .sends(Pieces::Random(seed))
                .receives(Pieces::Random(seed.rotate_left(7)))
        });
        let mut rig = setup.start().unwrap();
        let all = guest::pages(&rig.source);
        // What the destination must hold at the next sync point.
        let model = guest::memory(PageSize::X86, &[("ram", PAGES - 10), ("rom", 10)]);
        if !zeroed {
            guest::fill_all(&rig.target, 0xee);
            guest::fill_all(&model, 0xee);
        }
        let mut random = PageSource::new(seed);
        let mut queued = [false; PAGES];
        rig.begin().unwrap();
        for step in steps {
            match step {
                // Between two sync points a page is queued once, and does not change afterwards.
                Step::Write(page, kind) if !queued[page] => {
                    let mut content = vec![0; 4096];
                    random.fill(kind, &mut content);
                    guest::write(&rig.source, all[page], &content);
                    guest::write(&model, all[page], &content);
                    queued[page] = true;
                    rig.sender.queue(all[page].0, all[page].1).unwrap();
                }
                Step::Run(first, count) => {
                    let block = all[first].0;
                    let run = (first..PAGES.min(first + count))
                        .take_while(|page| !queued[*page] && all[*page].0 == block);
                    let run: Vec<_> = run.collect();
                    for page in &run {
                        queued[*page] = true;
                        guest::write(&model, all[*page], &guest::read(&rig.source, all[*page]));
                    }
                    rig.sender.queue_run(block, all[first].1, run.len() as u64).unwrap();
                }
                Step::Write(..) => {}
                Step::Flush => rig.sender.flush().unwrap(),
                Step::WaitSent => rig.sender.wait_sent().unwrap(),
                Step::Sync => {
                    rig.sync().unwrap();
                    queued.fill(false);
                    guest::assert_same(&rig.target, &model);
                }
            }
        }
        rig.sync().unwrap();
        guest::assert_same(&rig.target, &model);
        rig.finish().unwrap();
    }
}
