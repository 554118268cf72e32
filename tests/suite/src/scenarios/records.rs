//! Foreign TLS implementations at the other end of a connection: records of every size, at every moment, orderly
//! and not. The peer counts as a workload of the mesh, but no agent of ours is there: it speaks TLS itself.

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::Stdio,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow, ensure};
use sealane_harness::{
    NodeName, Pod, PodSpec, Process,
    objects::MESH,
    pace,
    pki::{Leaf, Pki, Wanted},
    tls::{self, ClientStream},
    until,
};

use crate::{
    pair,
    stage::{SOON, Shop, Stage},
};

const PORT: u16 = 9000;

/// The usual cast, and a workload that is its own proxy.
struct Setting<'a> {
    shop: Shop<'a>,
    bare: Pod,
    leaf: Leaf,
}

impl<'a> Setting<'a> {
    fn new(stage: &Stage<'a>) -> Result<Self> {
        let spec = PodSpec {
            sandbox: false,
            ..PodSpec::new(NodeName::A, MESH, "bare")
        };
        let bare = stage.world.pod(spec)?;
        let shop = stage.shop("STRICT")?;
        let leaf = Pki::of_mesh(&stage.world.ca)?.leaf(&Wanted::spiffe(&bare.identity()))?;
        Ok(Self { shop, bare, leaf })
    }

    /// From the bare workload to an application in `web`. `first` is said together with the handshake's end.
    fn call(&self, listener: &TcpListener, first: &[u8]) -> Result<Call> {
        let socket = self.bare.connect(self.shop.web_address(PORT))?;
        let raw = socket.try_clone()?;
        let client = tls::connect_saying(socket, Some(&self.leaf), &[tls::ISTIO], first)?;
        let (mut server, _) = pair::accept(listener)?;
        let mut got = vec![0; first.len()];
        server.read_exact(&mut got)?;
        ensure!(got == first, "got {got:?}");
        Ok(Call {
            client,
            raw,
            server,
        })
    }

    /// Whether connections to `web` can follow the peer to another key: in userspace always, in the kernel
    /// since 6.14.
    fn can_follow(&self) -> Result<bool> {
        let tls = self.shop.agents.b.status()?["kernel_tls"].clone();
        let suites = tls["ciphers"].as_array().map_or(0, Vec::len);
        Ok(suites == 0 || tls["rekey"] == true)
    }

    /// Waits until the agents have no connection any more: none is stuck.
    fn expect_nothing_left(&self) -> Result<()> {
        for node in NodeName::ALL {
            let agent = self.shop.agents.on(node);
            until("every connection to end", SOON, || {
                Ok(agent.connections()?.is_empty().then_some(()))
            })?;
        }
        Ok(())
    }
}

/// A connection from the bare workload, and its raw socket.
struct Call {
    client: ClientStream,
    raw: TcpStream,
    server: TcpStream,
}

impl Call {
    fn echo(&mut self, sent: &[u8]) -> Result<()> {
        self.client.write_all(sent)?;
        self.client.flush()?;
        let mut got = vec![0; sent.len()];
        self.server.read_exact(&mut got).context("at the server")?;
        ensure!(got == sent, "wrong bytes at the server");
        self.server.write_all(&got)?;
        self.client.read_exact(&mut got).context("at the client")?;
        ensure!(got == sent, "wrong bytes at the client");
        Ok(())
    }
}

/// Records of one byte, of the most bytes, and of lengths between.
pub fn sizes(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let listener = setting.shop.web.listen(PORT)?;
    let mut call = setting.call(&listener, b"hello")?;
    let mut sent = Vec::new();
    for number in 0..600_usize {
        let length = match number % 6 {
            0..4 => 1,
            4 => 16 * 1024,
            _ => fastrand::usize(1..9000),
        };
        let record: Vec<u8> = (0..length).map(|_| fastrand::u8(..)).collect();
        sent.push(record);
    }
    let mut server = call.server.try_clone()?;
    let expected = sent.concat();
    let reading = thread::spawn(move || -> Result<bool> {
        let mut got = vec![0; expected.len()];
        server.read_exact(&mut got)?;
        Ok(got == expected)
    });
    for record in &sent {
        call.client.write_all(record)?;
        call.client.flush()?;
    }
    let same = reading.join().map_err(|_| anyhow!("panicked"))??;
    ensure!(same, "wrong bytes");
    call.echo(&sent[4])
}

