//! The two directions of a connection under TLS in userspace: seal towards the wire, open towards the pod.

use std::io::{self, IoSliceMut};

use tokio::{net::TcpStream, task::consume_budget};

use super::{
    Meter, RelayError,
    buffer::{Buffer, SIZE},
    half_close,
    plain::{Side, write_all},
};
use crate::tls::{
    Keys, Opener, Sealer,
    record::{MAX_PLAINTEXT, MAX_RECORD, Opened, RecordError},
};

/// Records that are filled with one read.
const SLOTS: usize = 4;

/// Pod -> wire. Ends with `close_notify` and a half-close when the pod's side ends.
pub(super) async fn seal(
    local: &TcpStream,
    wire: &TcpStream,
    mut sealer: Sealer<'_>,
    meter: &impl Meter,
) -> Result<(), RelayError> {
    loop {
        local.readable().await.map_err(RelayError::Local)?;
        let mut buffer = Buffer::take();
        loop {
            match fill(local, &mut buffer, &sealer) {
                Ok(0) => {
                    let farewell = sealer.alert(false, 0)?;
                    send(local, wire, &mut sealer, &farewell).await?;
                    return half_close(wire).map_err(RelayError::Wire);
                }
                Ok(length) => {
                    if let Some(update) = sealer.key_update_if_due()? {
                        send(local, wire, &mut sealer, &update).await?;
                    }
                    let sealed = sealer.seal_slots(&mut buffer, length)?;
                    send(local, wire, &mut sealer, &buffer[..sealed]).await?;
                    meter.up(length as u64);
                    consume_budget().await;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(RelayError::Local(error)),
            }
        }
    }
}

/// Reads plaintext to where the record layer wants it: no copy between the socket and the cipher.
fn fill(local: &TcpStream, buffer: &mut Buffer, sealer: &Sealer<'_>) -> io::Result<usize> {
    let (slot, offset) = (sealer.slot(), sealer.payload_offset());
    let mut slots = buffer.chunks_exact_mut(slot);
    let mut payloads: [IoSliceMut<'_>; SLOTS] = std::array::from_fn(|_| {
        let slot = slots.next().unwrap_or_default();
        IoSliceMut::new(
            slot.get_mut(offset..offset + MAX_PLAINTEXT)
                .unwrap_or_default(),
        )
    });
    local.try_read_vectored(&mut payloads)
}

async fn send(
    local: &TcpStream,
    wire: &TcpStream,
    sealer: &mut Sealer<'_>,
    records: &[u8],
) -> Result<(), RelayError> {
    // Should this future be dropped half way, an alert would land in the middle of a record.
    sealer.sending(true);
    write_all(local, wire, records).await.map_err(Side::up)?;
    sealer.sending(false);
    Ok(())
}

/// Wire -> pod. Ends with a half-close when the peer says `close_notify`.
pub(super) async fn open(
    wire: &TcpStream,
    local: &TcpStream,
    mut opener: Opener<'_>,
    received: Vec<u8>,
    meter: &impl Meter,
) -> Result<(), RelayError> {
    // Ciphertext of a record that is not whole yet: nearly always empty.
    let mut partial = received;
    let mut first = !partial.is_empty();
    loop {
        if !first {
            wire.readable().await.map_err(RelayError::Wire)?;
        }
        let mut buffers = Buffers::holding(&std::mem::take(&mut partial))?;
        loop {
            if !std::mem::take(&mut first) {
                match wire.try_read(&mut buffers.input[buffers.filled..]) {
                    Ok(0) => return Err(RelayError::Truncated),
                    Ok(length) => buffers.filled += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return Err(RelayError::Wire(error)),
                }
            }
            if buffers.pass_on(&mut opener, wire, local, meter).await? == Flow::Ended {
                return half_close(local).map_err(RelayError::Local);
            }
            consume_budget().await;
        }
        partial = buffers.input[..buffers.filled].to_vec();
    }
}

#[derive(PartialEq, Eq)]
enum Flow {
    Goes,
    Ended,
}

struct Buffers {
    input: Buffer,
    filled: usize,
    output: Buffer,
}

impl Buffers {
    fn holding(partial: &[u8]) -> Result<Self, RecordError> {
        let mut input = Buffer::take();
        let filled = partial.len();
        // Only what came behind a handshake could be longer, and that is bounded by the handshake's reads.
        let start = input
            .get_mut(..filled)
            .ok_or(RecordError::TooLong(filled))?;
        start.copy_from_slice(partial);
        Ok(Self {
            input,
            filled,
            output: Buffer::take(),
        })
    }

    /// Opens every whole record and writes what is in them; keeps the rest at the start of the input.
    async fn pass_on(
        &mut self,
        opener: &mut Opener<'_>,
        wire: &TcpStream,
        local: &TcpStream,
        meter: &impl Meter,
    ) -> Result<Flow, RelayError> {
        let (mut read, mut written) = (0, 0);
        let flow = loop {
            if SIZE - written < MAX_RECORD {
                deliver(wire, local, &self.output[..written], meter).await?;
                written = 0;
            }
            let input = &self.input[read..self.filled];
            match opener.open(input, &mut self.output[written..])? {
                Opened::Incomplete => break Flow::Goes,
                Opened::Data { record, length } => {
                    read += record;
                    written += length;
                }
                Opened::Nothing { record } => read += record,
                Opened::CloseNotify { .. } => break Flow::Ended,
                Opened::Alert(alert) => {
                    deliver(wire, local, &self.output[..written], meter).await?;
                    return Err(RelayError::Alert(alert));
                }
            }
        };
        deliver(wire, local, &self.output[..written], meter).await?;
        self.input.copy_within(read..self.filled, 0);
        self.filled -= read;
        Ok(flow)
    }
}

async fn deliver(
    wire: &TcpStream,
    local: &TcpStream,
    bytes: &[u8],
    meter: &impl Meter,
) -> Result<(), RelayError> {
    if bytes.is_empty() {
        return Ok(());
    }
    write_all(wire, local, bytes).await.map_err(Side::down)?;
    meter.down(bytes.len() as u64);
    Ok(())
}

/// Tells the peer why, if a record boundary and the socket's buffer allow it.
pub(super) fn last_alert(wire: &TcpStream, keys: &mut Keys, description: u8) {
    let (mut sealer, _) = keys.split();
    if sealer.is_between_records()
        && let Ok(record) = sealer.alert(true, description)
    {
        let _ = wire.try_write(&record);
    }
}
