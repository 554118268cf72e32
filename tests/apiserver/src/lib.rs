//! A small Kubernetes API server for tests: the real one's semantics where clients depend on them, and switches for
//! its faults. No controllers, no scheduler, no kubelet: what these would do a test does.
//!
//! # Layout
//! `server` accepts connections; `api` is the way of a request; `store` holds objects and history; `auth` knows who
//! asks and what they may; `control` is what a test can order, in the process ([`Server::order`]) or over HTTP.
//!
//! Sources: the Kubernetes API concepts (kubernetes.io/docs/reference/using-api/api-concepts) and k8s.io/apiserver.

mod api;
mod auth;
mod control;
mod faults;
mod kubeconfig;
mod objects;
mod pki;
mod request;
mod resources;
mod selector;
mod server;
mod status;
mod store;
mod synthetic;

pub use auth::{TokenFor, User};
pub use control::{Counted, Order, Stats};
pub use faults::{Break, Effect, How, Rule};
pub use server::{Config, Server};
pub use status::Status;
pub use synthetic::Population;
