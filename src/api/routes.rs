//! The whole URL map, by consumer.

use http::Method;

use crate::{App, Routes, client, health};

/// Every endpoint of the server.
pub fn all() -> Routes<App> {
    Routes::default().merge(operations()).merge(client())
}

/// For load balancers and those who run the server.
fn operations() -> Routes<App> {
    Routes::default().raw(Method::GET, "/health", health::health)
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
