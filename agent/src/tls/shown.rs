//! What a client from outside of the mesh has shown to get in, for the day on which others are trusted.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use rustls_pki_types::{CertificateDer, UnixTime};

use super::{TrustAnchors, named::Named, verifier::Check as _};

/// Bytes of certificates that are kept for one connection, at most: without the others a change of authorities may end
/// it.
const KEPT: usize = 16 * 1024;

/// A chain that was good once.
pub struct ClientChain {
    certificates: Vec<CertificateDer<'static>>,
    /// That it has expired since ends nothing.
    at: UnixTime,
    checked: Mutex<Checked>,
}

/// By what it was found to be good last.
#[derive(Default)]
struct Checked {
    by: Weak<Named>,
    revoked: Weak<TrustAnchors>,
}

impl ClientChain {
    /// `None`: nothing was shown.
    pub(super) fn shown(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let mut left = KEPT;
        let fitting = chain.iter().take_while(|certificate| {
            let fits = certificate.len() <= left;
            left = left.saturating_sub(certificate.len());
            fits
        });
        let certificates = fitting.map(|c| c.clone().into_owned()).collect();
        let shown = Self {
            certificates,
            at: UnixTime::now(),
            checked: Mutex::default(),
        };
        (!chain.is_empty()).then_some(shown)
    }

    /// Whether it would be good now.
    pub(super) fn is_good(&self, named: &Arc<Named>) -> bool {
        let revoked = named.revoked();
        let mut checked = self.checked.lock().unwrap_or_else(PoisonError::into_inner);
        let same = checked.by.as_ptr() == Arc::as_ptr(named);
        if same && checked.revoked.as_ptr() == Arc::as_ptr(&revoked) {
            return true;
        }
        let Some((leaf, intermediates)) = self.certificates.split_first() else {
            return false;
        };
        let good = named.check(leaf, intermediates, None, self.at).is_ok();
        if good {
            *checked = Checked {
                by: Arc::downgrade(named),
                revoked: Arc::downgrade(&revoked),
            };
        }
        good
    }
}

impl fmt::Debug for ClientChain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientChain({})", self.certificates.len())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::RwLock;

    use rcgen::{CertificateParams, CertifiedIssuer, KeyPair};
    use rustls::crypto::aws_lc_rs;

    use super::*;
    use crate::tls::{RevocationList, Revocations, roots::Roots, testing::revocation_list};

    #[derive(Debug, Default)]
    struct Lists(RwLock<Arc<TrustAnchors>>);

    impl Revocations for Lists {
        fn anchors(&self) -> Arc<TrustAnchors> {
            Arc::clone(&self.0.read().unwrap())
        }
    }

    type Issuer = CertifiedIssuer<'static, KeyPair>;

    fn issuer() -> Issuer {
        let mut params = CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn named(issuer: &Issuer, lists: &Arc<Lists>) -> Arc<Named> {
        let roots = Roots::parsable([issuer.der().clone()]);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let named = Named::new(roots, Vec::new(), true, provider);
        Arc::new(named.heeding(Arc::clone(lists) as Arc<dyn Revocations>))
    }

    #[test]
    fn other_authorities_and_revocations() {
        let (issuer, lists) = (issuer(), Arc::new(Lists::default()));
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        params.serial_number = Some(7.into());
        let leaf = params.signed_by(&KeyPair::generate().unwrap(), &issuer);
        let leaf = leaf.unwrap();
        assert!(ClientChain::shown(&[]).is_none());
        let chain = ClientChain::shown(&[leaf.der().clone()]).unwrap();
        let good = named(&issuer, &lists);
        assert!(chain.is_good(&good) && chain.is_good(&good));
        assert!(
            chain.is_good(&named(&issuer, &lists)),
            "the same root again"
        );
        assert!(!chain.is_good(&named(&self::issuer(), &lists)));

        let list = |serials| revocation_list(&issuer, serials);
        let revoke = |text: String| {
            let list = RevocationList::parse(text.as_bytes()).unwrap();
            let revoking = TrustAnchors::default().revoking(vec![Arc::new(list)]);
            *lists.0.write().unwrap() = Arc::new(revoking);
        };
        for both in [list(&[8]) + &list(&[7]), list(&[7]) + &list(&[8])] {
            revoke(list(&[8]));
            assert!(chain.is_good(&good));
            revoke(both);
            assert!(!chain.is_good(&good), "it was good before");
        }
    }

    #[test]
    fn chains_are_kept_up_to_a_limit() {
        let short = CertificateDer::from(vec![0; KEPT / 2]);
        let chain = ClientChain::shown(&[short.clone(), short.clone(), short]).unwrap();
        assert_eq!(chain.certificates.len(), 2);
        let long = CertificateDer::from(vec![0; KEPT + 1]);
        let chain = ClientChain::shown(&[long]).unwrap();
        let lists = Arc::new(Lists::default());
        assert!(!chain.is_good(&named(&issuer(), &lists)));
    }
}
