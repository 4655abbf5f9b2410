//! How proxyip and others judge the same bytes. Each case of a header is sent for real to proxyip, `HAProxy` and
//! nginx, and given to several parsers. A page reports the results.

mod judges;
mod prose;
mod table;
mod topic;
mod vector;
mod vectors;
mod verdict;
mod versions;

use self::vector::Vector;
use self::vectors::Group;
use self::verdict::{Outcome, Verdict};
use crate::hand_off::HandOff;

/// The programs that proxyip is compared with, in the order of [`Row::others`].
const JUDGES: [&str; 5] = ["HAProxy", "nginx", "`ppp`", "`proxy-header`", "`proxyproto`"];
/// How proxyip gives connections to the application.
const HAND_OFFS: [HandOff; 2] = [HandOff::Accept, HandOff::Translate];

/// A case and all that was said of it.
#[derive(Debug)]
struct Row {
    vector: Vector,
    /// What the parser says.
    parser: Outcome,
    /// What was seen on the wire and in the flow log under `accept`.
    kernel: Outcome,
    /// The same under `translate`.
    translated: Outcome,
    others: [Verdict; 5],
}

impl Row {
    /// Whether this judge sees it differently.
    fn disagrees(&self, judge: usize) -> bool {
        !self.others[judge].agrees(&self.vector.expected.outcome().verdict)
    }

    /// What is wrong with it.
    fn faults(&self) -> Vec<String> {
        let name = &self.vector.name;
        let expected = self.vector.expected.outcome();
        let mut faults = Vec::new();
        let mut expect = |who: &str, said: &Outcome, is_right: bool| {
            if !is_right {
                faults.push(format!("{name}: {who} says {said}, expected {expected}"));
            }
        };
        expect("the parser", &self.parser, self.parser == expected);
        let seen = [&self.kernel, &self.translated];
        for (hand_off, said) in HAND_OFFS.iter().zip(seen) {
            let who = format!("the kernel under {}", hand_off.setting());
            expect(&who, said, kernel_agrees(&expected, said) && kernel_agrees(&self.parser, said));
        }
        for (index, said) in self.others.iter().enumerate() {
            if self.disagrees(index) && self.vector.topic.is_none() {
                let judge = JUDGES[index];
                faults.push(format!("{name}: {judge} says {said}, and no topic explains it"));
            }
        }
        faults
    }
}

/// Whether the kernel programs do what the parser, or the case, says.
fn kernel_agrees(expected: &Outcome, kernel: &Outcome) -> bool {
    match expected.verdict {
        Verdict::Waits => kernel.verdict == Verdict::Waits,
        _ => kernel == expected,
    }
}

/// All cases and what was said of them.
#[derive(Debug)]
pub struct Report {
    groups: Vec<(&'static str, Vec<Row>)>,
}

impl Report {
    /// Asks everybody. Makes network namespaces and runs real programs: root is needed.
    #[must_use]
    pub fn new() -> Self {
        let groups = vectors::groups();
        let all: Vec<_> = groups.iter().flat_map(|group| group.vectors.clone()).collect();
        let [kernel, translated] = HAND_OFFS.map(|hand_off| judges::kernel(hand_off, &all));
        let [haproxy, nginx] = judges::servers(&all);
        let seen = kernel.into_iter().zip(translated).zip(haproxy.into_iter().zip(nginx));
        let mut rows =
            all.into_iter().zip(seen).map(|(vector, ((kernel, translated), servers))| {
                let (haproxy, nginx) = servers;
                let [ppp, proxy_header, proxyproto] =
                    [judges::ppp, judges::proxy_header, judges::proxyproto]
                        .map(|judge| judge(&vector));
                let parser = judges::parser(&vector);
                let others = [haproxy, nginx, ppp, proxy_header, proxyproto];
                Row { vector, parser, kernel, translated, others }
            });
        let rows_of =
            |group: &Group| (group.title, rows.by_ref().take(group.vectors.len()).collect());
        Self { groups: groups.iter().map(rows_of).collect() }
    }

    /// Everything that is wrong, a line each. A verdict of proxyip's parser or kernel programs differs from the
    /// expected one, or no topic explains a disagreement.
    #[must_use]
    pub fn faults(&self) -> Vec<String> {
        self.rows().flat_map(Row::faults).collect()
    }

    /// The page, Markdown.
    #[must_use]
    pub fn page(&self) -> String {
        format!("{}{}", versions::head(self.rows().count()), table::tables(self))
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.groups.iter().flat_map(|(_, rows)| rows)
    }
}

impl Default for Report {
    fn default() -> Self {
        Self::new()
    }
}

/// What a page says, without the versions that said it.
#[must_use]
pub fn verdicts(page: &str) -> &str {
    page.find("\n## ").map_or("", |start| &page[start..])
}
