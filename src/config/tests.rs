use std::{io::Write, path::PathBuf};

use super::*;

const EXAMPLE: &str = include_str!("../../config.example.toml");

fn from_environment(variables: &[(&str, &str)]) -> Loaded {
    load(
        None,
        variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
    )
}

fn from_file(text: &str) -> Loaded {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load(Some(file.path().to_owned()), [])
}

fn reasons(loaded: &Loaded) -> Vec<String> {
    let path = |problem: &Problem| match &problem.origin {
        Origin::File { line, .. } => format!("line {line}: {}: {}", problem.key, problem.reason),
        _ => problem.to_string(),
    };
    loaded.problems.iter().map(path).collect()
}

/// What the settings are, whatever they come from.
fn effective(loaded: &Loaded) -> Vec<(String, Option<String>)> {
    loaded
        .settings()
        .into_iter()
        .map(|setting| (setting.key, setting.value))
        .collect()
}

#[test]
fn no_configuration_at_all_is_valid() {
    let loaded = from_environment(&[]);
    assert_eq!(reasons(&loaded), Vec::<String>::new());
    assert_eq!(loaded.config.server_name, "localhost");
    assert_eq!(loaded.config.data_dir, PathBuf::from("./data"));
    assert_eq!(loaded.config.client.listen.to_string(), "127.0.0.1:8008");
    assert_eq!(loaded.config.public_base_url(), "http://localhost:8008");
    assert_eq!(loaded.config.registration.mode, RegistrationMode::Closed);
}

#[test]
fn every_section_is_listed() {
    let sections = keys::sections().map(|(name, _)| name);
    let root: Vec<_> = keys::of::<Config>()
        .iter()
        .filter(|key| sections.contains(key))
        .collect();
    assert_eq!(root.len(), sections.len());
    assert!(
        sections
            .iter()
            .zip(keys::sections())
            .all(|(_, (_, keys))| !keys.is_empty())
    );
    let known = keys::of::<Config>().len();
    assert_eq!(
        known,
        sections.len() + 2,
        "a section of Config is missing in keys::sections"
    );
}

#[test]
fn the_example_holds_every_default() {
    let example = from_file(EXAMPLE);
    assert_eq!(reasons(&example), Vec::<String>::new());
    assert_eq!(effective(&example), effective(&from_environment(&[])));
}

#[test]
fn the_example_shows_every_key() {
    let mut section = String::new();
    let mut shown = std::collections::BTreeSet::new();
    for line in EXAMPLE.lines() {
        if let Some(name) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            name.clone_into(&mut section);
        } else if let Some((key, _)) = line.trim_start_matches('#').split_once(" = ") {
            let prefix = if section.is_empty() {
                String::new()
            } else {
                format!("{section}.")
            };
            shown.insert(format!("{prefix}{key}"));
        }
    }
    let missing: Vec<_> = keys::all()
        .into_iter()
        .filter(|key| !shown.contains(key))
        .collect();
    assert_eq!(missing, Vec::<String>::new());
}

#[test]
fn the_commented_lines_of_the_example_are_valid() {
    let text = EXAMPLE
        .lines()
        .map(uncommented)
        .collect::<Vec<_>>()
        .join("\n");
    // The example names some settings twice: empty, and filled.
    let text = text
        .replace("support_contacts = []", "")
        .replace("peers = {}", "")
        .replace("uris = []", "");
    let loaded = from_file(&text);
    let unexpected: Vec<_> = reasons(&loaded)
        .into_iter()
        .filter(|reason| !reason.contains("there is no file") && !reason.contains("cannot read"))
        .filter(|reason| !reason.contains("keep one of them") && !reason.contains("has no effect"))
        .collect();
    assert_eq!(unexpected, Vec::<String>::new());
    assert!(
        loaded
            .settings()
            .iter()
            .all(|setting| setting.value.is_some())
    );
}

fn uncommented(line: &str) -> &str {
    match line.strip_prefix('#') {
        Some(rest) if !rest.starts_with(' ') => rest,
        _ => line,
    }
}

#[test]
fn every_problem_is_reported_at_once_with_its_line() {
    let loaded = from_file(
        "server_name = \"not a name\"\n\
         colour = \"red\"\n\
         [client]\n\
         listen = \"8008\"\n\
         max_body = \"many\"\n\
         [federation]\n\
         listen = \"127.0.0.1:8448\"\n\
         [registration]\n\
         mode = \"sometimes\"\n\
         [sesions]\n\
         access_token_lifetime = \"5m\"\n\
         [rate_limits]\n\
         send = { per_second = 0, burst = 1 }\n\
         [user_directory]\n\
         search = \"everybody\"\n\
         [search]\n\
         language = \"klingon\"\n",
    );
    let reasons = reasons(&loaded);
    let expected = [
        "line 1: server_name: ",
        "line 2: colour: there is no such setting",
        "line 4: client.listen: expected host:port",
        "line 5: client.max_body: ",
        "line 9: registration.mode: unknown variant `sometimes`, expected one of `closed`, `token`, `open`",
        "line 11: sesions.access_token_lifetime: there is no such setting, and no section [sesions]",
        "line 13: rate_limits.send: ",
        "line 15: user_directory.search: unknown variant `everybody`, expected `shared_rooms` or `all`",
        "line 17: search.language: must be one of simple, ",
        "federation.certificate_file: must be set",
        "federation.private_key_file: must be set",
    ];
    for start in expected {
        assert!(
            reasons.iter().any(|reason| reason.starts_with(start)),
            "{start} is missing in {reasons:#?}"
        );
    }
    assert_eq!(reasons.len(), expected.len(), "{reasons:#?}");
}

