use std::net::IpAddr;

use serde_json::{Value, json};

use super::*;
use crate::{
    control::build::{Compiled, Settings, relate},
    control::kubernetes::feed::{Istio, Scope},
    store::Snapshot,
};

const BUILT_IN: [Feed; 5] = [
    Feed::Namespaces,
    Feed::Pods,
    Feed::Services,
    Feed::EndpointSlices,
    Feed::ConfigMaps,
];

fn pod(name: &str, change: impl Fn(&mut Value)) -> Event {
    let mut pod = json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "7",
            "labels": {"app": "web"},
        },
        "spec": {"nodeName": "a", "serviceAccountName": "web", "containers": [
            {"name": "main", "ports": [{"containerPort": 80}]},
        ]},
        "status": {"phase": "Running", "podIPs": [{"ip": "10.0.0.1"}]},
    });
    change(&mut pod);
    Event::Put(Object::Pod(Box::new(serde_json::from_value(pod).unwrap())))
}

fn unheard(cluster: &Cluster) -> impl Iterator<Item = Feed> {
    let feeds = Scope::Mesh.feeds().into_iter();
    feeds.filter(|feed| !cluster.is_whole(*feed))
}

fn whole() -> Cluster {
    let mut cluster = Cluster::new("a");
    for feed in BUILT_IN {
        cluster.hear(feed, Event::Begin);
        cluster.hear(feed, Event::End);
    }
    for istio in Istio::ALL {
        cluster.hear(Feed::Istio(istio), Event::Absent);
    }
    cluster.take_changed();
    cluster
}

#[test]
fn a_cluster_is_known_when_every_kind_has_been_heard_to_its_end_or_is_absent() {
    let mut cluster = Cluster::new("a");
    assert!(unheard(&cluster).eq(Scope::Mesh.feeds()));
    for feed in BUILT_IN {
        cluster.hear(feed, Event::Begin);
    }
    assert!(unheard(&cluster).eq(Scope::Mesh.feeds()));
    assert_eq!(unheard(&whole()).count(), 0);
}

#[test]
fn pods_that_say_nothing_new_change_nothing_and_share_what_they_have_in_common() {
    let mut cluster = whole();
    cluster.hear(Feed::Pods, pod("one", |_| ()));
    assert!(cluster.take_changed());
    cluster.hear(
        Feed::Pods,
        pod("one", |pod| pod["metadata"]["resourceVersion"] = "8".into()),
    );
    assert!(!cluster.take_changed());
    cluster.hear(Feed::Pods, pod("two", |_| ()));
    let pods: Vec<_> = cluster.own_pods().collect();
    assert!(Arc::ptr_eq(&pods[0].labels, &pods[1].labels));
    assert!(Arc::ptr_eq(
        &pods[0].container_ports,
        &pods[1].container_ports
    ));
    assert!(Arc::ptr_eq(&pods[0].node, &pods[1].node));
    cluster.hear(Feed::Pods, Event::Remove(ObjectName::new("shop", "one")));
    assert_eq!(cluster.own_pods().count(), 1);
    let replica = |name: &str| {
        let owner = json!([{"kind": "ReplicaSet", "name": "web-7d4b9", "controller": true}]);
        pod(name, |pod| {
            pod["metadata"]["ownerReferences"] = owner.clone()
        })
    };
    for name in ["a", "b"] {
        cluster.hear(Feed::Pods, replica(name));
    }
    let named = |name: &str| cluster.pods.get(&ObjectName::new("shop", name)).unwrap();
    assert!(Arc::ptr_eq(&named("a").template, &named("b").template));
}

#[test]
fn annotations_do_not_say_where_a_pod_lives() {
    let mut cluster = whole();
    let event = pod("one", |pod| {
        pod["metadata"]["annotations"] = json!({
            "sealane.dev/netns": "/proc/1/ns/net", "sealane.dev/cgroup": "/sys/fs/cgroup",
        });
    });
    cluster.hear(Feed::Pods, event);
    assert!(cluster.own_pods().all(|pod| pod.sandbox().is_none()));
}

