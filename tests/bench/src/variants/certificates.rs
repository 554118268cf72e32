//! Certificates for proxies: the kind that the agents have, in files.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::Result;
use sealane_harness::{
    Pod,
    pki::{Pki, Validity, Wanted},
};

use super::Site;

/// A directory with `root.crt` and `{client,server}.{crt,key,pem}`.
#[derive(Debug)]
pub(super) struct Certificates(PathBuf);

impl Certificates {
    /// ECDSA P-256, as the agents' are.
    pub(super) fn issue(site: &Site) -> Result<Self> {
        let directory = site.world.scratch("certificates")?;
        let authority = Pki::foreign()?;
        fs::write(directory.join("root.crt"), authority.root_pem())?;
        for (name, pod) in [("client", &site.client), ("server", &site.server)] {
            let leaf = authority.leaf(&wanted(name, pod))?;
            let both = format!("{}{}", leaf.certificate_pem, leaf.key_pem);
            fs::write(directory.join(format!("{name}.crt")), &leaf.certificate_pem)?;
            fs::write(directory.join(format!("{name}.key")), &leaf.key_pem)?;
            fs::write(directory.join(format!("{name}.pem")), both)?;
        }
        Ok(Self(directory))
    }

    pub(super) fn directory(&self) -> &Path {
        &self.0
    }
}

fn wanted(name: &str, pod: &Pod) -> Wanted {
    Wanted {
        uris: vec![pod.identity()],
        names: vec![format!("{name}.test")],
        validity: Validity::Now,
    }
}
