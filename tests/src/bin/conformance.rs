//! Prints `docs/conformance.md`.

use std::path::PathBuf;
use std::process::ExitCode;

use proxyip_tests::conformance::Report;
use proxyip_tests::use_agent_binary;

fn main() -> ExitCode {
    let Some(binary) = std::env::args_os().nth(1).map(PathBuf::from).filter(|path| path.is_file())
    else {
        eprintln!("usage: conformance PROXYIP (the path of the program)");
        return ExitCode::from(2);
    };
    if !nix::unistd::geteuid().is_root() {
        eprintln!("this makes network namespaces and loads kernel programs: run it as root");
        return ExitCode::FAILURE;
    }
    use_agent_binary(binary);
    let report = Report::new();
    print!("{}", report.page());
    let faults = report.faults();
    if faults.is_empty() {
        return ExitCode::SUCCESS;
    }
    eprintln!("the page is not as it must be:\n{}", faults.join("\n"));
    ExitCode::FAILURE
}
