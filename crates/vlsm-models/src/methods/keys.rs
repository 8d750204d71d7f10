//! The keys of a method's section of a recipe.

use std::fmt::{self, Display};

use serde::de::value::Error;
use serde::de::{DeserializeOwned, Deserializer, Error as _, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Map, Value};

/// An invalid key of a method.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyError {
    /// The key.
    pub key: String,
    message: String,
}

impl KeyError {
    /// An invalid value.
    pub(super) fn value(key: &str, message: &str) -> Self {
        Self {
            key: key.to_owned(),
            message: format!(": {message}"),
        }
    }

    /// A key that `kind` does not have. `known` are the keys of `kind`; `with` are the kinds that
    /// have the key.
    pub(super) fn foreign(key: &str, kind: &str, with: &[&str], known: &[&str]) -> Self {
        let message = if with.is_empty() {
            format!(
                " is not a key of any method; kind \"{kind}\" has `{}`",
                known.join("`, `")
            )
        } else {
            let (kinds, s) = (with.join("\", \""), if with.len() == 1 { "" } else { "s" });
            format!(
                " belongs to kind{s} \"{kinds}\"; this method is of kind \"{kind}\": leave out `{key}`, or change the kind"
            )
        };
        Self {
            key: key.to_owned(),
            message,
        }
    }

    /// The same error for a key within a section, such as `method`.
    pub fn within(mut self, section: &str) -> Self {
        self.key = format!("{section}.{}", self.key);
        self
    }
}

impl Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}`{}", self.key, self.message)
    }
}

impl std::error::Error for KeyError {}

/// The keys of a section, taken from its `Deserialize`.
pub(super) fn of<T: DeserializeOwned>() -> &'static [&'static str] {
    struct Fields<'a>(&'a mut &'static [&'static str]);
    impl<'de> Deserializer<'de> for Fields<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _name: &'static str,
            fields: &'static [&'static str],
            _visitor: V,
        ) -> Result<V::Value, Error> {
            *self.0 = fields;
            Err(Error::custom("only the fields are wanted"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Error> {
            Err(Error::custom("not a struct"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 u8 u16 u32 u64 f32 f64 char str string bytes byte_buf option unit unit_struct
            newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }
    let mut fields: &'static [&'static str] = &[];
    let _ = T::deserialize(Fields(&mut fields));
    fields
}

/// Reads a section from its keys and values.
pub(super) fn read<T: DeserializeOwned>(keys: Map<String, Value>) -> Result<T, KeyError> {
    serde_path_to_error::deserialize(Value::Object(keys))
        .map_err(|error| KeyError::value(&error.path().to_string(), &error.inner().to_string()))
}
