//! Readers of fields that several kinds have.

use std::net::IpAddr;

use jiff::Timestamp;

use super::BadField;
use crate::control::{error::Problem, yaml::FieldPath};

/// Seconds of the Unix epoch, the precision that Kubernetes keeps.
pub fn seconds(created: Option<&Timestamp>) -> Option<i64> {
    created.map(|time| time.as_second())
}

/// An address of a pod, a service or an endpoint; IPv4-mapped IPv6 as IPv4.
pub fn address(text: &str, field: &FieldPath) -> Result<IpAddr, BadField> {
    let usable = |address: &IpAddr| {
        !address.is_loopback() && !address.is_unspecified() && !address.is_multicast()
    };
    text.parse::<IpAddr>()
        .ok()
        .map(|address| address.to_canonical())
        .filter(usable)
        .ok_or_else(|| BadField::new(field.clone(), Problem::Address(text.to_owned())))
}

/// A port number that a connection can go to.
pub fn port(number: i32, field: &FieldPath) -> Result<u16, BadField> {
    u16::try_from(number)
        .ok()
        .filter(|port| *port > 0)
        .ok_or_else(|| BadField::new(field.clone(), Problem::Port(number.into())))
}

/// Kubernetes' `protocol`: TCP unless it says otherwise.
pub fn is_tcp(protocol: Option<&str>) -> bool {
    matches!(protocol, None | Some("" | "TCP"))
}

/// Keeps good values in `good` and complaints in `bad`.
pub fn sort_out<T>(result: Result<T, BadField>, good: &mut Vec<T>, bad: &mut Vec<BadField>) {
    match result {
        Ok(value) => good.push(value),
        Err(error) => bad.push(error),
    }
}
