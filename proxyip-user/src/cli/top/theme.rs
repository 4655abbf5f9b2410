//! How a frame looks.

use std::env;

use ratatui::style::{Color, Modifier, Style};

/// How things look.
#[derive(Clone, Copy, Debug)]
pub(super) struct Theme {
    colours: bool,
}

impl Theme {
    /// With colours, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(super) fn of_environment() -> Self {
        Self { colours: env::var_os("NO_COLOR").is_none_or(|value| value.is_empty()) }
    }

    pub(super) const fn plain() -> Self {
        Self { colours: false }
    }

    #[cfg(test)]
    pub(super) const fn coloured() -> Self {
        Self { colours: true }
    }

    fn in_colour(self, colour: Color) -> Style {
        if self.colours { Style::new().fg(colour) } else { Style::new() }
    }

    pub(super) fn title(self) -> Style {
        self.in_colour(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    pub(super) fn trouble(self) -> Style {
        self.in_colour(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub(super) fn picture(self) -> Style {
        self.in_colour(Color::Green)
    }

    pub(super) fn selected() -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }
}
