//! Text for people.

/// Characters of a line.
const WIDTH: usize = 118;

/// Breaks text between words into lines.
pub(super) fn wrapped(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let line = lines.last_mut().expect("there is one from the start");
        if line.is_empty() {
            word.clone_into(line);
        } else if line.chars().count() + 1 + word.chars().count() <= WIDTH {
            line.push(' ');
            line.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_full_but_not_too_long() {
        let text = wrapped(&"word ".repeat(60));
        assert_eq!(text.lines().map(str::len).collect::<Vec<_>>(), [114, 114, 69]);
    }
}
