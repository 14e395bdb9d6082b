//! Federation in closed mode, or with servers of a test.

use std::time::Duration;

use event::Signer;
use federation::{Federation, OwnKeys};
use storage::Database;
use types::Clock;

/// Federation in closed mode, as the server that signs.
pub fn closed_federation(database: &Database, signer: &Signer, clock: &Clock) -> Federation {
    federation(database, signer, clock, &config::Federation::default())
}

/// Federation with some settings, as the server that signs.
pub fn federation(
    database: &Database,
    signer: &Signer,
    clock: &Clock,
    settings: &config::Federation,
) -> Federation {
    let own_keys = OwnKeys::new(signer.clone(), Duration::from_hours(24));
    let federation = Federation::new(
        signer.server_name(),
        settings,
        own_keys,
        database.clone(),
        clock.clone(),
    );
    federation.expect("the certificates are read")
}
