//! The English of documents and comments: the length of sentences, and words that stop a reader.

use super::markdown::{Page, Place};

/// The words that documents must not use: one a line, as `words | better words | words behind them that are fine`.
#[derive(Debug)]
pub(super) struct Words(Vec<Rule>);

#[derive(Debug)]
struct Rule {
    words: String,
    better: String,
    /// With this word behind them they are fine.
    except_before: Option<String>,
}

impl Words {
    /// The line that cannot be read, if there is one.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = lines.map(|line| {
            let mut columns = line.split('|').map(str::trim);
            let words = columns.next().filter(|words| !words.is_empty());
            let better = columns.next().filter(|better| !better.is_empty());
            let except_before = columns.next().map(str::to_owned);
            match (words, better) {
                (Some(words), Some(better)) => {
                    Ok(Rule { words: words.to_owned(), better: better.to_owned(), except_before })
                }
                _ => Err(line.to_owned()),
            }
        });
        Ok(Self(rules.collect::<Result<_, _>>()?))
    }

    fn faults(&self, words: &[String]) -> Vec<String> {
        let found = self.0.iter().filter(|rule| rule.is_in(words));
        found.map(|rule| format!("not \"{}\", but {}", rule.words, rule.better)).collect()
    }
}

impl Rule {
    fn is_in(&self, words: &[String]) -> bool {
        let banned: Vec<_> = self.words.split(' ').collect();
        let mut places = words.windows(banned.len()).enumerate();
        places.any(|(place, window)| {
            let next = words.get(place + banned.len());
            window == banned
                && (self.except_before.is_none() || next != self.except_before.as_ref())
        })
    }
}

/// What is wrong, by the line that a paragraph, list item or cell begins in. A sentence may have `longest` words; a colon or a
/// semicolon ends one, as a full stop does.
pub(super) fn faults(page: &Page, words: &Words, longest: usize) -> Vec<(usize, String)> {
    let mut faults = Vec::new();
    for (line, text) in passages(page) {
        for sentence in text.split(['.', ':', ';', '?', '!']).map(str::trim) {
            let sentence: Vec<_> =
                sentence.split_whitespace().map(plain).filter(|word| !word.is_empty()).collect();
            if sentence.len() > longest {
                let beginning = sentence[..5].join(" ");
                faults.push((
                    line,
                    format!("a sentence of {} words: \"{beginning} …\"", sentence.len()),
                ));
            }
            faults.extend(words.faults(&sentence).into_iter().map(|fault| (line, fault)));
        }
    }
    faults
}

/// Paragraphs, list items and cells of tables, each with the number of its first line.
fn passages(page: &Page) -> Vec<(usize, String)> {
    let mut passages: Vec<(usize, String)> = Vec::new();
    let mut last = None;
    for line in page.lines.iter().filter(|line| line.place == Place::Text) {
        let text = line.text.trim();
        let goes_on = last == Some(line.number - 1);
        last = None;
        if text.is_empty() || text.starts_with('#') {
            continue;
        }
        if text.starts_with('|') {
            passages.extend(text.split('|').map(|cell| (line.number, readable(cell))));
            continue;
        }
        let begins = ["- ", "* ", "1. ", "2. ", "3. ", "4. ", "5. ", "6. ", "7. "];
        let item = begins.iter().find_map(|begin| text.strip_prefix(begin));
        match passages.last_mut().filter(|_| goes_on && item.is_none()) {
            Some((_, passage)) => *passage = format!("{passage} {}", readable(text)),
            None => passages.push((line.number, readable(item.unwrap_or(text)))),
        }
        last = Some(line.number);
    }
    passages
}

/// Without what is no English: code is one word, a link is its text.
fn readable(text: &str) -> String {
    let mut readable = String::new();
    for (index, part) in text.split('`').enumerate() {
        readable += if index % 2 == 0 { part } else { "code" };
    }
    let mut without_links = String::new();
    let mut rest = readable.as_str();
    while let Some((before, behind)) = rest.split_once("](") {
        without_links += before;
        rest = behind.split_once(')').map_or("", |(_, rest)| rest);
    }
    without_links += rest;
    // A full stop ends a sentence only before white space: 10.0.0.2 and v0.1.0 are words.
    let letters: Vec<_> = without_links.chars().collect();
    let ends = |place: usize| letters.get(place + 1).is_none_or(|next| !next.is_alphanumeric());
    let keep = |(place, letter): (usize, &char)| match letter {
        '.' | ':' if !ends(place) => '_',
        letter => *letter,
    };
    letters.iter().enumerate().map(keep).collect()
}

/// In small letters, without what stands around a word.
fn plain(word: &str) -> String {
    word.trim_matches(|letter: char| !letter.is_alphanumeric()).to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: &str = "# a comment\nsuch | these | as\nbut for | except\n";

    fn faults_of(text: &str) -> Vec<(usize, String)> {
        faults(&Page::parse(text), &Words::parse(WORDS).unwrap(), 25)
    }

    #[test]
    fn words_that_stop_a_reader_are_found_across_lines() {
        let text = "# But for\n\nNothing, but\nfor this. Addresses such as 10.0.0.2.\n\n- Such\n  a thing. `but for`\n";
        let expected = [
            (3, "not \"but for\", but except".to_owned()),
            (6, "not \"such\", but these".to_owned()),
        ];
        assert_eq!(faults_of(text), expected);
    }

    #[test]
    fn long_sentences_are_found_and_short_ones_are_not() {
        let words = |count| vec!["word"; count].join(" ");
        let text = format!(
            "{} {}. {}: {}\n\n| {} | {} |\n\n```sh\n{}\n```\n",
            words(20),
            "`a b c d e f g`",
            words(25),
            "[one](x.md) 10.0.0.2 10.0.0.3",
            words(26),
            words(25),
            words(30)
        );
        let expected = [(3, "a sentence of 26 words: \"word word word word word …\"".to_owned())];
        assert_eq!(faults_of(&text), expected);
    }

    #[test]
    fn a_line_without_better_words_is_refused() {
        assert_eq!(Words::parse("such\n").unwrap_err(), "such");
    }
}
