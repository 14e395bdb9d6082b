//! The user who runs PostgreSQL and owns its files: PostgreSQL refuses to run as root.

use std::fs;

use crate::Error;

const USER: &str = "postgres";

/// A user id and a group id.
pub(crate) type Owner = (u32, u32);

/// The user to run as, if it is not this process's own.
pub(crate) fn resolve(configured: Option<Owner>) -> Result<Option<Owner>, Error> {
    if configured.is_some() || !rustix::process::geteuid().is_root() {
        return Ok(configured);
    }
    let users = fs::read_to_string("/etc/passwd").map_err(Error::file("/etc/passwd"))?;
    users
        .lines()
        .find_map(parse_user)
        .map(Some)
        .ok_or(Error::NoUnprivilegedUser)
}

/// Reads a line of `/etc/passwd`: `postgres:x:101:104:…`.
fn parse_user(line: &str) -> Option<Owner> {
    let mut fields = line.split(':');
    let (name, _password) = (fields.next()?, fields.next()?);
    let owner = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    (name == USER && owner.0 != 0).then_some(owner)
}
