//! A virtual machine: QEMU with its shares, from power-on to the verdict. Emulated, as stock kernels then start on
//! any host, in a container or another virtual machine too.

use std::{
    env, fs,
    io::{self, BufRead, BufReader},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc::{self, RecvTimeoutError, Sender},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, bail};

use super::{
    console::Console,
    initramfs::{self, Job},
    kernels::Kernel,
    share::Share,
};
use crate::{process, progress::note};

/// How the machine is made.
#[derive(Clone, Debug)]
pub struct Machine {
    pub clock: Clock,
    /// From power-on to the verdict.
    pub timeout: Duration,
}

/// What time is in the machine.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// The host's.
    Host { processors: u32 },
    /// That of one processor of a constant speed, whatever else the host does: a busy host is not a slow machine.
    /// When the machine is idle, time goes on as on the host, or jumps to when there is something to do: also while the
    /// host reads a file.
    Instructions { is_idle_free: bool },
}

/// Emulation is slow at what these do: page tables per mode, checks around every indirect jump.
/// The rest makes what goes wrong visible, and ends the machine when the kernel can't go on.
const KERNEL_COMMAND_LINE: &str = "console=ttyS0 loglevel=5 printk.devkmsg=on panic=-1 oops=panic \
    mitigations=off transparent_hugepage=never norandmaps tsc=reliable audit=0 \
    nowatchdog";
/// Taken from the host as it is used, not before.
const MEMORY: &str = "4G";
/// After the first sign of trouble the kernel may go on telling for this long.
const LAST_WORDS: Duration = Duration::from_secs(3);

enum Event {
    Console(String),
    Output(String),
    End,
}

impl Machine {
    /// Boots `kernel`, does `job`, shows each line of its output to `look`, and returns its exit code.
    ///
    /// # Errors
    /// Everything but an orderly end: a kernel in trouble, no verdict, the time-out.
    pub fn run(&self, kernel: &Kernel, job: &Job, mut look: impl FnMut(&str)) -> Result<u8> {
        let name = &kernel.name;
        let scratch = Scratch::new()?;
        let unpacked = kernel.unpacked()?;
        let initramfs = scratch.path.join("initramfs");
        initramfs::write(&unpacked, job, &initramfs)?;
        let host = Share::host(&scratch.path, &[&job.directory])?;
        let output = job.output.as_deref();
        let output = output.map(|directory| Share::output(&scratch.path, directory));
        let output = output.transpose()?;

        let mut qemu = self.command(kernel)?;
        qemu.arg("-kernel").arg(&unpacked.image);
        qemu.arg("-initrd").arg(&initramfs);
        add_share(&mut qemu, "host", &host);
        if let Some(share) = &output {
            add_share(&mut qemu, "output", share);
        }
        note(
            "vm",
            format_args!("{name}: start Linux {}", unpacked.release),
        );
        let mut running = Running::start(qemu, &scratch.path)?;
        let end = running.watch(name, self.timeout, &mut look);
        drop(running);
        end.map_err(|error| anyhow!("{name}: {error:#}"))
    }

    fn command(&self, kernel: &Kernel) -> Result<Command> {
        let program = process::find("qemu-system-x86_64")
            .context("qemu-system-x86_64 is missing: `cargo xtask setup`")?;
        let mut qemu = Command::new("setpriv");
        qemu.args(["--pdeathsig", "KILL"]).arg(program);
        match self.clock {
            Clock::Host { processors } => {
                qemu.args(["-accel", "tcg,thread=multi"]);
                qemu.args(["-smp", &processors.to_string()]);
            }
            Clock::Instructions { is_idle_free } => {
                qemu.args(["-accel", "tcg,thread=single", "-smp", "1"]);
                let icount = match is_idle_free {
                    true => "shift=1,sleep=off",
                    false => "shift=0,sleep=on",
                };
                qemu.args(["-icount", icount]);
            }
        }
        // Emulation copies byte by byte where a processor with these two is said to be fast; and one such
        // instruction counts as one, however long it takes.
        qemu.args(["-cpu", &format!("{},-erms,-fsrm,-smap,-smep", kernel.cpu)]);
        qemu.args(["-m", MEMORY]);
        // virtiofsd writes into the machine's memory.
        qemu.arg("-object");
        qemu.arg(format!(
            "memory-backend-memfd,id=memory,size={MEMORY},share=on"
        ));
        qemu.args(["-numa", "node,memdev=memory"]);
        qemu.args(["-nodefaults", "-display", "none", "-no-reboot"]);
        qemu.args(["-append", KERNEL_COMMAND_LINE]);
        Ok(qemu)
    }
}

fn add_share(qemu: &mut Command, tag: &str, share: &Share) {
    let socket = share.socket.display();
    qemu.arg("-chardev");
    qemu.arg(format!("socket,id={tag},path={socket}"));
    qemu.arg("-device");
    qemu.arg(format!("vhost-user-fs-pci,chardev={tag},tag={tag}"));
}

