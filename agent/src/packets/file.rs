//! Blocks of pcapng (draft-ietf-opsawg-pcapng).

use std::{borrow::Cow, collections::HashMap, io, mem, time::Duration};

use pcap_file::{
    DataLink, Endianness, PcapError,
    pcapng::{
        PcapNgBlock, PcapNgWriter,
        blocks::{
            enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption},
            interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption},
            interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
            section_header::{SectionHeaderBlock, SectionHeaderOption},
        },
    },
};

use super::{frame::has_ethernet, socket::Seen};
use crate::offload::sys::Packet;

/// `if_tsresol`: times are in nanoseconds.
const NANOSECONDS: u8 = 9;
/// `epb_flags`: which way a packet goes.
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Longest comment: an option's length has 16 bits.
const COMMENT: usize = 4096;

/// Blocks that are to be sent.
pub(super) struct Blocks {
    writer: PcapNgWriter<Vec<u8>>,
    /// Their numbers in the file, by the kernel's.
    interfaces: HashMap<u32, u32>,
    snaplen: u32,
}

impl Blocks {
    /// `title`: whose packets they are.
    pub(super) fn new(title: &str, snaplen: u32) -> io::Result<Self> {
        let version = concat!("sealane ", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::Little,
            options: vec![
                SectionHeaderOption::Comment(Cow::Owned(cut(title))),
                SectionHeaderOption::UserApplication(Cow::Borrowed(version)),
            ],
            ..SectionHeaderBlock::default()
        };
        let writer = PcapNgWriter::with_section_header(Vec::new(), section);
        Ok(Self {
            writer: writer.map_err(failed)?,
            interfaces: HashMap::new(),
            snaplen,
        })
    }

    pub(super) fn has_interface(&self, index: u32) -> bool {
        self.interfaces.contains_key(&index)
    }

    pub(super) fn interface(
        &mut self,
        packet: &Packet,
        name: &str,
        description: &str,
    ) -> io::Result<()> {
        let number = u32::try_from(self.interfaces.len()).unwrap_or(u32::MAX);
        let linktype = match has_ethernet(packet.hardware) {
            true => DataLink::ETHERNET,
            false => DataLink::RAW,
        };
        self.write(InterfaceDescriptionBlock {
            linktype,
            snaplen: self.snaplen,
            options: vec![
                InterfaceDescriptionOption::IfName(Cow::Borrowed(name)),
                InterfaceDescriptionOption::IfDescription(Cow::Owned(cut(description))),
                InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
            ],
        })?;
        self.interfaces.insert(packet.interface, number);
        Ok(())
    }

    pub(super) fn packet(
        &mut self,
        packet: &Packet,
        data: &[u8],
        comments: &[String],
    ) -> io::Result<()> {
        let Some(&interface_id) = self.interfaces.get(&packet.interface) else {
            return Ok(());
        };
        let way = match packet.is_outgoing {
            true => OUTBOUND,
            false => INBOUND,
        };
        let comments = comments.iter();
        let mut options: Vec<_> = comments
            .map(|text| EnhancedPacketOption::Comment(Cow::Owned(cut(text))))
            .collect();
        options.push(EnhancedPacketOption::Flags(way));
        self.write(EnhancedPacketBlock {
            interface_id,
            timestamp: packet.time,
            original_len: packet.length,
            data: Cow::Borrowed(data),
            options,
        })
    }

    /// What has become of all packets so far.
    pub(super) fn statistics(&mut self, seen: Seen, now: Duration) -> io::Result<()> {
        let mut numbers: Vec<_> = self.interfaces.values().copied().collect();
        numbers.sort_unstable();
        for interface_id in numbers {
            // The socket counts for all of its interfaces: said of the first.
            let seen = match interface_id {
                0 => seen,
                _ => Seen::default(),
            };
            let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
            self.write(InterfaceStatisticsBlock {
                interface_id,
                // The upper half stands first, each in the file's byte order.
                timestamp: nanoseconds.rotate_left(32),
                options: vec![
                    InterfaceStatisticsOption::IsbIfRecv(seen.packets + seen.dropped),
                    InterfaceStatisticsOption::IsbOsDrop(seen.dropped),
                ],
            })?;
        }
        Ok(())
    }

    /// What has been written since the last time.
    pub(super) fn take(&mut self) -> Vec<u8> {
        mem::take(self.writer.get_mut())
    }

    pub(super) fn len(&self) -> usize {
        self.writer.get_ref().len()
    }

    fn write<'a>(&mut self, block: impl PcapNgBlock<'a>) -> io::Result<()> {
        self.writer.write_pcapng_block(block).map_err(failed)?;
        Ok(())
    }
}

fn failed(error: PcapError) -> io::Error {
    match error {
        PcapError::IoError(error) => error,
        other => io::Error::other(other),
    }
}

fn cut(text: &str) -> String {
    text.chars().take(COMMENT / 4).collect()
}
