//! Events of the parser -> nodes. A stack of our own rather than recursion: depth is the file's choice.

use std::collections::HashMap;

use saphyr_parser::Event;
use serde_json::{Map, Value};

use super::{Budget, Document, MAX_DEPTH, YamlProblem, lines::Lines, scalar};

/// A line, and what is wrong there.
type Failure = (usize, YamlProblem);

/// Bytes of text that count as one more node of the alias budget.
const TEXT_PER_NODE: usize = 64;

/// Builds one document after the other.
pub struct Composer {
    document: usize,
    stack: Vec<Frame>,
    root: Option<Finished>,
    anchors: HashMap<usize, Finished>,
    /// Of what anchors and aliases add.
    budget: Budget,
}

#[derive(Clone)]
struct Finished {
    value: Value,
    lines: Lines,
    /// Nodes in it, with long texts as several.
    cost: usize,
    /// Containers on the way to its deepest node.
    height: usize,
}

struct Frame {
    line: usize,
    anchor: usize,
    cost: usize,
    height: usize,
    content: Content,
}

enum Content {
    Sequence(Vec<(Value, Lines)>),
    Mapping {
        /// Key, line of the key, value.
        entries: Vec<(String, usize, (Value, Lines))>,
        key: Option<(String, usize)>,
    },
}

impl Composer {
    pub fn new(budget: Budget) -> Self {
        Self {
            document: 0,
            stack: Vec::new(),
            root: None,
            anchors: HashMap::new(),
            budget,
        }
    }

    /// Number of the document that is being read, from 1.
    pub fn document(&self) -> usize {
        self.document
    }

    /// Takes the next event, which stands on `line`. Returns a document when it is complete and has content.
    pub fn take(&mut self, event: Event<'_>, line: usize) -> Result<Option<Document>, Failure> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd => {}
            Event::DocumentStart(_) => {
                self.document += 1;
                self.anchors.clear();
            }
            Event::DocumentEnd => return Ok(self.finish_document()),
            Event::Scalar(text, style, anchor, tag) => {
                if self.expects_key() {
                    let plain = style == saphyr_parser::ScalarStyle::Plain;
                    return self.take_key(text.into_owned(), plain, line).map(|()| None);
                }
                let value = scalar::resolve(text, style, tag.as_deref())
                    .ok_or_else(|| (line, foreign(tag.as_deref())))?;
                self.push_scalar(value, line, anchor)?;
            }
            Event::Alias(anchor) => self.push_alias(anchor, line)?,
            Event::SequenceStart(anchor, tag) => {
                if !scalar::collection_tag(tag.as_deref(), "seq") {
                    return Err((line, foreign(tag.as_deref())));
                }
                self.open(line, anchor, Content::Sequence(Vec::new()))?;
            }
            Event::MappingStart(anchor, tag) => {
                if !scalar::collection_tag(tag.as_deref(), "map") {
                    return Err((line, foreign(tag.as_deref())));
                }
                let (entries, key) = (Vec::new(), None);
                self.open(line, anchor, Content::Mapping { entries, key })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
        }
        Ok(None)
    }

    fn finish_document(&mut self) -> Option<Document> {
        self.stack.clear();
        let Finished { value, lines, .. } = self.root.take()?;
        let index = self.document;
        (!value.is_null()).then_some(Document {
            index,
            value,
            lines,
        })
    }

    fn expects_key(&self) -> bool {
        self.stack
            .last()
            .is_some_and(|frame| matches!(frame.content, Content::Mapping { key: None, .. }))
    }

    fn take_key(&mut self, text: String, plain: bool, line: usize) -> Result<(), Failure> {
        if plain && text == "<<" {
            return Err((line, YamlProblem::MergeKey));
        }
        if let Some(frame) = self.stack.last_mut()
            && let Content::Mapping { key, .. } = &mut frame.content
        {
            frame.cost += text.len() / TEXT_PER_NODE;
            *key = Some((text, line));
        }
        Ok(())
    }

    fn push_scalar(&mut self, value: Value, line: usize, anchor: usize) -> Result<(), Failure> {
        let cost = 1 + value.as_str().map_or(0, str::len) / TEXT_PER_NODE;
        let node = Finished {
            value,
            lines: Lines::leaf(line),
            cost,
            height: 0,
        };
        self.push(node, line, anchor)
    }

