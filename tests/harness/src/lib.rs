//! A private cluster for a test: two nodes, pods, agents, real programs, certificates and captures.
//!
//! # Layout
//! `isolation` gives a run its own mounts and processes; `world` builds nodes and pods out of `netns` and
//! `cgroup` and tells the agents of them through `objects`; `process` and `sockets` act inside a pod; `agent`
//! drives the product, `authority` its CA service, `spire` stands in for a SPIRE agent; `apps` are real programs; `pki` makes certificates, `tls`
//! speaks TLS as a foreigner, `pcap` reads what was on the wire; `hosts` are names for the system's resolver,
//! `pace` and `kernel` know the machine; `fault` breaks a running agent, `memory`
//! looks into one.
//!
//! Knows the product only by its command line, its files and its wire: imports none of its crates.

pub mod agent;
pub mod apps;
pub mod authority;
pub mod cgroup;
pub mod cluster;
pub mod enter;
pub mod fault;
pub mod frames;
pub mod gateway;
pub mod host;
pub mod hosts;
pub mod http;
pub mod isolation;
pub mod kernel;
pub mod memory;
pub mod metrics;
pub mod netns;
pub mod objects;
pub mod operator;
pub mod pace;
pub mod pcap;
pub mod pki;
pub mod pod;
pub mod process;
pub mod sockets;
pub mod spire;
pub mod tls;
pub mod wait;
pub mod world;

pub use agent::Agent;
pub use gateway::Gateway;
pub use host::HostProcess;
pub use hosts::HostName;
pub use isolation::Run;
pub use operator::Operator;
pub use pod::{Family, NodeName, Pod, PodSpec};
pub use process::{Output, Process};
pub use wait::until;
pub use world::World;
