//! `istio.v1.auth.IstioCertificateService/CreateCertificate` on the wire, as istio/api's
//! `security/v1alpha1/ca.proto` has it. Written by hand, so that a build needs no protoc. Decides nothing.

use prost_types::{Struct, Value, value::Kind};

/// The service's name.
pub(super) const SERVICE: &str = "istio.v1.auth.IstioCertificateService";
/// The path of its one method.
pub(super) const METHOD: &str = "/istio.v1.auth.IstioCertificateService/CreateCertificate";
/// More than any answer that is meant well.
pub(super) const MAX_ANSWER: usize = 64 << 10;
/// A CSR with a key of 8192 bits is a quarter of it.
pub(super) const MAX_REQUEST: usize = 16 << 10;
/// Key of [`CertificateRequest::metadata`] under which a node's agent names the pod's identity; its value is a
/// string (`security.ImpersonatedIdentity` of Istio, which ztunnel sends).
const IMPERSONATED: &str = "ImpersonatedIdentity";

/// `IstioCertificateRequest`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CertificateRequest {
    /// PKCS #10 in PEM form.
    #[prost(string, tag = "1")]
    pub(super) csr: String,
    /// Wanted life in seconds; the server may shorten it. 0: what the server thinks best.
    #[prost(int64, tag = "3")]
    pub(super) validity_duration: i64,
    #[prost(message, optional, tag = "4")]
    pub(super) metadata: Option<Struct>,
}

/// `IstioCertificateResponse`.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct CertificateResponse {
    /// One certificate in PEM form each: the leaf first, the root last.
    #[prost(string, repeated, tag = "1")]
    pub(super) cert_chain: Vec<String>,
}

impl CertificateRequest {
    /// The identity that is asked for in the name of somebody else.
    pub(super) fn impersonated(&self) -> Option<&str> {
        let named = self.metadata.as_ref()?.fields.get(IMPERSONATED)?;
        match &named.kind {
            Some(Kind::StringValue(identity)) if identity.is_empty() => None,
            Some(Kind::StringValue(identity)) => Some(identity),
            // No identity: who asks for another than its own must not get that.
            _ => Some(""),
        }
    }
}

/// Metadata that asks for `identity`.
pub(super) fn impersonating(identity: String) -> Struct {
    let value = Value {
        kind: Some(Kind::StringValue(identity)),
    };
    Struct {
        fields: [(IMPERSONATED.to_owned(), value)].into(),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;

    #[test]
    fn the_bytes_are_those_of_istios_proto() {
        let request = CertificateRequest {
            csr: "c".to_owned(),
            validity_duration: 300,
            metadata: Some(impersonating("i".to_owned())),
        };
        let mut expected =
            b"\x0a\x01c\x18\xac\x02\x22\x1d\x0a\x1b\x0a\x14ImpersonatedIdentity".to_vec();
        expected.extend(b"\x12\x03\x1a\x01i");
        assert_eq!(request.encode_to_vec(), expected);
        assert_eq!(request.impersonated(), Some("i"));
        let mut other = request;
        let kind = Some(Kind::BoolValue(true));
        let fields = [(IMPERSONATED.to_owned(), Value { kind })].into();
        other.metadata = Some(Struct { fields });
        assert_eq!(other.impersonated(), Some(""), "which is nobody's");
        let response = CertificateResponse {
            cert_chain: vec!["a".to_owned(), "b".to_owned()],
        };
        assert_eq!(response.encode_to_vec(), b"\x0a\x01a\x0a\x01b");
    }
}
