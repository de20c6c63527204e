// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Who is taken for whom.

use std::io;
use std::path::Path;
use std::thread;

use multifd_core::memory::{IoVec, IoVecMut};
use multifd_core::transport::recv_all;
use multifd_tls::{Client, Server, ServerOptions};
use rcgen::{DnType, ExtendedKeyUsagePurpose, date_time_ymd};

use super::{Authority, LIMIT, client, meet, receive, send, server, sockets};

/// The errors of both sides; each has one. TLS 1.3's client learns only with the first bytes that it reads that its
/// certificate was not taken.
#[track_caller]
fn refused(client: &Client, server: &Server) -> [String; 2] {
    let (connected, accepted) = meet(client, server);
    let there = accepted.map(|_| ()).unwrap_err().to_string();
    let here = connected.and_then(|mut here| {
        let mut room = [0; 1];
        here.recv(&mut [IoVecMut::from(&mut room[..])])
    });
    [here.unwrap_err().to_string(), there]
}

#[test]
fn another_authority() {
    let (authority, other) = (Authority::new("authority"), Authority::new("other"));
    let ours = authority.folder("client", |_| ());
    let theirs = other.folder("server", |_| ());
    let [here, there] = refused(&client(ours.path()), &server(theirs.path()));
    assert_eq!(
        here,
        "TLS: the peer's certificate is not signed by an authority of ca-cert.pem"
    );
    assert_eq!(
        there,
        "TLS: the peer does not know the authority that signed this side's certificate: is ca-cert.pem the same?"
    );
}

#[test]
fn no_certificate() {
    let authority = Authority::new("authority");
    let ours = authority.folder_without_certificate();
    let theirs = authority.folder("server", |_| ());
    let [here, there] = refused(&client(ours.path()), &server(theirs.path()));
    assert!(
        here.contains("the peer wants a certificate of this side: client-cert.pem"),
        "{here}"
    );
    assert!(
        there.contains("the source has no certificate: it needs client-cert.pem"),
        "{there}"
    );
    // Unless it is not asked for one.
    let mut options = ServerOptions::default();
    options.verify_peer = false;
    let lax = Server::from_dir(theirs.path(), &options).unwrap();
    let (connected, accepted) = meet(&client(ours.path()), &lax);
    assert!(connected.is_ok() && accepted.is_ok());
}

#[test]
fn certificates_that_are_not_good() {
    let authority = Authority::new("authority");
    let ours = authority.folder("client", |_| ());
    type Change = fn(&mut rcgen::CertificateParams);
    let cases: [(Change, &str); 5] = [
        (
            |params| {
                params.not_before = date_time_ymd(2001, 1, 1);
                params.not_after = date_time_ymd(2002, 1, 1);
            },
            "the peer's certificate has expired",
        ),
        (
            |params| params.not_before = date_time_ymd(2900, 1, 1),
            "the peer's certificate is not valid yet, or a clock is wrong",
        ),
        (
            |params| {
                let name = "other.example".try_into().unwrap();
                params.subject_alt_names = vec![rcgen::SanType::DnsName(name)];
            },
            "the peer's certificate is for DnsName(\"other.example\"), wanted localhost: tls-hostname says which",
        ),
        (
            |params| {
                params.subject_alt_names.clear();
                params
                    .distinguished_name
                    .push(DnType::CommonName, "localhost");
            },
            "has no subject alternative name, wanted localhost: a common name alone does not count",
        ),
        (
            |params| params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            "the peer's certificate is not for this use",
        ),
    ];
    for (change, want) in cases {
        let theirs = authority.folder("server", change);
        let [here, _] = refused(&client(ours.path()), &server(theirs.path()));
        assert!(here.contains(want), "{here}\nwanted {want}");
    }
}

#[test]
fn one_subject_only() {
    let authority = Authority::new("authority");
    let ours = authority.folder("client", |_| ());
    let theirs = authority.folder("server", |_| ());
    let with = |subject: &str| {
        let mut options = ServerOptions::default();
        options.subject = Some(subject.to_owned());
        Server::from_dir(theirs.path(), &options).unwrap()
    };
    let (connected, accepted) = meet(
        &client(ours.path()),
        &with("C=GB,O=Example\\, Inc.,CN=client"),
    );
    assert!(connected.is_ok() && accepted.is_ok());
    let [here, there] = refused(&client(ours.path()), &with("CN=other"));
    assert!(here.contains("does not"), "{here}");
    assert_eq!(
        there,
        "TLS: the peer's certificate is for \"C=GB,O=Example\\\\, Inc.,CN=client\", wanted \"CN=other\""
    );
}

#[test]
fn one_side_without_tls() {
    let authority = Authority::new("authority");
    let ours = authority.folder("client", |_| ());
    let theirs = authority.folder("server", |_| ());
    // A plain source at a destination with TLS.
    let [mut here, there] = sockets();
    send(&mut *here, b"QEVM\0\0\0\x03");
    let error = server(theirs.path())
        .accept(there, LIMIT)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "TLS: the peer does not speak TLS: is it on at both ends?"
    );
    // A source with TLS at a destination that closes what it does not know.
    let [here, mut there] = sockets();
    thread::scope(|scope| {
        scope.spawn(move || there.recv(&mut [IoVecMut::from(&mut [0; 8][..])]));
        let error = client(ours.path())
            .connect(here, LIMIT)
            .map(|_| ())
            .unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("in the TLS handshake: is TLS on there"),
            "{text}"
        );
    });
}

