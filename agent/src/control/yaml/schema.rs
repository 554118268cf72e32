//! Values -> types, with errors that say what to write instead.
//!
//! Stricter than the JSON library's own: a list is never taken for the fields of a structure in their order
//! (`mtls: [STRICT]` would be STRICT, and `selector: []` a whole namespace), nor a mapping for a variant.

use std::fmt;

use serde::{
    de::{
        self, DeserializeOwned, IntoDeserializer, Visitor,
        value::{MapDeserializer, SeqDeserializer, StrDeserializer},
    },
    forward_to_deserialize_any,
};
use serde_json::Value;

use super::FieldPath;

/// What is longer, in bytes, is nothing that is known: comparing costs as much as both are long.
const MAX_MISWRITTEN: usize = 64;

/// What a value is not.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SchemaError {
    #[error("unknown field `{field}`{}", instead(field, known))]
    UnknownField {
        field: String,
        known: &'static [&'static str],
    },
    #[error(
        "`{value}` is not one of {}{}",
        listed(known, ", "),
        meant(value, known)
    )]
    UnknownValue {
        value: String,
        known: &'static [&'static str],
    },
    #[error("expected {wanted}, not {found}")]
    Type { wanted: String, found: String },
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// In the words of the type that reads it.
    #[error("{0}")]
    Rejected(String),
}

/// Reads a type from a value.
///
/// # Errors
/// What is wrong, and with which field.
pub fn read<T: DeserializeOwned>(value: &Value) -> Result<T, (FieldPath, SchemaError)> {
    serde_path_to_error::deserialize(Strict(value)).map_err(|error| {
        let path = FieldPath::from(error.path());
        (path, error.into_inner())
    })
}

fn listed(known: &[&str], separator: &str) -> String {
    let known: Vec<_> = known.iter().map(|k| format!("`{k}`")).collect();
    known.join(separator)
}

fn instead(field: &str, known: &[&str]) -> String {
    match (nearest(field, known), known) {
        (Some(nearest), _) => format!(": did you mean `{nearest}`?"),
        (None, []) => ": nothing is known here".to_owned(),
        (None, known) => format!(", expected one of {}", listed(known, ", ")),
    }
}

fn meant(value: &str, known: &[&str]) -> String {
    nearest(value, known).map_or_else(String::new, |nearest| {
        format!(": did you mean `{nearest}`?")
    })
}

/// What was probably meant: the same word in other letters, or with one or two that are wrong.
#[must_use]
pub fn nearest<'k>(written: &str, known: &[&'k str]) -> Option<&'k str> {
    if written.len() > MAX_MISWRITTEN {
        return None;
    }
    let written = written.to_lowercase();
    let distance = |known: &&&str| strsim::damerau_levenshtein(&written, &known.to_lowercase());
    let allowed = (written.chars().count() / 4).clamp(1, 3);
    let nearest = known.iter().min_by_key(distance)?;
    (distance(&nearest) <= allowed).then_some(*nearest)
}

impl de::Error for SchemaError {
    fn custom<T: fmt::Display>(text: T) -> Self {
        Self::Rejected(text.to_string())
    }

    fn invalid_type(found: de::Unexpected<'_>, wanted: &dyn de::Expected) -> Self {
        Self::Type {
            wanted: wanted.to_string(),
            found: found.to_string(),
        }
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        let field = field.to_owned();
        Self::UnknownField { field, known }
    }

    fn unknown_variant(value: &str, known: &'static [&'static str]) -> Self {
        let value = value.to_owned();
        Self::UnknownValue { value, known }
    }

    fn missing_field(field: &'static str) -> Self {
        Self::Missing(field)
    }
}

/// A value that says no more than it says.
#[derive(Clone, Copy)]
struct Strict<'v>(&'v Value);

impl Strict<'_> {
    fn is_not(self, wanted: impl Into<String>) -> SchemaError {
        let found = match self.0 {
            Value::Null => "nothing".to_owned(),
            Value::Bool(value) => format!("`{value}`"),
            Value::Number(value) => format!("the number {value}"),
            Value::String(value) => format!("the text {value:?}"),
            Value::Array(_) => "a list".to_owned(),
            Value::Object(_) => "a mapping".to_owned(),
        };
        let wanted = wanted.into();
        SchemaError::Type { wanted, found }
    }
}

impl<'v> IntoDeserializer<'v, SchemaError> for Strict<'v> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl<'v> de::Deserializer<'v> for Strict<'v> {
    type Error = SchemaError;

    fn deserialize_any<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, SchemaError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (_, _, number) => visitor.visit_f64(number.unwrap_or(f64::NAN)),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.iter().map(Strict)))
            }
            Value::Object(fields) => {
                let fields = fields
                    .iter()
                    .map(|(key, value)| (key.as_str(), Strict(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
        }
    }

    fn deserialize_option<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, SchemaError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_struct<V: Visitor<'v>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SchemaError> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            _ if matches!(fields.len(), 1..=4) => {
                Err(self.is_not(format!("a mapping with {}", listed(fields, ", "))))
            }
            _ => Err(self.is_not("a mapping")),
        }
    }

    fn deserialize_map<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, SchemaError> {
        match self.0 {
            Value::Object(_) => self.deserialize_any(visitor),
            _ => Err(self.is_not("a mapping")),
        }
    }

    fn deserialize_seq<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, SchemaError> {
        match self.0 {
            Value::Array(_) => self.deserialize_any(visitor),
            Value::Object(_) => Err(self.is_not("a list, whose items begin with `- `")),
            Value::String(text) => Err(self.is_not(format!("a list such as [{text:?}]"))),
            _ => Err(self.is_not("a list")),
        }
    }

    fn deserialize_enum<V: Visitor<'v>>(
        self,
        _: &'static str,
        known: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, SchemaError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(StrDeserializer::new(text)),
            _ => Err(self.is_not(format!("one of {}", listed(known, ", ")))),
        }
    }

    fn deserialize_string<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, SchemaError> {
        match self.0 {
            Value::String(_) => self.deserialize_any(visitor),
            Value::Bool(value) => Err(self.is_not(format!("text, in quotes: \"{value}\""))),
            Value::Number(value) => Err(self.is_not(format!("text, in quotes: \"{value}\""))),
            _ => Err(self.is_not("text")),
        }
    }

    fn deserialize_str<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, SchemaError> {
        self.deserialize_string(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'v>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, SchemaError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_ignored_any<V: Visitor<'v>>(self, visitor: V) -> Result<V::Value, SchemaError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        <V: Visitor<'v>>
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct
        identifier
    }
}
