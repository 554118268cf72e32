//! Takes documents, one after the other, and sorts facts from errors.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::Arc,
};

use super::{
    BadField, FromObject, Located, LocatedPod, Objects,
    cache::{Cache, Kept},
    claim::Claim,
    config_map, emptied, flattened,
    kind::Kind,
    name::{object_name, supposed_namespace},
    namespace, pasted,
    pieces::{Piece, pieces},
    site::{Site, Stream},
    typed::typed,
    unheeded,
};
use crate::{
    control::{
        error::{LoadError, MAX_ERRORS, Problem},
        yaml::{self, Budget, Document, FieldPath},
    },
    workload::ObjectName,
};

mod policies;

/// What an object is part of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Around<'a> {
    Nothing,
    /// Whose items say what they are.
    List,
    /// Such as a `PodList`: `apiVersion` and `kind` of items that don't say.
    ListOf(&'a str, &'a str),
}

/// What has been read so far.
#[derive(Debug, Default)]
pub struct Collector {
    pub objects: Objects,
    pub errors: Vec<LoadError>,
    cache: Cache,
    /// Of the file that is being read.
    budget: Budget,
    /// Of the file that is being read, in order.
    said: Vec<Arc<Kept>>,
    claims: Vec<Arc<Claim>>,
    seen: HashMap<(&'static str, ObjectName), Arc<Claim>>,
}

impl Collector {
    /// One that doesn't parse what is in `cache`.
    #[must_use]
    pub fn with(cache: Cache) -> Self {
        Self {
            cache,
            ..Self::default()
        }
    }

    /// What to give to the next one.
    pub fn take_cache(&mut self) -> Cache {
        let mut cache = std::mem::take(&mut self.cache);
        cache.turn();
        cache
    }

    /// Reads all documents of a file.
    pub fn file(&mut self, name: &str, text: &str) {
        self.objects.count.files += 1;
        let stream = Stream::File(name.into());
        self.unless_known(name, text, |reader| reader.stream(&stream, text));
    }

    /// Reads an object as the API has it, from its JSON. Nothing else has its key; errors call it `name`.
    pub fn api_object(&mut self, key: &str, name: &Arc<str>, text: &str) {
        let stream = Stream::Object(Arc::clone(name));
        self.unless_known(key, text, |reader| {
            reader.piece(&stream, Piece::whole(text))
        });
    }

    /// `read` tells whether nothing but documents was there.
    fn unless_known(&mut self, key: &str, text: &str, read: impl FnOnce(&mut Self) -> bool) {
        self.budget = Budget::default();
        self.said.clear();
        if let Some(read) = self.cache.begin(key, text) {
            for kept in &read.said {
                self.merge(kept);
            }
            return;
        }
        let errors = self.errors.len();
        let plain = read(self);
        let whole = plain && self.errors.len() == errors;
        let said = std::mem::take(&mut self.said);
        self.cache.end(key, text, said, whole);
    }

    /// Reads all documents of a stream. Returns whether nothing but documents was there, to the end.
    pub(super) fn stream(&mut self, stream: &Stream, text: &str) -> bool {
        let pasted = pasted::read(text);
        let plain = pasted.notes.is_empty();
        for (line, note) in pasted.notes {
            let place = stream.place(0, line);
            self.objects.warnings.push(format!("{place}: {note}"));
        }
        for piece in pieces(&flattened::dedented(&pasted.text)) {
            if !self.piece(stream, piece) {
                return false;
            }
        }
        plain
    }

    /// Returns whether what follows can be read.
    fn piece(&mut self, stream: &Stream, piece: Piece<'_>) -> bool {
        let key = self.cache.key(stream, &piece);
        let kept = self.cache.get(key, stream, &piece);
        if let Some(kept) = kept.filter(|kept| self.budget.spend(kept.spent)) {
            self.merge(&kept);
            self.said.push(kept);
            return true;
        }
        let before = self.budget.spent();
        let mut reader = Self {
            cache: std::mem::take(&mut self.cache),
            budget: self.budget.clone(),
            ..Self::default()
        };
        let readable = reader.restore(stream, piece);
        self.cache = reader.cache;
        let kept = Arc::new(Kept {
            objects: reader.objects,
            claims: reader.claims,
            spent: self.budget.spent() - before,
            before: (piece.lines, piece.documents),
        });
        if reader.errors.is_empty() {
            self.cache.insert(key, &kept);
        }
        self.errors.append(&mut reader.errors);
        self.merge(&kept);
        self.said.push(kept);
        readable
    }

