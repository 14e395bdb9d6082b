//! The whole URL map, by consumer.

use http::Method;

use crate::{
    App, Routes, admin, client, federation, health, limits::Class, matrix::PathDefaults, well_known,
};

/// Every endpoint of the server.
pub fn all() -> Routes<App> {
    Routes::default()
        .merge(operations())
        .merge(discovery())
        .merge(client())
        .merge(federation())
        .merge(administration())
}

/// The endpoints of the federation listener.
pub fn federation_routes() -> Routes<App> {
    operations().merge(federation())
}

/// Operational endpoints.
fn operations() -> Routes<App> {
    Routes::default().raw(Method::GET, "/health", health::health)
}

/// Server discovery.
fn discovery() -> Routes<App> {
    Routes::default()
        .matrix(well_known::client)
        .matrix(well_known::support)
        .raw(
            Method::GET,
            "/.well-known/matrix/server",
            well_known::server,
        )
}

/// The federation API.
fn federation() -> Routes<App> {
    Routes::default()
        .raw(
            Method::GET,
            "/_matrix/federation/v1/version",
            federation::version,
        )
        .raw(Method::GET, "/_matrix/key/v2/server", federation::keys::own)
        .matrix(federation::keys::of_server)
        .matrix(federation::keys::of_servers)
        .matrix(federation::query::profile)
        .matrix(federation::query::directory)
        .limited(Class::General, federation::query::openid_user)
        .matrix(federation::public_rooms::list)
        .matrix(federation::public_rooms::search)
        .matrix(federation::spaces::hierarchy)
        .matrix(federation::send::send)
        .matrix(federation::devices::list)
        .matrix(federation::devices::query_keys)
        .matrix(federation::devices::claim_keys)
        .unlimited(federation::media::download)
        .unlimited(federation::media::thumbnail)
        .merge(federation_events())
        .merge(federation_membership())
}

/// What other servers read of rooms that they are in.
fn federation_events() -> Routes<App> {
    use federation::events;
    Routes::default()
        .matrix(events::event)
        .matrix(events::state)
        .matrix(events::state_ids)
        .matrix(events::event_auth)
        .matrix(events::backfill)
        .matrix(events::missing_events)
        .matrix(federation::timestamp::event)
}

/// How users of other servers come into rooms here.
fn federation_membership() -> Routes<App> {
    use federation::membership;
    let defaults = PathDefaults::default();
    Routes::default()
        .matrix(membership::make_join)
        .matrix(membership::send_join)
        .matrix_at(
            "/_matrix/federation/v1/send_join/{room_id}/{event_id}",
            defaults,
            None,
            membership::send_join_v1,
        )
        .matrix(membership::make_leave)
        .matrix(membership::send_leave)
        .matrix_at(
            "/_matrix/federation/v1/send_leave/{room_id}/{event_id}",
            defaults,
            None,
            membership::send_leave_v1,
        )
        .matrix(membership::make_knock)
        .matrix(membership::invite)
        .matrix(membership::invite_v1)
        .matrix(membership::send_knock)
        .matrix(federation::third_party::exchange)
        .limited(Class::Invite, federation::third_party::on_bind)
}

/// The admin API.
fn administration() -> Routes<App> {
    Routes::default()
        .raw(Method::GET, admin::register::PATH, admin::register::nonce)
        .limited(Class::Registration, admin::register::register)
}

/// The client-server API, in the order of the specification.
fn client() -> Routes<App> {
    Routes::default()
        .raw(
            Method::GET,
            "/_matrix/client/versions",
            client::versions::versions,
        )
        .matrix(client::capabilities::capabilities)
        .raw(
            Method::GET,
            client::federation_whitelist::PATH,
            client::federation_whitelist::list,
        )
        .matrix(client::sync::sync)
        .matrix(client::sliding_sync::unstable)
        .matrix(client::sliding_sync::stable)
        .merge(login())
        .merge(account())
        .merge(user_data())
        .merge(push_rules())
        .merge(notifications())
        .merge(rooms())
        .merge(delayed_events())
        .merge(thread_subscriptions())
        .merge(directory())
        .merge(encryption())
        .merge(media())
}

