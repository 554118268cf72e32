//! Load, attach and pin; take over from an earlier agent without a gap.
//!
//! Pins lie in `BPFFS/vN` (N: layout version): maps by name, links in `links/`. A restart attaches its own
//! programs beside those of its predecessor and only then lets the old links go: redirecting twice is
//! harmless (the second program sees a loopback destination), a gap would not be.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use aya::{
    Ebpf,
    programs::{
        CgroupAttachMode, CgroupSock, CgroupSockAddr, Program, ProgramError, SkLookup, SockOps,
        links::{FdLink, LinkError},
    },
};
use sealane_common::LAYOUT_VERSION;

use super::{
    bpffs::Ground,
    error::CaptureError,
    maps,
    netns::{Netns, NetnsCookie},
    object::Loader,
};

/// Programs that are attached once, at the pods' cgroup root.
pub const PROGRAMS: [&str; 8] = [
    "connect4",
    "connect6",
    "getpeername4",
    "getpeername6",
    "getsockname4",
    "getsockname6",
    "sock_release",
    "tcp_states",
];
/// The program of which every pod has an instance.
pub(super) const INBOUND: &str = "inbound";
/// Begins the name of a link that is about to take another one's place.
const FRESH: &str = "fresh-";

/// Where capture attaches and pins.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// Directory of the pods' cgroup v2 hierarchy.
    pub cgroup_root: PathBuf,
    /// Directory on a bpf file system that is ours.
    pub bpffs: PathBuf,
    /// Whether the programs trace what they do (log level debug).
    pub trace: bool,
    /// Whether pods that nobody has spoken of yet are kept from the mesh until somebody has.
    pub hold_back: bool,
    /// Whether the wire of pods is watched.
    pub attests: bool,
}

/// The place of this layout's pins.
#[derive(Clone, Debug)]
pub(super) struct Pins {
    links: PathBuf,
    loader: Loader,
}

impl Pins {
    fn create(config: &CaptureConfig) -> Result<Self, CaptureError> {
        let failed = |path: &Path, source| CaptureError::Directory {
            path: path.to_owned(),
            source,
        };
        let ground = Ground::of(&config.bpffs).map_err(|error| failed(&config.bpffs, error))?;
        if !ground.is_bpffs {
            return Err(CaptureError::NotBpffs {
                path: config.bpffs.clone(),
            });
        }
        let maps = config.bpffs.join(format!("v{LAYOUT_VERSION}"));
        let links = maps.join("links");
        fs::create_dir_all(&links).map_err(|error| failed(&links, error))?;
        Ok(Self {
            loader: Loader::new(&maps, config.trace),
            links,
        })
    }

    /// Pins a fresh link in the place of the one that is there, in one step: at no moment is there none. (No
    /// dots: bpffs reserves names with them, kernel/bpf/inode.c.)
    pub(super) fn replace_link(&self, name: &str, link: FdLink) -> Result<(), CaptureError> {
        let path = self.links.join(name);
        let fresh = self.links.join(format!("{FRESH}{name}"));
        let _ = fs::remove_file(&fresh);
        let _pinned = link.pin(&fresh).map_err(|source| CaptureError::Pin {
            path: fresh.clone(),
            source: Box::new(source),
        })?;
        fs::rename(&fresh, &path).map_err(|source| CaptureError::Directory { path, source })
    }

    /// Attaches an inbound instance to a pod's network namespace.
    pub(super) fn attach_inbound(&self, netns: &Netns) -> Result<(), CaptureError> {
        let mut ebpf = self.loader.load(netns.cookie())?;
        let link = attach::<SkLookup, _>(&mut ebpf, INBOUND, |program| {
            program.load()?;
            let id = program.attach(netns)?;
            program.take_link(id)
        })?;
        self.replace_link(&inbound_link(netns.cookie()), link.into())
    }

    /// An instance of all programs, with a pod's cookie.
    pub(super) fn load(&self, cookie: NetnsCookie) -> Result<Ebpf, CaptureError> {
        self.loader.load(cookie)
    }

    /// Removes the links whose names begin so.
    pub(super) fn remove_links(&self, prefix: &str, kept: &BTreeSet<String>) {
        for entry in fs::read_dir(&self.links).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let begins = |name: &str| name.starts_with(prefix) && !kept.contains(name);
            if name.to_str().is_some_and(begins) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    pub(super) fn detach_inbound(&self, cookie: NetnsCookie) {
        let _ = fs::remove_file(self.links.join(inbound_link(cookie)));
    }

    /// Network namespaces that an earlier agent left an inbound instance in.
    pub(super) fn inbound_cookies(&self) -> Vec<NetnsCookie> {
        let entries = fs::read_dir(&self.links).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let hex = name.to_str()?.strip_prefix("inbound-")?;
                u64::from_str_radix(hex, 16).ok().map(NetnsCookie)
            })
            .collect()
    }
}

