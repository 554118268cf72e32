//! The document so far: what is still open, and where each line went.

use std::collections::HashSet;

use super::{
    Line,
    shapes::{Fields, Shape},
};

/// Columns of one level.
const STEP: usize = 2;

/// A document under restoration.
pub struct Tree<'t> {
    /// From the document to what was opened last.
    open: Vec<Open<'t>>,
    /// Number of a line, its column, and what it says.
    placed: Vec<(usize, usize, &'t str)>,
    fields: Vec<String>,
}

/// Something that more lines may belong to.
struct Open<'t> {
    shape: Shape,
    /// Where what is in it stands.
    column: usize,
    path: String,
    has: HashSet<&'t str>,
}

impl<'t> Tree<'t> {
    pub fn new(document: Fields) -> Self {
        Self {
            open: vec![Open {
                shape: Shape::Map(document),
                column: 0,
                path: String::new(),
                has: HashSet::new(),
            }],
            placed: Vec::new(),
            fields: Vec::new(),
        }
    }

    pub fn finish(self) -> (Vec<(usize, usize, &'t str)>, Vec<String>) {
        (self.placed, self.fields)
    }

    /// Puts a line where it belongs; what is further in is complete then. False: it belongs nowhere, or may belong
    /// to one thing as well as to another.
    pub fn take(&mut self, line: &Line<'t>) -> bool {
        let takers = self.open.iter().enumerate();
        let mut takers = takers.filter_map(|(index, open)| Some((index, open.takes(line)?)));
        let (Some((index, shape)), None) = (takers.next(), takers.next()) else {
            return false;
        };
        self.open.truncate(index + 1);
        self.put(line, shape);
        true
    }

    /// Puts a line into what is open.
    fn put(&mut self, line: &Line<'t>, shape: Shape) {
        let Some(parent) = self.open.last_mut() else {
            return;
        };
        let column = parent.column;
        self.placed.push((line.number, column, line.text));
        let mut path = parent.path.clone();
        let mut inner = column;
        if line.dash {
            path.push_str("[]");
            inner += STEP;
        }
        let Some(key) = line.key else {
            return self.fields.push(path);
        };
        if line.dash
            && let Shape::List(fields) = parent.shape
        {
            let item = Open::new(Shape::Map(fields), inner, path.clone(), key);
            self.open.push(item);
        } else {
            parent.has.insert(key);
        }
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(key);
        if line.value.is_empty() && !matches!(shape, Shape::Value) {
            self.open.push(Open {
                shape,
                column: inner + STEP,
                path,
                has: HashSet::new(),
            });
        } else if path.contains('.') {
            self.fields.push(path);
        }
    }
}

impl<'t> Open<'t> {
    fn new(shape: Shape, column: usize, path: String, key: &'t str) -> Self {
        Self {
            shape,
            column,
            path,
            has: HashSet::from([key]),
        }
    }

    /// What the line would hold here.
    fn takes(&self, line: &Line<'t>) -> Option<Shape> {
        let known = |fields: Fields, key| {
            let field = fields.iter().find(|(name, _)| *name == key);
            field.map(|(_, shape)| *shape)
        };
        match (self.shape, line.dash, line.key) {
            (_, _, Some(key)) if self.has.contains(key) => None,
            (Shape::Map(fields), false, Some(key)) | (Shape::List(fields), true, Some(key)) => {
                known(fields, key)
            }
            (Shape::Free, false, Some(_)) if !line.value.is_empty() => Some(Shape::Value),
            (Shape::Ports(fields), false, Some(port)) => {
                port.parse::<u32>().ok().map(|_| Shape::Map(fields))
            }
            (Shape::Values, true, None) => Some(Shape::Value),
            (Shape::List(_), true, None) if line.value.starts_with('{') => Some(Shape::Value),
            _ => None,
        }
    }
}
