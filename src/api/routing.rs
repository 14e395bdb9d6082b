//! Builds the router from typed handlers and records the route table.

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
    authenticate::{ApiState, Authenticate},
    error::{Error, Result},
    limits::Class,
    matrix::{IntoMatrixResponse, Matrix, PathDefaults, respond},
};

/// The route table under construction; `S` is the router state.
pub struct Routes<S> {
    router: Router<S>,
    table: Vec<Route>,
}

/// One line of the route table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// The path, with `{parameters}`.
    pub path: &'static str,
    /// The method.
    pub method: Method,
    /// The rate-limit class.
    pub class: Option<Class>,
}

impl<S: ApiState> Default for Routes<S> {
    fn default() -> Self {
        Self {
            router: Router::new(),
            table: Vec::new(),
        }
    }
}

impl<S: ApiState> Routes<S> {
    /// Registers a handler under every path of its endpoint, in all versions of the specification.
    ///
    /// Rate-limited as [`Class::General`] where the specification says so.
    pub fn matrix<R, A, F>(self, handler: impl Endpoint<S, R, A, F>) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: IntoMatrixResponse + Send,
        F: Future<Output = Result<A>> + Send,
    {
        self.all_paths(R::RATE_LIMITED.then_some(Class::General), handler)
    }

    /// The same with a rate-limit class.
    pub fn limited<R, A, F>(self, class: Class, handler: impl Endpoint<S, R, A, F>) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: IntoMatrixResponse + Send,
        F: Future<Output = Result<A>> + Send,
    {
        self.all_paths(Some(class), handler)
    }

    /// The same without rate limit.
    pub fn unlimited<R, A, F>(self, handler: impl Endpoint<S, R, A, F>) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: IntoMatrixResponse + Send,
        F: Future<Output = Result<A>> + Send,
    {
        self.all_paths(None, handler)
    }

    /// Registers a handler under one path, with defaults for parts of the request.
    pub fn matrix_at<R, A, F>(
        mut self,
        path: &'static str,
        defaults: PathDefaults<'static>,
        class: Option<Class>,
        handler: impl Endpoint<S, R, A, F>,
    ) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: IntoMatrixResponse + Send,
        F: Future<Output = Result<A>> + Send,
    {
        let endpoint = async move |State(state): State<S>, request: Request| {
            // Boxed: it is over before the handler begins, which may wait for long, and would
            // take its memory.
            let received = Box::pin(Matrix::<R>::receive(&state, request, class, defaults));
            match received.await {
                Ok(call) => respond(handler(state, call).await),
                Err(error) => error.into_response(),
            }
        };
        self.add(R::METHOD, path, class, endpoint);
        self
    }

    /// Registers a handler that reads the raw request, such as a media upload.
    pub fn raw<T: 'static>(
        mut self,
        method: Method,
        path: &'static str,
        handler: impl Handler<T, S>,
    ) -> Self {
        self.add(method, path, None, handler);
        self
    }

    /// Adds the routes of `other`.
    pub fn merge(mut self, other: Self) -> Self {
        self.router = self.router.merge(other.router);
        self.table.extend(other.table);
        self
    }

    /// The route table, sorted by path.
    pub fn table(&self) -> Vec<Route> {
        let mut table = self.table.clone();
        table.sort_by(|a, b| (a.path, a.method.as_str()).cmp(&(b.path, b.method.as_str())));
        table
    }

    /// The router; unknown paths and methods get `M_UNRECOGNIZED`.
    pub fn into_router(self, state: S) -> Router {
        self.router
            .fallback(async || Error::unrecognized())
            .method_not_allowed_fallback(async || Error::method_not_allowed())
            .with_state(state)
    }

    fn all_paths<R, A, F>(
        mut self,
        class: Option<Class>,
        handler: impl Endpoint<S, R, A, F>,
    ) -> Self
    where
        R: IncomingRequest + Metadata<Authentication: Authenticate> + Send + 'static,
        A: IntoMatrixResponse + Send,
        F: Future<Output = Result<A>> + Send,
    {
        for path in R::PATH_BUILDER.all_paths() {
            self = self.matrix_at(path, PathDefaults::default(), class, handler.clone());
        }
        self
    }

    fn add<T: 'static>(
        &mut self,
        method: Method,
        path: &'static str,
        class: Option<Class>,
        handler: impl Handler<T, S>,
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

/// A handler: a function of the router state and a decoded request.
pub trait Endpoint<S, R: Metadata<Authentication: Authenticate>, A, F>:
    Fn(S, Matrix<R>) -> F + Clone + Send + Sync + 'static
{
}

impl<S, R, A, F, H> Endpoint<S, R, A, F> for H
where
    R: Metadata<Authentication: Authenticate>,
    F: Future<Output = Result<A>>,
    H: Fn(S, Matrix<R>) -> F + Clone + Send + Sync + 'static,
{
}
