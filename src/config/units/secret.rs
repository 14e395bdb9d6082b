//! Secrets: masked when printed, and read from the files that hold them.

use std::path::Path;

use serde::Serializer;
use types::Secret;

use crate::problem::Findings;

/// Writes `"***"` for a secret that is set; for `#[serde(serialize_with = "…")]`.
#[expect(clippy::ref_option, reason = "the signature that serde calls")]
pub(crate) fn masked<S: Serializer>(
    secret: &Option<Secret>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match secret {
        Some(_) => serializer.serialize_some("***"),
        None => serializer.serialize_none(),
    }
}

/// Fills in the secret at `key` from the file named by `key_file`, where that is set.
pub(crate) fn read_file(
    secret: &mut Option<Secret>,
    file: Option<&Path>,
    key: &str,
    findings: &mut Findings,
) {
    let Some(path) = file else { return };
    let file_key = format!("{key}_file");
    if secret.is_some() {
        findings.add(&file_key, format!("{key} is set too; keep one of them"));
        return;
    }
    match std::fs::read_to_string(path) {
        Ok(text) if text.trim().is_empty() => {
            findings.add(&file_key, format!("{} is empty", path.display()));
        }
        Ok(text) => *secret = Some(Secret::new(text.trim())),
        Err(error) => findings.add(
            &file_key,
            format!("cannot read {}: {error}", path.display()),
        ),
    }
}
