//! Sealane's agent: mutual TLS for the pods of one node.
//!
//! # Layout
//! `control` feeds `store` with `workload`s, services and `policy`; `ca` keeps an SVID of every local
//! `identity`, or has it from a SPIRE agent (`spire`); `capture` brings the pods' connections here; `proxy`
//! takes each through its phases with `tls` and `offload`; `telemetry` and `admin` tell what happened. Only
//! `app` sees all of them.

pub mod admin;
pub mod app;
pub mod ca;
pub mod capture;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub mod file;
pub mod identity;
pub mod offload;
pub mod packets;
pub mod policy;
pub mod proxy;
pub mod review;
pub mod spire;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod trust;
pub mod workload;
