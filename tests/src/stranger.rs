//! The machine of somebody who follows the documents.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::agent::{Answer, agent_binary};
use crate::command::attempt;
use crate::documents::repository;
use crate::process::Process;
use crate::site::Site;
use crate::wait::eventually;

const SCRIPT: &str = include_str!("stranger.sh");
/// What the README's load balancer and server have as addresses.
const BALANCER: &str = "10.0.0.2/16";
const SERVER: &str = "10.0.1.2/16";

/// The server of a [`Site`], where the commands of the documents run as they are written. It alone sees its files
/// below `/etc`, `/usr` and `/run`, and its pins. The server and the load balancer have the documents' addresses,
/// too.
#[derive(Debug)]
pub struct Stranger<'a> {
    site: &'a Site,
    root: Process,
    agent: Option<Process>,
}

impl<'a> Stranger<'a> {
    /// A machine on which nothing of proxyip is installed.
    ///
    /// # Panics
    /// When it cannot be made.
    #[must_use]
    pub fn new(site: &'a Site) -> Self {
        site.net.server.ip(&format!("addr add {SERVER} dev eth0"));
        site.net.balancer.ip(&format!("addr add {BALANCER} dev eth1"));
        let layers = site.scratch.path("stranger");
        fs::create_dir(&layers).expect("cannot make a directory");
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh", "-c", SCRIPT, "sh"]);
        command.arg(&layers).arg(repository()).arg(agent_binary());
        let root = Process::start("stranger", site.scratch.directory(), &mut command);
        let mut stranger = Self { site, root, agent: None };
        let made = stranger.inside(&format!("{}/made", layers.display()));
        stranger.root.ready("the machine", |_| made.exists().then_some(()));
        stranger
    }

    /// The same with the agent installed.
    #[must_use]
    pub fn with_agent(site: &'a Site) -> Self {
        let stranger = Self::new(site);
        stranger.done("install target/release/proxyip /usr/local/sbin/");
        stranger
    }

    /// Where a file of this machine is seen from outside.
    fn inside(&self, path: &str) -> PathBuf {
        format!("/proc/{}/root{path}", self.root.pid()).into()
    }

    /// Writes a file.
    ///
    /// # Panics
    /// When that is not possible.
    pub fn write(&self, path: &str, text: &str) {
        fs::write(self.inside(path), text).unwrap_or_else(|error| panic!("{path}: {error}"));
    }

    fn command(&self, commands: &str) -> Command {
        let layers = self.site.scratch.path("stranger").display().to_string();
        let mut command = self.site.net.server.command("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.root.pid()));
        let path =
            format!("{layers}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.args(["env", "-u", "PROXYIP_SOCKET", &format!("PATH={path}"), "sh", "-ec"]);
        command.arg(format!("cd {layers}/checkout\n{commands}"));
        command
    }

    /// Runs commands, and returns what they answer.
    #[must_use]
    pub fn ask(&self, commands: &str) -> Answer {
        attempt(&mut self.command(commands)).into()
    }

    /// Runs commands, and returns their standard output.
    ///
    /// # Panics
    /// When one fails.
    pub fn done(&self, commands: &str) -> String {
        let answer = self.ask(commands);
        assert_eq!(answer.code, 0, "{commands}\n{}\n{}", answer.stdout, answer.stderr);
        answer.stdout
    }

    /// Runs a block of commands. If a command starts an agent in the foreground, the agent goes on in the background.
    /// It takes the place of an agent that was started before.
    ///
    /// # Panics
    /// When a command fails, or when the agent does not become ready.
    pub fn follow(&mut self, block: &str) {
        let mut commands = String::new();
        for line in block.lines() {
            if !line.starts_with("proxyip run ") {
                commands.extend([line, "\n"]);
                continue;
            }
            self.done(&std::mem::take(&mut commands));
            self.agent = None;
            let mut command = self.command(&format!("exec {line}"));
            let agent = Process::start("proxyip", self.site.scratch.directory(), &mut command);
            self.agent = Some(agent);
            self.wait_ready();
        }
        self.done(&commands);
    }

    /// Stops the agent that a block has started in the foreground.
    pub fn stop(&mut self) {
        self.agent = None;
    }

    /// Waits until an agent is ready.
    pub fn wait_ready(&self) {
        let ready =
            "curl --silent --fail --unix-socket /run/proxyip/api.sock http://localhost/readyz";
        eventually("an agent that is ready", || (self.ask(ready).code == 0).then_some(()));
    }

    /// Runs each command of a console, that is each line that begins with `# `. Asserts that its answer is the text
    /// below it. Numbers, times and versions may differ, and `…` stands for any rest.
    ///
    /// # Panics
    /// When an answer differs.
    pub fn compare(&self, console: &str) {
        for part in format!("\n{console}").split("\n# ").skip(1) {
            let (command, expected) = part.split_once('\n').unwrap_or((part, ""));
            let answer = self.ask(command);
            assert!(
                is_alike(expected.trim_end(), &answer.stdout),
                "{command} answers\n{}\n{}and not\n{expected}",
                answer.stdout,
                answer.stderr
            );
        }
    }
}

fn is_alike(expected: &str, got: &str) -> bool {
    let (expected, is_whole) = match expected.split_once('…') {
        Some((beginning, _)) => (beginning, false),
        None => (expected, true),
    };
    let words =
        |text: &str| -> Vec<String> { text.split_whitespace().map(without_numbers).collect() };
    let (expected, got) = (words(expected), words(got));
    if is_whole { expected == got } else { begins_with(&got, &expected) }
}

/// The last word of the beginning may be the beginning of a word.
fn begins_with(words: &[String], beginning: &[String]) -> bool {
    let Some((last, before)) = beginning.split_last() else { return true };
    let next = words.get(before.len());
    words.starts_with(before) && next.is_some_and(|word| word.starts_with(last.as_str()))
}

/// The word itself, or `0` in the place of a number, a time like `3h05m`, or the version of a kernel. Addresses stay
/// as they are.
fn without_numbers(word: &str) -> String {
    let plain = word.trim_end_matches(',');
    let begins = plain.starts_with(|letter: char| letter.is_ascii_digit());
    let is_time =
        begins && plain.chars().all(|letter| letter.is_ascii_digit() || "dhms".contains(letter));
    let numbers: Vec<_> = plain.split('-').next().unwrap_or_default().split('.').collect();
    let is_number = |part: &&str| part.parse::<u32>().is_ok();
    let is_version = numbers.len() == 3 && numbers.iter().all(is_number);
    if is_time || is_version { "0".to_owned() } else { word.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_times_and_versions_may_differ() {
        assert!(is_alike("process 1322, running for 3h05m", "process 7, running for 0s"));
        assert!(is_alike("Linux 6.12.0\n  ok", "Linux 6.18.44-fc-v857\n ok"));
        assert!(!is_alike("10.0.0.2:34711", "10.0.0.2:34712"));
        assert!(!is_alike("web 443", "web"));
        assert!(!is_alike("ok", "warning"));
    }

    #[test]
    fn an_ellipsis_stands_for_the_rest() {
        assert!(is_alike("status\n…", "status\nmore"));
        assert!(is_alike(r#"{"client":"a",…}"#, r#"{"client":"a","peer":"b"}"#));
        assert!(!is_alike(r#"{"client":"a",…}"#, r#"{"client":"b","peer":"b"}"#));
        assert!(!is_alike("status\n…", ""));
    }
}
