//! Whom the agent trusts besides its own CA.

use std::path::PathBuf;

use clap::Args;

/// Roots of other trust domains, and what was revoked.
#[derive(Debug, Default, Args)]
pub struct TrustArgs {
    /// Roots of another trust domain, whose workloads may connect where policy allows their principals: a file (PEM or
    /// SPIFFE bundle) or the address of a SPIFFE bundle endpoint (profile https_web). May be given several times
    #[arg(long = "trust-bundle", value_name = "DOMAIN=FILE|URL")]
    pub trust_bundles: Vec<String>,

    /// PEM file of the certificate authorities of bundle endpoints [default: those of the system]
    #[arg(long, value_name = "FILE")]
    pub bundle_endpoint_ca: Option<PathBuf>,

    /// Certificate revocation lists (PEM or DER), read again when the file changes: also established connections of
    /// revoked certificates are cut. May be given several times
    #[arg(long = "crl", value_name = "FILE")]
    pub revocation_lists: Vec<PathBuf>,
}
