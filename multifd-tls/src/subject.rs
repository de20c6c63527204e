// SPDX-License-Identifier: Apache-2.0 OR BSD-3-Clause

//! A certificate's subject as text.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// The subject in the form that GnuTLS gives it and QEMU's `tls-authz` compares, such as `C=GB,O=Example,CN=host`: that of
/// RFC 4514, but in the certificate's own order. An attribute without a name, and a value that is no string of the
/// kind that its attribute has, are numbers.
///
/// # Errors
/// What is wrong with the certificate.
pub fn subject(certificate: &CertificateDer<'_>) -> Result<String, String> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("not an X.509 certificate: {error}"))?;
    let mut text = String::new();
    for set in parsed.subject().iter_rdn() {
        for (at, attribute) in set.iter().enumerate() {
            if !text.is_empty() {
                text.push(if at == 0 { ',' } else { '+' });
            }
            let oid = attribute.attr_type().to_id_string();
            let known = NAMES.iter().find(|(known, ..)| *known == oid);
            text.push_str(known.map_or(&oid, |(_, name, _)| name));
            text.push('=');
            let value = attribute.attr_value();
            let string = known.and_then(|(.., kind)| kind.read(value.tag().0, value.data));
            match string {
                Some(string) => escape(&string, &mut text),
                None => number(value.header.tag().0, value.data, &mut text),
            }
        }
    }
    Ok(text)
}

/// Which strings an attribute may have.
#[derive(Clone, Copy)]
enum Kind {
    Directory,
    Printable,
    Ia5,
}

impl Kind {
    fn read(self, tag: u32, bytes: &[u8]) -> Option<String> {
        let ascii = || Some(bytes).filter(|bytes| bytes.is_ascii());
        let bytes = match (self, tag) {
            (Self::Directory | Self::Printable, PRINTABLE_STRING)
            | (Self::Directory, TELETEX_STRING)
            | (Self::Ia5, IA5_STRING) => ascii()?,
            (Self::Directory, UTF8_STRING) => bytes,
            (Self::Directory, BMP_STRING) => return utf16(bytes),
            _ => return None,
        };
        String::from_utf8(bytes.to_vec()).ok()
    }
}

fn utf16(bytes: &[u8]) -> Option<String> {
    let (units, rest) = bytes.as_chunks::<2>();
    let units: Vec<_> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
    String::from_utf16(&units).ok().filter(|_| rest.is_empty())
}

fn escape(value: &str, text: &mut String) {
    let last = value.chars().count().saturating_sub(1);
    for (at, char) in value.chars().enumerate() {
        let edge = (char == ' ' && (at == 0 || at == last)) || (char == '#' && at == 0);
        if edge || matches!(char, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
            text.push('\\');
        }
        text.push(char);
    }
}

/// The value's encoding, with its tag and its length.
fn number(tag: u32, bytes: &[u8], text: &mut String) {
    let [.., tag] = tag.to_be_bytes();
    let len = bytes.len().to_be_bytes();
    let zeros = len.iter().take_while(|byte| **byte == 0).count();
    let len = len.get(zeros.min(len.len() - 1)..).unwrap_or_default();
    let mut header = vec![tag];
    match len {
        [short @ ..0x80] => header.push(*short),
        long => {
            header.push(0x80 | u8::try_from(long.len()).unwrap_or_default());
            header.extend(long);
        }
    }
    text.push('#');
    for byte in header.iter().chain(bytes) {
        text.push_str(&format!("{byte:02x}"));
    }
}

const UTF8_STRING: u32 = 12;
const PRINTABLE_STRING: u32 = 19;
const TELETEX_STRING: u32 = 20;
const IA5_STRING: u32 = 22;
const BMP_STRING: u32 = 30;

const NAMES: &[(&str, &str, Kind)] = &[
    ("2.5.4.3", "CN", Kind::Directory),
    ("2.5.4.4", "surName", Kind::Directory),
    ("2.5.4.5", "serialNumber", Kind::Printable),
    ("2.5.4.6", "C", Kind::Printable),
    ("2.5.4.7", "L", Kind::Directory),
    ("2.5.4.8", "ST", Kind::Directory),
    ("2.5.4.9", "street", Kind::Directory),
    ("2.5.4.10", "O", Kind::Directory),
    ("2.5.4.11", "OU", Kind::Directory),
    ("2.5.4.12", "title", Kind::Directory),
    ("2.5.4.13", "description", Kind::Directory),
    ("2.5.4.15", "businessCategory", Kind::Directory),
    ("2.5.4.17", "postalCode", Kind::Directory),
    ("2.5.4.20", "telephoneNumber", Kind::Printable),
    ("2.5.4.41", "name", Kind::Directory),
    ("2.5.4.42", "givenName", Kind::Directory),
    ("2.5.4.43", "initials", Kind::Directory),
    ("2.5.4.44", "generationQualifier", Kind::Directory),
    ("2.5.4.46", "dnQualifier", Kind::Printable),
    ("2.5.4.65", "pseudonym", Kind::Directory),
    ("0.9.2342.19200300.100.1.1", "UID", Kind::Directory),
    ("0.9.2342.19200300.100.1.25", "DC", Kind::Ia5),
    ("1.2.840.113549.1.9.1", "EMAIL", Kind::Ia5),
    ("1.3.6.1.5.5.7.9.4", "countryOfCitizenship", Kind::Printable),
    (
        "1.3.6.1.4.1.311.60.2.1.3",
        "jurisdictionOfIncorporationCountryName",
        Kind::Printable,
    ),
];
