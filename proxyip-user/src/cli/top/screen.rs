//! The terminal, as long as it is ours.

use anyhow::{Context, Result};
use ratatui::DefaultTerminal;
use ratatui::widgets::Widget;

/// Restores the terminal when it is dropped, and when the program panics.
pub(super) struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    pub(super) fn open() -> Result<Self> {
        let terminal = ratatui::try_init().context("the terminal cannot be drawn on")?;
        Ok(Self { terminal })
    }

    pub(super) fn draw(&mut self, view: impl Widget) -> Result<()> {
        let drawn = self.terminal.draw(|frame| frame.render_widget(view, frame.area()));
        drawn.map(|_| ()).context("the terminal cannot be drawn on")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone has nothing to be restored.
        ratatui::try_restore().ok();
    }
}
