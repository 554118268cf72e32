//! `sealane preflight` finds what an agent would find: it gets what the agent gets.

use anyhow::Result;
use serde_json::Value;

use super::{Rendered, list, text};

const POD: &str = "/spec/template/spec";

pub(super) fn findings(rendered: &Rendered) -> Result<Vec<String>> {
    let pod = |name: &str| -> Result<Value> {
        let objects = rendered.of(name)?.iter();
        let mut sets = objects.filter(|object| text(object, "/kind") == "DaemonSet");
        let pod = sets.next().and_then(|set| set.pointer(POD));
        Ok(pod.cloned().unwrap_or_default())
    };
    Ok(compare(&pod("base")?, &pod("preflight")?))
}

fn compare(agent: &Value, preflight: &Value) -> Vec<String> {
    let same = ["hostPID", "nodeSelector", "tolerations"].map(|field| {
        let pointer = format!("/{field}");
        (field, agent.pointer(&pointer), preflight.pointer(&pointer))
    });
    let container = ["securityContext", "image"].map(|field| {
        let agent = agent.pointer(&format!("/containers/0/{field}"));
        (
            field,
            agent,
            preflight.pointer(&format!("/initContainers/0/{field}")),
        )
    });
    let differing = same.into_iter().chain(container);
    let differing = differing.filter(|(_, agent, preflight)| agent.is_none() || agent != preflight);
    let mut findings: Vec<_> = differing
        .map(|(field, ..)| format!("preflight: {field} is not as the agent's"))
        .collect();
    for (places, part) in [
        (
            "/initContainers/0/volumeMounts",
            "/containers/0/volumeMounts",
        ),
        ("/volumes", "/volumes"),
    ] {
        let known = list(agent, part);
        let own = list(preflight, places);
        let other = own.iter().filter(|mount| !known.contains(mount));
        findings.extend(other.map(|mount| format!("preflight: an agent has no {mount}")));
        if own.is_empty() {
            findings.push(format!("preflight: nothing in {places}"));
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pod(containers: &str, more: &str) -> Value {
        json!({"hostPID": true, "nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "bpffs"}],
            containers: [{"image": "sealane", "volumeMounts": [{"name": "bpffs"}],
                "securityContext": {"capabilities": {"add": [more]}}}]})
    }

    #[test]
    fn what_an_agent_has_not_is_found() {
        let agent = pod("containers", "SYS_ADMIN");
        assert!(compare(&agent, &pod("initContainers", "SYS_ADMIN")).is_empty());
        assert_eq!(
            compare(&agent, &pod("initContainers", "NET_ADMIN")).len(),
            1
        );
        let mut other = pod("initContainers", "SYS_ADMIN");
        other["hostPID"] = json!(false);
        other["volumes"] = json!([{"name": "root"}]);
        assert_eq!(compare(&agent, &other).len(), 2);
        assert_eq!(compare(&agent, &Value::Null).len(), 7);
    }
}
