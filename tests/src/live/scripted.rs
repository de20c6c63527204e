//! Destinations that do as a test says.

use migration::stream::{Command, Event, Incoming, RamPart, ReturnMessage, StreamError};

/// Takes everything before the device state, and answers each PING with a PONG of what `answer` says, if that is
/// something.
///
/// # Errors
/// The connection's.
pub fn take_memory(
    main: &mut Incoming,
    mut answer: impl FnMut(u32) -> Option<u32>,
) -> Result<(), StreamError> {
    loop {
        match main.next_event()? {
            Event::Command(Command::Ping(value)) => {
                if let Some(value) = answer(value) {
                    main.reply(ReturnMessage::Pong(value))?;
                }
            }
            Event::SectionEnd(RamPart::End) => return Ok(()),
            _ => {}
        }
    }
}
