// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! How the library is found, opened, shared and closed.

use std::thread;

use anyhow::{Context, Result, ensure};
use multifd_core::method::Accelerator;
use multifd_core::{Fault, MethodFactory, MethodOptions, PageSize};
use multifd_tests::conformance::setup;
use multifd_uadk::UadkFactory;

use crate::fake::{Fake, Log};

#[test]
fn it_is_opened_tried_and_closed() -> Result<()> {
    let fake = Fake::new(&[])?;
    let method = fake.open(Accelerator::Hardware)?;
    let implementation = method.implementation().to_string();
    ensure!(implementation.starts_with("hardware (libwd_comp.so.2; "));
    drop(method);
    let want = [
        "init zlib scheduler 0 task 1: 0",
        "alloc compress level 1 window 0 numa -1 mode 1: 1",
        "alloc decompress level 1 window 0 numa -1 mode 1: 2",
        "free 2",
        "free 1",
        "uninit",
    ];
    assert_eq!(fake.log()?, Log(want.map(str::to_owned).to_vec()));
    Ok(())
}

#[test]
fn a_file_is_as_good_as_its_folder() -> Result<()> {
    let fake = Fake::new(&[])?;
    let options = fake
        .options(Accelerator::Library)
        .with(UadkFactory::LIBRARY_OPTION, fake.library.path().display());
    drop(UadkFactory::default().open(&options)?);
    fake.log()?.ensure_closed()
}

#[test]
fn software_loads_nothing() -> Result<()> {
    let fake = Fake::new(&[])?;
    let method = fake.open(Accelerator::Software)?;
    let implementation = method.implementation().to_string();
    ensure!(implementation.ends_with("; accelerator=software)"));
    ensure!(fake.log()?.0.is_empty());
    Ok(())
}

/// Sessions are freed before the library is closed, whoever is dropped first.
#[test]
fn channels_outlive_their_method() -> Result<()> {
    let fake = Fake::new(&[])?;
    let method = fake.open(Accelerator::Hardware)?;
    let setup = setup(PageSize::X86)?;
    let (sender, receiver) = (method.send_setup(&setup)?, method.recv_setup(&setup)?);
    drop(method);
    drop(sender);
    ensure!(fake.log()?.count("uninit") == 0);
    drop(receiver);
    fake.log()?.ensure_closed()
}

#[test]
fn methods_of_one_factory_share_it() -> Result<()> {
    let fake = Fake::new(&[])?;
    let factory = UadkFactory::default();
    let options = fake.options(Accelerator::Hardware);
    let (first, second) = (factory.open(&options)?, factory.open(&options)?);
    drop(first);
    let sender = second.send_setup(&setup(PageSize::X86)?)?;
    ensure!((fake.log()?.count("init"), fake.log()?.count("uninit")) == (1, 0));
    drop((sender, second));
    fake.log()?.ensure_closed()?;
    drop(factory.open(&options)?);
    ensure!(fake.log()?.count("init") == 2);
    fake.log()?.ensure_closed()
}

/// Who comes while another one opens the library waits for the end of that.
#[test]
fn methods_that_are_opened_at_once_share_it() -> Result<()> {
    let fake = Fake::new(&[])?;
    let factory = UadkFactory::default();
    let options = fake.options(Accelerator::Hardware);
    let methods = thread::scope(|scope| {
        let open = |_| scope.spawn(|| factory.open(&options));
        let threads: Vec<_> = (0..4).map(open).collect();
        let opened = |thread: thread::ScopedJoinHandle<'_, _>| thread.join().ok();
        let methods: Option<Vec<_>> = threads.into_iter().map(opened).collect();
        methods.context("a panic")
    })?;
    for method in &methods {
        ensure!(method.is_ok(), "{:?}", method.as_ref().err());
    }
    let log = fake.log()?;
    ensure!(
        (log.count("init"), log.count("uninit")) == (1, 0),
        "{log:?}"
    );
    drop(methods);
    fake.log()?.ensure_closed()
}

