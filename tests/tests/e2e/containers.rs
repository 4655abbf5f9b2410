//! An agent in a mount namespace of its own, where the host's mounts are elsewhere or missing.

use std::process::Command;

use proxyip_tests::servers::EchoServer;
use proxyip_tests::{Agent, Answer, Guard, Pod, Site, address, agent_binary, attempt, eventually};

use crate::cgroups::hierarchy;
use crate::common::{
    CLIENT, ask_names, assert_both, header_of_client, open_and_send, socket_address,
};

/// Where the container has the host's mounts.
fn host(site: &Site) -> String {
    site.scratch.path("host").display().to_string()
}

fn procfs(site: &Site) -> String {
    format!("{}/proc", host(site))
}

/// A command in a container on the server. `more` changes its mounts. The host's own mounts go on arriving there.
fn container(site: &Site, more: &str) -> Command {
    let host = host(site);
    let setup = format!(
        "mkdir -p {host}/proc {host}/netns && mount --rbind /proc {host}/proc && mount --rbind /run/netns {host}/netns && \
         mount -t tmpfs none /run/netns && {more} exec \"$@\""
    );
    let mut command = site.net.server.command("unshare");
    command.args(["--mount", "--propagation", "slave", "sh", "-c", &setup, "sh"]);
    command.arg(agent_binary());
    command
}

/// The agent looks for processes in this directory.
fn guard(site: &Site, procfs: &str) -> Guard {
    let host = host(site);
    let netns = format!("{host}/netns/{}-pod*", site.scratch.name());
    Guard::ports(&[80])
        .also_trusting(Pod::NETWORK)
        .interface_setting(&format!("[[interface]]\nname = \"eth*\"\nnetns = {netns:?}"))
        .agent_setting(&format!("procfs_path = {procfs:?}\nnetns_path = \"{host}/netns\""))
}

#[test]
fn namespaces_are_served_where_the_host_is_mounted_elsewhere() {
    let site = Site::without_captures();
    let _echo = EchoServer::start(&site.net.server, address::SERVER, 80);
    let mut agent = Agent::start_by(container(&site, ""), &site, &guard(&site, &procfs(&site)));
    let pod = Pod::start(&site, 1);
    let netns = format!("{}/netns/{}", host(&site), Pod::name(&site, 1));
    eventually("the pod is served", || {
        agent.status().interfaces.iter().any(|one| one.netns == netns).then_some(())
    });
    let stream = open_and_send(&site, &pod.dial(), &header_of_client());
    assert_both(ask_names(&stream), socket_address(CLIENT));

    // A reload to what is not there is refused, and says what to mount.
    let said = agent.reload(&guard(&site, "/tmp"));
    assert!(said.contains("agent.procfs_path: /tmp is no proc file system"), "{said}");
    drop(pod);
    site.finish(&mut agent, &[]);
}

/// `proxyip check` in the container; `more` changes its mounts.
fn check(site: &Site, more: &str) -> Answer {
    let file = site.scratch.write("check.toml", &guard(site, &procfs(site)).toml(&site.scratch));
    let mut command = container(site, more);
    attempt(command.args(["check", "--config", &file])).into()
}

#[test]
fn the_mount_that_a_container_lacks_is_named() {
    let site = Site::without_captures();
    let _pod = Pod::start(&site, 1);
    let (host, cgroup) = (host(&site), hierarchy().display().to_string());
    let sound = check(&site, "");
    assert!(!sound.stdout.contains("  problem  "), "{sound:?}");
    for (mounts, problem) in [
        (
            "mount -t tmpfs none /sys/fs/bpf &&".to_owned(),
            "bpffs: no BPF file system is mounted where ",
        ),
        (format!("umount -l {cgroup} &&"), "cgroup: no cgroup v2 hierarchy is mounted"),
        (
            format!("umount -l {host}/proc &&"),
            "proc is no proc file system: in a container, mount the host's /proc",
        ),
        (
            format!("umount -l {host}/netns && rmdir {host}/netns &&"),
            "netns is no directory: in a container, mount the host's /run/netns there",
        ),
    ] {
        let answer = check(&site, &mounts);
        assert_eq!(answer.code, 2, "{mounts}: {answer:?}");
        let is_it = |line: &str| line.starts_with("  problem  ") && line.contains(problem);
        assert!(answer.stdout.lines().any(is_it), "{mounts}: {answer:?}");
    }
    // Without the mount, the files may still be there.
    let copied = format!("umount -l {host}/netns && touch {host}/netns/{} &&", Pod::name(&site, 1));
    let answer = check(&site, &copied);
    let why = "1 file matches, but no namespace is mounted on it";
    assert!(answer.stdout.contains(why), "{answer:?}");
}
