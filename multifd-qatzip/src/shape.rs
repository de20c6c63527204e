// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! What the members of a payload look like from outside.
//!
//! QATzip's lengths lead from one member to the next. So it can be told, before the library sees a
//! payload, whether each of its members is in the form that QATzip writes; and after it made one,
//! whether it is what a device makes.

use crate::member::{self, Lengths, MAX_CONTENT, QZ_HEADER_LEN, TRAILER_LEN};

/// A payload of which each member is exactly in QATzip's form, and none is empty.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shape {
    members: usize,
    /// Bytes of content in all members.
    pub(crate) content: usize,
    first_content: usize,
    longest_content: usize,
    longest_deflate: usize,
    /// Whether some member says how hard the compressor tried; a device's never does.
    has_effort: bool,
}

impl Shape {
    /// Goes through the members.
    ///
    /// # Errors
    /// The first thing that is not QATzip's form, and at which byte.
    pub(crate) fn of(payload: &[u8]) -> Result<Self, (usize, String)> {
        let mut shape = Self::default();
        for member in Members::new(payload) {
            let Member {
                content,
                deflate,
                effort,
                ..
            } = member?;
            if shape.members == 0 {
                shape.first_content = content;
            }
            shape.members += 1;
            shape.content = shape.content.saturating_add(content);
            shape.longest_content = shape.longest_content.max(content);
            shape.longest_deflate = shape.longest_deflate.max(deflate);
            shape.has_effort |= effort != 0;
        }
        Ok(shape)
    }

    /// Whether a device can have made it, rather than the library's software: that writes one member
    /// for all of the content, and at levels 1 and 9 how hard it tried.
    pub(crate) fn is_of_device(&self) -> bool {
        !self.has_effort
            && self.longest_content <= MAX_CONTENT
            && self.members == self.content.div_ceil(MAX_CONTENT)
    }

    /// Why a device does not take it; `None` if it does.
    pub(crate) fn not_for_device(&self) -> Option<String> {
        if self.longest_content > MAX_CONTENT {
            let got = self.longest_content;
            Some(format!(
                "a member of {got} bytes, of which a device takes {MAX_CONTENT}"
            ))
        } else if self.longest_deflate > MAX_DEFLATE {
            let got = self.longest_deflate;
            Some(format!(
                "a member with {got} bytes of data, of which a device takes {MAX_DEFLATE}"
            ))
        } else if self.first_content < LEAST_CONTENT {
            let got = self.first_content;
            Some(format!(
                "a first member of {got} bytes, which a device takes from {LEAST_CONTENT} on"
            ))
        } else {
            None
        }
    }
}

/// Whether each member of a payload ends in the checksum of its part of `content`.
pub(crate) fn checksums_match(payload: &[u8], content: &[u8]) -> bool {
    let mut rest = content;
    Members::new(payload).all(|member| {
        let Ok(member) = member else {
            return false;
        };
        let Some((mine, others)) = rest.split_at_checked(member.content) else {
            return false;
        };
        rest = others;
        member::trailer(mine) == *member.trailer
    }) && rest.is_empty()
}

/// One member, as its lengths say.
struct Member<'a> {
    content: usize,
    deflate: usize,
    effort: u8,
    trailer: &'a [u8],
}

/// The members of a payload; ends at the first that is not in QATzip's form.
struct Members<'a> {
    rest: &'a [u8],
    at: usize,
}

impl<'a> Members<'a> {
    fn new(payload: &'a [u8]) -> Self {
        Self {
            rest: payload,
            at: 0,
        }
    }

