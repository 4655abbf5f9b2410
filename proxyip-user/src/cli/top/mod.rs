//! `proxyip top`

mod frame;
mod reader;
mod screen;
mod state;
#[cfg(test)]
mod tests;
mod theme;
mod view;

use std::io::{IsTerminal, stdin, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use crossterm::event::{Event, EventStream};
use crossterm::terminal;
use futures_util::StreamExt;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::widgets::Widget;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};

use self::frame::View;
use self::reader::{Reader, follow};
use self::screen::Screen;
use self::state::{After, Top};
use self::theme::Theme;
use super::output::print;
use crate::config::DEFAULT_SOCKET;

/// Columns of a frame that is printed to something that is no terminal.
const COLUMNS: u16 = 100;

/// Show live what goes on: connections by listener, clients, refusals.
///
/// Keys: q, Esc or Ctrl-C ends it; p holds it; s sorts clients by address or by connections; up, down, j and k go
/// through them; + and - change the interval.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// How often the agent is asked.
    #[arg(
        long,
        value_name = "SECONDS",
        default_value_t = 2,
        value_parser = clap::value_parser!(u16).range(1..=i64::from(state::LONGEST))
    )]
    interval: u16,
    /// Print one frame as plain text, with the rates of one interval.
    #[arg(long)]
    once: bool,
    /// Unix socket of the agent.
    #[arg(long, value_name = "PATH", env = "PROXYIP_SOCKET", default_value = DEFAULT_SOCKET)]
    socket: PathBuf,
}

pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let top = Top::new(arguments.interval);
    let reader = Reader::new(&arguments.socket);
    if arguments.once {
        return once(top, reader).await;
    }
    if !(stdin().is_terminal() && stdout().is_terminal()) {
        bail!("this is no terminal: use --once, or `proxyip status --json`");
    }
    live(top, reader).await
}

/// Reads twice: rates are differences.
async fn once(mut top: Top, mut reader: Reader) -> Result<()> {
    top.take(Ok(reader.read().await?));
    tokio::time::sleep(Duration::from_secs(top.interval().into())).await;
    top.take(Ok(reader.read().await?));
    let columns = terminal::size().ok().filter(|_| stdout().is_terminal());
    print(plain(&top, columns.map_or(COLUMNS, |(columns, _)| columns)))
}

/// A frame without colours, as high as it needs to be.
fn plain(top: &Top, columns: u16) -> String {
    let view = View { top, theme: Theme::plain(), live: false };
    let area = Rect::new(0, 0, columns, view.height());
    let mut buffer = Buffer::empty(area);
    view.render(area, &mut buffer);
    let line = |row| {
        let cells = (0..area.width).map(|column| buffer[(column, row)].symbol());
        cells.collect::<String>().trim_end().to_owned() + "\n"
    };
    (0..area.height).map(line).collect::<String>().trim_end().to_owned() + "\n"
}

async fn live(mut top: Top, reader: Reader) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let theme = Theme::of_environment();
    let mut screen = Screen::open()?;
    let mut events = EventStream::new();
    let (pace, pace_of_reader) = watch::channel(top.pace());
    let (sender, mut samples) = mpsc::channel(1);
    tokio::spawn(follow(reader, pace_of_reader, sender));
    loop {
        screen.draw(View { top: &top, theme, live: true })?;
        tokio::select! {
            Some(sample) = samples.recv() => top.take(sample),
            event = events.next() => match event {
                Some(Ok(Event::Key(key))) if top.press(key) == After::Quit => return Ok(()),
                // Any other event, for example a new size: the next frame shows it.
                Some(Ok(_)) => {}
                // The terminal is gone.
                Some(Err(error)) => return Err(error.into()),
                None => return Ok(()),
            },
            _ = interrupt.recv() => return Ok(()),
            _ = terminate.recv() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
        pace.send_if_modified(|pace| std::mem::replace(pace, top.pace()) != top.pace());
    }
}