#[test]
fn what_makes_no_sense_is_told_and_changes_nothing_of_what_is_known() {
    let mut cluster = whole();
    cluster.hear(Feed::Pods, pod("one", |_| ()));
    let wrong = |pod: &mut Value| pod["metadata"]["labels"]["sealane.dev/inject"] = "maybe".into();
    cluster.hear(Feed::Pods, pod("one", wrong));
    let errors = cluster.errors();
    assert_eq!(errors.len(), 1);
    assert!(
        errors[0].starts_with("Pod shop/one: metadata.labels"),
        "{errors:?}"
    );
    assert!(cluster.own_pods().all(|pod| pod.own_enrolment.is_none()));
    // Also when it is all that a new list says.
    cluster.hear(Feed::Pods, Event::Begin);
    cluster.hear(Feed::Pods, pod("one", wrong));
    cluster.hear(Feed::Pods, Event::End);
    assert_eq!((cluster.own_pods().count(), cluster.errors().len()), (1, 1));
    cluster.hear(Feed::Pods, Event::Begin);
    cluster.hear(Feed::Pods, Event::End);
    assert_eq!((cluster.own_pods().count(), cluster.errors().len()), (0, 0));
}

#[test]
fn a_server_that_fails_is_told_of_until_it_answers() {
    let mut cluster = whole();
    cluster.hear(
        Feed::Services,
        Event::Failed("connection refused".to_owned()),
    );
    assert_eq!(cluster.errors(), ["Service: connection refused"]);
    assert!(cluster.take_changed() && unheard(&cluster).count() == 0);
    cluster.hear(Feed::Services, Event::Begin);
    assert_eq!(cluster.errors().len(), 1);
    cluster.hear(Feed::Services, Event::End);
    assert!(cluster.errors().is_empty() && cluster.take_changed());
}

#[test]
fn documents_stay_when_a_server_no_longer_has_their_kind() {
    let mut cluster = whole();
    let feed = Feed::Istio(Istio::PeerAuthentication);
    cluster.policies.take();
    cluster.hear(feed, Event::Begin);
    let object = json!({"metadata": {"namespace": "shop", "name": "default"}, "spec": {}});
    cluster.hear(feed, Event::Put(Object::Policy(object)));
    cluster.hear(feed, Event::End);
    assert!(cluster.policies.take().is_some() && cluster.policies.take().is_none());
    cluster.hear(feed, Event::Absent);
    assert!(
        cluster.errors()[0].contains("stay in force"),
        "{:?}",
        cluster.errors()
    );
    assert!(cluster.policies.take().is_none());
}

const HASH: &str = "0123456789abcdef0123456789abcdef";

/// As kubelet shows a static pod.
fn mirror(pod: &mut Value) {
    pod["metadata"]["annotations"] = json!({
        "kubernetes.io/config.hash": HASH, "kubernetes.io/config.mirror": HASH,
        "kubernetes.io/config.source": "file",
    });
    pod["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "v1", "kind": "Node", "name": "a", "uid": "n-1", "controller": true},
    ]);
}

/// What the cgroup of each pod of this node is named after.
fn cgroups(cluster: &Cluster) -> BTreeMap<String, String> {
    let wanted = cluster.wanted().into_iter();
    wanted
        .map(|(uid, cgroup)| (uid.to_string(), cgroup.cgroup.to_string()))
        .collect()
}

#[test]
fn static_pods_are_looked_for_by_the_hash_that_their_mirrors_tell() {
    let mut cluster = whole();
    cluster.hear(Feed::Pods, pod("one", |_| ()));
    cluster.hear(Feed::Pods, pod("two", mirror));
    let cgroups = cgroups(&cluster);
    assert_eq!(cgroups["uid-one"], "uid-one");
    assert_eq!(cgroups["uid-two"], HASH);
}

type Change<'a> = &'a dyn Fn(&mut Value);

