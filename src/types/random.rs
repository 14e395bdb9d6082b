//! Unpredictable identifiers and tokens.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::rand::{SecureRandom, SystemRandom};

/// The operating system provided no randomness.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("The operating system provided no randomness")]
pub struct NoRandomness;

impl crate::Fault for NoRandomness {
    fn kind(&self) -> crate::ErrorKind {
        crate::ErrorKind::Internal
    }
}

/// `N` random bytes.
pub fn bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    SystemRandom::new()
        .fill(&mut bytes)
        .map_err(|_| NoRandomness)?;
    Ok(bytes)
}

/// An access or refresh token: 256 bits, URL-safe.
pub fn token() -> Result<String, NoRandomness> {
    Ok(URL_SAFE_NO_PAD.encode(bytes::<32>()?))
}

/// An identifier of `length` letters from `A` to `Z`, as device ids are.
pub fn letters(length: usize) -> Result<String, NoRandomness> {
    let mut text = String::with_capacity(length);
    while text.len() < length {
        // 256 is not a multiple of 26: bytes at the end would favour the first letters.
        let fair = bytes::<16>()?.into_iter().filter(|byte| *byte < 234);
        text.extend(
            fair.take(length - text.len())
                .map(|byte| char::from(b'A' + byte % 26)),
        );
    }
    Ok(text)
}
