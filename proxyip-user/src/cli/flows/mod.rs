//! `proxyip flows`

mod columns;
mod pages;
#[cfg(test)]
mod tests;

use std::io::{IsTerminal, stdout};
use std::time::Duration;

use anyhow::Result;
use crossterm::terminal;
use ipnet::IpNet;
use jiff::Timestamp;
use proxyip_api::flow::LiveFlow;

use self::columns::{Column, DEFAULT, row};
use self::pages::{Pages, Query};
use super::output::print_more;
use super::reading::Reading;
use super::table::Table;
use crate::client::ClientError;
use crate::{config, json};

/// Clears a terminal and goes to its upper left corner (ECMA-48 ED and CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";
/// Columns and lines of a terminal that does not say how many it has.
const SIZE: (u16, u16) = (80, 24);

/// List the live connections whose PROXY header was consumed.
///
/// They come as the agent finds them, in no order, and are printed as they come.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// Only those of clients in this network, or with this address.
    #[arg(long, value_name = "CIDR", value_parser = config::network_or_address)]
    client: Option<IpNet>,
    /// Only those of this listener.
    #[arg(long, value_name = "NAME")]
    listener: Option<String>,
    /// The columns, with commas between them.
    #[arg(
        long,
        value_name = "COLUMNS",
        value_enum,
        value_delimiter = ',',
        default_values_t = DEFAULT,
        conflicts_with = "json"
    )]
    columns: Vec<Column>,
    /// Print them again and again, until interrupted. On a terminal, as many as it has lines for.
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "2",
        value_parser = clap::value_parser!(u32).range(1..=86_400),
        conflicts_with = "json"
    )]
    watch: Option<u32>,
    #[command(flatten)]
    reading: Reading,
}

pub(super) async fn run(arguments: &Arguments) -> Result<()> {
    let Some(seconds) = arguments.watch else {
        if arguments.reading.json {
            print_json(&mut arguments.pages()).await?;
        } else {
            print_table(&mut arguments.pages(), &arguments.columns, Room::UNLIMITED).await?;
        }
        return Ok(());
    };
    let mut period = tokio::time::interval(Duration::from_secs(seconds.into()));
    loop {
        period.tick().await;
        let (head, room) = if stdout().is_terminal() {
            let (columns, lines) = terminal::size().unwrap_or(SIZE);
            let lines = lines.saturating_sub(1).into();
            (CLEAR.into(), Room { columns: columns.into(), lines })
        } else {
            (format!("{:.0}\n", Timestamp::now()), Room::UNLIMITED)
        };
        if !print_more(head)? {
            return Ok(());
        }
        let goes_on = match print_table(&mut arguments.pages(), &arguments.columns, room).await {
            // The agent may come back.
            Err(error) if error.is::<ClientError>() => print_more(format!("{error:#}\n"))?,
            printed => printed?,
        };
        if !goes_on {
            return Ok(());
        }
    }
}

impl Arguments {
    fn pages(&self) -> Pages<'_> {
        let query = Query { client: self.client, listener: self.listener.as_deref() };
        Pages::new(&self.reading.socket, &query)
    }
}

/// How much of a table is printed.
#[derive(Clone, Copy)]
struct Room {
    columns: usize,
    lines: usize,
}

impl Room {
    const UNLIMITED: Self = Self { columns: usize::MAX, lines: usize::MAX };

    /// These lines, cut off.
    fn crop(self, text: String) -> String {
        if self.columns == usize::MAX {
            return text;
        }
        let cut = |line: &str| line.chars().take(self.columns).chain(['\n']).collect::<String>();
        text.lines().map(cut).collect()
    }
}

/// Prints one table; `false` if nobody reads any more.
async fn print_table(pages: &mut Pages<'_>, columns: &[Column], mut room: Room) -> Result<bool> {
    let mut rows = vec![columns.iter().map(|column| column.head()).collect()];
    let mut table = Table::default();
    while let Some(flows) = pages.next().await? {
        let now = Timestamp::now();
        rows.extend(flows.iter().map(|flow| row(columns, flow, now)));
        if rows.len() > room.lines {
            rows.truncate(room.lines.saturating_sub(1));
            rows.push(vec!["…".into()]);
            return print_more(room.crop(table.align(&rows)));
        }
        room.lines -= rows.len();
        if !print_more(room.crop(table.align(&rows)))? {
            return Ok(false);
        }
        rows.clear();
    }
    Ok(true)
}

/// Prints one array, page by page. If a page is missing the array has no end, so that nobody takes it for complete.
async fn print_json(pages: &mut Pages<'_>) -> Result<()> {
    let mut separator = "[";
    while let Some(flows) = pages.next().await? {
        if !print_more(elements(&flows, &mut separator)?)? {
            return Ok(());
        }
    }
    print_more(if separator == "[" { "[]\n" } else { "]\n" })?;
    Ok(())
}

/// The flows of a page as they stand in the array.
fn elements(flows: &[LiveFlow], separator: &mut &str) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    for flow in flows {
        text.extend_from_slice(separator.as_bytes());
        json::write(&mut text, flow)?;
        *separator = ",";
    }
    Ok(text)
}
