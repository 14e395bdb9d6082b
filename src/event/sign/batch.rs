//! Signatures by one key over many objects, checked together: at fifty, in a third of the time.

use std::iter::once;

use curve25519_dalek::{
    EdwardsPoint, Scalar,
    constants::ED25519_BASEPOINT_POINT,
    edwards::CompressedEdwardsY,
    traits::{IsIdentity, VartimeMultiscalarMul},
};
use ed25519_dalek::{Signature, VerifyingKey};
use ring::digest::{Context, SHA512};
use ruma::{CanonicalJsonObject, signatures::to_canonical_json_string_for_signing};

use super::{SignatureError, decode, signature_of, verify_json};

/// Fewer signatures are checked one by one.
const MIN_BATCH: usize = 4;

/// Checks the signature of `entity` with one Ed25519 key over each object, as [`verify_json`] does.
///
/// The equation that is checked for all at once also holds for some signatures that are not the
/// canonical ones of their message; only the owner of the private key can make these.
///
/// # Errors
///
/// The error of the first object whose signature is missing or does not hold.
pub fn verify_json_batch(
    objects: &[&CanonicalJsonObject],
    entity: &str,
    key_id: &str,
    public_key_base64: &str,
) -> Result<(), SignatureError> {
    let holds = objects.len() >= MIN_BATCH
        && holds_for_all(objects, entity, key_id, public_key_base64).unwrap_or(false);
    if holds {
        return Ok(());
    }
    for object in objects {
        verify_json(object, entity, key_id, public_key_base64)?;
    }
    Ok(())
}

/// Whether all signatures hold; an error if one cannot be read.
fn holds_for_all(
    objects: &[&CanonicalJsonObject],
    entity: &str,
    key_id: &str,
    public_key_base64: &str,
) -> Result<bool, SignatureError> {
    let unreadable = |error: &dyn ToString| SignatureError::Unreadable(error.to_string());
    let key = VerifyingKey::try_from(&*decode(public_key_base64)?);
    let key = key.map_err(|error| unreadable(&error))?;
    let mut messages = Vec::with_capacity(objects.len());
    let mut signatures = Vec::with_capacity(objects.len());
    for object in objects {
        let signature = decode(signature_of(object, entity, key_id)?)?;
        let signature = Signature::from_slice(&signature);
        signatures.push(signature.map_err(|error| unreadable(&error))?);
        let message = to_canonical_json_string_for_signing(object);
        messages.push(message.map_err(|error| unreadable(&error))?);
    }
    Ok(equation_holds(&key, &messages, &signatures).unwrap_or(false))
}

/// Whether the sum of the equations that [`verify_json`] checks, each times a number that its
/// signatures decide and nobody can choose, holds: s·B = R + h·A for each signature (R, s) by A, h
/// being the hash of R, A and the message. The terms of A, which is the same in all, and of B come
/// to one each. `None` if a signature is no point and canonical number.
fn equation_holds(
    key: &VerifyingKey,
    messages: &[String],
    signatures: &[Signature],
) -> Option<bool> {
    let mut seed = Context::new(&SHA512);
    let mut hashes = Vec::with_capacity(messages.len());
    for (message, signature) in messages.iter().zip(signatures) {
        let hash = sha512(&[signature.r_bytes(), key.as_bytes(), message.as_bytes()]);
        seed.update(&hash);
        seed.update(signature.s_bytes());
        hashes.push(Scalar::from_bytes_mod_order_wide(&hash));
    }
    let factors = factors(seed.finish().as_ref(), signatures.len());
    let (mut of_base, mut of_key) = (Scalar::ZERO, Scalar::ZERO);
    for ((signature, hash), factor) in signatures.iter().zip(&hashes).zip(&factors) {
        let number = Scalar::from_canonical_bytes(*signature.s_bytes());
        of_base -= factor * Option::<Scalar>::from(number)?;
        of_key += factor * hash;
    }
    let points = signatures
        .iter()
        .map(|signature| CompressedEdwardsY(*signature.r_bytes()).decompress());
    let sum = EdwardsPoint::optional_multiscalar_mul(
        once(of_base)
            .chain(once(of_key))
            .chain(factors.iter().copied()),
        once(Some(ED25519_BASEPOINT_POINT))
            .chain(once(Some(key.to_edwards())))
            .chain(points),
    )?;
    Some(sum.is_identity())
}

/// Numbers of 128 bits that follow from a seed.
fn factors(seed: &[u8], count: usize) -> Vec<Scalar> {
    let blocks = (0_u64..).map(|block| sha512(&[seed, &block.to_le_bytes()]));
    let numbers = blocks.flat_map(|block| {
        let (numbers, _) = block.as_chunks::<16>();
        let numbers = numbers.iter().copied().map(u128::from_le_bytes);
        numbers.map(Scalar::from).collect::<Vec<_>>()
    });
    numbers.take(count).collect()
}

fn sha512(parts: &[&[u8]]) -> [u8; 64] {
    let mut context = Context::new(&SHA512);
    for part in parts {
        context.update(part);
    }
    let mut hash = [0; 64];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}
