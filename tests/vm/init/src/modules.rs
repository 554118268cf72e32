//! Loads the modules without which the host's files can't be reached. All others the kernel loads by itself, with
//! the host's modprobe, when somebody asks for what is in them.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result};
use rustix::{io::Errno, system::finit_module};

/// The initramfs has them here, and their names in the order in which they need each other.
const DIRECTORY: &str = "/modules";
const ORDER: &str = "order";

/// `MODULE_INIT_COMPRESSED_FILE` of finit_module(2).
const COMPRESSED: i32 = 4;

/// Loads what the initramfs has.
pub fn load() -> Result<()> {
    let directory = Path::new(DIRECTORY);
    let order = fs::read_to_string(directory.join(ORDER)).context("the list of modules")?;
    for name in order.lines() {
        let file = File::open(directory.join(name)).context(name.to_owned())?;
        let is_plain = Path::new(name).extension().is_some_and(|e| e == "ko");
        let flags = if is_plain { 0 } else { COMPRESSED };
        match finit_module(&file, c"", flags) {
            Ok(()) | Err(Errno::EXIST) => (),
            Err(error) => return Err(error).with_context(|| format!("loading {name}")),
        }
    }
    Ok(())
}