/// A channel of a source, which never receives anything.
#[test]
fn one_that_only_sends_learns_why_it_is_refused() {
    let authority = Authority::new("authority");
    let ours = authority.folder_without_certificate();
    let theirs = authority.folder("server", |_| ());
    let [here, there] = sockets();
    let mut here = thread::scope(|scope| {
        let accepted = scope.spawn(|| server(theirs.path()).accept(there, LIMIT).map(|_| ()));
        let here = client(ours.path()).connect(here, LIMIT).unwrap();
        accepted.join().unwrap().unwrap_err();
        here
    });
    let error = loop {
        if let Err(error) = here.send(&[IoVec::from(&[0; 4096][..])]) {
            break error;
        }
    };
    assert!(
        error
            .to_string()
            .contains("the peer wants a certificate of this side"),
        "{error}"
    );
}

#[test]
fn a_handshake_without_end() {
    let authority = Authority::new("authority");
    let theirs = authority.folder("server", |_| ());
    let [mut here, there] = sockets();
    thread::scope(|scope| {
        scope.spawn(move || {
            // Ever more of one message, which is as long as one can be.
            let mut record = vec![0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff];
            record.resize(5 + 0x4000, 0);
            while here.send(&[IoVec::from(&record[..])]).is_ok() {}
        });
        let error = server(theirs.path()).accept(there, LIMIT).map(|_| ());
        let error = error.unwrap_err().to_string();
        assert_eq!(error, "message buffer full");
    });
}

/// The handshake belongs to whoever uses the connection first, and has the time that this call has.
#[test]
fn a_session_that_is_made_when_it_is_needed() {
    let authority = Authority::new("authority");
    let ours = authority.folder("client", |_| ());
    let theirs = authority.folder("server", |_| ());
    let (client, server) = (client(ours.path()), server(theirs.path()));
    let [here, there] = sockets();
    let here = client.connect_later(here, LIMIT);
    let mut there = server.accept_later(there, LIMIT);
    assert_eq!(
        here.duplicate().map(|_| ()).unwrap_err().kind(),
        io::ErrorKind::Unsupported
    );
    there.set_time_limit(Some(std::time::Duration::from_millis(1)));
    let mut room = [0; 4];
    let timed_out = there.recv(&mut [IoVecMut::from(&mut room[..])]);
    assert_eq!(timed_out.unwrap_err().kind(), io::ErrorKind::TimedOut);
    // It is of no use any more.
    let again = there.recv(&mut [IoVecMut::from(&mut room[..])]);
    assert_eq!(again.unwrap_err().kind(), io::ErrorKind::NotConnected);
    drop((here, there));

    let [here, there] = sockets();
    let mut here = client.connect_later(here, LIMIT);
    let mut there = server.accept_later(there, LIMIT);
    let interrupter = there.interrupter();
    thread::scope(|scope| {
        scope.spawn(|| {
            send(&mut *here, b"QEVM");
            let mut room = [0; 4];
            assert!(recv_all(&mut *here, &mut [IoVecMut::from(&mut room[..])]).unwrap());
            assert_eq!(&room, b"SHUT");
            here.finish().unwrap();
        });
        assert_eq!(receive(&mut *there, 4), b"QEVM");
        let mut back = there.duplicate().unwrap();
        send(&mut *back, b"SHUT");
        assert_eq!(there.recv(&mut [IoVecMut::from(&mut room[..])]).unwrap(), 0);
    });
    interrupter.interrupt();
    let interrupted = there.send(&[IoVec::from(&[0; 1][..])]);
    let interrupted = interrupted.and_then(|_| there.send(&[IoVec::from(&[0; 1][..])]));
    assert_eq!(interrupted.unwrap_err().kind(), io::ErrorKind::Interrupted);
}

#[test]
fn a_peer_that_says_nothing() {
    let authority = Authority::new("authority");
    let theirs = authority.folder("server", |_| ());
    let [_here, there] = sockets();
    let limit = std::time::Duration::from_millis(50);
    let error = server(theirs.path())
        .accept(there, limit)
        .map(|_| ())
        .unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn folders_that_lack_something() {
    let authority = Authority::new("authority");
    let folder = authority.folder("server", |_| ());
    let error = |dir: &Path| {
        let options = ServerOptions::default();
        Server::from_dir(dir, &options).unwrap_err().to_string()
    };
    let key = folder.path().join("server-key.pem");
    let good = std::fs::read(&key).unwrap();
    std::fs::write(&key, "nothing").unwrap();
    let text = error(folder.path());
    assert!(
        text.ends_with(
            "server-key.pem: there is none in it, wanted a private key that has no password"
        ),
        "{text}"
    );
    let other = authority.folder("server", |_| ());
    std::fs::copy(other.path().join("server-key.pem"), &key).unwrap();
    let text = error(folder.path());
    assert!(
        text.contains("server-key.pem: keys may not be consistent: KeyMismatch"),
        "{text}"
    );
    std::fs::write(&key, good).unwrap();
    std::fs::remove_file(folder.path().join("ca-cert.pem")).unwrap();
    let text = error(folder.path());
    assert!(
        text.starts_with("cannot read ") && text.contains("ca-cert.pem"),
        "{text}"
    );
    let text = Client::from_dir(folder.path(), "a b")
        .map(|_| ())
        .unwrap_err()
        .to_string();
    assert!(text.contains("ca-cert.pem"), "{text}");
}
