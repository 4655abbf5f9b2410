//! What the measuring program prints: a line for each contender of each round, with tabs between fields.

use std::str::FromStr;

use anyhow::{Context as _, Result, bail, ensure};

use super::record::{Contender, Group, Program, Programs};

/// The rounds of one contender.
#[derive(Debug)]
struct Samples {
    name: String,
    values: Vec<f64>,
    errors: u64,
}

/// The rounds of one program of an agent, of all its programs, or of the agent itself.
#[derive(Debug, Default)]
struct Costs {
    contender: String,
    name: String,
    runs: Vec<f64>,
    nanoseconds: Vec<f64>,
    shares: Vec<f64>,
}

/// All lines.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// In the order in which they first came, as are the contenders.
    groups: Vec<(String, Vec<Samples>)>,
    programs: Vec<Costs>,
    sums: Vec<Costs>,
}

impl Lines {
    pub(super) fn parse(text: &str) -> Result<Self> {
        let mut lines = Self::default();
        for line in text.lines() {
            lines.add(line).with_context(|| format!("a strange line: {line}"))?;
        }
        ensure!(!lines.groups.is_empty(), "nothing was measured");
        Ok(lines)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        match line.split('\t').collect::<Vec<_>>()[..] {
            ["sample", group, name, value, errors] => {
                let samples = self.samples(group, name);
                samples.values.push(positive(value)?);
                samples.errors += number::<u64>(errors)?;
            }
            ["program", contender, name, runs, nanoseconds, share] => {
                let costs = costs(&mut self.programs, contender, name);
                costs.runs.push(number(runs)?);
                costs.nanoseconds.push(number(nanoseconds)?);
                costs.shares.push(number(share)?);
            }
            ["share", contender, nanoseconds, share] => {
                let costs = costs(&mut self.sums, contender, "all");
                costs.nanoseconds.push(positive(nanoseconds)?);
                costs.shares.push(positive(share)?);
            }
            _ => bail!("it has no known form"),
        }
        Ok(())
    }

    fn samples(&mut self, group: &str, name: &str) -> &mut Samples {
        let groups = &mut self.groups;
        let at = groups.iter().position(|(other, _)| other == group).unwrap_or_else(|| {
            groups.push((group.to_owned(), Vec::new()));
            groups.len() - 1
        });
        let group = &mut groups[at].1;
        let at = group.iter().position(|samples| samples.name == name).unwrap_or_else(|| {
            group.push(Samples { name: name.to_owned(), values: Vec::new(), errors: 0 });
            group.len() - 1
        });
        &mut group[at]
    }

    /// How many rounds there were. An error if a contender was not in each.
    pub(super) fn rounds(&self) -> Result<usize> {
        let all = || self.groups.iter().flat_map(|(_, contenders)| contenders);
        let rounds = all().next().map_or(0, |samples| samples.values.len());
        match all().find(|samples| samples.values.len() != rounds) {
            Some(samples) => {
                bail!("{} was measured {} times, not {rounds}", samples.name, samples.values.len())
            }
            None => Ok(rounds),
        }
    }

    /// Medians, and ratios to the first contender of each group in the same round.
    pub(super) fn groups(&self) -> Vec<Group> {
        let group = |(name, contenders): &(String, Vec<Samples>)| {
            let reference = &contenders[0].values;
            let contender = |samples: &Samples| {
                let ratios = samples.values.iter().zip(reference).map(|(own, other)| own / other);
                let [least, median, greatest] = quantiles(&samples.values);
                Contender {
                    name: samples.name.clone(),
                    median,
                    range: Some([least, greatest]),
                    ratio: quantiles(&ratios.collect::<Vec<_>>()),
                    errors: samples.errors,
                }
            };
            Group { name: name.clone(), contenders: contenders.iter().map(contender).collect() }
        };
        self.groups.iter().map(group).collect()
    }

