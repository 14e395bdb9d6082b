//! `chancery config check` and the refusal of wrong settings.

use std::{
    fs,
    process::{Command, Output},
};

fn chancery(arguments: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_chancery"))
        .args(arguments)
        .env_clear()
        .envs(environment.iter().copied())
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn no_configuration_is_valid_and_every_default_is_shown() {
    let output = chancery(&["config", "check"], &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let shown = text(&output.stdout);
    for line in [
        "server_name = \"localhost\"",
        "[client]",
        "listen = \"127.0.0.1:8008\"",
        "#public_base_url is not set",
    ] {
        assert!(
            shown.lines().any(|shown| shown == line),
            "{line} is missing in\n{shown}"
        );
    }
    assert!(
        shown.parse::<toml::Table>().is_ok(),
        "what is shown can be used as a configuration"
    );
    assert_eq!(text(&output.stderr), "The configuration is valid.\n");
}

#[test]
fn what_is_wrong_is_named_with_its_line_and_reason() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("chancery.toml");
    fs::write(
        &file,
        "server_name = \"example.org\"\n\n[client]\nlisten = 8008\n\n[log]\nfilter = \"a=b=c\"\n",
    )
    .unwrap();
    let output = chancery(
        &["config", "check", "--config", file.to_str().unwrap()],
        &[
            ("CHANCERY_REGISTRATION", "sometimes"),
            ("CHANCERY_REGISTRATION_SHARED_SECRET", "sesame"),
        ],
    );
    assert!(!output.status.success());
    let (shown, errors) = (text(&output.stdout), text(&output.stderr));
    let here = file.display();
    assert!(
        errors.contains(&format!("error: {here} line 4: client.listen: ")),
        "{errors}"
    );
    assert!(
        errors.contains(
            "error: CHANCERY_REGISTRATION: registration.mode: unknown variant `sometimes`"
        ),
        "{errors}"
    );
    assert!(
        errors.contains(&format!("error: {here} line 7: log.filter: ")),
        "{errors}"
    );
    assert!(errors.contains("3 problems"), "{errors}");
    assert!(shown.contains(&format!("# {here} line 1")), "{shown}");
    assert!(shown.contains("shared_secret = \"***\""), "{shown}");
    assert!(!shown.contains("sesame") && !errors.contains("sesame"));
}

#[test]
fn the_server_refuses_to_start_with_wrong_settings() {
    let output = chancery(&["serve"], &[("CHANCERY_FEDERATION_LISTEN", "127.0.0.1:0")]);
    assert!(!output.status.success());
    let errors = text(&output.stderr);
    assert!(
        errors.contains("federation.certificate_file: must be set"),
        "{errors}"
    );
    assert!(
        errors.contains("federation.private_key_file: must be set"),
        "{errors}"
    );
}

#[test]
fn a_default_room_version_that_is_not_supported_is_refused() {
    for (version, is_supported) in [("1", true), ("12", true), ("13", false), ("x.y", false)] {
        let variable = ("CHANCERY_ROOMS_DEFAULT_VERSION", version);
        let output = chancery(&["config", "check"], &[variable]);
        assert_eq!(output.status.success(), is_supported, "{version}");
        let reason = format!("rooms.default_version: room version {version} is not supported");
        assert_ne!(
            text(&output.stderr).contains(&reason),
            is_supported,
            "{version}"
        );
    }
}
