//! Builds the router from typed handlers, and keeps the list of what it registered.

use std::future::Future;

use axum::{
    Router,
    extract::{Request, State},
    handler::Handler,
    response::IntoResponse,
    routing::{MethodFilter, on},
};
use http::Method;
use ruma::api::{IncomingRequest, Metadata, path_builder::PathBuilder};

use crate::{
    authenticate::{Authenticate, Gate},
    error::{Error, Result},
    limits::Class,
    matrix::{Answer, Fixed, Matrix, respond},
};

/// The URL map while it is built; `G` is the state that handlers get.
pub struct Routes<G> {
    router: Router<G>,
    table: Vec<Route>,
}

/// One line of the route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// The method.
    pub method: Method,
    /// Which budget a call is taken from.
    pub class: Option<Class>,
}

impl<G: Gate> Default for Routes<G> {
    fn default() -> Self {
        Self {
            router: Router::new(),
            table: Vec::new(),
        }
    }
}

impl<G: Gate> Routes<G> {
    /// Registers a handler under every path that the specification ever gave its endpoint.
    ///
    /// Its calls are counted as [`Class::General`] where the specification limits them.
    pub fn matrix<R, A, F>(self, handler: impl Endpoint<G, R, A, F>) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: Answer + Send,
        F: Future<Output = Result<A>> + Send,
    {
        self.all_paths(R::RATE_LIMITED.then_some(Class::General), handler)
    }

    /// The same, for an endpoint whose calls are counted in a class of their own.
    pub fn limited<R, A, F>(self, class: Class, handler: impl Endpoint<G, R, A, F>) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: Answer + Send,
        F: Future<Output = Result<A>> + Send,
    {
        self.all_paths(Some(class), handler)
    }

    /// The same, for an endpoint whose calls are not counted.
    pub fn unlimited<R, A, F>(self, handler: impl Endpoint<G, R, A, F>) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: Answer + Send,
        F: Future<Output = Result<A>> + Send,
    {
        self.all_paths(None, handler)
    }

    /// Registers a handler under a path of its own, which fixes a part of the request.
    pub fn matrix_at<R, A, F>(
        mut self,
        path: &'static str,
        fixed: Fixed<'static>,
        class: Option<Class>,
        handler: impl Endpoint<G, R, A, F>,
    ) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: Answer + Send,
        F: Future<Output = Result<A>> + Send,
    {
        let endpoint =
            async move |State(gate): State<G>, request: Request| match Matrix::<R>::receive(
                &gate, request, class, fixed,
            )
            .await
            {
                Ok(call) => respond(handler(gate, call).await),
                Err(error) => error.into_response(),
            };
        self.add(R::METHOD, path, class, endpoint);
        self
    }

    /// Registers a handler that reads the request itself, as media does.
    pub fn raw<T: 'static>(
        mut self,
        method: Method,
        path: &'static str,
        handler: impl Handler<T, G>,
    ) -> Self {
        self.add(method, path, None, handler);
        self
    }

    /// The routes of both.
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }

    /// What has been registered, sorted by path.
    pub fn table(&self) -> Vec<Route> {
        let mut table = self.table.clone();
        table.sort_by(|a, b| (a.path, a.method.as_str()).cmp(&(b.path, b.method.as_str())));
        table
    }

    /// The router; whatever is not registered is answered with `M_UNRECOGNIZED`.
    pub fn into_router(self, gate: G) -> Router {
        self.router
            .fallback(async || Error::unrecognized())
            .method_not_allowed_fallback(async || Error::method_not_allowed())
            .with_state(gate)
    }

    fn all_paths<R, A, F>(
        mut self,
        class: Option<Class>,
        handler: impl Endpoint<G, R, A, F>,
    ) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: Answer + Send,
        F: Future<Output = Result<A>> + Send,
    {
        for path in R::PATH_BUILDER.all_paths() {
            self = self.matrix_at(path, Fixed::default(), class, handler.clone());
        }
        self
    }

    fn add<T: 'static>(
        &mut self,
        method: Method,
        path: &'static str,
        class: Option<Class>,
        handler: impl Handler<T, G>,
    ) {
        let Ok(filter) = MethodFilter::try_from(method.clone()) else {
            return;
        };
        let router = std::mem::take(&mut self.router);
        self.router = router.route(path, on(filter, handler));
        self.table.push(Route {
            path,
            method,
            class,
        });
    }
}

/// A handler: a function of the state and a decoded request.
pub trait Endpoint<G, R: Metadata<Authentication: Authenticate>, A, F>:
    Fn(G, Matrix<R>) -> F + Clone + Send + Sync + 'static
{
}

impl<G, R, A, F, H> Endpoint<G, R, A, F> for H
where
    R: Metadata<Authentication: Authenticate>,
    F: Future<Output = Result<A>>,
    H: Fn(G, Matrix<R>) -> F + Clone + Send + Sync + 'static,
{
}