    /// The member at the front, and its length.
    fn first(&self) -> Result<(Member<'a>, usize), (usize, String)> {
        let at = self.at;
        let header = member::parse(self.rest).map_err(|(byte, what)| (at + byte, what))?;
        let lengths = header
            .lengths
            .ok_or((at, "a gzip member without QATzip's lengths".to_owned()))?;
        let effort = self.rest.get(EFFORT_AT).copied().unwrap_or(u8::MAX);
        if !is_exact(self.rest, lengths) || !EFFORTS.contains(&effort) {
            return Err((at, "a gzip header that QATzip does not write".to_owned()));
        }
        let (content, deflate) = (lengths.content as usize, lengths.deflate as usize);
        let trailer = self
            .rest
            .get(QZ_HEADER_LEN..)
            .and_then(|rest| rest.get(deflate..)?.get(..TRAILER_LEN))
            .ok_or_else(|| (at, format!("{deflate} bytes of data, which are not there")))?;
        if trailer.get(CRC_LEN..) != Some(&lengths.content.to_le_bytes()) || content == 0 {
            return Err((
                at,
                format!("{content} bytes, but the member ends otherwise"),
            ));
        }
        let member = Member {
            content,
            deflate,
            effort,
            trailer,
        };
        Ok((member, QZ_HEADER_LEN + deflate + TRAILER_LEN))
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = Result<Member<'a>, (usize, String)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        match self.first() {
            Ok((member, len)) => {
                self.at += len;
                self.rest = self.rest.get(len..).unwrap_or_default();
                Some(Ok(member))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

/// Whether a header is what QATzip writes for these lengths, but for the effort.
fn is_exact(bytes: &[u8], lengths: Lengths) -> bool {
    let want = lengths.header();
    let got = bytes.iter().take(QZ_HEADER_LEN);
    got.zip(want)
        .enumerate()
        .all(|(at, (got, want))| at == EFFORT_AT || *got == want)
}

/// Where the header says how hard the compressor tried, and what it may say.
const EFFORT_AT: usize = 8;
const EFFORTS: [u8; 3] = [0, 2, 4];
/// The trailer is a CRC-32 and a length.
const CRC_LEN: usize = 4;
/// Most bytes of deflate data in a member that libqatzip gives to a device: what a device may make of
/// [`MAX_CONTENT`].
pub(crate) const MAX_DEFLATE: usize = MAX_CONTENT / 8 * 9 + 1024;
/// libqatzip does a payload in software whose first member is shorter.
const LEAST_CONTENT: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    /// A member of stored bytes.
    fn member(content: &[u8], effort: u8) -> Vec<u8> {
        let len = u16::try_from(content.len()).unwrap();
        let mut deflate = vec![1];
        deflate.extend(len.to_le_bytes());
        deflate.extend((!len).to_le_bytes());
        deflate.extend(content);
        let lengths = Lengths {
            content: content.len().try_into().unwrap(),
            deflate: deflate.len().try_into().unwrap(),
        };
        let mut header = lengths.header();
        header[EFFORT_AT] = effort;
        [&header[..], &deflate, &member::trailer(content)].concat()
    }

    #[test]
    fn members_are_counted_and_compared() {
        let (first, second) = ([7; 2000], [8; 100]);
        let payload = [member(&first, 0), member(&second, 0)].concat();
        let shape = Shape::of(&payload).unwrap();
        assert_eq!((shape.members, shape.content), (2, 2100));
        assert_eq!(shape.not_for_device(), None);
        assert!(!shape.is_of_device());
        let content = [&first[..], &second].concat();
        assert!(checksums_match(&payload, &content));
        assert!(!checksums_match(&payload, &content[..2099]));
        assert!(!checksums_match(&payload, &[&content[..], &[0]].concat()));
        let mut other = content.clone();
        other[2050] ^= 1;
        assert!(!checksums_match(&payload, &other));

        let turned = [member(&second, 0), member(&first, 0)].concat();
        assert!(Shape::of(&turned).unwrap().not_for_device().is_some());
        assert!(Shape::of(&member(&first, 0)).unwrap().is_of_device());
        assert!(!Shape::of(&member(&first, 4)).unwrap().is_of_device());
    }

    #[test]
    fn members_for_software_are_told() {
        let long = Shape {
            members: 1,
            content: 512 * 1024,
            first_content: 512 * 1024,
            longest_content: 512 * 1024,
            longest_deflate: 3000,
            has_effort: false,
        };
        assert!(long.not_for_device().unwrap().contains("524288 bytes"));
        assert!(!long.is_of_device());
        let bulky = Shape {
            longest_content: MAX_CONTENT,
            longest_deflate: MAX_DEFLATE + 1,
            ..long
        };
        assert!(bulky.not_for_device().unwrap().contains("74753 bytes"));
    }

    #[test]
    fn what_is_not_exactly_the_form_has_a_place() {
        let good = member(&[1; 1500], 2);
        let changed = |at: usize, byte: u8| {
            let mut bytes = [&good[..], &good].concat();
            bytes[good.len() + at] = byte;
            Shape::of(&bytes)
        };
        assert!(changed(8, 4).is_ok());
        for (at, byte) in [
            (0, 0),
            (4, 1),
            (8, 1),
            (9, 3),
            (10, 13),
            (16, 0),
            (20, 0),
            (21, 0xff),
            (good.len() - 4, 0),
        ] {
            let (place, what) = changed(at, byte).unwrap_err();
            assert!(place >= good.len(), "byte {at}: {what} at {place}");
        }
        // Not a field, but the checksum, which only the content can tell wrong.
        assert!(changed(good.len() - 8, 0).is_ok());
        assert!(Shape::of(&member(&[], 0)).is_err());
        assert!(Shape::of(&good[..good.len() - 1]).is_err());
    }
}