fn inbound_link(cookie: NetnsCookie) -> String {
    format!("inbound-{:x}", cookie.0)
}

/// Loads the object, adopting pinned maps, and attaches the cgroup programs.
pub(super) fn attach_all(
    config: &CaptureConfig,
) -> Result<(Pins, maps::Taken, Ebpf), CaptureError> {
    let root = fs::File::open(&config.cgroup_root).map_err(|source| CaptureError::CgroupRoot {
        path: config.cgroup_root.clone(),
        source,
    })?;
    let pins = Pins::create(config)?;
    let mut ebpf = pins.loader.load(NetnsCookie(0))?;
    for name in PROGRAMS {
        let link = attach_cgroup(&mut ebpf, name, &root)?;
        pins.replace_link(name, link)?;
    }
    let taken = maps::take(&mut ebpf)?;
    taken.flows.clear_clients();
    Ok((pins, taken, ebpf))
}

pub(super) fn attach_cgroup(
    ebpf: &mut Ebpf,
    name: &'static str,
    root: &fs::File,
) -> Result<FdLink, CaptureError> {
    // A link always stands beside others; the kernel refuses the flag that says so (cgroup_bpf_link_attach).
    let mode = CgroupAttachMode::Single;
    let link: Result<FdLink, LinkError> = match name {
        "tcp_states" => attach::<SockOps, _>(ebpf, name, |program| {
            program.load()?;
            let id = program.attach(root, mode)?;
            program.take_link(id)
        })?
        .try_into(),
        "sock_release" => attach::<CgroupSock, _>(ebpf, name, |program| {
            program.load()?;
            let id = program.attach(root, mode)?;
            program.take_link(id)
        })?
        .try_into(),
        _ => attach::<CgroupSockAddr, _>(ebpf, name, |program| {
            program.load()?;
            let id = program.attach(root, mode)?;
            program.take_link(id)
        })?
        .try_into(),
    };
    link.map_err(|source| CaptureError::Link {
        path: name.into(),
        source: Box::new(source),
    })
}

pub(super) fn attach<'e, P, L>(
    ebpf: &'e mut Ebpf,
    name: &'static str,
    attach: impl FnOnce(&'e mut P) -> Result<L, ProgramError>,
) -> Result<L, CaptureError>
where
    P: 'e,
    &'e mut P: TryFrom<&'e mut Program, Error = ProgramError>,
{
    let program_error = |source| CaptureError::Program {
        name,
        source: Box::new(source),
    };
    let program = ebpf
        .program_mut(name)
        .ok_or(CaptureError::MissingProgram(name))?;
    let program: &mut P = program.try_into().map_err(program_error)?;
    attach(program).map_err(program_error)
}

/// Pins of other layouts belong to agents that this one replaces: to be removed once it has taken over.
pub(super) fn remove_other_layouts(bpffs: &Path) {
    let own = format!("v{LAYOUT_VERSION}");
    for entry in fs::read_dir(bpffs).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let is_layout = name.to_str().is_some_and(|n| {
            n != own
                && n.strip_prefix('v')
                    .is_some_and(|v| v.parse::<u32>().is_ok())
        });
        if is_layout {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

/// Removes every pin below `bpffs`: programs are detached, maps freed. Returns whether there were any.
///
/// # Errors
/// When the directory can't be removed.
pub fn cleanup(bpffs: &Path) -> io::Result<bool> {
    // Links first: programs must not run on maps that are half gone.
    for entry in fs::read_dir(bpffs).into_iter().flatten().flatten() {
        let _ = fs::remove_dir_all(entry.path().join("links"));
    }
    match fs::remove_dir_all(bpffs) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sysfs_is_named_with_the_remedy_before_anything_is_made_in_it() {
        let config = CaptureConfig {
            cgroup_root: PathBuf::new(),
            bpffs: PathBuf::from("/sys/kernel/sealane"),
            trace: false,
            hold_back: false,
            attests: false,
        };
        let error = Pins::create(&config).unwrap_err();
        assert!(matches!(error, CaptureError::NotBpffs { .. }), "{error}");
        assert!(error.to_string().contains("mount -t bpf"), "{error}");
    }
}
