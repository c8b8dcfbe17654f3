//! Routes with their descriptions.

use std::sync::Arc;

use axum::{
    Router,
    handler::Handler,
    routing::{any, on},
};

use super::Operation;
use crate::App;

/// Routes, and what the contract says of them: nothing is served that is not described.
#[derive(Default)]
pub(crate) struct Routes {
    router: Router<Arc<App>>,
    operations: Vec<Operation>,
}

impl Routes {
    /// Serves one operation.
    ///
    /// # Panics
    ///
    /// When its verb is served at its path already.
    #[must_use]
    pub(crate) fn serve<H, T>(mut self, operation: Operation, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let route = on(operation.verb.filter(), handler);
        if let Some(also) = &operation.also {
            self.router = self.router.route(also, route.clone());
        }
        self.router = self.router.route(&operation.path, route);
        self.operations.push(operation);
        self
    }

    /// Serves operations of one verb at a path that takes the rest, because a router can't see where its parts end.
    #[must_use]
    pub(crate) fn serve_rest<H, T, const N: usize>(
        mut self,
        path: &str,
        operations: [Operation; N],
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        const { assert!(N > 0, "a route without a description") };
        self.router = self.router.route(path, on(operations[0].verb.filter(), handler));
        self.operations.extend(operations);
        self
    }

    /// Serves operations by one handler that tells their verbs apart itself, and refuses others in its own form.
    #[must_use]
    pub(crate) fn serve_all<H, T>(
        mut self,
        path: &str,
        operations: impl IntoIterator<Item = Operation>,
        handler: H,
    ) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let before = self.operations.len();
        self.operations.extend(operations);
        assert!(self.operations.len() > before, "{path} is served without a description");
        self.router = self.router.route(path, any(handler));
        self
    }

    /// Leads a path that lacks the slash of one that is served there.
    #[must_use]
    pub(crate) fn lead<H, T>(mut self, path: &str, handler: H) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        self.router = self.router.route(path, any(handler));
        self
    }

    /// These and the others.
    #[must_use]
    pub(crate) fn and(mut self, others: Self) -> Self {
        self.router = self.router.merge(others.router);
        self.operations.extend(others.operations);
        self
    }

    pub(crate) fn into_router(self) -> Router<Arc<App>> {
        self.router
    }

    pub(crate) fn into_operations(self) -> Vec<Operation> {
        self.operations
    }
}