/// Login, registration and logout.
fn login() -> Routes<App> {
    use client::{login, logout, refresh, register};
    Routes::default()
        .limited(Class::Registration, register::register)
        .limited(Class::Registration, register::available)
        .limited(Class::Registration, register::token_validity)
        .matrix(login::types)
        .limited(Class::Login, login::login)
        .limited(Class::Login, login::token)
        .matrix(refresh::refresh)
        .matrix(logout::one)
        .matrix(logout::all)
}

/// Account and devices.
fn account() -> Routes<App> {
    use client::{account, devices};
    Routes::default()
        .matrix(account::whoami)
        .limited(Class::Login, account::change_password)
        .limited(Class::Login, account::deactivate)
        .matrix(devices::list)
        .matrix(devices::one)
        .matrix(devices::rename)
        .limited(Class::Login, devices::delete)
        .limited(Class::Login, devices::delete_many)
}

/// Profiles, account data, tags and filters.
fn user_data() -> Routes<App> {
    use client::{account_data, filter, profile, tags};
    Routes::default()
        .matrix(profile::all)
        .matrix(profile::field)
        .matrix(profile::set)
        .matrix(profile::delete)
        .matrix(account_data::of_account)
        .matrix(account_data::set_of_account)
        .matrix(account_data::of_room)
        .matrix(account_data::set_of_room)
        .matrix(account_data::delete_of_account)
        .matrix(account_data::delete_of_room)
        .matrix(tags::list)
        .matrix(tags::create)
        .matrix(tags::delete)
        .matrix(filter::create)
        .matrix(filter::one)
        .matrix(client::openid::request_token)
        .matrix(client::voip::turn_server)
}

/// Push rules.
fn push_rules() -> Routes<App> {
    use client::push_rules;
    Routes::default()
        .matrix(push_rules::all)
        .matrix(push_rules::global)
        .matrix(push_rules::one)
        .matrix(push_rules::set)
        .matrix(push_rules::delete)
        .matrix(push_rules::enabled)
        .matrix(push_rules::set_enabled)
        .matrix(push_rules::actions)
        .matrix(push_rules::set_actions)
}

/// Pushers and notifications.
fn notifications() -> Routes<App> {
    Routes::default()
        .matrix(client::pushers::list)
        .matrix(client::pushers::set)
        .limited(Class::General, client::notifications::list)
}

/// Rooms.
fn rooms() -> Routes<App> {
    Routes::default()
        .limited(Class::Join, client::create_room::create)
        .limited(Class::Join, client::upgrade::upgrade)
        .merge(membership())
        .limited(Class::Send, client::send::message)
        .limited(Class::Send, client::send::redact)
        .matrix(client::state::all)
        .matrix(client::state::one)
        .limited(Class::Send, client::state::set)
        .merge(state_without_key())
        .merge(send_without_transaction())
        .merge(messages())
        .merge(room_initial_sync())
        .matrix(client::messages::context)
        .matrix(client::messages::event)
        .matrix(client::messages::event_at_time)
        .matrix(client::relations::all)
        .matrix(client::relations::of_type)
        .matrix(client::relations::of_types)
        .limited(Class::General, client::threads::list)
        .limited(Class::General, client::search::search)
        .matrix(client::members::all)
        .matrix(client::members::joined)
        .matrix(client::typing::set)
        .limited(Class::Presence, client::presence::set)
        .matrix(client::presence::get)
        .matrix(client::receipts::create)
        .matrix(client::receipts::set_markers)
        .limited(Class::General, client::reports::event)
        .matrix(client::reports::room)
        .matrix(client::reports::user)
        .matrix(client::mutual_rooms::list)
}

