//! Checks of the settings that `config` cannot make, as they need what other crates know.

use config::Loaded;
use event::RoomVersion;

use crate::telemetry;

/// Adds what is wrong to the problems.
pub(crate) fn check(loaded: &mut Loaded) {
    if let Err(error) = telemetry::filter(&loaded.config.log) {
        loaded.add_problem("log.filter", format!("{error:#}"));
    }
    let version = &loaded.config.rooms.default_version;
    if RoomVersion::of(version).is_none() {
        let supported: Vec<String> = RoomVersion::supported().map(|id| id.to_string()).collect();
        let reason = format!(
            "room version {version} is not supported, expected one of {}",
            supported.join(", ")
        );
        loaded.add_problem("rooms.default_version", reason);
    }
}
