//! Contracts as JSON Schema, made of the very types and tables that check what comes in and write what goes out.

mod events;
mod formats;
mod settings;
mod words;

pub use events::event_schema;
pub use formats::format_schema;
pub use settings::settings_schema;
