//! The echo server that a person once wrote and could not change.

use crate::process::Process;
use crate::site::Site;

/// A dozen lines of Ruby.
const PROGRAM: &str = r##"
require "socket"

server = TCPServer.new(ARGV[0], Integer(ARGV[1]))
loop do
  Thread.new(server.accept) do |connection|
    line = connection.gets
    _, port, _, address = connection.peeraddr(false)
    connection.puts "#{address} #{port} #{line.inspect}"
    connection.close
  end
end
"##;

/// Answers the first line of a connection with `ADDRESS PORT LINE`: `peeraddr`, and the line in quotes.
#[derive(Debug)]
pub struct RubyEcho {
    _process: Process,
}

impl RubyEcho {
    /// Starts it on this address.
    #[must_use]
    pub fn start(site: &Site, address: &str, port: u16) -> Self {
        let program = site.scratch.write("echo.rb", PROGRAM);
        let mut command = site.server_command("ruby");
        command.args([&program, address, &port.to_string()]);
        let process =
            Process::start(&format!("ruby-{port}"), site.scratch.directory(), &mut command);
        Self { _process: process.listening(&site.net.server, port) }
    }
}
