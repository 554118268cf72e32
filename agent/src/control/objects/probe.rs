//! Where a pod's kubelet connects to it.
//!
//! Probes (`httpGet`, `tcpSocket`, `grpc`) and lifecycle hooks (`httpGet` alone: kubelet runs no others that connect). What
//! goes to another host is not the pod's; names that no port of the container has lead nowhere, as for the kubelet
//! (`ResolveContainerPort` of pkg/probe/util.go).

use std::{collections::BTreeSet, net::IpAddr};

use super::api::{Asked, Container, IntOrString, Lifecycle, Probe};

/// The ports, in ascending order. `addresses` are the pod's.
pub(super) fn ports<'c>(
    containers: impl Iterator<Item = &'c Container>,
    addresses: &[IpAddr],
) -> Vec<u16> {
    let mut found = BTreeSet::new();
    for container in containers {
        let probed = probes(container).flat_map(|probe| [&probe.http_get, &probe.tcp_socket]);
        let hooks = container.lifecycle.iter().flat_map(hooks);
        let asked = probed.flatten().chain(hooks);
        let asked = asked.filter(|asked| is_own(asked, addresses));
        found.extend(asked.filter_map(|asked| port(asked.port.as_ref()?, container)));
        let grpc = probes(container).filter_map(|probe| probe.grpc.as_ref()?.port);
        found.extend(grpc.filter_map(number));
    }
    found.into_iter().collect()
}

fn probes(container: &Container) -> impl Iterator<Item = &Probe> {
    let probes = [
        &container.liveness_probe,
        &container.readiness_probe,
        &container.startup_probe,
    ];
    probes.into_iter().flatten()
}

fn hooks(lifecycle: &Lifecycle) -> impl Iterator<Item = &Asked> {
    let hooks = [&lifecycle.post_start, &lifecycle.pre_stop];
    hooks.into_iter().flatten().flat_map(|hook| &hook.http_get)
}

fn is_own(asked: &Asked, addresses: &[IpAddr]) -> bool {
    match asked.host.as_deref() {
        None | Some("") => true,
        Some(host) => host
            .parse::<IpAddr>()
            .is_ok_and(|host| addresses.contains(&host.to_canonical())),
    }
}

fn port(asked: &IntOrString, container: &Container) -> Option<u16> {
    match asked {
        IntOrString::Int(port) => number(*port),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_deref() == Some(name));
            number(named.map_or_else(|| name.parse().ok(), |port| Some(port.container_port))?)
        }
    }
}

fn number(port: i32) -> Option<u16> {
    u16::try_from(port).ok().filter(|port| *port > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(containers: &str) -> Vec<u16> {
        let containers: Vec<Container> = serde_json::from_str(containers).unwrap();
        let addresses = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        ports(containers.iter(), &addresses)
    }

    #[test]
    fn every_kind_of_probe_and_hook_counts_once() {
        let containers = r#"[{
            "livenessProbe": {"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 5},
            "readinessProbe": {"tcpSocket": {"port": 9000}},
            "startupProbe": {"grpc": {"port": 50051, "service": "x"}},
            "lifecycle": {
                "postStart": {"httpGet": {"port": 81, "scheme": "HTTPS"}},
                "preStop": {"httpGet": {"port": 82}, "tcpSocket": {"port": 83}}
            }
        }, {
            "livenessProbe": {"httpGet": {"port": 8080}},
            "readinessProbe": {"exec": {"command": ["true"]}},
            "lifecycle": {"postStart": {"exec": {"command": ["true"]}}, "preStop": null}
        }]"#;
        assert_eq!(of(containers), [81, 82, 8080, 9000, 50051]);
    }

    #[test]
    fn names_are_those_of_the_containers_own_ports() {
        let containers = r#"[{
            "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 7}],
            "livenessProbe": {"httpGet": {"port": "http"}},
            "readinessProbe": {"tcpSocket": {"port": "admin"}},
            "startupProbe": {"httpGet": {"port": "8443"}}
        }, {
            "ports": [{"name": "admin", "containerPort": 9000}],
            "livenessProbe": {"httpGet": {"port": "http"}}
        }]"#;
        assert_eq!(of(containers), [8080, 8443]);
    }

    #[test]
    fn what_goes_to_another_host_is_not_the_pods() {
        let containers = |host: &str| {
            format!(r#"[{{"livenessProbe": {{"httpGet": {{"host": "{host}", "port": 80}}}}}}]"#)
        };
        for own in ["", "10.0.0.7", "fd00::7", "::ffff:10.0.0.7"] {
            assert_eq!(of(&containers(own)), [80], "{own}");
        }
        for other in ["10.0.0.8", "127.0.0.1", "example.com"] {
            assert_eq!(of(&containers(other)), [0; 0], "{other}");
        }
    }

    #[test]
    fn ports_that_are_none_are_left_out() {
        let containers = r#"[
            {"livenessProbe": {"httpGet": {"port": 0}}, "readinessProbe": {"httpGet": {"port": 65536}}},
            {"livenessProbe": {"httpGet": {}}, "readinessProbe": {"grpc": {"port": -1}}},
            {"livenessProbe": {"httpGet": {"port": ""}}, "readinessProbe": {"grpc": {}}},
            {"livenessProbe": null, "lifecycle": {}}
        ]"#;
        assert_eq!(of(containers), [0; 0]);
    }
}
