//! Faults in a running agent, from outside: a system call with which it prepares or hands over keys fails, or
//! the agent is killed at that very call. The agent under test is the one that users run.
//!
//! A thread of its own traces all threads of the agent (ptrace(2)). x86-64 only.

use std::{
    collections::HashMap,
    fs,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
        mpsc,
    },
    thread::{self, JoinHandle},
};

use anyhow::{Context, Result, anyhow};
use nix::{
    errno::Errno,
    sys::{
        ptrace::{self, Options},
        signal::{Signal, kill},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::Pid,
};

/// A call of setsockopt(2), by what it is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// `TCP_ULP`, before the handshake.
    EnableTls,
    /// `TLS_TX`.
    TransmitKey,
    /// `TLS_RX`.
    ReceiveKey,
}

impl Call {
    pub const ALL: [Self; 3] = [Self::EnableTls, Self::TransmitKey, Self::ReceiveKey];

    /// `(level, optname)`: include/uapi/linux/tcp.h, include/uapi/linux/tls.h.
    fn option(self) -> (u64, u64) {
        match self {
            Self::EnableTls => (6, 31),
            Self::TransmitKey => (282, 1),
            Self::ReceiveKey => (282, 2),
        }
    }
}

/// What happens at the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It returns `ENOMEM` and does nothing.
    Fail,
    /// The agent is killed before it.
    Kill,
}

/// A fault in force; it ends when this is dropped.
#[derive(Debug)]
pub struct Fault {
    pid: Pid,
    hits: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tracer: Option<JoinHandle<Result<()>>>,
}

impl Fault {
    /// Every such call of the process has the effect from now on.
    ///
    /// # Errors
    /// When the process can't be traced.
    pub fn inject(pid: u32, call: Call, effect: Effect) -> Result<Self> {
        let pid = Pid::from_raw(i32::try_from(pid)?);
        let (hits, stop) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let (ready, wait) = mpsc::channel();
        let mut tracer = Tracer {
            pid,
            call,
            effect,
            hits: Arc::clone(&hits),
            stop: Arc::clone(&stop),
            threads: HashMap::new(),
        };
        let tracer = thread::spawn(move || {
            tracer.attach()?;
            let _ = ready.send(());
            tracer.run()
        });
        let fault = Self {
            pid,
            hits,
            stop,
            tracer: Some(tracer),
        };
        match wait.recv() {
            Ok(()) => Ok(fault),
            Err(_) => Err(fault.end().err().unwrap_or_else(|| anyhow!("not traced"))),
        }
    }

    /// How often it has happened.
    #[must_use]
    pub fn hits(&self) -> usize {
        self.hits.load(Ordering::SeqCst)
    }

    /// Lets the process go on undisturbed.
    ///
    /// # Errors
    /// What the tracer died of.
    pub fn end(mut self) -> Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> Result<()> {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the tracer; the signal's default is to be ignored. The process may be gone.
        let _ = kill(self.pid, Signal::SIGWINCH);
        match self.tracer.take().map(JoinHandle::join) {
            Some(Ok(result)) => result,
            Some(Err(_)) => Err(anyhow!("the tracer panicked")),
            None => Ok(()),
        }
    }
}

impl Drop for Fault {
    fn drop(&mut self) {
        let _ = self.finish();
    }
}

/// Runs in one thread: ptrace knows tracers by thread. When that ends, the kernel lets all tracees go.
struct Tracer {
    pid: Pid,
    call: Call,
    effect: Effect,
    hits: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    /// Threads whose present call is to fail.
    threads: HashMap<Pid, bool>,
}

/// `__NR_setsockopt` of x86-64.
const SETSOCKOPT: u64 = 54;
/// No system call: the kernel skips it.
const NONE: u64 = u64::MAX;

impl Tracer {
    fn attach(&mut self) -> Result<()> {
        let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_TRACECLONE;
        for entry in fs::read_dir(format!("/proc/{}/task", self.pid))? {
            let name = entry?.file_name();
            let thread = Pid::from_raw(name.to_string_lossy().parse().context("a thread's id")?);
            ptrace::seize(thread, options).context("tracing the agent")?;
            ptrace::interrupt(thread)?;
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            let status = match waitpid(None, Some(flags)) {
                Ok(status) => status,
                // All have ended.
                Err(Errno::ECHILD) => return Ok(()),
                Err(Errno::EINTR) => continue,
                Err(error) => return Err(error.into()),
            };
            if self.stop.load(Ordering::SeqCst) {
                return Ok(());
            }
            match self.handle(status) {
                // A thread that was killed meanwhile.
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn handle(&mut self, status: WaitStatus) -> nix::Result<()> {
        match status {
            WaitStatus::PtraceSyscall(thread) => {
                self.syscall(thread)?;
                ptrace::syscall(thread, None)
            }
            // Group stops of seized threads are events; what else stops a thread is a signal for it.
            WaitStatus::Stopped(thread, signal) => ptrace::syscall(thread, signal),
            WaitStatus::PtraceEvent(thread, ..) => ptrace::syscall(thread, None),
            WaitStatus::Exited(thread, _) | WaitStatus::Signaled(thread, ..) => {
                self.threads.remove(&thread);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// At the entry and at the exit of a call.
    fn syscall(&mut self, thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        if self.threads.remove(&thread).is_some() {
            registers.rax = i64::from(-(Errno::ENOMEM as i32)).cast_unsigned();
            return ptrace::setregs(thread, registers);
        }
        let entering = registers.rax == i64::from(-(Errno::ENOSYS as i32)).cast_unsigned();
        let wanted = registers.orig_rax == SETSOCKOPT
            && (registers.rsi, registers.rdx) == self.call.option();
        if !entering || !wanted {
            return Ok(());
        }
        self.hits.fetch_add(1, Ordering::SeqCst);
        match self.effect {
            Effect::Kill => kill(self.pid, Signal::SIGKILL),
            Effect::Fail => {
                self.threads.insert(thread, true);
                registers.orig_rax = NONE;
                ptrace::setregs(thread, registers)
            }
        }
    }
}
