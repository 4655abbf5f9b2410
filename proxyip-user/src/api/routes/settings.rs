//! The settings in force, for the status.

use proxyip_api::status::{AgentSettings, ApiSettings, LogSettings, Settings};

use crate::config::{Agent, Api, Config, Destination, FlowFormat, Log};

pub(crate) fn settings(config: &Config) -> Settings {
    Settings { api: api(&config.api), log: log(&config.log), agent: agent(&config.agent) }
}

fn api(api: &Api) -> ApiSettings {
    ApiSettings {
        socket: api.socket.display().to_string(),
        lookup_socket: api.lookup_path().display().to_string(),
        http: api.http,
        http_remote: api.http_remote,
        getsockopt: api.getsockopt,
    }
}

fn log(log: &Log) -> LogSettings {
    let flows = match log.flows {
        FlowFormat::Json => "json",
        FlowFormat::Vpc => "vpc",
        FlowFormat::Off => "off",
    };
    let to = match &log.to {
        Destination::Stdout => "stdout".into(),
        Destination::Journald => "journald".into(),
        Destination::File(path) => path.display().to_string(),
    };
    LogSettings { flows: flows.into(), to }
}

fn agent(agent: &Agent) -> AgentSettings {
    AgentSettings {
        pin_path: agent.pin_path.display().to_string(),
        procfs_path: agent.procfs_path.display().to_string(),
        netns_path: agent.netns_path.display().to_string(),
        max_tlv_memory_mib: agent.max_tlv_memory,
        handshake_timeout_s: agent.handshake_timeout.as_secs(),
    }
}