    fn merge(&mut self, kept: &Kept) {
        self.objects.append(&kept.objects);
        for claim in &kept.claims {
            self.claim(claim);
        }
    }

    pub(super) fn claim(&mut self, claim: &Arc<Claim>) {
        match self.seen.entry((claim.kind.name(), claim.name.clone())) {
            Entry::Occupied(first) => self.errors.push(claim.after(first.get())),
            Entry::Vacant(first) => {
                first.insert(Arc::clone(claim));
                // Of a reader within another: the outer one has to be told.
                self.claims.push(Arc::clone(claim));
            }
        }
    }

    /// Returns whether all of it could be parsed.
    pub(super) fn parse(&mut self, stream: &Stream, piece: Piece<'_>) -> bool {
        if let Stream::Object(_) = stream {
            let value = serde_json::from_str(piece.text).unwrap_or_default();
            self.document(stream, piece, &Document::unwritten(value));
            return true;
        }
        for document in yaml::documents(piece.text, &self.budget) {
            match document {
                Ok(document) => self.document(stream, piece, &document),
                Err(error) => {
                    let document = piece.documents + error.document;
                    self.errors.push(LoadError {
                        place: stream.place(document, piece.lines + error.line).into(),
                        field: FieldPath::default(),
                        problem: error.problem.into(),
                        namespace: None,
                        is_vital: true,
                    });
                    return false;
                }
            }
        }
        true
    }

    fn document(&mut self, stream: &Stream, piece: Piece<'_>, document: &Document) {
        self.objects.count.documents += 1;
        let site = Site {
            stream,
            piece,
            document: document.index,
            path: FieldPath::default(),
            node: document.root(),
        };
        if let Err(error) = self.object(&site, Around::Nothing) {
            self.errors.push(error);
        }
    }

    fn object(&mut self, site: &Site<'_>, around: Around<'_>) -> Result<(), LoadError> {
        if !site.node.value.is_object() {
            return Err(site.error(&FieldPath::default(), Problem::NotAnObject));
        }
        let own = (site.type_field("apiVersion"), site.type_field("kind"));
        let (api_version, kind) = match (own, around) {
            ((Err(_), Err(_)), Around::ListOf(api_version, kind)) => (api_version, kind),
            ((api_version, kind), _) => (api_version?, kind?),
        };
        let verdict = Kind::of(api_version, kind);
        if matches!(site.stream, Stream::Value(..)) && verdict.is_kubernetes() {
            let problem = Problem::NotPolicy {
                kind: kind.to_owned(),
            };
            return Err(site.error(&FieldPath::of("kind"), problem));
        }
        match verdict {
            Kind::List if around == Around::Nothing => self.list(site, api_version, kind),
            Kind::List => return Err(site.error(&FieldPath::of("kind"), Problem::NestedList)),
            Kind::Unknown | Kind::NotEnforced => {
                let elsewhere = verdict == Kind::Unknown && Kind::is_known_elsewhere(kind);
                let field = if elsewhere { "apiVersion" } else { "kind" };
                let instead = Kind::instead_of(api_version, kind);
                let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
                let problem = match verdict {
                    Kind::NotEnforced => Problem::NotEnforced { api_version, kind },
                    _ => Problem::UnknownKind {
                        api_version: api_version.into(),
                        kind: kind.into(),
                        instead: instead.into(),
                    },
                };
                return Err(site.error(&FieldPath::of(field), problem));
            }
            Kind::Skipped => {
                tracing::debug!(place = %site.place(&FieldPath::default()), api_version, kind, "skipped");
                self.objects.count.skipped += 1;
            }
            kept => self.keep(site, kept)?,
        }
        Ok(())
    }

