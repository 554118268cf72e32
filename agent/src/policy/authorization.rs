//! Istio's `AuthorizationPolicy`, as far as it is about connections
//! (<https://istio.io/latest/docs/reference/config/security/authorization-policy/>).
//!
//! A document that needs more than a connection shows (HTTP) is refused when it is read: it would allow or
//! deny something else than its author wrote.

mod document;
mod group;
mod index;
mod key;
mod pattern;
mod policy;
mod read;
mod scope;
mod term;

pub use document::AuthorizationPolicySpec;
pub use index::{Authorization, Decided, Match, Outcome};
pub(in crate::policy) use pattern::Pattern;
pub use policy::{Action, AuthorizationPolicy};
pub use term::Attributes;
pub(in crate::policy) use term::{Account, Named};

#[cfg(test)]
mod tests;
