//! A directory -> a mesh, once.

use std::{fs::File, io, path::Path};

use zeroize::Zeroizing;

use super::listing::{Entry, Listing};
use crate::{
    control::{
        build::{Mesh, Settings, build},
        error::{LoadError, LoadErrors, Place, Problem, one_line},
        objects::{Cache, Collector, Count, SWITCH, pieces},
        publisher::Loaded,
        yaml::FieldPath,
    },
    file,
};

/// Size of one file.
const MAX_FILE: u64 = 64 << 20;

/// How often a directory that changes while it is read is read again. After that the next change will tell.
const ATTEMPTS: usize = 3;

/// Reads a directory: all `*.yaml`, `*.yml` and `*.json` in it, as one set of objects.
///
/// # Errors
/// Everything that is wrong with it.
pub fn load(dir: &Path, settings: &Settings) -> Result<Loaded, LoadErrors> {
    load_changes(dir, settings, &mut Cache::default())
}

/// [`load`], without parsing what is in `cache` and has not changed.
///
/// # Errors
/// As [`load`].
pub fn load_changes(
    dir: &Path,
    settings: &Settings,
    cache: &mut Cache,
) -> Result<Loaded, LoadErrors> {
    let mut attempt = 0;
    loop {
        attempt += 1;
        let before = Listing::of(dir);
        let result = load_listed(dir, &before, settings, cache);
        // A reader between two files of an update would see a mixture of old and new.
        if attempt == ATTEMPTS || same(&before, &Listing::of(dir)) {
            return result;
        }
    }
}

/// [`load`], of a directory that is nowhere: names of files and what is in them.
///
/// # Errors
/// As [`load`].
pub fn load_texts(files: &[(&str, &str)], settings: &Settings) -> Result<Loaded, LoadErrors> {
    let mut collector = Collector::default();
    for (name, text) in files {
        collect(&mut collector, name, text);
    }
    relate(collector, settings)
}

fn collect(collector: &mut Collector, name: &str, text: &str) {
    if name == SWITCH {
        collector.switch_file(text);
    } else {
        if text.is_empty() {
            let warning = format!("{}: there is nothing in it", one_line(name));
            collector.objects.warnings.push(warning);
        }
        collector.file(name, text);
    }
}

fn same(a: &io::Result<Listing>, b: &io::Result<Listing>) -> bool {
    match (a, b) {
        (Ok(a), Ok(b)) => a == b,
        (Err(a), Err(b)) => a.kind() == b.kind(),
        _ => false,
    }
}

fn load_listed(
    dir: &Path,
    listing: &io::Result<Listing>,
    settings: &Settings,
    cache: &mut Cache,
) -> Result<Loaded, LoadErrors> {
    let mut collector = Collector::with(std::mem::take(cache));
    match listing {
        Ok(listing) => {
            for entry in &listing.entries {
                match read(entry) {
                    Ok(text) => collect(&mut collector, &entry.name, &text),
                    Err(error) => collector.errors.push(error),
                }
            }
        }
        Err(error) => {
            let dir = dir.display().to_string();
            let problem = Problem::Read(error.kind());
            collector.errors.push(of_file(&dir, 0, problem));
        }
    }
    *cache = collector.take_cache();
    relate(collector, settings)
}

fn relate(collector: Collector, settings: &Settings) -> Result<Loaded, LoadErrors> {
    let Collector {
        objects,
        mut errors,
        ..
    } = collector;
    let Count {
        files,
        documents,
        skipped,
    } = objects.count;
    let mut warnings = Vec::new();
    let mesh = build(objects, settings, &mut warnings).unwrap_or_else(|more| {
        errors.extend(more);
        Mesh::default()
    });
    match LoadErrors::new(errors) {
        Some(errors) => Err(errors),
        None => Ok(Loaded {
            mesh,
            warnings,
            files,
            documents,
            skipped,
            held_back: Vec::new(),
        }),
    }
}

/// The files that [`load`] would read, as they are.
///
/// # Errors
/// Each that can't be read.
pub fn texts(path: &Path) -> Result<Vec<(String, Zeroizing<String>)>, LoadErrors> {
    let unreadable = |error: io::Error| {
        let problem = Problem::Read(error.kind());
        vec![of_file(&path.display().to_string(), 0, problem)]
    };
    let (mut texts, mut errors) = (Vec::new(), Vec::new());
    match Listing::of(path).map_err(unreadable) {
        Ok(listing) => {
            for entry in listing.entries {
                match read(&entry) {
                    Ok(text) => texts.push((entry.name, text)),
                    Err(error) => errors.push(error),
                }
            }
        }
        Err(error) => errors.extend(error),
    }
    match LoadErrors::new(errors) {
        Some(errors) => Err(errors),
        None => Ok(texts),
    }
}

/// It may hold Secrets, which must not stay where they were read.
fn read(entry: &Entry) -> Result<Zeroizing<String>, LoadError> {
    let failed = |error: io::Error| of_file(&entry.name, 0, Problem::Read(error.kind()));
    if !entry.is_file {
        return Err(of_file(&entry.name, 0, Problem::NotAFile));
    }
    let file = File::open(&entry.path).map_err(failed)?;
    let limit = MAX_FILE;
    let mut bytes = file::read_at_most(file, limit)
        .map_err(failed)?
        .ok_or_else(|| of_file(&entry.name, 0, Problem::TooLarge { limit }))?;
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map(Zeroizing::new);
    text.map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|byte| **byte == b'\n').count();
        let mut error = of_file(&entry.name, line, Problem::NotUtf8);
        let before = str::from_utf8(good).unwrap_or_default();
        let document = pieces(before).last().map_or(0, |last| last.documents);
        error.place.document = document + 1;
        error
    })
}

fn of_file(name: &str, line: usize, problem: Problem) -> LoadError {
    LoadError {
        place: Box::new(Place {
            file: name.into(),
            line,
            document: 0,
            value: None,
        }),
        field: FieldPath::default(),
        problem,
        namespace: None,
        is_vital: true,
    }
}

#[cfg(test)]
mod tests;
