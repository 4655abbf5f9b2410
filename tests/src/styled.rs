//! Text with the escape sequences that style it, as HTML: for pictures of terminals.

use std::fmt::Write;

/// The first colours of xterm: black, red, green, yellow, blue, magenta, cyan and white, then the bright ones.
const PALETTE: [&str; 16] = [
    "#000000", "#cd0000", "#00cd00", "#cdcd00", "#3b78ff", "#cd00cd", "#00cdcd", "#e5e5e5", //
    "#7f7f7f", "#ff0000", "#00ff00", "#ffff00", "#5c5cff", "#ff00ff", "#00ffff", "#ffffff",
];
const FOREGROUND: &str = "#f2f2f2";
const BACKGROUND: &str = "#000000";

/// How characters look, as SGR sequences say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Style {
    bold: bool,
    faint: bool,
    reversed: bool,
    foreground: Option<&'static str>,
    background: Option<&'static str>,
}

impl Style {
    /// As it is behind a sequence with these parameters:
    /// [ECMA-48, 8.3.117](https://ecma-international.org/publications-and-standards/standards/ecma-48/).
    fn after(mut self, parameters: &str) -> Self {
        let mut numbers = parameters.split(';').map(|number| match number {
            "" => 0,
            number => number.parse().expect("a number of a style"),
        });
        while let Some(number) = numbers.next() {
            match number {
                0 => self = Self::default(),
                1 => self.bold = true,
                2 => self.faint = true,
                7 => self.reversed = true,
                22 => (self.bold, self.faint) = (false, false),
                27 => self.reversed = false,
                30..=37 => self.foreground = Some(PALETTE[number - 30]),
                38 => self.foreground = Some(indexed(&mut numbers)),
                39 => self.foreground = None,
                40..=47 => self.background = Some(PALETTE[number - 40]),
                48 => self.background = Some(indexed(&mut numbers)),
                49 => self.background = None,
                90..=97 => self.foreground = Some(PALETTE[number - 90 + 8]),
                100..=107 => self.background = Some(PALETTE[number - 100 + 8]),
                _ => panic!("a style that no picture shows: {number}"),
            }
        }
        self
    }

    fn css(self) -> String {
        let (mut colour, mut ground) =
            (self.foreground.unwrap_or(FOREGROUND), self.background.unwrap_or(BACKGROUND));
        if self.reversed {
            (colour, ground) = (ground, colour);
        }
        let mut css = format!("color:{colour}");
        // The document has the usual one; another of it would cover what the line above has lowest.
        if ground != BACKGROUND {
            css = format!("{css};background:{ground}");
        }
        if self.bold {
            css += ";font-weight:bold";
        }
        if self.faint {
            css += ";opacity:0.7";
        }
        css
    }
}

/// What follows 38 and 48: a 5 and an index.
fn indexed(numbers: &mut impl Iterator<Item = usize>) -> &'static str {
    assert_eq!(numbers.next(), Some(5), "a colour that is not one of a palette");
    let index = numbers.next().expect("the colour's index");
    PALETTE.get(index).unwrap_or_else(|| panic!("colour {index} is none of the first sixteen"))
}

/// A document that shows the text as a terminal does.
///
/// # Panics
/// When it has other sequences than those of styles.
pub(crate) fn html(title: &str, text: &str) -> String {
    let mut document = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>{}</title>\
         <style>body{{margin:8px;background:{BACKGROUND}}}pre{{margin:0;font-size:19px}}</style><pre>",
        escaped(title)
    );
    let mut pieces = text.split('\x1b');
    let mut style = Style::default();
    let mut append = |style: Style, piece: &str| {
        write!(document, "<span style=\"{}\">{}</span>", style.css(), escaped(piece))
            .expect("memory takes what is written");
    };
    append(style, pieces.next().unwrap_or_default());
    for piece in pieces {
        let styled = piece.strip_prefix('[').and_then(|piece| piece.split_once('m'));
        let (parameters, piece) = styled.unwrap_or_else(|| panic!("no style: {piece:?}"));
        style = style.after(parameters);
        append(style, piece);
    }
    document.push_str("</pre></html>\n");
    document
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn styles_add_up_until_they_are_reset() {
        let style = Style::default().after("1;38;5;6").after("7");
        let expected =
            Style { bold: true, reversed: true, foreground: Some(PALETTE[6]), ..Style::default() };
        assert_eq!(style, expected);
        assert_eq!(style.after("22;27;39"), Style::default());
        assert_eq!(style.after("0"), Style::default());
        assert_eq!(style.after(""), Style::default());
        assert_eq!(style.after("0;97;41").foreground, Some(PALETTE[15]));
        assert_eq!(style.after("0;97;41").background, Some(PALETTE[1]));
    }

    /// tmux says so, and names the default colours behind it.
    #[test]
    fn default_colours_are_reversed_as_well() {
        let document = html("&", "a <\x1b[0;7m\x1b[39m\x1b[49mchosen\x1b[0m\n");
        let reversed = format!("\"color:{BACKGROUND};background:{FOREGROUND}\">chosen</span>");
        assert!(document.contains(&reversed), "{document}");
        let plain = format!("\"color:{FOREGROUND}\">a &lt;</span>");
        assert!(document.contains(&plain), "{document}");
        assert!(document.contains("<title>&amp;</title>"), "{document}");
    }

    #[test]
    #[should_panic = "no style"]
    fn other_sequences_are_refused() {
        html("", "\x1b[2J");
    }
}
