//! Builds each handle once, in dependency order.

use std::time::Duration;

use anyhow::{Context, Result};
use api::{App, Handles, limits::Limits};
use config::Config;
use delivery::Delivery;
use e2ee::Keys;
use event::Signer;
use federation::{Federation, OwnKeys};
use identity::Identity;
use live::Live;
use media::Media;
use net::{AddressGuard, Dns, PostClient, TrustRoots};
use push::Push;
use room::Rooms;
use storage::{Committer, Database, keys};
use sync::SyncResponder;
use tokio_util::sync::CancellationToken;
use types::Clock;

/// How long another server waits until its events are taken in; what takes longer is done behind.
const RECEIVE_TIME: Duration = Duration::from_secs(15);

/// What the handles depend on.
#[derive(Debug)]
pub struct Dependencies {
    /// The database, migrated.
    pub database: Database,
    /// A running committer.
    pub committer: Committer,
    /// The in-memory timelines, following the stream.
    pub live: Live,
    /// The source of time.
    pub clock: Clock,
    /// Cancelled at shutdown; long polls return.
    pub stopping: CancellationToken,
}

/// Builds the state of the router.
pub async fn build(config: &Config, dependencies: Dependencies) -> Result<App> {
    let Dependencies {
        database,
        committer,
        live,
        clock,
        stopping,
    } = dependencies;
    let (signer, own_keys) = signing_keys(config, &database, &clock).await?;
    let federation = federation(config, own_keys, database.clone(), clock.clone())?;
    let delivery = delivery(config, database.clone(), federation.clone());
    let identity = identity(config, database.clone(), committer.clone(), clock.clone());
    let keys = Keys::new(
        key_settings(config),
        database.clone(),
        committer.clone(),
        federation.clone(),
        clock.clone(),
    );
    let media = media(config, database.clone(), federation.clone(), clock.clone())?;
    let rooms = Rooms::new(
        room_settings(config),
        database.clone(),
        live.clone(),
        committer,
        (federation.clone(), signer),
        clock.clone(),
    );
    let push = push(config, database.clone(), live.clone(), clock.clone())?;
    let sync = SyncResponder::new(
        sync_settings(config),
        database,
        live.clone(),
        clock.clone(),
        stopping,
    );
    let handles = Handles {
        server_name: config.server_name.clone(),
        clock,
        federation,
        delivery,
        identity,
        live,
        rooms,
        sync,
        keys,
        media,
        push,
        limits: Limits::new(&config.rate_limits),
        max_body: config.client.max_body.as_usize(),
        base_url: config.public_base_url(),
        well_known: config.well_known.clone(),
    };
    Ok(App::new(handles))
}

/// The handle to files.
fn media(
    config: &Config,
    database: Database,
    federation: Federation,
    clock: Clock,
) -> Result<Media> {
    let settings = (&config.media, config.user_limits());
    let folder = config.data_dir.join("media");
    let opened = Media::open(
        database,
        federation,
        &config.server_name,
        clock,
        settings,
        &folder,
    );
    opened.context("The folder for media could not be opened")
}

/// The handle to the pushers. Gateways are resolved and trusted as other servers are.
fn push(config: &Config, database: Database, live: Live, clock: Clock) -> Result<Push> {
    let roots = TrustRoots::system_and(config.federation.ca_file.as_deref())?;
    let dns = Dns::new(&config.federation.dns_servers)?;
    let guard = AddressGuard::new(&config.push.allowed_networks);
    let client = PostClient::new(dns, &roots, guard)?;
    let settings = push::Settings::new(&config.push, config.user_limits());
    Ok(Push::new(settings, database, live, client, clock))
}

fn room_settings(config: &Config) -> room::Settings {
    room::Settings {
        server_name: config.server_name.clone(),
        default_version: config.rooms.default_version.clone(),
        limits: config.user_limits(),
        receive_time: RECEIVE_TIME,
        search_language: config.search.language.clone(),
    }
}

fn sync_settings(config: &Config) -> sync::Settings {
    sync::Settings {
        max_connections_per_device: config.limits.sync_connections_per_device,
        connection_cache_bytes: config.cache.total.get() / 32,
    }
}

fn key_settings(config: &Config) -> e2ee::Settings {
    e2ee::Settings {
        server_name: config.server_name.clone(),
        cache_bytes: config.cache.total.get() / 16,
        send_device_names: config.federation.send_device_names,
        limits: config.user_limits(),
    }
}

/// The handle to the users.
pub(crate) fn identity(
    config: &Config,
    database: Database,
    committer: Committer,
    clock: Clock,
) -> Identity {
    let settings = identity::Settings {
        registration: config.registration.clone(),
        sessions: config.sessions.clone(),
        limits: config.user_limits(),
        turn: config.turn.clone(),
        user_directory: config.user_directory.clone(),
        token_cache_bytes: config.cache.total.get() / 16,
    };
    let server_name = config.server_name.clone();
    Identity::new(settings, database, committer, clock, server_name)
}

/// The handle to the other servers.
fn federation(
    config: &Config,
    own_keys: OwnKeys,
    database: Database,
    clock: Clock,
) -> Result<Federation> {
    let (server_name, settings) = (&config.server_name, &config.federation);
    Federation::new(server_name, settings, own_keys, database, clock)
        .context("Federation could not be set up")
}

/// The handle to what is sent to other servers.
fn delivery(config: &Config, database: Database, federation: Federation) -> Delivery {
    let settings = delivery::Settings::new(&config.server_name, &config.federation);
    Delivery::new(settings, database, federation)
}

/// The server's signing key, generated if there is none, and all keys as they are published.
async fn signing_keys(
    config: &Config,
    database: &Database,
    clock: &Clock,
) -> Result<(Signer, OwnKeys)> {
    let fresh = new_signing_key(config)?;
    let mut db = database
        .acquire()
        .await
        .context("The database could not be reached")?;
    let keys = keys::activate_newest(&mut db, &fresh, clock.now_ms())
        .await
        .context("The signing key could not be read")?;
    let signer = |key: &keys::SigningKey| {
        Signer::from_der(&config.server_name, &key.version, &key.private_der)
            .context("A stored signing key is unusable")
    };
    let current = signer(&keys.current)?;
    let mut own_keys = OwnKeys::new(current.clone(), config.federation.key_validity);
    for old in &keys.old {
        own_keys.add_old(&signer(&old.key)?, old.expired_ts);
    }
    Ok((current, own_keys))
}

/// A new signing key, not stored yet.
pub(crate) fn new_signing_key(config: &Config) -> Result<keys::SigningKey> {
    let (signer, private_der) =
        Signer::generate(&config.server_name).context("The signing key could not be generated")?;
    Ok(keys::SigningKey {
        version: signer.key_version().to_owned(),
        private_der,
    })
}
