//! `spire.api.agent.delegatedidentity.v1.DelegatedIdentity` on the wire, as spire-api-sdk's `delegatedidentity.proto` has
//! it: the two methods and the fields that are needed. Written by hand: no build needs protoc, all SVIDs of an answer
//! are seen, and keys are where they can be wiped.

use std::collections::BTreeMap;

use zeroize::Zeroize as _;

pub(super) const SVIDS: &str =
    "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509SVIDs";
pub(super) const BUNDLES: &str =
    "/spire.api.agent.delegatedidentity.v1.DelegatedIdentity/SubscribeToX509Bundles";

/// What a workload attestor would say of a workload.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, prost::Message)]
pub(super) struct Selector {
    /// Such as `k8s`.
    #[prost(string, tag = "1")]
    pub(super) kind: String,
    #[prost(string, tag = "2")]
    pub(super) value: String,
}

/// `SubscribeToX509SVIDsRequest`, without the process id.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct SvidsRequest {
    #[prost(message, repeated, tag = "1")]
    pub(super) selectors: Vec<Selector>,
}

/// `SubscribeToX509SVIDsResponse`: all that the workload may have at this time.
#[derive(PartialEq, prost::Message)]
pub(super) struct SvidsResponse {
    #[prost(message, repeated, tag = "1")]
    pub(super) svids: Vec<SvidWithKey>,
}

/// `X509SVIDWithKey`. Never printed; the key is wiped on drop.
#[derive(PartialEq, prost::Message)]
#[prost(skip_debug)]
pub(super) struct SvidWithKey {
    #[prost(message, optional, tag = "1")]
    pub(super) svid: Option<X509Svid>,
    /// PKCS #8 in DER.
    #[prost(bytes = "vec", tag = "2")]
    pub(super) key: Vec<u8>,
}

/// `X509SVID`; what else it says is in the certificate.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct X509Svid {
    /// DER, the leaf first.
    #[prost(bytes = "vec", repeated, tag = "1")]
    pub(super) chain: Vec<Vec<u8>>,
}

/// `SubscribeToX509BundlesRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BundlesRequest {}

/// `SubscribeToX509BundlesResponse`: all that the agent knows.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BundlesResponse {
    /// Certificates in DER, one behind the other, by trust domain: its name, or as agents write it, its SPIFFE ID.
    #[prost(btree_map = "string, bytes", tag = "1")]
    pub(super) bundles: BTreeMap<String, Vec<u8>>,
}

impl Drop for SvidWithKey {
    fn drop(&mut self) {
        self.key.zeroize();
    }
}

impl std::fmt::Debug for SvidWithKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SvidWithKey")
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_spires_proto() {
        let request = SvidsRequest {
            selectors: vec![Selector {
                kind: "k8s".to_owned(),
                value: "ns:a".to_owned(),
            }],
        };
        assert_eq!(request.encode_to_vec(), b"\x0a\x0b\x0a\x03k8s\x12\x04ns:a");
        // With fields that are of no interest: id (2), expires_at (3), hint (4), federates_with (2).
        let answer = b"\x0a\x14\x0a\x0f\x0a\x01c\x0a\x01d\x12\x03\x0a\x01t\x18\x05\x22\x00\x12\x01k\x12\x01x";
        let answer = SvidsResponse::decode(&answer[..]).unwrap();
        assert_eq!(answer.svids[0].key, b"k");
        let svid = answer.svids[0].svid.as_ref().unwrap();
        assert_eq!(svid.chain, [b"c", b"d"]);
        assert!(!format!("{answer:?}").contains("key"), "{answer:?}");
        let bundles = BundlesResponse::decode(&b"\x0a\x06\x0a\x01t\x12\x01r"[..]).unwrap();
        assert_eq!(bundles.bundles["t"], b"r");
    }
}
