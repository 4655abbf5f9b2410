//! proxyip.toml(5), from the schema.

use clap_mangen::roff::{Roff, bold, roman};

use crate::config::schema::{Effect, Fallback, Kind, SECTIONS, Section, Shape};

/// The page's name, also that of its file.
pub(super) const NAME: &str = "proxyip.toml.5";

pub(super) fn page() -> String {
    let mut page = Roff::new();
    page.control("TH", ["proxyip.toml", "5", "", concat!("proxyip ", env!("CARGO_PKG_VERSION"))]);
    page.control("SH", ["NAME"]).text([roman("proxyip.toml - configuration of proxyip")]);
    page.control("SH", ["DESCRIPTION"]).text([roman(
        "The file is TOML. proxyip run and proxyip check read it with --config. A mistake is named with its file, line \
         and key, all mistakes at once.",
    )]);
    for section in SECTIONS {
        add(&mut page, section);
    }
    page.control("SH", ["SEE ALSO"]).text([roman("proxyip(1), proxyip-run(1), proxyip-check(1)")]);
    page.to_roff()
}

fn add(page: &mut Roff, section: &Section) {
    let title = match section.shape {
        Shape::Table => format!("[{}]", section.name),
        Shape::Tables(..) => format!("[[{}]]", section.name),
    };
    page.control("SH", [title.as_str()]).text([roman(section.doc)]);
    for key in section.keys {
        page.control("TP", []).text([bold(key.name()), roman(format!(" ({})", kind(&key.kind())))]);
        let needs = match key.effect() {
            Effect::Reload => "A change needs a reload.",
            Effect::Detach => "A change needs proxyip detach and a start.",
        };
        page.text([roman(plain(&format!("{} {} {needs}", key.doc(), default(key.default()))))]);
    }
}

/// Text without the marks of Markdown.
fn plain(text: &str) -> String {
    text.replace('`', "")
}

fn kind(kind: &Kind) -> String {
    let quoted = |labels: &[&str]| {
        labels.iter().map(|label| format!("\"{label}\"")).collect::<Vec<_>>().join(", ")
    };
    match kind {
        Kind::Flag => "true or false".into(),
        Kind::Number { least, most } => format!("a number from {least} to {most}"),
        Kind::Seconds { most } => format!("seconds, from 1 to {most}"),
        Kind::Choice(labels) => quoted(labels),
        Kind::Choices(labels) => format!("a list of {}", quoted(labels)),
        Kind::Text(form) => plain(form.words),
        Kind::Ports => "a list of ports and ranges".into(),
        Kind::Networks => "a list of networks, or one string with commas".into(),
    }
}

fn default(default: Fallback) -> String {
    match default {
        Fallback::Required => "The key is required.".into(),
        Fallback::RequiredUnless(other) => format!("This key or {other} is required."),
        Fallback::Value(value) => format!("Default: {value}."),
        Fallback::Absent(words) => format!("Without it: {words}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_each_key() {
        let page = page();
        for key in SECTIONS.iter().flat_map(|section| section.keys) {
            assert!(page.contains(&format!("\n\\fB{}\\fR ", key.name())), "{}: {page}", key.name());
        }
    }
}
