//! `proxyip`: gives a server behind a load balancer its clients' real addresses.

use std::process::ExitCode;

fn main() -> ExitCode {
    proxyip_user::cli::main()
}