/// A room at a glance.
fn room_initial_sync() -> Routes<App> {
    use client::initial_sync;
    Routes::default().matrix(initial_sync::of_room).matrix_at(
        initial_sync::OLD_PATH,
        PathDefaults::default(),
        Some(Class::General),
        initial_sync::of_room,
    )
}

/// Delayed events.
fn delayed_events() -> Routes<App> {
    use client::delayed_events;
    Routes::default()
        .limited(Class::Send, delayed_events::create)
        .matrix(delayed_events::list)
        .matrix(delayed_events::one)
        .limited(Class::DelayedEvents, delayed_events::update)
        .limited(Class::DelayedEvents, delayed_events::update_by_body)
}

/// Subscriptions to threads.
fn thread_subscriptions() -> Routes<App> {
    use client::thread_subscriptions;
    Routes::default()
        .matrix(thread_subscriptions::get)
        .matrix(thread_subscriptions::subscribe)
        .matrix(thread_subscriptions::unsubscribe)
        .matrix(thread_subscriptions::list)
}

/// Membership.
fn membership() -> Routes<App> {
    use client::membership;
    Routes::default()
        .limited(Class::Join, membership::join_by_id)
        .limited(Class::Join, membership::join_by_id_or_alias)
        .limited(Class::Join, membership::knock)
        .limited(Class::Invite, membership::invite)
        .matrix(membership::leave)
        .matrix(membership::forget)
        .matrix(membership::kick)
        .matrix(membership::ban)
        .matrix(membership::unban)
        .matrix(membership::joined_rooms)
}

/// The state paths with an empty state key, with and without trailing slash.
fn state_without_key() -> Routes<App> {
    let without_key = PathDefaults {
        arguments: &[""],
        query: None,
    };
    [
        "/_matrix/client/r0/rooms/{room_id}/state/{event_type}",
        "/_matrix/client/r0/rooms/{room_id}/state/{event_type}/",
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}",
        "/_matrix/client/v3/rooms/{room_id}/state/{event_type}/",
    ]
    .into_iter()
    .fold(Routes::default(), |routes, path| {
        routes
            .matrix_at(path, without_key, None, client::state::one)
            .matrix_at(path, without_key, Some(Class::Send), client::state::set)
    })
}

/// The legacy `send` path without a transaction id, which simple scripts still use.
fn send_without_transaction() -> Routes<App> {
    [
        "/_matrix/client/r0/rooms/{room_id}/send/{event_type}",
        "/_matrix/client/v3/rooms/{room_id}/send/{event_type}",
    ]
    .into_iter()
    .fold(Routes::default(), |routes, path| {
        routes.raw(
            Method::POST,
            path,
            client::send::message_without_transaction,
        )
    })
}

/// `/messages`; the direction defaults to forwards, which clients rely on.
fn messages() -> Routes<App> {
    let forwards = PathDefaults {
        arguments: &[],
        query: Some(("dir", "f")),
    };
    [
        "/_matrix/client/r0/rooms/{room_id}/messages",
        "/_matrix/client/v3/rooms/{room_id}/messages",
    ]
    .into_iter()
    .fold(Routes::default(), |routes, path| {
        routes.matrix_at(path, forwards, None, client::messages::messages)
    })
}

/// Aliases and the room directory.
fn directory() -> Routes<App> {
    Routes::default()
        .matrix(client::aliases::create)
        .matrix(client::aliases::resolve)
        .matrix(client::aliases::delete)
        .matrix(client::aliases::of_room)
        .matrix(client::spaces::hierarchy)
        .limited(Class::General, client::spaces::summary)
        .matrix(client::public_rooms::list)
        .matrix(client::public_rooms::search)
        .matrix(client::public_rooms::visibility)
        .matrix(client::public_rooms::set_visibility)
        .limited(Class::General, client::user_directory::search)
}

