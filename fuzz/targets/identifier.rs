//! Identifiers and tokens: what is accepted is written as it was read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ruma::{
    DeviceId, DeviceKeyAlgorithm, EventId, KeyId, MxcUri, RoomAliasId, RoomId, RoomOrAliasId,
    ServerName, UserId,
};
use types::{PageToken, SyncToken};

fuzz_target!(|text: &str| {
    if let Ok(user_id) = UserId::parse(text) {
        assert_eq!(user_id.as_str(), text);
        assert!(text.starts_with('@'));
        let (localpart, server) = (user_id.localpart(), user_id.server_name());
        assert_eq!(format!("@{localpart}:{server}"), text);
    }
    if let Ok(alias) = RoomAliasId::parse(text) {
        assert_eq!(format!("#{}:{}", alias.alias(), alias.server_name()), text);
    }
    if let Ok(server) = ServerName::parse(text) {
        let _ = (server.host(), server.port(), server.is_ip_literal());
    }
    let _ = (
        RoomId::parse(text).map(|id| id.server_name().map(ToOwned::to_owned)),
        EventId::parse(text).map(|id| id.localpart().len()),
        <&RoomOrAliasId>::try_from(text).is_ok(),
        <&MxcUri>::from(text).parts().is_ok(),
        KeyId::<DeviceKeyAlgorithm, DeviceId>::parse(text).is_ok(),
    );
    if let Ok(token) = text.parse::<SyncToken>() {
        let again: SyncToken = token.to_string().parse().expect("its own text");
        assert_eq!(again, token);
    }
    if let Ok(token) = text.parse::<PageToken>() {
        let again: PageToken = token.to_string().parse().expect("its own text");
        assert_eq!(again, token);
    }
});