/// Whoever opened it would close it for the others.
#[test]
fn another_user_in_the_process_keeps_it() -> Result<()> {
    let fake = Fake::new(&[])?;
    let first = fake.open(Accelerator::Hardware)?;
    let auto = fake.open(Accelerator::Auto)?.implementation().to_string();
    let want = "; libwd_comp.so.2 is used by another part of this process)";
    ensure!(
        auto.starts_with("software (") && auto.ends_with(want),
        "{auto}"
    );
    ensure!(refused(&fake, Accelerator::Hardware)?.contains("one part of a process"));
    drop(first);
    fake.open(Accelerator::Hardware)?;
    Ok(())
}

#[test]
fn what_is_missing_is_said() -> Result<()> {
    let nowhere = tempfile::tempdir()?;
    let library = nowhere.path().join("libwd_comp.so.2");
    let options = MethodOptions::new().with(UadkFactory::LIBRARY_OPTION, nowhere.path().display());
    let auto = UadkFactory::default()
        .open(&options)?
        .implementation()
        .to_string();
    let want = format!("; {} cannot be loaded)", library.display());
    ensure!(
        auto.starts_with("software (") && auto.ends_with(&want),
        "{auto}"
    );
    for wanted in [Accelerator::Hardware, Accelerator::Library] {
        let options = options.clone().with(Accelerator::OPTION, wanted);
        let error = UadkFactory::default().open(&options).err();
        let error = error.context("opened without a library")?;
        ensure!(error.fault() == Fault::Device);
        for want in [
            &format!("uadk: accelerator={wanted}, but {}", library.display()),
            "No such file",
            "Install UADK, or name the folder of its library with uadk-library",
        ] {
            ensure!(error.to_string().contains(want), "{error}");
        }
    }
    Ok(())
}

#[test]
fn a_library_without_a_device_is_left_alone() -> Result<()> {
    let fake = Fake::new(&["INIT_RESULT=-19"])?;
    let auto = fake.open(Accelerator::Auto)?.implementation().to_string();
    let want = "; libwd_comp.so.2 finds no usable device, error 19)";
    ensure!(
        auto.starts_with("software (") && auto.ends_with(want),
        "{auto}"
    );
    let error = refused(&fake, Accelerator::Hardware)?;
    let want = "accelerator=hardware, but libwd_comp.so.2 finds no usable device, error 19: ";
    ensure!(error.contains(want), "{error}");
    ensure!(fake.log()?.count("uninit") == 0);
    Ok(())
}

#[test]
fn a_device_that_fails_its_trial_is_not_used() -> Result<()> {
    for (defines, want) in [
        (&["MOST_SESSIONS=1"][..], "libwd_comp.so.2 gives no session"),
        (
            &["GOOD_REQUESTS=0", "RESULT=-22"],
            "it does not compress (failed)",
        ),
        (
            &["GOOD_REQUESTS=1", "STATUS=67"],
            "it does not decompress (failed)",
        ),
        (
            &["GOOD_REQUESTS=0", "LIE=1"],
            "it does not compress (failed)",
        ),
        (&["GOOD_REQUESTS=0", "CORRUPT=1"], "it compressed a page to"),
        (
            &["GOOD_REQUESTS=1", "CORRUPT=1"],
            "it decompressed a page to another one",
        ),
    ] {
        let auto = Fake::new(defines)?
            .open(Accelerator::Auto)?
            .implementation()
            .to_string();
        ensure!(
            auto.starts_with("software (") && auto.contains(want),
            "{auto}"
        );
        let error = refused(&Fake::new(defines)?, Accelerator::Hardware)?;
        ensure!(error.contains(want), "{error}");
    }
    let fake = Fake::new(&["GOOD_REQUESTS=1", "CORRUPT=1"])?;
    fake.open(Accelerator::Auto)?;
    fake.log()?.ensure_closed()
}

/// The error with which the method cannot be opened.
fn refused(fake: &Fake, accelerator: Accelerator) -> Result<String> {
    let error = UadkFactory::default()
        .open(&fake.options(accelerator))
        .err();
    let error = error.context("opened without a device")?;
    ensure!(error.fault() == Fault::Device);
    Ok(error.to_string())
}
