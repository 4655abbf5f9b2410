//! Load balancers that put a PROXY header in front of each connection.

mod haproxy;
mod nginx_stream;

pub use haproxy::HaProxy;
pub use nginx_stream::NginxStream;