#[test]
fn annotations_alone_make_no_static_pod() {
    let owner = |key: &'static str, value: &'static str| {
        move |pod: &mut Value| {
            mirror(pod);
            pod["metadata"]["ownerReferences"][0][key] = value.into();
        }
    };
    let annotation = |key: &'static str, value: &'static str| {
        move |pod: &mut Value| {
            mirror(pod);
            pod["metadata"]["annotations"][key] = value.into();
        }
    };
    let refused: [(&str, Change<'_>); 6] = [
        ("no owner", &|pod| {
            mirror(pod);
            pod["metadata"]["ownerReferences"] = json!([]);
        }),
        ("a deployment's", &owner("kind", "ReplicaSet")),
        (
            "somebody else's Node",
            &owner("apiVersion", "example.org/v1"),
        ),
        ("another node's", &owner("name", "b")),
        (
            "two hashes",
            &annotation("kubernetes.io/config.hash", "another"),
        ),
        ("a UID of the API's", &|pod| {
            mirror(pod);
            let uid = "8a2f7e9c-11aa-4c4e-9c5e-0123456789ab";
            pod["metadata"]["annotations"] = json!({
                "kubernetes.io/config.hash": uid, "kubernetes.io/config.mirror": uid,
            });
        }),
    ];
    for (what, change) in refused {
        let mut cluster = whole();
        cluster.hear(Feed::Pods, pod("one", change));
        assert_eq!(cgroups(&cluster)["uid-one"], "uid-one", "{what}");
    }
}

#[test]
fn nobody_takes_the_cgroup_of_another_pod() {
    let mut cluster = whole();
    let created = |time: &'static str| {
        move |pod: &mut Value| {
            mirror(pod);
            pod["metadata"]["creationTimestamp"] = time.into();
        }
    };
    cluster.hear(Feed::Pods, pod("late", created("2026-01-02T00:00:00Z")));
    cluster.hear(Feed::Pods, pod("first", created("2026-01-01T00:00:00Z")));
    let of_two = cgroups(&cluster);
    assert_eq!(of_two["uid-first"], HASH);
    assert_eq!(of_two["uid-late"], "uid-late");
    cluster.hear(
        Feed::Pods,
        pod("owner", |pod| {
            pod["metadata"]["uid"] = HASH.into();
            pod["spec"]["hostNetwork"] = true.into();
        }),
    );
    assert_eq!(cgroups(&cluster)["uid-first"], "uid-first");
}

/// A pod of another node that has `address`, made at `created`.
fn remote(name: &str, address: &str, created: &str) -> Event {
    pod(name, |pod| {
        pod["spec"]["nodeName"] = "b".into();
        pod["metadata"]["creationTimestamp"] = created.into();
        pod["status"]["podIPs"] = json!([{"ip": address}]);
    })
}

fn snapshot(cluster: &Cluster) -> Snapshot {
    let settings = Settings::of_tests();
    let objects = cluster.objects(BTreeMap::new());
    let (documents, before) = (Compiled::default(), Snapshot::default());
    let mesh = relate(objects, &documents, &before, &settings, &mut Vec::new());
    mesh.unwrap().into_snapshot()
}

fn owner(cluster: &Cluster, address: &str) -> Option<String> {
    let snapshot = snapshot(cluster);
    let owner = snapshot.workload_at(address.parse().unwrap())?;
    Some(owner.name.name.to_string())
}

fn with_namespace() -> Cluster {
    let mut cluster = whole();
    let namespace = serde_json::from_value(json!({"metadata": {"name": "shop"}})).unwrap();
    let namespace = Object::Namespace(Box::new(namespace));
    cluster.hear(Feed::Namespaces, Event::Put(namespace));
    cluster
}

const OLD: &str = "2026-01-01T00:00:00Z";
const NEW: &str = "2026-01-02T00:00:00Z";

#[test]
fn while_a_list_is_read_again_an_address_is_whose_the_list_says_it_is() {
    let mut cluster = with_namespace();
    cluster.hear(Feed::Pods, remote("gone", "10.0.0.1", OLD));
    cluster.hear(Feed::Pods, remote("other", "10.0.0.2", OLD));
    assert_eq!(owner(&cluster, "10.0.0.1").as_deref(), Some("gone"));
    cluster.hear(Feed::Pods, Event::Begin);
    cluster.hear(Feed::Pods, remote("next", "10.0.0.1", NEW));
    assert_eq!(owner(&cluster, "10.0.0.1").as_deref(), Some("next"));
    // What has not been spoken of yet stays, and so does who has the address when the list breaks off.
    assert_eq!(owner(&cluster, "10.0.0.2").as_deref(), Some("other"));
    cluster.hear(Feed::Pods, Event::Begin);
    assert_eq!(owner(&cluster, "10.0.0.1").as_deref(), Some("next"));
    cluster.hear(Feed::Pods, remote("next", "10.0.0.1", NEW));
    cluster.hear(Feed::Pods, remote("other", "10.0.0.2", OLD));
    cluster.hear(Feed::Pods, Event::End);
    assert_eq!(owner(&cluster, "10.0.0.1").as_deref(), Some("next"));
    // Of two that the server has the older keeps it, as ever.
    cluster.hear(Feed::Pods, remote("second", "10.0.0.2", NEW));
    assert_eq!(owner(&cluster, "10.0.0.2").as_deref(), Some("other"));
}

