//! One frame.

pub(super) mod parts;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Modifier, Style};
use ratatui::text::Line;
use ratatui::widgets::{Paragraph, Widget};

use super::frame::View;
use crate::cli::duration::short;

/// Frames that are less wide have clients above refusals and not beside them.
const BESIDE: u16 = 72;
/// Lines of the picture of the rate, its title included.
const PICTURE: u16 = 4;
/// Frames that are less high have no picture, and no list of keys.
const HIGH: u16 = 16;
/// Clients that a frame as high as it likes shows.
const CLIENTS: usize = 20;

impl Widget for View<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let head = self.head();
        let high = self.live && area.height >= HIGH;
        let picture = if high && self.top.status().is_some() { PICTURE } else { 0 };
        let lines = u16::try_from(self.top.listeners().len() + 2).unwrap_or(u16::MAX);
        let [above, middle, listeners, below, keys] = Layout::vertical([
            Constraint::Length(u16::try_from(head.len()).unwrap_or(u16::MAX)),
            Constraint::Length(picture),
            // Clients and refusals are to have a half of what is left.
            Constraint::Length(lines.min(area.height.saturating_sub(picture) / 2)),
            Constraint::Min(0),
            Constraint::Length(u16::from(high)),
        ])
        .areas(area);
        Paragraph::new(head).render(above, buffer);
        if self.top.status().is_some() {
            self.picture(middle, buffer);
            self.listeners(listeners, buffer);
            self.clients_and_drops(below, buffer);
        }
        Line::styled(
            " q quit  p hold  s sort  ↑↓ clients  +- interval",
            Style::new().add_modifier(Modifier::DIM),
        )
        .render(keys, buffer);
    }
}

impl View<'_> {
    /// How high a frame is that shows most of what there is.
    pub(super) fn height(&self) -> u16 {
        let below = self.top.ordered_clients().0.len().min(CLIENTS).max(self.top.drops().len());
        let listeners = self.top.listeners().len();
        // The upper half is at most a half.
        u16::try_from(self.head().len() + 2 * (listeners + 2).max(below + 2)).unwrap_or(u16::MAX)
    }

    fn head(&self) -> Vec<Line<'_>> {
        let mut lines = Vec::new();
        let pace = self.top.pace();
        if let Some(status) = self.top.status() {
            let uptime = short(status.uptime_s);
            let every =
                if self.live { format!("  every {} s", pace.interval) } else { String::new() };
            let held = if pace.held { "  HELD" } else { "" };
            let line = format!("proxyip {}  running for {uptime}{every}{held}", status.version);
            lines.push(Line::styled(line, Style::new().add_modifier(Modifier::BOLD)));
            lines.push(Line::raw(format!(
                "flows {} / {}  translated {} / {}",
                status.flows, status.limits.flows, status.translated, status.limits.translated
            )));
        } else if self.top.trouble().is_none() {
            lines.push(Line::raw("asking the agent …"));
        }
        if let Some(trouble) = self.top.trouble() {
            lines.push(Line::styled(format!("trying again: {trouble}"), self.theme.trouble()));
        }
        lines
    }

    fn clients_and_drops(&self, area: Rect, buffer: &mut Buffer) {
        if area.width >= BESIDE {
            let halves = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2);
            let [left, right] = halves.areas(area);
            self.clients(left, buffer);
            self.drops(right, buffer);
            return;
        }
        let drops = u16::try_from(self.top.drops().len() + 2).unwrap_or(u16::MAX);
        let parts = [Constraint::Fill(1), Constraint::Length(drops.min(area.height / 2))];
        let [upper, lower] = Layout::vertical(parts).areas(area);
        self.clients(upper, buffer);
        self.drops(lower, buffer);
    }
}
