//! The whole URL map, by consumer.

use http::Method;

use crate::{App, Routes, client, health, well_known};

/// Every endpoint of the server.
pub fn all() -> Routes<App> {
    Routes::default()
        .merge(operations())
        .merge(discovery())
        .merge(client())
}

/// For load balancers and those who run the server.
fn operations() -> Routes<App> {
    Routes::default().raw(Method::GET, "/health", health::health)
}

/// For whoever looks for this server.
fn discovery() -> Routes<App> {
    Routes::default()
        .matrix(well_known::client)
        .matrix(well_known::support)
        .raw(
            Method::GET,
            "/.well-known/matrix/server",
            well_known::server,
        )
}

/// For clients, in the order of the specification.
fn client() -> Routes<App> {
    Routes::default()
        .raw(
            Method::GET,
            "/_matrix/client/versions",
            client::versions::versions,
        )
        .matrix(client::capabilities::capabilities)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn route_table_is_as_recorded() {
        let lines: Vec<String> = all()
            .table()
            .iter()
            .map(|route| match route.class {
                Some(class) => format!("{} {}  {class:?}", route.method, route.path),
                None => format!("{} {}", route.method, route.path),
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
