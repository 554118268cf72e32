//! The kernel's log. There is nobody to tell that it can't be written.

use std::{fs::OpenOptions, io::Write};

/// Of the priority of alerts (1 of syslog(2)): reaches the console whatever its level is.
pub fn write(message: &str) {
    if let Ok(mut log) = OpenOptions::new().write(true).open("/dev/kmsg") {
        // One write is one record.
        let _ = log.write_all(format!("<1>{message}\n").as_bytes());
    }
}