/// Data right behind the handshake: the client's in one segment with its last message, the server's with its
/// session tickets.
pub fn early_data(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let listener = setting.shop.web.listen(PORT)?;
    let early: Vec<u8> = (0..40_000).map(|_| fastrand::u8(..)).collect();
    setting.call(&listener, &early)?.echo(b"and more")?;

    let bare = setting.bare.listen(PORT)?;
    let address = setting.bare.address(setting.shop.family(), PORT);
    let mut client = setting.shop.customer.connect(address)?;
    let (socket, _) = pair::accept(&bare)?;
    let mut server = tls::accept(socket, &setting.leaf)?;
    server.write_all(&early)?;
    server.flush()?;
    let mut got = vec![0; early.len()];
    client.read_exact(&mut got)?;
    ensure!(got == early, "wrong bytes at the client");
    Ok(())
}

/// The end of TCP without close_notify, between records and inside one, is a reset for the application; with it,
/// the end of one direction.
pub fn truncation(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let listener = setting.shop.web.listen(PORT)?;
    for inside in [&b""[..], &[23, 3], &[23, 3, 3, 0, 100, 1, 2, 3]] {
        let mut call = setting.call(&listener, b"hello")?;
        call.raw.write_all(inside)?;
        pair::end(&call.raw)?;
        pair::expect_reset(&mut call.server)
            .with_context(|| format!("after {} bytes of a record", inside.len()))?;
    }
    let mut call = setting.call(&listener, b"hello")?;
    call.client.conn.send_close_notify();
    call.client.flush()?;
    ensure!(pair::read_to_end(&mut call.server)?.is_empty());
    let answer = vec![7; 300_000];
    call.server.write_all(&answer)?;
    drop(call.server);
    let mut got = Vec::new();
    call.client.read_to_end(&mut got).context("the answer")?;
    ensure!(got == answer, "{} of {} bytes", got.len(), answer.len());
    drop((call.client, call.raw));
    setting.expect_nothing_left()
}

/// A fatal alert ends the connection: the application sees a reset, after all that came before.
pub fn alert(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let listener = setting.shop.web.listen(PORT)?;
    let mut call = setting.call(&listener, b"hello")?;
    call.client.write_all(b"before")?;
    call.client.flush()?;
    // A changed record makes the client complain.
    call.server.write_all(b"data")?;
    let mut bytes = vec![0; 5 + 4 + 1 + 16];
    call.raw.read_exact(&mut bytes)?;
    bytes[8] ^= 1;
    call.client.conn.read_tls(&mut &bytes[..])?;
    ensure!(call.client.conn.process_new_packets().is_err());
    while call.client.conn.wants_write() {
        call.client.conn.write_tls(&mut call.raw)?;
    }
    let mut got = [0; 6];
    call.server.read_exact(&mut got)?;
    ensure!(&got == b"before", "got {got:?}");
    pair::expect_reset(&mut call.server)?;
    setting.expect_nothing_left()
}

