//! `cargo xtask upgrade`: from the last commit before the present layout of maps, back to it, and up again, under load.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Args;

use crate::{
    agent, build_ebpf,
    command::{cargo, output, run as run_command, workspace_cargo, workspace_root},
    host, packages,
};

/// Where the layout's number is, and the line that it is on.
const PLACE: &str = "proxyip-user/src";
const LINE: &str = "const LAYOUT: u32 = ";

/// How often
#[derive(Args)]
pub(crate) struct Options {
    /// How often an agent is upgraded
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) times: u32,
    /// The newer program, in place of the agent as it is released
    #[arg(long, value_name = "PATH")]
    pub(crate) agent: Option<PathBuf>,
}

/// Builds both agents, this one as it is released, and has them take over from one another.
pub(crate) fn run(options: &Options) -> Result<()> {
    host::prepare("upgrade")?;
    // It fails at once where the history is missing.
    Old::find()?;
    packages::install_for_host_tests()?;
    build_ebpf::run()?;
    to(&agent::given_or_built(options.agent.as_deref())?, options)
}

/// Upgrades to an agent that is built, once the packages are there.
pub(crate) fn to(agent: &Path, options: &Options) -> Result<()> {
    let old = Old::find()?;
    eprintln!("upgrading from layout {} of {}", old.layout, old.commit);
    let built = old.build()?;
    run_command(&mut program(&built, agent, options))
}

// Started and not linked, so that the other verbs need not wait for it to build.
fn program(old: &Path, new: &Path, options: &Options) -> Command {
    let mut command = workspace_cargo();
    command.args(["run", "--quiet", "--profile", "ci"]);
    command.args(["--package", "proxyip-tests", "--bin", "upgrade", "--"]);
    command.arg(old).arg(new).args(["--times", &options.times.to_string()]);
    command
}

/// The last commit with another layout.
struct Old {
    commit: String,
    layout: u32,
}

impl Old {
    fn find() -> Result<Self> {
        let shallow = git(&["rev-parse", "--is-shallow-repository"])
            .context("there is no history here, so there is no older version to upgrade from")?;
        if shallow.trim() == "true" {
            bail!(
                "this is a shallow clone, without the commit to upgrade from: run `git fetch --unshallow`"
            );
        }
        let layout = layout("HEAD")?;
        // A commit that moves the line is among them.
        let changes = git(&["log", "--format=%H", &format!("-G{LINE}"), "--", PLACE])?;
        for change in changes.lines() {
            let parent = git(&["rev-parse", "--verify", &format!("{change}^")])?;
            let commit = parent.trim().to_owned();
            let before = self::layout(&commit)?;
            if before != layout {
                return Ok(Self { commit, layout: before });
            }
        }
        bail!("no commit has another layout than {layout}");
    }

    /// Checks the commit out below `target`, and builds its agent.
    fn build(&self) -> Result<PathBuf> {
        let place = workspace_root().join("target/old-layout");
        let (source, built) = (place.join("source"), place.join("build"));
        self.check_out(&source)?;
        share_tools(&source)?;
        let cargo = || {
            let mut command = Command::new(cargo());
            command.env_remove("CARGO_MANIFEST_DIR");
            command.env("CARGO_TARGET_DIR", &built).current_dir(&source);
            command
        };
        let mut kernel = cargo();
        kernel.args(["run", "--quiet", "--package", "xtask", "--", "build-ebpf"]);
        run_command(&mut kernel).context("the older kernel programs do not build")?;
        let mut agent = cargo();
        agent.args(["build", "--quiet", "--profile", "ci", "--package", "proxyip-user"]);
        run_command(agent.args(["--bin", "proxyip"])).context("the older agent does not build")?;
        Ok(built.join("ci/proxyip"))
    }

    fn check_out(&self, source: &Path) -> Result<()> {
        let path = source.to_str().context("the path of the checkout is no text")?;
        if source.join(".git").exists() {
            return git(&["-C", path, "checkout", "--quiet", "--detach", &self.commit]).map(drop);
        }
        git(&["worktree", "prune"])?;
        git(&["worktree", "add", "--detach", path, &self.commit]).map(drop)
    }
}

/// What both versions build with takes long to build.
fn share_tools(source: &Path) -> Result<()> {
    let (own, link) = (workspace_root().join("target/tools"), source.join("target/tools"));
    fs::create_dir_all(source.join("target"))?;
    if link.symlink_metadata().is_err() {
        symlink(&own, &link).with_context(|| link.display().to_string())?;
    }
    Ok(())
}

/// The layout of a commit.
fn layout(commit: &str) -> Result<u32> {
    let lines = git(&["grep", "--no-color", "-h", LINE, commit, "--", PLACE])?;
    number(&lines).with_context(|| format!("{commit} has no line with one `{LINE}`"))
}

fn number(lines: &str) -> Result<u32> {
    let mut lines = lines.lines();
    let line = lines.next().context("there is no line")?;
    ensure!(lines.next().is_none(), "there is more than one line");
    let number = line.split(LINE).nth(1).and_then(|rest| rest.trim().strip_suffix(';'));
    number.context("the line has no number")?.parse().context("the line has no number")
}

fn git(arguments: &[&str]) -> Result<String> {
    output(Command::new("git").current_dir(workspace_root()).args(arguments))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::shell_line;

    #[test]
    fn reads_the_layout_of_a_line() {
        assert_eq!(number("pub(super) const LAYOUT: u32 = 11;\n").unwrap(), 11);
        for lines in
            ["", "const LAYOUT: u32 = 1;\nconst LAYOUT: u32 = 2;\n", "const LAYOUT: u32 = x;"]
        {
            assert!(number(lines).is_err(), "{lines:?}");
        }
    }

    #[test]
    fn the_program_gets_both_agents() {
        let line = shell_line(&program(
            Path::new("/o"),
            Path::new("/n"),
            &Options { times: 3, agent: None },
        ));
        assert!(line.ends_with(" --bin upgrade -- /o /n --times 3"), "{line}");
    }
}
