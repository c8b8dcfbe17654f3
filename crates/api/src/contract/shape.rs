//! The schema of a type, to be made when a document is written.

use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};

/// How the schema of one type is made.
#[derive(Clone, Copy)]
pub(super) struct Shape(fn(&mut SchemaGenerator) -> Schema);

impl Shape {
    /// By reference, where the type has a name.
    pub(super) fn of<T: JsonSchema>() -> Self {
        Self(SchemaGenerator::subschema_for::<T>)
    }

    /// In full, so that its members can be looked at.
    pub(super) fn of_members<T: JsonSchema>() -> Self {
        Self(T::json_schema)
    }

    pub(super) fn make(self, generator: &mut SchemaGenerator) -> Schema {
        (self.0)(generator)
    }
}

impl fmt::Debug for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Shape(..)")
    }
}
