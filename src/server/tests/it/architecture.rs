//! Holds the layers of the workspace and the crates that only some members may use.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// A crate depends only on crates of lower layers, never on one of its own.
const LAYERS: [&[&str]; 8] = [
    &["types"],
    &["event", "config"],
    &["postgres", "storage", "net"],
    &["federation", "live", "worker"],
    &[
        "room", "identity", "e2ee", "media", "sync", "delivery", "push",
    ],
    &["records", "organisation", "testkit"],
    &["api"],
    &["server"],
];

/// Third-party crates that only these members may use outside their tests.
const RESERVED: [(&str, &[&str]); 3] = [
    ("sqlx", &["postgres", "storage", "testkit"]),
    ("reqwest", &["net"]),
    ("axum", &["api", "server", "testkit"]),
];

/// What must not come in through any dependency: C libraries with build systems of their own.
const BANNED: [&str; 4] = ["openssl-sys", "native-tls", "aws-lc-rs", "aws-lc-sys"];

/// For tests only; no member depends on it to run.
const TESTS_ONLY: &str = "testkit";

struct Member {
    name: String,
    dependencies: Vec<String>,
    test_dependencies: Vec<String>,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn toml(path: &Path) -> toml::Table {
    let text =
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn members() -> Vec<Member> {
    let workspace = toml(&root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"].as_array().unwrap();
    let path = |member: &toml::Value| root().join(member.as_str().unwrap()).join("Cargo.toml");
    members
        .iter()
        .map(|member| read(&toml(&path(member))))
        .collect()
}

fn read(manifest: &toml::Table) -> Member {
    let names = |section: &str| -> Vec<String> {
        manifest
            .get(section)
            .and_then(toml::Value::as_table)
            .into_iter()
            .flat_map(toml::Table::keys)
            .cloned()
            .collect()
    };
    let mut dependencies = names("dependencies");
    dependencies.extend(names("build-dependencies"));
    Member {
        name: manifest["package"]["name"].as_str().unwrap().to_owned(),
        dependencies,
        test_dependencies: names("dev-dependencies"),
    }
}

fn layer(name: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&name))
}

#[test]
fn every_member_has_a_layer_and_they_are_listed_in_its_order() {
    let layers: Vec<_> = members()
        .iter()
        .map(|member| layer(&member.name).unwrap_or_else(|| panic!("{} has no layer", member.name)))
        .collect();
    assert!(
        layers.is_sorted(),
        "Cargo.toml lists the members in layer order"
    );
}

#[test]
fn a_crate_depends_only_on_lower_layers() {
    for member in members() {
        for dependency in &member.dependencies {
            let Some(below) = layer(dependency) else {
                continue;
            };
            assert!(
                below < layer(&member.name).unwrap(),
                "{} must not depend on {dependency}",
                member.name
            );
        }
    }
}

#[test]
fn only_tests_depend_on_the_testkit() {
    for member in members() {
        let depends = member
            .dependencies
            .iter()
            .any(|dependency| dependency == TESTS_ONLY);
        assert!(
            !depends,
            "{} depends on {TESTS_ONLY} outside its tests",
            member.name
        );
    }
}

#[test]
fn tests_depend_only_on_lower_layers_and_the_testkit() {
    for member in members() {
        for dependency in member
            .test_dependencies
            .iter()
            .filter(|dependency| *dependency != TESTS_ONLY)
        {
            let Some(below) = layer(dependency) else {
                continue;
            };
            assert!(
                below < layer(&member.name).unwrap(),
                "the tests of {} must not use {dependency}",
                member.name
            );
        }
    }
}

#[test]
fn reserved_crates_are_used_only_where_they_belong() {
    let reserved = BTreeMap::from(RESERVED);
    for member in members() {
        for dependency in &member.dependencies {
            let Some(owners) = reserved.get(dependency.as_str()) else {
                continue;
            };
            assert!(
                owners.contains(&member.name.as_str()),
                "{} must not use {dependency}",
                member.name
            );
        }
    }
}

#[test]
fn only_identity_grants_permissions() {
    let mut files = sources(&root().join("src"));
    files.retain(|file| fs::read_to_string(file).unwrap().contains("Admin::grant("));
    assert!(!files.is_empty());
    for file in files {
        let path = file.strip_prefix(root().join("src")).unwrap();
        let allowed = path.starts_with("identity")
            || path.components().any(|part| part.as_os_str() == "tests");
        assert!(allowed, "{} grants a permission", path.display());
    }
}

/// The Rust files below a folder.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let (folders, files): (Vec<_>, Vec<_>) = entries.partition(|path| path.is_dir());
    let files = files
        .into_iter()
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    files
        .chain(folders.iter().flat_map(|folder| sources(folder)))
        .collect()
}

#[test]
fn no_banned_crate_comes_in() {
    let lock = toml(&root().join("Cargo.lock"));
    let packages = lock["package"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        assert!(!BANNED.contains(&name), "{name} is in Cargo.lock");
    }
}
