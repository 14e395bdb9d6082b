//! Finds the programs of PostgreSQL on this machine.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::Error;

const MIN_VERSION: u32 = 14;

/// Where distributions install one directory per version.
const VERSIONS_DIRECTORY: &str = "/usr/lib/postgresql";

/// One installation of PostgreSQL.
#[derive(Clone, Debug)]
pub(crate) struct Binaries {
    directory: PathBuf,
    version: u32,
}

impl Binaries {
    /// The configured programs or else, of the installed ones, those of the cluster's version or the newest.
    pub(crate) fn find(
        configured: Option<&Path>,
        cluster: Option<(PathBuf, String)>,
    ) -> Result<Self, Error> {
        let candidates = configured.map_or_else(candidates, |directory| vec![directory.to_owned()]);
        let mut found: Vec<Self> = candidates
            .iter()
            .filter_map(|directory| Self::in_directory(directory))
            .collect();
        found.sort_by_key(|binaries| binaries.version);
        let missing = || Error::MissingBinaries {
            oldest: MIN_VERSION,
            searched: comma_separated(candidates.iter().map(|path| path.display())),
        };
        let Some((path, version)) = cluster else {
            return found.pop().ok_or_else(missing);
        };
        if found.is_empty() {
            return Err(missing());
        }
        let installed = comma_separated(found.iter().map(|binaries| binaries.version));
        let matching = found
            .into_iter()
            .find(|binaries| binaries.version.to_string() == version);
        matching.ok_or(Error::VersionMismatch {
            path,
            cluster: version,
            installed,
        })
    }

    /// The path of one program.
    pub(crate) fn program(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn in_directory(directory: &Path) -> Option<Self> {
        let has = |name| directory.join(name).is_file();
        if !has("postgres") || !has("initdb") {
            return None;
        }
        let output = Command::new(directory.join("postgres"))
            .arg("--version")
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let version = major_version(&String::from_utf8_lossy(&output.stdout))?;
        (version >= MIN_VERSION).then(|| Self {
            directory: directory.to_owned(),
            version,
        })
    }
}

/// `postgres (PostgreSQL) 15.18 (Debian …)` → 15.
fn major_version(output: &str) -> Option<u32> {
    let (_, version) = output.split_once("(PostgreSQL) ")?;
    version
        .split(|c: char| !c.is_ascii_digit())
        .next()?
        .parse()
        .ok()
}

fn candidates() -> Vec<PathBuf> {
    let mut candidates = BTreeSet::new();
    let versions = fs::read_dir(VERSIONS_DIRECTORY)
        .into_iter()
        .flatten()
        .filter_map(Result::ok);
    candidates.extend(
        versions
            .map(|version| version.path().join("bin"))
            .filter(|path| path.is_dir()),
    );
    let path = std::env::var_os("PATH").unwrap_or_default();
    let on_path =
        std::env::split_paths(&path).filter(|directory| directory.join("postgres").is_file());
    candidates.extend(on_path);
    if candidates.is_empty() {
        candidates.insert(PathBuf::from("/usr/lib/postgresql/*/bin"));
        candidates.insert(PathBuf::from("$PATH"));
    }
    candidates.into_iter().collect()
}

fn comma_separated<T: std::fmt::Display>(items: impl Iterator<Item = T>) -> String {
    items
        .map(|item| item.to_string())
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
mod tests {
    use super::major_version;

    #[test]
    fn the_major_version_is_the_first_number() {
        assert_eq!(
            major_version("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"),
            Some(15)
        );
        assert_eq!(major_version("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(major_version("something else"), None);
    }
}
