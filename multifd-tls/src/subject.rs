//! A certificate's subject as text.

use rustls::pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer as _;

/// The subject in the form that GnuTLS gives it and QEMU's `tls-authz` compares: RFC 4514's, such as
/// `C=GB,O=Example,CN=host`, in the certificate's own order.
///
/// # Errors
/// What is wrong with the certificate.
pub(crate) fn subject(certificate: &CertificateDer<'_>) -> Result<String, String> {
    let (_, parsed) = X509Certificate::from_der(certificate)
        .map_err(|error| format!("no X.509 certificate: {error}"))?;
    let mut text = String::new();
    for set in parsed.subject().iter_rdn() {
        for (at, attribute) in set.iter().enumerate() {
            if !text.is_empty() {
                text.push(if at == 0 { ',' } else { '+' });
            }
            let oid = attribute.attr_type().to_id_string();
            let short = NAMES.iter().find(|(of, _)| *of == oid);
            text.push_str(short.map_or(&oid, |(_, name)| name));
            text.push('=');
            match attribute.as_str() {
                Ok(value) => escape(value, &mut text),
                Err(_) => {
                    text.push('#');
                    for byte in attribute.attr_value().data {
                        text.push_str(&format!("{byte:02x}"));
                    }
                }
            }
        }
    }
    Ok(text)
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

const NAMES: &[(&str, &str)] = &[
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "givenName"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "EMAIL"),
];
