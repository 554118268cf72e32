//! What needs the kernel's own interfaces beyond the libraries: sockets today, kernel TLS next.
//!
//! Imports nothing of ours, so that everybody may use it.

pub mod sys;
