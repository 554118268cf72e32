//! What a token says of itself. Nothing of it is proven; but a token that doesn't even say what it should isn't good.

use std::time::SystemTime;

use jsonwebtoken::{dangerous::insecure_decode_claims, decode_header};
use serde::Deserialize;

use super::super::{LEEWAY, TokenError};

/// Claims that every token of a service account has that is made for somebody (TokenRequest).
#[derive(Deserialize)]
pub(super) struct Unproven {
    exp: u64,
    aud: Audiences,
    sub: String,
}

/// RFC 7519, section 4.1.3.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Unproven {
    /// # Errors
    /// When it is no such token.
    pub(super) fn read(token: &str) -> Result<Self, TokenError> {
        decode_header(token).map_err(|_| TokenError::Invalid)?;
        insecure_decode_claims(token).map_err(|_| TokenError::Invalid)
    }

    /// # Errors
    /// When nobody would vouch for it.
    pub(super) fn check(&self, audience: &str, now: SystemTime) -> Result<(), TokenError> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH);
        let now = now.unwrap_or_default().as_secs();
        let is_for = match &self.aud {
            Audiences::One(one) => one == audience,
            Audiences::Several(several) => several.iter().any(|one| one == audience),
        };
        match self {
            _ if self.exp.saturating_add(LEEWAY) <= now => Err(TokenError::Expired),
            _ if !is_for => Err(TokenError::Audience),
            _ if !self.sub.starts_with("system:serviceaccount:") => Err(TokenError::Unbound),
            _ => Ok(()),
        }
    }
}
