//! The authenticated caller.

use ruma::{DeviceId, OwnedDeviceId, OwnedUserId, UserId};
use types::{Admin, Permission};

use crate::{Error, Result};

/// The caller of a request with valid credentials.
///
/// A function that takes a `Caller` can only be called for a request that has been authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A user.
    User(ActiveUser),
    /// A guest.
    Guest(ActiveUser),
    /// An application service, acting as one of its users.
    AppService(AppServiceUser),
}

/// A user with a valid access token, and the token's device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActiveUser {
    /// The user.
    pub user_id: OwnedUserId,
    /// The token's device.
    pub device_id: OwnedDeviceId,
    /// The session's id in the database.
    pub session_nid: i64,
    /// Whether the user administers this server.
    pub is_admin: bool,
}

/// A user as whom an application service acts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppServiceUser {
    /// The id of the application service.
    pub service_id: String,
    /// The user.
    pub user_id: OwnedUserId,
    /// The device, if the request names one.
    pub device_id: Option<OwnedDeviceId>,
}

impl Caller {
    /// The user.
    pub fn user_id(&self) -> &UserId {
        match self {
            Self::User(user) | Self::Guest(user) => &user.user_id,
            Self::AppService(user) => &user.user_id,
        }
    }

    /// The device; application services may act without one.
    pub fn device_id(&self) -> Option<&DeviceId> {
        match self {
            Self::User(user) | Self::Guest(user) => Some(&user.device_id),
            Self::AppService(user) => user.device_id.as_deref(),
        }
    }

    /// The device, for what cannot be done without one.
    pub fn device(&self) -> Result<&DeviceId> {
        self.device_id().ok_or(Error::DeviceRequired)
    }

    /// The session, for what cannot be done without one.
    pub fn session(&self) -> Result<&ActiveUser> {
        match self {
            Self::User(user) | Self::Guest(user) => Ok(user),
            Self::AppService(_) => Err(Error::SessionRequired),
        }
    }

    /// Whether the caller is a guest.
    pub fn is_guest(&self) -> bool {
        matches!(self, Self::Guest(_))
    }

    /// Permission `P`, if the caller is an administrator who has it.
    pub fn admin<P: Permission>(&self) -> Option<Admin<P>> {
        match self {
            // Administrators have all permissions until there are roles.
            Self::User(user) if user.is_admin => Some(Admin::grant(user.user_id.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use ruma::{owned_device_id, owned_user_id};
    use types::ManageAliases;

    use super::*;

    fn user(is_admin: bool) -> ActiveUser {
        ActiveUser {
            user_id: owned_user_id!("@alice:a.org"),
            device_id: owned_device_id!("PHONE"),
            session_nid: 1,
            is_admin,
        }
    }

    fn app_service(device_id: Option<OwnedDeviceId>) -> Caller {
        Caller::AppService(AppServiceUser {
            service_id: "bridge".to_owned(),
            user_id: owned_user_id!("@_bridge_bob:a.org"),
            device_id,
        })
    }

    #[test]
    fn only_administrators_get_permissions() {
        let admin = Caller::User(user(true)).admin::<ManageAliases>();
        assert_eq!(admin.unwrap().user_id(), "@alice:a.org");
        assert!(Caller::User(user(false)).admin::<ManageAliases>().is_none());
        assert!(Caller::Guest(user(true)).admin::<ManageAliases>().is_none());
        assert!(app_service(None).admin::<ManageAliases>().is_none());
    }

    #[test]
    fn application_services_act_with_or_without_a_device() {
        let without = app_service(None);
        assert_eq!(without.user_id(), "@_bridge_bob:a.org");
        assert!(matches!(without.device(), Err(Error::DeviceRequired)));
        let with = app_service(Some(owned_device_id!("BRIDGE")));
        assert_eq!(with.device().unwrap(), "BRIDGE");
        assert!(matches!(with.session(), Err(Error::SessionRequired)));
    }
}