#[test]
fn an_address_that_a_pod_gives_itself_is_not_taken_from_anybody() {
    let mut cluster = with_namespace();
    cluster.hear(Feed::Pods, remote("web", "10.0.0.1", NEW));
    let service = json!({
        "metadata": {"namespace": "shop", "name": "web"},
        "spec": {"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1"], "ports": [{"port": 80}]},
    });
    let service = Object::Service(Box::new(serde_json::from_value(service).unwrap()));
    cluster.hear(Feed::Services, Event::Put(service));
    let early = pod("early", |pod| pod["status"] = json!({"phase": "Pending"}));
    cluster.hear(Feed::Pods, early);
    let early = Arc::clone(cluster.own_pods().next().unwrap());
    let addresses = ["10.0.0.1", "10.96.0.1", "10.0.0.9"].map(|a| a.parse::<IpAddr>().unwrap());
    let found = cluster.unclaimed(&early, &addresses, |_| false);
    assert_eq!(*found, addresses[2..]);
    // A pod whose sandbox is gone has none any more, whatever the API says.
    let found = cluster.unclaimed(&early, &addresses, |pod| &*pod.name.name == "web");
    assert_eq!(*found, [addresses[0], addresses[2]]);
}

#[test]
fn what_was_known_of_a_pods_namesake_is_not_known_of_the_pod() {
    let mut cluster = with_namespace();
    let wrong = |created: &str| {
        let Event::Put(Object::Pod(mut pod)) = remote("db-0", "10.0.0.1", created) else {
            unreachable!()
        };
        let inject = ("sealane.dev/inject".to_owned(), "maybe".to_owned());
        pod.metadata.labels.get_or_insert_default().extend([inject]);
        Event::Put(Object::Pod(pod))
    };
    cluster.hear(Feed::Pods, remote("db-0", "10.0.0.1", OLD));
    cluster.hear(Feed::Pods, wrong(OLD));
    assert_eq!(owner(&cluster, "10.0.0.1").as_deref(), Some("db-0"));
    cluster.hear(Feed::Pods, wrong(NEW));
    assert_eq!(owner(&cluster, "10.0.0.1"), None);
}

#[test]
fn a_pod_that_starts_is_expected_on_its_node() {
    let mut cluster = with_namespace();
    let starting = |node: &str| {
        let node = node.to_owned();
        pod("new", move |pod| {
            pod["spec"]["nodeName"] = node.clone().into();
            pod["status"] = json!({"phase": "Pending"});
        })
    };
    cluster.hear(Feed::Pods, starting(""));
    assert!(snapshot(&cluster).expected.is_empty(), "it has no node yet");
    cluster.hear(Feed::Pods, starting("b"));
    let expected = Arc::clone(&snapshot(&cluster).expected);
    let expected: Vec<_> = expected
        .iter()
        .map(|(id, node)| (id.to_string(), &**node))
        .collect();
    let identity = "spiffe://cluster.local/ns/shop/sa/web".to_owned();
    assert_eq!(expected, [(identity, "b")]);
    cluster.hear(Feed::Pods, remote("new", "10.0.0.1", NEW));
    assert!(snapshot(&cluster).expected.is_empty());
}

#[test]
fn a_kind_that_is_heard_again_fails_no_more_also_without_news() {
    let mut cluster = whole();
    let gateways = Feed::Istio(Istio::Gateway);
    for feed in [Feed::Namespaces, gateways] {
        cluster.hear(feed, Event::Failed("connection refused".to_owned()));
        assert_eq!(cluster.errors().len(), 1);
        assert!(cluster.take_changed() && cluster.failing() > 0);
        cluster.hear(feed, Event::Resumed);
        assert!(cluster.errors().is_empty());
        assert!(cluster.take_changed() && cluster.failing() == 0);
    }
}
