//! Round trips between the record layer and rustls.