/// QEMU, and what comes out of the machine's two serial ports. Dropping it ends it.
struct Running {
    child: Child,
    events: mpsc::Receiver<Event>,
    log: PathBuf,
}

impl Running {
    fn start(mut qemu: Command, scratch: &Path) -> Result<Self> {
        let log = scratch.join("qemu.log");
        let file = fs::File::create(&log).with_context(|| log.display().to_string())?;
        let mut listeners = Vec::new();
        for port in ["console", "command"] {
            let socket = scratch.join(format!("{port}.sock"));
            listeners.push(UnixListener::bind(&socket).context("a serial port")?);
            qemu.arg("-chardev");
            qemu.arg(format!("socket,id={port},path={}", socket.display()));
            qemu.arg("-serial").arg(format!("chardev:{port}"));
        }
        qemu.stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file);
        let child = qemu.spawn().with_context(|| process::shown(&qemu))?;
        let (sender, events) = mpsc::channel();
        let mut running = Self { child, events, log };
        let kinds: [fn(String) -> Event; 2] = [Event::Console, Event::Output];
        for (listener, kind) in listeners.iter().zip(kinds) {
            let port = running.accept(listener)?;
            forward(port, sender.clone(), kind);
        }
        Ok(running)
    }

    /// QEMU's connection, unless it ends before it makes one.
    fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        const LATEST: Duration = Duration::from_secs(60);
        let begun = Instant::now();
        listener.set_nonblocking(true)?;
        while begun.elapsed() < LATEST {
            if let Ok((port, _)) = listener.accept() {
                port.set_nonblocking(false)?;
                return Ok(port);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("QEMU: {status}: {}", self.said());
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!(
            "QEMU has not opened its serial ports within {LATEST:?}: {}",
            self.said()
        );
    }

    fn watch(&mut self, name: &str, timeout: Duration, look: &mut impl FnMut(&str)) -> Result<u8> {
        let mut deadline = Instant::now() + timeout;
        let mut console = Console::new(name);
        let mut open = 2;
        while open > 0 {
            let rest = deadline.saturating_duration_since(Instant::now());
            match self.events.recv_timeout(rest) {
                Ok(Event::Output(line)) => look(&line),
                Ok(Event::Console(line)) => {
                    if console.take(line) {
                        deadline = deadline.min(Instant::now() + LAST_WORDS);
                    }
                }
                Ok(Event::End) => open -= 1,
                Err(RecvTimeoutError::Disconnected) => break,
                Err(RecvTimeoutError::Timeout) => {
                    console.fail(format!("time-out: no end within {timeout:?}"));
                    break;
                }
            }
        }
        let verdict = console.verdict();
        match self.said() {
            said if said.is_empty() => verdict,
            said => verdict.with_context(|| format!("QEMU says: {said}")),
        }
    }

    /// What QEMU itself had to say.
    fn said(&self) -> String {
        fs::read_to_string(&self.log)
            .unwrap_or_default()
            .trim()
            .to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends the lines that come from a serial port, then the end.
fn forward(port: UnixStream, to: Sender<Event>, kind: fn(String) -> Event) {
    thread::spawn(move || {
        for line in BufReader::new(port).split(b'\n') {
            let Ok(line) = line else { break };
            let line = String::from_utf8_lossy(&line);
            if to
                .send(kind(line.trim_end_matches('\r').to_owned()))
                .is_err()
            {
                return;
            }
        }
        // Nobody listens any more when this fails.
        let _ = to.send(Event::End);
    });
}

/// A directory for sockets, whose paths must be short, and what else goes with the machine.
struct Scratch {
    path: PathBuf,
}

impl Scratch {
    const PREFIX: &str = "sealane-vm-";

    fn new() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        Self::remove_abandoned();
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("{}{}-{number}", Self::PREFIX, std::process::id());
        let path = env::temp_dir().join(name);
        fs::create_dir(&path).with_context(|| path.display().to_string())?;
        Ok(Self { path })
    }

    /// Those of processes that were killed.
    fn remove_abandoned() {
        for entry in fs::read_dir(env::temp_dir())
            .into_iter()
            .flatten()
            .flatten()
        {
            let name = entry.file_name();
            let owner = name
                .to_str()
                .and_then(|name| name.strip_prefix(Self::PREFIX)?.split('-').next());
            if owner.is_some_and(|owner| !Path::new("/proc").join(owner).exists()) {
                // Perhaps somebody else's.
                let _ = remove(&entry.path());
            }
        }
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = remove(&self.path) {
            note("vm", format_args!("{} stays: {error}", self.path.display()));
        }
    }
}

/// Removes a directory with the files and empty directories in it. Never what is in those: one is where the host's
/// files were shown.
fn remove(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    fs::remove_dir(directory)
}
