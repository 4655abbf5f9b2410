//! The parts of a frame below its head.

use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Text};
use ratatui::widgets::{Cell, Row, Sparkline, StatefulWidget, Table, TableState, Widget};

use crate::cli::duration::short;
use crate::cli::top::frame::View;
use crate::cli::top::state::Order;
use crate::cli::top::theme::Theme;

/// Columns of a number.
const NUMBER: u16 = 10;

impl View<'_> {
    /// New connections per second.
    pub(super) fn picture(&self, area: Rect, buffer: &mut Buffer) {
        let [title, bars] = Layout::vertical([Constraint::Max(1), Constraint::Fill(1)]).areas(area);
        let width = usize::from(bars.width);
        let history = self.top.history();
        let shown = history.iter().skip(history.len().saturating_sub(width));
        let last = rate(history.back().map(|rate| rate.per_second));
        let past = if history.is_empty() {
            String::new()
        } else {
            let highest = shown.clone().map(|rate| rate.per_second).fold(0.0, f64::max);
            let seconds = shown.clone().map(|rate| rate.seconds).sum::<f64>();
            let span = short(Duration::from_secs_f64(seconds.round()).as_secs());
            format!(", highest {} of the last {span}", rate(Some(highest)))
        };
        let text = format!("New connections per second: {last}{past}");
        Line::styled(text, self.theme.title()).render(title, buffer);
        // Bars are eighths of lines: rates below 1 count too.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "rates are not negative, and a bar has few steps"
        )]
        let data: Vec<_> = shown.map(|rate| (rate.per_second * 100.0) as u64).collect();
        // The newest stands at the right.
        let missing = width.saturating_sub(data.len());
        let data: Vec<_> = std::iter::repeat_n(0, missing).chain(data).collect();
        Sparkline::default().data(data).style(self.theme.picture()).render(bars, buffer);
    }

    pub(super) fn listeners(&self, area: Rect, buffer: &mut Buffer) {
        let sampled = self.top.clients().is_some_and(|clients| clients.sampled);
        let rows = self.top.listeners().into_iter().map(|row| {
            let live = row.live.map_or("-".into(), |live| live.to_string());
            let live = if sampled { format!("≥{live}") } else { live };
            Row::new([
                Cell::new(row.name),
                right(rate(row.accepted_rate)),
                right(rate(row.refused_rate)),
                right(live),
                right(row.accepted.to_string()),
                right(row.refused.to_string()),
            ])
        });
        let head = ["ACCEPT/S", "REFUSE/S", "LIVE", "ACCEPTED", "REFUSED"].map(right);
        let head = Row::new([Cell::new("LISTENER")].into_iter().chain(head));
        let numbers = match area.width {
            0..30 => 1,
            30..42 => 2,
            42..64 => 3,
            64.. => 5,
        };
        let table = Table::new(rows, widths(numbers)).header(head.style(self.theme.title()));
        Widget::render(table, area, buffer);
    }

    pub(super) fn clients(&self, area: Rect, buffer: &mut Buffer) {
        let (clients, selected) = self.top.ordered_clients();
        let rows = clients
            .iter()
            .map(|one| Row::new([Cell::new(one.client.to_string()), right(one.flows.to_string())]));
        let order = match self.top.order() {
            Order::Flows => "CLIENT (by connections)",
            Order::Address => "CLIENT (by address)",
        };
        let head = match self.top.clients() {
            Some(clients) if clients.sampled => format!("{order} of {} flows", clients.flows),
            _ => order.into(),
        };
        let head = Row::new([Cell::new(head), right("LIVE")]).style(self.theme.title());
        let mut state = TableState::default().with_selected(self.live.then_some(selected));
        let table = Table::new(rows, widths(1)).header(head).row_highlight_style(Theme::selected());
        StatefulWidget::render(table, area, buffer, &mut state);
    }

    pub(super) fn drops(&self, area: Rect, buffer: &mut Buffer) {
        let drops = self.top.drops();
        let rows = drops.iter().map(|row| {
            Row::new([
                Cell::new(row.reason.as_str()),
                right(rate(row.rate)),
                right(row.total.to_string()),
            ])
        });
        let head = Row::new([Cell::new("REFUSED FOR"), right("PER S"), right("TOTAL")]);
        let numbers = if area.width < 34 { 1 } else { 2 };
        let table = Table::new(rows, widths(numbers)).header(head.style(self.theme.title()));
        Widget::render(table, area, buffer);
    }
}

/// Those of a name and so many numbers. No number takes the name's last columns.
fn widths(numbers: usize) -> impl Iterator<Item = Constraint> {
    let numbers = std::iter::repeat_n(Constraint::Length(NUMBER), numbers);
    [Constraint::Fill(1)].into_iter().chain(numbers)
}

fn right<'a>(text: impl Into<Text<'a>>) -> Cell<'a> {
    Cell::new(text.into().right_aligned())
}

/// About three digits.
pub(in crate::cli::top) fn rate(rate: Option<f64>) -> String {
    match rate {
        None => "-".into(),
        Some(rate) if rate >= 99.95 => format!("{rate:.0}"),
        Some(rate) => format!("{rate:.1}"),
    }
}