    fn list(&mut self, site: &Site<'_>, api_version: &str, kind: &str) {
        let Some(items) = site.node.get("items") else {
            let field = FieldPath::of("items");
            let problem = Problem::Missing("a list has its objects there".to_owned());
            self.errors.push(site.error(&field, problem));
            return;
        };
        if !(items.value.is_array() || items.value.is_null()) {
            let error = site.error(&FieldPath::of("items"), Problem::Expected("a list"));
            self.errors.push(error);
            return;
        }
        let around = match kind.strip_suffix("List") {
            None | Some("") => Around::List,
            Some(of_item) => Around::ListOf(api_version, of_item),
        };
        for (index, node) in items.items().enumerate() {
            let item = Site {
                path: FieldPath::of("items").index(index),
                node,
                ..site.clone()
            };
            if let Err(error) = self.object(&item, around) {
                self.errors.push(error);
            }
        }
    }

    fn keep(&mut self, site: &Site<'_>, kind: Kind) -> Result<(), LoadError> {
        let name = self.claim_name(site, kind)?;
        if !kind.is_kubernetes() {
            let warnings = &mut self.objects.warnings;
            warnings.extend(emptied::notes(site, kind));
            warnings.extend(unheeded::notes(site, kind));
            warnings.extend(supposed_namespace(site, kind));
        }
        match kind {
            Kind::Namespace => {
                let object: super::api::Namespace = typed(site)?;
                let labels = object.metadata.labels.unwrap_or_default();
                self.objects
                    .warnings
                    .extend(namespace::odd_labels(site, &labels)?);
                let namespaces = &mut self.objects.namespaces;
                namespaces.insert(name.name.to_string(), labels);
            }
            Kind::ConfigMap => config_map::read(self, site, &name)?,
            Kind::Pod => {
                let pod = self.facts(site, &name)?;
                self.objects.pods.extend(pod.map(LocatedPod::from));
            }
            Kind::Service => {
                let service = self.facts(site, &name)?;
                self.objects
                    .services
                    .extend(service.map(|s| Arc::new(s.facts)));
            }
            Kind::EndpointSlice => {
                let slice = self.facts(site, &name)?;
                self.objects
                    .endpoint_slices
                    .extend(slice.map(|s| Arc::new(s.facts)));
            }
            Kind::PeerAuthentication
            | Kind::AuthorizationPolicy
            | Kind::DestinationRule
            | Kind::ServiceEntry
            | Kind::VirtualService
            | Kind::Gateway => self.policy(site, kind, &name)?,
            Kind::LegacyPolicy | Kind::MeshPolicy => self.legacy(site, kind, &name)?,
            Kind::Switch | Kind::List | Kind::Skipped | Kind::NotEnforced | Kind::Unknown => {}
        }
        Ok(())
    }

    fn claim_name(&mut self, site: &Site<'_>, kind: Kind) -> Result<ObjectName, LoadError> {
        let name = object_name(site, kind)?;
        self.claim(&Arc::new(Claim {
            kind,
            name: name.clone(),
            place: site.place(&FieldPath::of("metadata.name")),
            field: site.path.clone().then(&FieldPath::of("metadata.name")),
        }));
        Ok(name)
    }

    /// `None`: there were errors, which are kept.
    fn facts<T: FromObject>(
        &mut self,
        site: &Site<'_>,
        name: &ObjectName,
    ) -> Result<Option<Located<T>>, LoadError> {
        match T::from_object(name, typed(site)?) {
            Ok(facts) => Ok(Some(Located {
                place: site.place(&FieldPath::default()),
                path: site.path.clone(),
                facts,
            })),
            Err(mut bad) => {
                // Each looks for its line. More would not be told anyway.
                bad.truncate(MAX_ERRORS);
                let error = |BadField { field, problem }| site.error(&field, problem);
                self.errors.extend(bad.into_iter().map(error));
                Ok(None)
            }
        }
    }
}
