//! What anchors and aliases of one file may add to what is written out.

use std::{cell::Cell, rc::Rc};

/// Nodes that they may add. Long texts count as several.
pub const ALIAS_BUDGET: usize = 1_000_000;

/// What is spent already. Shared by all documents of a file, also by those within values of others: each may be
/// small, but there may be many.
#[derive(Clone, Debug, Default)]
pub struct Budget(Rc<Cell<usize>>);

impl Budget {
    #[must_use]
    pub fn spent(&self) -> usize {
        self.0.get()
    }

    /// Spends, unless that would be too much.
    pub fn spend(&self, cost: usize) -> bool {
        let spent = self.0.get().saturating_add(cost);
        let fits = spent <= ALIAS_BUDGET;
        if fits {
            self.0.set(spent);
        }
        fits
    }
}
