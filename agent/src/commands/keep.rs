//! `sealane ca keep`: a CA whose directory is a pod's own, and gone with it, stays in a Secret; agents find its roots in a
//! ConfigMap.
//!
//! Whichever side has changed since both agreed is copied to the other; the Secret where both have, for it is what people
//! edit. What agreed last is remembered beside the directory, so that a restart in the middle of a rotation takes neither
//! side for the newer one. What is of no use in the Secret is told in an annotation of it, and stands aside, under names with
//! a prefix, when the directory has to be saved all the same. Signs nothing: `sealane ca serve` has the same directory open.

mod cluster;
mod files;

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};

use self::{
    cluster::{Cluster, Held},
    files::{Digest, Files},
};
use crate::{
    ca::{self, EmbeddedCa},
    config::KeepConfig,
    identity::TrustDomain,
};

/// How often both sides are looked at. A rotation's stages take minutes at least.
const PERIOD: Duration = Duration::from_secs(5);

/// Runs until SIGTERM or SIGINT, or with `--once` until both sides agree.
///
/// # Errors
/// When the API server can't be reached or, with `--once`, when the sides can't be made to agree.
pub async fn ca_keep(config: KeepConfig) -> anyhow::Result<()> {
    let cluster = Cluster::new(&config).await?;
    // Somebody may have died while trying something out.
    drop(Aside::of(&config.directory));
    let keeper = Keeper {
        memory: ca::kept_elsewhere(&config.directory),
        directory: config.directory,
        domain: config.domain,
        life: config.max_ttl,
        cluster,
    };
    if config.once {
        return keeper.turn().await;
    }
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT")?;
    loop {
        if let Err(error) = keeper.turn().await {
            tracing::error!(error = format!("{error:#}"), "CA and Secret");
        }
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            () = tokio::time::sleep(PERIOD) => {}
        }
    }
}

struct Keeper {
    directory: PathBuf,
    /// Where it is remembered what both sides had.
    memory: PathBuf,
    domain: TrustDomain,
    /// The service's: whoever opens the directory has it recorded, and rotations take as long as the longest.
    life: Duration,
    cluster: Cluster,
}

impl Keeper {
    async fn turn(&self) -> anyhow::Result<()> {
        let held = self.cluster.secret().await?;
        let agreed = Digest::read(&self.memory)?;
        let restored = self.restore(&held, agreed)?;
        // Makes a root where there is none, moves a rotation on, and finds out whether the files fit together.
        // Whoever empties the directory in this moment makes none.
        let ca = if held.files.is_empty() {
            EmbeddedCa::open(&self.directory, &self.domain, self.life)?
        } else {
            EmbeddedCa::open_existing(&self.directory, &self.domain, self.life)?
        };
        self.save(&held, agreed, &restored).await?;
        let bundle = ca.bundle();
        let roots = bundle.roots(&self.domain).iter().map(ca::pem);
        self.cluster.publish(&roots.collect::<String>()).await?;
        match restored {
            Restored::Refused(why) => Err(why),
            Restored::Nothing | Restored::All => Ok(()),
        }
    }

    /// What the Secret has is in the directory, where it counts.
    fn restore(&self, held: &Held, agreed: Option<Digest>) -> anyhow::Result<Restored> {
        let present = Files::read(&self.directory)?;
        if !restores(&present, &held.files, agreed) {
            return Ok(Restored::Nothing);
        }
        match try_out(&self.directory, &self.domain, &held.files) {
            Ok(()) => {
                held.files.write(&self.directory)?;
                tracing::info!("the directory is as the Secret says");
                Ok(Restored::All)
            }
            Err(why) if present.has_pair() => Ok(Restored::Refused(why)),
            Err(why) => Err(why),
        }
    }

    /// What the directory has is in the Secret. In place of something that is refused only if it would be lost otherwise.
    async fn save(
        &self,
        held: &Held,
        agreed: Option<Digest>,
        restored: &Restored,
    ) -> anyhow::Result<()> {
        let present = Files::read(&self.directory)?;
        let has_changed = agreed != Some(present.digest());
        let secret = match restored {
            Restored::Nothing => held.with(&present),
            Restored::All => held.settled().with(&present),
            Restored::Refused(why) => {
                held.refused(&format!("{why:#}"), has_changed.then_some(&present))
            }
        };
        if self.cluster.save(held, &secret).await? {
            tracing::info!("the Secret is as the directory says");
        }
        if has_changed || !matches!(restored, Restored::Refused(_)) {
            present.digest().write(&self.memory)?;
        }
        Ok(())
    }
}

