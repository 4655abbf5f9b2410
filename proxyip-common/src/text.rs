//! Text that comes from the other end of a connection.

/// Whether a terminal may obey this character instead of showing it: controls, of which U+009B is as good as an escape
/// sequence's beginning, and what changes the direction or the line of the text around it.
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
