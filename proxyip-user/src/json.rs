//! JSON that may be shown on a terminal: what one would obey is escaped, as JSON allows for every character
//! ([RFC 8259, section 7](https://www.rfc-editor.org/rfc/rfc8259#section-7)). The text of TLVs is often the client's.

use std::io::{self, Write};

use proxyip_common::text::is_obeyed;
use serde::Serialize;
use serde_json::Serializer;
use serde_json::ser::Formatter;

/// Writes `value` as JSON.
///
/// # Errors
/// If it has no JSON form, or cannot be written.
pub(crate) fn write(writer: impl Write, value: &impl Serialize) -> serde_json::Result<()> {
    value.serialize(&mut Serializer::with_formatter(writer, Shown))
}

/// `value` as JSON.
///
/// # Errors
/// If it has no JSON form.
pub(crate) fn to_vec(value: &impl Serialize) -> serde_json::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(512);
    write(&mut bytes, value)?;
    Ok(bytes)
}

struct Shown;

impl Formatter for Shown {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        // Most texts are ASCII. JSON has already escaped what is below the space.
        if fragment.bytes().all(|byte| byte < 0x7f) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((shown, behind)) = rest.split_once(is_obeyed) {
            writer.write_all(shown.as_bytes())?;
            let obeyed = &rest[shown.len()..rest.len() - behind.len()];
            for unit in obeyed.encode_utf16() {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = behind;
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_reads_as_it_was() {
        for (text, json) in [
            ("example.com", r#""example.com""#),
            ("", r#""""#),
            ("\u{1b}[31m", r#""\u001b[31m""#),
            ("a\u{9b}31m\u{7f}b", r#""a\u009b31m\u007fb""#),
            ("\u{202e}moc.elpmaxe\u{2028}", r#""\u202emoc.elpmaxe\u2028""#),
            ("süß 例え \"\\\n", r#""süß 例え \"\\\n""#),
        ] {
            let written = String::from_utf8(to_vec(&text).unwrap()).unwrap();
            assert_eq!(written, json);
            assert_eq!(serde_json::from_str::<String>(&written).unwrap(), text);
        }
    }
}
