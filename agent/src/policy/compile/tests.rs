//! Precedence of documents.