#[test]
fn a_syntax_error_names_its_line() {
    let loaded = from_file("server_name = \"a\"\n[client\n");
    assert!(
        reasons(&loaded)[0].starts_with("line 2: "),
        "{:?}",
        reasons(&loaded)
    );
}

#[test]
fn the_environment_wins_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"server_name = \"file.example\"\n[client]\nlisten = \"127.0.0.1:1\"\n")
        .unwrap();
    let variables = [
        (
            "CHANCERY_CONFIG".to_owned(),
            file.path().display().to_string(),
        ),
        ("CHANCERY_LISTEN".to_owned(), "127.0.0.1:2".to_owned()),
        ("CHANCERY_DATA_DIR".to_owned(), String::new()),
    ];
    let loaded = load(None, variables);
    assert_eq!(reasons(&loaded), Vec::<String>::new());
    assert_eq!(loaded.config.server_name, "file.example");
    assert_eq!(loaded.config.client.listen.port(), 2);
    assert_eq!(loaded.config.data_dir, PathBuf::from("./data"));
    let listen = loaded
        .settings()
        .into_iter()
        .find(|setting| setting.key == "client.listen")
        .unwrap();
    assert_eq!(
        listen.origin,
        Origin::Environment("CHANCERY_LISTEN".to_owned())
    );
}

#[test]
fn every_key_can_come_from_the_environment() {
    let loaded = from_environment(&[
        ("CHANCERY_SERVER_NAME", "env.example"),
        ("CHANCERY_FEDERATION_LISTEN", "127.0.0.1:0"),
        ("CHANCERY_FEDERATION_CERTIFICATE_FILE", "/dev/null"),
        ("CHANCERY_REGISTRATION", "open"),
        ("CHANCERY_REGISTRATION_SHARED_SECRET", "12345"),
        ("CHANCERY_RATE_LIMITS", "off"),
        ("CHANCERY_RATE_LIMITS_SEND", "{ per_second = 3, burst = 4 }"),
        ("CHANCERY_DATABASE_URL", "postgres://localhost/x"),
        ("CHANCERY_DATABASE_MAX_CONNECTIONS", "5"),
        ("CHANCERY_MEDIA_MAX_UPLOAD_SIZE", "1 GiB"),
        ("CHANCERY_COLOUR", "red"),
    ]);
    let config = &loaded.config;
    assert_eq!(config.registration.mode, RegistrationMode::Open);
    assert_eq!(
        config.registration.shared_secret.as_ref().unwrap().expose(),
        "12345"
    );
    assert!(!config.rate_limits.enabled);
    assert_eq!(
        config.rate_limits.send,
        RateLimit {
            per_second: 3.0,
            burst: 4
        }
    );
    assert_eq!(config.database.max_connections, 5);
    assert_eq!(config.media.max_upload_size.get(), 1 << 30);
    assert_eq!(
        loaded.warnings,
        ["the environment variable CHANCERY_COLOUR names no setting"]
    );
    let reasons = reasons(&loaded);
    assert_eq!(reasons.len(), 2, "{reasons:#?}");
}

#[test]
fn pushing_needs_time_and_requests() {
    let loaded = from_file(
        "[push]\ntimeout = \"21s\"\nmax_retry_interval = \"0s\"\nparallel_requests = 0\n\
         [limits]\npushers_per_user = 0\n",
    );
    let reasons = reasons(&loaded);
    for key in [
        "push.timeout",
        "push.max_retry_interval",
        "push.parallel_requests",
        "limits.pushers_per_user",
    ] {
        let is_named = reasons.iter().any(|reason| reason.contains(key));
        assert!(is_named, "{key}: {reasons:?}");
    }
}

#[test]
fn a_bad_variable_is_named() {
    let loaded = from_environment(&[
        ("CHANCERY_RATE_LIMITS", "maybe"),
        ("CHANCERY_DATABASE_MAX_CONNECTIONS", "x"),
    ]);
    let reasons = reasons(&loaded);
    assert!(
        reasons
            .iter()
            .any(|reason| reason.starts_with("CHANCERY_RATE_LIMITS: rate_limits.enabled: "))
    );
    assert!(
        reasons
            .iter()
            .any(|reason| reason.starts_with("CHANCERY_DATABASE_MAX_CONNECTIONS: ")),
        "{reasons:?}"
    );
}

#[test]
fn secrets_come_from_files_and_are_never_shown() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"sesame\n").unwrap();
    let path = file.path().display().to_string();
    let loaded = from_environment(&[("CHANCERY_REGISTRATION_SHARED_SECRET_FILE", &path)]);
    assert_eq!(
        loaded
            .config
            .registration
            .shared_secret
            .as_ref()
            .unwrap()
            .expose(),
        "sesame"
    );
    let shown = format!("{:?}{:?}", loaded.config, loaded.settings());
    assert!(!shown.contains("sesame"), "{shown}");

    let both = from_environment(&[
        ("CHANCERY_REGISTRATION_SHARED_SECRET_FILE", &path),
        ("CHANCERY_REGISTRATION_SHARED_SECRET", "other"),
    ]);
    assert!(
        reasons(&both)[0].contains("keep one of them"),
        "{:?}",
        reasons(&both)
    );
}

#[test]
fn a_missing_file_is_a_problem() {
    let loaded = load(Some(PathBuf::from("does/not/exist.toml")), []);
    assert!(
        reasons(&loaded)[0].contains("cannot be read"),
        "{:?}",
        reasons(&loaded)
    );
}