    fn push_alias(&mut self, anchor: usize, line: usize) -> Result<(), Failure> {
        if self.expects_key() {
            return Err((line, YamlProblem::KeyNotScalar("")));
        }
        let (cost, height) = match self.anchors.get(&anchor) {
            Some(node) => (node.cost, node.height),
            None => return Err((line, YamlProblem::LostAlias)),
        };
        if self.stack.len() + height > MAX_DEPTH {
            return Err((line, YamlProblem::TooDeep));
        }
        self.spend(cost, line)?;
        match self.anchors.get(&anchor).cloned() {
            Some(node) => self.push(node, line, 0),
            None => Err((line, YamlProblem::LostAlias)),
        }
    }

    fn spend(&mut self, cost: usize, line: usize) -> Result<(), Failure> {
        let fits = self.budget.spend(cost);
        fits.then_some(()).ok_or((line, YamlProblem::AliasBudget))
    }

    fn open(&mut self, line: usize, anchor: usize, content: Content) -> Result<(), Failure> {
        if self.expects_key() {
            return Err((line, YamlProblem::KeyNotScalar("")));
        }
        if self.stack.len() >= MAX_DEPTH {
            return Err((line, YamlProblem::TooDeep));
        }
        self.stack.push(Frame {
            line,
            anchor,
            cost: 1,
            height: 0,
            content,
        });
        Ok(())
    }

    fn close(&mut self) -> Result<(), Failure> {
        let Some(frame) = self.stack.pop() else {
            return Ok(());
        };
        let (value, children) = match frame.content {
            Content::Sequence(items) => {
                let (values, lines) = items.into_iter().unzip();
                (Value::Array(values), lines)
            }
            Content::Mapping { entries, .. } => mapping(entries)?,
        };
        let node = Finished {
            value,
            lines: Lines::branch(frame.line, children),
            cost: frame.cost,
            height: frame.height + 1,
        };
        self.push(node, frame.line, frame.anchor)
    }

    /// Puts a finished node where it belongs. Anchors are kept as copies, which the budget pays for.
    fn push(&mut self, node: Finished, line: usize, anchor: usize) -> Result<(), Failure> {
        if anchor > 0 {
            self.spend(node.cost, line)?;
            self.anchors.insert(anchor, node.clone());
        }
        let Some(frame) = self.stack.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        frame.cost = frame.cost.saturating_add(node.cost);
        frame.height = frame.height.max(node.height);
        let item = (node.value, node.lines);
        match &mut frame.content {
            Content::Sequence(items) => items.push(item),
            Content::Mapping { entries, key } => match key.take() {
                Some((key, key_line)) => entries.push((key, key_line, item)),
                None => return Err((line, YamlProblem::KeyNotScalar(""))),
            },
        }
        Ok(())
    }
}

/// Sorted by key, so that lines and values stand in the same order whatever map the JSON library uses.
fn mapping(
    mut entries: Vec<(String, usize, (Value, Lines))>,
) -> Result<(Value, Vec<Lines>), Failure> {
    entries.sort_by(|a, b| a.0.cmp(&b.0));
    for pair in entries.windows(2) {
        if let [(key, first, _), (next, second, _)] = pair
            && key == next
        {
            let (key, first) = (key.clone(), *first);
            return Err((*second, YamlProblem::DuplicateKey { key, first }));
        }
    }
    let mut map = Map::new();
    let mut lines = Vec::with_capacity(entries.len());
    for (key, key_line, (value, value_lines)) in entries {
        map.insert(key, value);
        lines.push(on_line_of_key(value_lines, key_line));
    }
    Ok((Value::Object(map), lines))
}

/// A field is where its key is, also when its value begins on the line below.
fn on_line_of_key(mut lines: Lines, key_line: usize) -> Lines {
    lines.line = u32::try_from(key_line).unwrap_or(u32::MAX);
    lines
}

fn foreign(tag: Option<&saphyr_parser::Tag>) -> YamlProblem {
    YamlProblem::Tag(tag.map(ToString::to_string).unwrap_or_default())
}
