//! The table, and the limits.

use crate::Options;
use crate::measure::Cost;

const KIB: f64 = 1024.0;

/// A row of the table: what it has of each cost, and how many decimals are shown.
struct Row {
    name: &'static str,
    decimals: usize,
    of: fn(&Cost) -> f64,
}

#[expect(clippy::cast_precision_loss, reason = "nothing comes near 2^52")]
const ROWS: [Row; 11] = [
    Row { name: "attached after, s", decimals: 2, of: |cost| cost.attached.as_secs_f64() },
    Row { name: "processor until then, s", decimals: 2, of: |cost| cost.processor.as_secs_f64() },
    Row { name: "processor at rest, %", decimals: 2, of: |cost| cost.rest * 100.0 },
    Row { name: "resident memory, MB", decimals: 1, of: megabytes },
    Row { name: "threads", decimals: 1, of: |cost| cost.usage.threads as f64 },
    Row { name: "descriptors", decimals: 1, of: |cost| cost.usage.descriptors as f64 },
    Row { name: "programs", decimals: 1, of: |cost| cost.held.programs as f64 },
    Row {
        name: "instructions verified, k",
        decimals: 1,
        of: |cost| cost.held.verified as f64 / 1e3,
    },
    Row { name: "maps", decimals: 1, of: |cost| cost.held.maps as f64 },
    Row {
        name: "memory of programs, KiB",
        decimals: 1,
        of: |cost| cost.held.program_bytes as f64 / KIB,
    },
    Row { name: "memory of maps, KiB", decimals: 1, of: |cost| cost.held.map_bytes as f64 / KIB },
];

#[expect(clippy::cast_precision_loss, reason = "nothing comes near 2^52")]
fn megabytes(cost: &Cost) -> f64 {
    cost.usage.resident_kib as f64 * KIB / 1e6
}

/// What grows with each namespace is the slope between the first cost and the last one.
pub(crate) fn print(costs: &[Cost; 3]) {
    let [first, _, last] = costs;
    let names: Vec<_> = costs.iter().map(|cost| format!("{:>12}", cost.namespaces)).collect();
    println!("{:<26}{}{:>14}", "namespaces", names.concat(), "for each one");
    for Row { name, decimals, of } in &ROWS {
        let cells = costs.iter().map(|cost| format!("{:>12.decimals$}", of(cost)));
        let more = of(last) - of(first);
        let slope = more / count(last.namespaces - first.namespaces);
        println!("{name:<26}{}{slope:>14.3}", cells.collect::<String>());
    }
    println!("\nOf programs that are loaded and not kept, nothing is counted.");
}

fn count(number: usize) -> f64 {
    f64::from(u32::try_from(number).expect("some hundreds"))
}

/// The limits that are missed, each with what was measured.
pub(crate) fn missed(cost: &Cost, options: &Options) -> Vec<String> {
    let limits = [
        ("s until all are attached", cost.attached.as_secs_f64(), options.attached),
        ("MB of resident memory", megabytes(cost), options.memory),
        ("% of one processor at rest", cost.rest * 100.0, options.rest),
    ];
    let over = limits.into_iter().filter(|(_, is, most)| is > most);
    over.map(|(what, is, most)| format!("{is:.2} {what}; at most {most} are allowed")).collect()
}
