//! From the socket to whoever reads.

use std::{
    io,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, split},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use super::{
    Filter, Frame, PacketError, Seen, Wanted, Watched,
    file::Blocks,
    flows::Commented,
    frame::has_ethernet,
    socket::{LOOPBACK, PacketSocket},
};
use crate::{capture::Netns, offload::sys::Packet};

/// Of a frame that the kernel hands over, and of what is sent at once.
const FRAME: usize = 256 << 10;
const BATCH: usize = 256 << 10;
/// What is taken after the end has been asked for: whatever the socket had.
const REST: usize = 64 << 20;
const PERIOD: Duration = Duration::from_secs(1);

/// What became of the packets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Those that were sent.
    pub recorded: u64,
    pub seen: Seen,
}

/// The packets of a pod from the moment on at which this was made.
pub struct Recording<W> {
    socket: PacketSocket,
    filter: Filter,
    watched: W,
    blocks: Blocks,
    commented: Commented,
    buffer: Vec<u8>,
    told: Seen,
    recorded: u64,
}

impl<W: Watched> Recording<W> {
    /// # Errors
    /// When there can't be such a socket.
    pub fn begin(netns: &Netns, wanted: Wanted, watched: W) -> Result<Self, PacketError> {
        Ok(Self {
            socket: PacketSocket::open(netns, wanted.snaplen, wanted.plaintext)?,
            blocks: Blocks::new(&watched.title(), wanted.snaplen)?,
            filter: wanted.filter,
            watched,
            commented: Commented::default(),
            buffer: vec![0; FRAME],
            told: Seen::default(),
            recorded: 0,
        })
    }

    /// Sends blocks until the other side has nothing more to say, `stop`, or the pod is gone.
    ///
    /// # Errors
    /// When the socket or the stream fails.
    pub async fn send(
        mut self,
        stream: impl AsyncRead + AsyncWrite,
        stop: CancellationToken,
    ) -> io::Result<Summary> {
        let (mut reader, mut writer) = split(Box::pin(stream));
        let sending = async {
            let mut byte = [0];
            let mut period = interval(PERIOD);
            period.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let more = self.batch(BATCH)?;
                writer.write_all(&self.blocks.take()).await?;
                if more {
                    continue;
                }
                writer.flush().await?;
                tokio::select! {
                    // Whatever it is: nothing is asked for here but the end.
                    _ = reader.read(&mut byte) => break,
                    ready = self.socket.readable() => ready?,
                    _ = period.tick() => {
                        self.tell()?;
                        if !self.watched.is_there() {
                            break;
                        }
                    }
                }
            }
            Ok::<_, io::Error>(())
        };
        tokio::select! {
            sent = sending => sent?,
            () = stop.cancelled() => {}
        }
        self.batch(REST)?;
        self.tell()?;
        writer.write_all(&self.blocks.take()).await?;
        writer.shutdown().await?;
        Ok(Summary {
            recorded: self.recorded,
            seen: self.told,
        })
    }

    /// Takes packets until there are none, or as many bytes as one batch has: then there may be more.
    fn batch(&mut self, limit: usize) -> io::Result<bool> {
        while self.blocks.len() < limit {
            let Some(packet) = self.socket.take(&mut self.buffer)? else {
                return Ok(false);
            };
            self.record(&packet)?;
        }
        Ok(true)
    }

    fn record(&mut self, packet: &Packet) -> io::Result<()> {
        let bytes = self.buffer.get(..packet.kept).unwrap_or_default();
        let frame = Frame::parse(bytes, has_ethernet(packet.hardware));
        if !self.filter.matches(&frame) {
            return Ok(());
        }
        if !self.blocks.has_interface(packet.interface) {
            let name = self.socket.interface_name(packet.interface);
            let what = match packet.interface {
                LOOPBACK => "what the pod hears and says before it is encrypted",
                _ => "the wire",
            };
            let description = format!("{what}: {}", self.watched.title());
            self.blocks.interface(packet, &name, &description)?;
        }
        let segment = frame.segment(packet.interface == LOOPBACK);
        let comments = self.commented.comments(segment, &mut self.watched);
        self.recorded += 1;
        self.blocks.packet(packet, bytes, &comments)
    }

    /// Tells how many had no room, when that has changed.
    fn tell(&mut self) -> io::Result<()> {
        let seen = self.socket.seen()?;
        if seen != self.told {
            self.told = seen;
            let now = SystemTime::now().duration_since(UNIX_EPOCH);
            self.blocks.statistics(seen, now.unwrap_or_default())?;
        }
        Ok(())
    }
}