/// What has become of the Secret's files.
enum Restored {
    /// They are those of the directory, or older.
    Nothing,
    All,
    /// Of no use: the directory's stay in force.
    Refused(anyhow::Error),
}

/// Beside the directory, so that what can't be used takes nothing away from what can.
fn try_out(directory: &Path, domain: &TrustDomain, held: &Files) -> anyhow::Result<()> {
    let aside = Aside::of(directory);
    held.write(&aside.0)?;
    let tried = ca::check_directory(&aside.0, domain, SystemTime::now());
    tried.context("the Secret's files are of no use, and the directory stays as it is")
}

/// Removed when it is dropped.
struct Aside(PathBuf);

impl Aside {
    fn of(directory: &Path) -> Self {
        Self(directory.with_extension("trial"))
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %self.0.display(), %error, "a copy of the Secret's files is left");
        }
    }
}

/// Whether the Secret's files are to replace those of the directory. One without a CA has not changed: it was lost.
fn restores(present: &Files, held: &Files, agreed: Option<Digest>) -> bool {
    let changed = agreed != Some(held.digest()) || !present.has_pair();
    held.has_pair() && held != present && changed
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(key: &str) -> Files {
        let pair = ["ca.key", "ca.crt"].map(|name| (name.to_owned(), key.as_bytes().to_vec()));
        Files::from_iter(pair)
    }

    #[test]
    fn the_side_that_has_changed_wins() {
        let (old, new) = (files("old"), files("new"));
        let agreed = || Some(old.digest());
        assert!(!restores(&old, &old, agreed()), "both are as they were");
        assert!(
            !restores(&new, &old, agreed()),
            "the directory has moved on"
        );
        assert!(
            restores(&old, &new, agreed()),
            "somebody has edited the Secret"
        );
        assert!(
            restores(&files("newer"), &new, agreed()),
            "both have changed"
        );
    }

    #[test]
    fn a_fresh_directory_takes_what_the_secret_has() {
        let (nothing, some) = (Files::default(), files("a"));
        assert!(restores(&nothing, &some, None));
        assert!(!restores(&nothing, &nothing, None), "a root is made");
    }

    #[test]
    fn an_emptied_secret_takes_nothing_away() {
        let some = files("a");
        assert!(!restores(&some, &Files::default(), Some(some.digest())));
    }

    #[test]
    fn a_restart_in_a_rotation_keeps_the_next_key() {
        let before = files("a");
        let during = ["ca.key", "ca.crt", "next.key", "next.crt"];
        let during = Files::from_iter(during.map(|name| (name.to_owned(), b"a".to_vec())));
        assert!(!restores(&during, &before, Some(before.digest())));
        // Halfway from one pair to the other, which whoever opens it brings to an end.
        let between = ["ca.key", "old.crt", "next.crt", "rotation.json"];
        let between = Files::from_iter(between.map(|name| (name.to_owned(), b"a".to_vec())));
        assert!(!restores(&between, &before, Some(before.digest())));
    }

    #[test]
    fn a_directory_without_a_ca_never_wins() {
        let held = files("a");
        let agreed = || Some(held.digest());
        for left in [&[][..], &["rotation.json"], &["ca.crt"], &["ca.key"]] {
            let left = left.iter().map(|name| ((*name).to_owned(), b"a".to_vec()));
            assert!(restores(&left.collect(), &held, agreed()));
        }
    }

    #[test]
    fn what_is_of_no_use_is_tried_out_beside_the_directory() {
        let temporary = tempfile::tempdir().unwrap();
        let (directory, domain) = (
            temporary.path().join("ca"),
            "cluster.local".parse().unwrap(),
        );
        let other = temporary.path().join("other");
        for path in [&directory, &other] {
            EmbeddedCa::open(path, &domain, PERIOD).unwrap();
        }
        let held = Files::read(&directory).unwrap();
        try_out(&directory, &domain, &held).unwrap();
        let foreign = Files::read(&other).unwrap();
        let mixed = held
            .iter()
            .chain(foreign.iter().filter(|(name, _)| *name == "ca.key"));
        let mixed: Files = mixed
            .map(|(name, text)| (name.clone(), text.to_vec()))
            .collect();
        let refused = try_out(&directory, &domain, &mixed).unwrap_err();
        assert!(
            format!("{refused:#}").contains("does not hold the key"),
            "{refused:#}"
        );
        assert!(Files::read(&directory).unwrap() == held);
        assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 2);
    }
}
