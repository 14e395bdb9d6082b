//! Federation that talks to nobody.

use std::time::Duration;

use event::Signer;
use federation::{Federation, OwnKeys};
use storage::Database;
use types::Clock;

/// Federation in closed mode, as the server that signs.
pub fn closed_federation(database: &Database, signer: &Signer, clock: &Clock) -> Federation {
    let own_keys = OwnKeys::new(signer.clone(), Duration::from_hours(24));
    let settings = config::Federation::default();
    let federation = Federation::new(
        signer.server_name(),
        &settings,
        own_keys,
        database.clone(),
        clock.clone(),
    );
    federation.expect("no certificates are read")
}
