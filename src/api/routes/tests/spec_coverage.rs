//! `docs/spec-coverage.md`: which endpoints of the specification are there.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::PathBuf,
};

use super::all;

/// The endpoints of the specification v1.19: API, method, path.
const SPEC: &str = include_str!("../spec_endpoints.tsv");

/// Why endpoints are missing, by the beginning of their paths.
const MISSING: &[(&str, &str)] = &[
    (
        "/.well-known/matrix/policy_server",
        "this server is no policy server",
    ),
    ("/_matrix/policy/v1/sign", "this server is no policy server"),
    (
        "/_matrix/federation/v1/query/{}",
        "there are no queries but those with paths of their own",
    ),
    ("/_matrix/client/v1/admin/", "administration"),
    ("/_matrix/client/v3/admin/", "administration"),
    ("/_matrix/client/v1/appservice/", "application services"),
    (
        "/_matrix/client/v3/directory/list/appservice/",
        "application services",
    ),
    ("/_matrix/client/v3/thirdparty/", "application services"),
    ("/_matrix/client/v1/auth_metadata", "OAuth 2.0"),
    ("/_matrix/client/v3/login/sso/", "single sign-on"),
    ("/_matrix/client/v3/account/3pid", "addresses of accounts"),
    (
        "/_matrix/client/v3/account/password/",
        "addresses of accounts",
    ),
    ("/_matrix/client/v3/register/", "addresses of accounts"),
    (
        "/_matrix/client/v1/media/preview_url",
        "previews of web pages",
    ),
    ("/_matrix/media/v3/preview_url", "previews of web pages"),
    (
        "/_matrix/client/v3/events",
        "streams of events before `/sync`",
    ),
    (
        "/_matrix/client/v3/initialSync",
        "streams of events before `/sync`",
    ),
];

/// A path with its variables unnamed.
fn unnamed(path: &str) -> String {
    let mut parts = path
        .split('/')
        .map(|part| if part.starts_with('{') { "{}" } else { part });
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |path, part| path + "/" + part)
}

fn page() -> String {
    let table = all().table();
    let routes = table
        .iter()
        .map(|route| (route.method.as_str().to_owned(), unnamed(route.path)));
    let routes: BTreeSet<(String, String)> = routes.collect();
    let mut apis: BTreeMap<&str, Vec<(String, Option<&str>)>> = BTreeMap::new();
    let mut reasons = BTreeSet::new();
    for line in SPEC.lines() {
        let [api, method, path] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("three columns: {line}");
        };
        let is_there = routes.contains(&(method.to_owned(), unnamed(path)));
        let reason = MISSING
            .iter()
            .find(|(start, _)| unnamed(path).starts_with(start));
        let missing = match (is_there, reason) {
            (true, _) => None,
            (false, Some((start, reason))) => {
                reasons.insert(*start);
                Some(*reason)
            }
            (false, None) => panic!("{method} {path} is missing"),
        };
        apis.entry(api)
            .or_default()
            .push((format!("{method} {path}"), missing));
    }
    let unused = MISSING.iter().filter(|(start, _)| !reasons.contains(start));
    assert_eq!(
        unused.collect::<Vec<_>>(),
        Vec::<&(&str, &str)>::new(),
        "these are there"
    );

    let mut page = String::from(
        "# Coverage of the specification\n\n\
        Written by a test from the route table (`src/api/routes/tests/spec_coverage.rs`); do not change it by hand.\n\n\
        The endpoints of the Matrix specification v1.19. An endpoint that is missing answers 404 `M_UNRECOGNIZED`.\n",
    );
    for (api, endpoints) in apis {
        let there = endpoints
            .iter()
            .filter(|(_, missing)| missing.is_none())
            .count();
        let _ = write!(
            page,
            "\n## {api}: {there} of {}\n\n| endpoint | |\n|---|---|\n",
            endpoints.len()
        );
        for (endpoint, missing) in endpoints {
            let state = missing.map_or("works".to_owned(), |reason| format!("missing: {reason}"));
            let _ = writeln!(page, "| `{endpoint}` | {state} |");
        }
    }
    page
}

#[test]
fn spec_coverage_is_as_documented() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec-coverage.md");
    let page = page();
    if std::env::var_os("INSTA_UPDATE").is_some_and(|update| update == "always") {
        fs::write(&file, &page).unwrap();
    }
    let recorded = fs::read_to_string(&file).unwrap_or_default();
    assert!(
        recorded == page,
        "docs/spec-coverage.md: INSTA_UPDATE=always cargo test -p api"
    );
}
