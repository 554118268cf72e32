//! What capture should be doing: computed elsewhere, applied here.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use sealane_common::PortMode;

use super::destinations::Destinations;
use crate::workload::{NetnsFile, ObjectName, Sandbox};

/// Pods to enrol and destinations to capture.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Desired {
    pub pods: HashMap<ObjectName, DesiredPod>,
    /// Pods of this node that are known not to be in the mesh.
    pub others: HashSet<NetnsFile>,
    pub destinations: Arc<Destinations>,
    /// No destination is missing because it is early.
    pub settled: bool,
}

/// A pod of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DesiredPod {
    pub sandbox: Arc<Sandbox>,
    pub addresses: Vec<IpAddr>,
    /// One of `sealane_common::PortModes`.
    pub mode: u8,
    /// At most `sealane_common::MAX_PORT_MODES`.
    pub ports: Vec<PortMode>,
    /// One of `sealane_common::OnLoss`.
    pub outbound_on_loss: u32,
    pub permissive_on_loss: u32,
}
