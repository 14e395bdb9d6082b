//! Users: accounts, login, sessions, profiles.

mod caller;

pub use caller::ActiveUser;
