//! Registration with the shared secret of the configuration.

use std::time::Duration;

use ring::hmac;
use types::{Secret, random};

use crate::{DeviceRequest, Error, Identity, Login, NewUser, Result};

/// How long a nonce is valid.
const NONCE_LIFETIME: Duration = Duration::from_mins(1);

/// A registration request authenticated by the shared secret.
#[derive(Clone, Debug)]
pub struct SharedSecretRequest {
    /// The nonce that the server issued.
    pub nonce: String,
    /// The localpart of the user id.
    pub username: String,
    /// The display name.
    pub display_name: Option<String>,
    /// The password.
    pub password: Secret,
    /// Whether the user administers this server.
    pub is_admin: bool,
    /// The user type, which is covered by the HMAC.
    pub user_type: Option<String>,
    /// HMAC-SHA1 of the other fields under the shared secret, in hexadecimal digits.
    pub mac: String,
}

impl Identity {
    /// Issues a nonce for one registration with the shared secret.
    pub async fn registration_nonce(&self) -> Result<String> {
        self.shared_secret()?;
        let nonce = random::token()?;
        let mut db = self.0.database.acquire().await?;
        storage::registration::insert_nonce(&mut db, &nonce, self.after(NONCE_LIFETIME)).await?;
        Ok(nonce)
    }

    /// Creates an account authenticated by the shared secret and logs it in.
    pub async fn register_with_shared_secret(&self, request: SharedSecretRequest) -> Result<Login> {
        let secret = self.shared_secret()?;
        let fields = [&request.nonce, &request.username, &request.mac];
        if fields.iter().any(|field| field.contains('\0'))
            || request.password.expose().contains('\0')
        {
            return Err(Error::InvalidParam("A field contains a null character"));
        }
        let mut db = self.0.database.acquire().await?;
        if !storage::registration::consume_nonce(&mut db, &request.nonce, self.now()).await? {
            return Err(Error::InvalidParam("The nonce is unknown or has expired"));
        }
        drop(db);
        if !is_authentic(&request, secret) {
            return Err(Error::SharedSecretRejected("The HMAC is incorrect"));
        }
        let user_id = self
            .create_user(NewUser {
                username: request.username,
                password: Some(request.password),
                display_name: request.display_name,
                is_admin: request.is_admin,
            })
            .await?;
        self.begin_session(user_id, None, DeviceRequest::default())
            .await
    }

    fn shared_secret(&self) -> Result<&Secret> {
        let secret = self.0.settings.registration.shared_secret.as_ref();
        secret.ok_or(Error::SharedSecretRejected(
            "Shared secret registration is not enabled",
        ))
    }
}

fn is_authentic(request: &SharedSecretRequest, secret: &Secret) -> bool {
    let admin = if request.is_admin {
        "admin"
    } else {
        "notadmin"
    };
    let mut fields = vec![
        &*request.nonce,
        &*request.username,
        request.password.expose(),
        admin,
    ];
    fields.extend(request.user_type.as_deref());
    // SHA-1 is what the tools that speak this protocol use; in an HMAC it is not broken.
    let key = hmac::Key::new(
        hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        secret.expose().as_bytes(),
    );
    from_hex(&request.mac)
        .is_some_and(|mac| hmac::verify(&key, fields.join("\0").as_bytes(), &mac).is_ok())
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8))
        .collect::<Option<_>>()?;
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    Some(
        digits
            .chunks_exact(2)
            .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
            .collect(),
    )
}
