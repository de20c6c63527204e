// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! Whether a guest has come through its migration whole.

use crate::show::report::GuestSummary;

/// What is wrong with a guest, by what it did at the source and at the destination.
pub(crate) fn verdict(source: &GuestSummary, destination: &GuestSummary) -> Result<(), String> {
    let sides = [("source", source), ("destination", destination)];
    for (side, guest) in sides {
        if let Some(failure) = guest.failures.first() {
            return Err(format!("at the {side} the guest has found: {failure}"));
        }
    }
    let (left, arrived) = (source.written, destination.written_before);
    if left != arrived {
        return Err(format!(
            "the guest had written {left} pages when it left and {arrived} when it arrived"
        ));
    }
    if destination.written <= arrived {
        return Err("the guest does not write at the destination".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_whole_only_if_it_goes_on_where_it_was() {
        let guest = |before, written| GuestSummary {
            written_before: before,
            written,
            ..GuestSummary::default()
        };
        assert_eq!(verdict(&guest(0, 70), &guest(70, 90)), Ok(()));
        for (source, destination, want) in [
            (guest(0, 70), guest(69, 90), "70 pages when it left and 69"),
            (guest(0, 70), guest(70, 70), "does not write"),
        ] {
            let error = verdict(&source, &destination).unwrap_err();
            assert!(error.contains(want), "{error}");
        }
        let mut ill = guest(70, 90);
        ill.failures = vec!["page 7 is wrong".into()];
        let error = verdict(&guest(0, 70), &ill).unwrap_err();
        assert_eq!(
            error,
            "at the destination the guest has found: page 7 is wrong"
        );
    }
}
