//! A packet on one line.

use std::{fmt::Write as _, net::IpAddr};

use jiff::Timestamp;
use pcap_file::{
    DataLink,
    pcapng::blocks::{
        enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
        interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
    },
};
use serde::Serialize;

use crate::{cli::OutputFormat, packets::Frame};

/// `epb_flags` of what the pod sends.
const OUTBOUND: u32 = 2;

#[derive(Serialize)]
pub(super) struct Line {
    time: Timestamp,
    interface: String,
    direction: &'static str,
    protocol: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    destination: Option<String>,
    /// Of TCP, in tcpdump's letters.
    #[serde(skip_serializing_if = "Option::is_none")]
    flags: Option<String>,
    /// On the wire, all headers included.
    length: u32,
    /// Behind the headers that are understood.
    payload: usize,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    comments: Vec<String>,
}

impl Line {
    pub(super) fn new(
        packet: &EnhancedPacketBlock<'_>,
        interface: Option<&InterfaceDescriptionBlock<'_>>,
    ) -> Self {
        let ethernet = interface.is_none_or(|i| i.linktype == DataLink::ETHERNET);
        let frame = Frame::parse(&packet.data, ethernet);
        let flags = packet.options.iter().find_map(|option| match option {
            EnhancedPacketOption::Flags(flags) => Some(*flags),
            _ => None,
        });
        let comments = packet.options.iter().filter_map(|option| match option {
            EnhancedPacketOption::Comment(text) => Some(text.clone().into_owned()),
            _ => None,
        });
        let end = |index: usize| {
            let address = frame.addresses?.get(index).copied()?;
            Some(end(
                address,
                frame.ports.and_then(|ports| ports.get(index).copied()),
            ))
        };
        let since = jiff::SignedDuration::try_from(packet.timestamp);
        Self {
            time: since.map_or(Timestamp::UNIX_EPOCH, |since| {
                Timestamp::from_duration(since).unwrap_or(Timestamp::MAX)
            }),
            interface: interface.and_then(name).unwrap_or_default(),
            direction: match flags {
                Some(OUTBOUND) => "out",
                _ => "in",
            },
            protocol: protocol(&frame),
            source: end(0),
            destination: end(1),
            flags: frame.flags.map(|flags| flags.to_string()),
            length: packet.original_len,
            payload: frame.payload,
            comments: comments.collect(),
        }
    }

    /// With its end.
    pub(super) fn text(&self, format: OutputFormat) -> String {
        let mut text = match format {
            // Strings and numbers alone.
            OutputFormat::Json => serde_json::to_string(self).unwrap_or_default(),
            OutputFormat::Table => self.shown(),
        };
        text.push('\n');
        text
    }

    fn shown(&self) -> String {
        let mut text = format!(
            "{:.6} {} {:3} {}",
            self.time, self.interface, self.direction, self.protocol
        );
        if let (Some(source), Some(destination)) = (&self.source, &self.destination) {
            let _ = write!(text, " {source} > {destination}");
        }
        if let Some(flags) = &self.flags {
            let _ = write!(text, " [{flags}]");
        }
        let _ = write!(text, " {} bytes", self.payload);
        if !self.comments.is_empty() {
            let _ = write!(text, "  # {}", self.comments.join("; "));
        }
        text
    }
}

fn name(interface: &InterfaceDescriptionBlock<'_>) -> Option<String> {
    interface.options.iter().find_map(|option| match option {
        InterfaceDescriptionOption::IfName(name) => Some(name.clone().into_owned()),
        _ => None,
    })
}

fn end(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => std::net::SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}

fn protocol(frame: &Frame) -> String {
    match frame.protocol {
        _ if frame.is_arp => "arp".to_owned(),
        Some(6) => "tcp".to_owned(),
        Some(17) => "udp".to_owned(),
        Some(1) => "icmp".to_owned(),
        Some(58) => "icmp6".to_owned(),
        Some(other) => format!("protocol {other}"),
        None => "other".to_owned(),
    }
}