/// What is no record of the connection's: the application sees a reset, the peer an alert or a reset, and nothing
/// is stuck.
pub fn garbage(stage: &Stage<'_>) -> Result<()> {
    let mut setting = Setting::new(stage)?;
    let listener = setting.shop.web.listen(PORT)?;
    let noise: Vec<u8> = (0..60).map(|_| fastrand::u8(..)).collect();
    let undecryptable = [&[23, 3, 3, 0, 60], noise.as_slice()].concat();
    let other_version = [&[23, 9, 9, 0, 60], noise.as_slice()].concat();
    let cases: [(&str, &[u8]); 7] = [
        ("a record that does not decrypt", &undecryptable),
        ("a record that is too long", &[23, 3, 3, 0xff, 0xff, 1]),
        (
            "a record that is too short",
            &[23, 3, 3, 0, 5, 1, 2, 3, 4, 5],
        ),
        ("an empty record", &[23, 3, 3, 0, 0]),
        ("an unknown version", &other_version),
        ("an alert in clear", &[21, 3, 3, 0, 2, 2, 40]),
        ("plaintext", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
    ];
    for (what, bytes) in cases {
        let mut call = setting.call(&listener, b"hello")?;
        call.raw.write_all(bytes)?;
        pair::expect_reset(&mut call.server).context(what)?;
        // An alert is an error of rustls', a reset one of the socket's.
        let told = call.client.read(&mut [0; 16]);
        ensure!(told.is_err(), "{what}: the peer was told {told:?}");
    }
    setting.shop.agents.b.still_runs()?;
    setting.expect_nothing_left()
}

/// KeyUpdate of a peer that the mesh knows. Where the kernel has the key and can't change it, everything before
/// arrives, however late it is read, and then the connection ends: with an alert for the peer and a reset for the
/// application, for neither of them had ended.
pub fn key_update(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let listener = setting.shop.web.listen(PORT)?;
    let mut call = setting.call(&listener, b"hello")?;
    if setting.can_follow()? {
        let sent: Vec<u8> = (0..50_000).map(|_| fastrand::u8(..)).collect();
        for _ in 0..4 {
            call.echo(&sent)?;
            call.client.conn.refresh_traffic_keys()?;
        }
        return Ok(());
    }
    let before: Vec<u8> = (0..2_000_000).map(|_| fastrand::u8(..)).collect();
    let (mut client, said) = (call.client, before.clone());
    let talking = thread::spawn(move || -> Result<_> {
        client.write_all(&said)?;
        client.conn.refresh_traffic_keys()?;
        // What comes behind is nobody's business any more.
        let _ = client.write_all(&[1; 50_000]).and_then(|()| client.flush());
        let told = client.read(&mut [0; 16]);
        Ok(told.err().map(|error| error.to_string()))
    });
    thread::sleep(pace::span(Duration::from_millis(300)));
    let mut got = vec![0; before.len()];
    call.server.read_exact(&mut got)?;
    ensure!(got == before, "wrong bytes before the update");
    pair::expect_reset(&mut call.server)?;
    let told = talking.join().map_err(|_| anyhow!("panicked"))??;
    let told = told.context("the peer was told of an end")?;
    ensure!(told.contains("InternalError"), "the peer was told {told:?}");
    drop(call.raw);
    setting.expect_nothing_left()
}

/// `openssl s_client` that changes its keys and asks for ours, and `openssl s_server` with its tickets.
pub fn openssl(stage: &Stage<'_>) -> Result<()> {
    let setting = Setting::new(stage)?;
    let directory = stage.world.scratch("openssl")?;
    let files = setting.leaf.write(&directory)?;
    let listener = setting.shop.web.listen(PORT)?;
    let mut command = setting.shop.stranger.command("openssl")?;
    command.args(["s_client", "-tls1_3", "-connect"]);
    command.arg(setting.shop.web_address(PORT).to_string());
    command.arg("-cert").arg(&files.certificate);
    command.arg("-key").arg(&files.key);
    let (mut input, stdin) = UnixStream::pair()?;
    command.stdin(Stdio::from(OwnedFd::from(stdin)));
    let client = setting.shop.stranger.spawn("s_client", command)?;
    wait_for(&client, "Verify return code")?;
    input.write_all(b"hello\n")?;
    let (mut server, _) = pair::accept(&listener)?;
    for (number, update) in ["", "k\n", "K\n", "k\n"].into_iter().enumerate() {
        if !update.is_empty() {
            // It reads a command only where a read begins.
            input.write_all(update.as_bytes())?;
            let seen = || Ok(client.stderr()?.matches("KEYUPDATE").count() >= number);
            sealane_harness::wait::until_true("the key update", SOON, seen)?;
            input.write_all(b"hello\n")?;
        }
        let mut got = [0; 6];
        server
            .read_exact(&mut got)
            .with_context(|| format!("after {update:?}"))?;
        ensure!(&got == b"hello\n", "got {got:?}");
        let answer = format!("answer {number}");
        server.write_all(answer.as_bytes())?;
        server.write_all(b"\n")?;
        wait_for(&client, &answer)?;
    }
    s_server(&setting, &files.certificate, &files.key)
}

fn wait_for(process: &Process, text: &str) -> Result<()> {
    until(&format!("{text:?} in the output"), SOON, || {
        Ok(process.stdout()?.contains(text).then_some(()))
    })
}

fn s_server(
    setting: &Setting<'_>,
    certificate: &std::path::Path,
    key: &std::path::Path,
) -> Result<()> {
    let mut command = setting.bare.command("openssl")?;
    // Its tickets don't fit into one record.
    command.args(["s_server", "-tls1_3", "-max_send_frag", "512", "-rev"]);
    command.args(["-Verify", "1", "-accept"]);
    command.arg(
        setting
            .bare
            .address(setting.shop.family(), PORT)
            .to_string(),
    );
    command.arg("-cert").arg(certificate).arg("-key").arg(key);
    command.stdin(Stdio::null());
    let server = setting.bare.spawn("s_server", command)?;
    wait_for(&server, "ACCEPT")?;
    let address = setting.bare.address(setting.shop.family(), PORT);
    let mut client = setting.shop.customer.connect(address)?;
    for _ in 0..3 {
        client.write_all(b"hello\n")?;
        let mut got = [0; 6];
        client.read_exact(&mut got)?;
        ensure!(&got == b"olleh\n", "got {got:?}");
    }
    Ok(())
}
