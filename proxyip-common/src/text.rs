//! Text that comes from the other end of a connection.

/// Whether a terminal may obey this character instead of showing it. This covers control characters; U+009B alone
/// can begin an escape sequence. It also covers characters that change the direction or the line of the text
/// around them.
#[must_use]
pub fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(
            character,
            '\u{061c}'
                | '\u{200e}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2066}'..='\u{2069}'
        )
}
