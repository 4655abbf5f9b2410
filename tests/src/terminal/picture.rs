//! A terminal's screen as HTML: for pictures.

use std::fmt::Write;

use vt100::{Callbacks, Cell, Color, Parser, Screen};

/// The first colours of xterm: black, red, green, yellow, blue, magenta, cyan and white, then the bright ones.
const PALETTE: [&str; 16] = [
    "#000000", "#cd0000", "#00cd00", "#cdcd00", "#3b78ff", "#cd00cd", "#00cdcd", "#e5e5e5", //
    "#7f7f7f", "#ff0000", "#00ff00", "#ffff00", "#5c5cff", "#ff00ff", "#00ffff", "#ffffff",
];
const FOREGROUND: &str = "#f2f2f2";
const BACKGROUND: &str = "#000000";

/// The control sequences that vt100 does not know: of them the picture would be wrong.
#[derive(Debug, Default)]
pub(super) struct Unknown(Vec<String>);

impl Callbacks for Unknown {
    fn unhandled_csi(
        &mut self,
        _: &mut Screen,
        first: Option<u8>,
        second: Option<u8>,
        parameters: &[&[u16]],
        last: char,
    ) {
        // ratatui asks for the usual colour of underlines. There are no underlines.
        if (parameters, last) == (&[&[59]], 'm') {
            return;
        }
        self.0.push(format!("CSI {first:?} {second:?} {parameters:?} {last}"));
    }
}

/// A document that shows what the terminal shows.
///
/// # Panics
/// When a program has used sequences or colours that pictures do not have.
pub(super) fn html(title: &str, parser: &Parser<Unknown>) -> String {
    let unknown = &parser.callbacks().0;
    assert!(unknown.is_empty(), "sequences that no picture shows: {unknown:?}");
    let mut document = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{}</title>\
         <style>body{{margin:8px;background:{BACKGROUND}}}pre{{margin:0;font-size:19px}}</style><pre>",
        escaped(title)
    );
    let screen = parser.screen();
    let (lines, columns) = screen.size();
    for line in 0..lines.get() {
        let cells: Vec<_> = (0..columns.get())
            .filter_map(|column| screen.cell(line, column))
            .filter(|cell| !cell.is_wide_continuation())
            .map(|cell| (css(cell), cell.contents()))
            .collect();
        for run in cells.chunk_by(|(one, _), (next, _)| one == next) {
            // A cell that nothing was written to has no text.
            let text = |(_, text): &(_, &str)| if text.is_empty() { " " } else { text }.to_owned();
            let text: String = run.iter().map(text).collect();
            write!(document, "<span style=\"{}\">{}</span>", run[0].0, escaped(&text))
                .expect("memory takes what is written");
        }
        document.push('\n');
    }
    document.push_str("</pre></html>\n");
    document
}

/// How a cell looks.
fn css(cell: &Cell) -> String {
    assert!(!cell.italic() && !cell.underline(), "a style that no picture shows: {cell:?}");
    let mut colour = colour(cell.fgcolor()).unwrap_or(FOREGROUND);
    let mut ground = self::colour(cell.bgcolor()).unwrap_or(BACKGROUND);
    if cell.inverse() {
        (colour, ground) = (ground, colour);
    }
    let mut css = format!("color:{colour}");
    // The document has the usual one; another of it would cover what the line above has lowest.
    if ground != BACKGROUND {
        css = format!("{css};background:{ground}");
    }
    // vt100 takes one for the other, as the last sequence says: no cell is both.
    if cell.bold() {
        css += ";font-weight:bold";
    }
    if cell.dim() {
        css += ";opacity:0.7";
    }
    css
}

/// The colour, unless it is the terminal's own.
fn colour(colour: Color) -> Option<&'static str> {
    match colour {
        Color::Default => None,
        Color::Idx(index) if usize::from(index) < PALETTE.len() => {
            Some(PALETTE[usize::from(index)])
        }
        _ => panic!("{colour:?} is none of the first sixteen"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU16;

    use super::*;

    /// The picture of a screen of two lines and eight columns after these bytes.
    fn picture(bytes: &str) -> String {
        let number = |number| NonZeroU16::new(number).expect("not zero");
        let unknown = Unknown::default();
        let mut parser = Parser::new_with_callbacks(number(2), number(8), 0, unknown);
        parser.process(bytes.as_bytes());
        html("&", &parser)
    }

    #[test]
    fn cells_of_one_look_are_one_piece_and_lines_keep_their_places() {
        let document = picture("ab\x1b[1;38;5;6mcd\x1b[0;97;41me\x1b[0m\r\n<\x1b[92m>");
        let plain = |text| format!("<span style=\"color:{FOREGROUND}\">{text}</span>");
        let pieces = [
            plain("ab"),
            format!("<span style=\"color:{};font-weight:bold\">cd</span>", PALETTE[6]),
            format!("<span style=\"color:{};background:{}\">e</span>", PALETTE[15], PALETTE[1]),
            plain("   ") + "\n" + &plain("&lt;"),
            format!("<span style=\"color:{}\">&gt;</span>", PALETTE[10]),
            plain("      ") + "\n</pre>",
        ];
        assert!(document.contains(&pieces.concat()), "{document}");
        assert!(document.contains("<title>&amp;</title>"), "{document}");
    }

    #[test]
    fn default_colours_are_reversed_as_well() {
        let document = picture("\x1b[7mchosen\x1b[27m\x1b[2mfaint\x1b[m");
        let reversed = format!("\"color:{BACKGROUND};background:{FOREGROUND}\">chosen</span>");
        assert!(document.contains(&reversed), "{document}");
        let faint = format!("\"color:{FOREGROUND};opacity:0.7\">");
        assert!(document.contains(&faint), "{document}");
    }

    #[test]
    #[should_panic = "sequences that no picture shows"]
    fn unknown_sequences_are_refused() {
        picture("\x1b[5m");
    }

    #[test]
    #[should_panic = "a style that no picture shows"]
    fn styles_that_are_not_drawn_are_refused() {
        picture("\x1b[4mlink");
    }

    #[test]
    #[should_panic = "none of the first sixteen"]
    fn other_colours_are_refused() {
        picture("\x1b[38;5;200mpink");
    }
}
