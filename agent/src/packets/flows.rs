//! Which connections have been commented on.

use std::collections::HashMap;

use super::{Segment, Watched};

/// More than these are forgotten, and commented on again.
const MOST: usize = 16_384;
/// First the pods, then the identities when they are proven.
const COMMENTS: u8 = 2;

#[derive(Default)]
pub(super) struct Commented(HashMap<Segment, u8>);

impl Commented {
    /// What is to be said at a packet of this connection.
    pub(super) fn comments(
        &mut self,
        segment: Option<Segment>,
        watched: &mut impl Watched,
    ) -> Vec<String> {
        let Some(segment) = segment else {
            return Vec::new();
        };
        if self.0.len() >= MOST && !self.0.contains_key(&segment.both_ways()) {
            self.0.clear();
        }
        let said = self.0.entry(segment.both_ways()).or_default();
        let mut comments = Vec::new();
        while *said < COMMENTS {
            let Some(comment) = watched.comment(&segment, *said) else {
                break;
            };
            *said += 1;
            comments.push(comment);
        }
        comments
    }
}

impl Segment {
    /// The same for both ways.
    fn both_ways(self) -> Self {
        match self.source <= self.destination {
            true => self,
            false => Self {
                source: self.destination,
                destination: self.source,
                ..self
            },
        }
    }
}
