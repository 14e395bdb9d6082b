//! The connections: in the database, so that they outlive this process and requests may come to any
//! process, and in memory as far as they were used lately.

use std::{sync::Arc, time::Duration};

use moka::sync::Cache;
use ruma::{OwnedDeviceId, OwnedUserId};
use storage::{
    Database,
    sync_connections::{self, NewVersion},
};

use super::{connection::Connection, position::Owner};
use crate::{Error, Settings};

/// After this time in memory a version is read again, which records that it is still used.
const TIME_IN_MEMORY: Duration = Duration::from_hours(12);
/// That a version is used is recorded if that was not recorded within this time.
const USE_RECORDED: Duration = Duration::from_hours(24);
/// The largest stored form of a connection, in bytes.
const MAX_CONTENT: usize = 8 << 20;

/// The versions of connections that are in memory, by number.
#[derive(Debug)]
pub(crate) struct Connections {
    versions: Cache<i64, Arc<Version>>,
    max_per_device: i64,
}

#[derive(Debug)]
struct Version {
    user_id: OwnedUserId,
    device_id: OwnedDeviceId,
    conn_id: String,
    connection: Arc<Connection>,
}

impl Version {
    fn new(owner: &Owner<'_>, connection: Arc<Connection>) -> Self {
        Self {
            user_id: owner.user_id.to_owned(),
            device_id: owner.device_id.to_owned(),
            conn_id: owner.conn_id.to_owned(),
            connection,
        }
    }

    fn is_of(&self, owner: &Owner<'_>) -> bool {
        self.user_id == *owner.user_id
            && self.device_id == *owner.device_id
            && self.conn_id == owner.conn_id
    }
}

impl Connections {
    pub(crate) fn new(settings: Settings) -> Self {
        let weight = |_: &i64, version: &Arc<Version>| {
            u32::try_from(version.connection.weight()).unwrap_or(u32::MAX)
        };
        let versions = Cache::builder()
            .max_capacity(settings.connection_cache_bytes)
            .weigher(weight)
            .time_to_live(TIME_IN_MEMORY)
            .build();
        Self {
            versions,
            max_per_device: i64::from(settings.max_connections_per_device),
        }
    }

    /// What has been sent as of a version; nothing as of version 0.
    ///
    /// No query if it is in memory.
    pub(super) async fn find(
        &self,
        database: &Database,
        owner: &Owner<'_>,
        version: i64,
    ) -> Result<Arc<Connection>, Error> {
        if version == 0 {
            return Ok(Arc::default());
        }
        if let Some(known) = self.versions.get(&version) {
            let known = Some(known).filter(|known| known.is_of(owner));
            return known
                .map(|known| known.connection.clone())
                .ok_or(Error::UnknownPos);
        }
        let mut db = database.acquire().await?;
        let found = sync_connections::find(&mut db, owner.key(), version, USE_RECORDED).await?;
        let (content, is_recent) = found.ok_or(Error::UnknownPos)?;
        if !is_recent {
            sync_connections::record_use(&mut db, version).await?;
        }
        // Another version of this server may have written it in another form.
        let connection: Connection =
            serde_json::from_str(&content).map_err(|_| Error::UnknownPos)?;
        let connection = Arc::new(connection);
        let known = Version::new(owner, connection.clone());
        self.versions.insert(version, Arc::new(known));
        Ok(connection)
    }

    /// Stores a new version, and returns its number. `acknowledged` is the one that the client has.
    pub(super) async fn insert(
        &self,
        database: &Database,
        owner: &Owner<'_>,
        acknowledged: i64,
        connection: Connection,
    ) -> Result<i64, Error> {
        let content = serde_json::to_string(&connection).map_err(|_| Error::UnknownPos)?;
        if content.len() > MAX_CONTENT {
            return Err(Error::UnknownPos);
        }
        let new = NewVersion {
            acknowledged,
            content: &content,
            max_connections: self.max_per_device,
        };
        let mut db = database.acquire().await?;
        let version = sync_connections::insert(&mut db, owner.key(), new).await?;
        // The device is being logged out.
        let version = version.ok_or(Error::UnknownPos)?;
        let known = Version::new(owner, Arc::new(connection));
        self.versions.insert(version, Arc::new(known));
        Ok(version)
    }
}
