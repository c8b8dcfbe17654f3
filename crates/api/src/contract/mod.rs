//! What the API promises, and the only way to serve anything: a route is made of a handler and what the contract says of
//! it, and the published documents are written from these descriptions and the types that are read and answered.

mod asyncapi;
mod event;
mod openapi;
mod operation;
mod routes;
mod shape;

pub use asyncapi::asyncapi;
pub(crate) use event::EventDocument;
pub use openapi::openapi;
pub(crate) use openapi::tie_settings;
pub(crate) use operation::Operation;
pub(crate) use routes::Routes;
