//! Administrative permissions, as values that a function asks for.

use std::marker::PhantomData;

use ruma::{OwnedUserId, UserId};

/// An administrative permission.
pub trait Permission: Send + Sync + 'static {}

/// Removing aliases whatever the room's power levels say.
#[derive(Debug)]
pub enum ManageAliases {}

impl Permission for ManageAliases {}

/// Listing rooms in the public room directory whatever their power levels say.
#[derive(Debug)]
pub enum ManageDirectory {}

impl Permission for ManageDirectory {}

/// An administrator who has permission `P`.
///
/// A function that takes one can only be called for an administrator. `identity` grants it, after
/// authentication.
#[derive(Debug)]
pub struct Admin<P> {
    user_id: OwnedUserId,
    permission: PhantomData<fn() -> P>,
}

impl<P: Permission> Admin<P> {
    /// Grants the permission to a user. Only `identity` calls this.
    pub fn grant(user_id: OwnedUserId) -> Self {
        Self {
            user_id,
            permission: PhantomData,
        }
    }

    /// The administrator.
    pub fn user_id(&self) -> &UserId {
        &self.user_id
    }
}
