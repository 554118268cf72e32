//! Where packets go, block by block.

use std::{
    fs::{File, OpenOptions, Permissions},
    io::{self, IsTerminal as _, Write},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

use anyhow::{Context as _, ensure};
use pcap_file::{
    PcapError,
    pcapng::{
        Block, PcapNgParser,
        blocks::interface_statistics::{InterfaceStatisticsBlock, InterfaceStatisticsOption},
    },
};

use super::line::Line;
use crate::cli::{CaptureArgs, OutputFormat};

/// Longer than any block that an agent makes.
const LONGEST: usize = 16 << 20;

/// Whether there may be more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wants {
    More,
    Nothing,
}

pub(super) struct Sink<'a, W> {
    to: To<'a, W>,
    parser: Option<PcapNgParser>,
    received: Vec<u8>,
    limit: Option<u64>,
    packets: u64,
    dropped: u64,
    is_ending: bool,
}

/// What is made of packets.
enum To<'a, W> {
    File(File, String),
    Raw(&'a mut W),
    Lines(&'a mut W, OutputFormat),
}

impl<'a, W: Write> Sink<'a, W> {
    /// # Errors
    /// When the file can't be made, or pcapng would go to a terminal.
    pub(super) fn open(args: &CaptureArgs, out: &'a mut W) -> anyhow::Result<Self> {
        let to = match args.write.as_deref() {
            None => To::Lines(out, args.query.output),
            Some(path) if path == Path::new("-") => {
                ensure!(
                    !io::stdout().is_terminal(),
                    "pcapng is not for terminals: leave -w out, or write into a file or a pipe"
                );
                To::Raw(out)
            }
            Some(path) => {
                let made = private(path);
                let name = path.display().to_string();
                To::File(made.with_context(|| name.clone())?, name)
            }
        };
        Ok(Self {
            to,
            parser: None,
            received: Vec::new(),
            limit: args.count,
            packets: 0,
            dropped: 0,
            is_ending: false,
        })
    }

    /// To be filled.
    pub(super) fn received(&mut self) -> &mut Vec<u8> {
        &mut self.received
    }

    /// The rest is what was on its way.
    pub(super) fn ends(&mut self) {
        self.is_ending = true;
    }

    /// Takes all blocks that are whole.
    ///
    /// # Errors
    /// When they can't be written, or are none.
    pub(super) fn take(&mut self) -> anyhow::Result<Wants> {
        let received = std::mem::take(&mut self.received);
        let mut left = &received[..];
        let mut wants = Wants::More;
        while wants == Wants::More {
            let Some((rest, block)) = next(&mut self.parser, left)? else {
                break;
            };
            let bytes = &left[..left.len() - rest.len()];
            wants = self.put(bytes, block.as_ref())?;
            left = rest;
        }
        self.received = left.to_vec();
        ensure!(
            self.received.len() < LONGEST,
            "what the agent sends is no pcapng"
        );
        self.flush()?;
        Ok(wants)
    }

    fn put(&mut self, bytes: &[u8], block: Option<&Block<'_>>) -> anyhow::Result<Wants> {
        if let Some(Block::InterfaceStatistics(told)) = block {
            self.dropped = self.dropped.max(dropped(told));
        }
        if let Some(Block::EnhancedPacket(_)) = block {
            if self.is_full() {
                return Ok(Wants::More);
            }
            self.packets += 1;
        }
        let written = match (&mut self.to, block, &self.parser) {
            (To::File(file, _), ..) => file.write_all(bytes),
            (To::Raw(out), ..) => out.write_all(bytes),
            (To::Lines(out, format), Some(Block::EnhancedPacket(packet)), Some(parser)) => {
                let line = Line::new(packet, parser.packet_interface(packet));
                out.write_all(line.text(*format).as_bytes())
            }
            (To::Lines(..), ..) => Ok(()),
        };
        match written {
            // A reader that has seen enough, such as `head`.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(Wants::Nothing),
            written => written.context("writing packets")?,
        }
        Ok(match self.is_full() && !self.is_ending {
            true => Wants::Nothing,
            false => Wants::More,
        })
    }

    fn is_full(&self) -> bool {
        self.limit.is_some_and(|limit| self.packets >= limit)
    }

    fn flush(&mut self) -> anyhow::Result<()> {
        match &mut self.to {
            To::File(..) => Ok(()),
            To::Raw(out) | To::Lines(out, _) => match out.flush() {
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
                flushed => flushed.context("writing packets"),
            },
        }
    }

    /// What came of it.
    ///
    /// # Errors
    /// When the file isn't on disk.
    pub(super) fn finish(self) -> anyhow::Result<String> {
        let Self {
            packets, dropped, ..
        } = self;
        let whereto = match self.to {
            To::File(file, name) => {
                file.sync_all().with_context(|| name.clone())?;
                format!(" written to {name}")
            }
            To::Raw(_) | To::Lines(..) => String::new(),
        };
        let lost = match dropped {
            0 => "none lost".to_owned(),
            lost => format!("{lost} lost: they came faster than they were taken"),
        };
        Ok(format!("{packets} packets{whereto}, {lost}"))
    }
}

/// The first block that is whole, and what comes behind it; no block for the section's own.
fn next<'b>(
    parser: &mut Option<PcapNgParser>,
    bytes: &'b [u8],
) -> anyhow::Result<Option<(&'b [u8], Option<Block<'b>>)>> {
    let parsed = match parser {
        None => PcapNgParser::new(bytes).map(|(rest, made)| {
            *parser = Some(made);
            (rest, None)
        }),
        Some(parser) => parser
            .next_block(bytes)
            .map(|(rest, block)| (rest, Some(block))),
    };
    match parsed {
        Ok(parsed) => Ok(Some(parsed)),
        Err(PcapError::IncompleteBuffer) => Ok(None),
        Err(error) => Err(error).context("what the agent sends is no pcapng"),
    }
}

fn dropped(told: &InterfaceStatisticsBlock<'_>) -> u64 {
    let dropped = told.options.iter().filter_map(|option| match option {
        InterfaceStatisticsOption::IsbOsDrop(dropped) => Some(*dropped),
        _ => None,
    });
    dropped.sum()
}

/// For its owner alone, also where it was there before.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let file = options.open(path)?;
    if file.metadata()?.is_file() {
        file.set_permissions(Permissions::from_mode(0o600))?;
    }
    Ok(file)
}
