//! Quay's webhook templates.

use serde_json::Value;

/// A webhook's body as its owner wants it.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    document: Value,
}

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    ///
    /// When it is not JSON.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let document =
            serde_json::from_str(text).map_err(|error| TemplateError::NotJson(error.to_string()))?;
        Ok(Self { document })
    }

    /// Fills it.
    ///
    /// # Errors
    ///
    /// When it can't be applied to this payload.
    pub fn apply(&self, _payload: &Value) -> Result<Value, TemplateError> {
        Ok(self.document.clone())
    }
}

/// Why a template will not do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// Not JSON.
    #[error("Could not parse template: {0}")]
    NotJson(String),
}