    /// What the kernel programs and the agent cost.
    pub(super) fn programs(&self) -> Vec<Programs> {
        let all = |sum: &Costs| {
            let own = self.programs.iter().filter(|costs| costs.contender == sum.contender);
            let program = |costs: &Costs| Program {
                name: costs.name.clone(),
                runs: quantiles(&costs.runs)[1],
                nanoseconds: quantiles(&costs.nanoseconds)[1],
                share: quantiles(&costs.shares)[1],
            };
            Programs {
                contender: sum.contender.clone(),
                nanoseconds: quantiles(&sum.nanoseconds)[1],
                share: quantiles(&sum.shares),
                each: own.map(program).collect(),
            }
        };
        self.sums.iter().map(all).collect()
    }
}

fn costs<'a>(all: &'a mut Vec<Costs>, contender: &str, name: &str) -> &'a mut Costs {
    let same = |costs: &Costs| costs.contender == contender && costs.name == name;
    let at = all.iter().position(same).unwrap_or_else(|| {
        let (contender, name) = (contender.to_owned(), name.to_owned());
        all.push(Costs { contender, name, ..Costs::default() });
        all.len() - 1
    });
    &mut all[at]
}

/// The least, the median and the greatest.
fn quantiles(values: &[f64]) -> [f64; 3] {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let median = if values.len() % 2 == 1 {
        values[middle]
    } else {
        f64::midpoint(values[middle - 1], values[middle])
    };
    [values[0], median, values[values.len() - 1]]
}

fn number<T: FromStr>(text: &str) -> Result<T> {
    text.parse().ok().with_context(|| format!("no number: {text}"))
}

/// A contender that does nothing cannot be compared.
fn positive(text: &str) -> Result<f64> {
    let number: f64 = number(text)?;
    ensure!(number.is_finite() && number > 0.0, "not above zero: {text}");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO_ROUNDS: &str = "sample\tup\tdirect\t100\t0\nsample\tup\tother\t50\t1\n\
        sample\tup\tdirect\t10\t0\nsample\tup\tother\t9\t2\n";

    #[test]
    fn ratios_are_those_within_a_round() {
        let lines = Lines::parse(TWO_ROUNDS).unwrap();
        assert_eq!(lines.rounds().unwrap(), 2);
        let [group] = &lines.groups()[..] else { panic!("one group") };
        let [direct, other] = &group.contenders[..] else { panic!("two contenders") };
        assert_eq!((&*group.name, &*direct.name, direct.median), ("up", "direct", 55.0));
        assert_eq!(format!("{:?}", direct.ratio), "[1.0, 1.0, 1.0]");
        assert_eq!((&*other.name, other.median, other.errors), ("other", 29.5, 3));
        assert_eq!(format!("{:?}", other.range), "Some([9.0, 50.0])");
        assert_eq!(format!("{:?}", other.ratio), "[0.5, 0.7, 0.9]");
    }

    #[test]
    fn a_contender_that_missed_a_round_or_did_nothing_is_an_error() {
        let missing = format!("{TWO_ROUNDS}sample\tup\tdirect\t10\t0\n");
        let error = Lines::parse(&missing).unwrap().rounds().unwrap_err().to_string();
        assert_eq!(error, "other was measured 2 times, not 3");
        for line in ["sample\tup\tother\t0\t0", "sample\tup\tother\tNaN\t0", "other", ""] {
            assert!(Lines::parse(line).is_err(), "{line:?}");
        }
    }

    #[test]
    fn programs_are_with_their_contender_and_its_sum() {
        let text = "program\tone\ta\t2\t100\t0.01\nshare\tone\t150\t0.02\n\
            program\ttwo\ta\t3\t300\t0.03\nshare\ttwo\t300\t0.03\n\
            program\tone\ta\t4\t200\t0.03\nshare\tone\t250\t0.04\n";
        let lines = Lines::parse(&format!("{TWO_ROUNDS}{text}")).unwrap();
        let [one, two] = &lines.programs()[..] else { panic!("two contenders") };
        assert_eq!(
            (&*one.contender, one.nanoseconds, one.share),
            ("one", 200.0, [0.02, 0.03, 0.04])
        );
        let [program] = &one.each[..] else { panic!("one program") };
        assert_eq!((program.runs, program.nanoseconds, program.share), (3.0, 150.0, 0.02));
        assert_eq!((&*two.contender, two.each.len()), ("two", 1));
    }
}