/// Encryption keys and to-device messages.
fn encryption() -> Routes<App> {
    use client::keys;
    Routes::default()
        .matrix(keys::upload)
        .matrix(keys::query)
        .matrix(keys::claim)
        .matrix(keys::changes)
        .limited(Class::Login, keys::upload_cross_signing)
        .matrix(keys::upload_signatures)
        .matrix(client::to_device::send)
        .merge(dehydrated_devices())
        .merge(key_backups())
}

/// Devices that users leave on the server.
fn dehydrated_devices() -> Routes<App> {
    use client::dehydrated_device;
    Routes::default()
        .matrix(dehydrated_device::put)
        .matrix(dehydrated_device::get)
        .matrix(dehydrated_device::delete)
        .matrix(dehydrated_device::events)
}

/// Backups of room keys.
fn key_backups() -> Routes<App> {
    use client::key_backups;
    Routes::default()
        .matrix(key_backups::create)
        .matrix(key_backups::current)
        .matrix(key_backups::one)
        .matrix(key_backups::update)
        .matrix(key_backups::delete)
        .matrix(key_backups::add)
        .matrix(key_backups::add_for_room)
        .matrix(key_backups::add_for_session)
        .matrix(key_backups::all_keys)
        .matrix(key_backups::keys_of_room)
        .matrix(key_backups::key_of_session)
        .matrix(key_backups::delete_all_keys)
        .matrix(key_backups::delete_keys_of_room)
        .matrix(key_backups::delete_key_of_session)
}

/// Media. Downloads are not rate-limited: clients download many avatars at once.
fn media() -> Routes<App> {
    use client::media;
    Routes::default()
        .raw(Method::POST, "/_matrix/media/r0/upload", media::upload)
        .raw(Method::POST, "/_matrix/media/v3/upload", media::upload)
        .limited(Class::Upload, media::create)
        .raw(
            Method::PUT,
            "/_matrix/media/v3/upload/{server_name}/{media_id}",
            media::upload_to,
        )
        .matrix(media::config)
        .matrix_at(
            "/_matrix/media/r0/config",
            PathDefaults::default(),
            Some(Class::General),
            media::config,
        )
        .matrix_at(
            "/_matrix/media/v3/config",
            PathDefaults::default(),
            Some(Class::General),
            media::config,
        )
        .unlimited(media::download)
        .unlimited(media::download_as)
        .unlimited(media::thumbnail)
        .merge(legacy_media())
}

/// The legacy download paths, from before downloads required an access token.
fn legacy_media() -> Routes<App> {
    use client::media::legacy;
    let same = PathDefaults::default();
    Routes::default()
        .matrix_at(
            "/_matrix/media/r0/download/{server_name}/{media_id}",
            same,
            None,
            legacy::download,
        )
        .matrix_at(
            "/_matrix/media/v3/download/{server_name}/{media_id}",
            same,
            None,
            legacy::download,
        )
        .matrix_at(
            "/_matrix/media/r0/download/{server_name}/{media_id}/{filename}",
            same,
            None,
            legacy::download_as,
        )
        .matrix_at(
            "/_matrix/media/v3/download/{server_name}/{media_id}/{filename}",
            same,
            None,
            legacy::download_as,
        )
        .matrix_at(
            "/_matrix/media/r0/thumbnail/{server_name}/{media_id}",
            same,
            None,
            legacy::thumbnail,
        )
        .matrix_at(
            "/_matrix/media/v3/thumbnail/{server_name}/{media_id}",
            same,
            None,
            legacy::thumbnail,
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    mod spec_coverage;

    #[test]
    fn route_table_is_as_recorded() {
        let lines: Vec<String> = all()
            .table()
            .iter()
            .map(|route| match route.class {
                Some(class) => format!("{} {}  {class:?}", route.method, route.path),
                None => format!("{} {}", route.method, route.path),
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }
}
