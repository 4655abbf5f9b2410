//! What was measured, as a picture of bars. The same record always gives the same bytes.

use std::fmt::Write as _;

use super::{
    kind::Kind,
    record::{Contender, Record},
};

const WIDTH: f64 = 760.0;
/// Of a row.
const HEIGHT: f64 = 24.0;
/// Where bars begin and where the longest range ends.
const LEFT: f64 = 300.0;
const RIGHT: f64 = 640.0;
/// Above the first row.
const TOP: f64 = 40.0;

/// Colours have contrast on white and on black: a picture in a page does not know which of them the page has.
const STYLE: &str = "text { font: 13px sans-serif; fill: #747c85 }\n\
    .title, .group { font-weight: bold }\n\
    .end { text-anchor: end }\n\
    .own { fill: #2f7fd6 }\n\
    .other { fill: #a8b1bb }\n\
    line { stroke: #747c85 }\n\
    .one { stroke-dasharray: 3 3 }\n";

/// The picture: a bar for each contender's median ratio, a line from the least to the greatest.
pub(super) fn of(kind: Kind, record: &Record) -> String {
    let greatest = record.contenders().map(|(_, contender)| contender.ratio[2]);
    let scale = (RIGHT - LEFT) / greatest.fold(1.0, f64::max);
    let grouped = record.groups.len() > 1;
    let (mut rows, mut y) = (String::new(), TOP);
    for group in &record.groups {
        if grouped {
            text(&mut rows, ("group", 8.0, y), &group.name);
            y += HEIGHT;
        }
        for contender in &group.contenders {
            row(&mut rows, y, scale, contender);
            y += HEIGHT;
        }
    }
    let (one, bottom, title) = (LEFT + scale, y - 4.0, escaped(kind.title()));
    let mut heading = String::new();
    text(&mut heading, ("title", 8.0, 8.0), kind.title());
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{y}\" \
         viewBox=\"0 0 {WIDTH} {y}\" role=\"img\" aria-label=\"{title}\">\n\
         <style>\n{STYLE}</style>\n{heading}{rows}\
         <line class=\"one\" x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{TOP}\" y2=\"{bottom}\"/>\n</svg>\n"
    )
}

fn row(rows: &mut String, y: f64, scale: f64, contender: &Contender) {
    let Contender { name, ratio, errors, .. } = contender;
    let [least, median, greatest] = ratio.map(|ratio| ratio * scale);
    text(rows, ("end", LEFT - 10.0, y), name);
    let class = if name.starts_with("proxyip") { "own" } else { "other" };
    let (top, middle) = (y + 3.0, y + HEIGHT / 2.0);
    let _ = writeln!(
        rows,
        "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{top}\" width=\"{median:.1}\" height=\"{}\"/>",
        HEIGHT - 6.0
    );
    let (from, to) = (LEFT + least, LEFT + greatest);
    let _ =
        writeln!(rows, "<line x1=\"{from:.1}\" x2=\"{to:.1}\" y1=\"{middle}\" y2=\"{middle}\"/>");
    let errors = if *errors > 0 { format!(", {errors} errors") } else { String::new() };
    text(rows, ("value", RIGHT + 10.0, y), &format!("{:.2}{errors}", contender.median_ratio()));
}

/// In the row that begins at this height.
fn text(rows: &mut String, (class, x, y): (&str, f64, f64), words: &str) {
    let y = y + 17.0;
    let _ = writeln!(rows, "<text class=\"{class}\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(words));
}

fn escaped(words: &str) -> String {
    words.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_ratios() {
        let lines = "sample\tup\tdirect\t100\t0\nsample\tup\tproxyip\t50\t2\n";
        let picture = of(Kind::Connections, &Record::of(lines).unwrap());
        assert!(
            picture.contains("<rect class=\"other\" x=\"300\" y=\"43\" width=\"340.0\""),
            "{picture}"
        );
        assert!(
            picture.contains("<rect class=\"own\" x=\"300\" y=\"67\" width=\"170.0\""),
            "{picture}"
        );
        assert!(picture.contains(">0.50, 2 errors</text>"), "{picture}");
        assert!(!picture.contains("class=\"group\""), "one group needs no heading");
    }

    #[test]
    fn names_are_escaped() {
        assert_eq!(escaped("a < b & \"c\""), "a &lt; b &amp; &quot;c&quot;");
    }
}
